"""The whole way of a clip: a video file or a folder of frames in, a painted one and its JSON out."""

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.files import check_outputs, write_json
from msst_jax.io.images import fit_size
from msst_jax.models.feedforward_model import load_feedforward
from msst_jax.pipelines.job import EXIT_INTERRUPTED, Job
from msst_jax.pipelines.photo_feedforward import check_model, segmenter_for
from msst_jax.presets.validation import check_number, compute_dtype
from msst_jax.regions.masks import BACKGROUND
from msst_jax.regions.segmenter import Segmenter, Size, load_segmenter
from msst_jax.regions.selection import region_classes
from msst_jax.report.sidecar import build_sidecar, environment
from msst_jax.runtime.interrupt import interrupt_event
from msst_jax.transfer.build import load_loss_network
from msst_jax.transfer.feedforward import model_regions
from msst_jax.transfer.inputs import PhotoInputs, Region, load_styles
from msst_jax.video.batching import FrameBatch, batch_frames
from msst_jax.video.feedforward import feedforward_stylizer
from msst_jax.video.io.formats import CONTAINER_FORMATS
from msst_jax.video.io.frame_folder import list_frames
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.segments import SegmentOptions
from msst_jax.video.io.types import VideoInfo, number_frames
from msst_jax.video.io.writer import check_video_output, video_writer
from msst_jax.video.mask_sources import open_masks
from msst_jax.video.optimization import FrameOptimization, optimization_stylizer
from msst_jax.video.resume import ChunkPlan, ResumeFolder, resume_path, segment_length
from msst_jax.video.streaming import FrameStylizer, VideoStats, stream_video
from msst_jax.video.temporal_masks import build_mask_spec

MIN_SHARE = 1e-4  # share of all frames below which a region was not found


class VideoStylizer(NamedTuple):
    """What paints a clip.

    Attributes:
      painter: paints batches.
      batch: frames of a batch.
      regions: with their styles.
      segmenter: None if all masks were given.
      weights: file of the network that paints, or of that of the losses.
      model: for the JSON: name and training of a fast model.
    """

    painter: FrameStylizer
    batch: int
    regions: tuple[Region, ...]
    segmenter: Segmenter | None
    weights: Path
    model: dict[str, Any]


def run(config: ConfigDict, job: Job) -> int:
    """Paints a clip and writes its JSON; returns the exit code.

    Raises:
      UserError: bad input. What was made before something failed is kept, see `resume_path`.
    """
    started = time.perf_counter()
    assert job.clip is not None
    _check(config, job)
    clip = open_video(job.photo, job.clip.rate)
    size = frame_size(clip.info, config, job.output)
    masks = open_masks(job.masks, clip.info, size)
    with _progress(clip.info, job.quiet) as (bar, note), interrupt_event() as stop:
        studio = _build_stylizer(config, job, clip.info, size, stop, note)
        source = batch_frames(number_frames(clip.frames(), clip.info.rate), masks, size, studio.batch)
        parts = _open_resume_folder(config, job, clip.info, studio)
        if job.clip.resume and not parts.batches:
            logging.warning("there is nothing in %s to go on with: begins anew", parts.folder)
        try:
            tally = _write_video(job, clip.info, size, source, studio.painter, parts, stop, bar)
        except BaseException:
            parts.forget_if_nothing_is_kept()
            if parts.batches:
                logging.warning("what was made is kept in %s; go on with --resume", parts.folder)
            raise
    if tally.interrupted:
        if parts.batches:
            kept = min(parts.batches * parts.plan.batch, clip.info.frames or sys.maxsize)
            logging.warning("interrupted: %d frames are kept in %s; go on with --resume", kept, parts.folder)
        else:
            parts.forget_if_nothing_is_kept()
            logging.warning("interrupted: no frame was complete, nothing is kept")
        return EXIT_INTERRUPTED
    write_json(_sidecar(config, job, clip.info, size, studio, tally, started), job.output.with_suffix(".json"))
    parts.remove()
    for region, share in zip(studio.regions, tally.shares, strict=True):
        if share < MIN_SHARE:
            logging.warning("region %r is in none of the frames", region.name)
    logging.info("wrote %s: %d frames", job.output, tally.frames)
    return 0


