"""Sensors: they look and decide; the engine works."""
