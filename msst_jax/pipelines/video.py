"""Stylizes a video or a folder of frames, files to files; keeps finished batches so that a run can be resumed."""

import hashlib
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.io.files import check_outputs, write_json
from msst_jax.io.fingerprint import Fingerprint, file_fingerprint, fingerprint, relative_names
from msst_jax.io.images import fit_size
from msst_jax.models.precision import compute_dtype
from msst_jax.models.serialization import weights_path
from msst_jax.pipelines.job import VideoJob, recorded_config, recorded_imports
from msst_jax.pipelines.model_inputs import check_model_masks, load_model_segmenter
from msst_jax.presets.validation import STARTS, check_blend
from msst_jax.regions.masks import BACKGROUND, MaskSpec
from msst_jax.regions.region_names import region_classes
from msst_jax.regions.segmenter import AnySegmenter, Size, load_segmenter, segmenter_classes
from msst_jax.report.sidecar import build_sidecar, environment
from msst_jax.runtime.devices import chosen_devices
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED, interrupt_event
from msst_jax.runtime.progress import Progress
from msst_jax.transfer.build import build_options
from msst_jax.transfer.fast_model import open_model
from msst_jax.transfer.feedforward import model_regions
from msst_jax.transfer.inputs import PhotoInputs, Region, load_styles
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.options import InputOptions, StylizationOptions
from msst_jax.transfer.style_mix import StyleMix, check_background_style, painting_files, parse_style_mix, shares
from msst_jax.video.batching import FrameBatch, batch_frames
from msst_jax.video.feedforward import feedforward_stylizer
from msst_jax.video.io.formats import CONTAINER_FORMATS, pixel_format
from msst_jax.video.io.frame_folder import list_frames
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.segments import SegmentOptions
from msst_jax.video.io.types import WHOLE, VideoInfo, number_frames
from msst_jax.video.io.writer import check_video_output, video_writer
from msst_jax.video.mask_sources import open_masks
from msst_jax.video.optimization import FrameOptimization, optimization_stylizer
from msst_jax.video.resume import ChunkPlan, ResumeFolder, resume_path, segment_length
from msst_jax.video.resume_identity import SEGMENTER_WEIGHTS, recorded_batch
from msst_jax.video.streaming import FrameStylizer, VideoStats, stream_video
from msst_jax.video.temporal_masks import build_mask_spec

PATH_FIELDS = ("photo", "styles", "masks", "segmenter")  # what they name counts by its content
PHOTO_FIELDS = ("points",)
MIN_FRACTION = 1e-4  # mean area fraction below which a region counts as absent


class VideoStylizer(NamedTuple):
    """All that turns the frames of one video into stylized ones.

    Attributes:
      frames: stylizes batches of frames.
      batch: frames of a batch.
      devices: that share a batch.
      regions: with their styles.
      segmenter: None if all masks are given.
      weights: file of the feed-forward network, or of that of the losses.
      model: for the sidecar: name and training of a feed-forward model; empty without one.
    """

    frames: FrameStylizer
    batch: int
    devices: int
    regions: tuple[Region, ...]
    segmenter: AnySegmenter | None
    weights: Path
    model: dict[str, Any]


def run(config: ConfigDict, job: VideoJob) -> int:
    """Stylizes a video and writes it with its JSON; returns the exit code.

    Raises:
      UserError: bad input, or another run is at work in the resume folder. Batches that were finished before a failure
        are kept, see `resume_path`.
    """
    with ExitStack() as held:
        return _run(config, job, held)


