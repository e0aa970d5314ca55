"""The training task of the feed-forward stylizer: its perceptual loss, sample sheet, export."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.fingerprint import Fingerprint, file_fingerprint
from msst_jax.io.images import load_image, to_picture
from msst_jax.losses.guided_batch import guided_batch_loss
from msst_jax.losses.objective import Terms, style_targets
from msst_jax.losses.temporal import Paint, temporal_loss
from msst_jax.models import serialization
from msst_jax.models.architecture import abstract_architecture, build_architecture, rearrange_styles, style_axes
from msst_jax.models.feedforward_model import FeedforwardModel, find_feedforward, load_feedforward, save_feedforward
from msst_jax.models.precision import compute_dtype
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import normalize
from msst_jax.registry import ARCHITECTURE
from msst_jax.report.sheets import sheet
from msst_jax.training.data.motion import random_motion
from msst_jax.training.options import StylizerOptions
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec
from msst_jax.transfer.fast_model import with_styles
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.style_mix import check_background_style

SHAPE_FIELDS = ("width", "blocks")  # of the package's own architecture


def load_task_spec(options: StylizerOptions, styles: Mapping[str, str]) -> TaskSpec:
    """Reads the styles and loss network of a feed-forward model, before the photos and masks are opened.

    Args:
      options: see `StylizerOptions`.
      styles: {region: file}.

    Raises:
      UserError: no style for the background, or files that cannot be read.
    """
    check_background_style(styles, "the fast model")
    if options.region_weights and len(options.region_weights) != len(styles):
        raise UserError(
            f"config.region_weights has {len(options.region_weights)} factors for {len(styles)} styles; give one for "
            "each --style, in their order, or leave it out"
        )
    images = [load_image(file, options.style_size, what="style") for file in styles.values()]
    initial = load_initial_params(options, styles) if options.start else {}
    vgg, _ = load_loss_network(options.network)
    style_names = [Path(file).name for file in styles.values()]
    return TaskSpec(
        [*styles],
        lambda samples: start_from(initial, make_task(options, vgg, [*styles], style_names, images, samples)),
        random_motion if options.temporal_weight else None,
        start_fingerprint(options.start),
    )


def start_fingerprint(start: str) -> dict[str, Fingerprint]:
    """{"start": that of the model that a run starts from}, whatever it is named by; empty without one.

    Raises:
      UserError: as `find_feedforward`.
    """
    return {"start": file_fingerprint(find_feedforward(start, "config.start"))} if start else {}


def load_initial_params(options: StylizerOptions, styles: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The parameters of the trained model that a run starts from, {module path: array}.

    A model for any painting begins with its style vectors of the paintings of the run. Of one with styles of its own a
    region takes the style under its name; one that the model does not know starts from the mean of the model's styles.

    Args:
      options: names the model, and the network that it must fit.
      styles: {region: file} of the run.

    Raises:
      UserError: no such model, or one of another architecture or shape; says what to give.
    """
    regions, model = [*styles], load_feedforward(options.start, what="config.start")
    if model.for_any_painting:
        model = with_styles(options.start, model, styles)
    _check_same_network(options, model)
    new = [name for name in regions if name not in model.regions]
    if new:
        logging.info("regions %s are new to %s: they start from the mean of its styles", ", ".join(new), options.start)
    axes = style_axes(model.architecture, len(model.regions), model.training)
    sources = [model.regions.index(name) if name in model.regions else None for name in regions]
    return rearrange_styles(serialization.state_to_tensors(nnx.state(model.network)), axes, sources)


def start_from(initial: Mapping[str, np.ndarray], task: Task) -> Task:
    """The task with parameters {module path: array} that are not randomly initialized."""
    return task._replace(init=lambda key: serialization.replace_leaves(task.init(key), initial))


def _check_same_network(options: StylizerOptions, model: FeedforwardModel) -> None:
    if model.architecture != options.architecture:
        raise UserError(
            f"config.start {options.start} is of the architecture {model.architecture}, the run of "
            f"{options.architecture}; give --config.architecture={model.architecture}"
        )
    if options.architecture == ARCHITECTURE:
        check_same_shape(options.start, options.training, model.training)
        return
    count = len(model.regions)
    networks = (
        abstract_architecture(options.architecture, count, config) for config in (options.training, model.training)
    )
    expected, found = (serialization.parameter_shapes(network) for network in networks)
    if expected != found:
        raise UserError(
            f"config.start {options.start} is a network of another shape than that of the run; give the config that "
            "it was trained with"
        )


