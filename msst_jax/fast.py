"""The fast model as a task for the trainer, and as a file: what is trained, and what is used afterwards."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from ml_collections import ConfigDict
from PIL import Image
from safetensors import SafetensorError, safe_open

from msst_jax import losses
from msst_jax.configuration import check_stylizer_config, compute_type
from msst_jax.errors import UserError
from msst_jax.images import load_image, normalize, to_picture
from msst_jax.models.stylizer import Stylizer
from msst_jax.models.vgg import VGG
from msst_jax.models.weights import ASSETS, MODEL_FILE, assign, dotted_tensors, load_vgg, read_tensors, save_tensors
from msst_jax.regions import BACKGROUND
from msst_jax.report import sheet
from msst_jax.stylization import layers_of, weights_of
from msst_jax.train_step import Batch, Evaluation, Params, Plan, Task, Terms

BUILTIN = "builtin"
BUILTIN_FILE = ASSETS / "stylizer_builtin.safetensors"


class FastModel(NamedTuple):
    """A trained network, and what its styles are for."""

    network: Stylizer
    regions: tuple[str, ...]
    """One for each style, in order."""
    styles: tuple[str, ...]
    """Names of the style files."""
    path: Path
    training: dict[str, Any]
    """The config it was trained with."""


def loss_of_images(
    vgg: VGG,
    grams: Mapping[str, jax.Array],
    layers: losses.Layers,
    weights: losses.Weights,
    pixels: jax.Array,
    photos: jax.Array,
    masks: jax.Array,
) -> tuple[jax.Array, Terms]:
    """Mean of `losses.stylization_loss` over a batch of photos.

    Args:
      vgg: the network of the losses.
      grams: {style layer: (K, C, C)} of the styles.
      layers: the layers to compare.
      weights: the four factors.
      pixels: (N, K, H, W, 3) in [0, 1].
      photos: (N, H, W, 3) in [0, 1].
      masks: (N, H, W, K), sum 1 at every pixel.

    Returns:
      The loss and its weighted terms.
    """
    contents = jax.tree.map(lambda features: features[:, None], vgg(normalize(photos), layers.content))

    def single(pixels: jax.Array, content: dict[str, jax.Array], mask: jax.Array) -> tuple[jax.Array, Terms]:
        return losses.stylization_loss(vgg, losses.Targets(dict(grams), content), mask, layers, pixels, weights)

    return jax.tree.map(jnp.mean, jax.vmap(single)(pixels, contents, masks))


def plan(config: ConfigDict, styles: Mapping[str, str]) -> Plan:
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
    layers = layers_of(config)
    vgg, _ = load_vgg(config.network, [*layers.style, *layers.content], dtype=compute_type(config.dtype))
    names = [Path(file).name for file in styles.values()]
    return Plan([*styles], lambda samples: make_task(config, vgg, [*styles], names, pictures, samples))


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
    layers = layers_of(config)
    definition = nnx.graphdef(nnx.eval_shape(lambda: network_of(config, len(styles), nnx.Rngs(0))))
    vgg_definition, vgg_state = nnx.split(vgg)
    targets = [losses.style_targets(vgg, jnp.asarray(style), layers.style) for style in styles]
    frozen = {"vgg": vgg_state, "grams": jax.tree.map(lambda *grams: jnp.concatenate(grams), *targets)}
    factors = weights_of(config, config.blend_ratio)

    def init(key: jax.Array) -> Params:
        return nnx.state(network_of(config, len(styles), nnx.Rngs(key)))

    def stylised(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
        photos = batch["photo"].astype(jnp.float32) / 255
        return photos, nnx.merge(definition, params)(normalize(photos))

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        photos, pixels = stylised(params, batch)
        weights = factors._replace(tv=factors.tv / (photos.shape[1] * photos.shape[2]))
        network = nnx.merge(vgg_definition, frozen["vgg"])
        return loss_of_images(network, frozen["grams"], layers, weights, pixels, photos, batch["masks"])

    loss_once, stylise = jax.jit(loss), jax.jit(stylised)

    def evaluate(params: Params) -> Evaluation:
        value, terms = loss_once(params, frozen, samples, jax.random.key(0))
        _, pixels = stylise(params, samples)
        scalars = {name: float(term) for name, term in {"loss": value, **terms}.items()}
        return Evaluation(scalars, sample_sheet(samples, np.asarray(pixels), regions))

    def save(path: Path, params: Params) -> None:
        save_model(path, config, regions, names, params)

    return Task(init, loss, frozen, evaluate, save)


def sample_sheet(samples: Batch, pixels: np.ndarray, regions: Sequence[str]) -> Image.Image:
    """A row a photo: the photo, the composite, the photo in each style (N, K, H, W, 3)."""
    shown = []
    for photo, masks, images in zip(samples["photo"], samples["masks"], pixels, strict=True):
        result = losses.composite(jnp.asarray(images), jnp.asarray(masks))
        shown += [("photo", to_picture(np.asarray(photo) / 255.0)), ("result", to_picture(result))]
        shown += [(f"style of {name}", to_picture(image)) for name, image in zip(regions, images, strict=True)]
    return sheet(shown, height=min(256, pixels.shape[2]), columns=2 + len(regions))


def network_of(config: ConfigDict, styles: int, rngs: nnx.Rngs) -> Stylizer:
    """The network that a config asks for."""
    return Stylizer(styles, width=config.width, blocks=config.blocks, dtype=compute_type(config.dtype), rngs=rngs)


def save_model(path: Path, config: ConfigDict, regions: Sequence[str], styles: Sequence[str], params: Params) -> None:
    """Writes parameters as float16 safetensors, whole or not at all; the metadata tells what they are.

    Args:
      path: the file.
      config: that of the training.
      regions: names, one for each style.
      styles: names of the style files.
      params: of the network.

    Raises:
      UserError: unwritable place.
    """
    made = {"network": "stylizer", "regions": list(regions), "styles": list(styles), "config": config.to_dict()}
    save_tensors(path, dotted_tensors(params), {"msst_jax": json.dumps(made)})


def find_model(name: str) -> Path:
    """The weights of "builtin", of a workdir of train.py, or of a file.

    Raises:
      UserError: there are none.
    """
    path = BUILTIN_FILE if name == BUILTIN else Path(name).expanduser()
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.exists():
        raise UserError(f"--model {name}: there is no {path}; give a --workdir of train.py, or {BUILTIN}")
    return path


def load_model(name: str, dtype: DTypeLike = jnp.float32) -> FastModel:
    """A trained fast model; see `find_model`.

    Raises:
      UserError: missing, damaged, or no fast model.
    """
    path = find_model(name)
    try:
        with safe_open(path, "numpy") as file:
            made = json.loads((file.metadata() or {}).get("msst_jax", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"--model {name}: {path} is damaged ({error}); export it again or train again") from error
    if made.get("network") != "stylizer":
        raise UserError(f"--model {name}: {path} is no fast model; give what train.py wrote")
    config, regions = made["config"], tuple(made["regions"])
    network = nnx.eval_shape(
        lambda: Stylizer(len(regions), width=config["width"], blocks=config["blocks"], dtype=dtype, rngs=nnx.Rngs(0))
    )
    return FastModel(assign(network, read_tensors(path), str(path)), regions, tuple(made["styles"]), path, config)
