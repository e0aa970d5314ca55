"""Stylizes one photo by optimization, files to files: images, sheets and JSON sidecars."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.files import check_outputs, check_writable, write_json
from msst_jax.io.images import save_picture, to_picture
from msst_jax.io.metadata import NO_METADATA, PictureMetadata
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.transparency import over_white
from msst_jax.io.write_options import check_output_format, holds_transparency
from msst_jax.losses.objective import LossWeights
from msst_jax.models.vgg import VGG
from msst_jax.optim.programs import Programs
from msst_jax.pipelines.job import (
    EXIT_NOTHING_BETTER,
    PhotoJob,
    blend_path,
    check_standard_output,
    kept_metadata,
    log_written,
    recorded_config,
    recorded_options,
    sibling_path,
)
from msst_jax.presets.validation import check_blend
from msst_jax.regions.points import recorded_points
from msst_jax.report.sheets import blend_strip, comparison_sheet, inputs_sheet
from msst_jax.report.sidecar import build_sidecar
from msst_jax.runtime.devices import chosen_devices
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED, interrupt_event
from msst_jax.runtime.progress import Progress
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from msst_jax.transfer.listener import Listener, Preview
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.optimization import StylizationResult, stylize, stylize_separately
from msst_jax.transfer.options import ScaleSchedule, StylizationOptions
from msst_jax.transfer.style_mix import painting_files

Curves = dict[str, list[float]]


def run(config: ConfigDict, job: PhotoJob) -> int:
    """Stylizes one photo and writes everything; returns the exit code.

    Writes `job.output` and its JSON. With several blend ratios that is a strip, and each image is
    written beside it as NAME_blend0.2.png with a JSON of its own. NAME_inputs.png shows photo, regions, styles
    and result; `compare` adds NAME_comparison.png, at the last of the ratios.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    options = build_options(config)
    check_job(config, job, options.inputs.start)
    vgg, weights = load_loss_network(options.network)
    keep_alpha = holds_transparency(job.output)
    inputs = load_photo_inputs(options, job.photo, job.styles, job.masks, points=job.points, keep_alpha=keep_alpha)
    result = optimize(options, vgg, inputs, job)
    code = write_results(config, job, inputs, weights, result, started)
    if job.compare and code == 0:
        code = _compare(options, vgg, inputs, job, result)
    return code


def check_job(config: ConfigDict, job: PhotoJob, start: str) -> None:
    """Raises UserError for numbers that do not go together, too few devices, and as `_check_outputs`."""
    chosen_devices(config.devices)
    for ratio in job.blend_ratios:
        check_blend(config, ratio)
    _check_outputs(job, start)


def _check_outputs(job: PhotoJob, start: str) -> None:
    """Every file that may be written can be, and none is an input; `start` is that of the first pixels, if any."""
    if job.output == STANDARD_STREAM:
        check_standard_output(job)
        if job.preview_every:
            raise UserError(f"--preview-every rewrites a file, and -o {job.output} is none; give a file name with -o")
        return
    more = [blend_path(job.output, ratio) for ratio in job.blend_ratios] if len(job.blend_ratios) > 1 else []
    if job.compare:
        more.append(sibling_path(job.output, "comparison"))
    check_pictures(job, more, start)


def check_pictures(job: PhotoJob, more: Sequence[Path], start: str) -> None:
    """The output, the sheet of the inputs if the job has one, and more pictures, each with its JSON, can be written.

    Raises:
      UserError: one cannot, or is an input; `start` is that of the first pixels, if any.
    """
    check_writable(job.output)
    check_output_format(job.output, job.writing)
    images = [job.output, *([sibling_path(job.output, "inputs")] if job.sheet else []), *more]
    outputs = [*images, *(path.with_suffix(".json") for path in images)]
    inputs = [job.photo, *painting_files(job.styles), *job.masks.values(), *filter(None, [start])]
    check_outputs(job.output, outputs, inputs)