def check_same_shape(start: str, training: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises UserError unless the config of a run makes the package's own network as that of the model `start` did."""
    flags = [f"--config.{name}={found[name]}" for name in SHAPE_FIELDS if training[name] != found[name]]
    if flags:
        raise UserError(
            f"config.start {start} is a network of another shape than that of the run; give {' '.join(flags)}"
        )


def make_task(
    options: StylizerOptions,
    vgg: VGG,
    regions: Sequence[str],
    style_names: Sequence[str],
    styles: Sequence[np.ndarray],
    samples: Batch,
) -> Task:
    """The task of training a feed-forward stylizer.

    Args:
      options: see `StylizerOptions`.
      vgg: the loss network, as deep as the layers of the options.
      regions: names, one for each style.
      style_names: of the style files.
      styles: images (h, w, 3) in [0, 1].
      samples: photos and masks of the sample sheet, a batch like those of training.
    """
    layers = options.network.layers

    def build_network(rngs: nnx.Rngs) -> nnx.Module:
        dtype = compute_dtype(options.dtype)
        return build_architecture(options.architecture, len(styles), options.training, dtype=dtype, rngs=rngs)

    definition = nnx.graphdef(nnx.eval_shape(lambda: build_network(nnx.Rngs(0))))
    vgg_definition, vgg_state = nnx.split(vgg)
    targets = [style_targets(vgg, jnp.asarray(style), layers.style) for style in styles]
    factors = jnp.asarray(options.region_weights) if options.region_weights else None
    frozen = {"vgg": vgg_state, "grams": jax.tree.map(lambda *grams: jnp.concatenate(grams), *targets)}

    def init(key: jax.Array) -> Params:
        return nnx.state(build_network(nnx.Rngs(key)))

    def forward(params: Params, photos: jax.Array, masks: jax.Array) -> jax.Array:
        return nnx.merge(definition, params)(normalize(photos), masks)

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        photos, masks = batch["photo"].astype(jnp.float32) / 255, batch["masks"]
        pixels = forward(params, photos, masks)
        weights = options.weights.with_tv_per_pixel(*photos.shape[1:3])
        network = nnx.merge(vgg_definition, frozen["vgg"])
        grams = jax.tree.map(lambda gram: jnp.broadcast_to(gram, (len(photos), *gram.shape)), frozen["grams"])
        value, terms = guided_batch_loss(network, grams, layers, weights, pixels, photos, masks, factors)
        painter = partial(forward, params)
        return add_temporal(options.temporal_weight, value, terms, painter, photos, masks, pixels, batch)

    jitted_loss, jitted_forward = jax.jit(loss), jax.jit(forward)

    def evaluate(params: Params) -> Evaluation:
        value, terms = jitted_loss(params, frozen, samples, jax.random.key(0))
        pixels = jitted_forward(params, samples["photo"].astype(np.float32) / 255, samples["masks"])
        scalars = {name: float(term) for name, term in {"loss": value, **terms}.items()}
        return Evaluation(scalars, sample_sheet(samples, np.asarray(pixels)))

    def save(path: Path, params: Params) -> None:
        save_feedforward(path, options.record, regions, style_names, params, architecture=options.architecture)

    return Task(init, loss, frozen, evaluate, save)


def add_temporal(
    weight: float,
    value: jax.Array,
    terms: Terms,
    paint: Paint,
    photos: jax.Array,
    masks: jax.Array,
    pixels: jax.Array,
    batch: Batch,
) -> tuple[jax.Array, Terms]:
    """A loss and its terms, with the temporal one if it has a weight."""
    if not weight:
        return value, terms
    temporal = weight * temporal_loss(paint, photos, masks, pixels, batch)
    return value + temporal, {**terms, "temporal": temporal}


def sample_sheet(samples: Batch, pixels: np.ndarray) -> Image.Image:
    """One row per photo: the photo, and its picture (N, H, W, 3)."""
    shown = []
    for photo, picture in zip(samples["photo"], pixels, strict=True):
        shown += [("photo", to_picture(np.asarray(photo) / 255.0)), ("result", to_picture(picture))]
    return sheet(shown, height=min(256, pixels.shape[1]), columns=4)
