"""Configuration presets: looks them up by name or path, validates their values."""
