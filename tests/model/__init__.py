"""Records, windows and errors."""
