"""Types of command-line arguments."""

import argparse
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """An argument type: an integer of at least `least`."""

    wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return int(text)

    return parse
