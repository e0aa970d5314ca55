"""The order of the frames of a batch: what each takes from the one before, on one device or on several.

Several devices have equal shares of consecutive frames, the first device the first ones, and what is here runs on each
of them, mapped as in `ops.batch_split`. A device hands its last frame on to the next one; no device gets the frames of
another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from msst_jax.ops.batch_split import BATCH


@dataclass(frozen=True)
class FrameOrder:
    """How the frames of a batch follow each other.

    Attributes:
      devices: that share the batch, along the axis BATCH of a mesh.
    """

    devices: int = 1

    def predecessors(self, frames: jax.Array, before: jax.Array) -> jax.Array:
        """What precedes each of this device's frames (n, ...); `before` (...) is what precedes the batch."""
        if self.devices > 1:
            before = jnp.where(self._is_device(0), before, self._handed_on(frames[-1]))
        return jnp.concatenate([before[None], frames[:-1]])

    def follows(self, seen: jax.Array) -> jax.Array:
        """Whether something precedes this device's first frame, if `seen` says so of the batch."""
        return seen if self.devices == 1 else seen | ~self._is_device(0)

    def last(self, frames: jax.Array) -> jax.Array:
        """The last of the whole batch (...), on every device, of this device's frames (n, ...)."""
        return self._of_last_device(frames[-1])

    def scan(self, step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, frames: Any) -> tuple[Any, Any]:
        """As `jax.lax.scan` over the whole batch.

        The devices take turns: each waits for what the one before carries. So a step is to be little work beside that
        of a network, which all devices do at once.

        Args:
          step: (carry, one frame) to (carry, output).
          carry: a pytree of floats, the same on every device.
          frames: pytree of arrays (n, ...), this device's.

        Returns:
          What is carried after the last frame of the batch, on every device, and this device's outputs (n, ...).
        """
        if self.devices == 1:
            return jax.lax.scan(step, carry, frames)

        def turn(number: jax.Array, state: tuple[Any, Any]) -> tuple[Any, Any]:
            mine = self._is_device(number)
            carry, outputs = jax.lax.cond(
                mine, lambda state: jax.lax.scan(step, state[0], frames), lambda same: same, state
            )
            handed, next_is_mine = jax.tree.map(self._handed_on, carry), self._is_device(number + 1)
            return jax.tree.map(lambda new, own: jnp.where(next_is_mine, new, own), handed, carry), outputs

        shapes = jax.eval_shape(lambda: jax.lax.scan(step, carry, frames)[1])
        outputs = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        carry, outputs = jax.lax.fori_loop(0, self.devices, turn, (carry, outputs))
        return jax.tree.map(self._of_last_device, carry), outputs

    def _is_device(self, number: int | jax.Array) -> jax.Array:
        return jax.lax.axis_index(BATCH) == number

    def _handed_on(self, value: jax.Array) -> jax.Array:
        """That of the previous device; zeros on the first one."""
        return jax.lax.ppermute(value, BATCH, [(number, number + 1) for number in range(self.devices - 1)])

    def _of_last_device(self, value: jax.Array) -> jax.Array:
        if self.devices == 1:
            return value
        return jax.lax.psum(jnp.where(self._is_device(self.devices - 1), value, 0), BATCH)


ONE_DEVICE = FrameOrder()
