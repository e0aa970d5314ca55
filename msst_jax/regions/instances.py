"""Instances of a class in a photo: the connected components of what is segmented as it, numbered from left to right."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from msst_jax.regions.components import label_components, nearest_labels
from msst_jax.regions.masks import format_fractions
from msst_jax.regions.region_names import Part


class Instances(NamedTuple):
    """The components of a class, by the middle of each from left to right."""

    nearest: np.ndarray
    """(H, W), the number of the instance that is nearest to each pixel, from 1; 0 without instances."""
    fractions: tuple[float, ...]
    """Of the photo that each covers."""
    middles: tuple[tuple[float, float], ...]
    """(x, y) of each, in pixels."""

    def named(self, name: str) -> dict[str, float]:
        """{"person#1": area fraction, ...} of the class called `name`."""
        return {f"{name}#{number}": fraction for number, fraction in enumerate(self.fractions, start=1)}

    def mask(self, mask: np.ndarray, number: int) -> np.ndarray:
        """Of the mask (H, W) of the whole class, that of an instance: with the halo that is nearest to it."""
        return mask * (self.nearest == number)

    def describe(self, name: str) -> str:
        """ "2 of person, counted from the left: person#1 14%, person#2 9%"."""
        return f"{len(self.fractions)} of {name}, counted from the left: {format_fractions(self.named(name))}"


def find_instances(likeliest: np.ndarray) -> Instances:
    """The instances in the pixels (H, W) where a class is the likeliest, of which specks are removed."""
    labels = label_components(likeliest)
    if not labels.any():
        return Instances(labels, (), ())
    found = range(1, int(labels.max()) + 1)
    middles = [(float(x), float(y)) for y, x in ndimage.center_of_mass(likeliest, labels, found)]
    order = sorted(range(len(middles)), key=lambda index: middles[index])
    numbers = np.zeros(len(middles) + 1, int)
    numbers[[index + 1 for index in order]] = found
    counts = np.bincount(labels.ravel())
    return Instances(
        nearest_labels(numbers[labels]),
        tuple(float(counts[index + 1] / labels.size) for index in order),
        tuple(middles[index] for index in order),
    )


def split_instances(probabilities: np.ndarray, found: Mapping[int, Instances], wanted: Iterable[Part]) -> np.ndarray:
    """Gives instances channels of their own, after those of the classes, which keep what is left: (H, W, C + N).

    Args:
      probabilities: (H, W, C).
      found: the instances of each class that is split, by its index.
      wanted: the N instances, see `Part`.
    """
    wanted = [*wanted]
    split = np.concatenate([probabilities, np.zeros((*probabilities.shape[:2], len(wanted)), np.float32)], -1)
    for channel, part in enumerate(wanted, start=probabilities.shape[-1]):
        split[..., channel] = found[part.channel].mask(probabilities[..., part.channel], part.number)
        split[..., part.channel] -= split[..., channel]
    return split
