"""UserError, the one exception whose message the scripts show to the user as a single line, and its kinds."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Input that cannot be used.

    The message is one line: what is wrong, what was found, what to do. Scripts print it to
    stderr and exit with code 2; from Python it is an ordinary exception.
    """


class UnknownNameError(UserError):
    """A name that neither the package nor an imported module has."""


class DivergenceError(UserError):
    """Numbers that are not finite any more, or too large to be stored: the input is valid, the settings do not work.

    Scripts exit with code 1, as where nothing better than the start was found.
    """


def first_line(error: BaseException) -> str:
    """First line of another library's error message, at most 200 characters; the exception's type if it is empty."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def nearest_or_all(name: str, names: Iterable[str], all_of_them: str = "give one of {}") -> str:
    """What to do about a name that is none of `names`: "did you mean photo?", or all of them if none is similar."""
    known = list(names)
    similar = difflib.get_close_matches(name, known, 1)
    return f"did you mean {similar[0]}?" if similar else all_of_them.format(", ".join(known))
