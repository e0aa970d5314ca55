"""One job of stylize.py, and where its results go."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from msst_jax.video.blend_schedule import BlendSchedule
from msst_jax.video.io.frame_folder import DEFAULT_RATE

EXIT_NOTHING_BETTER = 1
EXIT_INTERRUPTED = 130


class ClipOptions(NamedTuple):
    """What a person asked for a clip, beside the rest."""

    schedule: BlendSchedule
    """Takes the place of `Job.blend_ratios`."""
    crf: int | None = None
    """See `video_writer`."""
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
    """The fast model to use instead of optimising: see `find_feedforward`."""
    regions_only: bool = False
    """Write what the segmenter finds instead; see msst_jax/found.py."""
    clip: ClipOptions | None = None
    """`photo` is a clip, or a folder of frames."""


def blend_path(output: Path, ratio: float) -> Path:
    """Where the picture of one of several blend ratios goes."""
    return sibling_path(output, f"blend{ratio:g}")


def sibling_path(output: Path, what: str) -> Path:
    """out.png, "inputs" to out_inputs.png."""
    return output.with_name(f"{output.stem}_{what}{output.suffix}")
