"""Throughput of feed-forward video stylization, of the complete pipeline and of its stages, and its peak memory.

    python -m benchmarks.speed.video [VIDEO] [--model builtin] [--frames 30] [--size 0] [--output .mp4]
    python -m benchmarks.speed.video --memory

Without VIDEO the one of examples/make_clip.py is used. "decode" reads frames, "regions" segments them and smooths the
masks, "stylise" is the network, "encode" writes; each runs by itself. "whole pipeline" is what stylize.py does, where
they overlap; compilation is not counted. With --memory two processes stylize 30 and 300 small frames. Prints Markdown.
"""

import itertools
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.harness.program import OURS, Case, Program
from examples import make_clip as example
from msst_jax.configs import video as video_config
from msst_jax.errors import UserError
from msst_jax.models.feedforward_model import FeedforwardModel, load_feedforward
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.ops.image import normalize, to_uint8
from msst_jax.pipelines.video import frame_size
from msst_jax.regions.masks import MaskSpec
from msst_jax.regions.segmenter import AnySegmenter, Size, load_segmenter
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.transfer.build import build_options
from msst_jax.transfer.options import StylizationOptions
from msst_jax.video.batching import FrameBatch, batch_frames
from msst_jax.video.blend_schedule import constant_blend
from msst_jax.video.feedforward import feedforward_stylizer
from msst_jax.video.io.formats import CONTAINER_FORMATS
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.segments import SegmentOptions
from msst_jax.video.io.types import Frame, VideoSource
from msst_jax.video.io.writer import video_writer
from msst_jax.video.key_segmentation import found_by, key_segmenter
from msst_jax.video.resume import ChunkPlan, ResumeFolder, segment_length
from msst_jax.video.streaming import FrameStylizer, stream_video
from msst_jax.video.temporal_masks import FrameMaskSpec, build_mask_spec, frame_masks, initial_mask_state, key_frames

GROUP = "video"
SCRIPT = Path(__file__).parents[2] / "stylize.py"
SHORT, LONG = 30, 300  # frames, of --memory
MEMORY_SIZE = 640  # longest side, of --memory: 270 more frames would take 250 MB if they were kept in memory
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss


class Setup(NamedTuple):
    """An open video, the loaded networks and the frame stylizer."""

    video: VideoSource
    size: Size
    frames: int
    options: StylizationOptions
    model: FeedforwardModel
    segmenter: AnySegmenter
    mask_spec: FrameMaskSpec
    stylizer: FrameStylizer
    batch: int


def build_setup(path: Path, model: str, size: int, frames: int, output: str) -> Setup:
    """Opens a video and loads the networks."""
    config = video_config.get_config()
    config.size = size
    options = build_options(config)
    video = open_video(path)
    shape = frame_size(video.info, options.inputs, Path(f"out{output}"))
    loaded = load_feedforward(model)
    masks = MaskSpec(loaded.regions, (), options.inputs.masks)
    segmenter = load_segmenter(options.inputs.segmenter, masks.missing)
    mask_spec = build_mask_spec(masks, segmenter, shape, options.temporal.mask_smoothing)
    frame_stylizer, batch = feedforward_stylizer(options.temporal, loaded, segmenter, mask_spec, constant_blend(0.0))
    count = len(list(itertools.islice(video.frames(), frames)))
    return Setup(video, shape, count, options, loaded, segmenter, mask_spec, frame_stylizer, batch)


def read_batches(setup: Setup) -> Any:
    """Batches of frames, decoded lazily."""
    width, height = setup.size
    no_masks = np.zeros((height, width, 0), np.uint8)
    frames = itertools.islice(setup.video.frames(), setup.frames)
    return batch_frames(enumerate(frames), lambda number: no_masks, setup.size, setup.batch)


