"""What the library costs, against what its users would pick instead: `python -m tests.benchmarks`."""
