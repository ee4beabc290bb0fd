"""Measurements of what the vendor's pages leave open, by harmless reads of one's own account."""
