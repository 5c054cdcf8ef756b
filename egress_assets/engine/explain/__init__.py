"""Explain one thing that somebody holds in their hands: from the source's LSN to the receipts, by evidence alone."""
