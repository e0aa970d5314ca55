"""Stylizes photos with a trained feed-forward model, files to files: images and JSON sidecars."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.files import check_outputs, write_json
from msst_jax.io.finite import check_finite
from msst_jax.io.images import save_picture, to_picture
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.picture_file import check_picture_file
from msst_jax.io.transparency import over_white
from msst_jax.io.write_options import check_output_format, holds_transparency
from msst_jax.losses.objective import TERMS
from msst_jax.models.feedforward_model import FeedforwardModel
from msst_jax.models.precision import PRECISIONS, compute_dtype
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.pipelines.folder import LeftOut, check_folder_job, folder_targets, mask_files
from msst_jax.pipelines.job import (
    PhotoJob,
    blend_path,
    check_standard_output,
    kept_metadata,
    log_written,
    recorded_config,
    recorded_options,
)
from msst_jax.pipelines.model_inputs import check_model_masks, load_model_segmenter
from msst_jax.regions.mask_files import read_mask
from msst_jax.regions.masks import BACKGROUND, MaskSpec, area_fractions, format_fractions
from msst_jax.regions.points import check_points, recorded_points
from msst_jax.regions.segmenter import AnySegmenter
from msst_jax.report.sheets import blend_strip
from msst_jax.report.sidecar import build_sidecar
from msst_jax.transfer.build import build_input_options
from msst_jax.transfer.fast_model import open_model
from msst_jax.transfer.feedforward import PhotoItem, batch_by_size, model_regions, stylize_batch
from msst_jax.transfer.inputs import PhotoInputs, photo_masks
from msst_jax.transfer.options import InputOptions
from msst_jax.transfer.photo import load_photo, log_enlargement


def run(config: ConfigDict, job: PhotoJob) -> int:
    """Stylizes one photo, or each of a folder; returns the exit code.

    Writes `job.output` and its JSON. Several blend ratios of one photo become a strip, with each image beside it.

    Raises:
      UserError: bad input.
    """
    started = time.perf_counter()
    options = build_input_options(config)
    photo = Path(job.photo)
    targets = folder_targets(photo, job.output) if photo.is_dir() else {photo: job.output}
    dtype = compute_dtype(PRECISIONS[config.precision].dtype)
    model = open_model(job.model, job.styles, dtype, stroke_size=config.stroke_size)
    _check(job, model, targets)
    spec = MaskSpec(model.regions, tuple(job.masks), options.masks, tuple(job.points))
    segmenter = load_model_segmenter(job.model, spec, options.segmenter)
    left_out = LeftOut(len(targets))
    items = _read_items(options, job, model, spec, targets, segmenter, left_out)
    done = 0
    hidden = job.quiet or not sys.stderr.isatty()
    with tqdm(total=len(targets), desc="stylize", unit="photo", disable=hidden, dynamic_ncols=True) as bar:
        for batch in batch_by_size(items):
            results, seconds = _stylize(model, batch, job.blend_ratios)
            seconds["total"] = time.perf_counter() - started
            for item, images in zip(batch, results, strict=True):
                _write(config, job, model, item, images, seconds)
            done += len(batch)
            bar.update(done + left_out.count - bar.n)
    left_out.warn()
    return 0


def _check(job: PhotoJob, model: FeedforwardModel, targets: Mapping[Path, Path]) -> None:
    """Raises UserError for everything that can be known before any work."""
    check_model_masks(job.model, model, job.masks)
    check_points(job.points, model.regions, job.masks)
    if job.compare:
        raise UserError("--compare shows what the losses of the optimization do; omit it or --model")
    if Path(job.photo).is_dir():
        check_folder_job(job)
    if job.output == STANDARD_STREAM:
        check_standard_output(job)
    for file, output in targets.items():
        check_picture_file(file, "photo")
        mask_files(job, file)
        check_output_format(output, job.writing)
        if output == STANDARD_STREAM:
            continue
        check_outputs(output, _written(job, output), [*map(str, targets), *job.masks.values()])


def _written(job: PhotoJob, output: Path) -> list[Path]:
    """Every file that is written for a photo."""
    images = [output, *(blend_path(output, ratio) for ratio in job.blend_ratios if len(job.blend_ratios) > 1)]
    return [*images, output.with_suffix(".json")]


def _read_items(
    options: InputOptions,
    job: PhotoJob,
    model: FeedforwardModel,
    spec: MaskSpec,
    targets: Mapping[Path, Path],
    segmenter: AnySegmenter | None,
    left_out: LeftOut,
) -> Iterator[PhotoItem]:
    """Reads the photos one by one, but for those that cannot be read.

    Raises:
      UserError: as `LeftOut.attempt`.
    """
    for file, output in targets.items():
        masks, keep_alpha = mask_files(job, file), holds_transparency(output)
        inputs = left_out.attempt(file, partial(_read_inputs, options, model, spec, file, masks, segmenter, keep_alpha))
        if inputs is not None:
            yield PhotoItem(file, output, inputs)


def _read_inputs(
    options: InputOptions,
    model: FeedforwardModel,
    spec: MaskSpec,
    file: Path,
    mask_files: Mapping[str, Path],
    segmenter: AnySegmenter | None,
    keep_alpha: bool,
) -> PhotoInputs:
    """A photo partitioned into the regions of the model; one that is not in the photo is empty."""
    picture, pixels, alpha = load_photo(options, str(file), keep_alpha=keep_alpha)
    size = (pixels.shape[1], pixels.shape[0])
    given = {name: read_mask(path, picture.size, size) for name, path in mask_files.items()}
    masks = photo_masks(spec, given, segmenter, picture, size, strict=False)
    log_enlargement(str(file), picture.size, size)
    regions = model_regions(model, spec)
    return PhotoInputs(pixels, masks, regions, segmenter.record() if segmenter else None, alpha=alpha)


def _stylize(
    model: FeedforwardModel, batch: Sequence[PhotoItem], ratios: Sequence[float]
) -> tuple[np.ndarray, dict[str, float]]:
    """Images (N, B, H, W, 3) of N photos of one size at B blend ratios, and seconds of the whole batch."""
    started = time.perf_counter()
    photos = jnp.asarray(np.stack([item.inputs.photo for item in batch]))
    masks = jnp.asarray(np.stack([item.inputs.masks for item in batch]))
    mixtures = [blend_mixtures(len(model.regions), ratio) for ratio in ratios]
    program = stylize_batch.lower(model.network, photos, masks, mixtures[0]).compile()
    compiled = time.perf_counter()
    images = [np.asarray(program(model.network, photos, masks, mixture)) for mixture in mixtures]
    seconds = {"compile": compiled - started, "optimize": time.perf_counter() - compiled}
    check_finite(images, f"the result of {batch[0].file} is not finite; give another --model")
    return np.stack(images, 1), seconds


def _write(
    config: ConfigDict,
    job: PhotoJob,
    model: FeedforwardModel,
    item: PhotoItem,
    images: np.ndarray,
    seconds: dict[str, float],
) -> None:
    """One photo's images (B, H, W, 3), one for each blend ratio, and the JSON."""
    metadata, alpha = kept_metadata(job.writing, item.file), item.inputs.alpha
    if len(images) > 1:
        for ratio, image in zip(job.blend_ratios, images, strict=True):
            save_picture(to_picture(image, alpha), blend_path(item.output, ratio), job.writing, metadata)
        save_picture(blend_strip(job.blend_ratios, over_white(images, alpha)), item.output, job.writing)
    else:
        save_picture(to_picture(images[0], alpha), item.output, job.writing, metadata)
    log_written(item.output)
    if job.styles:  # a model that has its own may well have one that a photo has no use for
        _warn_of_absent(item)
    if item.output == STANDARD_STREAM:
        return
    content = build_sidecar(
        config=recorded_config(config, str(item.file), job.styles, job.masks, job.points),
        inputs=item.inputs,
        weights=model.path,
        seed=0,
        seconds=seconds,
        photo=str(item.file),
        masks={name: str(file) for name, file in mask_files(job, item.file).items()},
        **recorded_points(job.points),
        evaluations=[],
        interrupted=False,
        segmenter=item.inputs.segmenter,
        model={"name": job.model, "training": model.training},
        **recorded_options(item.output, job),
    )
    ratios = list(job.blend_ratios)
    record = {"blend_ratio": ratios if len(ratios) > 1 else ratios[0], **content}
    write_json({**record, "loss": {name: [] for name in ("total", *TERMS)}}, item.output.with_suffix(".json"))


def _warn_of_absent(item: PhotoItem) -> None:
    """Says which of the regions that the user gave a style the photo does not have."""
    names, masks = item.inputs.names, item.inputs.masks
    absent = [name for name, most in zip(names, masks.max((0, 1)), strict=True) if most <= 0.5 and name != BACKGROUND]
    if absent:
        found = {name: share for name, share in zip(names, area_fractions(masks), strict=True) if name not in absent}
        logging.warning(
            "%s: region %s was not found in the photo; found: %s; its style has no effect, a --mask would give it one",
            *(item.file, ", ".join(map(repr, absent)), format_fractions(found)),
        )
