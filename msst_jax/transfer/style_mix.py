"""What a region takes its style from, as a text: one painting, several with weights, or KEEP.

a.jpg               one painting
a.jpg:2,b.jpg:1     two, of which the first counts twice as much
a.jpg,b.jpg         two that count the same
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from msst_jax.errors import UserError
from msst_jax.presets.validation import check_number
from msst_jax.regions.masks import BACKGROUND
from msst_jax.transfer.kept import KEEP


class WeightedFile(NamedTuple):
    """One of the paintings of a region."""

    file: str
    weight: float = 1.0
    """Above zero; only its ratio to the others' counts."""


StyleMix = tuple[WeightedFile, ...]
"""The paintings of a region; none if it is left the photo."""


def parse_style_mix(text: str, what: str, resolve: Callable[[str], str] = str) -> StyleMix:
    """The paintings that a text names.

    Names may hold commas and colons: the longest part of the list that names an existing file is one painting, so that
    the whole text is one if there is such a file.

    Args:
      text: FILE, FILE:WEIGHT,FILE:WEIGHT,... or KEEP.
      what: names it in errors, such as "--style person".
      resolve: a path as it was written to the one that is opened; may raise UserError.

    Raises:
      UserError: an empty part, a weight that is not finite and above zero, a painting twice, KEEP beside a painting.
    """
    if text == KEEP:
        return ()
    parts = text.split(",")
    mix: list[WeightedFile] = []
    while parts:
        count, painting = _first_painting(parts, resolve)
        if not painting.file:
            raise UserError(f"{what} {text!r} has a part without a file; write for example A.jpg:2,B.jpg:1")
        if painting.file == KEEP:
            raise UserError(
                f"{what} {text!r}: {KEEP} leaves the region the photo and stands alone; leave it out, or write "
                f"./{KEEP} for a painting in a file of this name"
            )
        check_number(f"the weight of {what} {painting.file}", painting.weight, positive=True)
        mix.append(painting)
        del parts[:count]
    _check_different([painting.file for painting in mix], f"{what} {text!r}")
    return tuple(mix) if len(mix) > 1 else (mix[0]._replace(weight=1.0),)


def _first_painting(parts: Sequence[str], resolve: Callable[[str], str]) -> tuple[int, WeightedFile]:
    """The first painting of a list and how many parts its name is of; one part if none names an existing file."""
    for count in range(len(parts), 0, -1):
        whole = ",".join(parts[:count])
        file, weight = _split_weight(whole)
        for candidate in (WeightedFile(whole), WeightedFile(file, weight)):
            if candidate.file and os.path.exists(path := _resolved(candidate.file, resolve)):
                return count, candidate._replace(file=path)
    return 1, WeightedFile(_resolved(file, resolve), weight)


def _split_weight(text: str) -> tuple[str, float]:
    """ "a.jpg:2" to ("a.jpg", 2.0); what has no number behind the last colon has the weight 1."""
    file, colon, number = text.rpartition(":")
    try:
        return (file, float(number)) if colon else (text, 1.0)
    except ValueError:
        return text, 1.0


def _resolved(file: str, resolve: Callable[[str], str]) -> str:
    return file if file in ("", KEEP) else resolve(file)


def _check_different(files: Sequence[str], what: str) -> None:
    """Raises UserError for a file that is there twice, under whichever name."""
    seen: set[str] = set()
    for file in files:
        if (real := os.path.realpath(file)) in seen:
            raise UserError(
                f"{what} has the painting {file} twice; leave one out, or give it once with a larger weight"
            )
        seen.add(real)


def format_style_mix(mix: StyleMix) -> str:
    """The text that `parse_style_mix` reads; of several paintings every one has its weight, as it was given."""
    if len(mix) == 1:
        return mix[0].file
    return ",".join(f"{file}:{repr(weight).removesuffix('.0')}" for file, weight in mix) or KEEP


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights, above zero, as shares of their sum."""
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def check_background_style(styles: Collection[str], what: str, instead: str = "") -> None:
    """Raises UserError unless the background, which is what no other region claims, has a style.

    Args:
      styles: the regions that have one.
      what: needs it, such as "a video".
      instead: another way, such as ", or --model".
    """
    if BACKGROUND not in styles:
        found = f"found {', '.join(styles) or 'none'}"
        raise UserError(f"{what} needs --style {BACKGROUND}=FILE, and one for each other region{instead}; {found}")


def painting_files(styles: Mapping[str, str]) -> list[str]:
    """The files of all paintings in {region: text}."""
    mixes = [parse_style_mix(text, f"style of {name}") for name, text in styles.items()]
    return [painting.file for mix in mixes for painting in mix]
