"""Region masks from class probabilities: maps region names to classes, lists the classes in a photo."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.models.voc import CLASSES
from msst_jax.regions.components import near_small_components, remove_small_components
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import BACKGROUND, MaskOptions, foreground, format_fractions
from msst_jax.regions.segmenter import AnySegmenter, Size

GIVEN_MASKS = "given masks"  # the extra class after the others: the part of the photo that the user's masks claim


def single_classes(classes: Sequence[str]) -> tuple[tuple[int], ...]:
    """The index of every class but the background, as a group of its own."""
    return tuple((index,) for index, name in enumerate(classes) if name != BACKGROUND)


def class_indices(region: str, classes: Sequence[str] = CLASSES) -> tuple[int, ...]:
    """The class indices of a region's name, classes joined by +: "person+dog" to (15, 12).

    Args:
      region: the name.
      classes: those of the segmenter, see `segmenter.segmenter_classes`.

    Raises:
      UserError: a name that is not a class, or a combination with the background.
    """
    names = region.split("+")
    for name in names:
        if name not in classes:
            raise UserError(
                f"there is no region {name!r}; regions are {', '.join(classes)}, or any name with a mask: "
                f"correct the name or give --mask {region}=FILE"
            )
    if BACKGROUND in names:
        raise UserError(f"region {region!r}: {BACKGROUND} is what no other region claims, it cannot be combined")
    return tuple(classes.index(name) for name in names)


def region_classes(names: Iterable[str], classes: Sequence[str] = CLASSES) -> dict[str, tuple[int, ...]]:
    """The class indices of every region but the background; `classes` as in `class_indices`.

    Raises:
      UserError: as `class_indices`, or a class in two regions.
    """
    groups = {name: class_indices(name, classes) for name in names if name != BACKGROUND}
    owners: dict[int, str] = {}
    for name, group in groups.items():
        for index in group:
            if index in owners:
                raise UserError(
                    f"class {classes[index]!r} is named twice, in region {owners[index]!r} and in {name!r}; "
                    "leave one out"
                )
            owners[index] = name
    return groups


def region_masks(
    probabilities: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str] = CLASSES,
    *,
    claimed: np.ndarray | None = None,
    min_speck: float = 0.0,
    hard: bool = False,
    must_exist: bool = True,
) -> dict[str, np.ndarray]:
    """The masks {name: float32 (H, W) in [0, 1]} of regions; their sum, including `claimed`, is at most 1.

    "background" gets no mask here: `masks.compose_masks` assigns it what no other region claims.

    Args:
      probabilities: (H, W, C), see `class_probabilities`.
      names: classes, joined by + where a region has several.
      classes: names of the C classes.
      claimed: (H, W) in [0, 1], the sum of the given masks; it is subtracted from the segmented regions.
      min_speck: percent of the photo; smaller components of a region, and holes in it, are merged into their
        surroundings, see `remove_small_components`.
      hard: 1 where one of the region's classes is the likeliest, 0 elsewhere, instead of probabilities.
      must_exist: a region that is not in the photo is an error; else its mask is (nearly) empty.

    Raises:
      UserError: as `region_classes`, or a region that is not in the photo; the error lists the classes that are.
    """
    groups = region_classes(names, classes)
    unclaimed = probabilities if claimed is None else _append_claimed(probabilities, claimed)
    # Specks of unnamed classes are removed too: they would be holes in a named region.
    named = {index for group in groups.values() for index in group}
    others = [group for group in single_classes(classes) if group[0] not in named]
    cleaned = remove_small_components(unclaimed, [*groups.values(), *others], min_speck)
    masks = {name: class_mask(cleaned, group, hard=hard) for name, group in groups.items()}
    for name, mask in masks.items():
        if must_exist and mask.max() < 0.5:
            raise UserError(
                _explain_empty_region(name, classes, (probabilities, unclaimed), min_speck, float(mask.max()))
            )
    return masks


def _append_claimed(probabilities: np.ndarray, claimed: np.ndarray) -> np.ndarray:
    """Probabilities (H, W, C + 1): the C classes scaled by what `claimed` (H, W) leaves, and `claimed` as the last."""
    claimed = claimed[..., None]
    return np.concatenate([probabilities * (1 - claimed), claimed], -1)


def class_mask(probabilities: np.ndarray, classes: Sequence[int], *, hard: bool = False) -> np.ndarray:
    """The mask, float32 (H, W) in [0, 1], of the union of classes; see `region_masks`."""
    if hard:
        return np.isin(probabilities.argmax(-1), classes).astype(np.float32)
    return np.clip(probabilities[..., list(classes)].sum(-1), 0, 1).astype(np.float32)


def _explain_empty_region(
    name: str, classes: Sequence[str], before_and_after: tuple[np.ndarray, np.ndarray], min_speck: float, peak: float
) -> str:
    """The error message for an empty region.

    Args:
      name: of the region.
      classes: names of the C classes.
      before_and_after: the probabilities (H, W, C) before the given masks are subtracted, and (H, W, C), or
        (H, W, C + 1), after that, see `_append_claimed`.
      min_speck: as in `region_masks`.
      peak: the largest probability of the region.
    """
    probabilities, unclaimed = before_and_after
    group = class_indices(name, classes)
    likeliest = np.isin(unclaimed.argmax(-1), group)
    advice = f"leave its --style out or give --mask {name}=FILE"
    if not np.isin(probabilities.argmax(-1), group).any():
        reason = "was not found in the photo"
    elif not likeliest.any():
        reason = "is entirely covered by the given masks"
    elif near_small_components(likeliest, min_speck / 100 * likeliest.size).all():
        reason = f"was found only in specks smaller than config.min_speck = {min_speck:g}% of the photo"
    else:
        reason = f"has a probability of at most {peak:.0%}, although it is the likeliest class somewhere"
        advice = f"keep it with --config.hard_masks=True, or {advice}"
    found = format_fractions(class_fractions(unclaimed, min_speck, classes))
    return f"region {name!r} {reason}; found: {found}: {advice}"


def class_fractions(
    probabilities: np.ndarray, min_speck: float = 0.0, classes: Sequence[str] = CLASSES
) -> dict[str, float]:
    """The area fraction of every class in the photo, largest first; they sum to 1.

    Args:
      probabilities: (H, W, C), or (H, W, C + 1) where the last is what the given masks claim.
      min_speck: percent of the photo; smaller components do not count.
      classes: names of the C classes.
    """
    cleaned = remove_small_components(probabilities, single_classes(classes), min_speck)
    names = (*classes, GIVEN_MASKS)
    fractions = np.bincount(cleaned.argmax(-1).ravel(), minlength=len(names)) / cleaned[..., 0].size
    return {names[i]: float(fractions[i]) for i in np.argsort(-fractions, kind="stable") if fractions[i]}


def segment_classes(
    options: MaskOptions, segmenter: AnySegmenter, picture: Image.Image, size: Size
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The area fraction of every class in a photo, and the masks {name: (H, W)} of all but the background.

    Args:
      options: see `MaskOptions`.
      segmenter: the network.
      picture: the photo, as large as it is.
      size: (width, height) of the masks.

    Raises:
      UserError: as `class_probabilities`.
    """
    probabilities = class_probabilities(segmenter, picture, size, refine=options.refine_edges)
    classes = segmenter.classes
    cleaned = remove_small_components(probabilities, single_classes(classes), options.min_speck)
    fractions = class_fractions(cleaned, classes=classes)
    masks = {
        name: class_mask(cleaned, class_indices(name, classes), hard=options.hard) for name in foreground(fractions)
    }
    return fractions, masks
