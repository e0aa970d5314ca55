"""Entry point of `python -m convert_weights` and msst-convert: ready for signals before anything slow is imported."""

import sys

from msst_jax.runtime.interrupt import exit_at_once
from msst_jax.runtime.streams import open_missing_streams


def main() -> None:
    """Runs the converter as this program."""
    open_missing_streams()
    exit_at_once("convert_weights: interrupted; nothing was written")
    from .cli import main as convert

    sys.exit(convert())


if __name__ == "__main__":
    main()
