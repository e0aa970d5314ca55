"""What a path that the user gives means: ~ is the home folder, - a standard stream, and a URL nothing here."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from msst_jax.errors import UserError

STANDARD_STREAM = Path("-")
"""Standard input as a photo, standard output as the output; a file of this name is ./-"""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # one slash is a typo, or what pathlib leaves of two; C:/ is a drive


def user_path(text: str | Path, what: str, *, stream: bool = False, words: Sequence[str] = ()) -> Path:
    """A path as it was given by the user.

    Args:
      text: as given; ~ and ~USER at its start stand for a home folder.
      what: names it in errors, such as "--output" or "config.weights".
      stream: "-" stands for a standard stream.
      words: texts with a meaning of their own, which are returned as they are; a file of such a name is ./NAME.

    Raises:
      UserError: a URL, a user without a home folder, or - where no stream can be used.
    """
    text = str(text)
    if text in words:
        return Path(text)
    if URL.match(text):
        own = f", such as {unquote(urlsplit(text).path)}" if text.startswith("file:") else ""
        raise UserError(f"{what} {text} is a URL, and only files of this machine can be used; give a path{own}")
    if text == str(STANDARD_STREAM):
        if not stream:
            raise UserError(f"{what} -: only a photo can be read from standard input, and only a picture written to it")
        return STANDARD_STREAM
    path = _expand_home(Path(text), what) if text.startswith("~") else Path(text)
    # pathlib drops the ./ with which the user says that a name starting so has no other meaning.
    has_meaning = str(path).startswith("~") or str(path) in (str(STANDARD_STREAM), *words) or URL.match(str(path))
    return Path.cwd() / path if has_meaning else path


def _expand_home(path: Path, what: str) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # there is no such user
        if len(path.parts) == 1:  # as in shells: the name of a file, such as ~draft.png
            return path
        raise UserError(f"{what} {path}: there is no home folder {path.parts[0]}; give the whole path") from error
