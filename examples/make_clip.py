"""Renders a video of the bundled photo with a slow pan and zoom.

Usage: python -m examples.make_clip [--out outputs/astronaut_clip.mp4] [--seconds 3]
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from msst_jax.runtime.console import ArgumentParser, print_line
from msst_jax.video.io.color import SRGB_TAGS, infer_matrix
from msst_jax.video.io.types import Frame, VideoInfo
from msst_jax.video.io.writer import video_writer

PHOTO = Path(__file__).parent / "astronaut.jpg"
RATE = Fraction(25)  # frames per second
WIDTH, HEIGHT = 320, 240
FIRST_CROP, LAST_CROP = 1.0, 0.7  # width of the crop, as a share of the photo's width
FIRST_LEFT, LAST_LEFT = 0.0, 0.45  # left edge of the crop, as a share of the width outside it
TOP = 0.15  # top edge of the crop, as a share of the height outside it


def frames(photo: Image.Image, count: int) -> Iterator[Frame]:
    """Yields `count` frames of a pan and zoom over a photo, eased in and out."""
    for index in range(count):
        progress = 0.5 - 0.5 * np.cos(np.pi * index / max(1, count - 1))
        width = photo.width * (FIRST_CROP + (LAST_CROP - FIRST_CROP) * progress)
        height = width * HEIGHT / WIDTH
        left = (photo.width - width) * (FIRST_LEFT + (LAST_LEFT - FIRST_LEFT) * progress)
        top = (photo.height - height) * TOP
        crop = photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        yield Frame(np.asarray(crop), index / RATE, 1 / RATE)


def write(path: Path, count: int) -> Path:
    """Writes a video of `count` frames; returns its path.

    Raises:
      UserError: see `video_writer`.
    """
    info = VideoInfo(
        path=PHOTO,
        width=WIDTH,
        height=HEIGHT,
        rate=RATE,
        time_base=1 / RATE,
        duration=count / RATE,
        frames=count,
        pixel_aspect=Fraction(1),
        colors=SRGB_TAGS._replace(matrix=infer_matrix(SRGB_TAGS.matrix, WIDTH, HEIGHT)),
    )
    with video_writer(path, info) as writer:
        for frame in frames(read_picture(PHOTO), count):
            writer.write(frame)
    return path


def main() -> None:
    """Parses the command line and writes the video."""
    parser = ArgumentParser(prog="python -m examples.make_clip", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/astronaut_clip.mp4"))
    parser.add_argument("--seconds", type=Fraction, default=Fraction(3))
    options = parser.parse_args()
    print(write(options.out, max(1, round(options.seconds * RATE))))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print_line("make_clip", error)
        sys.exit(2)
