"""Records to Arrow, text, files, warehouses, clusters and reports. Most modules need an extra."""
