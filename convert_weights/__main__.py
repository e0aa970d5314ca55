"""Entry point of `python -m convert_weights` and msst-convert: ready for signals before anything slow is imported."""

import sys

from msst_jax.runtime.first_signals import exit_at_once


def main() -> None:
    """Runs the converter as this program."""
    exit_at_once("convert_weights: interrupted; nothing was written")
    from msst_jax.runtime.streams import open_missing_streams

    open_missing_streams()
    from .cli import main as convert

    sys.exit(convert())


if __name__ == "__main__":
    main()
