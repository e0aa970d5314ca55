"""Stylizes videos, files to files."""

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

from msst_jax.api.pictures import given_path
from msst_jax.api.presets import PresetLike, build_config, check_inert, positive_integer
from msst_jax.api.styles import check_styles, take_style_mix
from msst_jax.api.stylize import MAX_SEED
from msst_jax.api.wording import in_callers_words
from msst_jax.errors import UserError
from msst_jax.models.feedforward_model import is_for_any_painting
from msst_jax.pipelines.job import VideoJob
from msst_jax.pipelines.run import run_job
from msst_jax.presets.applicability import Run
from msst_jax.regions.masks import all_masked
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.transfer.style_mix import WeightedFile, format_style_mix
from msst_jax.video.blend_schedule import BlendSchedule, parse_blend_schedule
from msst_jax.video.io.frame_folder import DEFAULT_RATE
from msst_jax.video.io.types import MAX_RATE, Part

PathLike: TypeAlias = str | os.PathLike[str]
VideoStyle: TypeAlias = PathLike | Mapping[str, float] | Sequence[PathLike] | Sequence[tuple[PathLike, float]]


def stylize_video(
    video: PathLike,
    output: PathLike,
    styles: Mapping[str, VideoStyle] | None = None,
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
    seed: int = 0,
    quiet: bool = True,
    **overrides: Any,
) -> Path:
    """Stylizes a video, or a folder of frames, and writes it with its audio and a JSON of the run beside it.

    Videos are long, so this one takes and writes files. A run that fails or is interrupted (Ctrl-C) keeps the finished
    frames; `resume=True` goes on from there.

    Args:
      video: .mp4, .mov, .mkv, .webm, .gif, ..., or a folder of frames.
      output: a video file, or a folder of frames.
      styles: {region: style} as in `stylize`, of paths, with "background"; None with a `model` that has its own.
      masks: {region: a mask file, a video or a folder of masks}; regions without one are segmented.
      model: "builtin", "any", a workdir of train.py or a weights file; None = every frame is optimized.
      blend: the blend ratio, or {seconds: ratio} over time; None = that of the preset, or 0 with `model`.
      size: longest side of the frames in pixels, 0 = as they are; None = that of the preset.
      preset: as in `stylize`; None = "photo", or "video" with `model`.
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
    with in_callers_words():
        named = {"size": size, "steps": steps, **({"blend_ratio": 0.0} if model is not None else {})}
        given = {name: value for name, value in named.items() if value is not None}
        chosen = preset if preset is not None else "photo" if model is None else "video"
        config = build_config(chosen, {**given, **overrides}, "stylize_video")
        files = {} if styles is None and model is not None else _style_files(styles)
        job = VideoJob(
            video=str(given_path(video, "video")),
            styles=files,
            masks={name: str(given_path(file, f"masks[{name!r}]")) for name, file in (masks or {}).items()},
            output=given_path(output, "output"),
            blend=_schedule(config.blend_ratio if blend is None else blend),
            seed=positive_integer(seed, "seed", 0, MAX_SEED),
            quiet=quiet,
            model="" if model is None else str(given_path(model, "model")),
            crf=quality,
            rate=_rate(rate),
            resume=resume,
            part=_part(start, end),
        )
        masked = all_masked(files, job.masks)
        check_inert(_kind(job.model), overrides, config, masked=masked)
        if run_job(config, job) == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
    return job.output


def _kind(model: str) -> Run:
    if not model:
        return Run.VIDEO
    return Run.VIDEO_ANY if is_for_any_painting(model) else Run.VIDEO_MODEL


def _style_files(styles: Any) -> dict[str, str]:
    """{region: its paintings as `parse_style_mix` reads them}; those of a video are files."""
    files = {}
    for name, value in check_styles(styles).items():
        mix = take_style_mix(value, name)
        for painting, _ in mix:
            if not isinstance(painting, str | os.PathLike):
                kind = type(painting).__name__
                raise UserError(f"styles[{name!r}] is of the type {kind}; of a video give a path: see write_image")
        what = f"styles[{name!r}]"
        files[name] = format_style_mix(tuple(WeightedFile(str(given_path(file, what)), weight) for file, weight in mix))
    return files


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
