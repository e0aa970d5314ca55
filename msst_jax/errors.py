"""The one exception that a person sees as a line of text."""

import argparse
import sys
from typing import NoReturn


class UserError(Exception):
    """Input that cannot be used.

    The message is one line: what is wrong, what was found, what to do. Scripts print it to
    stderr and exit with code 2; from Python it is an ordinary exception.
    """


class ArgumentParser(argparse.ArgumentParser):
    """Raises UserError for a command line that cannot be used, instead of printing the usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; see {self.prog} --help")


def print_line(program: str, reason: object) -> None:
    """Prints "PROGRAM: REASON" to stderr, as one line: other libraries' reasons may have several."""
    print(f"{program}: {' '.join(str(reason).splitlines())}", file=sys.stderr)


def first_line(error: BaseException) -> str:
    """What another library's exception says, in one line of at most 200 characters; its kind if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
