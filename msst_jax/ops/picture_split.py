"""A picture over several devices, each of which has an equal strip of its rows or of its columns.

XLA divides what is computed of such arrays by itself: convolutions exchange the few rows at the edges of the strips,
sums are added up. Where it would rather gather the picture on every device, an operation asks for the split, and
computes by strips.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from msst_jax.ops.device_split import DeviceSplit

STRIPS = "strips"
"""Name of the axis of the devices."""
ROWS, COLUMNS = -3, -2
"""Axes of a picture (..., H, W, C)."""


@dataclass(frozen=True)
class PictureSplit(DeviceSplit):
    """How pictures (..., H, W, C) lie on devices.

    Attributes:
      mesh: the devices, along STRIPS.
      axis: ROWS or COLUMNS: which each device has a strip of.
    """

    axis: int

    @property
    def other(self) -> int:
        """The axis that is whole on every device."""
        return ROWS + COLUMNS - self.axis

    def spec(self, dimensions: int) -> PartitionSpec:
        """Of pictures with so many dimensions."""
        return self._spec(dimensions, self.axis)

    def other_spec(self, dimensions: int) -> PartitionSpec:
        """As `spec`, of strips of the other axis."""
        return self._spec(dimensions, self.other)

    def sharding(self, dimensions: int) -> NamedSharding:
        """Of pictures with so many dimensions."""
        return NamedSharding(self.mesh, self.spec(dimensions))

    def sum_of_strips(self, function: Callable[..., jax.Array], *pictures: jax.Array) -> jax.Array:
        """The sum of `function` of the strips of pictures, which each device computes of its own."""

        def of_strip(*strips: jax.Array) -> jax.Array:
            return function(*strips)[None]

        # Summed outside, so that nothing is exchanged for the gradient. What JAX checks otherwise, which values differ
        # by device, it asks of every operation, and `linear_map` does not tell.
        specs = tuple(self.spec(picture.ndim) for picture in pictures)
        out = PartitionSpec(STRIPS)
        return jax.shard_map(of_strip, mesh=self.mesh, in_specs=specs, out_specs=out, check_vma=False)(*pictures).sum(0)

    def _spec(self, dimensions: int, axis: int) -> PartitionSpec:
        return PartitionSpec(*(STRIPS if index == dimensions + axis else None for index in range(dimensions)))


def place_pictures(tree: Any, split: PictureSplit | None) -> Any:
    """Arrays (..., H, W, C), each of which goes to its devices in strips; None leaves all where they are."""
    if split is None:
        return tree
    return jax.tree.map(lambda picture: jax.device_put(picture, split.sharding(picture.ndim)), tree)


def split_of(picture: jax.Array) -> PictureSplit | None:
    """How a picture (..., H, W, C) lies on devices; None if it is on a single one."""
    sharding: Any = getattr(picture, "sharding", None)
    if not isinstance(sharding, NamedSharding) or STRIPS not in sharding.spec:
        return None
    if not isinstance(sharding.mesh, Mesh):  # an abstract one has no devices
        return None
    return PictureSplit(sharding.mesh, sharding.spec.index(STRIPS) - picture.ndim)