def _run(config: ConfigDict, job: VideoJob, held: ExitStack) -> int:
    started = time.perf_counter()
    _check(config, job)
    options = build_options(config)
    video = open_video(job.video, job.rate, job.part)
    size = frame_size(video.info, options.inputs, job.output)
    masks = open_masks(job.masks, video.info, size)
    with (
        Progress("stylize", "frame", video.info.frames, quiet=job.quiet) as progress,
        interrupt_event() as stop,
    ):
        stylizer = (
            _build_feedforward(options, job, size, video.info.frames)
            if job.model
            else _build_optimization(options, job, size, stop, progress)
        )
        numbered = number_frames(video.frames(), video.info.rate, video.info.first_number)
        source = batch_frames(numbered, masks, size, stylizer.batch)
        kept = held.enter_context(_open_resume_folder(config, job, video.info, stylizer))
        if job.resume and not kept.batches:
            logging.warning("there is nothing to resume in %s: starting again", kept.folder)
        try:
            stats = _write_video(job, video.info, size, source, stylizer.frames, kept, stop, progress)
        except BaseException:
            kept.drop_waiting()
            kept.remove_if_empty()
            if kept.batches:
                logging.warning("finished frames are kept in %s; continue with --resume", kept.folder)
            raise
    if stats.interrupted:
        _warn_of_interruption(video.info, kept)
        return EXIT_INTERRUPTED
    write_json(_sidecar(config, job, video.info, size, stylizer, stats, started), job.output.with_suffix(".json"))
    kept.remove()
    for region, fraction in zip(stylizer.regions, stats.fractions, strict=True):
        if fraction < MIN_FRACTION:
            logging.warning("region %r is in none of the frames", region.name)
    logging.info("wrote %s: %d frames", job.output, stats.frames)
    return 0


def _check(config: ConfigDict, job: VideoJob) -> None:
    """Raises UserError for everything that can be known before the video is opened."""
    if config.init not in STARTS and not job.model:
        raise UserError(
            f"config.init is the picture {config.init}, and a video starts from its frames; give --config.init=content"
        )
    if job.model:
        chosen_devices(config.devices)
    for ratio in job.blend.ratios:
        check_blend(config, ratio)
    inputs = [job.video, *painting_files(job.styles), *job.masks.values()]
    check_video_output(job.output, job.crf)
    check_outputs(job.output, [job.output.with_suffix(".json")], inputs)
    if job.output.resolve() in {Path(file).resolve() for file in inputs}:
        raise UserError(f"the output {job.output} would overwrite an input; choose another name with -o")


def frame_size(video: VideoInfo, options: InputOptions, output: Path) -> Size:
    """(width, height) of the frames: the video's own, or as the options say.

    Where the size changes anyway, H.264 gets even sides, which all players show.

    Raises:
      UserError: too small or too large.
    """
    own = (video.width, video.height)
    try:
        size = fit_size(*own, options.size, options.square)
    except UserError as error:
        raise UserError(f"video {video.path}: {error}") from None
    container_format = CONTAINER_FORMATS.get(output.suffix.lower())
    if size == own or container_format is None or pixel_format(container_format, size) == "yuv420p":
        return size
    width, height = (side - side % 2 for side in size)
    return width, height


def _build_feedforward(options: StylizationOptions, job: VideoJob, size: Size, count: int | None) -> VideoStylizer:
    dtype, stroke_size = compute_dtype(options.network.dtype), options.inputs.stroke_size
    model = open_model(job.model, job.styles, dtype, stroke_size=stroke_size)
    check_model_masks(job.model, model, job.masks)
    masks = MaskSpec(model.regions, tuple(job.masks), options.inputs.masks)
    segmenter = load_model_segmenter(job.model, masks, options.inputs.segmenter)
    spec = build_mask_spec(masks, segmenter, size, options.temporal.mask_smoothing)
    earlier = recorded_batch(resume_path(job.output)) if job.resume else None  # as large, whatever memory is free now
    devices = chosen_devices(options.devices)
    frames, batch = feedforward_stylizer(options.temporal, model, segmenter, spec, job.blend, earlier, devices, count)
    record = {"name": job.model, "training": model.training}
    return VideoStylizer(frames, batch, len(devices), model_regions(model, masks), segmenter, model.path, record)


