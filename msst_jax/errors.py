"""The one exception that a person sees as a line of text."""


class UserError(Exception):
    """Input that cannot be used.

    The message is one line: what is wrong, what was found, what to do. Scripts print it to
    stderr and exit with code 2; from Python it is an ordinary exception.
    """
