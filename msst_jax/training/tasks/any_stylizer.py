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
from msst_jax.io.fingerprint import fingerprint, relative_names
from msst_jax.losses.guided_batch import guided_batch_loss
from msst_jax.losses.objective import Terms, style_targets
from msst_jax.losses.temporal import Paint
from msst_jax.models import serialization
from msst_jax.models.any_model import load_predictor_vgg
from msst_jax.models.feedforward_model import ANY_NETWORK, load_feedforward, save_feedforward
from msst_jax.models.precision import compute_dtype
from msst_jax.models.pretrained import EMBEDDED_VGG16
from msst_jax.models.style_predictor import LAYERS, AnyStylizer, standardization, style_moments
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from msst_jax.training.data.motion import random_motion
from msst_jax.training.data.paintings import find_paintings, painting_view
from msst_jax.training.options import AnyStylizerOptions
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec
from msst_jax.training.tasks.stylizer import add_temporal, check_same_shape, sample_sheet, start_fingerprint
from msst_jax.transfer.objective import load_loss_network

MIXED = 0.3  # share of the styles that are two paintings side by side
WHOLE = 0.25  # share of the photos that are one region
STATISTICS = ("predictor.center", "predictor.spread")  # of the network, which are not trained

Tensors = Mapping[str, np.ndarray]
"""{module path: array}."""


class Networks(NamedTuple):
    """The two that look at a painting."""

    losses: VGG
    """As deep as the layers of the options."""
    predictor: VGG
    """As the predictor of a model sees paintings, whatever network the losses have; see `load_predictor_vgg`."""


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
    initial = load_initial_params(options) if options.start else {}
    vgg, path = load_loss_network(options.network)
    known = path == EMBEDDED_VGG16 and options.network.dtype == "float32" and {*LAYERS} <= {*vgg.taps}
    networks = Networks(vgg, vgg if known else load_predictor_vgg())
    places = [Path(folder).expanduser() for folder in options.paintings]
    paintings = fingerprint(relative_names([*zip(places, folders, strict=True)]))
    return TaskSpec(
        options.regions,
        lambda samples: make_task(options, networks, folders, initial, samples),
        partial(_draw, options),
        {"paintings": paintings, **start_fingerprint(options.start)},
    )


def load_initial_params(options: AnyStylizerOptions) -> Tensors:
    """The weights of the model for any painting that a run starts from.

    Raises:
      UserError: no such model, one with styles of its own, or one of another shape.
    """
    model = load_feedforward(options.start, what="config.start")
    if not model.for_any_painting:
        raise UserError(f"config.start {options.start} has styles of its own; give a model for any painting")
    check_same_shape(options.start, options.record, model.training)
    return serialization.state_to_tensors(nnx.state(model.network, nnx.Any(*serialization.WEIGHT_TYPES)))