def _build_optimization(
    options: StylizationOptions, job: VideoJob, size: Size, stop: threading.Event, progress: Progress
) -> VideoStylizer:
    _check_styles(job)
    masks = MaskSpec(tuple(job.styles), tuple(job.masks), options.inputs.masks)
    region_classes(masks.missing, segmenter_classes(options.inputs.segmenter))
    regions = load_styles(options, job.styles, masks, size)
    vgg, weights = load_loss_network(options.network)
    segmenter = load_segmenter(options.inputs.segmenter, masks.missing) if masks.missing else None
    spec = build_mask_spec(masks, segmenter, size, options.temporal.mask_smoothing)

    def note(evaluation: int, loss: float) -> None:
        progress.note(f"evaluation {evaluation}, loss {loss:.4g}")

    work = FrameOptimization(options, vgg, regions, job.blend, job.seed, stop, note, progress.announce)
    return VideoStylizer(optimization_stylizer(work, segmenter, spec), 1, 1, tuple(regions), segmenter, weights, {})


def _check_styles(job: VideoJob) -> None:
    check_background_style(job.styles, "a video", ", or --model")
    for name in job.masks:
        if name not in job.styles:
            raise UserError(f"region {name!r} has a mask but no style; add --style {name}=FILE or drop its --mask")
        if name == BACKGROUND:
            raise UserError(f"--mask {name}: the background of a video is what no other region claims; leave it out")


def _open_resume_folder(config: ConfigDict, job: VideoJob, video: VideoInfo, stylizer: VideoStylizer) -> ResumeFolder:
    """The folder of finished batches, with those of an earlier run if it was the same."""
    segment = segment_length(stylizer.batch, video.rate) if job.output.suffix.lower() in CONTAINER_FORMATS else 0
    named = weights_path(config.segmenter, "--segmenter") if config.segmenter else None
    mixes = {name: parse_style_mix(text, f"style of {name}") for name, text in job.styles.items()}
    identity = {  # the keys are those of folders that earlier versions wrote
        "clip": _fingerprint(job.video),
        "rate of frames": str(video.rate),
        "part": None if job.part == WHOLE else [str(side) for side in job.part],
        "model or weights": hashlib.sha256(stylizer.weights.read_bytes()).hexdigest(),
        "segmenter": stylizer.segmenter.record() if stylizer.segmenter else None,
        **({SEGMENTER_WEIGHTS: file_fingerprint(named)} if named and named.is_file() else {}),
        "styles": {name: _style_fingerprint(mix) for name, mix in mixes.items()},
        **{
            f"share of the paintings of {name}": shares([painting.weight for painting in mix])
            for name, mix in mixes.items()
            if len(mix) > 1
        },
        "masks": {name: _fingerprint(file) for name, file in job.masks.items()},
        "blend": job.blend._asdict(),
        "quality": job.crf,
        "seed": job.seed,
        **{
            f"config.{name}": value
            for name, value in config.to_dict().items()
            if name not in (*PATH_FIELDS, *PHOTO_FIELDS)
        },
        "config.devices": stylizer.devices,  # as many as there are, if it is 0
        **environment(),
    }
    return ResumeFolder(resume_path(job.output), ChunkPlan(stylizer.batch, segment), identity, resume=job.resume)


def _fingerprint(file: str) -> Fingerprint:
    """Of a file, whatever its name, or of the frames of a folder, wherever it lies."""
    path = Path(file).expanduser()
    return fingerprint(relative_names([(path, list_frames(path))])) if path.is_dir() else file_fingerprint(path)


def _style_fingerprint(mix: StyleMix) -> Fingerprint:
    """Of the paintings of a region in their order, whatever the names of the files; empty if there is none."""
    if len(mix) == 1:
        return file_fingerprint(mix[0].file)
    return fingerprint({f"painting {number}": Path(file).expanduser() for number, (file, _) in enumerate(mix, start=1)})


