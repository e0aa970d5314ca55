"""The person segmenter as a task for the trainer: what is trained, and the file of what was learned."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import to_picture
from msst_jax.losses.segmentation import intersection_over_union, segmentation_loss
from msst_jax.models import pretrained, serialization
from msst_jax.models.deeplab import PERSON_CLASSES, PERSON_NETWORK, DeepLabV3
from msst_jax.models.low_rank_vgg import LOW_RANK, NETWORK, low_rank_factors
from msst_jax.models.voc import CLASSES
from msst_jax.ops.image import normalize
from msst_jax.presets.validation import compute_dtype
from msst_jax.report.sheets import sheet
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec, Terms

REGIONS = tuple(CLASSES[index] for index in PERSON_CLASSES)  # in the order of the scores
TRAINABLE = nnx.All(nnx.Param, nnx.Not(nnx.PathContains("embedded")))
SHOWN = 16  # photos of the sample sheet
CHUNK = 8  # photos evaluated at once
DARK = 0.25  # brightness of what is no person on the sheet


def load_task_spec(config: ConfigDict, styles: Mapping[str, str]) -> TaskSpec:
    """Reads what the training of a person segmenter needs beside photos and masks.

    Args:
      config: see configs/person_segmenter.py.
      styles: must be empty.

    Raises:
      UserError: a style, or no weights to start from.
    """
    if styles:
        raise UserError(
            f"--style {next(iter(styles))}=FILE is of no use: {PERSON_NETWORK} takes no styles; leave it out"
        )
    if config.without_mask == "random":
        raise UserError(
            f"config.without_mask is 'random', but {PERSON_NETWORK} learns where persons are; use error or background"
        )
    start = load_start(config)
    return TaskSpec(REGIONS, lambda samples: make_task(config, start, samples))


def load_start(config: ConfigDict) -> dict[str, np.ndarray]:
    """What config.start stands for, {module path: array} of parameters that do not begin at random.

    Raises:
      UserError: weights that are missing, damaged or of another network.
    """
    if config.start == "random":
        return {}
    if config.start == NETWORK:
        return conv5_from_vgg16()
    path = pretrained.EMBEDDED_PERSON if config.start == PERSON_NETWORK else Path(config.start).expanduser()
    network = pretrained.load_person_segmenter(
        path / serialization.MODEL_FILE if path.is_dir() else path
    )  # raises what does not fit
    return serialization.state_to_tensors(nnx.state(network, TRAINABLE))


def conv5_from_vgg16() -> dict[str, np.ndarray]:
    """VGG-16's own conv5 in low rank, {module path: array}.

    Raises:
      UserError: its weights are not there; tells how to make them, and how to do without.
    """
    try:
        path = pretrained.find_vgg(NETWORK, LOW_RANK[-1])
    except UserError as error:
        raise UserError(f"{error}; or begin without them: --config.start=random") from error
    tensors = serialization.read_tensors(path)
    if f"{LOW_RANK[-1]}.kernel" not in tensors:
        raise UserError(
            f"weights {path} end before {LOW_RANK[-1]}; convert {NETWORK} whole, or give --config.start=random"
        )
    start: dict[str, np.ndarray] = {}
    for name in LOW_RANK:
        inner, outer = low_rank_factors(tensors[f"{name}.kernel"])
        layer = f"backbone.{name}"
        start |= {f"{layer}.inner.kernel": inner, f"{layer}.outer.kernel": outer}
        start[f"{layer}.outer.bias"] = tensors[f"{name}.bias"]
    return start


def make_task(config: ConfigDict, start: Mapping[str, np.ndarray], samples: Batch) -> Task:
    """The task of training `person_vgg16` on top of the embedded VGG-16, which stays as it is.

    Args:
      config: see configs/person_segmenter.py.
      start: {module path: array} of parameters that do not begin at random.
      samples: held-out photos and masks, a batch like those of training.
    """
    definition, _, rest = nnx.split(build_network(config, nnx.Rngs(0)), TRAINABLE, ...)  # type: ignore[misc]
    frozen = serialization.replace_leaves(rest, pretrained.embedded_vgg_tensors())

    def init(key: jax.Array) -> Params:
        return serialization.replace_leaves(nnx.state(build_network(config, nnx.Rngs(key)), TRAINABLE), start)

    def scores_of(params: Params, frozen: Any, batch: Batch) -> jax.Array:
        photos = batch["photo"].astype(jnp.float32) / 255
        return nnx.merge(definition, params, frozen)(normalize(photos))

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        return segmentation_loss(scores_of(params, frozen, batch), batch["masks"])

    score = jax.jit(scores_of)

    def evaluate(params: Params) -> Evaluation:
        chunks = range(0, len(samples["photo"]), CHUNK)
        batches = [{name: values[begin : begin + CHUNK] for name, values in samples.items()} for begin in chunks]
        scores = np.concatenate([np.asarray(score(params, frozen, batch)) for batch in batches])
        value, _ = segmentation_loss(jnp.asarray(scores), samples["masks"])
        scalars = {"loss": float(value), "iou": intersection_over_union(scores, samples["masks"])}
        return Evaluation(scalars, sample_sheet(samples, scores))

    def save(path: Path, params: Params) -> None:
        network = nnx.merge(definition, params, frozen)
        tensors = serialization.state_to_tensors(nnx.state(network, nnx.Any(*serialization.WEIGHT_TYPES)))
        learned = {name: value for name, value in tensors.items() if not name.startswith(pretrained.EMBEDDED_PREFIX)}
        made = {"network": PERSON_NETWORK, "config": config.to_dict()}
        serialization.save_tensors(path, learned, {"network": PERSON_NETWORK, "msst_jax": json.dumps(made)})

    return Task(init, loss, frozen, evaluate, save, score="iou")


def build_network(config: ConfigDict, rngs: nnx.Rngs) -> DeepLabV3:
    """The network that a config asks for."""
    return DeepLabV3(PERSON_NETWORK, dtype=compute_dtype(config.dtype), rngs=rngs)


def sample_sheet(samples: Batch, scores: np.ndarray) -> Image.Image:
    """Up to SHOWN of the photos, dark where no person was found."""
    shown = []
    count = len(scores)
    for index in range(0, count, -(-count // SHOWN)):
        photo, mask, score = samples["photo"][index], samples["masks"][index], scores[index]
        found = np.asarray(jax.nn.softmax(score))[..., 1:]
        one = intersection_over_union(score[None], mask[None])
        shown.append((f"{one:.0%}", to_picture(photo / 255.0 * (DARK + (1 - DARK) * found))))
    return sheet(shown, height=min(192, scores.shape[1]), columns=8)