def _runs(options: StylizationOptions, job: PhotoJob) -> list[LossWeights]:
    """The runs of the batch: one for each blend ratio, then those of the comparison."""
    runs = [options.weights(ratio) for ratio in job.blend_ratios]
    if job.compare:
        without_tv = options.weights(job.blend_ratios[-1])._replace(tv=0.0)
        runs += [without_tv._replace(blend=0.0), without_tv]
    return runs


def _progress(what: str, schedule: ScaleSchedule, quiet: bool) -> Progress:
    scales = sum(count > 0 for count in schedule.evaluations)  # a program is compiled for each
    return Progress(what, "evaluation", schedule.total, quiet=quiet, costs=schedule.costs, pauses=scales)


def optimize(
    options: StylizationOptions,
    vgg: VGG,
    inputs: PhotoInputs,
    job: PhotoJob,
    *,
    what: str = "stylize",
    programs: Programs | None = None,
) -> StylizationResult:
    """The images of a photo, with progress and previews.

    Args:
      options: see `StylizationOptions`.
      vgg: the network of the losses.
      inputs: of the photo.
      job: that of the photo.
      what: the first words of the progress.
      programs: see `coarse_to_fine`.

    Raises:
      UserError: the memory is not there.
    """
    preview = Preview(job.preview_every, partial(_write_preview, job, inputs.alpha)) if job.preview_every else None
    with _progress(what, options.schedule, job.quiet) as progress:

        def advance(_evaluation: int, loss: float) -> None:
            progress.advance(note=f"loss {loss:.4g}")

        listener = Listener(advance, progress.announce, preview)
        runs = _runs(options, job)
        return stylize(options, vgg, inputs, runs, seed=job.seed, listener=listener, programs=programs)


def _write_preview(job: PhotoJob, alpha: np.ndarray | None, _evaluation: int, images: jax.Array) -> None:
    """Writes the picture so far; a run that may last for hours does not end because this fails."""
    metadata = kept_metadata(job.writing, job.photo) if len(job.blend_ratios) == 1 else NO_METADATA
    try:
        save_picture(_output_picture(job, np.asarray(images), alpha), job.output, job.writing, metadata)
    except UserError as error:
        logging.warning("no preview: %s", error)


def _output_picture(job: PhotoJob, images: np.ndarray, alpha: np.ndarray | None) -> Image.Image:
    """What is written as `job.output`: the picture of the one blend ratio, or a strip of several, on white.

    Args:
      job: names the ratios.
      images: (B, H, W, 3), those of the ratios first.
      alpha: their opacity, see `PhotoInputs`.
    """
    images = images[: len(job.blend_ratios)]
    if len(images) == 1:
        return to_picture(images[0], alpha)
    return blend_strip(job.blend_ratios, over_white(images, alpha))


def _compare(
    options: StylizationOptions, vgg: VGG, inputs: PhotoInputs, job: PhotoJob, result: StylizationResult
) -> int:
    """Optimizes the separate image and writes the comparison sheet; returns the exit code."""
    with _progress("separate", options.schedule, job.quiet) as progress, interrupt_event() as stop:
        listener = Listener(lambda _evaluation, _loss: progress.advance(), progress.announce)
        separate = stylize_separately(options, vgg, inputs, seed=job.seed, listener=listener, stop=stop)
    if separate.interrupted:
        logging.warning("interrupted during the comparison: its sheet is left out")
        return EXIT_INTERRUPTED
    if not np.all(separate.finite):
        logging.warning("the loss of the separate picture was not finite: the sheet shows its best pixels so far")
    count = len(job.blend_ratios)
    naive, without_tv = result.images[count:]
    shown = (separate.images[0], naive, without_tv, result.images[count - 1])
    page = comparison_sheet(*(over_white(image, inputs.alpha) for image in shown))
    save_and_log(job, page, sibling_path(job.output, "comparison"))
    return 0


def save_and_log(job: PhotoJob, picture: Image.Image, path: Path, metadata: PictureMetadata = NO_METADATA) -> None:
    """Writes a picture as the job says, and says where."""
    save_picture(picture, path, job.writing, metadata)
    log_written(path)


