"""Converts published weights to safetensors (`python -m convert_weights NAME`); only --check imports torch."""
