"""Region masks from class probabilities: which classes make a region, and what is in a photo."""

from collections.abc import Iterable, Sequence

import numpy as np

from msst_jax.errors import UserError
from msst_jax.models.voc import CLASSES
from msst_jax.regions.components import _small_components, remove_small_components
from msst_jax.regions.inference import ALL_CLASSES
from msst_jax.regions.masks import BACKGROUND, format_fractions

SINGLE_CLASSES = tuple((index,) for index in ALL_CLASSES[1:])  # every class but the background
GIVEN_MASKS = "masks given"  # stands after the classes where masks of a person's claim a part of the photo


def class_indices(region: str) -> tuple[int, ...]:
    """The classes that a region's name joins: "person+dog" to (15, 12).

    Raises:
      UserError: a name that is no class, or one joined with the background.
    """
    names = region.split("+")
    for name in names:
        if name not in CLASSES:
            raise UserError(
                f"there is no region {name!r}; regions are {', '.join(CLASSES)}, or any name with a mask: "
                f"correct the name or give --mask {region}=FILE"
            )
    if BACKGROUND in names:
        raise UserError(f"region {region!r}: {BACKGROUND} is what no other region claims, it cannot be joined")
    return tuple(CLASSES.index(name) for name in names)


def region_classes(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The classes of every region but the background.

    Raises:
      UserError: as `class_indices`, or a class in two regions.
    """
    groups = {name: class_indices(name) for name in names if name != BACKGROUND}
    owners: dict[int, str] = {}
    for name, group in groups.items():
        for index in group:
            if index in owners:
                raise UserError(
                    f"class {CLASSES[index]!r} is named twice, in region {owners[index]!r} and in {name!r}; "
                    "leave one out"
                )
            owners[index] = name
    return groups


def region_masks(
    probabilities: np.ndarray,
    names: Sequence[str],
    *,
    claimed: np.ndarray | None = None,
    min_speck: float = 0.0,
    hard: bool = False,
    must_exist: bool = True,
) -> dict[str, np.ndarray]:
    """The masks {name: float32 (H, W) in [0, 1]} of regions; their sum is at most 1, with `claimed` too.

    "background" gets no mask here: it is what the others leave, `regions.combine` gives it that.

    Args:
      probabilities: (H, W, 21), see `class_probabilities`.
      names: classes, joined by + where a region has several.
      claimed: (H, W) in [0, 1], what other masks have taken already: nothing is found there.
      min_speck: percent of the photo; smaller pieces of a region, and holes in it, go to what is around them, see
        `remove_small_components`.
      hard: 1 where one of the region's classes is the likeliest, 0 elsewhere, instead of probabilities.
      must_exist: a region that is not in the photo is an error; else it gets a mask that is (nearly) empty.

    Raises:
      UserError: as `region_classes`, or a region that is not in the photo; the error lists the classes that are.
    """
    groups = region_classes(names)
    left = probabilities if claimed is None else _with_claimed(probabilities, claimed)
    # Specks of classes that nobody named are removed too: they would be holes in a region that somebody did name.
    named = {index for group in groups.values() for index in group}
    others = [group for group in SINGLE_CLASSES if group[0] not in named]
    cleaned = remove_small_components(left, [*groups.values(), *others], min_speck)
    masks = {name: class_mask(cleaned, group, hard=hard) for name, group in groups.items()}
    for name, mask in masks.items():
        if must_exist and mask.max() < 0.5:
            raise UserError(_not_found(name, probabilities, left, min_speck, mask.max()))
    return masks


def _with_claimed(probabilities: np.ndarray, claimed: np.ndarray) -> np.ndarray:
    """Probabilities (H, W, C + 1) where masks (H, W) claim a part of every pixel; that part comes last."""
    claimed = claimed[..., None]
    return np.concatenate([probabilities * (1 - claimed), claimed], -1)


def class_mask(probabilities: np.ndarray, classes: Sequence[int], *, hard: bool = False) -> np.ndarray:
    """The mask, float32 (H, W) in [0, 1], of some classes; see `region_masks`."""
    if hard:
        return np.isin(probabilities.argmax(-1), classes).astype(np.float32)
    return np.clip(probabilities[..., list(classes)].sum(-1), 0, 1).astype(np.float32)


def _not_found(name: str, everywhere: np.ndarray, left: np.ndarray, min_speck: float, certainty: float) -> str:
    """Why a region is empty; from the probabilities `everywhere` and those `left` beside the masks given."""
    group = class_indices(name)
    pieces = np.isin(left.argmax(-1), group)
    advice = f"leave its --style out or give --mask {name}=FILE"
    if not np.isin(everywhere.argmax(-1), group).any():
        reason = "was not found in the photo"
    elif not pieces.any():
        reason = "lies wholly under the masks given"
    elif _small_components(pieces, min_speck / 100 * pieces.size).all():
        reason = f"was found only in specks smaller than config.min_speck = {min_speck:g}% of the photo"
    else:
        reason = f"is nowhere more than half certain ({certainty:.0%} at most, yet likelier there than any other)"
        advice = f"take it all the same with --config.hard_masks=True, or {advice}"
    return f"region {name!r} {reason}; found: {format_fractions(class_fractions(left, min_speck))}: {advice}"


def class_fractions(probabilities: np.ndarray, min_speck: float = 0.0) -> dict[str, float]:
    """The share of the photo of every class found in it, largest first; they add up to 1.

    Args:
      probabilities: (H, W, 21), or (H, W, 22) where the last is what masks claim.
      min_speck: percent of the photo; smaller pieces do not count.
    """
    cleaned = remove_small_components(probabilities, SINGLE_CLASSES, min_speck)
    names = (*CLASSES, GIVEN_MASKS)
    shares = np.bincount(cleaned.argmax(-1).ravel(), minlength=len(names)) / cleaned[..., 0].size
    return {names[index]: float(shares[index]) for index in np.argsort(-shares, kind="stable") if shares[index]}
