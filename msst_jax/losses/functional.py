"""The losses as pure functions, one per formula: Gram matrices, also of regions, style, blend, content, smoothness.

Features are (N, H, W, C); Gram matrices (N, C, C), float32 unless the features are float64.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from msst_jax.ops.linear_map import Arrays, linear_map
from msst_jax.ops.picture_split import PictureSplit
from msst_jax.ops.weighted_gram import accumulation_dtype, weighted_gram_products

MIN_MEAN_SQUARE = 1e-8  # of a Gram matrix: a thousandth of that of the palest paintings; a black style has less


def gram(features: jax.Array) -> jax.Array:
    """Gram matrices G = F^T F / (C H W): (N, H, W, C) to (N, C, C).

    Source: Gatys et al. 2016 (CVPR), eq. 3, divided as in Johnson et al. 2016 (arXiv:1603.08155), eq. 4.
    """
    _, h, w, c = features.shape
    return _gram_product(features) / float(c * h * w)  # as an int beyond int32 from 8192x4096 on


@jax.custom_jvp
def _gram_product(features: jax.Array) -> jax.Array:
    """F^T F of (N, H, W, C); its gradient F (A + A^T) takes one product where autodiff takes two.

    Rows and columns stay apart, not joined to a vector, since one of them may be sharded.
    """
    return _cross_product(features, features)


@partial(_gram_product.defjvp, symbolic_zeros=True)
def _gram_product_jvp(primals: Arrays, tangents: tuple[jax.Array | SymbolicZero]) -> tuple[jax.Array, jax.Array]:
    return _gram_product(*primals), linear_map(_gram_product_tangent, _gram_product_backward, primals, tangents)


def _gram_product_tangent(saved: Arrays, tangent: jax.Array) -> jax.Array:
    (features,) = saved
    product = _cross_product(features, tangent)
    return product + product.swapaxes(1, 2)


def _gram_product_backward(saved: Arrays, grad: jax.Array) -> Arrays:
    (features,) = saved
    symmetric = (grad + grad.swapaxes(1, 2)).astype(features.dtype)
    return (jnp.einsum("nhwd,ndc->nhwc", features, symmetric),)


def _cross_product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum("nhwc,nhwd->ncd", a, b, preferred_element_type=accumulation_dtype(a.dtype))


def guided_gram(features: jax.Array, guides: jax.Array, split: PictureSplit | None = None) -> jax.Array:
    """Gram matrices over regions: G_k = sum_p g_k(p) F(p) F(p)^T / (C sum_p g_k(p)).

    A guide of ones gives `gram`; an empty one gives zeros.

    Args:
      features: (H, W, C) of one image.
      guides: (H, W, K) in [0, 1]: how much each pixel counts for each region.
      split: how both lie on several devices; None = they are on one.

    Returns:
      (K, C, C).

    Source: Gatys et al. 2017 (arXiv:1611.07865), eq. 6, with the guide as a weight of the product, not of each factor.
    """
    channels = features.shape[-1]
    return guided_products(features, guides, split) / guided_area(guides, channels)


def guided_products(features: jax.Array, guides: jax.Array, split: PictureSplit | None = None) -> jax.Array:
    """sum_p g_k(p) F(p) F(p)^T, (K, C, C), of the arguments of `guided_gram`: a part of a picture gives a part."""
    if split is not None:
        return split.sum_of_strips(guided_products, features, guides)
    return weighted_gram_products(features.reshape(-1, features.shape[-1]), guides.reshape(-1, guides.shape[-1]))


def guided_area(guides: jax.Array, channels: int) -> jax.Array:
    """What `guided_gram` divides its sums by, (K, 1, 1): C sum_p g_k(p)."""
    return channels * jnp.maximum(guides.sum((0, 1)), 1e-6)[:, None, None]


def mixed_gram(grams: jax.Array, shares: jax.Array) -> jax.Array:
    """The Gram matrix (1, C, C) of several styles, from theirs (P, C, C) and their shares (P,) of sum 1.

    It is the mean of the matrices, brought to one strength (root mean square) before, which is their geometric mean.
    The weighted sum of the square distances of a Gram matrix to several targets equals, up to a constant, its square
    distance to their weighted mean: to approach the mean is to approach all of them.

    Why one strength: it grows with the square of the contrast, and differs up to fourfold between paintings. For two
    such of equal shares, the cosine of the angle between the mean and each of them at relu4_1 is

    - 0.98 and 0.61 with the matrices as they are: the stronger painting takes nearly all,
    - 0.61 and 0.98 with distances relative to each painting, as in `relative_style_distances`: the weaker one does,
    - 0.85 and 0.85 at one strength: both show.
    """
    strengths = jnp.sqrt(jnp.maximum(jnp.mean(jnp.square(grams), axis=(1, 2)), MIN_MEAN_SQUARE))
    common = jnp.exp(jnp.sum(shares * jnp.log(strengths)))
    return jnp.einsum("p,pcd->cd", shares * common / strengths, grams, precision=jax.lax.Precision.HIGHEST)[None]


def style_distances(grams: jax.Array, targets: jax.Array) -> jax.Array:
    """D[i, j] = mean((G(I_i) - G(s_j))^2): grams (I, C, C) and targets (J, C, C) to (I, J).

    One style at a time: the gradient of a broadcast (I, J, C, C) ends in a sum over j, which takes XLA on CPU ten times
    as long as everything else (4 photos, C = 512: 0.5 of 2.7 s of a training step).
    """
    return jnp.stack([jnp.mean(jnp.square(grams - target), axis=(1, 2)) for target in targets], axis=1)


def relative_style_distances(grams: jax.Array, targets: jax.Array) -> jax.Array:
    """D[i, j] = mean((G(I_i) - G(s_j))^2) / mean(G(s_j)^2), the arguments as in `style_distances`.

    Gram matrices grow with the contrast of a style, their squares with its fourth power: from one painting to another
    the distance differs thirtyfold at the same look. Relative to the style it is 1 for a gray image.
    """
    return style_distances(grams, targets) / jnp.maximum(jnp.mean(jnp.square(targets), axis=(1, 2)), MIN_MEAN_SQUARE)


def style_loss(distances: jax.Array, first: int = 0) -> jax.Array:
    """Sum of D[i, first + i]: each image against its own style; `first` is the region index of the first image."""
    return jnp.trace(distances, first)


def blend_loss(distances: jax.Array, first: int = 0) -> jax.Array:
    """Sum of D[i, j] over j != first + i: each image against the styles of the other regions."""
    images, styles = distances.shape
    off_diagonal = 1 - jnp.eye(images, styles, first, dtype=distances.dtype)
    return jnp.sum(distances * off_diagonal)


def content_loss(features: jax.Array, target: jax.Array) -> jax.Array:
    """mean((F(R) - F(x))^2) of two feature maps (1, H, W, C). Source: Gatys et al. 2016, eq. 1, as a mean."""
    return jnp.mean(square_difference(features, target))


def square_difference(features: jax.Array, target: jax.Array) -> jax.Array:
    """(F(R) - F(x))^2 of feature maps of one shape, in the `accumulation_dtype`."""
    dtype = accumulation_dtype(features.dtype)
    return jnp.square(features.astype(dtype) - target.astype(dtype))


def total_variation(image: jax.Array) -> jax.Array:
    """Sum of `|dR/dx| + |dR/dy|` over pixels and channels of an image (H, W, 3).

    Source: anisotropic total variation; Rudin, Osher & Fatemi 1992.
    """
    return _sum_abs(image[1:] - image[:-1]) + _sum_abs(image[:, 1:] - image[:, :-1])


def _sum_abs(x: jax.Array) -> jax.Array:
    """Sum of |x| with gradient 0 at 0 as in torch; jnp.abs has gradient 1 there, and flat areas would drift."""
    return jnp.sum(x * jnp.sign(x))
