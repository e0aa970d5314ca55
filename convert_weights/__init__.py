"""Converts published weights to safetensors (`python -m convert_weights NAME`); msst_jax itself never imports torch."""
