"""The flags that a JSON given as --config records, in a run that need not be of the same kind."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from msst_jax.cli.stylize_job import StylizeFlags, default_output, kind_of_run
from msst_jax.presets.applicability import STYLIZE_FLAGS, VIDEOS, Run

ENDING = "ending"  # recorded beside flags that are for one format only
ENCODING = ("quality", "subsampling")
DEFAULTS = StylizeFlags()


def add_recorded(flags: StylizeFlags, recorded: Mapping[str, Any]) -> StylizeFlags:
    """The flags with those that a JSON records."""
    return flags._replace(**{_field(name): value for name, value in recorded.items() if name != ENDING})


def leave_out_alien(
    flags: StylizeFlags, recorded: Mapping[str, Any], photos: Sequence[str], fields: Collection[str] = ()
) -> StylizeFlags:
    """Takes back what a JSON records but this run has no use for, and says so in one line.

    Args:
      flags: with those of the JSON, see `add_recorded`.
      recorded: what the JSON records, without what the command line gives.
      photos: the positional arguments, or the photo of the config.
      fields: of the config, on the command line.
    """
    if not recorded:
        return flags
    run = kind_of_run(flags, photos)
    photo = photos[0] if photos else ""
    alien = [name for name in recorded if name != ENDING and not STYLIZE_FLAGS[name] & run]
    if "rate" in recorded and not Path(photo).is_dir():
        alien.append("rate")
    if "blend" in recorded and not _is_blend_of(run, str(recorded["blend"])):
        alien.append("blend")
    if not run & VIDEOS:
        alien += _without_sheet(flags, recorded, photo, fields)
    output = flags.output or default_output(photo, flags.regions_only, bool(run & VIDEOS))
    if Path(output).suffix.lower() != recorded.get(ENDING):  # another format has other scales
        alien += [name for name in ENCODING if name in recorded]
    alien = list(dict.fromkeys(alien))
    said = [f"--{name}" for name in alien if getattr(flags, _field(name)) != getattr(DEFAULTS, _field(name))]
    if said:
        logging.info("left out of the JSON given as --config, since it does not fit this run: %s", ", ".join(said))
    return flags._replace(**{_field(name): getattr(DEFAULTS, _field(name)) for name in alien})


def _field(flag: str) -> str:
    return flag.replace("-", "_")


def _without_sheet(
    flags: StylizeFlags, recorded: Mapping[str, Any], photo: str, fields: Collection[str]
) -> Iterator[str]:
    """The recorded flags that make several pictures of a photo where the command line has other plans."""
    folder = Path(photo).is_dir()
    several_blends = "," in str(flags.blend)
    if "blend" in recorded and several_blends and (folder or (flags.sweep and "sweep" not in recorded)):
        yield "blend"
    typed = {"stroke_size": flags.stroke_size, "blend_ratio": None if "blend" in recorded else flags.blend}
    fixed = {*fields, *(name for name, value in typed.items() if value is not None)}
    swept = {text.partition("=")[0] for text in recorded.get("sweep", ())}
    if swept and (folder or flags.compare or several_blends or swept & fixed):
        yield "sweep"


def _is_blend_of(run: Run, blend: str) -> bool:
    """Whether it is no schedule of a photo, and no list of ratios of a video; one ratio fits both."""
    schedule = ":" in blend
    return not schedule if not run & VIDEOS else schedule or "," not in blend
