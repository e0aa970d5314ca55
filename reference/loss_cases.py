"""Total stylization loss on small random images, in msst_jax and in the PyTorch reference `original`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.losses.objective import (
    FeatureLayers,
    LossWeights,
    Targets,
    content_targets,
    style_targets,
    stylization_loss,
)
from msst_jax.models.pretrained import EMBEDDED_VGG16, load_vgg
from msst_jax.models.vgg import VGG
from reference.loss_formulas import uniform
from reference.original import Reference, Settings

LAYERS = FeatureLayers(("conv1_1", "conv2_1"), ("conv1_2", "conv2_2"), (0.5, 2.0), (1.5, 0.25))
FACTORS = LossWeights(style=1e6, blend=3e5, content=2.0, tv=8.5e-3)
VALUE_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 1e-4  # relative L2, through the network


class Case(NamedTuple):
    """A photo (H, W, 3), K styles of other sizes, masks (H, W, K) and the images (K, H, W, 3) to evaluate."""

    content: np.ndarray
    styles: list[np.ndarray]
    masks: np.ndarray
    pixels: np.ndarray


def case(regions: int, height: int = 32, width: int = 44) -> Case:
    """A case with random images and masks."""
    rng = np.random.default_rng(regions)
    styles = [uniform(height - 2 + 6 * k, height - 4, 3, seed=10 + k) for k in range(regions)]
    masks = rng.dirichlet([1] * regions, (height, width)).astype(np.float32)
    return Case(uniform(height, width, 3, seed=20), styles, masks, uniform(regions, height, width, 3, seed=21))


@jax.jit
def evaluate(
    vgg: VGG, content: jax.Array, styles: list[jax.Array], masks: jax.Array, pixels: jax.Array, weights: LossWeights
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], jax.Array]:
    """((loss, terms), gradient) of msst_jax, including the style and content targets."""
    grams = [style_targets(vgg, style, LAYERS.style) for style in styles]
    targets = Targets(
        {layer: jnp.concatenate([gram[layer] for gram in grams]) for layer in LAYERS.style},
        content_targets(vgg, content, LAYERS.content),
    )
    return jax.value_and_grad(
        lambda pixels: stylization_loss(vgg, targets, masks, LAYERS, pixels, weights), has_aux=True
    )(pixels)


def load_network() -> VGG:
    """The embedded VGG-16, truncated to the deepest of LAYERS."""
    return load_vgg("vgg16", [*LAYERS.style, *LAYERS.content], path=EMBEDDED_VGG16)[0]


def settings(factors: LossWeights = FACTORS) -> Settings:
    """LAYERS and factors for the PyTorch references."""
    return Settings(
        style_layers=LAYERS.style,
        content_layers=LAYERS.content,
        style_factors=LAYERS.style_factors,
        content_factors=LAYERS.content_factors,
        style_weight=float(factors.style),
        blend_ratio=float(factors.blend) / float(factors.style),
        content_weight=float(factors.content),
        tv_weight=float(factors.tv),
    )


def reference_of(case: Case) -> Reference:
    """The PyTorch reference loss of the same case."""
    return Reference(EMBEDDED_VGG16, case.content, case.styles, case.masks, settings())


def gradient_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Relative L2 error; not pixelwise, since single pixels may differ where a ReLU or a maximum is near its kink."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
