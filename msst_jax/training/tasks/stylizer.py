"""The training task of the feed-forward stylizer: its perceptual loss, sample sheet, export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import load_image, to_picture
from msst_jax.losses.objective import Terms, batch_stylization_loss, style_targets
from msst_jax.models.feedforward_model import save_feedforward
from msst_jax.models.precision import compute_dtype
from msst_jax.models.stylizer import Stylizer
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, normalize
from msst_jax.regions.masks import BACKGROUND
from msst_jax.report.sheets import sheet
from msst_jax.training.options import StylizerOptions
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec
from msst_jax.transfer.objective import load_loss_network


def load_task_spec(options: StylizerOptions, styles: Mapping[str, str]) -> TaskSpec:
    """Reads the styles and loss network of a feed-forward model, before the photos and masks are opened.

    Args:
      options: see `StylizerOptions`.
      styles: {region: file}.

    Raises:
      UserError: no style for the background, or files that cannot be read.
    """
    if BACKGROUND not in styles:
        given = f"found {', '.join(styles)}" if styles else "found none"
        raise UserError(f"the fast model needs --style {BACKGROUND}=FILE, and one for each other region; {given}")
    images = [load_image(file, options.style_size, what="style") for file in styles.values()]
    vgg, _ = load_loss_network(options.network)
    style_names = [Path(file).name for file in styles.values()]
    return TaskSpec([*styles], lambda samples: make_task(options, vgg, [*styles], style_names, images, samples))


def make_task(
    options: StylizerOptions,
    vgg: VGG,
    regions: Sequence[str],
    style_names: Sequence[str],
    styles: Sequence[np.ndarray],
    samples: Batch,
) -> Task:
    """The task of training a `Stylizer`.

    Args:
      options: see `StylizerOptions`.
      vgg: the loss network, as deep as the layers of the options.
      regions: names, one for each style.
      style_names: of the style files.
      styles: images (h, w, 3) in [0, 1].
      samples: photos and masks of the sample sheet, a batch like those of training.
    """
    layers = options.network.layers

    def build_network(rngs: nnx.Rngs) -> Stylizer:
        dtype = compute_dtype(options.dtype)
        return Stylizer(len(styles), width=options.width, blocks=options.blocks, dtype=dtype, rngs=rngs)

    definition = nnx.graphdef(nnx.eval_shape(lambda: build_network(nnx.Rngs(0))))
    vgg_definition, vgg_state = nnx.split(vgg)
    targets = [style_targets(vgg, jnp.asarray(style), layers.style) for style in styles]
    frozen = {"vgg": vgg_state, "grams": jax.tree.map(lambda *grams: jnp.concatenate(grams), *targets)}

    def init(key: jax.Array) -> Params:
        return nnx.state(build_network(nnx.Rngs(key)))

    def forward(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        photos = batch["photo"].astype(jnp.float32) / 255
        return photos, nnx.merge(definition, params)(normalize(photos))

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        photos, pixels = forward(params, batch)
        weights = options.weights.with_tv_per_pixel(*photos.shape[1:3])
        network = nnx.merge(vgg_definition, frozen["vgg"])
        return batch_stylization_loss(network, frozen["grams"], layers, weights, pixels, photos, batch["masks"])

    jitted_loss, jitted_forward = jax.jit(loss), jax.jit(forward)

    def evaluate(params: Params) -> Evaluation:
        value, terms = jitted_loss(params, frozen, samples, jax.random.key(0))
        _, pixels = jitted_forward(params, samples)
        scalars = {name: float(term) for name, term in {"loss": value, **terms}.items()}
        return Evaluation(scalars, sample_sheet(samples, np.asarray(pixels), regions))

    def save(path: Path, params: Params) -> None:
        save_feedforward(path, options.record, regions, style_names, params)

    return Task(init, loss, frozen, evaluate, save)


def sample_sheet(samples: Batch, pixels: np.ndarray, regions: Sequence[str]) -> Image.Image:
    """One row per photo: the photo, the composite, and the photo in each style (N, K, H, W, 3)."""
    shown = []
    for photo, masks, images in zip(samples["photo"], samples["masks"], pixels, strict=True):
        result = composite(jnp.asarray(images), jnp.asarray(masks))
        shown += [("photo", to_picture(np.asarray(photo) / 255.0)), ("result", to_picture(result))]
        shown += [(f"style of {name}", to_picture(image)) for name, image in zip(regions, images, strict=True)]
    return sheet(shown, height=min(256, pixels.shape[2]), columns=2 + len(regions))
