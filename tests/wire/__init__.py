"""JSON to values."""
