"""Arrow, text, files, warehouses, clusters and reports."""
