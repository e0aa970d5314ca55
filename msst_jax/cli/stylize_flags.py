"""From what a person typed to a job for stylize.py."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from msst_jax.cli.flags import parse_pairs
from msst_jax.errors import UserError
from msst_jax.io.images import ENDINGS as PICTURES
from msst_jax.io.images import OUTPUT_FORMATS
from msst_jax.pipelines.job import ClipOptions, Job
from msst_jax.presets.validation import check_number
from msst_jax.video.blend_schedule import parse_ramp
from msst_jax.video.io.formats import GIF, VIDEO_ENDINGS
from msst_jax.video.io.frame_folder import DEFAULT_RATE
from msst_jax.video.io.types import MAX_RATE
from msst_jax.video.io.writer import ENDINGS


class Asked(NamedTuple):
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


def job_of(asked: Asked, photos: Sequence[str], config: ConfigDict) -> Job:
    """The job; where the command line says nothing, the config does, whose styles may be emptied for that.

    Args:
      asked: the flags.
      photos: what is no flag; see `check`.
      config: see configs/photo.py.

    Raises:
      UserError: a flag that cannot be used.
    """
    photo = photos[0] if photos else config.photo
    if photo != config.photo:  # the files that a config names go with the photo that it names
        config.styles = config.masks = ()
    clip = means_clip(asked, photos)
    blend = str(config.blend_ratio) if asked.blend is None else asked.blend
    options = ClipOptions(parse_ramp(blend), asked.quality, parse_rate(asked.rate), asked.resume) if clip else None
    return Job(
        photo=photo,
        styles=parse_pairs(asked.style or config.styles, "style"),
        masks=parse_pairs(asked.mask or config.masks, "mask"),
        output=default_output(photo, asked.regions_only, clip) if asked.output is None else Path(asked.output),
        blend_ratios=() if clip else parse_ratios(blend),
        seed=asked.seed,
        compare=asked.compare,
        quiet=asked.quiet,
        model=asked.model,
        regions_only=asked.regions_only,
        clip=options,
    )


def means_clip(asked: Asked, photos: Sequence[str]) -> bool:
    """Whether a person means a clip; see `is_clip`. The regions are wanted of the picture that a GIF is, too."""
    picture = asked.regions_only and bool(photos) and Path(photos[0]).suffix.lower() == GIF
    return bool(photos) and not picture and is_clip(photos[0], asked.output, asked.rate)


def check(asked: Asked, photos: Sequence[str]) -> None:
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
    if means_clip(asked, photos):
        if asked.regions_only:
            raise UserError("--regions-only shows the regions of a photo; give a photo, or a frame of the clip")
        if asked.rate is not None and not Path(photos[0]).is_dir():
            raise UserError(f"--rate is for a folder of frames, and {photos[0]} has a rate of its own; leave it out")
        return
    given = {"--resume": asked.resume, "--quality": asked.quality is not None, "--rate": asked.rate is not None}
    for flag in (flag for flag, there in given.items() if there):
        raise UserError(f"{flag} is for clips; give a video file, or a folder of frames with -o out.mp4")


def is_clip(photo: str, output: str | None, rate: str | None) -> bool:
    """Whether a person means a clip: a video file, or a folder of frames that becomes one or has a rate.

    A GIF is a picture if a picture is to be made of it.
    """
    ending = Path(output or "").suffix.lower()
    if Path(photo).is_dir():
        return rate is not None or ending in ENDINGS
    known = Path(photo).suffix.lower()
    return ending not in OUTPUT_FORMATS and (known in VIDEO_ENDINGS or (ending in ENDINGS and known not in PICTURES))


def parse_rate(text: str | None) -> Fraction:
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


def parse_ratios(text: str) -> list[float]:
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
