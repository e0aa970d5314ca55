"""Animated pictures: what moves in a file that Pillow opens, and its frames as a video.

FFmpeg reads GIFs, but neither animated WebP nor all frames of animated AVIF.
"""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from msst_jax.errors import UserError, first_line
from msst_jax.io.images import MAX_PIXELS
from msst_jax.video.io.color import SRGB_TAGS, infer_matrix
from msst_jax.video.io.types import Frame, VideoInfo

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
"""Pillow's names of the formats whose pages are frames; those of a TIFF are not."""
TIME_BASE = Fraction(1, 1000)  # seconds
BROWSER_DELAY = 100  # ms; shown where a file states no duration


def count_frames(path: str | Path) -> int | None:
    """The number of frames of a picture, 1 for a still one; None for what Pillow does not open, such as a video."""
    if not Path(path).is_file():
        return None
    try:
        with _quietly(), Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1) if picture.format in ANIMATED_FORMATS else 1
            return max(1, frames - bool(picture.info.get("default_image")))
    except Exception:  # Pillow's decoders raise many kinds of errors; who reads the file reports them
        return None


def read_by_pillow(path: Path) -> bool:
    """Whether a file is an animation that FFmpeg does not read."""
    frames = count_frames(path)
    if frames is None or frames == 1:
        return False
    with _quietly(), Image.open(path) as picture:
        return picture.format != "GIF"


class Animation:
    """An animated WebP, PNG or AVIF, see `VideoSource`; transparency is composited over black.

    Attributes:
      info: properties of the video.
    """

    def __init__(self, path: Path):
        """Reads the durations of all frames.

        Raises:
          UserError: damaged, or too large.
        """
        ends = np.cumsum([0, *(delay for _, delay in _frames(path))]).tolist()
        with Image.open(path) as picture:
            width, height = picture.size
        if width * height > MAX_PIXELS:
            raise UserError(f"video {path} has more than {MAX_PIXELS // 10**6} megapixels; make it smaller")
        count = len(ends) - 1
        rate = Fraction(count * 1000, round(ends[-1])).limit_denominator(10**6)
        self._times = [round(end) for end in ends]
        self.info = VideoInfo(
            path=path,
            width=width,
            height=height,
            rate=rate,
            time_base=TIME_BASE,
            duration=self._times[-1] * TIME_BASE,
            frames=count,
            pixel_aspect=Fraction(1),
            colors=SRGB_TAGS._replace(matrix=infer_matrix(SRGB_TAGS.matrix, width, height)),
        )

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`."""
        for index, (picture, _) in enumerate(_frames(self.info.path)):
            begin, end = self._times[index], self._times[index + 1]
            backdrop = Image.new("RGBA", picture.size, "black")
            image = np.asarray(Image.alpha_composite(backdrop, picture.convert("RGBA")).convert("RGB"))
            yield Frame(image, begin * TIME_BASE, (end - begin) * TIME_BASE)


def _frames(path: Path) -> Iterator[tuple[Image.Image, float]]:
    """The frames, and how many milliseconds each is shown.

    Raises:
      UserError: one cannot be decoded.
    """
    try:
        with _quietly(), Image.open(path) as picture:
            first = int(bool(picture.info.get("default_image")))  # of an animated PNG: for viewers that show no other
            for index in range(first, getattr(picture, "n_frames", 1)):
                picture.seek(index)
                picture.load()
                delay = float(picture.info.get("duration") or 0)
                yield picture, delay if delay >= 1 else BROWSER_DELAY
    except Exception as error:  # Pillow's decoders raise many kinds of errors on damaged data
        raise UserError(f"video {path} is damaged ({first_line(error)}); give another copy") from error


def _quietly() -> warnings.catch_warnings:
    """Pillow warns about large images and odd metadata."""
    return warnings.catch_warnings(action="ignore")
