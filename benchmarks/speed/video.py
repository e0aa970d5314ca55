"""A clip through the fast model: frames a second of the whole pipeline and of its parts, and its memory.

    python -m benchmarks.video [CLIP] [--model builtin] [--frames 30] [--size 0] [--output .mp4]
    python -m benchmarks.video --memory

Without CLIP it is the one of examples/make_clip.py. "decode" reads frames, "regions" finds masks and smooths them,
"stylise" is the network and the composite, "encode" writes; each alone, with nothing beside it. "whole" is what
stylize.py does, where they overlap; compiling is not counted. With --memory two processes paint 30 and 300 small
frames. Prints Markdown.
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
from ml_collections import ConfigDict

from benchmarks.harness.program import OURS, Case, Program
from configs import video as video_config
from examples import make_clip as example
from msst_jax.errors import UserError
from msst_jax.models.feedforward_model import FeedforwardModel, load_feedforward
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.ops.image import composite, normalize, to_uint8
from msst_jax.pipelines.video import frame_size
from msst_jax.regions.segmenter import Segmenter, Size, load_segmenter
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.runtime.devices import request_deterministic_ops
from msst_jax.video.batching import FrameBatch, batch_frames
from msst_jax.video.blend_schedule import constant_blend
from msst_jax.video.feedforward import feedforward_stylizer
from msst_jax.video.io.formats import CONTAINER_FORMATS
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.segments import SegmentOptions
from msst_jax.video.io.types import Frame, VideoSource
from msst_jax.video.io.writer import video_writer
from msst_jax.video.resume import ChunkPlan, ResumeFolder, segment_length
from msst_jax.video.streaming import FrameStylizer, stream_video
from msst_jax.video.temporal_masks import MaskSpec, build_mask_spec, frame_masks, initial_mask_state, key_frames

GROUP = "video"
SCRIPT = Path(__file__).parents[2] / "stylize.py"
SHORT, LONG = 30, 300  # frames, of --memory
MEMORY_SIZE = 640  # longest side, of --memory: 270 frames more would take 250 MB if they were kept
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss


class Scene(NamedTuple):
    """A clip, and what paints it."""

    clip: VideoSource
    size: Size
    frames: int
    config: ConfigDict
    model: FeedforwardModel
    segmenter: Segmenter
    layout: MaskSpec
    painter: FrameStylizer
    batch: int


def make_scene(path: Path, model: str, size: int, frames: int, output: str) -> Scene:
    """Opens a clip and loads the networks."""
    config = video_config.get_config()
    config.size = size
    clip = open_video(path)
    shape = frame_size(clip.info, config, Path(f"out{output}"))
    loaded = load_feedforward(model)
    segmenter = load_segmenter(config.segmenter, [name for name in loaded.regions if name != "background"])
    layout = build_mask_spec(config, loaded.regions, [], segmenter, shape)
    painter, batch = feedforward_stylizer(config, loaded, segmenter, layout, constant_blend(0.0))
    count = len(list(itertools.islice(clip.frames(), frames)))
    return Scene(clip, shape, count, config, loaded, segmenter, layout, painter, batch)


def source_of(scene: Scene) -> Any:
    """Batches of the clip, decoded as they are asked for."""
    width, height = scene.size
    nothing = np.zeros((height, width, 0), np.uint8)
    frames = itertools.islice(scene.clip.frames(), scene.frames)
    return batch_frames(enumerate(frames), lambda number: nothing, scene.size, scene.batch)


def whole(scene: Scene, output: str) -> None:
    """What stylize.py does with a clip, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        segment = segment_length(scene.batch, scene.clip.info.rate) if output in CONTAINER_FORMATS else 0
        parts = ResumeFolder(place / "parts", ChunkPlan(scene.batch, segment), {}, resume=False)
        segments = SegmentOptions(segment or sys.maxsize, parts.add_segment)
        with video_writer(place / f"out{output}", scene.clip.info, *scene.size, segments=segments) as writer:
            stream_video(source_of(scene), scene.painter, writer, parts, threading.Event())


def parts_of(scene: Scene, output: str) -> dict[str, Callable[[], None]]:
    """The parts of the work, each for all frames and with nothing beside it."""
    prepared: list[FrameBatch] = list(source_of(scene))
    painter = scene.painter

    def decode() -> None:
        for _ in source_of(scene):
            pass

    def paint() -> None:
        state = painter.state
        for batch in prepared:
            painted, _, state = painter.paint(batch, state)
            painted.block_until_ready()

    def encode() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            video_writer(Path(folder) / f"out{output}", scene.clip.info, *scene.size) as writer,
        ):
            for batch in prepared:
                for image, moment in zip(batch.images, batch.timings, strict=False):
                    writer.write(Frame(image, moment.time, moment.duration))

    return {
        "decode": decode,
        "regions": _regions(scene, prepared),
        "stylise": _stylise(scene, prepared),
        "regions and stylise, one program": paint,
        "encode": encode,
    }


