"""Gives every region of a photo or a video a style of its own; `python stylize.py --help` tells how."""

from msst_jax.cli.entry import stylize

if __name__ == "__main__":
    stylize()
