"""Animated pictures: what moves in a file that Pillow opens, and its frames as a video.

FFmpeg reads GIFs, but neither animated WebP nor all frames of animated AVIF.
"""

import bisect
import warnings
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from msst_jax.errors import UserError, first_line
from msst_jax.io.images import flatten
from msst_jax.io.picture_file import MAX_PIXELS
from msst_jax.video.io.color import SRGB_TAGS, WHITE, infer_matrix
from msst_jax.video.io.part import PartStart, check_part, cut_info
from msst_jax.video.io.types import WHOLE, Frame, Part, VideoInfo

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
"""Pillow's names of the formats whose pages are frames; those of a TIFF are not."""
TIME_BASE = Fraction(1, 1000)  # seconds
BROWSER_DELAY = 100  # ms; shown where a file states no duration


class _Picture(NamedTuple):
    """The format of a picture, by Pillow's name, and its number of frames, 1 for a still one."""

    format: str | None
    frames: int


def count_frames(path: str | Path) -> int | None:
    """The number of frames of a picture, 1 for a still one; None for what Pillow does not open, such as a video."""
    picture = _probe(path)
    return picture.frames if picture else None


def read_by_pillow(path: Path) -> bool:
    """Whether a file is an animation that FFmpeg does not read."""
    picture = _probe(path)
    return picture is not None and picture.frames > 1 and picture.format != "GIF"


def _probe(path: str | Path) -> _Picture | None:
    """None for what Pillow does not open."""
    try:
        if not Path(path).is_file():
            return None
        with _quietly(), Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1) if picture.format in ANIMATED_FORMATS else 1
            return _Picture(picture.format, max(1, frames - bool(picture.info.get("default_image"))))
    except Exception:  # of the name or of Pillow's decoders; who reads the file reports it
        return None


class Animation:
    """An animated WebP, PNG or AVIF, see `VideoSource`.

    Attributes:
      info: properties of the video.
    """

    def __init__(self, path: Path, part: Part = WHOLE, backdrop: str = WHITE):
        """Reads the durations of all frames.

        Args:
          path: the file.
          part: what of it is read.
          backdrop: the color behind transparent pixels.

        Raises:
          UserError: damaged, too large, or a part without any frame.
        """
        self._backdrop = backdrop
        layers = [(delay, picture.has_transparency_data) for picture, delay in _frames(path)]
        ends = np.cumsum([0, *(delay for delay, _ in layers)]).tolist()
        with Image.open(path) as picture:
            width, height = picture.size
        if width * height > MAX_PIXELS:
            raise UserError(f"video {path} has more than {MAX_PIXELS // 10**6} megapixels; make it smaller")
        count = len(ends) - 1
        rate = Fraction(count * 1000, round(ends[-1])).limit_denominator(10**6)
        self._times = [round(end) * TIME_BASE for end in ends]
        whole = VideoInfo(
            path=path,
            width=width,
            height=height,
            rate=rate,
            time_base=TIME_BASE,
            duration=self._times[-1],
            frames=count,
            pixel_aspect=Fraction(1),
            colors=SRGB_TAGS._replace(matrix=infer_matrix(SRGB_TAGS.matrix, width, height)),
            source_frames=count,
            has_alpha=any(transparent for _, transparent in layers),
        )
        first = bisect.bisect_left(self._times, part.start, hi=count)
        after = count if part.end is None else bisect.bisect_left(self._times, part.end, hi=count)
        check_part(whole, part, self._times[first] if first < count else None)
        self._numbers = range(first, after)
        self.info = replace(cut_info(whole, part, PartStart(first, self._times[first])), frames=after - first)

    def frames(self) -> Iterator[Frame]:
        """See `VideoSource`."""
        start, limit = self._times[self._numbers.start], self.info.part.end
        for number, (picture, _) in enumerate(_frames(self.info.path)):
            if number not in self._numbers:
                continue
            begin, end = self._times[number], self._times[number + 1]
            layers = picture.convert("RGBA")
            flat = np.asarray(flatten(layers, self._backdrop))
            alpha = np.asarray(layers.getchannel("A")) if self.info.has_alpha else None
            yield Frame(flat, begin - start, (min(end, limit) if limit else end) - begin, alpha)


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
