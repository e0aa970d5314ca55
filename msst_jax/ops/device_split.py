"""Work over several devices: which ones they are, and what each of them has a copy of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class DeviceSplit:
    """Devices that share work.

    Attributes:
      mesh: the devices, along a single axis.
    """

    mesh: Mesh

    @property
    def devices(self) -> int:
        """How many there are."""
        return self.mesh.size

    @property
    def everywhere(self) -> NamedSharding:
        """Of what every device has a copy of."""
        return NamedSharding(self.mesh, PartitionSpec())


def device_mesh(devices: Sequence[jax.Device], axis: str) -> Mesh:
    """The devices along an axis of that name."""
    return Mesh(np.array(devices), (axis,))


def gather(array: jax.Array) -> jax.Array:
    """An array as a whole, on a single device."""
    sharding = getattr(array, "sharding", None)
    if not isinstance(sharding, NamedSharding) or not isinstance(sharding.mesh, Mesh):  # an abstract one has no devices
        return array
    return jax.device_put(array, sharding.mesh.devices.flat[0])


def place_everywhere(tree: Any, split: DeviceSplit | None) -> Any:
    """Arrays, a copy of which goes to each device; None leaves all where they are."""
    return tree if split is None else jax.device_put(tree, split.everywhere)
