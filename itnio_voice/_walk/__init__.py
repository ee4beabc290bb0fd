"""The reading algorithm: which page of which window to request next, and when a window is complete."""
