"""Numerical differences between msst_jax and PyTorch."""
