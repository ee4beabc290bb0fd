"""The cost of the library, compared with its alternatives: `python -m tests.benchmarks`."""
