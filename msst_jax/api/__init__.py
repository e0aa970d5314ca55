"""The public functions: arrays, Pillow pictures or paths in, arrays out; they are checked in the caller's words."""
