"""Trains a model, files to files: folders of photos in, a workdir with checkpoints, metrics and the model out."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from msst_jax import registry
from msst_jax.errors import UserError
from msst_jax.io.fingerprint import Fingerprint, file_fingerprint
from msst_jax.io.lock import locked_folder, log_takeover
from msst_jax.models.deeplab import SEGMENTERS
from msst_jax.models.precision import products_at
from msst_jax.models.serialization import MODEL_FILE, weights_path
from msst_jax.pipelines.job import EXIT_NOTHING_BETTER
from msst_jax.presets.validation import (
    check_any_stylizer_config,
    check_segmenter_config,
    check_stylizer_config,
    check_training_config,
)
from msst_jax.regions.masks import foreground
from msst_jax.regions.segmenter import AnySegmenter, best_available
from msst_jax.runtime.devices import on_any_host, run_on_all_hosts, text_of_host0
from msst_jax.runtime.interrupt import exit_code_after
from msst_jax.training import run_record, workdir
from msst_jax.training.build import (
    build_any_stylizer_options,
    build_crop_options,
    build_loop_options,
    build_segmenter_options,
    build_stylizer_options,
)
from msst_jax.training.data import pipeline
from msst_jax.training.data.augment import center_crop
from msst_jax.training.data.mask_bytes import with_float_masks
from msst_jax.training.data.masks import (
    LISTING_AGE,
    check_complete,
    check_names,
    generate_masks,
    load_segmenter_if_needed,
    open_generated,
    open_masks,
)
from msst_jax.training.data.photos import Masks, Photos, find_photos
from msst_jax.training.data.pipeline import PhotoExamples
from msst_jax.training.loop import TrainResult, check_batch_size, train
from msst_jax.training.metrics import METRICS_FILE, loss_rise, read_records
from msst_jax.training.mirror import Mirror, mirrored
from msst_jax.training.shared_inputs import (
    check_same_inputs,
    check_same_kind,
    check_shared_bucket,
    check_shared_workdir,
)
from msst_jax.training.task import TaskSpec
from msst_jax.training.tasks import any_stylizer, segmenter, stylizer


@dataclass(frozen=True)
class TrainJob:
    """Train a model, or continue a run.

    Attributes:
      workdir: the folder of the run.
      photos: folders, or "tfds:NAME".
      styles: {region: file}.
      masks: folders of masks; empty = those packed with the photos, or else the segmenter computes them.
      restart: remove an earlier run from the workdir.
      quiet: no progress bar.
      imports: modules of the user's that were imported, for config.json.
      profile: number of steps that are traced; 0 = none.
      bucket: URL of the run's folder in a bucket, of which `workdir` is a copy; "" = there is none.
    """

    workdir: Path
    photos: Sequence[str]
    styles: Mapping[str, str]
    masks: Sequence[str] = ()
    restart: bool = False
    quiet: bool = False
    imports: Sequence[str] = ()
    profile: int = 0
    bucket: str = ""


def _load_stylizer(config: ConfigDict, styles: Mapping[str, str]) -> TaskSpec:
    check_stylizer_config(config)
    return stylizer.load_task_spec(build_stylizer_options(config), styles)


def _load_any_stylizer(config: ConfigDict, styles: Mapping[str, str]) -> TaskSpec:
    check_any_stylizer_config(config)
    return any_stylizer.load_task_spec(build_any_stylizer_options(config), styles)


def _load_segmenter(config: ConfigDict, styles: Mapping[str, str]) -> TaskSpec:
    check_segmenter_config(config)
    return segmenter.load_task_spec(build_segmenter_options(config), styles)


BUILTIN_TASKS: dict[str, Callable[[ConfigDict, Mapping[str, str]], TaskSpec]] = {
    "stylizer": _load_stylizer,
    "any_stylizer": _load_any_stylizer,
    "segmenter": _load_segmenter,
}
"""Those of the package; others are registered."""


class TrainInputs(NamedTuple):
    """Everything that is read before anything is written."""

    task: TaskSpec
    photos: Photos
    masks: Masks | None
    """Those that are given; None if the run computes them."""
    segmenter: AnySegmenter | None
    """None if all masks are there."""

    @property
    def names(self) -> list[str]:
        """The masks that are read: of the regions, and of given ones those that the task takes besides."""
        return [*self.task.regions, *(self.task.given if self.masks else ())]


def run(config: ConfigDict, job: TrainJob) -> int:
    """Trains the task of the config, or continues a run; returns the exit code.

    Raises:
      UserError: bad input, a workdir of another run, a full disk.
      DivergenceError: the run diverges; see `loop.train`.
    """
    check_training_config(config)
    check_batch_size(config.batch, jax.device_count(), config.accumulate)
    with products_at(config.precision), ExitStack() as held:
        mirror = _open_mirror(job, held)
        if mirror:
            job = replace(job, workdir=mirror.local)
        config = _resolve_segmenter(config, job)
        inputs = run_on_all_hosts(lambda: _read_inputs(config, job))
        used = run_on_all_hosts(lambda: _used_files(config, inputs))
        check_same_inputs([_settings(config, inputs), used, run_on_all_hosts(lambda: workdir.style_files(job.styles))])
        previous = run_on_all_hosts(lambda: _hold(job, held))
        if not mirror:
            check_shared_workdir(job.workdir)
        run_on_all_hosts(lambda: _prepare(config, job, used, previous, mirror))
        return _train(config, job, inputs, mirror)


def _open_mirror(job: TrainJob, held: ExitStack) -> Mirror | None:
    """The copy of a run in a bucket, until `held` is closed; None if the workdir is a folder of this machine."""
    check_same_kind(job.bucket != "")
    if not job.bucket:
        return None
    check_shared_bucket(job.bucket)
    first = jax.process_index() == 0
    mirror = run_on_all_hosts(lambda: _enter_mirror(job, held) if first else None)
    return run_on_all_hosts(lambda: mirror or _enter_mirror(job, held))


def _enter_mirror(job: TrainJob, held: ExitStack) -> Mirror:
    mirror = held.enter_context(mirrored(job.bucket, jax.process_index(), anew=job.restart))
    if jax.process_count() > 1:
        mirror.push()  # what an earlier call could not copy, for the others
    return mirror


def _train(config: ConfigDict, job: TrainJob, inputs: TrainInputs, mirror: Mirror | None) -> int:
    """Trains in a workdir that is prepared; returns the exit code."""
    run_on_all_hosts(lambda: _generate(config, inputs, job, mirror))
    if mirror and on_any_host(inputs.segmenter is not None):
        run_on_all_hosts(mirror.pull_masks)
    masks = run_on_all_hosts(lambda: _open_masks(inputs, job))
    training, held_out = run_on_all_hosts(lambda: _split(config, inputs, masks))
    samples = with_float_masks({field: np.stack([crop[field] for crop in held_out]) for field in held_out[0]})
    made = pipeline.make_batches(
        training,
        build_crop_options(config),
        inputs.names,
        batch=config.batch,
        seed=config.seed,
        workers=config.workers,
        hosts=jax.process_count(),
        host=jax.process_index(),
        draw=inputs.task.draw,
    )
    with closing(made) as batches:  # else its threads read on, until they are collected
        result = train(
            build_loop_options(config),
            inputs.task.build(samples),
            batches,
            job.workdir,
            quiet=job.quiet,
            profile=job.profile,
            mirror=mirror.push if mirror else None,
        )
    _log_summary(result, training, job)
    if result.interrupted:
        return exit_code_after(result.signal)
    worse = on_any_host(jax.process_index() == 0 and _is_worse(job.workdir))  # others may not see the metrics
    return EXIT_NOTHING_BETTER if worse else 0


def _read_inputs(config: ConfigDict, job: TrainJob) -> TrainInputs:
    task = _load_task(config, job.styles)
    photos = find_photos(job.photos, leave_out=config.leave_out)
    check_names(photos, task.regions)
    if masks := _given_masks(config, job, task, photos):
        return TrainInputs(task, photos, masks, None)
    existing = None if job.restart else job.workdir / workdir.MASKS
    return TrainInputs(task, photos, None, load_segmenter_if_needed(config.segmenter, photos, existing, task.regions))


def _given_masks(config: ConfigDict, job: TrainJob, task: TaskSpec, photos: Photos) -> Masks | None:
    """The masks of --masks, or else those that are packed with the photos."""
    all_needed = config.without_mask == "error"
    if job.masks:
        return open_masks(photos, [*map(Path, job.masks)], [*task.regions, *task.given], all_needed=all_needed)
    masks = photos.own_masks(task.regions, task.given)
    if masks and foreground(task.regions) and all_needed:
        check_complete(photos, masks, job.photos[0])
    return masks


def _load_task(config: ConfigDict, styles: Mapping[str, str]) -> TaskSpec:
    if config.task in BUILTIN_TASKS:
        return BUILTIN_TASKS[config.task](config, styles)
    task = registry.call(f"task {config.task}", registry.TASKS[config.task], config, styles)
    if not isinstance(task, TaskSpec):
        raise UserError(f"task {config.task}: load() returned {type(task).__name__}; let it return a TaskSpec")
    return task


def _resolve_segmenter(config: ConfigDict, job: TrainJob) -> ConfigDict:
    """The config with a segmenter by name: that of the run or, for a new one, the best one on host 0.

    All masks of a run are of one network, also those that another host computes, or a later call when a better network
    has been converted. Host 0 reads the workdir for all, since others may not see it.
    """
    if config.segmenter:
        return config
    reads = jax.process_index() == 0 and not job.restart
    begun = run_on_all_hosts(lambda: workdir.recorded_field(job.workdir, "segmenter") if reads else None)
    resolved = config.copy_and_resolve_references()
    resolved.segmenter = text_of_host0(begun if begun in SEGMENTERS else best_available())
    return resolved


def _settings(config: ConfigDict, inputs: TrainInputs) -> dict[str, Any]:
    """The fields that must be equal on all hosts; files may lie elsewhere, and a host may have more cores."""
    own = {*run_record.WEIGHTS_FIELDS, *inputs.task.files, "workers"}
    return {name: value for name, value in config.to_dict().items() if name not in own}


def _hold(job: TrainJob, held: ExitStack) -> str:
    """Holds the workdir until `held` is closed, which only host 0 does; returns as `locked_folder`."""
    if jax.process_index() > 0:
        return ""
    return held.enter_context(locked_folder(job.workdir, "take another --workdir"))


def _prepare(
    config: ConfigDict, job: TrainJob, used: Mapping[str, Fingerprint], previous: str, mirror: Mirror | None
) -> None:
    """Prepares the workdir; only host 0 does."""
    if jax.process_index() == 0:
        inputs_of_run = (job.photos, job.styles, job.masks)
        workdir.prepare_workdir(
            job.workdir, config.to_dict(), *inputs_of_run, used, restart=job.restart, imports=job.imports
        )
        log_takeover(job.workdir, previous)
        if mirror:
            if job.restart:
                mirror.remove_others()
            mirror.push()  # masks come before the first checkpoint: they need a config.json that tells whose they are


def _used_files(config: ConfigDict, inputs: TrainInputs) -> dict[str, Fingerprint]:
    """The fingerprints of photos, masks, weights and the task's own files; not of the masks that the run makes."""
    own = inputs.task.files
    fields = [field for field in run_record.WEIGHTS_FIELDS if config.get(field) and field not in own]
    weights = {field: weights_path(config[field], f"config.{field}") for field in fields}
    named = {field: file_fingerprint(path) for field, path in weights.items() if path.is_file()}  # else a name
    masks = inputs.masks.fingerprint() if inputs.masks else {}
    return {"photos": inputs.photos.fingerprint(), "masks": masks, **named, **own}