def _check(config: ConfigDict, job: Job) -> None:
    """Raises UserError for what can be known before the clip is opened."""
    assert job.clip is not None
    if job.compare:
        raise UserError("--compare makes a sheet of one photo; leave it out, or give a photo")
    for ratio in job.clip.schedule.ratios:
        check_number("blend ratio times config.style_weight", ratio * config.style_weight)
    inputs = [job.photo, *job.styles.values(), *job.masks.values()]
    check_video_output(job.output, job.clip.crf)
    check_outputs(job.output, [job.output.with_suffix(".json")], inputs)
    if job.output.resolve() in {Path(file).resolve() for file in inputs}:
        raise UserError(f"the output {job.output} would overwrite an input; choose another name with -o")


def frame_size(clip: VideoInfo, config: ConfigDict, output: Path) -> Size:
    """(width, height) of the frames: the clip's own, or what the config asks for.

    Where the size changes anyway, an .mp4 gets even sides, which all players show.

    Raises:
      UserError: too small or too large.
    """
    own = (clip.width, clip.height)
    try:
        size = fit_size(*own, config.size, config.square)
    except UserError as error:
        raise UserError(f"clip {clip.path}: {error}") from None
    if size == own or output.suffix.lower() != ".mp4":
        return size
    width, height = (side - side % 2 for side in size)
    return width, height


@contextmanager
def _progress(clip: VideoInfo, quiet: bool) -> Any:
    """A bar that counts frames, and what tells it how far the frame at hand is."""
    hidden = quiet or not sys.stderr.isatty()
    with tqdm(total=clip.frames, desc="stylize", unit="frame", disable=hidden, dynamic_ncols=True) as bar:

        def note(evaluation: int, loss: float) -> None:
            bar.set_postfix_str(f"evaluation {evaluation}, loss {loss:.4g}")

        yield bar, note


def _build_stylizer(
    config: ConfigDict,
    job: Job,
    clip: VideoInfo,
    size: Size,
    stop: threading.Event,
    note: Callable[[int, float], None],
) -> VideoStylizer:
    assert job.clip is not None
    given = list(job.masks)
    if job.model:
        model = load_feedforward(job.model, compute_dtype(config.dtype))
        check_model(job, model)
        segmenter = segmenter_for(config, job, model)
        layout = build_mask_spec(config, model.regions, given, segmenter, size)
        painter, batch = feedforward_stylizer(config, model, segmenter, layout, job.clip.schedule)
        regions = model_regions(model, given)
        return VideoStylizer(
            painter, batch, regions, segmenter, model.path, {"name": job.model, "training": model.training}
        )
    _check_styles(job)
    missing = [name for name in job.styles if name not in job.masks and name != BACKGROUND]
    region_classes(missing)
    loaded = load_styles(config, job.styles, job.masks, size)
    vgg, weights = load_loss_network(config)
    segmenter = load_segmenter(config.segmenter, missing) if missing else None
    layout = build_mask_spec(config, [*job.styles], given, segmenter, size)
    work = FrameOptimization(config, vgg, loaded, job.clip.schedule, job.seed, stop, note)
    painter = optimization_stylizer(work, segmenter, layout)
    return VideoStylizer(painter, 1, tuple(loaded), segmenter, weights, {})


def _check_styles(job: Job) -> None:
    if BACKGROUND not in job.styles:
        found = f"found {', '.join(job.styles)}" if job.styles else "found none"
        raise UserError(f"a clip needs --style {BACKGROUND}=FILE, and one for each other region, or --model; {found}")
    for name in job.masks:
        if name not in job.styles:
            raise UserError(f"region {name!r} has a mask but no style; add --style {name}=FILE or drop its --mask")
        if name == BACKGROUND:
            raise UserError(f"--mask {name}: the background of a clip is what no other region claims; leave it out")


