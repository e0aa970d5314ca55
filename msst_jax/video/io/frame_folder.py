"""Image sequences: a folder of numbered images read as a constant-rate video."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from absl import logging

from msst_jax.errors import UserError
from msst_jax.io.images import IMAGE_SUFFIXES, read_picture
from msst_jax.video.io.color import SRGB_TAGS, infer_matrix
from msst_jax.video.io.frame_numbers import natural_order, number_files
from msst_jax.video.io.types import MAX_RATE, Frame, VideoInfo

DEFAULT_RATE = Fraction(25)  # frames per second


class FrameFolder:
    """The images of a folder as a video, at the times that the numbers in their names say; see `number_files`.

    Attributes:
      files: the images, in order.
      info: properties of the video; the first readable image sets the size.
    """

    def __init__(self, folder: Path, rate: Fraction = DEFAULT_RATE):
        """Lists the images and reads the first readable one.

        Args:
          folder: the folder of images; see `IMAGE_SUFFIXES`.
          rate: frames per second, above 0 and up to MAX_RATE.

        Raises:
          UserError: not a folder, no images in it, none of them readable, or a rate out of range.
        """
        rate = Fraction(rate).limit_denominator(10**6)  # FFmpeg's rationals have 32-bit terms
        if not 0 < rate <= MAX_RATE:
            raise UserError(
                f"the frame rate of {folder} is {float(rate)}; give a number above 0 and at most {MAX_RATE}"
            )
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; give a folder of numbered images")
        self.files = list_frames(folder)
        if not self.files:
            raise UserError(
                f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)}); give a video, or a folder of frames"
            )
        first = next((image for image in map(_read, self.files) if image is not None), None)
        if first is None:
            raise UserError(f"none of the {len(self.files)} images in {folder} can be read; give other copies")
        self._numbered, remarks = number_files(self.files)
        self._names = _output_names([frame.file for frame in self._numbered])
        for remark in remarks:
            logging.warning("%s: %s", folder, remark)
        height, width = first.shape[:2]
        last = self._numbered[-1]
        self.info = VideoInfo(
            path=folder,
            width=width,
            height=height,
            rate=rate,
            time_base=1 / rate,
            duration=(last.position + last.periods) / rate,
            frames=len(self._numbered),
            pixel_aspect=Fraction(1),
            colors=SRGB_TAGS._replace(matrix=infer_matrix(SRGB_TAGS.matrix, width, height)),
        )

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`.

        Raises:
          UserError: an image differs in size from the first.
        """
        size, period, skipped = (self.info.width, self.info.height), self.info.time_base, []
        for file, position, periods in self._numbered:
            image = _read(file)
            if image is None:
                skipped.append(file.name)
                continue
            if image.shape[1::-1] != size:
                found = "{}x{}".format(*image.shape[1::-1])
                raise UserError(
                    f"frame {file} is {found}, but the first frame is {size[0]}x{size[1]}; make them one size"
                )
            yield Frame(image, position * period, periods * period, name=self._names.get(file, ""))
        if skipped:
            names = f"{', '.join(skipped[:3])}{', ...' if len(skipped) > 3 else ''}"
            total = len(self._numbered)
            logging.warning(
                "%s: %d of %d frames could be read; skipped %s", self.info.path, total - len(skipped), total, names
            )


def list_frames(folder: Path) -> list[Path]:
    """The images of a folder, in the order of the numbers in their names."""
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)


def _output_names(files: list[Path]) -> dict[Path, str]:
    """The names of the frames in an output folder: their own, unless two differ only in their ending."""
    distinct = len({file.stem.casefold() for file in files}) == len(files)
    return {file: file.stem for file in files} if distinct else {}


def _read(file: Path) -> np.ndarray | None:
    """An image as uint8 (H, W, 3), transparency composited over black; None if it cannot be read."""
    try:
        return np.asarray(read_picture(file, "frame", backdrop="black"))
    except UserError:
        return None
