"""Image sequences: a folder of numbered images read as a constant-rate video."""

import math
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.folders import list_pictures
from msst_jax.io.images import read_layers
from msst_jax.video.io.color import SRGB_TAGS, WHITE, infer_matrix
from msst_jax.video.io.part import PartStart, check_part, cut_info
from msst_jax.video.io.types import MAX_RATE, WHOLE, Frame, Part, VideoInfo

DEFAULT_RATE = Fraction(25)  # frames per second

FrameLayers = tuple[np.ndarray, np.ndarray | None]
"""uint8 (H, W, 3), and the alpha (H, W), if there is one."""

FrameReader = Callable[[Path], FrameLayers | None]
"""Reads the image of a file; None if it cannot be read."""


class FrameFolder:
    """The images of a folder as a constant-rate video, in the order of the numbers in their names; see `VideoSource`.

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
    ):
        """Lists the images and reads the first readable one.

        Args:
          folder: the folder of images; see `list_pictures`.
          rate: frames per second, above 0 and up to MAX_RATE.
          part: what of it is read.
          backdrop: the color behind transparent pixels.
          read: how a file is read; None = as a picture over the backdrop.

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
        self.files = sorted(listing.pictures, key=_natural_order)
        if not self.files:
            raise UserError(f"{folder} has no images{listing.describe_nothing()}; give a video, or a folder of frames")
        listing.warn(folder)
        first = next((found for found in map(self._read, self.files) if found is not None), None)
        if first is None:
            raise UserError(f"none of the {len(self.files)} images in {folder} can be read; give other copies")
        height, width = first[0].shape[:2]
        whole = VideoInfo(
            path=folder,
            width=width,
            height=height,
            rate=rate,
            time_base=1 / rate,
            duration=len(self.files) / rate,
            frames=len(self.files),
            pixel_aspect=Fraction(1),
            colors=SRGB_TAGS._replace(matrix=infer_matrix(SRGB_TAGS.matrix, width, height)),
            source_frames=len(self.files),
            has_alpha=first[1] is not None,
        )
        start = math.ceil(part.start * rate)
        check_part(whole, part, start / rate if start < len(self.files) else None)
        self.info = cut_info(whole, part, PartStart(start, start / rate))
        self.files = self.files[start : start + (self.info.frames or 0)]

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`.

        Raises:
          UserError: an image differs in size from the first.
        """
        size, period, skipped = (self.info.width, self.info.height), self.info.time_base, []
        for index, file in enumerate(self.files):
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
            yield Frame(image, index * period, period, alpha)
        if skipped:
            names = f"{', '.join(skipped[:3])}{', ...' if len(skipped) > 3 else ''}"
            read = len(self.files) - len(skipped)
            logging.warning(
                "%s: %d of %d frames could be read; skipped %s", self.info.path, read, len(self.files), names
            )


def _read(backdrop: str, file: Path) -> FrameLayers | None:
    try:
        picture, alpha = read_layers(file, "frame", backdrop)
    except UserError:
        return None
    return np.asarray(picture), None if alpha is None else np.asarray(alpha)


def list_frames(folder: Path) -> list[Path]:
    """The images of a folder, in the order of the numbers in their names."""
    return sorted(list_pictures(folder).pictures, key=_natural_order)


def _natural_order(file: Path) -> tuple[list[str | int], str]:
    """Sorts frame 2 before frame 10; text and numbers alternate, so that only values of one type are compared."""
    parts = re.split(r"(\d+)", file.stem)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], file.name
