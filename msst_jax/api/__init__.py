"""The public functions: arrays, Pillow pictures or paths in, arrays out; arguments are checked in the caller's words."""
