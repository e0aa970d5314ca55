"""The training task of the person segmenter: DeepLab-V3 on the embedded VGG-16, its loss, sample sheet, export."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import to_picture
from msst_jax.losses.objective import Terms
from msst_jax.losses.segmentation import intersection_over_union, segmentation_loss
from msst_jax.models import pretrained, serialization
from msst_jax.models.deeplab import PERSON_CLASSES, PERSON_NETWORK, DeepLabV3
from msst_jax.models.low_rank_vgg import LOW_RANK, NETWORK, low_rank_factors
from msst_jax.models.precision import compute_dtype
from msst_jax.models.voc import CLASSES
from msst_jax.ops.image import normalize
from msst_jax.report.sheets import sheet
from msst_jax.training.options import SegmenterOptions
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec

REGIONS = tuple(CLASSES[index] for index in PERSON_CLASSES)  # in the order of the scores
TRAINABLE = nnx.All(nnx.Param, nnx.Not(nnx.PathContains("embedded")))
MAX_SHOWN = 16  # photos on the sample sheet
EVALUATION_BATCH = 8
BACKGROUND_BRIGHTNESS = 0.25  # on the sample sheet


def load_task_spec(options: SegmenterOptions, styles: Mapping[str, str]) -> TaskSpec:
    """Reads the initial weights of a person segmenter, before the photos and masks are opened.

    Args:
      options: see `SegmenterOptions`.
      styles: must be empty.

    Raises:
      UserError: a style, options that do not fit, or no initial weights.
    """
    if styles:
        raise UserError(
            f"--style {next(iter(styles))}=FILE has no effect: {PERSON_NETWORK} takes no styles; leave it out"
        )
    if options.without_mask == "random":
        raise UserError(
            f"config.without_mask is 'random', but {PERSON_NETWORK} learns where persons are; use error or background"
        )
    initial = load_initial_params(options)
    return TaskSpec(REGIONS, lambda samples: make_task(options, initial, samples))


def load_initial_params(options: SegmenterOptions) -> dict[str, np.ndarray]:
    """The parameters that are not randomly initialized, {module path: array}, by config.start.

    Raises:
      UserError: weights that are missing, damaged or of another network.
    """
    if options.start == "random":
        return {}
    if options.start == NETWORK:
        return conv5_from_vgg16()
    start = options.start
    builtin = start == PERSON_NETWORK
    path = pretrained.EMBEDDED_PERSON if builtin else serialization.weights_path(start, "config.start")
    network = pretrained.load_person_segmenter(path)  # validates the tensors
    return serialization.state_to_tensors(nnx.state(network, TRAINABLE))


def conv5_from_vgg16() -> dict[str, np.ndarray]:
    """A low-rank factorization of VGG-16's own conv5, {module path: array}.

    Raises:
      UserError: its weights are missing; names the command that creates them, and the way to start without them.
    """
    try:
        path = pretrained.find_vgg(NETWORK, LOW_RANK[-1])
    except UserError as error:
        raise UserError(f"{error}; or start without them: --config.start=random") from error
    tensors = serialization.read_tensors(path)
    if f"{LOW_RANK[-1]}.kernel" not in tensors:
        raise UserError(
            f"weights {path} end before {LOW_RANK[-1]}; convert all of {NETWORK}, or give --config.start=random"
        )
    initial: dict[str, np.ndarray] = {}
    for name in LOW_RANK:
        inner, outer = low_rank_factors(tensors[f"{name}.kernel"])
        layer = f"backbone.{name}"
        initial |= {f"{layer}.inner.kernel": inner, f"{layer}.outer.kernel": outer}
        initial[f"{layer}.outer.bias"] = tensors[f"{name}.bias"]
    return initial


def make_task(options: SegmenterOptions, initial: Mapping[str, np.ndarray], samples: Batch) -> Task:
    """The task of training `person_vgg16` on top of the embedded VGG-16, which is frozen.

    Args:
      options: see `SegmenterOptions`.
      initial: {module path: array} of parameters that are not randomly initialized.
      samples: held-out photos and masks, a batch like those of training.
    """
    definition, _, rest = nnx.split(build_network(options, nnx.Rngs(0)), TRAINABLE, ...)  # type: ignore[misc]
    frozen = serialization.replace_leaves(rest, pretrained.embedded_vgg_tensors())

    def init(key: jax.Array) -> Params:
        return serialization.replace_leaves(nnx.state(build_network(options, nnx.Rngs(key)), TRAINABLE), initial)

    def predict(params: Params, frozen: Any, batch: Batch) -> jax.Array:
        photos = batch["photo"].astype(jnp.float32) / 255
        return nnx.merge(definition, params, frozen)(normalize(photos))

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        return segmentation_loss(predict(params, frozen, batch), batch["masks"])

    jitted_predict = jax.jit(predict)

    def evaluate(params: Params) -> Evaluation:
        starts = range(0, len(samples["photo"]), EVALUATION_BATCH)
        batches = [{name: leaf[i : i + EVALUATION_BATCH] for name, leaf in samples.items()} for i in starts]
        scores = np.concatenate([np.asarray(jitted_predict(params, frozen, batch)) for batch in batches])
        value, _ = segmentation_loss(jnp.asarray(scores), samples["masks"])
        scalars = {"loss": float(value), "iou": intersection_over_union(scores, samples["masks"])}
        return Evaluation(scalars, sample_sheet(samples, scores))

    def save(path: Path, params: Params) -> None:
        network = nnx.merge(definition, params, frozen)
        tensors = serialization.state_to_tensors(nnx.state(network, nnx.Any(*serialization.WEIGHT_TYPES)))
        trained = {name: value for name, value in tensors.items() if not name.startswith(pretrained.EMBEDDED_PREFIX)}
        metadata = {"network": PERSON_NETWORK, "config": dict(options.record)}
        serialization.save_tensors(path, trained, {"network": PERSON_NETWORK, "msst_jax": json.dumps(metadata)})

    return Task(init, loss, frozen, evaluate, save, score="iou")


def build_network(options: SegmenterOptions, rngs: nnx.Rngs) -> DeepLabV3:
    """The network to train, randomly initialized."""
    return DeepLabV3(PERSON_NETWORK, dtype=compute_dtype(options.dtype), rngs=rngs)


def sample_sheet(samples: Batch, scores: np.ndarray) -> Image.Image:
    """Up to MAX_SHOWN of the photos, darkened outside the predicted persons and captioned with the IoU."""
    shown = []
    count = len(scores)
    for index in range(0, count, -(-count // MAX_SHOWN)):
        photo, mask, score = samples["photo"][index], samples["masks"][index], scores[index]
        person = np.asarray(jax.nn.softmax(score))[..., 1:]
        iou = intersection_over_union(score[None], mask[None])
        brightness = BACKGROUND_BRIGHTNESS + (1 - BACKGROUND_BRIGHTNESS) * person
        shown.append((f"{iou:.0%}", to_picture(photo / 255.0 * brightness)))
    return sheet(shown, height=min(192, scores.shape[1]), columns=8)
