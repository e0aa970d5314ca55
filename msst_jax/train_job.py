"""The whole way of a training run of the fast model: folders in, a workdir with a model out."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from msst_jax import data, images, workdir
from msst_jax.data import Crop, Examples
from msst_jax.errors import UserError
from msst_jax.fast import MODEL_FILE, compute_type, make_task, save_model
from msst_jax.models.weights import load_vgg
from msst_jax.regions import BACKGROUND
from msst_jax.segmentation import check_names, class_probabilities, load_segmenter, region_masks
from msst_jax.stylization import layers_of
from msst_jax.training import check_batch, train

EXIT_INTERRUPTED = 130
MIN_SPECK = 0.3  # percent of the photo: smaller pieces of what the segmenter finds are dropped


class Job(NamedTuple):
    """What a person asked for."""

    workdir: Path
    photos: Sequence[str]
    styles: Mapping[str, str]
    masks: Sequence[str] = ()
    restart: bool = False
    quiet: bool = False


def run(config: ConfigDict, job: Job) -> int:
    """Trains the fast model, or goes on; returns the exit code.

    Raises:
      UserError: bad input, a workdir of another run, a run that diverges, a full disk.
    """
    check_batch(config.batch, jax.device_count())
    names = _regions(job.styles)
    styles = [images.load_image(file, config.style_size, what="style") for file in job.styles.values()]
    photos = data.find_photos(job.photos)
    for folder in job.masks:
        if not Path(folder).is_dir():
            raise UserError(f"masks {folder} is no folder; give a folder of masks named like the photos")
    if jax.process_index() == 0:
        workdir.prepare(job.workdir, config, job.photos, job.styles, job.masks, restart=job.restart)
    masks = [Path(folder) for folder in job.masks] or _segmented(config, photos, names, job)
    out = data.held_out(len(photos), config.samples)
    inside = [index for index in range(len(photos)) if index not in set(out)]
    if config.without_mask == "error":
        _check_masks(photos, masks, names)
    if len(photos) < config.batch:
        logging.warning("only %d photos: the model will know little else", len(photos))
    samples = _samples(photos, out or inside[: config.samples], masks, names, config.size)
    layers = layers_of(config)
    vgg, _ = load_vgg(config.network, [*layers.style, *layers.content], dtype=compute_type(config.dtype))
    task = make_task(config, vgg, names, styles, samples)
    examples = Examples(photos, inside, masks, names, config.size)
    batches = data.batches(
        examples,
        Crop(config.size, config.smallest_crop),
        names,
        batch=config.batch,
        seed=config.seed,
        workers=config.workers,
        hosts=jax.process_count(),
        host=jax.process_index(),
    )
    style_names = [Path(file).name for file in job.styles.values()]
    export = partial(save_model, job.workdir / MODEL_FILE, config, names, style_names)
    outcome = train(config, task, batches, job.workdir, export=export, quiet=job.quiet)
    _tell(outcome.interrupted, int(outcome.state.step), int(outcome.state.skipped), examples, job)
    return EXIT_INTERRUPTED if outcome.interrupted else 0


def _regions(styles: Mapping[str, str]) -> list[str]:
    """Raises UserError unless there are styles, and one is for the background."""
    if BACKGROUND not in styles:
        found = f"found {', '.join(styles)}" if styles else "found none"
        raise UserError(f"the fast model needs --style {BACKGROUND}=FILE, and one for each other region; {found}")
    return list(styles)


def _check_masks(photos: data.Photos, masks: Sequence[Path], names: Sequence[str]) -> None:
    if len(names) == 1:
        return
    missing = [
        photos.name(index) for index in range(len(photos)) if not data.mask_files(masks, names, photos.name(index))
    ]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(photos)} photos have no mask in {', '.join(map(str, masks))} (the first: "
            f"{missing[0]}); add the masks, or give such photos random regions with --config.without_mask=random"
        )


def _samples(
    photos: data.Photos, indices: Sequence[int], masks: Sequence[Path], names: Sequence[str], size: int
) -> dict[str, np.ndarray]:
    examples = Examples(photos, indices, masks, names, size)
    crops = [data.centre_crop(examples[position], size, names) for position in range(len(indices))]
    return {field: np.stack([crop[field] for crop in crops]) for field in ("photo", "masks")}


def _segmented(config: ConfigDict, photos: data.Photos, names: Sequence[str], job: Job) -> list[Path]:
    """Masks of every photo by the segmenter, made once: WORKDIR/masks/REGION/NAME.png."""
    folder = job.workdir / "masks"
    wanted = [name for name in names if name != BACKGROUND]
    todo = [i for i in range(len(photos)) if len(data.mask_files([folder], names, photos.name(i))) < len(wanted)]
    mine = todo[jax.process_index() :: jax.process_count()]
    if wanted and todo:
        check_names(wanted)
        model = load_segmenter(config.segmenter).model
        for index in tqdm(mine, desc="masks", unit="photo", disable=job.quiet or None):
            try:
                photo = photos.read(index)
            except UserError:
                continue  # training names it
            found = region_masks(class_probabilities(model, photo), wanted, min_speck=MIN_SPECK, must_exist=False)
            for name in wanted:
                grey = images.to_picture(np.repeat(found[name][..., None], 3, -1)).convert("L")
                images.save_picture(grey, folder / name / f"{photos.name(index)}.png")
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("masks")
    return [folder]


def _tell(interrupted: bool, step: int, skipped: int, examples: Examples, job: Job) -> None:
    """What a person should know at the end."""
    for name, reason in examples.damaged.items():
        logging.warning("left out %s: %s", name, reason)
    if examples.damaged:
        logging.warning("%d of %d photos are damaged", len(examples.damaged), len(examples))
    if examples.small:
        logging.warning("%d photos are smaller than the crop and were enlarged", len(examples.small))
    if skipped:
        logging.warning("%d steps were not finite and were skipped", skipped)
    logging.info("%s at step %d: %s", "interrupted" if interrupted else "done", step, job.workdir / MODEL_FILE)
