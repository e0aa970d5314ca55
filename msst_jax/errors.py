"""The one exception that a person sees as a line of text."""


class UserError(Exception):
    """Input that cannot be used.

    The message is one line: what is wrong, what was found, what to do. Scripts print it to
    stderr and exit with code 2; from Python it is an ordinary exception.
    """


def first_line(error: BaseException) -> str:
    """What another library's exception says, in one line of at most 200 characters; its kind if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
