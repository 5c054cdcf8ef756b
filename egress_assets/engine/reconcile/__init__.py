"""What no schedule and no automation condition sees: decided from evidence and the catalog."""
