"""Statistics of pictures summed over windows of rows, and the gradient of a loss of them, a window in memory at a time.

A loss of sums over a picture needs all of them before the gradient of any pixel is known. So there are two passes: one
adds up what every window contributes, the other takes each window's gradient from the loss's gradient by the sums, for
which its features are computed again.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msst_jax.losses.known_gradient import with_gradient
from msst_jax.losses.objective import Terms
from msst_jax.ops.row_windows import RowWindows

FEW_WINDOWS = 8  # times images, of any size: that many are unrolled on a CPU
LARGE_WINDOW = 2**18  # pixels from which on a loop's slower gradients cost more time than compiling a window of its own

Statistics = Callable[[jax.Array, jax.Array | int], Any]
"""statistics(rows, number) -> arrays: what window `number` of a picture, with its rows (size, W, 3), contributes."""


def windowed_terms(
    statistics: Statistics, head: Callable[[Any], tuple[jax.Array, Terms]], windows: RowWindows, images: jax.Array
) -> tuple[jax.Array, Terms]:
    """head(sums), where the sums are those of `statistics` over the windows of images (I, H, W, 3), stacked for the I.

    Returns:
      The value and terms of `head`; only the value is differentiable, only in the images, and only once.
    """
    fixed = jax.lax.stop_gradient(images)
    sums = windowed_sums(statistics, windows, fixed)
    (value, terms), slopes = jax.value_and_grad(head, has_aux=True)(sums)
    return with_gradient(value, _windowed_gradient(statistics, windows, fixed, slopes), images), terms


def windowed_sums(statistics: Statistics, windows: RowWindows, images: jax.Array) -> Any:
    """The sums of `statistics` over the windows of each of the images (I, H, W, 3), stacked."""
    window = jax.ShapeDtypeStruct((windows.size, *images.shape[2:]), images.dtype)
    one = jax.eval_shape(statistics, window, jax.ShapeDtypeStruct((), jnp.int32))
    none = jax.tree.map(lambda each: jnp.zeros((len(images), *each.shape), each.dtype), one)

    def add(turn: jax.Array, sums: Any) -> Any:
        index, number = turn // windows.count, turn % windows.count
        values = statistics(windows.take(images[index], number), number)
        return jax.tree.map(lambda total, value: total.at[index].add(value), sums, values)

    return jax.lax.fori_loop(0, len(images) * windows.count, add, none)


def _windowed_gradient(statistics: Statistics, windows: RowWindows, images: jax.Array, slopes: Any) -> jax.Array:
    """The gradient (I, H, W, 3) of a function of the sums, from its gradient by the sums.

    As a loop in the program; on CPU window after window in its code if they are few or large, since gradients of
    convolutions take six times as long in a loop there, but each window more takes seconds to compile.
    """
    count = len(images) * windows.count
    traced_once = jax.jit(statistics)

    def add(turn: jax.Array | int, gradient: jax.Array, zero: jax.Array | float) -> tuple[jax.Array, jax.Array]:
        index, number = turn // windows.count, turn % windows.count
        _, pull = jax.vjp(lambda rows: traced_once(rows, number), windows.take(images[index], number) + zero)
        (rows,) = pull(jax.tree.map(lambda slope: slope[index], slopes))
        # Windows overlap: the gradient of a pixel is the sum over those that see it.
        total = windows.take(gradient[index], number) + rows
        return jax.lax.dynamic_update_slice(gradient, total[None], (index, windows.start(number), 0, 0)), rows

    def loop(gradient: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda turn, so_far: add(turn, so_far, 0.0)[0], gradient)

    def unrolled(gradient: jax.Array) -> jax.Array:
        zero: jax.Array | float = 0.0
        for turn in range(count):
            gradient, rows = add(turn, gradient, zero)
            # XLA on CPU drops optimization_barrier before scheduling, but it must wait for a product with zero.
            zero = 0 * jnp.sum(rows)
        return gradient

    large = windows.size * images.shape[2] >= LARGE_WINDOW
    on_cpu = unrolled if count <= FEW_WINDOWS or large else loop
    return jax.lax.platform_dependent(jnp.zeros_like(images), cpu=on_cpu, default=loop)
