"""From what a person typed to a job for stylize.py."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from msst_jax.cli.flags import parse_region_files
from msst_jax.errors import UserError
from msst_jax.io.images import IMAGE_SUFFIXES as PICTURES
from msst_jax.io.images import OUTPUT_SUFFIXES
from msst_jax.pipelines.job import ClipOptions, Job
from msst_jax.presets.validation import check_number
from msst_jax.video.blend_schedule import parse_blend_schedule
from msst_jax.video.io.formats import GIF, VIDEO_SUFFIXES
from msst_jax.video.io.frame_folder import DEFAULT_RATE
from msst_jax.video.io.types import MAX_RATE
from msst_jax.video.io.writer import VIDEO_OUTPUT_SUFFIXES


class StylizeFlags(NamedTuple):
    """The flags of stylize.py, as typed; see there. None = not given."""

    style: Sequence[str] = ()
    mask: Sequence[str] = ()
    output: str | None = None
    blend: str | None = None
    seed: int = 0
    segmenter: str | None = None
    regions_only: bool = False
    compare: bool = False
    model: str = ""
    quality: int | None = None
    rate: str | None = None
    resume: bool = False
    quiet: bool = False


def build_job(asked: StylizeFlags, photos: Sequence[str], config: ConfigDict) -> Job:
    """The job; where the command line says nothing, the config does, whose styles may be emptied for that.

    Args:
      asked: the flags.
      photos: what is no flag; see `check_flags`.
      config: see configs/photo.py.

    Raises:
      UserError: a flag that cannot be used.
    """
    photo = photos[0] if photos else config.photo
    if photo != config.photo:  # the files that a config names go with the photo that it names
        config.styles = config.masks = ()
    clip = is_video(asked, photos)
    blend = str(config.blend_ratio) if asked.blend is None else asked.blend
    options = (
        ClipOptions(parse_blend_schedule(blend), asked.quality, parse_frame_rate(asked.rate), asked.resume)
        if clip
        else None
    )
    return Job(
        photo=photo,
        styles=parse_region_files(asked.style or config.styles, "style"),
        masks=parse_region_files(asked.mask or config.masks, "mask"),
        output=default_output(photo, asked.regions_only, clip) if asked.output is None else Path(asked.output),
        blend_ratios=() if clip else parse_blend_ratios(blend),
        seed=asked.seed,
        compare=asked.compare,
        quiet=asked.quiet,
        model=asked.model,
        regions_only=asked.regions_only,
        clip=options,
    )


def is_video(asked: StylizeFlags, photos: Sequence[str]) -> bool:
    """Whether a person means a clip; see `is_video_path`. The regions are wanted of the picture that a GIF is, too."""
    picture = asked.regions_only and bool(photos) and Path(photos[0]).suffix.lower() == GIF
    return bool(photos) and not picture and is_video_path(photos[0], asked.output, asked.rate)


def check_flags(asked: StylizeFlags, photos: Sequence[str]) -> None:
    """Refuses arguments that contradict each other, what only clips know where there is none, and the other way round.

    Args:
      asked: the flags.
      photos: what is no flag.

    Raises:
      UserError: names the flag.
    """
    pairs = [*asked.style, *asked.mask]
    if len(photos) > 1:
        raise UserError(f"one photo at a time, found {len(photos)}: {' '.join(photos)}")
    if asked.regions_only and pairs:
        raise UserError(f"--regions-only takes no --style or --mask, found {', '.join(pairs)}; leave them out")
    if is_video(asked, photos):
        if asked.regions_only:
            raise UserError("--regions-only shows the regions of a photo; give a photo, or a frame of the clip")
        if asked.rate is not None and not Path(photos[0]).is_dir():
            raise UserError(f"--rate is for a folder of frames, and {photos[0]} has a rate of its own; leave it out")
        return
    given = {"--resume": asked.resume, "--quality": asked.quality is not None, "--rate": asked.rate is not None}
    for flag in (flag for flag, there in given.items() if there):
        raise UserError(f"{flag} is for clips; give a video file, or a folder of frames with -o out.mp4")


def is_video_path(photo: str, output: str | None, rate: str | None) -> bool:
    """Whether a person means a clip: a video file, or a folder of frames that becomes one or has a rate.

    A GIF is a picture if a picture is to be made of it.
    """
    ending = Path(output or "").suffix.lower()
    if Path(photo).is_dir():
        return rate is not None or ending in VIDEO_OUTPUT_SUFFIXES
    known = Path(photo).suffix.lower()
    return ending not in OUTPUT_SUFFIXES and (
        known in VIDEO_SUFFIXES or (ending in VIDEO_OUTPUT_SUFFIXES and known not in PICTURES)
    )


def parse_frame_rate(text: str | None) -> Fraction:
    """ "25", "23.976" or "30000/1001" to frames a second.

    Raises:
      UserError: no number above zero.
    """
    try:
        rate = DEFAULT_RATE if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= MAX_RATE:
        raise UserError(f"--rate {text!r} is no number of frames a second up to {MAX_RATE}; write 25 or 30000/1001")
    return rate


def default_output(photo: str, regions_only: bool, clip: bool = False) -> Path:
    """Where the picture goes if a person does not say; those of a folder go to a folder."""
    if clip:
        return Path("outputs") / f"{Path(photo).resolve().stem}.mp4"
    if Path(photo).is_dir():
        return Path("outputs") / Path(photo).resolve().name
    return Path("outputs") / f"{Path(photo).stem or 'photo'}{'_regions' if regions_only else ''}.png"


def parse_blend_ratios(text: str) -> list[float]:
    """ "0,0.2,0.4" to [0.0, 0.2, 0.4].

    Raises:
      UserError: not numbers, negative, or one twice.
    """
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--blend {text!r} is no list of numbers; write for example --blend 0,0.2,0.4") from None
    for ratio in ratios:
        check_number("--blend", ratio)
    if len({f"{ratio:g}" for ratio in ratios}) != len(ratios):
        raise UserError(f"--blend {text!r} names a ratio twice; leave one out")
    return ratios
