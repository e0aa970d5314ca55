"""What the processor does for each frame of a video beside the device: resume files, decoding, encoding.

    python -m benchmarks.speed.video_host [--size 1280x720] [--frames 96] [--batch 2]

No network runs. "resume files" is what `ResumeFolder` writes for batches and segments with the state of a feed-forward
model, "decode" reads an H.264 file to RGB, "encode" writes one; each by itself, the median of three. Prints Markdown.
"""

import sys
import tempfile
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.harness.arguments import at_least
from msst_jax.errors import UserError
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import ColorTags, Frame, VideoInfo
from msst_jax.video.io.writer import video_writer
from msst_jax.video.resume import ChunkPlan, ResumeFolder, segment_length
from msst_jax.video.temporal import flow_grid

RATE = Fraction(30)
REPEATS = 3
GRAIN = 8  # gray levels of noise: without any, encoding would be too easy
BYTES_OF_A_FRAME = 40_000  # encoded


def moving_noise(width: int, height: int, count: int) -> list[np.ndarray]:
    """Smooth colors that move, with grain: uint8 (H, W, 3)."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256 - GRAIN, (9, 16, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))
    grain = generator.integers(0, GRAIN, (height, width, 3), dtype=np.uint8)
    return [np.roll(smooth, 3 * number, 1) + np.roll(grain, 7 * number, 0) for number in range(count)]


def keep_files(images: Sequence[np.ndarray], batch: int, folder: Path) -> None:
    """Keeps the frames as a run does that is never killed."""
    height, width = images[0].shape[:2]
    grid_width, grid_height = flow_grid((width, height))
    state = {
        "masks": np.zeros((grid_height, grid_width, 1), np.float32),
        "photo": np.zeros((grid_height, grid_width, 3), np.float32),
        "picture": np.zeros((height, width, 3), np.float32),
        "trust": np.zeros((grid_height, grid_width, 1), np.float32),
    }
    plan = ChunkPlan(batch, segment_length(batch, RATE))
    with ResumeFolder(folder, plan, {}, resume=False) as kept:
        keep_if_due: Callable[[], None] = getattr(kept, "keep_if_due", lambda: None)  # earlier versions write at once
        for number in range(len(images) // batch):
            kept.add_batch(number, np.stack(images[number * batch : (number + 1) * batch]), state)
            keep_if_due()
            if (number + 1) % plan.per_segment == 0:
                kept.add_segment({"data": np.zeros(BYTES_OF_A_FRAME * plan.segment, np.uint8)})


def encode(images: Sequence[np.ndarray], path: Path) -> None:
    """Writes a video."""
    height, width = images[0].shape[:2]
    rate, count = RATE, len(images)
    info = VideoInfo(path, width, height, rate, 1 / rate, count / rate, count, Fraction(1), ColorTags(1, 1, 1))
    with video_writer(path, info) as writer:
        for number, image in enumerate(images):
            writer.write(Frame(image, number / RATE, 1 / RATE))


def decode(path: Path) -> None:
    """Reads all frames of a video."""
    for _ in open_video(path).frames():
        pass


def milliseconds(run: Callable[[Path], None], frames: int) -> float:
    """Of a frame; each time in an empty folder."""
    seconds = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            run(Path(folder))
            seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds) / frames


def print_figures(width: int, height: int, frames: int, batch: int) -> None:
    """Measures and prints the table."""
    images = moving_noise(width, height, frames)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "in.mp4"
        encode(images, video)
        figures = {
            "resume files": milliseconds(lambda place: keep_files(images, batch, place / "kept"), frames),
            "decode": milliseconds(lambda _: decode(video), frames),
            "encode": milliseconds(lambda place: encode(images, place / "out.mp4"), frames),
        }
    print(f"{frames} frames of {width}x{height}, {batch} at a time\n\n| part | ms a frame |\n|---|---|")
    for name, figure in figures.items():
        print(f"| {name} | {figure:.2f} |")


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of "1280x720"."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ArgumentTypeError(f"{text!r} is no size; give WIDTHxHEIGHT, such as 1280x720")
    return int(width), int(height)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark selected by the command line."""
    parser = ArgumentParser(prog="python -m benchmarks.speed.video_host", description=__doc__)
    parser.add_argument("--size", type=parse_size, default=(1280, 720), metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=at_least(1), default=96)
    parser.add_argument("--batch", type=at_least(1), default=2, help="frames that the device stylizes together")
    flags = parser.parse_args(arguments)
    configure_logging(quiet=True)
    width, height = flags.size
    print_figures(width, height, flags.frames, flags.batch)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print_line("benchmarks.speed.video_host", error)
        sys.exit(2)
