"""Every loss function of msst_jax paired with the same formula in elementwise PyTorch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from msst_jax.losses import functional
from msst_jax.ops import image as image_ops
from msst_jax.ops.pooling import max_pool

FORMULA_TOLERANCE = 1e-5  # relative to the largest magnitude; float32 sums of thousands of values


class Formula(NamedTuple):
    """A function of msst_jax, the same in PyTorch, and the input at which to compare them."""

    ours: Callable[[jax.Array], jax.Array]
    theirs: Callable[[Tensor], Tensor]
    x: np.ndarray


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 values."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    """Uniform float32 values in [0, 1)."""
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def formulas(height: int, width: int, channels: int, regions: int) -> dict[str, Formula]:
    """Every loss function, `composite` and max pooling, on random features or images of the given size."""
    features = normal(regions, height, width, channels)
    masks = np.random.default_rng(1).dirichlet([1] * regions, (height, width)).astype(np.float32)
    targets = normal(regions, channels, channels, seed=1)
    return {
        "gram": Formula(functional.gram, grams_by_hand, features),
        "style_distances": style_distances(normal(regions, channels, channels), targets),
        "style_loss": Formula(functional.style_loss, diagonal_sum_by_hand, uniform(regions, regions)),
        "blend_loss": Formula(functional.blend_loss, off_diagonal_sum_by_hand, uniform(regions, regions)),
        "content_loss": content_loss(features[:1], normal(1, height, width, channels, seed=1)),
        "total_variation": Formula(functional.total_variation, total_variation_by_hand, uniform(height, width, 3)),
        "composite": composite(uniform(regions, height, width, 3), masks),
        "max_pool": max_pooling((regions, height, width, channels)),
    }


def style_distances(grams: np.ndarray, targets: np.ndarray) -> Formula:
    """Distances of Gram matrices (I, C, C) from those of the styles (J, C, C)."""

    def by_hand(grams: Tensor) -> Tensor:
        pairs = [[((a - torch.from_numpy(b)) ** 2).mean() for b in targets] for a in grams]
        return torch.stack([torch.stack(row) for row in pairs])

    return Formula(lambda grams: functional.style_distances(grams, jnp.asarray(targets)), by_hand, grams)


def content_loss(features: np.ndarray, target: np.ndarray) -> Formula:
    """Content loss of features (1, H, W, C) of the result against those of the photo."""
    return Formula(
        lambda features: functional.content_loss(features, jnp.asarray(target)),
        lambda features: ((features - torch.from_numpy(target)) ** 2).mean(),
        features,
    )


def composite(images: np.ndarray, masks: np.ndarray) -> Formula:
    """Composite of images (K, H, W, 3) under masks (H, W, K)."""

    def by_hand(images: Tensor) -> Tensor:
        layers = [torch.from_numpy(masks[..., k : k + 1]) * image for k, image in enumerate(images)]
        return torch.stack(layers).sum(0)

    return Formula(lambda images: image_ops.composite(images, jnp.asarray(masks)), by_hand, images)


def max_pooling(shape: tuple[int, ...]) -> Formula:
    """Max pooling of features (N, H, W, C), half of them zeros, so with many ties; both must agree exactly."""
    x = np.maximum(np.random.default_rng(0).integers(-3, 3, shape), 0).astype(np.float32)

    def theirs(x: Tensor) -> Tensor:
        return torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    return Formula(max_pool, theirs, x)


def grams_by_hand(features: Tensor) -> Tensor:
    """Gram matrices (N, C, C) of features (N, H, W, C) as a sum of outer products."""
    _, h, w, c = features.shape
    outer = features[..., :, None] * features[..., None, :]
    return outer.sum((1, 2)) / (c * h * w)


def diagonal_sum_by_hand(distances: Tensor) -> Tensor:
    """Sum of D[i, i], entry by entry."""
    return torch.stack([distances[i, i] for i in range(len(distances))]).sum()


def off_diagonal_sum_by_hand(distances: Tensor) -> Tensor:
    """Sum of D[i, j] over i != j, entry by entry."""
    count = range(len(distances))
    return torch.stack([distances[i, j] for i in count for j in count if i != j]).sum()


def total_variation_by_hand(image: Tensor) -> Tensor:
    """Total variation of an image (H, W, 3), column by column and row by row."""
    across = [(image[:, i + 1] - image[:, i]).abs().sum() for i in range(image.shape[1] - 1)]
    down = [(image[i + 1] - image[i]).abs().sum() for i in range(image.shape[0] - 1)]
    return torch.stack(across + down).sum()


def value_and_gradient_of_torch(formula: Formula) -> dict[str, np.ndarray]:
    """{"value", "gradient"} by PyTorch autograd, for a random cotangent so that nothing cancels by symmetry."""
    x = torch.tensor(formula.x, requires_grad=True)
    value = formula.theirs(x)
    value.backward(torch.from_numpy(_cotangent(tuple(value.shape))))
    assert x.grad is not None
    return {"value": value.detach().numpy(), "gradient": x.grad.numpy()}


def value_and_gradient_of_ours(formula: Formula) -> dict[str, np.ndarray]:
    """{"value", "gradient"} by JAX, for the cotangent of `value_and_gradient_of_torch`."""

    @jax.jit
    def evaluate(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, pull = jax.vjp(formula.ours, x)
        return value, pull(jnp.asarray(_cotangent(value.shape)))[0]

    return dict(zip(("value", "gradient"), map(np.asarray, evaluate(formula.x)), strict=True))


def _cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(normal(*shape, seed=9))
