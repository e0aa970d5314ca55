"""The training task of a segmenter: a DeepLab-V3 of the package, its loss, sample sheet, export."""

import json
from collections.abc import Mapping, Sequence
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
from msst_jax.losses.segmentation import Overlap, segmentation_loss
from msst_jax.models import pretrained, serialization
from msst_jax.models.deeplab import DeepLabV3
from msst_jax.models.precision import compute_dtype
from msst_jax.models.voc import CLASSES
from msst_jax.ops.image import normalize
from msst_jax.report.sheets import sheet
from msst_jax.training.options import SegmenterOptions
from msst_jax.training.task import Batch, Evaluation, Params, Task, TaskSpec
from msst_jax.training.tasks.segmenter_weights import BACKBONE, embedded_weights, initial_weights

TRAINABLE = nnx.All(nnx.Param, nnx.Not(nnx.PathContains("embedded")))
VOID = "void"  # the mask of pixels that have no label
PERSON = "person"
MAX_SHOWN = 16  # photos on the sample sheet
EVALUATION_BATCH = 8
BACKGROUND_BRIGHTNESS = 0.25  # on the sample sheet


def load_task_spec(options: SegmenterOptions, styles: Mapping[str, str]) -> TaskSpec:
    """Reads the initial weights of a segmenter, before the photos and masks are opened.

    Args:
      options: see `SegmenterOptions`.
      styles: must be empty.

    Raises:
      UserError: a style, options that do not fit, or no initial weights.
    """
    if styles:
        raise UserError(
            f"--style {next(iter(styles))}=FILE has no effect: {options.network} takes no styles; leave it out"
        )
    if options.without_mask == "random":
        raise UserError(
            f"config.without_mask is 'random', but {options.network} learns where {_plural(options.classes)} are; use "
            "error or background"
        )
    initial = initial_weights(options)
    regions = tuple(CLASSES[index] for index in options.class_indices)  # in the order of the scores
    # Masks of a single class may lie in the folder itself, where a folder of unlabeled pixels would not be looked for.
    unlabeled = (VOID,) if len(options.classes) > 1 else ()
    return TaskSpec(regions, lambda samples: make_task(options, initial, samples), given=unlabeled)


def _plural(classes: Sequence[str]) -> str:
    return f"{classes[0]}s" if len(classes) == 1 else "its classes"


def make_task(options: SegmenterOptions, initial: Mapping[str, np.ndarray], samples: Batch) -> Task:
    """The task of training a segmenter; the running statistics and the embedded VGG-16 are frozen.

    Args:
      options: see `SegmenterOptions`.
      initial: {module path: array} of weights that are not randomly initialized.
      samples: held-out photos and masks, a batch like those of training.
    """
    definition, _, rest = nnx.split(build_network(options, nnx.Rngs(0)), TRAINABLE, ...)  # type: ignore[misc]
    frozen = _with_weights(rest, {**embedded_weights(options.network), **initial})

    def init(key: jax.Array) -> Params:
        return _with_weights(nnx.state(build_network(options, nnx.Rngs(key)), TRAINABLE), initial)

    def predict(params: Params, frozen: Any, batch: Batch) -> jax.Array:
        photos = batch["photo"].astype(jnp.float32) / 255
        return nnx.merge(definition, params, frozen)(normalize(photos))

    def loss(params: Params, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Terms]:
        return segmentation_loss(predict(params, frozen, batch), labels(batch, options.classes))

    def save(path: Path, params: Params) -> None:
        network = nnx.merge(definition, params, frozen)
        tensors = serialization.state_to_tensors(nnx.state(network, nnx.Any(*serialization.WEIGHT_TYPES)))
        trained = {name: value for name, value in tensors.items() if not name.startswith(pretrained.EMBEDDED_PREFIX)}
        metadata = {"network": options.network, "config": dict(options.record)}
        serialization.save_tensors(path, trained, _metadata(options, metadata))

    evaluate = _evaluator(options, jax.jit(predict), frozen, samples)
    rate = None if options.encoder_rate == 1 else lambda name: options.encoder_rate if _is_encoder(name) else 1.0
    return Task(init, loss, frozen, evaluate, save, score="iou", rate=rate)


def labels(batch: Batch, classes: Sequence[str]) -> Any:
    """The masks of the background and of the classes (N, H, W, C): their sum is 1, or 0 at unlabeled pixels.

    Args:
      batch: its "masks" may have VOID as a further, last channel.
      classes: without the background.
    """
    count = len(classes) + 1
    masks = batch["masks"]
    if masks.shape[-1] == count:
        return masks
    return masks[..., :count] * (masks[..., count:] < 0.5)


def build_network(options: SegmenterOptions, rngs: nnx.Rngs) -> DeepLabV3:
    """The network to train, randomly initialized."""
    return DeepLabV3(options.network, classes=options.class_indices, dtype=compute_dtype(options.dtype), rngs=rngs)


def _with_weights(state: nnx.State, weights: Mapping[str, np.ndarray]) -> nnx.State:
    """The state with those of the weights that are part of it."""
    names = serialization.state_to_tensors(state).keys()
    return serialization.replace_leaves(state, {name: value for name, value in weights.items() if name in names})


def _is_encoder(name: str) -> bool:
    return name.startswith(BACKBONE)


def _metadata(options: SegmenterOptions, metadata: Mapping[str, Any]) -> dict[str, str]:
    classes = ",".join(CLASSES[index] for index in options.class_indices)
    return {"network": options.network, pretrained.CLASSES_KEY: classes, "msst_jax": json.dumps(metadata)}


def _evaluator(options: SegmenterOptions, predict: Any, frozen: Any, samples: Batch) -> Any:
    def evaluate(params: Params) -> Evaluation:
        overlap, losses, shown = Overlap(len(options.classes) + 1), [], []
        count = len(samples["photo"])
        for start in range(0, count, EVALUATION_BATCH):
            batch = {name: leaf[start : start + EVALUATION_BATCH] for name, leaf in samples.items()}
            scores, masks = np.asarray(predict(params, frozen, batch)), labels(batch, options.classes)
            losses.append(float(segmentation_loss(jnp.asarray(scores), masks)[0]) * len(scores))
            overlap.add(scores, masks)
            shown += [
                _shown(batch["photo"][i], masks[i], scores[i])
                for i in range(len(scores))
                if (start + i) % -(-count // MAX_SHOWN) == 0
            ]
        scalars = {"loss": sum(losses) / count, "iou": overlap.mean()}
        if len(options.classes) > 1 and PERSON in options.classes:
            scalars["person_iou"] = overlap.of(1 + options.classes.index(PERSON))
        return Evaluation(scalars, sheet(shown, height=min(192, samples["photo"].shape[1]), columns=8))

    return evaluate


def _shown(photo: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> tuple[str, Image.Image]:
    """A photo of the sample sheet, darkened where the background is predicted and captioned with the IoU."""
    overlap = Overlap(scores.shape[-1])
    overlap.add(scores[None], mask[None])
    background = np.asarray(jax.nn.softmax(scores))[..., :1]
    brightness = BACKGROUND_BRIGHTNESS + (1 - BACKGROUND_BRIGHTNESS) * (1 - background)
    return f"{overlap.mean():.0%}", to_picture(photo / 255.0 * brightness)
