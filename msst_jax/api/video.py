"""Stylizes videos, files to files."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

from msst_jax.api.pictures import given_path
from msst_jax.api.presets import (
    PresetLike,
    build_config,
    check_inert,
    positive_integer,
    read_preset,
    recorded_blend,
)
from msst_jax.api.style_files import NO_STYLES, style_files
from msst_jax.api.styles import StyleLike
from msst_jax.api.stylize import MAX_SEED
from msst_jax.api.wording import in_callers_words
from msst_jax.errors import UserError
from msst_jax.models.feedforward_model import is_for_any_painting
from msst_jax.pipelines.job import VideoJob
from msst_jax.pipelines.run import run_job
from msst_jax.presets.applicability import Run
from msst_jax.regions.masks import all_masked
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.transfer.kept import kept_regions
from msst_jax.video.blend_schedule import BlendSchedule, parse_blend_schedule
from msst_jax.video.io.frame_folder import DEFAULT_RATE
from msst_jax.video.io.types import MAX_RATE, Part

PathLike: TypeAlias = str | os.PathLike[str]


def stylize_video(
    video: PathLike,
    output: PathLike,
    styles: Mapping[str, StyleLike] | None = None,
    masks: Mapping[str, PathLike] | None = None,
    *,
    model: PathLike | None = None,
    blend: float | Mapping[float, float] | None = None,
    size: int | None = None,
    preset: PresetLike | None = None,
    steps: int | None = None,
    start: float | None = None,
    end: float | None = None,
    rate: float | Fraction | None = None,
    quality: int | None = None,
    resume: bool = False,
    seed: int | None = None,
    quiet: bool = True,
    **overrides: Any,
) -> Path:
    """Stylizes a video, or a folder of frames, and writes it with its audio and a JSON of the run beside it.

    Videos are long, so this one takes and writes files. A run that fails or is interrupted (Ctrl-C) keeps the finished
    frames; `resume=True` goes on from there.

    Args:
      video: .mp4, .mov, .mkv, .webm, .gif, ..., or a folder of frames.
      output: a video file, or a folder of frames.
      styles: {region: style}, with "background": arrays (H, W, 3) in [0, 1] and all that `stylize` takes; None with a
        `model` that has its own. The JSON calls what is no file "array" or "picture".
      masks: {region: a mask file, a video or a folder of masks}; regions without one are segmented.
      model: as in `load_stylizer`; None = every frame is optimized.
      blend: the blend ratio, or {seconds: ratio} over time; None = that of the preset, or 0 with `model`.
      size: longest side of the frames in pixels, 0 = as they are; None = that of the preset.
      preset: as in `stylize`; None = "photo", or "video" with `model`. Of a JSON, what `model`, `rate`, `quality`,
        `start` and `end` say is not used either, but its blend is, over time.
      steps: evaluations of the first frame (`next_steps` of the others); None = those of the preset.
      start: seconds; None = the beginning.
      end: seconds; None = the end.
      rate: frames a second of a folder of frames; None = 25.
      quality: of H.264 (1 to 51, default 18) and .webm (0 to 63, default 24); lower is better.
      resume: continue an interrupted run.
      seed: as in `stylize`.
      quiet: no progress bar.
      **overrides: fields of configs/photo.py.

    Returns:
      The path of what was written.

    Raises:
      UserError: (a ValueError) an argument or a file that cannot be used.
      KeyboardInterrupt: Ctrl-C.
    """
    own = styles is None and model is not None
    with in_callers_words(), nullcontext(NO_STYLES) if own else style_files(styles) as paintings:
        chosen = read_preset(preset if preset is not None else "photo" if model is None else "video")
        recorded = recorded_blend(chosen, blend, overrides, video=True)
        named = {"size": size, "steps": steps, **({"blend_ratio": 0.0} if model is not None else {})}
        given = {name: value for name, value in named.items() if value is not None}
        config = build_config(chosen, {**given, **overrides}, "stylize_video")
        job = VideoJob(
            video=str(given_path(video, "video")),
            styles=paintings.styles,
            masks={name: str(given_path(file, f"masks[{name!r}]")) for name, file in (masks or {}).items()},
            output=given_path(output, "output"),
            blend=recorded or _schedule(config.blend_ratio if blend is None else blend),
            seed=positive_integer(chosen.seed if seed is None else seed, "seed", 0, MAX_SEED),
            quiet=quiet,
            model="" if model is None else str(given_path(model, "model")),
            crf=quality,
            rate=_rate(rate),
            resume=resume,
            part=_part(start, end),
            names=paintings.names,
        )
        masked, kind = all_masked(job.styles, job.masks), _kind(job.model)
        check_inert(kind, overrides, config, masked=masked, kept=kept_regions(job.styles))
        if run_job(config, job) == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
    return job.output


def _kind(model: str) -> Run:
    if not model:
        return Run.VIDEO
    return Run.VIDEO_ANY if is_for_any_painting(model) else Run.VIDEO_MODEL


def _schedule(blend: Any) -> BlendSchedule:
    if isinstance(blend, Mapping) and blend:
        return parse_blend_schedule(
            ",".join(f"{float(seconds)!r}:{float(ratio)!r}" for seconds, ratio in blend.items())
        )
    if not isinstance(blend, Real):
        raise UserError(f"blend is {blend!r}; give a number, or {{seconds: ratio}}")
    return parse_blend_schedule(repr(float(blend)))


def _rate(rate: float | Fraction | None) -> Fraction:
    if rate is None:
        return DEFAULT_RATE
    if not isinstance(rate, Real) or not 0 < rate <= MAX_RATE:
        raise UserError(f"rate is {rate!r}; give frames per second, above 0 and up to {MAX_RATE}")
    return Fraction(str(rate)) if isinstance(rate, float) else Fraction(rate)


def _part(start: float | None, end: float | None) -> Part:
    for name, value in (("start", start), ("end", end)):
        if value is not None and (not isinstance(value, Real) or value < 0):
            raise UserError(f"{name} is {value!r}; give seconds")
    part = Part(Fraction(str(start or 0)), None if end is None else Fraction(str(end)))
    if part.end is not None and part.end <= part.start:
        raise UserError(f"end {end} is not after start {start or 0}; give a later end")
    return part
