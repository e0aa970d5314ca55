"""Overlapping windows of rows: what lets a picture of any height go through a network a piece at a time."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class RowWindows:
    """Windows of one height that cover a picture. Each owns rows that no other does, and sees more of it around them.

    The edge of the picture is the edge of the windows that reach it, so that whatever a network does there, padding or
    dropping an odd row, it does as for the picture as a whole; every other row that a window owns is at least as far
    from the window's edge as the network sees.

    Attributes:
      height: rows of the picture.
      count: how many windows there are.
      owned_rows: that a window owns, the last one fewer.
      size: rows of a window.
      reach: rows that a window sees above the first that it owns, where the picture has them.
    """

    height: int
    count: int
    owned_rows: int
    size: int
    reach: int

    def start(self, number: jax.Array | int) -> jax.Array:
        """The first row of a window."""
        return jnp.clip(number * self.owned_rows - self.reach, 0, self.height - self.size)

    def take(self, rows: jax.Array, number: jax.Array | int, stride: int = 1) -> jax.Array:
        """The rows of a window, of an array (H // stride, ...): (size // stride, ...)."""
        return jax.lax.dynamic_slice_in_dim(rows, self.start(number) // stride, self.size // stride)

    def put(self, rows: jax.Array, values: jax.Array, number: jax.Array | int, stride: int = 1) -> jax.Array:
        """An array (H // stride, ...) with other values in the rows of a window."""
        return jax.lax.dynamic_update_slice_in_dim(rows, values, self.start(number) // stride, 0)

    def owned(self, number: jax.Array | int, stride: int = 1) -> jax.Array:
        """(size // stride,), bool: which rows of a window are its own."""
        rows = self.start(number) // stride + jnp.arange(self.size // stride)
        first = number * (self.owned_rows // stride)
        return (rows >= first) & (rows < first + self.owned_rows // stride)


def cut_rows(height: int, tiles: int, *, reach: int, stride: int) -> RowWindows:
    """Cuts a picture into at most so many windows; into a single one, the picture, where several would be no smaller.

    Args:
      height: rows of the picture.
      tiles: the windows wanted.
      reach: rows that the network sees on either side of the square of stride x stride pixels below a feature.
      stride: of the network's deepest layer: windows begin at its multiples, as the squares of its pooling do.
    """
    owned = _round_up(-(-height // tiles), stride)
    reach = _round_up(reach, stride)
    # A window that ends with the picture has what is left of the picture's last square; so all have.
    size = owned + 2 * reach + height % stride
    if size >= height:
        return RowWindows(height, 1, _round_up(height, stride), height, 0)
    return RowWindows(height, -(-height // owned), owned, size, reach)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
