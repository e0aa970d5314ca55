"""Stylizes the photos of a folder by optimization, one after the other: images and JSON sidecars.

What takes long to come by is there once: the network, the segmenter, the programs of a size and the paintings at it.
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from absl import logging
from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.io.images import fit_size, read_picture
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.picture_file import check_picture_file, open_picture
from msst_jax.io.write_options import holds_transparency
from msst_jax.optim.programs import KEPT_PROGRAMS, Programs
from msst_jax.pipelines.folder import LeftOut, check_folder_job, folder_targets, mask_files
from msst_jax.pipelines.job import EXIT_NOTHING_BETTER, PhotoJob, check_standard_output
from msst_jax.pipelines.photo import check_job, optimize, write_results
from msst_jax.regions.segmenter import Size, load_segmenter
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import PhotoInputs, Region, check_styles, load_photo_inputs, load_styles, mask_spec
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.optimization import StylizationResult
from msst_jax.transfer.options import InputOptions, StylizationOptions
from msst_jax.transfer.style_mix import painting_files


def run(config: ConfigDict, job: PhotoJob) -> int:
    """Stylizes every photo of the folder `job.photo` into the folder `job.output`; returns the exit code.

    Those of one size come after each other. One that cannot be read, has no such region or does not fit into memory is
    named and left out. Ctrl-C ends the photo at work as it does that of a run of one, and then the run.

    Raises:
      UserError: bad input, of which nothing has been written then; every photo was left out; an output cannot be
        written.
    """
    options = build_options(config)
    jobs = _photo_jobs(config, job, options)
    spec = mask_spec(options, job.styles, job.masks)
    check_styles(options, job.styles)
    for file in painting_files(job.styles):
        read_picture(file, "style")
    vgg, weights = load_loss_network(options.network)
    segmenter = load_segmenter(options.inputs.segmenter, spec.missing) if spec.missing else None
    programs = Programs(KEPT_PROGRAMS)

    @functools.lru_cache(maxsize=1)
    def styled(size: Size) -> Sequence[Region]:
        return load_styles(options, job.styles, spec, size)

    def stylize(one: PhotoJob, name: str) -> tuple[PhotoInputs, StylizationResult]:
        inputs = load_photo_inputs(
            options,
            one.photo,
            one.styles,
            one.masks,
            segmenter=segmenter,
            styled=styled,
            keep_alpha=holds_transparency(one.output),
        )
        return inputs, optimize(options, vgg, inputs, one, what=name, programs=programs)

    left_out = LeftOut(len(jobs))
    codes: list[int] = []
    for number, one in enumerate(jobs, start=1):
        name, started = f"photo {number} of {len(jobs)}", time.perf_counter()
        logging.info("%s: %s", name, one.photo)
        made = left_out.attempt(Path(one.photo), functools.partial(stylize, one, name))
        if made is None:
            continue
        inputs, result = made
        codes.append(write_results(config, one, inputs, weights, result, started))
        if result.interrupted:
            logging.warning("interrupted: %d of %d photos were not begun", len(jobs) - number, len(jobs))
            return EXIT_INTERRUPTED
    left_out.warn()
    return 0 if 0 in codes else EXIT_NOTHING_BETTER


def _photo_jobs(config: ConfigDict, job: PhotoJob, options: StylizationOptions) -> list[PhotoJob]:
    """The jobs of the single photos.

    Raises:
      UserError: for everything that can be known before any work.
    """
    check_folder_job(job)
    if job.compare:
        raise UserError("--compare makes a sheet of one photo; give one photo, or leave it out")
    if options.inputs.start:
        raise UserError(
            f"--init {options.inputs.start} is a start for one photo, and {job.photo} is a folder; give one photo, or "
            "--init content"
        )
    if job.output == STANDARD_STREAM:
        check_standard_output(job)
    jobs = []
    for file, output in folder_targets(Path(job.photo), job.output).items():
        check_picture_file(file, "photo")
        masks = {name: str(path) for name, path in mask_files(job, file).items()}
        one = replace(job, photo=str(file), masks=masks, output=output, sheet=False)
        check_job(config, one, options.inputs.start)
        jobs.append(one)
    return _by_size(jobs, options.inputs)


def _by_size(jobs: Sequence[PhotoJob], options: InputOptions) -> list[PhotoJob]:
    """The jobs in the order of their names, but those of one size after each other: its programs serve all of them."""
    groups: dict[Size | None, list[PhotoJob]] = {}
    for job in jobs:
        groups.setdefault(_stored_size(job.photo, options), []).append(job)
    return [*chain.from_iterable(groups.values())]


def _stored_size(photo: str, options: InputOptions) -> Size | None:
    """The (width, height) of the result for a photo that its EXIF data does not turn; None if it cannot be opened.

    Those that are turned come among others, whose programs `Programs` keeps beside theirs.
    """
    try:
        with open_picture(photo, "photo") as opened:
            return fit_size(*opened.size, options.size, options.square)
    except UserError:  # told when it is that photo's turn
        return None
