"""Multi-Style Semantic Style Transfer in JAX."""
