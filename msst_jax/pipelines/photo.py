"""The whole way of one photo: files in, pictures, sheets and JSON out."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.files import check_outputs, check_writable, write_json
from msst_jax.io.images import check_output_format, save_picture, to_picture
from msst_jax.losses.objective import LossWeights
from msst_jax.models.vgg import VGG
from msst_jax.pipelines import photo_feedforward, video
from msst_jax.pipelines.export_masks import export_masks
from msst_jax.pipelines.job import EXIT_INTERRUPTED, EXIT_NOTHING_BETTER, Job, blend_path, sibling_path
from msst_jax.presets.validation import check_config, check_number
from msst_jax.report.sheets import blend_strip, comparison_sheet, inputs_sheet
from msst_jax.report.sidecar import build_sidecar
from msst_jax.transfer.build import build_weights, evaluations_per_scale, load_loss_network
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from msst_jax.transfer.optimization import StylizationResult, stylize, stylize_separately

Curves = dict[str, list[float]]


def run(config: ConfigDict, job: Job) -> int:
    """Stylises one photo, or finds its regions, and writes everything; returns the exit code.

    Writes `job.output` and its JSON. With several blend ratios that is a strip, and each picture is
    written beside it as NAME_blend0.2.png with a JSON of its own. NAME_inputs.png shows photo, regions, styles
    and result; `compare` adds NAME_comparison.png, at the last of the ratios.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    check_config(config)
    if job.clip is not None:
        return video.run(config, job)
    if job.model and not job.regions_only:
        return photo_feedforward.run(config, job)
    if Path(job.photo).is_dir():
        raise UserError(f"photo {job.photo} is a folder; give a picture, or a fast model with --model")
    for ratio in job.blend_ratios:
        check_number("blend ratio times config.style_weight", ratio * config.style_weight)
    check_writable(job.output)
    check_output_format(job.output)
    if job.regions_only:
        export_masks(config, job.photo, job.output, inputs=_input_files(job))
        return 0
    _check_outputs(job)
    vgg, weights = load_loss_network(config)
    inputs = load_photo_inputs(config, job.photo, job.styles, job.masks)
    outcome = _optimize(config, vgg, inputs, job)
    _write_pictures(config, job, inputs, weights, outcome, started)
    code = _exit_code(job, outcome)
    if job.compare and code == 0:
        code = _compare(config, vgg, inputs, job, outcome)
    return code


def _input_files(job: Job) -> list[str]:
    return [job.photo, *job.styles.values(), *job.masks.values()]


def _check_outputs(job: Job) -> None:
    """Every file that may be written can be, and none is an input."""
    pictures = [job.output, sibling_path(job.output, "inputs")]
    if len(job.blend_ratios) > 1:
        pictures += [blend_path(job.output, ratio) for ratio in job.blend_ratios]
    if job.compare:
        pictures.append(sibling_path(job.output, "comparison"))
    outputs = [*pictures, *(path.with_suffix(".json") for path in pictures)]
    check_outputs(job.output, outputs, _input_files(job))


def _runs(config: ConfigDict, job: Job) -> list[LossWeights]:
    """The pictures of the batch: one for each blend ratio, then those of the comparison."""
    runs = [build_weights(config, ratio) for ratio in job.blend_ratios]
    if job.compare:
        rough = build_weights(config, job.blend_ratios[-1])._replace(tv=0.0)
        runs += [rough._replace(blend=0.0), rough]
    return runs


def _progress_bar(description: str, evaluations: int, quiet: bool) -> tqdm:
    return tqdm(
        total=evaluations, desc=description, unit="eval", disable=quiet or not sys.stderr.isatty(), dynamic_ncols=True
    )


def _optimize(config: ConfigDict, vgg: VGG, inputs: PhotoInputs, job: Job) -> StylizationResult:
    with _progress_bar("stylize", sum(evaluations_per_scale(config)), job.quiet) as bar:

        def progress(_evaluation: int, total: float) -> None:
            bar.set_postfix_str(f"loss {total:.4g}", refresh=False)
            bar.update()

        return stylize(config, vgg, inputs, _runs(config, job), seed=job.seed, progress=progress)


