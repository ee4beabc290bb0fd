"""Records that are stored already: exported files, and the DuckDB databases of `sync`, opened read-only."""