def _draw(options: AnyStylizerOptions, rng: np.random.Generator) -> dict[str, np.ndarray]:
    styles = draw_styles(rng, views=options.views, regions=len(options.regions))
    return {**styles, **random_motion(rng)} if options.temporal_weight else styles


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
    networks: Networks, layers: Sequence[str], view: Callable[[np.random.Generator], np.ndarray], count: int, seed: int
) -> PaintingBank:
    """The bank of `count` random views of paintings."""

    @jax.jit
    def describe(image: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        pixels = image.astype(jnp.float32) / 255
        return style_targets(networks.losses, pixels, layers), style_moments(networks.predictor, pixels)

    rng = np.random.default_rng(seed)
    described = [describe(view(rng)) for _ in tqdm(range(count), desc="paintings", unit="view", disable=None)]
    grams, moments = zip(*described, strict=True)
    return PaintingBank(jax.tree.map(lambda *each: jnp.concatenate(each), *grams), jnp.stack(moments))


def make_task(
    options: AnyStylizerOptions,
    networks: Networks,
    folders: Sequence[Sequence[Path]],
    initial: Tensors,
    samples: Batch,
) -> Task:
    """The task of training a feed-forward stylizer for any painting.

    Args:
      options: see `AnyStylizerOptions`.
      networks: see `Networks`.
      folders: the paintings.
      initial: {module path: array} of the model that the training starts from; empty for random weights.
      samples: photos, masks and styles of the sample sheet, a batch like those of training.
    """
    layers = options.network.layers
    view = partial(painting_view, folders, size=options.style_size)
    bank = build_bank(networks, layers.style, view, options.views, options.seed)
    definition, statistics = _split_network(options, bank, initial)
    vgg_definition, vgg_state = nnx.split(networks.losses)
    frozen = {"vgg": vgg_state, "bank": bank, "statistics": statistics}

    def init(key: jax.Array) -> Params:
        random = nnx.state(_build_network(options, nnx.Rngs(key)), nnx.Param)
        trained = {name: value for name, value in initial.items() if name not in STATISTICS}
        return serialization.replace_leaves(random, trained)

    def paint(params: Params, frozen: Any, batch: Batch) -> Paint:
        network, moments = nnx.merge(definition, params, frozen["statistics"]), mix_views(frozen["bank"].moments, batch)
        return lambda photos, masks: network(normalize(photos), masks, moments)

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        photos, masks = photos_and_masks(batch)
        painter = paint(params, frozen, batch)
        pixels = painter(photos, masks)
        grams = {layer: mix_views(gram, batch) for layer, gram in frozen["bank"].grams.items()}
        weights = options.weights.with_tv_per_pixel(*photos.shape[1:3])
        network = nnx.merge(vgg_definition, frozen["vgg"])
        value, terms = guided_batch_loss(network, grams, layers, weights, pixels, photos, masks)
        return add_temporal(options.temporal_weight, value, terms, painter, photos, masks, pixels, batch)

    jitted_loss = jax.jit(loss)
    jitted_pixels = jax.jit(lambda params, frozen, batch: paint(params, frozen, batch)(*photos_and_masks(batch)))

    def evaluate(params: Params) -> Evaluation:
        value, terms = jitted_loss(params, frozen, samples, jax.random.key(0))
        scalars = {name: float(term) for name, term in {"loss": value, **terms}.items()}
        return Evaluation(scalars, sample_sheet(samples, np.asarray(jitted_pixels(params, frozen, samples))))

    def save(path: Path, params: Params) -> None:
        state = nnx.state(nnx.merge(definition, params, statistics), nnx.Any(*serialization.WEIGHT_TYPES))
        save_feedforward(path, options.record, (), (), state, architecture=ANY_NETWORK)

    return Task(init, loss, frozen, evaluate, save)


def _build_network(options: AnyStylizerOptions, rngs: nnx.Rngs) -> AnyStylizer:
    return AnyStylizer(width=options.width, blocks=options.blocks, dtype=compute_dtype(options.dtype), rngs=rngs)


def _split_network(options: AnyStylizerOptions, bank: PaintingBank, initial: Tensors) -> tuple[nnx.GraphDef, nnx.State]:
    """The definition of the network, and what of it is not trained: the standardization of the statistics.

    That is the one of the bank or, where training starts from a model, the one that its predictor knows.
    """
    definition, _, statistics = nnx.split(_build_network(options, nnx.Rngs(0)), nnx.Param, ...)  # type: ignore[misc]
    center, spread = standardization(bank.moments)
    own = dict(zip(STATISTICS, (np.asarray(center), np.asarray(spread)), strict=True))
    return definition, serialization.replace_leaves(statistics, {name: initial.get(name, own[name]) for name in own})


def photos_and_masks(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The photos (N, H, W, 3) in [0, 1] of a batch and their masks (N, H, W, K); some photos are one region."""
    first = jnp.zeros_like(batch["masks"]).at[..., 0].set(1.0)
    whole = batch["whole"][:, None, None, None]
    return batch["photo"].astype(jnp.float32) / 255, jnp.where(whole, first, batch["masks"])


def mix_views(values: jax.Array, batch: Batch) -> jax.Array:
    """What the bank knows (P, ...) as that of the styles of a batch, (N, K, ...)."""
    first, second = values[batch["views"][..., 0]], values[batch["views"][..., 1]]
    shares = batch["shares"].reshape(*batch["shares"].shape, *[1] * (values.ndim - 1))
    return shares * first + (1 - shares) * second
