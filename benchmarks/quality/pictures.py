"""The pictures that are compared: made once, by a preset each in a process of its own, or found in a folder."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from benchmarks.harness.device import peak_memory
from benchmarks.quality.pairs import Pair
from msst_jax.configs import photo
from msst_jax.errors import UserError
from msst_jax.io.files import write_json
from msst_jax.io.fingerprint import Fingerprint, fingerprint
from msst_jax.io.images import save_picture, to_picture
from msst_jax.models.precision import products_at
from msst_jax.presets.lookup import load_preset, preset_names
from msst_jax.presets.validation import check_config, check_fields
from msst_jax.report.sidecar import build_sidecar
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.optimization import StylizationResult, stylize

SUFFIXES = (".png", ".jpg")
SEED = 0


class Finished(NamedTuple):
    """A picture and what making it took."""

    path: Path
    seconds: float | None = None
    """None if it is not known."""
    memory_gb: float | None = None
    """Peak of the process; None if it is not known."""
    flaws: tuple[str, ...] = ()
    """What went wrong without ending the run."""


def preset_config(preset: str, size: int) -> ConfigDict:
    """The config of a preset, for photos in their own proportions whose longest side is `size` (0 = as they are).

    Raises:
      UserError: no such preset, or one that stylizes no photos.
    """
    if preset not in preset_names():
        raise UserError(f"--preset {preset!r} is none of {', '.join(preset_names())}; correct the name")
    config = load_preset(preset).get_config()
    try:
        check_fields(config, photo.get_config())
        config.size, config.square = size, False
        check_config(config)
    except UserError as error:
        raise UserError(f"--preset {preset} cannot stylize a photo: {error}") from None
    return config


def read_inputs(config: ConfigDict, pair: Pair) -> PhotoInputs:
    """Photo, masks and paintings of a pair at the size of a config.

    Raises:
      UserError: as `load_photo_inputs`; names the pair.
    """
    styles, masks = ({name: str(file) for name, file in files.items()} for files in (pair.styles, pair.masks))
    try:
        return load_photo_inputs(build_options(config), str(pair.photo), styles, masks)
    except UserError as error:
        raise UserError(f"{pair.name}: {error}") from error


def make_picture(config: ConfigDict, pair: Pair, path: Path) -> None:
    """Stylizes the photo of a pair in this process; writes the picture and, beside it, its record.

    Raises:
      UserError: as `read_inputs`, or the picture cannot be written.
      KeyboardInterrupt: the run was interrupted; nothing is written then.
    """
    started = time.perf_counter()
    options = build_options(config)
    with products_at(config.precision):
        vgg, weights = load_loss_network(options.network)
        inputs = read_inputs(config, pair)
        result = stylize(options, vgg, inputs, [options.weights()], seed=SEED)
    if result.interrupted:
        raise KeyboardInterrupt
    seconds = {"compile": result.compile_seconds, "optimize": result.optimize_seconds}
    seconds["total"] = time.perf_counter() - started
    record = build_sidecar(
        config=config.to_dict(),
        inputs=inputs,
        weights=weights,
        seed=SEED,
        seconds=seconds,
        memory_gb=peak_memory(program_is_ours=True),
        flaws=_flaws(result),
        files=files_fingerprint(pair),
    )
    save_made(result.images[0], record, path)


def save_made(image: np.ndarray, record: Mapping[str, Any], path: Path) -> None:
    """Writes a picture (H, W, 3) in [0, 1] and, beside it, its record, last: a picture with a record is complete."""
    save_picture(to_picture(image), path)
    write_json(record, path.with_suffix(".json"))


def discard_record(path: Path) -> None:
    """Removes the record of a picture that is to be made again: it would vouch for the new one."""
    path.with_suffix(".json").unlink(missing_ok=True)


def _flaws(result: StylizationResult) -> list[str]:
    found = {
        "the loss was not finite": not result.finite[0],
        "nothing better than the start was found": not result.improved[0],
    }
    return [text for text, present in found.items() if present]


def is_made(config: ConfigDict, pair: Pair, path: Path, model: Path | None = None) -> bool:
    """Whether `path` is the picture that a config, or with it a model's file, makes of a pair's files as they are."""
    record = read_record(path)
    wanted = {"config": config.to_dict(), "seed": SEED, "files": files_fingerprint(pair, model)}
    return path.is_file() and {field: record.get(field) for field in wanted} == json.loads(json.dumps(wanted))


def files_fingerprint(pair: Pair, model: Path | None = None) -> Fingerprint:
    """That of the files of a pair and, if a model makes the picture, of its weights."""
    return fingerprint({**pair.files(), **({"model": model} if model else {})})


def read_record(path: Path) -> Mapping[str, Any]:
    """The JSON beside a picture; empty if there is none, or it is damaged."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def finished(path: Path) -> Finished:
    """A picture, with what its JSON says of the run: that of this benchmark, or of stylize.py."""
    record = read_record(path)
    seconds, flaws = record.get("seconds"), record.get("flaws")
    return Finished(
        path,
        _number(seconds.get("total") if isinstance(seconds, dict) else seconds),
        _number(record.get("memory_gb")),
        tuple(map(str, flaws)) if isinstance(flaws, list) else (),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def find_pictures(folder: Path, pairs: list[Pair]) -> dict[str, Finished]:
    """{name of the pair: its picture} of those that a folder holds, NAME.png or NAME.jpg.

    Raises:
      UserError: it holds none.
    """
    found = {}
    for pair in pairs:
        path = next((path for suffix in SUFFIXES if (path := folder / f"{pair.name}{suffix}").is_file()), None)
        if path:
            found[pair.name] = finished(path)
    if not found:
        raise UserError(
            f"--pictures: the folder {folder} has no picture of the set; name them as {pairs[0].name}{SUFFIXES[0]}"
        )
    return found
