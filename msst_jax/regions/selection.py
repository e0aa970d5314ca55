"""Region masks from class probabilities, and what is in a photo: its classes, and the instances of each."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from msst_jax.errors import UserError
from msst_jax.models.voc import CLASSES
from msst_jax.regions.absent import Absent, explain_absent, explain_uncounted
from msst_jax.regions.components import remove_small_components
from msst_jax.regions.instances import Instances, find_instances, split_instances
from msst_jax.regions.masks import BACKGROUND, MaskOptions, foreground, format_fractions, format_percent
from msst_jax.regions.points import Point, pointed_mask
from msst_jax.regions.region_names import Part, parse_region, part_name, region_parts

# The extra class after the others: the part of the photo that the user claims, by masks or by points.
GIVEN_MASKS = "given masks"
GIVEN_POINTS = "given points"


def single_classes(classes: Sequence[str]) -> tuple[tuple[int], ...]:
    """The index of every class but the background, as a group of its own."""
    return tuple((index,) for index, name in enumerate(classes) if name != BACKGROUND)


def region_masks(
    probabilities: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str] = CLASSES,
    *,
    claimed: np.ndarray | None = None,
    claimants: str = GIVEN_MASKS,
    min_speck: float = 0.0,
    hard: bool = False,
    must_exist: bool = True,
) -> dict[str, np.ndarray]:
    """The masks {name: float32 (H, W) in [0, 1]} of regions; their sum, including `claimed`, is at most 1.

    "background" gets no mask here: `masks.compose_masks` assigns it what no other region claims.

    Args:
      probabilities: (H, W, C), see `class_probabilities`.
      names: see `region_names`; instances are counted before anything is claimed.
      classes: names of the C classes.
      claimed: (H, W) in [0, 1], the sum of the given masks; it is subtracted from the segmented regions.
      claimants: what errors call it.
      min_speck: percent of the photo; smaller components of a region, and holes in it, are merged into their
        surroundings, see `remove_small_components`.
      hard: 1 where one of the region's classes is the likeliest, 0 elsewhere, instead of probabilities.
      must_exist: a region that is not in the photo is an error; else its mask is (nearly) empty.

    Raises:
      UserError: as `region_parts`, a region that is not in the photo, or an instance beyond those that are; the error
        lists what is.
    """
    regions = region_parts(names, classes)
    before, channels = _split(probabilities, regions, classes, min_speck)
    unclaimed = before if claimed is None else _append_claimed(before, claimed)
    groups = {name: tuple(channels[part] for part in parts) for name, parts in regions.items()}
    # Specks of unnamed classes are removed too: they would be holes in a named region.
    named = {channel for group in groups.values() for channel in group}
    others = [group for group in single_classes(classes) if group[0] not in named]
    cleaned = remove_small_components(unclaimed, [*groups.values(), *others], min_speck)
    masks = {name: class_mask(cleaned, group, hard=hard) for name, group in groups.items()}
    for name, mask in masks.items():
        if must_exist and mask.max() < 0.5:
            found = probabilities if claimed is None else _append_claimed(probabilities, claimed)
            raise UserError(
                explain_absent(
                    Absent(name, groups[name], float(mask.max())),
                    before,
                    unclaimed,
                    min_speck,
                    taken=_taken(regions[name], regions, probabilities, classes),
                    found=class_fractions(found, min_speck, classes, claimants),
                    claimants=claimants,
                )
            )
    return masks


def _split(
    probabilities: np.ndarray, regions: Mapping[str, Sequence[Part]], classes: Sequence[str], min_speck: float
) -> tuple[np.ndarray, dict[Part, int]]:
    """The probabilities with channels for the instances that regions name, and the channel of every part of a region.

    Raises:
      UserError: an instance that is not in the photo.
    """
    parts = [part for region in regions.values() for part in region]
    wanted = [part for part in parts if part.number]
    channels = {part: part.channel for part in parts}
    if not wanted:
        return probabilities, channels
    cleaned = remove_small_components(probabilities, single_classes(classes), min_speck)
    likeliest = cleaned.argmax(-1)
    found = {index: find_instances(likeliest == index) for index in {part.channel for part in wanted}}
    for name, region in regions.items():
        for part in region:
            count = len(found[part.channel].fractions) if part.number else 0
            if part.number > count:
                fractions = class_fractions(cleaned, classes=classes)
                raise UserError(explain_uncounted(name, classes[part.channel], found[part.channel], fractions))
    channels.update({part: len(classes) + index for index, part in enumerate(wanted)})
    return split_instances(probabilities, found, wanted), channels


def _taken(
    own: Sequence[Part], regions: Mapping[str, Sequence[Part]], probabilities: np.ndarray, classes: Sequence[str]
) -> list[str]:
    """The instances in other regions, where all that is in the photo of a region is in these."""
    whole = {part.channel for part in own if not part.number}
    if not np.isin(probabilities.argmax(-1), [*whole]).any():
        return []
    others = [part for parts in regions.values() for part in parts if part.number and part.channel in whole]
    return [part_name(part, classes) for part in others]


def _append_claimed(probabilities: np.ndarray, claimed: np.ndarray) -> np.ndarray:
    """Probabilities (H, W, C + 1): the C classes scaled by what `claimed` (H, W) leaves, and `claimed` as the last."""
    claimed = claimed[..., None]
    return np.concatenate([probabilities * (1 - claimed), claimed], -1)


def class_mask(probabilities: np.ndarray, classes: Sequence[int], *, hard: bool = False) -> np.ndarray:
    """The mask, float32 (H, W) in [0, 1], of the union of classes; see `region_masks`."""
    if hard:
        return np.isin(probabilities.argmax(-1), classes).astype(np.float32)
    return np.clip(probabilities[..., list(classes)].sum(-1), 0, 1).astype(np.float32)


def class_fractions(
    probabilities: np.ndarray,
    min_speck: float = 0.0,
    classes: Sequence[str] = CLASSES,
    claimants: str = GIVEN_MASKS,
) -> dict[str, float]:
    """The area fraction of every class in the photo, largest first; they sum to 1.

    Args:
      probabilities: (H, W, C), or (H, W, C + 1) where the last is what the given masks claim.
      min_speck: percent of the photo; smaller components do not count.
      classes: names of the C classes.
      claimants: the name of the last.
    """
    cleaned = remove_small_components(probabilities, single_classes(classes), min_speck)
    names = (*classes, claimants)
    fractions = np.bincount(cleaned.argmax(-1).ravel(), minlength=len(names)) / cleaned[..., 0].size
    return {names[i]: float(fractions[i]) for i in np.argsort(-fractions, kind="stable") if fractions[i]}


class Found(NamedTuple):
    """What is in a photo."""

    fractions: dict[str, float]
    """The area fraction of every class, largest first, see `class_fractions`."""
    masks: dict[str, np.ndarray]
    """{class: float32 (H, W) in [0, 1]} of all but the background."""
    instances: dict[str, Instances]
    """Of the same classes."""

    @property
    def several(self) -> dict[str, Instances]:
        """The instances of the classes that have more than one."""
        return {name: found for name, found in self.instances.items() if len(found.fractions) > 1}

    def count(self, name: str) -> int:
        """How many instances of a class there are."""
        return len(self.instances[name].fractions) if name in self.instances else 0

    def instance_fractions(self) -> dict[str, float]:
        """{"person#1": area fraction, ...} of the classes that have several instances."""
        return {part: share for name, found in self.several.items() for part, share in found.named(name).items()}

    def instance_masks(self) -> dict[str, np.ndarray]:
        """{"person#1": (H, W), ...} of the classes that have several instances."""
        return {
            f"{name}#{number}": found.mask(self.masks[name], number)
            for name, found in self.several.items()
            for number in range(1, self.count(name) + 1)
        }

    def describe(self) -> dict[str, str]:
        """{class: "person 23% (#1 14%, #2 9%)"}, instances where there are several."""
        texts = {}
        for name, fraction in self.fractions.items():
            parts = self.several[name].named("") if name in self.several else {}
            texts[name] = f"{name} {format_percent(fraction)}" + (f" ({format_fractions(parts)})" if parts else "")
        return texts


def find_classes(options: MaskOptions, probabilities: np.ndarray, classes: Sequence[str]) -> Found:
    """What is in a photo with `probabilities` (H, W, C) of `classes`."""
    cleaned = remove_small_components(probabilities, single_classes(classes), options.min_speck)
    fractions, likeliest = class_fractions(cleaned, classes=classes), cleaned.argmax(-1)
    indices = {name: classes.index(name) for name in foreground(fractions)}
    return Found(
        fractions,
        {name: class_mask(cleaned, [index], hard=options.hard) for name, index in indices.items()},
        {name: find_instances(likeliest == index) for name, index in indices.items()},
    )


def select_regions(
    options: MaskOptions,
    probabilities: np.ndarray,
    classes: Sequence[str],
    names: Sequence[str],
    given: Mapping[str, np.ndarray],
    *,
    points: Mapping[Point, tuple[int, int]] = MappingProxyType({}),
    must_exist: bool = True,
) -> dict[str, np.ndarray]:
    """The masks of regions as `region_masks`, where no mask of the user's lies; a region with a point is what is there.

    Args:
      options: see `MaskOptions`.
      probabilities: (H, W, C), see `class_probabilities`.
      classes: names of the C classes.
      names: the regions to segment.
      given: {name: (H, W)}, the masks of the user's.
      points: {point: its (x, y) in pixels of the probabilities}; see `pointed_mask`.
      must_exist: see `region_masks`.

    Raises:
      UserError: as `region_masks` and `pointed_mask`.
    """
    claimed = options.claimed(sum(given.values())) if given else None
    pointed: dict[str, np.ndarray] = {}
    for point, at in points.items():
        unclaimed = probabilities if claimed is None else _append_claimed(probabilities, claimed)
        group = [part.channel for part in parse_region(point.region, classes)]
        mask = pointed_mask(unclaimed, group, point, at, (*classes, _claimants(given, pointed)))
        pointed[point.region] = (mask >= 0.5).astype(np.float32) if options.hard else mask
        claimed = options.claimed(sum({**given, **pointed}.values()))
    segmented = region_masks(
        probabilities,
        [name for name in names if name not in pointed],
        classes,
        claimed=claimed,
        claimants=_claimants(given, pointed),
        min_speck=options.min_speck,
        hard=options.hard,
        must_exist=must_exist,
    )
    return {**pointed, **segmented}


def _claimants(given: Mapping[str, np.ndarray], pointed: Mapping[str, np.ndarray]) -> str:
    if given and pointed:
        return "given masks and points"
    return GIVEN_POINTS if pointed else GIVEN_MASKS
