"""The parts of `outputs.warehouse`: destinations, rows and error messages."""
