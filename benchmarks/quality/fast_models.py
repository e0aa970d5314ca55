"""The pictures that fast models make of a set: in this process, since one takes less time than starting another."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from benchmarks.quality.pairs import Pair
from benchmarks.quality.pictures import (
    SEED,
    Finished,
    discard_record,
    files_fingerprint,
    finished,
    is_made,
    preset_config,
    read_inputs,
    save_made,
)
from msst_jax.errors import UserError
from msst_jax.io.finite import check_finite
from msst_jax.io.images import load_image
from msst_jax.models.any_model import StyleSource, painting_side, with_paintings
from msst_jax.models.feedforward_model import FeedforwardModel, load_feedforward
from msst_jax.report.sidecar import build_sidecar
from msst_jax.transfer.feedforward import stylize_batch
from msst_jax.transfer.inputs import PhotoInputs

SETTINGS = "photo"
"""The preset that says how photos and masks are read, as for stylize.py --model."""


def parse_models(texts: Sequence[str]) -> dict[str, str]:
    """{label: name of the model} of the --model, LABEL=NAME or NAME.

    Raises:
      UserError: a label that is no file name, or given twice.
    """
    models: dict[str, str] = {}
    for text in texts:
        label, given, name = text.partition("=")
        if not given:
            label, name = Path(text).name.removesuffix(".safetensors"), text
        if not name or not label or Path(label).name != label or label.startswith("."):
            raise UserError(f"--model {text!r} is not LABEL=NAME with a label that can name a folder; write any=DIR")
        if label in models:
            raise UserError(f"{label} is given twice; give every model a label of its own: --model LABEL=NAME")
        models[label] = name
    return models


def open_models(names: Mapping[str, str], pairs: Sequence[Pair]) -> tuple[dict[str, FeedforwardModel], list[str]]:
    """{label: model} of the {label: name}, and what the reader must know, a line each.

    Raises:
      UserError: as `load_feedforward`; a model that knows the paintings of no pair.
    """
    models, notes = {}, []
    for label, name in names.items():
        models[label] = load_feedforward(name, what="--model")
        count = sum(knows(models[label], pair) for pair in pairs)
        own = ", ".join(models[label].styles)
        if not count:
            raise UserError(f"--model {label} has the styles {own}, which are not in the set; take paintings so named")
        if count < len(pairs):
            notes.append(f"{label} knows the paintings of {count} of {len(pairs)} photos; its styles are {own}")
    return models, notes


def knows(model: FeedforwardModel, pair: Pair) -> bool:
    """Whether the model has a style for every painting of a pair."""
    return model.for_any_painting or {file.name for file in pair.styles.values()} <= _names(model).keys()


def _names(model: FeedforwardModel) -> dict[str, int]:
    """{file name of the painting: index of its style}."""
    return {Path(style).name: index for index, style in enumerate(model.styles)}


def make_pictures(
    label: str, model: FeedforwardModel, pairs: Sequence[Pair], size: int, folder: Path
) -> dict[str, Finished]:
    """{name of the pair: picture} of the pairs whose paintings the model knows, `folder`/PAIR.png.

    Those that are there already, made by the same weights of the same files, are kept.

    Args:
      label: of the model, for the bar.
      model: with its styles, or for any painting.
      pairs: of the set.
      size: the longest side, 0 = that of the photos.
      folder: where they go.

    Raises:
      UserError: as `read_inputs`; a picture that is not finite, or cannot be written. Those made until then stay.
    """
    config = preset_config(SETTINGS, size)
    tasks = [(pair, folder / f"{pair.name}.png") for pair in pairs if knows(model, pair)]
    lacking = [(pair, path) for pair, path in tasks if not is_made(config, pair, path, model.path)]
    if lacking:
        model, styles = _with_styles(model, [pair for pair, _ in lacking])
        for pair, path in tqdm(lacking, unit="picture", desc=label, disable=None):
            discard_record(path)
            _make_picture(config, model, [styles[file] for file in pair.styles.values()], pair, path)
    return {pair.name: finished(path) for pair, path in tasks}


def _with_styles(model: FeedforwardModel, pairs: Sequence[Pair]) -> tuple[FeedforwardModel, dict[Path, int]]:
    """The model with a style for every painting of some pairs, and {painting: index of its style}."""
    paintings = dict.fromkeys(file for pair in pairs for file in pair.styles.values())
    if not model.for_any_painting:
        names = _names(model)
        return model, {file: names[file.name] for file in paintings}
    side = painting_side(model)
    sources = {str(file): StyleSource(str(file), [load_image(file, side, what="style")], [1.0]) for file in paintings}
    return with_paintings(model, sources), {file: index for index, file in enumerate(paintings)}


def _make_picture(config: ConfigDict, model: FeedforwardModel, styles: Sequence[int], pair: Pair, path: Path) -> None:
    """Writes the picture of a pair whose regions take some of the model's styles, and its record.

    Raises:
      UserError: see `make_pictures`.
    """
    started = time.perf_counter()
    inputs = read_inputs(config, pair)
    image = paint(model, inputs, styles)
    check_finite(image, f"the picture of {pair.name} is not finite; give another --model")
    record = build_sidecar(
        config=config.to_dict(),
        inputs=inputs,
        weights=model.path,
        seed=SEED,
        seconds={"total": time.perf_counter() - started},
        files=files_fingerprint(pair, model.path),
    )
    save_made(image, record, path)


def paint(model: FeedforwardModel, inputs: PhotoInputs, styles: Sequence[int]) -> np.ndarray:
    """The photo (H, W, 3) with its K regions in some of the model's styles, given by their indices."""
    mixtures = jnp.eye(len(model.styles))[jnp.asarray(styles)]
    photos, masks = jnp.asarray(inputs.photo)[None], jnp.asarray(inputs.masks)[None]
    return np.asarray(stylize_batch(model.network, photos, masks, mixtures))[0]
