"""A folder of numbered pictures as a clip."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.images import IMAGE_SUFFIXES, read_picture
from msst_jax.video.io.color import SRGB_TAGS, infer_matrix
from msst_jax.video.io.types import MAX_RATE, Frame, VideoInfo

DEFAULT_RATE = Fraction(25)


class FrameFolder:
    """The pictures of a folder at a constant rate, in the order of the numbers in their names; see `VideoSource`."""

    def __init__(self, folder: Path, rate: Fraction = DEFAULT_RATE):
        """Reads the first picture.

        Raises:
          UserError: no pictures, none of them readable, or a rate that is not above 0 and up to MAX_RATE.
        """
        rate = Fraction(rate).limit_denominator(10**6)  # FFmpeg's fractions are of 32 bits
        if not 0 < rate <= MAX_RATE:
            raise UserError(f"the rate of the frames in {folder} is {float(rate)}; give a number up to {MAX_RATE}")
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; give a folder of numbered pictures")
        self.files = list_frames(folder)
        if not self.files:
            raise UserError(
                f"{folder} has no pictures ({', '.join(IMAGE_SUFFIXES)}); give a video, or a folder of frames"
            )
        first = next((image for image in map(_read, self.files) if image is not None), None)
        if first is None:
            raise UserError(f"{folder} has {len(self.files)} pictures, none of which can be read; give other copies")
        height, width = first.shape[:2]
        self.info = VideoInfo(
            path=folder,
            width=width,
            height=height,
            rate=rate,
            time_base=1 / rate,
            duration=len(self.files) / rate,
            frames=len(self.files),
            pixel_aspect=Fraction(1),
            colors=SRGB_TAGS._replace(matrix=infer_matrix(SRGB_TAGS.matrix, width, height)),
        )

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`.

        Raises:
          UserError: a picture of another size than the first.
        """
        size, period, lost = (self.info.width, self.info.height), self.info.time_base, []
        for number, file in enumerate(self.files):
            image = _read(file)
            if image is None:
                lost.append(file.name)
                continue
            if image.shape[1::-1] != size:
                found = "{}x{}".format(*image.shape[1::-1])
                raise UserError(f"frame {file} is {found}, the first {size[0]}x{size[1]}; make them one size")
            yield Frame(image, number * period, period)
        if lost:
            some = f"{', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}"
            read = len(self.files) - len(lost)
            logging.warning(
                "%s: %d of %d frames could be read; left out: %s", self.info.path, read, len(self.files), some
            )


def list_frames(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of the numbers in their names."""
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES), key=_order)


def _order(file: Path) -> tuple[list[str | int], str]:
    """Frame 2 comes before frame 10; text and numbers alternate, so that like is compared with like."""
    parts = re.split(r"(\d+)", file.stem)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], file.name


def _read(file: Path) -> np.ndarray | None:
    """A picture as uint8 (H, W, 3), on black where it is transparent; None if it cannot be read."""
    try:
        return np.asarray(read_picture(file, "frame", backdrop="black"))
    except UserError:
        return None
