"""The whole way of a training run: folders in, a workdir with a model out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from msst_jax.models.deeplab import SEGMENTERS
from msst_jax.models.serialization import MODEL_FILE
from msst_jax.presets.validation import check_training_config
from msst_jax.regions.segmenter import Segmenter, best_there
from msst_jax.runtime.devices import of_first_host, together
from msst_jax.training import workdir
from msst_jax.training.data import pipeline
from msst_jax.training.data.augment import Crop, centre_crop
from msst_jax.training.data.masks import check_masks, make_masks, mask_files, needed_segmenter
from msst_jax.training.data.photos import Photos, file_sizes, find_photos
from msst_jax.training.data.pipeline import Examples
from msst_jax.training.loop import Outcome, check_batch, train
from msst_jax.training.task import Plan
from msst_jax.training.tasks import person_segmenter, stylizer

EXIT_INTERRUPTED = 130
MASKS = "masks"  # folder of a workdir


class Job(NamedTuple):
    """What a person asked for."""

    workdir: Path
    photos: Sequence[str]
    styles: Mapping[str, str]
    masks: Sequence[str] = ()
    restart: bool = False
    quiet: bool = False


TASKS: dict[str, Callable[[ConfigDict, Mapping[str, str]], Plan]] = {
    "stylizer": stylizer.plan,
    "segmenter": person_segmenter.plan,
}
"""What config.task can be."""


class Inputs(NamedTuple):
    """What is read before anything is written."""

    plan: Plan
    photos: Photos
    segmenter: Segmenter | None
    """None if all masks are there."""


def run(config: ConfigDict, job: Job) -> int:
    """Trains what config.task names, or goes on; returns the exit code.

    Raises:
      UserError: bad input, a workdir of another run, a run that diverges, a full disk.
    """
    check_training_config(config)
    check_batch(config.batch, jax.device_count())
    config = _settled(config, job)
    inputs = together(lambda: _read(config, job))
    together(lambda: _prepare(config, job, inputs))
    masks = together(lambda: _masks(config, inputs, job))
    training, held_out = together(lambda: _split(config, inputs, masks))
    samples = {field: np.stack([crop[field] for crop in held_out]) for field in ("photo", "masks")}
    batches = pipeline.batches(
        training,
        _crop(config),
        inputs.plan.regions,
        batch=config.batch,
        seed=config.seed,
        workers=config.workers,
        hosts=jax.process_count(),
        host=jax.process_index(),
    )
    outcome = train(config, inputs.plan.build(samples), batches, job.workdir, quiet=job.quiet)
    _tell(outcome, training, job)
    return EXIT_INTERRUPTED if outcome.interrupted else 0


def _crop(config: ConfigDict) -> Crop:
    random_regions = config.without_mask == "random"
    return Crop(config.size, config.smallest_crop, config.largest_crop, config.colour, random_regions)


def _read(config: ConfigDict, job: Job) -> Inputs:
    plan = TASKS[config.task](config, job.styles)
    photos = find_photos(job.photos, leave_out=config.leave_out)
    check_masks(photos, [*map(Path, job.masks)], plan.regions, all_needed=config.without_mask == "error")
    segmenter = None
    if not job.masks:
        made = None if job.restart else job.workdir / MASKS
        segmenter = needed_segmenter(config.segmenter, photos, made, plan.regions)
    return Inputs(plan, photos, segmenter)


def _settled(config: ConfigDict, job: Job) -> ConfigDict:
    """The config with a segmenter by name: that of the run, and where it begins, the best one on the first host.

    All masks of a run are of one network, also those that another host makes, or a later call when a better one has
    been converted.
    """
    if config.segmenter:
        return config
    begun = None if job.restart else together(lambda: workdir.recorded(job.workdir, "segmenter"))
    name = begun if begun in SEGMENTERS else SEGMENTERS[of_first_host(SEGMENTERS.index(best_there()))]
    settled = config.copy_and_resolve_references()
    settled.segmenter = name
    return settled


def _prepare(config: ConfigDict, job: Job, inputs: Inputs) -> None:
    if jax.process_index() == 0:
        used = _used_files(inputs, [*map(Path, job.masks)])
        workdir.prepare(job.workdir, config, job.photos, job.styles, job.masks, used, restart=job.restart)


def _used_files(inputs: Inputs, folders: Sequence[Path]) -> dict[str, dict[str, int]]:
    """{"photos": {file: bytes}, "masks": {file: bytes}}; not the masks that the run makes itself."""
    photos, names = inputs.photos, inputs.plan.regions
    found = (mask_files(folders, names, photos.name(index)) for index in range(len(photos)))
    return {"photos": photos.sizes(), "masks": file_sizes(file for files in found for file in files.values())}


def _masks(config: ConfigDict, inputs: Inputs, job: Job) -> list[Path]:
    """Folders of masks: those given, or that of the workdir, where they are now made."""
    if job.masks:
        return [*map(Path, job.masks)]
    folder = job.workdir / MASKS
    if inputs.segmenter:
        make_masks(
            inputs.segmenter,
            inputs.photos,
            folder,
            inputs.plan.regions,
            refine=config.refine_edges,
            quiet=job.quiet,
        )
    return [folder]


def _split(config: ConfigDict, inputs: Inputs, masks: Sequence[Path]) -> tuple[Examples, list[dict]]:
    """The photos to train on, and crops of those to look at."""
    photos, names = inputs.photos, inputs.plan.regions
    outside = pipeline.held_out(len(photos), config.samples)
    inside = [index for index in range(len(photos)) if index not in set(outside)]
    if len(photos) < config.batch:
        logging.warning("few photos (%d): the model will know little else", len(photos))
    if not outside:
        logging.warning(
            "too few photos to hold any out (%d; from %d on some are): the samples and the held_out_ metrics are of "
            "photos that are trained on too",
            len(photos),
            pipeline.PHOTOS_PER_HELD_OUT,
        )
    shown = Examples(photos, [*outside, *inside], masks, names, config.size)  # the next one stands in for a damaged one
    count = len(outside) or min(config.samples, len(inside))
    crops = [centre_crop(shown[position], _crop(config), names) for position in range(count)]
    training = Examples(photos, inside, masks, names, config.size)
    training.damaged = shown.damaged  # known already
    return training, crops


def _tell(outcome: Outcome, examples: Examples, job: Job) -> None:
    """What a person should know at the end."""
    step, skipped = int(outcome.state.step), int(outcome.state.skipped)
    if examples.damaged:
        logging.warning("%d photos could not be read and were left out", len(examples.damaged))
    if examples.small:
        logging.warning("%d photos are smaller than the crop and were enlarged", len(examples.small))
    if skipped:
        logging.warning("%d steps were not finite and were skipped", skipped)
    logging.info("%s at step %d: %s", "interrupted" if outcome.interrupted else "done", step, job.workdir / MODEL_FILE)
