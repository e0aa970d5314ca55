"""The whole way of photos through a trained fast model: files in, pictures and JSON out."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.files import check_outputs, write_json
from msst_jax.io.images import (
    IMAGE_SUFFIXES,
    check_output_format,
    load_image,
    read_picture,
    save_image,
    save_picture,
    to_picture,
)
from msst_jax.losses.objective import TERMS
from msst_jax.models.feedforward_model import FeedforwardModel, load_feedforward
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.models.voc import CLASSES
from msst_jax.pipelines.job import Job, blend_path
from msst_jax.presets.validation import compute_dtype
from msst_jax.regions.masks import BACKGROUND, complete, feather, read_mask, to_one_hot
from msst_jax.regions.segmenter import Segmenter, load_segmenter
from msst_jax.report.sheets import blend_strip
from msst_jax.report.sidecar import build_sidecar
from msst_jax.transfer.feedforward import PhotoItem, batch_by_size, model_regions, stylize_batch
from msst_jax.transfer.inputs import PhotoInputs, find_masks


def run(config: ConfigDict, job: Job) -> int:
    """Stylises one photo, or each of a folder; returns the exit code.

    Writes `job.output` and its JSON. Several blend ratios of one photo become a strip, with each picture beside it.

    Raises:
      UserError: bad input.
    """
    started = time.perf_counter()
    targets = _targets(job)
    model = load_feedforward(job.model, compute_dtype(config.dtype))
    _check(job, model, targets)
    segmenter = segmenter_for(config, job, model)
    left_out: list[Path] = []
    items = _items(config, job, model, targets, segmenter, left_out)
    done = 0
    hidden = job.quiet or not sys.stderr.isatty()
    with tqdm(total=len(targets), desc="stylize", unit="photo", disable=hidden, dynamic_ncols=True) as bar:
        for batch in batch_by_size(items):
            results, seconds = _stylise(model, batch, job.blend_ratios)
            seconds["total"] = time.perf_counter() - started
            for item, pictures in zip(batch, results, strict=True):
                _write(config, job, model, item, pictures, seconds)
            done += len(batch)
            bar.update(done + len(left_out) - bar.n)
    if left_out:
        logging.warning("%d of %d photos were left out", len(left_out), len(targets))
    return 0


def _items(
    config: ConfigDict,
    job: Job,
    model: FeedforwardModel,
    targets: Mapping[Path, Path],
    segmenter: Segmenter | None,
    left_out: list[Path],
) -> Iterator[PhotoItem]:
    """Reads the photos one by one; of a folder, those that cannot be read are named and added to `left_out`.

    Raises:
      UserError: the only photo, or all of them, cannot be read.
    """
    for file, output in targets.items():
        try:
            yield PhotoItem(file, output, _inputs(config, model, file, _masks_of(job, file), segmenter))
        except UserError as error:
            left_out.append(file)
            if len(left_out) == len(targets):
                raise
            logging.warning("left out: %s", error)


def _stylise(
    model: FeedforwardModel, batch: Sequence[PhotoItem], ratios: Sequence[float]
) -> tuple[np.ndarray, dict[str, float]]:
    """Results (N, B, H, W, 3) of N photos of one size at B blend ratios, and seconds of the whole batch."""
    started = time.perf_counter()
    photos = jnp.asarray(np.stack([item.inputs.photo for item in batch]))
    masks = jnp.asarray(np.stack([item.inputs.masks for item in batch]))
    mixtures = [blend_mixtures(len(model.regions), ratio) for ratio in ratios]
    program = stylize_batch.lower(model.network, photos, masks, mixtures[0]).compile()
    compiled = time.perf_counter()
    results = [np.asarray(program(model.network, photos, masks, mixture)) for mixture in mixtures]
    seconds = {"compile": compiled - started, "optimize": time.perf_counter() - compiled}
    return np.stack(results, 1), seconds


def _targets(job: Job) -> dict[Path, Path]:
    """{photo: output}.

    Raises:
      UserError: a folder without pictures, or with two of one name.
    """
    photo = Path(job.photo)
    if not photo.is_dir():
        return {photo: job.output}
    files = sorted(path for path in photo.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(
            f"{photo} has no pictures ({', '.join(IMAGE_SUFFIXES)}); give a picture, or a folder that has some"
        )
    targets = {file: job.output / f"{file.stem}.png" for file in files}
    if len(set(targets.values())) < len(files):
        raise UserError(f"{photo} has pictures that differ in their ending only; rename one")
    return targets


def _check(job: Job, model: FeedforwardModel, targets: Mapping[Path, Path]) -> None:
    """Raises UserError for what can be known before any work."""
    check_model(job, model)
    if len(targets) > 1 and len(job.blend_ratios) > 1:
        raise UserError("a list of blend ratios makes a strip of one photo; give one photo, or one ratio")
    if job.output.is_file() and Path(job.photo).is_dir():
        raise UserError(f"cannot write to {job.output}: it is a file; the pictures of a folder need a folder")
    for file, output in targets.items():
        _masks_of(job, file)
        check_output_format(output)
        check_outputs(output, _written(job, output), [*map(str, targets), *job.masks.values()])


def check_model(job: Job, model: FeedforwardModel) -> None:
    """Raises UserError for what a fast model has no use for."""
    if job.styles:
        raise UserError(f"--style {next(iter(job.styles))}: {job.model} has its own styles; leave one of the two out")
    if job.compare:
        raise UserError("--compare shows what the losses of the on-line method do; leave it or --model out")
    for name in job.masks:
        if name not in model.regions or name == BACKGROUND:
            named = [region for region in model.regions if region != BACKGROUND]
            raise UserError(f"--mask {name}: the regions of {job.model} are {', '.join(named)}, and the rest")


def _written(job: Job, output: Path) -> list[Path]:
    """Every file that is written for a photo."""
    pictures = [output, *(blend_path(output, ratio) for ratio in job.blend_ratios if len(job.blend_ratios) > 1)]
    return [*pictures, output.with_suffix(".json")]


def segmenter_for(config: ConfigDict, job: Job, model: FeedforwardModel) -> Segmenter | None:
    """The network for the regions without a mask; None if there are none.

    Raises:
      UserError: as `load_segmenter`, or a region that no network knows.
    """
    missing = [name for name in model.regions if name not in job.masks and name != BACKGROUND]
    if not missing:
        return None
    unknown = [name for name in missing if not set(name.split("+")) <= set(CLASSES)]
    if unknown:
        raise UserError(f"region {unknown[0]!r} of {job.model} is no class; give --mask {unknown[0]}=FILE")
    return load_segmenter(config.segmenter, missing)


def _masks_of(job: Job, photo: Path) -> dict[str, Path]:
    """The mask files of one photo.

    Raises:
      UserError: a folder has none for it.
    """
    found = {}
    for name, place in job.masks.items():
        path = Path(place)
        if path.is_dir():
            path = path / f"{photo.stem}.png"
            if not path.exists():
                raise UserError(f"--mask {name}={place}: there is no {path.name} for {photo.name}; add it")
        found[name] = path
    return found


def _inputs(
    config: ConfigDict, model: FeedforwardModel, file: Path, masks: Mapping[str, Path], segmenter: Segmenter | None
) -> PhotoInputs:
    """A photo cut into the regions of the model; one that is not in the photo is empty."""
    picture = read_picture(file, "photo")
    content = load_image(file, config.size, square=config.square, what="photo", picture=picture)
    height, width = content.shape[:2]
    found = {name: read_mask(path, picture.size, (width, height)) for name, path in masks.items()}
    missing = [name for name in model.regions if name not in masks and name != BACKGROUND]
    if segmenter and missing:
        found |= find_masks(config, segmenter, picture, missing, found, (width, height), must_exist=False)
    stacked = complete(found, model.regions, (height, width))
    stacked = to_one_hot(stacked) if config.hard_masks else stacked
    stacked = feather(stacked, config.feather / 100 * max(height, width))
    return PhotoInputs(content, stacked, model_regions(model, masks), segmenter.record() if segmenter else None)


def _write(
    config: ConfigDict,
    job: Job,
    model: FeedforwardModel,
    item: PhotoItem,
    results: np.ndarray,
    seconds: dict[str, float],
) -> None:
    """One photo's pictures (B, H, W, 3), one for each blend ratio, and the JSON."""
    picture = to_picture(results[0])
    if len(results) > 1:
        for ratio, result in zip(job.blend_ratios, results, strict=True):
            save_image(result, blend_path(item.output, ratio))
        picture = blend_strip(job.blend_ratios, results)
    save_picture(picture, item.output)
    made = config.copy_and_resolve_references()
    made.update(photo=str(item.file), styles=(), masks=tuple(f"{name}={file}" for name, file in job.masks.items()))
    content = build_sidecar(
        config=made,
        inputs=item.inputs,
        weights=model.path,
        seed=0,
        seconds=seconds,
        photo=str(item.file),
        masks={name: str(file) for name, file in _masks_of(job, item.file).items()},
        evaluations=[],
        interrupted=False,
        segmenter=item.inputs.segmenter,
        model={"name": job.model, "training": model.training},
    )
    ratios = list(job.blend_ratios)
    write = {"blend_ratio": ratios if len(ratios) > 1 else ratios[0], **content}
    write_json({**write, "loss": {name: [] for name in ("total", *TERMS)}}, item.output.with_suffix(".json"))
    logging.info("wrote %s", item.output)
