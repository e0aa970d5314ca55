"""From the flags of stylize.py to a job."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging
from ml_collections import ConfigDict

from msst_jax.cli.flag_values import parse_blend_ratios, parse_frame_rate, parse_part, parse_points
from msst_jax.cli.flags import parse_region_files
from msst_jax.cli.region_styles import parse_region_styles
from msst_jax.errors import UserError
from msst_jax.io.paths import STANDARD_STREAM, user_path
from msst_jax.io.picture_formats import IMAGE_SUFFIXES
from msst_jax.io.remote import input_path
from msst_jax.io.write_options import OUTPUT_SUFFIXES, WriteOptions
from msst_jax.models.feedforward_model import is_for_any_painting
from msst_jax.models.serialization import weights_input
from msst_jax.pipelines.job import Job, MasksJob, PhotoJob, VideoJob
from msst_jax.presets.applicability import VIDEOS, Run
from msst_jax.presets.sweep import parse_sweep
from msst_jax.presets.validation import STARTS
from msst_jax.transfer.style_mix import painting_files
from msst_jax.video.blend_schedule import parse_blend_schedule
from msst_jax.video.io.animation import count_frames
from msst_jax.video.io.formats import VIDEO_OUTPUT_SUFFIXES, VIDEO_SUFFIXES


class StylizeFlags(NamedTuple):
    """The flags of stylize.py as typed, see cli/stylize.py. None = not given."""

    style: Sequence[str] = ()
    mask: Sequence[str] = ()
    point: Sequence[str] = ()
    output: str | None = None
    blend: str | None = None
    seed: int = 0
    init: str | None = None
    stroke_size: float | None = None
    keep_colours: str | None = None
    segmenter: str | None = None
    regions_only: bool = False
    compare: bool = False
    preview_every: int | None = None
    sweep: Sequence[str] = ()
    model: str = ""
    quality: int | None = None
    rate: str | None = None
    subsampling: str | None = None
    metadata: str = "keep"
    start: str | None = None
    end: str | None = None
    resume: bool = False
    deterministic: bool = False
    quiet: bool = False


def resolve_paths(flags: StylizeFlags, photos: Sequence[str]) -> tuple[StylizeFlags, list[str]]:
    """The flags and positional arguments, their paths resolved by `input_path`, but for those of pairs NAME=FILE.

    Raises:
      UserError: a path that cannot be used.
    """
    resolved = flags._replace(
        output=None if flags.output is None else str(user_path(flags.output, "--output", stream=True)),
        segmenter=str(weights_input(flags.segmenter, "--segmenter")) if flags.segmenter else flags.segmenter,
        init=None if flags.init is None else str(input_path(flags.init, "--init", words=STARTS)),
        model=str(weights_input(flags.model, "--model")) if flags.model else "",
    )
    if "" in photos:
        raise UserError("the photo is an empty text; give a path")
    return resolved, [str(input_path(photo, "photo", stream=True)) for photo in photos]


def build_job(flags: StylizeFlags, photos: Sequence[str], config: ConfigDict, run: Run) -> Job:
    """The job; what the command line does not say, the config does.

    Args:
      flags: as typed.
      photos: the positional arguments, or the photo of the config; see `check_flags`.
      config: see configs/photo.py.
      run: its kind.

    Raises:
      UserError: a flag that cannot be used.
    """
    photo = photos[0] if photos else config.photo
    video = bool(run & VIDEOS)
    if video and str(STANDARD_STREAM) in (photo, flags.output):
        raise UserError(f"{STANDARD_STREAM} is for photos; a video is read from a file, and written to one")
    blend = str(config.blend_ratio) if flags.blend is None else flags.blend
    styles = parse_region_styles(flags.style or config.styles)
    masks = parse_region_files(flags.mask or config.masks, "mask")
    output = default_output(photo, flags.regions_only, video) if flags.output is None else Path(flags.output)
    if video:
        return VideoJob(
            video=photo,
            styles=styles,
            masks=masks,
            output=output,
            blend=parse_blend_schedule(blend),
            seed=flags.seed,
            quiet=flags.quiet,
            model=flags.model,
            crf=flags.quality,
            rate=parse_frame_rate(flags.rate),
            resume=flags.resume,
            part=parse_part(flags.start, flags.end),
        )
    points = parse_points(flags.point or config.points)
    ratios = parse_blend_ratios(blend)
    if flags.sweep and len(ratios) > 1:
        raise UserError(
            f"--sweep takes one blend ratio, and --blend {blend} has {len(ratios)}; sweep blend_ratio instead"
        )
    if flags.regions_only:
        return MasksJob(photo, output, [*painting_files(styles), *masks.values()], styles, points)
    return PhotoJob(
        photo=photo,
        styles=styles,
        masks=masks,
        output=output,
        blend_ratios=ratios,
        seed=flags.seed,
        compare=flags.compare,
        quiet=flags.quiet,
        model=flags.model,
        writing=WriteOptions(flags.quality, flags.subsampling, keep_metadata=flags.metadata == "keep"),
        preview_every=flags.preview_every or 0,
        sweep=parse_sweep(flags.sweep, config),
        points=points,
    )


def kind_of_run(flags: StylizeFlags, photos: Sequence[str]) -> Run:
    """The kind of run that the flags and the photo ask for; without a photo, that of the bundled example."""
    if flags.regions_only:
        return Run.REGIONS
    video = bool(photos) and is_video_path(photos[0], flags.output, flags.rate)
    if flags.model:
        if is_for_any_painting(flags.model):
            return Run.VIDEO_ANY if video else Run.PHOTO_ANY
        return Run.VIDEO_MODEL if video else Run.PHOTO_MODEL
    return Run.VIDEO if video else Run.PHOTO


def placed_in(config: ConfigDict, field: str, photos: Sequence[str], typed: bool) -> tuple[str, ...]:
    """The masks or points of a config that go with a photo: all, unless they belong to the photo that the config names.

    Styles are for any photo, a mask only fits its own.

    Args:
      config: see configs/photo.py.
      field: "masks" or "points".
      photos: the positional arguments.
      typed: the field is on the command line, as the photo is.
    """
    own = not config.photo or not photos or os.path.realpath(photos[0]) == os.path.realpath(config.photo)
    if config[field] and not (own or typed):
        logging.info("the %s of the config are left out: they are of %s", field, config.photo)
        return ()
    return tuple(config[field])


def check_flags(flags: StylizeFlags, photos: Sequence[str]) -> Run:
    """Refuses flags that contradict each other, video flags without a video, and photo flags with one.

    Args:
      flags: as typed.
      photos: the positional arguments.

    Returns:
      The kind of run.

    Raises:
      UserError: names the flag.
    """
    if len(photos) > 1:
        raise UserError(f"one photo at a time, found {len(photos)}: {' '.join(photos)}")
    run = kind_of_run(flags, photos)
    if run & VIDEOS:
        _check_video_flags(flags, photos[0])
        return run
    if run == Run.REGIONS:
        _check_regions_flags(flags, photos)
    _check_photo_flags(flags)
    if photos:
        _check_picture(photos[0], flags.output)
    return run


def _check_regions_flags(flags: StylizeFlags, photos: Sequence[str]) -> None:
    if flags.mask:
        raise UserError(f"--regions-only takes no --mask, found {', '.join(flags.mask)}; leave it out")
    moving = bool(photos) and count_frames(photos[0]) is None and is_video_path(photos[0], flags.output, flags.rate)
    if moving or (photos and _is_video_file(photos[0])):
        raise UserError("--regions-only shows the regions of a photo; give a photo, or a frame of the video")
    if Path(flags.output or "").suffix.lower() in VIDEO_OUTPUT_SUFFIXES:
        raise UserError(
            f"--regions-only writes pictures, and {flags.output} is a video; give a picture, such as -o out.png"
        )


def _check_video_flags(flags: StylizeFlags, video: str) -> None:
    if flags.compare:
        raise UserError("--compare makes a sheet of one photo; leave it out, or give a photo")
    if flags.subsampling is not None or flags.metadata != "keep":
        flag = "--metadata" if flags.subsampling is None else "--subsampling"
        raise UserError(f"{flag} is for the stylized picture of a photo; leave it out, or give a photo")
    if flags.rate is not None and not Path(video).is_dir():
        raise UserError(f"--rate is for a folder of frames, and {video} has a rate of its own; leave it out")


def _check_photo_flags(flags: StylizeFlags) -> None:
    if flags.sweep and flags.compare:
        raise UserError("--sweep and --compare make a sheet each; leave one out")
    encoding = {"--quality": flags.quality, "--subsampling": flags.subsampling}
    if flags.regions_only and (unused := [flag for flag, value in encoding.items() if value is not None]):
        raise UserError(f"{unused[0]} is for stylized pictures and videos; leave it out with --regions-only")
    given = {
        "--resume": flags.resume,
        **{f"--{name}": getattr(flags, name) is not None for name in ("rate", "start", "end")},
    }
    for flag in (flag for flag, present in given.items() if present):
        raise UserError(f"{flag} is for videos; give a video file, or a folder of frames with -o out.mp4")


def _check_picture(photo: str, output: str | None) -> None:
    """Says that still pictures and videos do not become each other, and of an animation only one frame is taken."""
    frames, ending = count_frames(photo), Path(output or "").suffix.lower()
    if frames == 1 and ending in VIDEO_OUTPUT_SUFFIXES:
        raise UserError(f"{photo} is a still picture, and {output} a video; give a picture, such as -o out.png")
    if _is_video_file(photo):
        raise UserError(f"{photo} is a video, and {output} a picture; give a video, such as -o out.mp4")
    if frames and frames > 1:
        logging.warning("%s has %d frames: only the first is taken, since the output is a picture", photo, frames)


def _is_video_file(photo: str) -> bool:
    """Whether a file that Pillow does not open has the ending of a video, and of no picture."""
    ending = Path(photo).suffix.lower()
    return (
        ending in VIDEO_SUFFIXES
        and ending not in IMAGE_SUFFIXES
        and Path(photo).is_file()
        and count_frames(photo) is None
    )


def is_video_path(photo: str, output: str | None, rate: str | None) -> bool:
    """Whether the user means a video: what moves, or a folder of frames that becomes a video or has a rate.

    What is animated is a video, whatever its ending, unless the output is a picture; a still GIF is a picture.
    """
    ending = Path(output or "").suffix.lower()
    if Path(photo).is_dir():
        return rate is not None or ending in VIDEO_OUTPUT_SUFFIXES
    if ending in OUTPUT_SUFFIXES:
        return False
    frames = count_frames(photo)
    if frames is not None:
        return frames > 1
    return Path(photo).suffix.lower() in VIDEO_SUFFIXES or ending in VIDEO_OUTPUT_SUFFIXES


def default_output(photo: str, regions_only: bool, video: bool = False) -> Path:
    """Where the output goes if the user names none; that of a folder is a folder."""
    if video:
        return Path("outputs") / f"{Path(photo).resolve().stem}.mp4"
    if Path(photo).is_dir():
        return Path("outputs") / Path(photo).resolve().name
    if photo == str(STANDARD_STREAM):
        photo = "stdin"
    return Path("outputs") / f"{Path(photo).stem or 'photo'}{'_regions' if regions_only else ''}.png"
