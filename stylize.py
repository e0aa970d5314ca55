"""Gives every region of a photo or a video a style of its own; `python stylize.py --help` tells how."""

import sys

if __name__ == "__main__":
    try:
        from msst_jax.cli.entry import stylize

        stylize()
    except KeyboardInterrupt:  # before `stylize` does the same: nothing can be shared while nothing is imported
        print("stylize.py: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
