"""What a person asks of stylize.py, and where the results go."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from msst_jax.blend_ramp import BlendRamp
from msst_jax.clip_folder import DEFAULT_RATE
from msst_jax.clip_masks import VIDEO_ENDINGS
from msst_jax.clip_writer import ENDINGS
from msst_jax.clips import MAX_RATE
from msst_jax.configuration import check_number
from msst_jax.errors import UserError
from msst_jax.images import OUTPUT_FORMATS
from msst_jax.photo_sources import ENDINGS as PICTURES

EXIT_NOTHING_BETTER = 1
EXIT_INTERRUPTED = 130


class ClipOptions(NamedTuple):
    """What a person asked for a clip, beside the rest."""

    ramp: BlendRamp
    """Takes the place of `Job.blend_ratios`."""
    crf: int | None = None
    """See `clip_writer.clip_writer`."""
    rate: Fraction = DEFAULT_RATE
    """Frames a second of a folder of pictures."""
    resume: bool = False


class Job(NamedTuple):
    """What a person asked for."""

    photo: str
    """A picture; with a model, or a folder of pictures."""
    styles: Mapping[str, str]
    masks: Mapping[str, str]
    """{region: file}; with a model and a folder, or a folder of files named like the photos."""
    output: Path
    """A picture; a folder if `photo` is one."""
    blend_ratios: Sequence[float]
    seed: int = 0
    compare: bool = False
    quiet: bool = False
    model: str = ""
    """The fast model to use instead of optimising: see `fast.find_model`."""
    regions_only: bool = False
    """Write what the segmenter finds instead; see msst_jax/found.py."""
    clip: ClipOptions | None = None
    """`photo` is a clip, or a folder of frames."""


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


def check_arguments(photos: Sequence[str], regions_only: bool, pairs: Sequence[str]) -> None:
    """Refuses arguments of the command line that contradict each other.

    Args:
      photos: the pictures named.
      regions_only: whether a person asked for the regions instead of a picture.
      pairs: all that was given with --style and --mask.

    Raises:
      UserError: several photos, or regions wanted and given.
    """
    if len(photos) > 1:
        raise UserError(f"one photo at a time, found {len(photos)}: {' '.join(photos)}")
    if regions_only and pairs:
        raise UserError(f"--regions-only takes no --style or --mask, found {', '.join(pairs)}; leave them out")


def check_clip_arguments(
    photo: str, clip: bool, resume: bool, quality: int | None, rate: str | None, regions_only: bool
) -> None:
    """Refuses what only clips know where there is none, and what clips do not know.

    Raises:
      UserError: names the flag.
    """
    if clip and regions_only:
        raise UserError("--regions-only shows the regions of a photo; give a photo, or a frame of the clip")
    if clip and rate is not None and not Path(photo).is_dir():
        raise UserError(f"--rate is for a folder of frames, and {photo} has a rate of its own; leave it out")
    given = {"--resume": resume, "--quality": quality is not None, "--rate": rate is not None}
    for flag in given if not clip else ():
        if given[flag]:
            raise UserError(f"{flag} is for clips; give a video file, or a folder of frames with -o out.mp4")


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


def blend_path(output: Path, ratio: float) -> Path:
    """Where the picture of one of several blend ratios goes."""
    return beside(output, f"blend{ratio:g}")


def beside(output: Path, what: str) -> Path:
    """out.png, "inputs" to out_inputs.png."""
    return output.with_name(f"{output.stem}_{what}{output.suffix}")
