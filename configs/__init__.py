"""Presets: one config of the command line per file; photo.py documents the fields."""
