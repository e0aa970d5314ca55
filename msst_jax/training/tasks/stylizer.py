"""The fast model as a task for the trainer, and as a file: what is trained, and what is used afterwards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import load_image, to_picture
from msst_jax.losses.objective import batch_stylization_loss, style_targets
from msst_jax.models.feedforward_model import build_stylizer, save_feedforward
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, normalize
from msst_jax.presets.validation import check_stylizer_config, compute_dtype
from msst_jax.regions.masks import BACKGROUND
from msst_jax.report.sheets import sheet
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec, Terms
from msst_jax.transfer.build import build_layers, build_weights


def load_task_spec(config: ConfigDict, styles: Mapping[str, str]) -> TaskSpec:
    """Reads what the training of a fast model needs beside photos and masks.

    Args:
      config: see configs/fast.py.
      styles: {region: file}.

    Raises:
      UserError: no style for the background, or files that cannot be read.
    """
    check_stylizer_config(config)
    if BACKGROUND not in styles:
        found = f"found {', '.join(styles)}" if styles else "found none"
        raise UserError(f"the fast model needs --style {BACKGROUND}=FILE, and one for each other region; {found}")
    pictures = [load_image(file, config.style_size, what="style") for file in styles.values()]
    layers = build_layers(config)
    vgg, _ = load_vgg(config.network, [*layers.style, *layers.content], dtype=compute_dtype(config.dtype))
    names = [Path(file).name for file in styles.values()]
    return TaskSpec([*styles], lambda samples: make_task(config, vgg, [*styles], names, pictures, samples))


def make_task(
    config: ConfigDict,
    vgg: VGG,
    regions: Sequence[str],
    names: Sequence[str],
    styles: Sequence[np.ndarray],
    samples: Batch,
) -> Task:
    """The task of training a `Stylizer`.

    Args:
      config: see configs/fast.py.
      vgg: as deep as the layers of the config.
      regions: names, one for each style.
      names: of the style files.
      styles: pictures (h, w, 3) in [0, 1].
      samples: photos and masks of the sample sheet, a batch like those of training.
    """
    layers = build_layers(config)
    definition = nnx.graphdef(nnx.eval_shape(lambda: build_stylizer(config, len(styles), nnx.Rngs(0))))
    vgg_definition, vgg_state = nnx.split(vgg)
    targets = [style_targets(vgg, jnp.asarray(style), layers.style) for style in styles]
    frozen = {"vgg": vgg_state, "grams": jax.tree.map(lambda *grams: jnp.concatenate(grams), *targets)}
    factors = build_weights(config, config.blend_ratio)

    def init(key: jax.Array) -> Params:
        return nnx.state(build_stylizer(config, len(styles), nnx.Rngs(key)))

    def stylised(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        photos = batch["photo"].astype(jnp.float32) / 255
        return photos, nnx.merge(definition, params)(normalize(photos))

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        photos, pixels = stylised(params, batch)
        weights = factors._replace(tv=factors.tv / (photos.shape[1] * photos.shape[2]))
        network = nnx.merge(vgg_definition, frozen["vgg"])
        return batch_stylization_loss(network, frozen["grams"], layers, weights, pixels, photos, batch["masks"])

    loss_once, stylise = jax.jit(loss), jax.jit(stylised)

    def evaluate(params: Params) -> Evaluation:
        value, terms = loss_once(params, frozen, samples, jax.random.key(0))
        _, pixels = stylise(params, samples)
        scalars = {name: float(term) for name, term in {"loss": value, **terms}.items()}
        return Evaluation(scalars, sample_sheet(samples, np.asarray(pixels), regions))

    def save(path: Path, params: Params) -> None:
        save_feedforward(path, config, regions, names, params)

    return Task(init, loss, frozen, evaluate, save)


def sample_sheet(samples: Batch, pixels: np.ndarray, regions: Sequence[str]) -> Image.Image:
    """A row a photo: the photo, the composite, the photo in each style (N, K, H, W, 3)."""
    shown = []
    for photo, masks, images in zip(samples["photo"], samples["masks"], pixels, strict=True):
        result = composite(jnp.asarray(images), jnp.asarray(masks))
        shown += [("photo", to_picture(np.asarray(photo) / 255.0)), ("result", to_picture(result))]
        shown += [(f"style of {name}", to_picture(image)) for name, image in zip(regions, images, strict=True)]
    return sheet(shown, height=min(256, pixels.shape[2]), columns=2 + len(regions))
