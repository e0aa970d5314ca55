"""Random fast models and a step of their training: what tests and benchmarks compare with torch_stylizer.py on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor

from msst_jax.losses.objective import FeatureLayers, LossWeights, batch_stylization_loss, style_targets
from msst_jax.models.pretrained import EMBEDDED_VGG16, load_vgg
from msst_jax.models.serialization import assign_tensors, parameter_shapes, state_to_tensors
from msst_jax.models.stylizer import Stylizer
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from reference import original
from reference.loss_formulas import uniform
from reference.original import Settings, to_tensor
from reference.stylizer import TrainingLoss, build_twin, to_torch, torch_name

STYLES, WIDTH, BLOCKS = 3, 4, 2
LAYERS = FeatureLayers(("relu1_1", "conv1_2"), ("conv2_1",), (2.0, 0.5), (1.5,))
FACTORS = LossWeights(style=1e6, blend=5e4, content=0.6, tv=1e-2)
IMAGE_TOLERANCE = 1e-5  # of the largest magnitude
LOSS_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 2e-4  # of the largest magnitude of each parameter's gradient

# Where a ReLU or a maximum is within rounding of its kink, no two programs need agree (1 of 80 starts, by 5e-3). At
# these the gradient is smooth further than that: moving the photos by 5e-7, which changes it several times as much as
# rounding does, makes it jump nowhere (the twin in float64, worst change 1.5e-4; 1e-5 between the programs).
BATCHES = ((2, 2, (16, 20)), (1, 3, (19, 18)))
"""Photos, styles and size; each with all of SEEDS."""
SEEDS = range(3)


def random_stylizer(styles: int = STYLES, seed: int = 0, *, width: int = WIDTH, blocks: int = BLOCKS) -> Stylizer:
    """Scales, shifts and the bias too are random: fresh ones are 1 and 0, and a mistake in them would not show."""
    rng = np.random.default_rng(seed)
    network = nnx.eval_shape(lambda: Stylizer(styles, width=width, blocks=blocks, rngs=nnx.Rngs(0)))

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = rng.normal(size=shape).astype(np.float32)
        if name.endswith("kernel"):
            return values * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        return name.endswith("scale") + values / 2

    tensors = {name: drawn(name, shape) for name, shape in parameter_shapes(network).items()}
    return assign_tensors(network, tensors, "that are random")


@jax.jit
def stylised(network: Stylizer, images: jax.Array, mixtures: jax.Array | None = None) -> jax.Array:
    return network(images, mixtures)


class Training(NamedTuple):
    """A batch of N photos, K style pictures and the network that is to be trained on them."""

    network: Stylizer
    photos: np.ndarray
    """(N, H, W, 3)."""
    masks: np.ndarray
    """(N, H, W, K)."""
    pictures: list[np.ndarray]
    """K of (h, w, 3)."""


class Found(NamedTuple):
    """What one program makes of a `Training`."""

    loss: float
    terms: dict[str, float]
    """The weighted terms, whose sum is the loss; empty for the twin."""
    gradients: dict[str, Tensor]
    """{parameter, by its name in torch: gradient}."""


def training_case(photos: int, styles: int, size: tuple[int, int], seed: int) -> Training:
    """Random pictures and parameters."""
    batch = uniform(photos, *size, 3, seed=seed + 10)
    masks = np.random.default_rng(seed).dirichlet([1] * styles, (photos, *size)).astype(np.float32)
    pictures = [uniform(20 + 3 * k, 26, 3, seed=20 + k) for k in range(styles)]
    return Training(random_stylizer(styles, seed), batch, masks, pictures)


def load_network() -> VGG:
    """The embedded VGG-16, as deep as LAYERS."""
    return load_vgg("vgg16", [*LAYERS.style, *LAYERS.content], path=EMBEDDED_VGG16)[0]


@jax.jit
def loss_and_gradients(
    network: Stylizer, vgg: VGG, grams: dict[str, jax.Array], photos: jax.Array, masks: jax.Array
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], Any]:
    definition, params = nnx.split(network)

    def loss(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        pixels = nnx.merge(definition, params)(normalize(photos))
        return batch_stylization_loss(vgg, grams, LAYERS, FACTORS, pixels, photos, masks)

    return jax.value_and_grad(loss, has_aux=True)(params)


def our_training(vgg: VGG, training: Training) -> Found:
    """Loss, terms and gradients by msst_jax."""
    network, photos, masks, pictures = training
    targets = [style_targets(vgg, jnp.asarray(picture), LAYERS.style) for picture in pictures]
    grams = jax.tree.map(lambda *grams: jnp.concatenate(grams), *targets)
    (value, terms), gradients = loss_and_gradients(network, vgg, grams, photos, masks)
    named = {torch_name(name): to_torch(name, gradient) for name, gradient in state_to_tensors(gradients).items()}
    return Found(float(value), {name: float(term) for name, term in terms.items()}, named)


def torch_training(training: Training) -> Found:
    """Loss and gradients by the twin."""
    network, photos, masks, pictures = training
    ratio = float(FACTORS.blend) / float(FACTORS.style)
    settings = Settings(*LAYERS, float(FACTORS.style), ratio, float(FACTORS.content), float(FACTORS.tv))
    twin = build_twin(state_to_tensors(nnx.state(network)))
    loss = TrainingLoss(twin, original.network(EMBEDDED_VGG16), [*map(to_tensor, pictures)], settings)
    value = loss(to_tensor(photos), torch.from_numpy(np.moveaxis(masks, -1, 1)))
    value.backward()
    gradients = {name: parameter.grad for name, parameter in twin.named_parameters() if parameter.grad is not None}
    return Found(value.item(), {}, gradients)


def gradient_errors(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, float]:
    """{parameter: largest difference over largest magnitude}.

    What a block adds to all pixels alike, the mirrored convolution and normalisation after it take away again: the
    gradient of its last shift is 0, both give rounding errors, and those are compared with the gradient of the scale.
    """
    units = {name: name.replace("shift", "scale") if "conv2" in name else name for name in theirs}
    return {name: float((ours[name] - theirs[name]).abs().max() / theirs[units[name]].abs().max()) for name in theirs}
