"""The data plane: moves, scrubs, verifies and proves bytes. Imports neither dagster nor pandas."""
