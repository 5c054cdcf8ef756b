"""Dagster resources: one a source, store, recipient and scrub key of the catalog, with the engine's own settings."""
