"""A batch over several devices, each of which computes its own share: frames of a video, runs of an optimization.

What is computed of such arrays is mapped over the shares, not left to XLA's partitioner: so nothing is exchanged but
what a function exchanges by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from msst_jax.ops.device_split import DeviceSplit, device_mesh

BATCH = "batch"
"""Name of the axis of the devices."""
SHARE, WHOLE = PartitionSpec(BATCH), PartitionSpec()
"""Of arrays that are divided along their first axis, and of those that every device has a copy of."""


@dataclass(frozen=True)
class BatchSplit(DeviceSplit):
    """How arrays (N, ...) lie on devices: each has an equal share of the first axis, in their order."""

    @property
    def shares(self) -> NamedSharding:
        """Of arrays whose first axis is a multiple of the devices."""
        return NamedSharding(self.mesh, SHARE)

    def of_shares(self, function: Callable[..., Any], arguments: Any, results: Any = SHARE) -> Callable[..., Any]:
        """What each device computes with `function` of its shares.

        Args:
          function: of arrays, the collectives of which have the axis BATCH.
          arguments: SHARE or WHOLE for each; a single one for all of them.
          results: as `arguments`.
        """
        # What JAX checks otherwise, which values differ by device, it asks of every operation; not all of them tell.
        return jax.shard_map(function, mesh=self.mesh, in_specs=arguments, out_specs=results, check_vma=False)


def split_batch(devices: Sequence[jax.Device]) -> BatchSplit | None:
    """The split over devices; None for a single one."""
    return BatchSplit(device_mesh(devices, BATCH)) if len(devices) > 1 else None


def place_shares(tree: Any, split: BatchSplit) -> Any:
    """Arrays (N, ...), a share of which goes to each device."""
    return jax.device_put(tree, split.shares)


def batch_split_of(array: jax.Array) -> BatchSplit | None:
    """How an array (N, ...) lies on devices; None if it is not divided along its first axis."""
    sharding: Any = getattr(array, "sharding", None)
    if (
        not isinstance(sharding, NamedSharding)
        or not isinstance(sharding.mesh, Mesh)
        or tuple(sharding.spec)[:1] != (BATCH,)
    ):
        return None
    return BatchSplit(sharding.mesh)
