"""Makes a clip of the bundled photo: the camera pans across it and comes slowly closer.

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
RATE = Fraction(25)
WIDTH, HEIGHT = 320, 240
FAR, CLOSE = 1.0, 0.7  # how much of the photo's width is seen, first and last
LEFT, RIGHT = 0.0, 0.45  # where that begins, as a share of the room that is left


def frames(photo: Image.Image, count: int) -> Iterator[Frame]:
    """`count` frames of a walk over a photo; the camera starts and stops gently."""
    for number in range(count):
        progress = 0.5 - 0.5 * np.cos(np.pi * number / max(1, count - 1))
        width = photo.width * (FAR + (CLOSE - FAR) * progress)
        height = width * HEIGHT / WIDTH
        left = (photo.width - width) * (LEFT + (RIGHT - LEFT) * progress)
        top = (photo.height - height) * 0.15
        seen = photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        yield Frame(np.asarray(seen), number / RATE, 1 / RATE)


def write(path: Path, count: int) -> Path:
    """Writes a clip of `count` frames; returns its path."""
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
    """Reads the command line and writes the clip."""
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