def _regions(scene: Scene, prepared: Sequence[FrameBatch]) -> Callable[[], None]:
    definition, weights = nnx.split(scene.segmenter.model)

    @jax.jit
    def find(weights: Any, frames: jax.Array, given: jax.Array, state: Any) -> Any:
        photos = frames.astype(jnp.float32) / 255
        keys = key_frames(0, scene.batch, scene.config.segment_every)
        return frame_masks(scene.layout, nnx.merge(definition, weights), photos, given, state, keys)

    def run() -> None:
        state = initial_mask_state(scene.layout)
        for batch in prepared:
            masks, _, state = find(weights, batch.images, batch.given, state)
            jax.block_until_ready(masks)

    return run


def _stylise(scene: Scene, prepared: Sequence[FrameBatch]) -> Callable[[], None]:
    definition, weights = nnx.split(scene.model.network)
    width, height = scene.size
    styles = len(scene.model.regions)
    masks = jnp.full((scene.batch, height, width, styles), 1 / styles)

    @jax.jit
    def stylise(weights: Any, frames: jax.Array, masks: jax.Array) -> jax.Array:
        photos = normalize(frames.astype(jnp.float32) / 255)
        styled = nnx.merge(definition, weights)(photos, blend_mixtures(styles, 0.0))
        return to_uint8(jax.vmap(composite)(styled, masks))

    def run() -> None:
        for batch in prepared:
            stylise(weights, batch.images, masks).block_until_ready()

    return run


def seconds_of(run: Callable[[], None]) -> float:
    """Of the second of two runs: the first compiles."""
    run()
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def throughput(scene: Scene, output: str) -> None:
    """Prints the table."""
    whole(scene, output)
    parts = {name: seconds_of(run) for name, run in parts_of(scene, output).items()}
    started = time.perf_counter()
    whole(scene, output)
    total = time.perf_counter() - started
    print(f"{scene.clip.info.path.name}, {scene.frames} frames of {scene.size[0]}x{scene.size[1]}, ", end="")
    print(f"{scene.batch} at a time, to {output}; {jax.default_backend()}: {jax.devices()[0].device_kind}\n")
    print("| part | ms a frame | frames a second |\n|---|---|---|")
    for name, seconds in {**parts, "whole pipeline": total}.items():
        print(f"| {name} | {1000 * seconds / scene.frames:.1f} | {scene.frames / seconds:.2f} |")
    share = parts["regions and stylise, one program"] / total
    print(f"\nThe device part alone takes {share:.0%} of the whole.")


def cases(quick: bool) -> list[Case]:
    """The whole pipeline with the model of the package, for `python -m benchmarks`; PyTorch has nothing like it."""
    frames, size = (4, 64) if quick else (24, 640)
    return [
        Case(
            group=GROUP,
            what="clip to clip: regions, built-in fast model, smoothing",
            size=f"{frames} frames, {size} long",
            unit="frame",
            programs={OURS: partial(start_whole, frames, size)},
            pieces=frames,
        )
    ]


def start_whole(frames: int, size: int) -> Program:
    """The clip of examples/make_clip.py; the first call compiles."""
    folder = tempfile.TemporaryDirectory()
    clip = example.write(Path(folder.name) / "clip.mp4", frames)
    scene = make_scene(clip, "builtin", size, frames, ".mp4")

    def advance() -> None:
        assert folder  # it holds the clip
        whole(scene, ".mp4")

    return Program(advance)


def memory(model: str) -> None:
    """Prints the peak memory of stylize.py for two lengths of one clip."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in (SHORT, LONG):  # in this order: the system only tells the largest of all processes
            clip = Path(folder) / f"{frames}.mp4"
            example.write(clip, frames)
            command = [sys.executable, SCRIPT, clip, "--model", model, "-o", clip.with_suffix(".out.mp4"), "--quiet"]
            subprocess.run([*map(str, command), f"--config.size={MEMORY_SIZE}"], check=True)
            peaks.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * UNIT / 1e6)
    print("| frames | peak memory, MB |\n|---|---|")
    for frames, peak in zip((SHORT, LONG), peaks, strict=True):
        print(f"| {frames} | {peak:.0f} |")
    print(f"\n{peaks[1] / peaks[0] - 1:+.1%}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and measures."""
    parser = ArgumentParser(prog="python -m benchmarks.video", description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--frames", type=int, default=30, help="measure the first so many")
    parser.add_argument("--size", type=int, default=0, help="longest side; 0 = the clip's own")
    parser.add_argument("--output", choices=CONTAINER_FORMATS, default=".mp4")
    parser.add_argument("--memory", action="store_true")
    flags = parser.parse_args(arguments)
    configure_logging(quiet=True)
    request_deterministic_ops()
    if flags.memory:
        memory(flags.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        clip = flags.clip or example.write(Path(folder) / "astronaut_clip.mp4", flags.frames)
        throughput(make_scene(clip, flags.model, flags.size, flags.frames, flags.output), flags.output)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print_line("benchmarks.video", error)
        sys.exit(2)