def _compare(config: ConfigDict, vgg: VGG, inputs: PhotoInputs, job: Job, outcome: StylizationResult) -> int:
    """Makes the separate picture and the sheet of the comparison; returns the exit code."""
    with _progress_bar("separate", sum(evaluations_per_scale(config)), job.quiet) as bar:
        separate = stylize_separately(
            config, vgg, inputs, seed=job.seed, progress=lambda _evaluation, _total: bar.update()
        )
    if separate.interrupted:
        logging.warning("interrupted during the comparison: its sheet is left out")
        return EXIT_INTERRUPTED
    if not np.all(separate.finite):
        logging.warning("the loss of the separate picture was not finite: the sheet shows its best pixels so far")
    count = len(job.blend_ratios)
    naive, rough = outcome.results[count:]
    page = comparison_sheet(separate.results[0], naive, rough, outcome.results[count - 1])
    _save(page, sibling_path(job.output, "comparison"))
    return 0


def _save(picture: Image.Image, path: Path) -> None:
    save_picture(picture, path)
    logging.info("wrote %s", path)


def _write_pictures(
    config: ConfigDict, job: Job, inputs: PhotoInputs, weights: Path, outcome: StylizationResult, started: float
) -> None:
    """The pictures asked for, each with its JSON, and the sheet of the inputs."""
    count = len(job.blend_ratios)
    results = outcome.results[:count]

    def save(picture: Image.Image, path: Path, ratio: float | list[float], loss: Curves, **more: Any) -> None:
        content = _sidecar(config, job, inputs, weights, outcome, started)
        if isinstance(ratio, float):
            content["config"]["blend_ratio"] = ratio
        _save(picture, path)
        write_json({"blend_ratio": ratio, **more, **content, "loss": loss}, path.with_suffix(".json"))

    if count == 1:
        save(to_picture(results[0]), job.output, job.blend_ratios[0], outcome.losses[0])
    else:
        paths = [blend_path(job.output, ratio) for ratio in job.blend_ratios]
        for path, ratio, result, loss in zip(paths, job.blend_ratios, results, outcome.losses, strict=False):
            save(to_picture(result), path, ratio, loss)
        summed = {
            name: np.sum([loss[name] for loss in outcome.losses[:count]], 0).tolist() for name in outcome.losses[0]
        }
        strip = blend_strip(job.blend_ratios, results)
        save(strip, job.output, list(job.blend_ratios), summed, pictures=[path.name for path in paths])
    _save(inputs_sheet(inputs, results[-1]), sibling_path(job.output, "inputs"))


def _sidecar(
    config: ConfigDict, job: Job, inputs: PhotoInputs, weights: Path, outcome: StylizationResult, started: float
) -> dict[str, Any]:
    """What the JSON files of one run have in common."""
    made = config.copy_and_resolve_references()
    made.update(
        photo=job.photo,
        styles=tuple(f"{name}={file}" for name, file in job.styles.items()),
        masks=tuple(f"{name}={file}" for name, file in job.masks.items()),
    )
    return build_sidecar(
        config=made,
        inputs=inputs,
        weights=weights,
        seed=job.seed,
        seconds={
            "compile": outcome.compile_seconds,
            "optimize": outcome.optimize_seconds,
            "total": time.perf_counter() - started,
        },
        photo=job.photo,
        masks=dict(job.masks),
        evaluations=outcome.evaluations,
        interrupted=outcome.interrupted,
        segmenter=inputs.segmenter,
    )


def _exit_code(job: Job, outcome: StylizationResult) -> int:
    """Tells how the run ended, and what that means for a calling script."""
    count = len(job.blend_ratios)
    if outcome.interrupted:
        logging.warning("interrupted after %d evaluations: wrote the best picture so far", sum(outcome.evaluations))
    for ratio, finite in zip(job.blend_ratios, outcome.finite, strict=False):
        if not finite:
            logging.warning("blend %g: the loss was not finite: fell back to the best picture so far", ratio)
    for ratio, improved in zip(job.blend_ratios, outcome.improved, strict=False):
        if not improved:
            logging.error("blend %g: nothing better than the start was found", ratio)
    if not np.any(outcome.improved[:count]):
        return EXIT_NOTHING_BETTER
    return EXIT_INTERRUPTED if outcome.interrupted else 0
