"""Deliveries: files for one recipient, each sent once or said to be unknown, with a receipt."""
