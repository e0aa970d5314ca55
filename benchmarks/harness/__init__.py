"""Benchmark harness: interleaved timing of programs, device rates, and result tables."""
