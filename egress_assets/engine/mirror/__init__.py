"""Mirrors: objects copied to another endpoint, additive, each verified, nothing external without a Release."""
