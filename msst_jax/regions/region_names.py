"""The grammar of region names: classes of a segmenter, joined by +, each all that there is of it or one by its number.

"person" is every person, "person+dog" both classes as one region, "person#1" the first person from the left.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msst_jax.errors import UserError, nearest_or_all
from msst_jax.models.voc import CLASSES
from msst_jax.registry import BACKGROUND

OR_OWN_SEGMENTER = ", or a --segmenter of your own that knows it (docs/python.md)"


class Part(NamedTuple):
    """What one of the names joined by + stands for."""

    channel: int
    """The index of the class."""
    number: int = 0
    """Of the instance, from 1; 0 = all of the class that no region names by a number."""


def class_names(region: str) -> list[str]:
    """The names of the classes that a region is made of: "person#1+dog" to ["person", "dog"]."""
    return [name.partition("#")[0] for name in region.split("+")]


def parse_region(region: str, classes: Sequence[str] = CLASSES) -> tuple[Part, ...]:
    """What a region is made of: "person#1+dog" to (Part(15, 1), Part(12)).

    Args:
      region: its name.
      classes: those of the segmenter, see `segmenter.segmenter_classes`.

    Raises:
      UserError: a name that is not a class, a number that is none, or a combination with the background.
    """
    parts = [_parse_part(region, part, classes) for part in region.split("+")]
    if BACKGROUND in class_names(region):
        raise UserError(f"region {region!r}: {BACKGROUND} is what no other region claims, it cannot be combined")
    return tuple(parts)


def _parse_part(region: str, text: str, classes: Sequence[str]) -> Part:
    name, mark, number = text.partition("#")
    if name not in classes:
        similar = nearest_or_all(name, classes, "")
        raise UserError(
            f"there is no region {name!r}; regions are {', '.join(classes)}, or any name with a mask: correct the name "
            f"{f'({similar}) ' if similar else ''}or give --mask {region}=FILE{OR_OWN_SEGMENTER}"
        )
    if mark and (not number.isdecimal() or int(number) < 1):
        raise UserError(
            f"region {region!r}: {number or 'nothing'} after # is no number; those in a photo are counted from 1, "
            f"left to right: write {name}#1, or {name} for all"
        )
    return Part(classes.index(name), int(number) if mark else 0)


def region_parts(names: Iterable[str], classes: Sequence[str] = CLASSES) -> dict[str, tuple[Part, ...]]:
    """What every region but the background is made of; `classes` as in `parse_region`.

    Raises:
      UserError: as `parse_region`, or a class, or an instance of it, in two regions.
    """
    parsed = {name: parse_region(name, classes) for name in names if name != BACKGROUND}
    owners: dict[Part, str] = {}
    for name, parts in parsed.items():
        for part in parts:
            if part in owners:
                raise UserError(
                    f"class {part_name(part, classes)!r} is named twice, in region {owners[part]!r} and in {name!r}; "
                    "leave one out"
                )
            owners[part] = name
    return parsed


def part_name(part: Part, classes: Sequence[str]) -> str:
    """ "person", or "person#1" of an instance."""
    return f"{classes[part.channel]}#{part.number}" if part.number else classes[part.channel]


def region_classes(names: Iterable[str], classes: Sequence[str] = CLASSES) -> dict[str, tuple[int, ...]]:
    """The class indices of every region but the background, where instances cannot be told from each other.

    Args:
      names: of the regions; "person+dog" gives (15, 12).
      classes: as in `parse_region`.

    Raises:
      UserError: as `region_parts`, or a region names an instance.
    """
    parsed = region_parts(names, classes)
    for name, parts in parsed.items():
        if any(part.number for part in parts):
            whole = "+".join(class_names(name))
            raise UserError(
                f"region {name!r}: # counts what is in one photo, and nothing is followed through a video or a "
                f"training; name {whole}, or give --mask {name}=FILE"
            )
    return {name: tuple(part.channel for part in parts) for name, parts in parsed.items()}
