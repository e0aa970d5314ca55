"""The training task of the feed-forward stylizer for any painting: a bank of paintings, loss, sample sheet, export."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.losses.guided_batch import guided_batch_loss
from msst_jax.losses.objective import Terms, style_targets
from msst_jax.models.feedforward_model import ANY_NETWORK, save_feedforward
from msst_jax.models.precision import compute_dtype
from msst_jax.models.serialization import WEIGHT_TYPES
from msst_jax.models.style_predictor import AnyStylizer, standardization, style_moments
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from msst_jax.training.data.paintings import find_paintings, painting_view
from msst_jax.training.options import AnyStylizerOptions
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec
from msst_jax.training.tasks.stylizer import sample_sheet
from msst_jax.transfer.objective import load_loss_network

MIXED = 0.3  # share of the styles that are two paintings side by side
WHOLE = 0.25  # share of the photos that are one region


class PaintingBank(NamedTuple):
    """What the loss and the predictor know of P views of paintings."""

    grams: dict[str, jax.Array]
    """{style layer: (P, C, C)}."""
    moments: jax.Array
    """(P, D), see `style_moments`."""


def load_task_spec(options: AnyStylizerOptions, styles: Mapping[str, str]) -> TaskSpec:
    """Finds the paintings and reads the loss network, before the photos and masks are opened.

    Args:
      options: see `AnyStylizerOptions`.
      styles: must be empty.

    Raises:
      UserError: a style, no paintings, or files that cannot be read.
    """
    if styles:
        raise UserError(
            f"--style {next(iter(styles))}=FILE has no effect: a model for any painting is trained on the folders of "
            "config.paintings; leave it out"
        )
    folders = find_paintings(options.paintings)
    vgg, _ = load_loss_network(options.network)
    draw = partial(draw_styles, views=options.views, regions=len(options.regions))
    return TaskSpec(options.regions, lambda samples: make_task(options, vgg, folders, samples), draw)


def draw_styles(rng: np.random.Generator, *, views: int, regions: int) -> dict[str, np.ndarray]:
    """The styles of one photo: for each of K regions two views and the share of the first, and whether it is whole."""
    mixed = rng.random(regions) < MIXED
    shares = np.where(mixed, rng.random(regions), 1.0)
    return {
        "views": rng.integers(views, size=(regions, 2)).astype(np.int32),
        "shares": shares.astype(np.float32),
        "whole": np.asarray(rng.random() < WHOLE),
    }


def build_bank(
    vgg: VGG, layers: Sequence[str], view: Callable[[np.random.Generator], np.ndarray], count: int, seed: int
) -> PaintingBank:
    """The bank of `count` random views of paintings."""

    @jax.jit
    def describe(image: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        pixels = image.astype(jnp.float32) / 255
        return style_targets(vgg, pixels, layers), style_moments(vgg, pixels)

    rng = np.random.default_rng(seed)
    described = [describe(view(rng)) for _ in tqdm(range(count), desc="paintings", unit="view", disable=None)]
    grams, moments = zip(*described, strict=True)
    return PaintingBank(jax.tree.map(lambda *each: jnp.concatenate(each), *grams), jnp.stack(moments))


def make_task(options: AnyStylizerOptions, vgg: VGG, folders: Sequence[Sequence[Path]], samples: Batch) -> Task:
    """The task of training a feed-forward stylizer for any painting.

    Args:
      options: see `AnyStylizerOptions`.
      vgg: the loss network, as deep as the layers of the options and those of the predictor.
      folders: the paintings.
      samples: photos, masks and styles of the sample sheet, a batch like those of training.
    """
    layers = options.network.layers
    view = partial(painting_view, folders, size=options.style_size)
    bank = build_bank(vgg, layers.style, view, options.views, options.seed)
    center, spread = standardization(bank.moments)

    def build_network(rngs: nnx.Rngs) -> AnyStylizer:
        network = AnyStylizer(width=options.width, blocks=options.blocks, dtype=compute_dtype(options.dtype), rngs=rngs)
        network.predictor.center[...], network.predictor.spread[...] = center, spread
        return network

    definition, _, statistics = nnx.split(build_network(nnx.Rngs(0)), nnx.Param, ...)  # type: ignore[misc]
    vgg_definition, vgg_state = nnx.split(vgg)
    frozen = {"vgg": vgg_state, "bank": bank, "statistics": statistics}

    def init(key: jax.Array) -> Params:
        return nnx.state(build_network(nnx.Rngs(key)), nnx.Param)

    def forward(params: Params, frozen: Any, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        photos = batch["photo"].astype(jnp.float32) / 255
        first = jnp.zeros_like(batch["masks"]).at[..., 0].set(1.0)
        masks = jnp.where(batch["whole"][:, None, None, None], first, batch["masks"])
        moments = mix_views(frozen["bank"].moments, batch)
        network = nnx.merge(definition, params, frozen["statistics"])
        return photos, masks, network(normalize(photos), masks, moments)

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        photos, masks, pixels = forward(params, frozen, batch)
        grams = {layer: mix_views(gram, batch) for layer, gram in frozen["bank"].grams.items()}
        weights = options.weights.with_tv_per_pixel(*photos.shape[1:3])
        network = nnx.merge(vgg_definition, frozen["vgg"])
        return guided_batch_loss(network, grams, layers, weights, pixels, photos, masks)

    jitted_loss, jitted_forward = jax.jit(loss), jax.jit(forward)

    def evaluate(params: Params) -> Evaluation:
        value, terms = jitted_loss(params, frozen, samples, jax.random.key(0))
        _, _, pixels = jitted_forward(params, frozen, samples)
        scalars = {name: float(term) for name, term in {"loss": value, **terms}.items()}
        return Evaluation(scalars, sample_sheet(samples, np.asarray(pixels)))

    def save(path: Path, params: Params) -> None:
        state = nnx.state(nnx.merge(definition, params, statistics), nnx.Any(*WEIGHT_TYPES))
        save_feedforward(path, options.record, (), (), state, architecture=ANY_NETWORK)

    return Task(init, loss, frozen, evaluate, save)


def mix_views(values: jax.Array, batch: Batch) -> jax.Array:
    """What the bank knows (P, ...) as that of the styles of a batch, (N, K, ...)."""
    first, second = values[batch["views"][..., 0]], values[batch["views"][..., 1]]
    shares = batch["shares"].reshape(*batch["shares"].shape, *[1] * (values.ndim - 1))
    return shares * first + (1 - shares) * second
