"""Stylizes one photo with several values of one or two numbers of the config, and makes a sheet of the pictures."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.files import write_json
from msst_jax.io.images import save_picture, to_picture
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.transparency import over_white
from msst_jax.models.vgg import VGG
from msst_jax.optim.programs import KEPT_PROGRAMS, Programs
from msst_jax.pipelines.job import (
    EXIT_NOTHING_BETTER,
    PhotoJob,
    check_standard_output,
    kept_metadata,
    log_written,
    sibling_path,
)
from msst_jax.pipelines.photo import check_pictures, log_end, photo_sidecar, save_and_log
from msst_jax.pipelines.sweep_batches import Batch, load_batches
from msst_jax.presets.sweep import Cell, swept_cells
from msst_jax.report.sheets import inputs_sheet
from msst_jax.report.sweep_sheet import sweep_sheet
from msst_jax.runtime.devices import chosen_devices
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.runtime.progress import Progress
from msst_jax.transfer.build import build_options
from msst_jax.transfer.listener import Listener, Preview
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.optimization import StylizationResult, stylize

FEWER_VALUES = "fewer values of --sweep"


class Sweep(NamedTuple):
    """What the pictures of a sweep share."""

    config: ConfigDict
    """But for the swept values, that of all pictures."""
    job: PhotoJob
    cells: list[Cell]
    """In reading order."""
    batches: list[Batch]
    """In the order in which they are optimized."""
    vgg: VGG
    weights: Path
    """File of the network."""
    started: float
    """When, see `time.perf_counter`."""


def run(config: ConfigDict, job: PhotoJob) -> int:
    """Stylizes one photo with all values of `job.sweep`, and writes everything; returns the exit code.

    Writes a sheet as `job.output`, and each picture beside it as NAME_content_weight0.3.png with a JSON of its own.
    Pictures that differ in LOSS_FACTORS only are one batch; batches run one after the other, and after each of them
    its pictures are written, and the sheet with what there is by then. Ctrl-C ends the batch at work as that of a
    photo, and makes no further one. NAME_inputs.png shows photo, regions, styles and the last picture.

    Raises:
      UserError: bad input; nothing has been written then, unless memory lacks for a later batch.
    """
    started = time.perf_counter()
    if Path(job.photo).is_dir():
        raise UserError(f"--sweep compares pictures of one photo, and {job.photo} is a folder; give a picture")
    config = config.copy_and_resolve_references()
    config.update(blend_ratio=job.blend_ratios[0])
    cells = swept_cells(config, job.sweep)
    options = build_options(cells[0].config)
    if job.output == STANDARD_STREAM:
        check_standard_output(job)
    for cell in cells:
        chosen_devices(cell.config.devices)
    check_pictures(job, [cell_path(job, cell) for cell in cells], options.inputs.start)
    vgg, weights = load_loss_network(options.network)
    return _optimize_all(Sweep(config, job, cells, load_batches(job, cells), vgg, weights, started))


def cell_path(job: PhotoJob, cell: Cell) -> Path:
    """Where one picture goes."""
    return sibling_path(job.output, cell.suffix)


def _optimize_all(sweep: Sweep) -> int:
    """Optimizes the batches and writes everything; returns the exit code."""
    made: dict[str, Image.Image] = {}
    results: list[StylizationResult] = []
    costs = [cost for batch in sweep.batches for cost in batch.costs]
    compilations = len(set().union(*(batch.shapes for batch in sweep.batches)))  # about: other things can differ, too
    bar = Progress("sweep", "evaluation", len(costs), quiet=sweep.job.quiet, costs=costs, pauses=compilations)
    programs = Programs(KEPT_PROGRAMS)
    with bar as progress:
        for batch in sweep.batches:
            result = _optimize(sweep, batch, made, progress, programs)
            results.append(result)
            made |= _pictures(batch, result.images)
            _write_cells(sweep, batch, result)
            _write_sheet(sweep, made, results)
            if result.interrupted:
                break
    return _finish(sweep, made, results)


def _optimize(
    sweep: Sweep, batch: Batch, made: dict[str, Image.Image], progress: Progress, programs: Programs
) -> StylizationResult:
    job, shown = sweep.job, batch.shared

    def advance(_evaluation: int, loss: float) -> None:
        progress.advance(note=", ".join(filter(None, [shown, f"loss {loss:.4g}"])))

    def announce(text: str, left: int | None = None) -> None:
        progress.announce(f"{shown}: {text}" if shown else text, left)

    def show(_evaluation: int, images: jax.Array) -> None:
        _write_preview(sweep, made | _pictures(batch, np.asarray(images)))

    preview = Preview(job.preview_every, show) if job.preview_every else None
    listener = Listener(advance, announce, preview, fewer=FEWER_VALUES)
    runs = [build_options(cell.config).weights() for cell in batch.cells]
    try:
        return stylize(
            batch.options, sweep.vgg, batch.inputs, runs, seed=job.seed, listener=listener, programs=programs
        )
    except UserError as error:
        raise UserError(f"--sweep: {shown}: {error}" if shown else str(error)) from error


def _pictures(batch: Batch, images: np.ndarray) -> dict[str, Image.Image]:
    """The images (B, H, W, 3) of a batch, over white as the sheet shows them, by the suffix of their cells."""
    shown = over_white(images, batch.inputs.alpha)
    return {cell.suffix: to_picture(image) for cell, image in zip(batch.cells, shown, strict=True)}


def _write_cells(sweep: Sweep, batch: Batch, result: StylizationResult) -> None:
    """The pictures of a batch, each with its JSON."""
    job = sweep.job
    metadata = kept_metadata(job.writing, job.photo)
    for cell, image, loss in zip(batch.cells, result.images, result.losses, strict=True):
        path = cell_path(job, cell)
        save_picture(to_picture(image, batch.inputs.alpha), path, job.writing, metadata)
        content = photo_sidecar(cell.config, job, batch.inputs, sweep.weights, result, sweep.started)
        write_json({"blend_ratio": cell.config.blend_ratio, **content, "loss": loss}, path.with_suffix(".json"))


def _draw_sheet(sweep: Sweep, made: dict[str, Image.Image]) -> Image.Image:
    """The sheet of the pictures that are there."""
    columns = len(sweep.job.sweep[0].values) if len(sweep.job.sweep) > 1 else 0
    return sweep_sheet([cell.label for cell in sweep.cells], [made.get(cell.suffix) for cell in sweep.cells], columns)


def _write_preview(sweep: Sweep, made: dict[str, Image.Image]) -> None:
    """Writes the sheet so far; a run that may last for hours does not end because this fails."""
    try:
        save_picture(_draw_sheet(sweep, made), sweep.job.output, sweep.job.writing)
    except UserError as error:
        logging.warning("no preview: %s", error)


def _write_sheet(sweep: Sweep, made: dict[str, Image.Image], results: Sequence[StylizationResult]) -> None:
    """The sheet with its JSON, which `--config` takes to repeat the sweep; it names the pictures that are there."""
    job, inputs = sweep.job, sweep.batches[0].inputs
    save_picture(_draw_sheet(sweep, made), job.output, job.writing)
    content = photo_sidecar(sweep.config, job, inputs, sweep.weights, results[-1], sweep.started)
    content["flags"] = {**content.get("flags", {}), "sweep": [str(field) for field in job.sweep]}
    content["seconds"]["compile"] = sum(result.compile_seconds for result in results)
    content["seconds"]["optimize"] = sum(result.optimize_seconds for result in results)
    for own in ("evaluations", "size", "tiles"):  # each picture has its own
        content.pop(own, None)
    pictures = [cell_path(job, cell).name for cell in sweep.cells if cell.suffix in made]
    record = {"blend_ratio": sweep.config.blend_ratio, "pictures": pictures, **content}
    write_json(record, job.output.with_suffix(".json"))


def _finish(sweep: Sweep, made: dict[str, Image.Image], results: Sequence[StylizationResult]) -> int:
    """The sheet of the inputs, and what is said of all files and of what was unusual; returns the exit code."""
    job = sweep.job
    for cell in sweep.cells:
        if cell.suffix in made:
            log_written(cell_path(job, cell))
    log_written(job.output)
    last = sweep.batches[len(results) - 1]
    save_and_log(job, inputs_sheet(last.inputs, results[-1].images[-1]), sibling_path(job.output, "inputs"))
    for batch, result in zip(sweep.batches, results, strict=False):
        log_end([cell.label.replace("\n", ", ") for cell in batch.cells], result)
    if results[-1].interrupted:
        if len(made) < len(sweep.cells):
            logging.warning("%d of %d pictures were not made", len(sweep.cells) - len(made), len(sweep.cells))
        return EXIT_INTERRUPTED
    return 0 if any(np.any(result.improved) for result in results) else EXIT_NOTHING_BETTER