def _generate(config: ConfigDict, inputs: TrainInputs, job: TrainJob, mirror: Mirror | None) -> None:
    """Computes this host's share of the masks into the workdir, where they are not given or there."""
    if inputs.segmenter:
        generate_masks(
            inputs.segmenter,
            inputs.photos,
            job.workdir / workdir.MASKS,
            inputs.task.regions,
            refine=config.refine_edges,
            quiet=job.quiet,
            publish=mirror.push_masks if mirror else None,
        )


def _open_masks(inputs: TrainInputs, job: TrainJob) -> Masks:
    """The given masks, or those that all hosts have computed."""
    if inputs.masks:
        return inputs.masks
    patience = LISTING_AGE if jax.process_count() > 1 else 0.0
    return open_generated(inputs.photos, job.workdir / workdir.MASKS, inputs.task.regions, patience=patience)


def _split(config: ConfigDict, inputs: TrainInputs, masks: Masks) -> tuple[PhotoExamples, list[dict]]:
    """The photos to train on, and crops of those to look at."""
    photos, names = inputs.photos, inputs.names
    outside = pipeline.held_out_indices(len(photos), config.samples)
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
    shown = PhotoExamples(photos, masks, [*outside, *inside], config.size)  # the next one stands in for a damaged one
    count = len(outside) or min(config.samples, len(inside))
    crops = [center_crop(shown[position], build_crop_options(config), names) for position in range(count)]
    if draw := inputs.task.draw:
        crops = [{**crop, **draw(np.random.default_rng(number))} for number, crop in enumerate(crops)]
    training = PhotoExamples(photos, masks, inside, config.size)
    training.damaged = shown.damaged  # known already
    return training, crops


def _is_worse(folder: Path) -> bool:
    """Whether the loss has risen since the start of the run, which is logged then."""
    path = folder / METRICS_FILE
    rise = loss_rise(read_records(path)) if path.exists() else None
    if rise:
        logging.error(
            "the loss rose from %.4g at the start to %.4g: the model got worse; lower config.learning_rate in another "
            "--workdir",
            *rise,
        )
    return rise is not None


def _log_summary(result: TrainResult, examples: PhotoExamples, job: TrainJob) -> None:
    """Logs what the user should know at the end."""
    step, skipped = int(result.state.step), int(result.state.skipped)
    place = f"{job.bucket.rstrip('/')}/{MODEL_FILE}" if job.bucket else job.workdir / MODEL_FILE
    if examples.damaged:
        logging.warning("%d photos could not be read and were left out", len(examples.damaged))
    if examples.small:
        logging.warning("%d photos are smaller than the crop and were enlarged", len(examples.small))
    if skipped:
        logging.warning("%d steps were not finite and were skipped", skipped)
    logging.info("%s at step %d: %s", "interrupted" if result.interrupted else "done", step, place)
