"""Every loss beside the same formula in PyTorch, written position by position: for tests and benchmarks."""

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

FORMULA_TOLERANCE = 1e-5  # of the largest magnitude; float32 sums of thousands of values


class Formula(NamedTuple):
    """A function here, the same in PyTorch, and where to compare them."""

    ours: Callable[[jax.Array], jax.Array]
    theirs: Callable[[Tensor], Tensor]
    x: np.ndarray


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def formulas(height: int, width: int, channels: int, regions: int) -> dict[str, Formula]:
    """Every loss of `losses`, and max pooling, on random features of so many channels or pictures of that size."""
    features = normal(regions, height, width, channels)
    masks = np.random.default_rng(1).dirichlet([1] * regions, (height, width)).astype(np.float32)
    targets = normal(regions, channels, channels, seed=1)
    return {
        "gram": Formula(functional.gram, grams_by_hand, features),
        "style_distances": style_distances(normal(regions, channels, channels), targets),
        "style_loss": Formula(functional.style_loss, own_by_hand, uniform(regions, regions)),
        "blend_loss": Formula(functional.blend_loss, other_by_hand, uniform(regions, regions)),
        "content_loss": content_loss(features[:1], normal(1, height, width, channels, seed=1)),
        "total_variation": Formula(functional.total_variation, variation_by_hand, uniform(height, width, 3)),
        "composite": composite(uniform(regions, height, width, 3), masks),
        "max_pool": max_pooling((regions, height, width, channels)),
    }


def style_distances(grams: np.ndarray, targets: np.ndarray) -> Formula:
    """Gram matrices (I, C, C) and those of the styles (J, C, C)."""

    def by_hand(grams: Tensor) -> Tensor:
        pairs = [[((a - torch.from_numpy(b)) ** 2).mean() for b in targets] for a in grams]
        return torch.stack([torch.stack(row) for row in pairs])

    return Formula(lambda grams: functional.style_distances(grams, jnp.asarray(targets)), by_hand, grams)


def content_loss(features: np.ndarray, target: np.ndarray) -> Formula:
    """Features (1, H, W, C) of the result and of the photo."""
    return Formula(
        lambda features: functional.content_loss(features, jnp.asarray(target)),
        lambda features: ((features - torch.from_numpy(target)) ** 2).mean(),
        features,
    )


def composite(images: np.ndarray, masks: np.ndarray) -> Formula:
    """Images (K, H, W, 3), masks (H, W, K)."""

    def by_hand(images: Tensor) -> Tensor:
        parts = [torch.from_numpy(masks[..., k : k + 1]) * image for k, image in enumerate(images)]
        return torch.stack(parts).sum(0)

    return Formula(lambda images: image_ops.composite(images, jnp.asarray(masks)), by_hand, images)


def max_pooling(shape: tuple[int, ...]) -> Formula:
    """Features (N, H, W, C) of which half are zeros, so that there are many ties; both sides must agree exactly."""
    x = np.maximum(np.random.default_rng(0).integers(-3, 3, shape), 0).astype(np.float32)

    def theirs(x: Tensor) -> Tensor:
        return torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    return Formula(max_pool, theirs, x)


def grams_by_hand(features: Tensor) -> Tensor:
    """(N, H, W, C) to (N, C, C), position by position."""
    _, h, w, c = features.shape
    outer = features[..., :, None] * features[..., None, :]
    return outer.sum((1, 2)) / (c * h * w)


def own_by_hand(distances: Tensor) -> Tensor:
    """The sum of D[i, i], entry by entry."""
    return torch.stack([distances[i, i] for i in range(len(distances))]).sum()


def other_by_hand(distances: Tensor) -> Tensor:
    """The sum of D[i, j] over i != j, entry by entry."""
    count = range(len(distances))
    return torch.stack([distances[i, j] for i in count for j in count if i != j]).sum()


def variation_by_hand(image: Tensor) -> Tensor:
    """Of an image (H, W, 3), column by column and row by row."""
    across = [(image[:, i + 1] - image[:, i]).abs().sum() for i in range(image.shape[1] - 1)]
    down = [(image[i + 1] - image[i]).abs().sum() for i in range(image.shape[0] - 1)]
    return torch.stack(across + down).sum()


def value_and_gradient_of_torch(formula: Formula) -> dict[str, np.ndarray]:
    """{"value", "gradient"}: the gradient is for a random cotangent, so that nothing cancels by symmetry."""
    x = torch.tensor(formula.x, requires_grad=True)
    value = formula.theirs(x)
    value.backward(torch.from_numpy(_cotangent(tuple(value.shape))))
    assert x.grad is not None
    return {"value": value.detach().numpy(), "gradient": x.grad.numpy()}


def value_and_gradient_of_ours(formula: Formula) -> dict[str, np.ndarray]:
    """As `value_and_gradient_of_torch`."""

    @jax.jit
    def evaluate(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, pull = jax.vjp(formula.ours, x)
        return value, pull(jnp.asarray(_cotangent(value.shape)))[0]

    return dict(zip(("value", "gradient"), map(np.asarray, evaluate(formula.x)), strict=True))


def _cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(normal(*shape, seed=9))
