"""The HTTP service: the rules that it enforces, its answers, and its faults."""
