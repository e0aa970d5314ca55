"""Products F^T diag(w_k) F of features with K weights for each pixel, a chunk of the pixels at a time.

The weighted features of all pixels would be K copies of the features, at the first layer of VGG the largest arrays of
an evaluation; those of a chunk lie in the cache of a CPU. The factors are as exact as `models.precision` sets it; sums
are float32.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike

from msst_jax.ops.linear_map import Arrays, linear_map

# Values of the features in a chunk. On a CPU 2^16 and 2^20 take a third longer, 2^22 twice as long. On others every
# chunk costs launches, and only the memory of large pictures has to be bounded.
CPU_CHUNK = 1 << 18
CHUNK = 1 << 24


@jax.custom_jvp
def weighted_gram_products(flat: jax.Array, weights: jax.Array) -> jax.Array:
    """F^T diag(w_k) F of features (P, C) and weights (P, K): (K, C, C), of the `accumulation_dtype`."""
    return _by_platform(_products, flat, weights)


def accumulation_dtype(features: DTypeLike) -> DTypeLike:
    """The type in which products of features are summed: float32, or float64 for features of that type."""
    return jnp.promote_types(features, jnp.float32)


@partial(weighted_gram_products.defjvp, symbolic_zeros=True)
def _jvp(primals: Arrays, tangents: tuple[jax.Array | SymbolicZero, ...]) -> tuple[jax.Array, jax.Array]:
    return weighted_gram_products(*primals), linear_map(_tangent, _backward, primals, tangents)


def _tangent(saved: Arrays, flat_tangent: jax.Array | None, weights_tangent: jax.Array | None) -> jax.Array:
    """F^T diag(w_k) F' plus its transpose, plus the products with the tangents of the weights."""
    flat, weights = saved
    summands = []
    if flat_tangent is not None:
        product = _by_platform(_cross_products, flat, weights, flat_tangent)
        summands.append(product + product.swapaxes(1, 2))
    if weights_tangent is not None:
        summands.append(weighted_gram_products(flat, weights_tangent))
    return reduce(jnp.add, summands)


def _backward(saved: Arrays, grad: jax.Array) -> Arrays:
    symmetric = (grad + grad.swapaxes(1, 2)).astype(saved[0].dtype)
    return _by_platform(_feature_gradient, *saved, symmetric), _by_platform(_weight_gradient, *saved, symmetric)


def _by_platform(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """function(*arrays, chunk=...), with the chunk for the platform that the program is compiled for."""
    return jax.lax.platform_dependent(
        *arrays, cpu=partial(function, chunk=CPU_CHUNK), default=partial(function, chunk=CHUNK)
    )


class _Chunks(NamedTuple):
    """How P pixels are cut: `total` chunks of `size`, the last of which begins early enough to be whole."""

    size: int
    total: int
    pixels: int

    def start(self, number: jax.Array) -> jax.Array:
        """The first pixel of a chunk."""
        return jnp.minimum(number * self.size, self.pixels - self.size)

    def take(self, array: jax.Array, number: jax.Array) -> jax.Array:
        """The rows of a chunk, of an array (P, ...)."""
        return jax.lax.dynamic_slice_in_dim(array, self.start(number), self.size)

    def is_new(self, number: jax.Array) -> jax.Array:
        """(size, 1): whether a pixel of a chunk was in none before."""
        return (self.start(number) + jnp.arange(self.size) >= number * self.size)[:, None]


def _chunks(flat: jax.Array, chunk: int) -> _Chunks:
    pixels, channels = flat.shape
    size = min(max(chunk // channels, 1), pixels)
    return _Chunks(size, -(-pixels // size), pixels)


def _products(flat: jax.Array, weights: jax.Array, *, chunk: int) -> jax.Array:
    return _cross_products(flat, weights, flat, chunk=chunk)


def _cross_products(flat: jax.Array, weights: jax.Array, other: jax.Array, *, chunk: int) -> jax.Array:
    """F^T diag(w_k) E of features F and E (P, C)."""
    channels, regions = flat.shape[-1], weights.shape[-1]
    chunks = _chunks(flat, chunk)

    def add(number: jax.Array, total: jax.Array) -> jax.Array:
        features, weight = chunks.take(flat, number), chunks.take(weights, number) * chunks.is_new(number)
        return total + _product(_weighted(features, weight).T, chunks.take(other, number))

    none = jnp.zeros((regions * channels, channels), accumulation_dtype(flat.dtype))
    total = jax.lax.fori_loop(0, chunks.total, add, none)
    return total.reshape(regions, channels, channels)


def _feature_gradient(flat: jax.Array, weights: jax.Array, symmetric: jax.Array, *, chunk: int) -> jax.Array:
    """sum_k w_k F S_k: one product of the weighted features with the stacked matrices."""
    stacked = symmetric.reshape(-1, flat.shape[-1])
    return _map_chunks(
        lambda features, weight: _product(_weighted(features, weight), stacked), flat, weights, like=flat, chunk=chunk
    )


def _weight_gradient(flat: jax.Array, weights: jax.Array, symmetric: jax.Array, *, chunk: int) -> jax.Array:
    """F S_k F^T / 2, of which only the diagonal is computed."""

    def gradient(features: jax.Array, _weight: jax.Array) -> jax.Array:
        return jnp.stack([(_product(features, each) * features).sum(-1) / 2 for each in symmetric], -1)

    return _map_chunks(gradient, flat, weights, like=weights, chunk=chunk)


def _map_chunks(
    function: Callable[[jax.Array, jax.Array], jax.Array],
    flat: jax.Array,
    weights: jax.Array,
    *,
    like: jax.Array,
    chunk: int,
) -> jax.Array:
    """function(features, weights) of each chunk, as one array of the shape and type of `like`."""
    chunks = _chunks(flat, chunk)

    def put(number: jax.Array, out: jax.Array) -> jax.Array:
        values = function(chunks.take(flat, number), chunks.take(weights, number)).astype(like.dtype)
        return jax.lax.dynamic_update_slice_in_dim(out, values, chunks.start(number), 0)

    # Every value is replaced. Zeros would do, but they wait for nothing: where a program takes one part of a picture
    # after the other, XLA on CPU sets those of all parts up at its start.
    return jax.lax.fori_loop(0, chunks.total, put, like)


def _weighted(features: jax.Array, weights: jax.Array) -> jax.Array:
    """Features (p, C), once for each of the weights (p, K): (p, K * C)."""
    return (weights.astype(features.dtype)[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=accumulation_dtype(a.dtype))
