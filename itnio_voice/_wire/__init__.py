"""JSON to values: pages, records and the table of endpoints. No I/O."""
