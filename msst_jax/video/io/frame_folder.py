"""Image sequences: a folder of numbered images read as a constant-rate video."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.folders import list_pictures
from msst_jax.io.images import read_layers
from msst_jax.video.io.color import SRGB_TAGS, WHITE, infer_matrix
from msst_jax.video.io.frame_numbers import NumberedFile, natural_order, number_files
from msst_jax.video.io.part import PartStart, check_part, cut_info
from msst_jax.video.io.types import MAX_RATE, WHOLE, FolderNumbers, Frame, Part, VideoInfo

DEFAULT_RATE = Fraction(25)  # frames per second

FrameLayers = tuple[np.ndarray, np.ndarray | None]
"""uint8 (H, W, 3), and the alpha (H, W), if there is one."""

FrameReader = Callable[[Path], FrameLayers | None]
"""Reads the image of a file; None if it cannot be read."""


class FrameFolder:
    """The images of a folder as a video, at the times that the numbers in their names say; see `number_files`.

    Attributes:
      files: the images, in order.
      info: properties of the video; the first readable image sets the size.
    """

    def __init__(
        self,
        folder: Path,
        rate: Fraction = DEFAULT_RATE,
        part: Part = WHOLE,
        backdrop: str = WHITE,
        read: FrameReader | None = None,
        warn_of_missing: bool = True,
    ):
        """Lists the images and reads the first readable one.

        Args:
          folder: the folder of images; see `list_pictures`.
          rate: frames per second, above 0 and up to MAX_RATE.
          part: what of it is read.
          backdrop: the color behind transparent pixels.
          read: how a file is read; None = as a picture over the backdrop.
          warn_of_missing: whether missing numbers are said.

        Raises:
          UserError: not a folder, no images in it, none of them readable, a rate out of range, or a part without any.
        """
        rate = Fraction(rate).limit_denominator(10**6)  # FFmpeg's rationals have 32-bit terms
        if not 0 < rate <= MAX_RATE:
            raise UserError(
                f"the frame rate of {folder} is {float(rate)}; give a number above 0 and at most {MAX_RATE}"
            )
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; give a folder of numbered images")
        self._read = read or partial(_read, backdrop)
        listing = list_pictures(folder)
        self.files = sorted(listing.pictures, key=natural_order)
        if not self.files:
            raise UserError(f"{folder} has no images{listing.describe_nothing()}; give a video, or a folder of frames")
        listing.warn(folder)
        first = next((found for found in map(self._read, self.files) if found is not None), None)
        if first is None:
            raise UserError(f"none of the {len(self.files)} images in {folder} can be read; give other copies")
        numbered, remarks, missing = number_files(self.files)
        self._names = _output_names([frame.file for frame in numbered])
        for remark in [*remarks, *([missing] if missing and warn_of_missing else [])]:
            logging.warning("%s: %s", folder, remark)
        height, width = first[0].shape[:2]
        last = numbered[-1]
        whole = VideoInfo(
            path=folder,
            width=width,
            height=height,
            rate=rate,
            time_base=1 / rate,
            duration=(last.position + last.periods) / rate,
            frames=len(numbered),
            pixel_aspect=Fraction(1),
            colors=SRGB_TAGS._replace(matrix=infer_matrix(SRGB_TAGS.matrix, width, height)),
            source_frames=len(numbered),
            has_alpha=first[1] is not None,
            numbers=_folder_numbers(numbered),
        )
        self._numbered, self.info = _cut(whole, numbered, part)

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`.

        Raises:
          UserError: an image differs in size from the first.
        """
        size, period, skipped = (self.info.width, self.info.height), self.info.time_base, []
        for file, position, periods, _ in self._numbered:
            found = self._read(file)
            if found is None:
                skipped.append(file.name)
                continue
            image, alpha = found
            if image.shape[1::-1] != size:
                other = "{}x{}".format(*image.shape[1::-1])
                raise UserError(
                    f"frame {file} is {other}, but the first frame is {size[0]}x{size[1]}; make them one size"
                )
            time = (position - self.info.first_number) * period
            yield Frame(image, time, periods * period, alpha, self._names.get(file, ""), position)
        if skipped:
            names = f"{', '.join(skipped[:3])}{', ...' if len(skipped) > 3 else ''}"
            total = len(self._numbered)
            logging.warning(
                "%s: %d of %d frames could be read; skipped %s", self.info.path, total - len(skipped), total, names
            )


def _read(backdrop: str, file: Path) -> FrameLayers | None:
    try:
        picture, alpha = read_layers(file, "frame", backdrop)
    except UserError:
        return None
    return np.asarray(picture), None if alpha is None else np.asarray(alpha)


def list_frames(folder: Path) -> list[Path]:
    """The images of a folder, in the order of the numbers in their names."""
    return sorted(list_pictures(folder).pictures, key=natural_order)


def _output_names(files: list[Path]) -> dict[Path, str]:
    """The names of the frames in an output folder: their own, unless two differ only in their ending."""
    distinct = len({file.stem.casefold() for file in files}) == len(files)
    return {file: file.stem for file in files} if distinct else {}


def _folder_numbers(frames: list[NumberedFile]) -> FolderNumbers:
    names = tuple(frame.number for frame in frames if frame.number is not None)
    return FolderNumbers(tuple(frame.position for frame in frames), names)


def _cut(whole: VideoInfo, numbered: list[NumberedFile], part: Part) -> tuple[list[NumberedFile], VideoInfo]:
    """The frames that begin in a part, and the properties of the part.

    Raises:
      UserError: there is none.
    """
    kept = [frame for frame in numbered if frame.position >= part.start * whole.rate]
    check_part(whole, part, kept[0].position / whole.rate if kept else None)
    if part.end is not None:
        end = math.ceil(part.end * whole.rate)
        kept = [
            frame._replace(periods=min(frame.periods, end - frame.position)) for frame in kept if frame.position < end
        ]
    info = cut_info(whole, part, PartStart(kept[0].position, kept[0].position / whole.rate))
    return kept, replace(info, frames=len(kept))
