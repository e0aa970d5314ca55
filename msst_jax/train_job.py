"""The whole way of a training run: folders in, a workdir with a model out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from msst_jax import data, fast, images, person, workdir
from msst_jax.configuration import check_training_config
from msst_jax.crops import Crop, centre_crop
from msst_jax.data import Examples
from msst_jax.devices import of_first_host, together
from msst_jax.errors import UserError
from msst_jax.models.deeplab import SEGMENTERS
from msst_jax.photo_sources import Photos, file_sizes, find_photos
from msst_jax.regions import BACKGROUND
from msst_jax.segmentation import check_names, class_probabilities, region_masks
from msst_jax.segmenters import Segmenter, best_there, load_segmenter
from msst_jax.train_step import Plan
from msst_jax.training import Outcome, check_batch, train
from msst_jax.workdir import MODEL_FILE

EXIT_INTERRUPTED = 130
MIN_SPECK = 0.3  # percent of the photo: smaller pieces of what the segmenter finds are dropped
MASKS = "masks"  # folder of a workdir


class Job(NamedTuple):
    """What a person asked for."""

    workdir: Path
    photos: Sequence[str]
    styles: Mapping[str, str]
    masks: Sequence[str] = ()
    restart: bool = False
    quiet: bool = False


TASKS: dict[str, Callable[[ConfigDict, Mapping[str, str]], Plan]] = {"stylizer": fast.plan, "segmenter": person.plan}
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
    batches = data.batches(
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


def _crop(config: ConfigDict) -> Crop:
    random_regions = config.without_mask == "random"
    return Crop(config.size, config.smallest_crop, config.largest_crop, config.colour, random_regions)


def _read(config: ConfigDict, job: Job) -> Inputs:
    plan = TASKS[config.task](config, job.styles)
    photos = find_photos(job.photos, leave_out=config.leave_out)
    for folder in job.masks:
        if not Path(folder).is_dir():
            raise UserError(f"masks {folder} is no folder; give a folder of masks named like the photos")
    if len(plan.regions) > 1:
        _check_names(photos)
        if job.masks and config.without_mask == "error":
            _check_masks(photos, [Path(folder) for folder in job.masks], plan.regions)
    return Inputs(plan, photos, _segmenter(config, photos, plan.regions, job))


def _prepare(config: ConfigDict, job: Job, inputs: Inputs) -> None:
    if jax.process_index() == 0:
        used = _used_files(inputs, [Path(folder) for folder in job.masks])
        workdir.prepare(job.workdir, config, job.photos, job.styles, job.masks, used, restart=job.restart)


def _used_files(inputs: Inputs, folders: Sequence[Path]) -> dict[str, dict[str, int]]:
    """{"photos": {file: bytes}, "masks": {file: bytes}}; not the masks that the run makes itself."""
    photos, names = inputs.photos, inputs.plan.regions
    found = (data.mask_files(folders, names, photos.name(index)) for index in range(len(photos)))
    return {"photos": photos.sizes(), "masks": file_sizes(file for files in found for file in files.values())}


def _check_names(photos: Photos) -> None:
    """Masks are found by the photo's name."""
    counts = Counter(photos.name(index) for index in range(len(photos)))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f"{len(twice)} names belong to more than one photo (the first: {twice[0]}), so that their masks cannot be "
            "told apart; rename the photos"
        )


def _check_masks(photos: Photos, masks: Sequence[Path], names: Sequence[str]) -> None:
    missing = _without_mask(photos, masks, names, 1)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(photos)} photos have no mask in {', '.join(map(str, masks))} (the first: "
            f"{photos.name(missing[0])}); add the masks, or give such photos random regions with "
            "--config.without_mask=random"
        )


def _without_mask(photos: Photos, masks: Sequence[Path], names: Sequence[str], least: int) -> list[int]:
    """Photos that have fewer than `least` mask files."""
    return [i for i in range(len(photos)) if len(data.mask_files(masks, names, photos.name(i))) < least]


def _segmenter(config: ConfigDict, photos: Photos, names: Sequence[str], job: Job) -> Segmenter | None:
    """The segmenter, if it has masks to make."""
    wanted = [name for name in names if name != BACKGROUND]
    if job.masks or not wanted:
        return None
    check_names(wanted)
    if not job.restart and not _without_mask(photos, [job.workdir / MASKS], names, len(wanted)):
        return None
    return load_segmenter(config.segmenter, wanted, instead="--masks DIR")


def _masks(config: ConfigDict, inputs: Inputs, job: Job) -> list[Path]:
    """Folders of masks: those given, or WORKDIR/masks/REGION/NAME.png by the segmenter, made once."""
    if job.masks:
        return [Path(folder) for folder in job.masks]
    folder = job.workdir / MASKS
    if inputs.segmenter is None:
        return [folder]
    photos, wanted = inputs.photos, [name for name in inputs.plan.regions if name != BACKGROUND]
    todo = _without_mask(photos, [folder], inputs.plan.regions, len(wanted))
    mine = [index for index in todo if index % jax.process_count() == jax.process_index()]
    for index in tqdm(mine, desc="masks", unit="photo", disable=job.quiet or None):
        try:
            photo = photos.read(index)
        except UserError:
            continue  # training names it
        probabilities = class_probabilities(inputs.segmenter, photo, refine=config.refine_edges)
        found = region_masks(probabilities, wanted, min_speck=MIN_SPECK, must_exist=False)
        for name in wanted:
            grey = images.to_picture(np.repeat(found[name][..., None], 3, -1)).convert("L")
            images.save_picture(grey, folder / name / f"{photos.name(index)}.png")
    return [folder]


def _split(config: ConfigDict, inputs: Inputs, masks: Sequence[Path]) -> tuple[Examples, list[dict]]:
    """The photos to train on, and crops of those to look at."""
    photos, names = inputs.photos, inputs.plan.regions
    outside = data.held_out(len(photos), config.samples)
    inside = [index for index in range(len(photos)) if index not in set(outside)]
    if len(photos) < config.batch:
        logging.warning("few photos (%d): the model will know little else", len(photos))
    if not outside:
        logging.warning(
            "too few photos to hold any out (%d; from %d on some are): the samples and the held_out_ metrics are of "
            "photos that are trained on too",
            len(photos),
            data.PHOTOS_PER_HELD_OUT,
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