def write_results(
    config: ConfigDict, job: PhotoJob, inputs: PhotoInputs, weights: Path, result: StylizationResult, started: float
) -> int:
    """Writes the images of a photo, each with its JSON, and the sheet of the inputs; returns the exit code."""
    _write_images(config, job, inputs, weights, result, started)
    return _exit_code(job, result)


def _write_images(
    config: ConfigDict, job: PhotoJob, inputs: PhotoInputs, weights: Path, result: StylizationResult, started: float
) -> None:
    """The images, each with its JSON, and the sheet of the inputs."""
    count = len(job.blend_ratios)
    images = result.images[:count]
    metadata = kept_metadata(job.writing, job.photo)

    def save(picture: Image.Image, path: Path, ratio: float | list[float], loss: Curves, **more: Any) -> None:
        content = photo_sidecar(config, job, inputs, weights, result, started)
        if isinstance(ratio, float):
            content["config"]["blend_ratio"] = ratio
        save_and_log(job, picture, path, NO_METADATA if "pictures" in more else metadata)
        if path != STANDARD_STREAM:
            write_json({"blend_ratio": ratio, **more, **content, "loss": loss}, path.with_suffix(".json"))

    if count == 1:
        save(_output_picture(job, images, inputs.alpha), job.output, job.blend_ratios[0], result.losses[0])
    else:
        paths = [blend_path(job.output, ratio) for ratio in job.blend_ratios]
        for path, ratio, image, loss in zip(paths, job.blend_ratios, images, result.losses, strict=False):
            save(to_picture(image, inputs.alpha), path, ratio, loss)
        summed = {name: np.sum([loss[name] for loss in result.losses[:count]], 0).tolist() for name in result.losses[0]}
        save(
            _output_picture(job, images, inputs.alpha),
            job.output,
            list(job.blend_ratios),
            summed,
            pictures=[path.name for path in paths],
        )
    if job.sheet and job.output != STANDARD_STREAM:
        save_and_log(job, inputs_sheet(inputs, images[-1]), sibling_path(job.output, "inputs"))


def photo_sidecar(
    config: ConfigDict, job: PhotoJob, inputs: PhotoInputs, weights: Path, result: StylizationResult, started: float
) -> dict[str, Any]:
    """The content that the JSON files of one run share."""
    return build_sidecar(
        config=recorded_config(config, job.photo, job.styles, job.masks, job.points),
        inputs=inputs,
        weights=weights,
        seed=job.seed,
        seconds={
            "compile": result.compile_seconds,
            "optimize": result.optimize_seconds,
            "total": time.perf_counter() - started,
        },
        photo=job.photo,
        masks=dict(job.masks),
        **recorded_points(job.points),
        evaluations=result.evaluations,
        **({"tiles": list(result.tiles)} if max(result.tiles) > 1 else {}),
        interrupted=result.interrupted,
        segmenter=inputs.segmenter,
        **recorded_options(job.output, job),
    )


def _exit_code(job: PhotoJob, result: StylizationResult) -> int:
    """Logs how the run ended; returns what that means for a calling script."""
    count = len(job.blend_ratios)
    log_end([f"blend {ratio:g}" for ratio in job.blend_ratios], result)
    if result.interrupted:
        return EXIT_INTERRUPTED
    return 0 if np.any(result.improved[:count]) else EXIT_NOTHING_BETTER


def log_end(labels: Sequence[str], result: StylizationResult) -> None:
    """Logs what was unusual about a run; `labels` name its images, or the first of them."""
    found = bool(np.any(result.improved[: len(labels)]))
    if result.interrupted:
        wrote = (
            "the best picture so far" if found else "the picture so far; nothing better than the start was found yet"
        )
        logging.warning("interrupted after %d evaluations: wrote %s", sum(result.evaluations), wrote)
    for label, finite in zip(labels, result.finite, strict=False):
        if not finite:
            logging.warning("%s: the loss was not finite: fell back to the best picture so far", label)
    for label, improved in zip(labels, result.improved, strict=False):
        if not improved and (found or not result.interrupted):
            logging.error("%s: nothing better than the start was found", label)
