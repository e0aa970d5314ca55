"""Statistics of pictures summed over windows of rows, and the gradient of a loss of them, a window in memory at a time.

A loss of sums over a picture needs all of them before the gradient of any pixel is known. So there are two passes: one
adds up what every window contributes, the other takes each window's gradient from the loss's gradient by the sums, for
which its features are computed again. Sums that the loss is linear in, its gradient by which is known beforehand, are
left to the second pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msst_jax.losses.known_gradient import with_gradient
from msst_jax.losses.objective import Terms
from msst_jax.ops.row_windows import RowWindows

Statistics = Callable[[jax.Array, jax.Array], tuple[Any, Any]]
"""statistics(rows, number) -> two trees of arrays: what window `number` of a picture, with its rows (size, W, 3),
contributes to the sums that a loss is not linear in, and to those that it is."""

Head = Callable[[Any], tuple[jax.Array, Terms]]
"""Sums to a summand of the loss and its terms."""


def no_terms(_sums: Any) -> tuple[jax.Array, Terms]:
    """The head of sums that there are none of."""
    return jnp.float32(0.0), {}


def windowed_terms(
    statistics: Statistics, head: Head, linear: Head, windows: RowWindows, images: jax.Array
) -> tuple[jax.Array, Terms]:
    """The loss head(sums) + linear(sums) of the `statistics` of images, each kind of sums with its own head.

    Args:
      statistics: see `Statistics`.
      head: of the first kind of sums.
      linear: of the second kind; linear.
      windows: of each of the images.
      images: (I, H, W, 3). The sums are those over the windows, stacked for the I.

    Returns:
      The value and the terms; only the value is differentiable, only in the images, and only once.
    """
    fixed = jax.lax.stop_gradient(images)
    sums = windowed_sums(lambda rows, number: statistics(rows, number)[0], windows, fixed)
    (value, terms), slopes = jax.value_and_grad(head, has_aux=True)(sums)
    none = _no_sums(lambda rows, number: statistics(rows, number)[1], windows, fixed)
    linear_slopes = jax.grad(linear, has_aux=True)(none)[0]
    gradient, linear_sums = _windowed_gradient(statistics, windows, fixed, (slopes, linear_slopes), none)
    more, more_terms = linear(linear_sums)
    return with_gradient(value + more, gradient, images), {**terms, **more_terms}


def windowed_sums(statistics: Callable[[jax.Array, jax.Array], Any], windows: RowWindows, images: jax.Array) -> Any:
    """The sums of statistics(rows, number), a tree of arrays, over the windows of images (I, H, W, 3), stacked."""

    def add(turn: jax.Array, sums: Any) -> Any:
        index, number = turn // windows.count, turn % windows.count
        return _add_at(sums, index, statistics(windows.take(images[index], number), number))

    return jax.lax.fori_loop(0, len(images) * windows.count, add, _no_sums(statistics, windows, images))


def _windowed_gradient(
    statistics: Statistics, windows: RowWindows, images: jax.Array, slopes: tuple[Any, Any], none: Any
) -> tuple[jax.Array, Any]:
    """The gradient (I, H, W, 3) of a function of the sums, from its gradient by the sums, and the second kind of sums.

    `none` are these sums before any window.
    """

    def add(turn: jax.Array, so_far: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        gradient, sums = so_far
        index, number = turn // windows.count, turn % windows.count
        rows = windows.take(images[index], number)
        (_, values), pull = jax.vjp(lambda rows: statistics(rows, number), rows)
        (by_rows,) = pull(jax.tree.map(lambda slope: slope[index], slopes))
        # Windows overlap: the gradient of a pixel is the sum over those that see it.
        total = windows.take(gradient[index], number) + by_rows
        gradient = jax.lax.dynamic_update_slice(gradient, total[None], (index, windows.start(number), 0, 0))
        return gradient, _add_at(sums, index, values)

    return jax.lax.fori_loop(0, len(images) * windows.count, add, (jnp.zeros_like(images), none))


def _no_sums(statistics: Callable[[jax.Array, jax.Array], Any], windows: RowWindows, images: jax.Array) -> Any:
    """Zeros of the shape of `windowed_sums`."""
    window = jax.ShapeDtypeStruct((windows.size, *images.shape[2:]), images.dtype)
    one = jax.eval_shape(statistics, window, jax.ShapeDtypeStruct((), jnp.int32))
    return jax.tree.map(lambda each: jnp.zeros((len(images), *each.shape), each.dtype), one)


def _add_at(sums: Any, index: jax.Array, values: Any) -> Any:
    """Stacked sums with more added to those of one image."""
    return jax.tree.map(lambda total, value: total.at[index].add(value), sums, values)
