"""The styles of the regions as a caller has them: a painting, several with weights, or "keep"."""

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

from msst_jax.api.pictures import Picture, PictureLike, take_picture
from msst_jax.errors import UserError, nearest_or_all
from msst_jax.models.voc import CLASSES
from msst_jax.presets.validation import check_number
from msst_jax.regions.masks import BACKGROUND
from msst_jax.regions.region_names import class_names
from msst_jax.transfer.kept import KEEP

StyleLike: TypeAlias = PictureLike | Mapping[str, float] | Sequence[PictureLike] | Sequence[tuple[PictureLike, float]]
"""A painting; several as {path: weight}, [painting, ...] or [(painting, weight), ...]; or "keep", to stay the photo."""


class WeightedPicture(NamedTuple):
    """One of the paintings of a region."""

    picture: Picture
    weight: float
    file: str
    """Its path; empty if it was none."""


def take_styles(styles: Any) -> dict[str, tuple[WeightedPicture, ...]]:
    """{region: its paintings}, none of one that stays the photo.

    Raises:
      UserError: no mapping, an empty one, a style that is none, or every region stays the photo.
    """
    taken = {name: take_style_mix(value, name) for name, value in check_styles(styles).items()}
    if not any(taken.values()):
        raise UserError(f"styles keeps every region as it is ({', '.join(taken)}); give one of them a painting")
    return {
        name: tuple(
            WeightedPicture(take_picture(each, f"styles[{name!r}]"), weight, _file(each)) for each, weight in mix
        )
        for name, mix in taken.items()
    }


def check_styles(styles: Any) -> Mapping[str, Any]:
    """The styles, if they are a mapping from names to anything; else UserError."""
    if not isinstance(styles, Mapping):
        raise UserError(f"styles is of the type {type(styles).__name__}; give {{region: painting}}")
    if not styles:
        raise UserError(f"styles is empty; give for example {{{BACKGROUND!r}: painting}}")
    for name in styles:
        if not isinstance(name, str) or not name:
            raise UserError(f"styles has the region {name!r}; a region is called by a text, such as 'person'")
    return styles


def take_style_mix(value: Any, name: str) -> list[tuple[Any, float]]:
    """The paintings of a region as they were given, and their weights; none if it stays the photo.

    Raises:
      UserError: no paintings, or a weight that is not above zero.
    """
    what = f"styles[{name!r}]"
    if isinstance(value, str) and value == KEEP:
        return []
    if isinstance(value, Mapping):
        mix = list(value.items())
    elif isinstance(value, list | tuple):
        mix = [each if _is_pair(each) else (each, 1.0) for each in value]
    else:
        mix = [(value, 1.0)]
    if not mix:
        raise UserError(f"{what} is empty; give a painting, or {KEEP!r} to leave the region the photo")
    for painting, weight in mix:
        if isinstance(painting, str) and painting == KEEP:
            raise UserError(f"{what} has {KEEP!r} among paintings; it leaves the region the photo and stands alone")
        check_number(f"a weight of {what}", weight, positive=True)
    return mix


def check_regions(names: Sequence[str], masked: Sequence[str], classes: Sequence[str] = CLASSES) -> None:
    """Raises UserError for a region without a mask that is no class of the segmenter, with the nearest one that is."""
    for name in names:
        if name in masked or name == BACKGROUND:
            continue
        for part in class_names(name):
            if part not in classes:
                meant = nearest_or_all(part, classes, "those that are segmented are {}")
                raise UserError(
                    f"there is no region {name!r}, unless masks has one for it or a segmenter of your own knows it "
                    f"(docs/python.md); {meant}"
                )


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Real)


def _file(value: Any) -> str:
    return os.fspath(value) if isinstance(value, str | os.PathLike) else ""
