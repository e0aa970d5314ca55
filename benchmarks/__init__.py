"""Benchmarks of speed, memory, numerical parity and quality; run from a clone with the test installation."""