def run_pipeline(setup: Setup, output: str) -> None:
    """Stylizes the video as stylize.py does, into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        segment = segment_length(setup.batch, setup.video.info.rate) if output in CONTAINER_FORMATS else 0
        resume_folder = ResumeFolder(root / "parts", ChunkPlan(setup.batch, segment), {}, resume=False)
        segments = SegmentOptions(segment or sys.maxsize, resume_folder.add_segment)
        with video_writer(root / f"out{output}", setup.video.info, *setup.size, segments=segments) as writer:
            stream_video(read_batches(setup), setup.stylizer, writer, resume_folder, threading.Event())


def build_stages(setup: Setup, output: str) -> dict[str, Callable[[], None]]:
    """The stages of the pipeline, each over all frames and by itself."""
    batches: list[FrameBatch] = list(read_batches(setup))
    stylizer = setup.stylizer

    def decode() -> None:
        for _ in read_batches(setup):
            pass

    def stylize() -> None:
        state = stylizer.state
        for batch in batches:
            images, _, state = stylizer.stylize(batch, state)
            images.block_until_ready()

    def encode() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            video_writer(Path(folder) / f"out{output}", setup.video.info, *setup.size) as writer,
        ):
            for batch in batches:
                for image, timing in zip(batch.images, batch.timings, strict=False):
                    writer.write(Frame(image, timing.time, timing.duration))

    return {
        "decode": decode,
        "regions": _segmentation_stage(setup, batches),
        "stylise": _network_stage(setup, batches),
        "regions and stylise, one program": stylize,
        "encode": encode,
    }


def _segmentation_stage(setup: Setup, batches: Sequence[FrameBatch]) -> Callable[[], None]:
    finder = key_segmenter(setup.segmenter, setup.mask_spec)
    keys = key_frames(0, setup.batch, setup.options.temporal.segment_every)

    @jax.jit
    def segment(found: Any, frames: jax.Array, given: jax.Array, state: Any) -> Any:
        photos = frames.astype(jnp.float32) / 255
        return frame_masks(setup.mask_spec, found_by(finder.definition, found), photos, given, state, keys)

    def run() -> None:
        state = initial_mask_state(setup.mask_spec)
        for batch in batches:
            masks, _, state = segment(finder.arguments(batch.images, keys), batch.images, batch.given, state)
            jax.block_until_ready(masks)

    return run


def _network_stage(setup: Setup, batches: Sequence[FrameBatch]) -> Callable[[], None]:
    definition, weights = nnx.split(setup.model.network)
    width, height = setup.size
    styles = len(setup.model.regions)
    masks = jnp.full((setup.batch, height, width, styles), 1 / styles)

    @jax.jit
    def stylize(weights: Any, frames: jax.Array, masks: jax.Array) -> jax.Array:
        photos = normalize(frames.astype(jnp.float32) / 255)
        return to_uint8(nnx.merge(definition, weights)(photos, masks, blend_mixtures(styles, 0.0)))

    def run() -> None:
        for batch in batches:
            stylize(weights, batch.images, masks).block_until_ready()

    return run


def time_second_run(run: Callable[[], None]) -> float:
    """Seconds of the second of two runs; the first compiles."""
    run()
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def print_throughput(setup: Setup, output: str) -> None:
    """Measures and prints the table."""
    run_pipeline(setup, output)
    stages = {name: time_second_run(run) for name, run in build_stages(setup, output).items()}
    started = time.perf_counter()
    run_pipeline(setup, output)
    total = time.perf_counter() - started
    print(f"{setup.video.info.path.name}, {setup.frames} frames of {setup.size[0]}x{setup.size[1]}, ", end="")
    print(f"{setup.batch} at a time, to {output}; {jax.default_backend()}: {jax.devices()[0].device_kind}\n")
    print("| part | ms a frame | frames a second |\n|---|---|---|")
    for name, seconds in {**stages, "whole pipeline": total}.items():
        print(f"| {name} | {1000 * seconds / setup.frames:.1f} | {setup.frames / seconds:.2f} |")
    share = stages["regions and stylise, one program"] / total
    print(f"\nThe device part alone takes {share:.0%} of the whole.")


def cases(quick: bool) -> list[Case]:
    """The complete pipeline with the embedded model, for `python -m benchmarks`; PyTorch has no counterpart."""
    frames, size = (4, 64) if quick else (24, 640)
    return [
        Case(
            group=GROUP,
            what="clip to clip: regions, built-in fast model, smoothing",
            size=f"{frames} frames, {size} long",
            unit="frame",
            programs={OURS: partial(start_pipeline, frames, size)},
            units_per_call=frames,
        )
    ]


def start_pipeline(frames: int, size: int) -> Program:
    """The pipeline on the video of examples/make_clip.py; the first call compiles."""
    folder = tempfile.TemporaryDirectory()
    video = example.write(Path(folder.name) / "clip.mp4", frames)
    setup = build_setup(video, "builtin", size, frames, ".mp4")

    def advance() -> None:
        assert folder  # keeps the video alive
        run_pipeline(setup, ".mp4")

    return Program(advance)


def print_memory(model: str) -> None:
    """Measures and prints the peak memory of stylize.py for two lengths of a video."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in (SHORT, LONG):  # in this order: the system only reports the largest peak of all child processes
            video = Path(folder) / f"{frames}.mp4"
            example.write(video, frames)
            command = [sys.executable, SCRIPT, video, "--model", model, "-o", video.with_suffix(".out.mp4"), "--quiet"]
            subprocess.run([*map(str, command), f"--config.size={MEMORY_SIZE}"], check=True)
            peaks.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * RSS_UNIT / 1e6)
    print("| frames | peak memory, MB |\n|---|---|")
    for frames, peak in zip((SHORT, LONG), peaks, strict=True):
        print(f"| {frames} | {peak:.0f} |")
    print(f"\n{peaks[1] / peaks[0] - 1:+.1%}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark selected by the command line."""
    parser = ArgumentParser(prog="python -m benchmarks.speed.video", description=__doc__)
    parser.add_argument("video", nargs="?", type=Path, metavar="VIDEO")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--frames", type=int, default=30, help="measure the first N frames")
    parser.add_argument("--size", type=int, default=0, help="longest side in pixels, 0 = original size")
    parser.add_argument("--output", choices=CONTAINER_FORMATS, default=".mp4")
    parser.add_argument("--memory", action="store_true")
    flags = parser.parse_args(arguments)
    configure_logging(quiet=True)
    if flags.memory:
        print_memory(flags.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        video = flags.video or example.write(Path(folder) / "astronaut_clip.mp4", flags.frames)
        print_throughput(build_setup(video, flags.model, flags.size, flags.frames, flags.output), flags.output)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print_line("benchmarks.speed.video", error)
        sys.exit(2)