def _write_video(
    job: VideoJob,
    video: VideoInfo,
    size: Size,
    source: Iterable[FrameBatch],
    stylizer: FrameStylizer,
    kept: ResumeFolder,
    stop: threading.Event,
    progress: Progress,
) -> VideoStats:
    """Writes the video; if it is interrupted, nothing appears under its name."""
    segments = SegmentOptions(kept.plan.segment or sys.maxsize, kept.add_segment, kept.folder)
    try:
        with video_writer(job.output, video, *size, crf=job.crf, segments=segments) as writer:
            stats = stream_video(source, stylizer, writer, kept, stop, progress.advance)
            if stats.interrupted:
                raise _Interrupted(stats)
            duration = video.duration
            writer.trim_audio_to_frames = duration is not None and duration - stats.end > 2 / video.rate
    except _Interrupted as interrupted:
        return interrupted.stats
    return stats


class _Interrupted(Exception):
    """Leaves the writer, which then writes nothing."""

    def __init__(self, stats: VideoStats):
        super().__init__()
        self.stats = stats


def _warn_of_interruption(video: VideoInfo, kept: ResumeFolder) -> None:
    if kept.batches:
        frames = min(kept.batches * kept.plan.batch, video.frames or sys.maxsize)
        logging.warning("interrupted: %d frames are kept in %s; continue with --resume", frames, kept.folder)
    else:
        kept.remove_if_empty()
        logging.warning("interrupted: no frame was complete, nothing is kept")


def _sidecar(
    config: ConfigDict,
    job: VideoJob,
    video: VideoInfo,
    size: Size,
    stylizer: VideoStylizer,
    stats: VideoStats,
    started: float,
) -> dict[str, Any]:
    width, height = size
    seconds = time.perf_counter() - started
    regions = _named_paintings(stylizer.regions, job.names)
    styles = {region.name: region.style for region in regions} if job.names else job.styles
    return {
        "clip": {
            "frames": stats.frames,
            "rate": str(video.rate),
            "duration": float(stats.end),
            "sounds": [audio.codec for audio in video.audio_streams],
            **({} if job.part == WHOLE else {"part": [None if side is None else float(side) for side in job.part]}),
        },
        "blend": job.blend._asdict(),
        **build_sidecar(
            config=recorded_config(config, job.video, styles, job.masks),
            inputs=PhotoInputs(np.empty((height, width, 0), np.float32), stats.fractions[None, None], regions),
            weights=stylizer.weights,
            seed=job.seed,
            seconds={"total": seconds},
            photo=job.video,
            masks=dict(job.masks),
            segmenter=stylizer.segmenter.record() if stylizer.segmenter else None,
            model=stylizer.model or None,
            **_recorded_flags(job),
            **recorded_imports(job.imports),
        ),
    }


def _named_paintings(regions: Sequence[Region], names: Mapping[str, str]) -> tuple[Region, ...]:
    """The regions with the names of their paintings, see `VideoJob.names`, in place of the files."""
    return tuple(
        region._replace(
            paintings=tuple(each._replace(file=names.get(each.file, each.file)) for each in region.paintings)
        )
        for region in regions
    )


def _recorded_flags(job: VideoJob) -> dict[str, Any]:
    """The part of the sidecar that holds the flags which no other part does; nothing for the default.

    The rate of a folder is always there: it is what makes the folder a video.
    """
    sides = {"start": job.part.start or None, "end": job.part.end}
    flags = {
        **{name: _decimal(seconds) for name, seconds in sides.items() if seconds is not None},
        **({"rate": str(job.rate)} if Path(job.video).is_dir() else {}),
        **({} if job.crf is None else {"quality": job.crf, "ending": job.output.suffix.lower()}),
    }
    return {"flags": flags} if flags else {}


def _decimal(number: Fraction) -> str:
    """As it was typed: rounded to fewer digits, it could choose another frame."""
    return f"{Decimal(number.numerator) / number.denominator:f}"
