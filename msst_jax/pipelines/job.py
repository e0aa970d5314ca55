"""The jobs of the program as the user ordered them, and what all pipelines record and return."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.io.metadata import NO_METADATA, PictureMetadata, read_metadata
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.streams import check_output
from msst_jax.io.write_options import DEFAULT_OPTIONS, WriteOptions, recorded_flags
from msst_jax.presets.sweep import SweptField
from msst_jax.regions.points import Point
from msst_jax.video.blend_schedule import BlendSchedule
from msst_jax.video.io.frame_folder import DEFAULT_RATE
from msst_jax.video.io.types import WHOLE, Part

EXIT_NOTHING_BETTER = 1


@dataclass(frozen=True)
class PhotoJob:
    """Stylize a photo, or every photo of a folder.

    Attributes:
      photo: an image file, or "-" for standard input; or a folder.
      styles: {region: its paintings, or KEEP}; see `transfer.style_mix.parse_style_mix`.
      masks: {region: file}; for a folder of photos also a folder of files named like them.
      output: an image file, or "-" for standard output, which gets neither JSON nor sheets; a folder if `photo` is one.
      blend_ratios: one image each, optimized as one batch.
      seed: of the random start (config.init = "noise").
      compare: also write the comparison sheet.
      quiet: no progress bar.
      model: the feed-forward model to use in place of optimization, see `find_feedforward`; "" = none.
      writing: how the stylized pictures are encoded, and whether they keep the photo's metadata.
      preview_every: evaluations after which the output is written, and again after as many more; 0 = only in the end.
      points: of regions of which only the component there is taken.
      sheet: also write the sheet of the inputs, of an optimization.
      sweep: numbers of the config that take several values, of which the output is a sheet; see `pipelines.sweep`.
      imports: modules of the user's that were imported, for the JSON.
    """

    photo: str
    styles: Mapping[str, str]
    masks: Mapping[str, str]
    output: Path
    blend_ratios: Sequence[float]
    seed: int = 0
    compare: bool = False
    quiet: bool = False
    model: str = ""
    writing: WriteOptions = DEFAULT_OPTIONS
    preview_every: int = 0
    sheet: bool = True
    sweep: Sequence[SweptField] = ()
    points: Sequence[Point] = ()
    imports: Sequence[str] = ()


@dataclass(frozen=True)
class VideoJob:
    """Stylize a video, or a folder of frames.

    Attributes:
      video: a video file or a folder of frames.
      styles: as in `PhotoJob`.
      masks: {region: file or folder}, see `video.mask_sources`.
      output: a video file, or a folder of frames.
      blend: the blend ratio over time.
      seed: as in `PhotoJob`.
      quiet: no progress bar.
      model: as in `PhotoJob`.
      crf: constant rate factor, see `video_writer`; None = the container's default.
      rate: frames a second of a folder of frames.
      resume: continue an interrupted run.
      part: of the video that is stylized.
      imports: as in `PhotoJob`.
      names: {file of a painting: what the JSON calls it}, if that is not its path.
    """

    video: str
    styles: Mapping[str, str]
    masks: Mapping[str, str]
    output: Path
    blend: BlendSchedule
    seed: int = 0
    quiet: bool = False
    model: str = ""
    crf: int | None = None
    rate: Fraction = DEFAULT_RATE
    resume: bool = False
    part: Part = WHOLE
    imports: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MasksJob:
    """Segment a photo and write its masks.

    Attributes:
      photo: an image file.
      output: where the overlay goes; the masks and the JSON lie beside it.
      protected: further files that must not be overwritten.
      styles: as in `PhotoJob`; each of their regions gets a mask.
      points: as in `PhotoJob`.
      imports: as in `PhotoJob`.
    """

    photo: str
    output: Path
    protected: Sequence[str] = ()
    styles: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[Point] = ()
    imports: Sequence[str] = ()


Job = PhotoJob | VideoJob | MasksJob


def check_standard_output(job: PhotoJob) -> None:
    """Raises UserError if the job makes more than the one picture that standard output can take."""
    if len(job.blend_ratios) > 1 or job.compare or job.sweep or Path(job.photo).is_dir():
        raise UserError(f"-o {job.output} takes one picture, and this run makes several; give a file name with -o")
    check_output()


def log_written(output: Path) -> None:
    """Says where the picture is."""
    if output == STANDARD_STREAM:
        logging.info("wrote the picture to standard output, without the JSON and the sheets that lie beside a file")
    else:
        logging.info("wrote %s", output)


def blend_path(output: Path, ratio: float) -> Path:
    """Where the image of one of several blend ratios goes."""
    return sibling_path(output, f"blend{ratio:g}")


def sibling_path(output: Path, suffix: str) -> Path:
    """out.png, "inputs" to out_inputs.png."""
    return output.with_name(f"{output.stem}_{suffix}{output.suffix}")


def kept_metadata(writing: WriteOptions, photo: str | Path) -> PictureMetadata:
    """The metadata that the stylized pictures of a photo keep; none of one from standard input, which is read once."""
    if not writing.keep_metadata or Path(photo) == STANDARD_STREAM:
        return NO_METADATA
    return read_metadata(photo)


def recorded_options(output: Path, job: PhotoJob) -> dict[str, Any]:
    """The part of a sidecar that says how the picture is encoded and what was imported; nothing for the default."""
    flags = recorded_flags(output, job.writing)
    return {**({"flags": flags} if flags else {}), **recorded_imports(job.imports)}


def recorded_imports(imports: Sequence[str]) -> dict[str, Any]:
    """The part of a sidecar that names the user's modules that were imported; nothing if there are none."""
    return {"imports": [*imports]} if imports else {}


def recorded_config(
    config: ConfigDict,
    photo: str,
    styles: Mapping[str, str],
    masks: Mapping[str, str],
    points: Iterable[Point] = (),
) -> dict[str, Any]:
    """The config of a run as its sidecar records it: with the inputs that the job names."""
    record = config.copy_and_resolve_references()
    record.update(
        photo=photo,
        styles=tuple(f"{name}={file}" for name, file in styles.items()),
        masks=tuple(f"{name}={file}" for name, file in masks.items()),
        points=tuple(point.text for point in points),
    )
    return dict(record.to_dict())
