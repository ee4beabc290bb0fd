"""Values that every other layer uses: records, windows and errors."""
