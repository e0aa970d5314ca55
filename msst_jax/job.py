"""What a person asks of stylize.py, and where the results go."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msst_jax.configuration import check_number
from msst_jax.errors import UserError

EXIT_NOTHING_BETTER = 1
EXIT_INTERRUPTED = 130


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


def default_output(photo: str, regions_only: bool) -> Path:
    """Where the picture goes if a person does not say; those of a folder go to a folder."""
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