def _open_resume_folder(config: ConfigDict, job: Job, clip: VideoInfo, studio: VideoStylizer) -> ResumeFolder:
    """What an earlier run left, if any."""
    assert job.clip is not None
    segment = segment_length(studio.batch, clip.rate) if job.output.suffix.lower() in CONTAINER_FORMATS else 0
    made_by = {
        "clip": _fingerprint(job.photo),
        "rate of frames": str(clip.rate),
        "model or weights": hashlib.sha256(studio.weights.read_bytes()).hexdigest(),
        "segmenter": studio.segmenter.record() if studio.segmenter else None,
        "styles": {name: _fingerprint(file) for name, file in job.styles.items()},
        "masks": {name: _fingerprint(file) for name, file in job.masks.items()},
        "blend": job.clip.schedule._asdict(),
        "quality": job.clip.crf,
        "seed": job.seed,
        **{f"config.{name}": value for name, value in config.to_dict().items()},
        **environment(),
    }
    return ResumeFolder(resume_path(job.output), ChunkPlan(studio.batch, segment), made_by, resume=job.clip.resume)


def _fingerprint(file: str) -> list[Any]:
    """What tells whether a file, or a picture of a folder, is still the same."""
    path = Path(file).expanduser()
    files = list_frames(path) if path.is_dir() else [path]
    try:
        return [[one.name, one.stat().st_size, one.stat().st_mtime_ns] for one in files]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); remove it, or give another") from error


def _write_video(
    job: Job,
    clip: VideoInfo,
    size: Size,
    source: Iterable[FrameBatch],
    painter: FrameStylizer,
    parts: ResumeFolder,
    stop: threading.Event,
    bar: tqdm,
) -> VideoStats:
    """Writes the clip; if it is interrupted, nothing appears under its name."""
    assert job.clip is not None
    segments = SegmentOptions(parts.plan.segment or sys.maxsize, parts.add_segment, parts.folder)
    try:
        with video_writer(job.output, clip, *size, crf=job.clip.crf, segments=segments) as writer:
            tally = stream_video(source, painter, writer, parts, stop, bar.update)
            if tally.interrupted:
                raise _Interrupted(tally)
            duration = clip.duration
            writer.sound_ends_with_frames = duration is not None and duration - tally.end > 2 / clip.rate
    except _Interrupted as interrupted:
        return interrupted.tally
    return tally


class _Interrupted(Exception):
    """Leaves the writer, which then writes nothing."""

    def __init__(self, tally: VideoStats):
        super().__init__()
        self.tally = tally


def _sidecar(
    config: ConfigDict, job: Job, clip: VideoInfo, size: Size, studio: VideoStylizer, tally: VideoStats, started: float
) -> dict[str, Any]:
    assert job.clip is not None
    made = config.copy_and_resolve_references()
    made.update(
        photo=job.photo,
        styles=tuple(f"{name}={file}" for name, file in job.styles.items()),
        masks=tuple(f"{name}={file}" for name, file in job.masks.items()),
    )
    width, height = size
    seconds = time.perf_counter() - started
    return {
        "clip": {
            "frames": tally.frames,
            "rate": str(clip.rate),
            "duration": float(tally.end),
            "sounds": [sound.codec for sound in clip.audio_streams],
        },
        "blend": job.clip.schedule._asdict(),
        **build_sidecar(
            config=made,
            inputs=PhotoInputs(np.empty((height, width, 0), np.float32), tally.shares[None, None], studio.regions),
            weights=studio.weights,
            seed=job.seed,
            seconds={"total": seconds},
            photo=job.photo,
            masks=dict(job.masks),
            segmenter=studio.segmenter.record() if studio.segmenter else None,
            model=studio.model or None,
        ),
    }
