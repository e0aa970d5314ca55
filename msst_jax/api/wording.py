"""Messages that name flags of the command line, in the words of a caller from Python."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from msst_jax.errors import UserError
from msst_jax.registry import IMPORT_HINT

_WORDS: tuple[tuple[str, str], ...] = (
    (re.escape(IMPORT_HINT), "one of your own is registered first"),
    (r"the run of --config had --import (\S+): add it", r"the run of the preset had imported \1: import it first"),
    (r"--config\.(\w+)", r"\1"),
    (r"\bconfig\.(\w+)", r"\1"),
    (r"--config\b", "preset"),
    (r"\b(its|their) --(\w+)", r"\1 \2"),
    (r"paint it: `[^`]*` writes [^;]*; make it white in the region and give ", "give "),
    (r"--point ([^\s=:;,]+)=(\d+),(\d+)", r"points['\1']=(\2, \3)"),
    (r"--(style|mask) ([^\s=:;,]+)=FILE", r"\1s['\2']"),
    (r"--(style|mask) ([^\s=:;,]+)=(\S+)", r"\1s['\2']='\3'"),
    (r"--(style|mask) ([^\s=:;,]+)(?=[:;,]|$)", r"\1s['\2']"),
    (r"--(style|mask|point)\b", r"\1s"),
    (r"--resume\b", "resume=True"),
    (r"\bwith -o\b", "as output"),
    (r"(?<!\S)-o\b", "output"),
)


def callers_words(text: str) -> str:
    """A message with arguments in place of flags: --config.size=0 is size=0, --mask dog=FILE is masks['dog']."""
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda flag: flag[1].replace("-", "_"), text)


@contextmanager
def in_callers_words() -> Iterator[None]:
    """Puts the message of a UserError that leaves the block into `callers_words`."""
    try:
        yield
    except UserError as error:
        error.args = (callers_words(str(error)),)
        raise
