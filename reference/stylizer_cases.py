"""Random feed-forward models and training batches, with loss and gradients by msst_jax and by PyTorch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor

from msst_jax.losses.guided_batch import guided_batch_loss
from msst_jax.losses.objective import FeatureLayers, LossWeights, style_targets
from msst_jax.models.pretrained import EMBEDDED_VGG16, load_vgg
from msst_jax.models.serialization import assign_tensors, parameter_shapes, state_to_tensors
from msst_jax.models.style_predictor import AnyStylizer
from msst_jax.models.stylizer import Stylizer
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from reference import original
from reference.loss_formulas import uniform
from reference.original import Settings, to_tensor
from reference.stylizer import TrainingLoss, build_twin, to_torch, torch_name

STYLES, WIDTH, BLOCKS = 3, 4, 2
LAYERS = FeatureLayers(("relu1_1", "conv1_2"), ("conv2_1",), (2.0, 0.5), (1.5,))
FACTORS = LossWeights(style=200.0, blend=10.0, content=4.0, tv=1e-3)
IMAGE_TOLERANCE = 1e-5  # relative to the largest magnitude
LOSS_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 2e-4  # relative to the largest magnitude of each parameter's gradient

# Where a ReLU or an absolute difference is within rounding error of its kink, two programs need not agree; at none of
# these cases one is: their gradients differ by 1e-5 of the largest.
BATCHES = ((2, 2, (17, 22)), (2, 1, (16, 20)), (1, 3, (19, 18)))
"""(photos, styles, size); each with every seed of SEEDS."""
SEEDS = range(3)


def random_stylizer(styles: int = STYLES, seed: int = 0, *, width: int = WIDTH, blocks: int = BLOCKS) -> Stylizer:
    """A stylizer whose style vectors, scales, shifts and bias are random too: at their initial values an error would
    not show.
    """
    network = nnx.eval_shape(lambda: Stylizer(styles, width=width, blocks=blocks, rngs=nnx.Rngs(0)))
    return assign_tensors(network, _random_tensors(parameter_shapes(network), seed), "that are random")


def random_any_stylizer(seed: int = 0) -> AnyStylizer:
    """As `random_stylizer`, with random statistics."""
    network = nnx.eval_shape(lambda: AnyStylizer(width=WIDTH, blocks=BLOCKS, rngs=nnx.Rngs(0)))
    return assign_tensors(network, _random_tensors(parameter_shapes(network), seed), "that are random")


def _random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = rng.normal(size=shape).astype(np.float32)
        if name.endswith("kernel") and len(shape) == 4:
            return values * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        if name.endswith("kernel"):
            return values  # scaled when it is used
        if name.endswith("spread"):
            return 1 + np.abs(values)
        return name.endswith("scale") + values / 2

    return {name: draw(name, shape) for name, shape in shapes.items()}


def random_masks(photos: int, regions: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Soft masks (N, H, W, K)."""
    return np.random.default_rng(seed).dirichlet([1] * regions, (photos, *size)).astype(np.float32)


@jax.jit
def stylised(network: Stylizer, images: jax.Array, masks: jax.Array, mixtures: jax.Array | None = None) -> jax.Array:
    """The network's pictures (N, H, W, 3), jitted."""
    return network(images, masks, mixtures)


class TrainingCase(NamedTuple):
    """A network and a batch of N photos with K style images to train it on."""

    network: Stylizer
    photos: np.ndarray
    """(N, H, W, 3)."""
    masks: np.ndarray
    """(N, H, W, K)."""
    styles: list[np.ndarray]
    """K of (h, w, 3)."""


class LossAndGradients(NamedTuple):
    """Result of one implementation on a `TrainingCase`."""

    loss: float
    terms: dict[str, float]
    """The weighted terms, which sum to the loss; empty for PyTorch."""
    gradients: dict[str, Tensor]
    """{name of the parameter in PyTorch: gradient}."""


def training_case(photos: int, styles: int, size: tuple[int, int], seed: int) -> TrainingCase:
    """A case with random images and parameters."""
    batch, masks = uniform(photos, *size, 3, seed=seed + 10), random_masks(photos, styles, size, seed)
    style_images = [uniform(20 + 3 * k, 26, 3, seed=20 + k) for k in range(styles)]
    return TrainingCase(random_stylizer(styles, seed), batch, masks, style_images)


def load_network() -> VGG:
    """The embedded VGG-16, truncated to the deepest of LAYERS."""
    return load_vgg("vgg16", [*LAYERS.style, *LAYERS.content], path=EMBEDDED_VGG16)[0]


@jax.jit
def loss_and_gradients(
    network: Stylizer, vgg: VGG, grams: dict[str, jax.Array], photos: jax.Array, masks: jax.Array
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], Any]:
    """((loss, terms), gradients) of msst_jax's training loss, jitted."""
    definition, params = nnx.split(network)

    def loss(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        pixels = nnx.merge(definition, params)(normalize(photos), masks)
        return guided_batch_loss(vgg, grams, LAYERS, FACTORS, pixels, photos, masks)

    return jax.value_and_grad(loss, has_aux=True)(params)


def our_training(vgg: VGG, case: TrainingCase) -> LossAndGradients:
    """Loss, terms and gradients by msst_jax."""
    network, photos, masks, styles = case
    targets = [style_targets(vgg, jnp.asarray(style), LAYERS.style) for style in styles]
    grams = jax.tree.map(lambda *grams: jnp.repeat(jnp.stack(grams, 1), len(photos), 0), *targets)
    (value, terms), gradients = loss_and_gradients(network, vgg, grams, photos, masks)
    named = {torch_name(name): to_torch(name, gradient) for name, gradient in state_to_tensors(gradients).items()}
    return LossAndGradients(float(value), {name: float(term) for name, term in terms.items()}, named)


def torch_training(case: TrainingCase) -> LossAndGradients:
    """Loss and gradients by the PyTorch reference."""
    network, photos, masks, styles = case
    ratio = float(FACTORS.blend) / float(FACTORS.style)
    settings = Settings(*LAYERS, float(FACTORS.style), ratio, float(FACTORS.content), float(FACTORS.tv))
    twin = build_twin(state_to_tensors(nnx.state(network)))
    loss = TrainingLoss(twin, original.network(EMBEDDED_VGG16), [*map(to_tensor, styles)], settings)
    value = loss(to_tensor(photos), torch.from_numpy(np.moveaxis(masks, -1, 1)))
    value.backward()
    gradients = {name: parameter.grad for name, parameter in twin.named_parameters() if parameter.grad is not None}
    return LossAndGradients(value.item(), {}, gradients)


def gradient_errors(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, float]:
    """{parameter: largest difference relative to the largest magnitude}."""
    return {
        name: float((ours[name] - expected).abs().max() / expected.abs().max()) for name, expected in theirs.items()
    }
