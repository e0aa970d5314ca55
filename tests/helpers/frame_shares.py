"""A video on one device and over four, compared: `python -m tests.helpers.frame_shares CASE`, one of CASES.

In a process of its own: programs over several devices wait for each other in the threads of a CPU.
"""

import json
import re
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from msst_jax.models.feedforward_model import load_feedforward
from msst_jax.regions.masks import MaskSpec
from msst_jax.regions.own_segmenter import OwnSegmenter
from msst_jax.registry import SegmenterEntry
from msst_jax.transfer.build import build_options
from msst_jax.video import feedforward
from msst_jax.video.batching import FrameBatch, FrameTiming
from msst_jax.video.blend_schedule import parse_blend_schedule
from msst_jax.video.feedforward import compiled_stylizer
from msst_jax.video.temporal_masks import build_mask_spec
from tests.helpers.feedforward import small_model
from tests.helpers.pictures import quick_config
from tests.helpers.segmenters import WEIGHTS, ColourSegmenter, Segmenter
from tests.helpers.videos import moving

DEVICES = 4
HEIGHT, WIDTH = 24, 32


class Case(NamedTuple):
    """A way to stylize a video.

    Attributes:
      batch: frames of a batch.
      alone: those on one device.
      every: of how many frames one is segmented.
      on_host: by a function of the user's, before the compiled step.
      smoothing: of masks and pictures.
    """

    batch: int
    alone: int
    every: int = 1
    on_host: bool = False
    smoothing: float = 0.5


CASES = {
    "every_frame": Case(8, 8),
    "some_frames": Case(8, 8, every=4),  # two devices have a key frame, two have none
    "on_host": Case(8, 8, every=3, on_host=True),
    "no_smoothing": Case(12, 12, every=3, smoothing=0.0),
    "equal_shares": Case(8, 2),
}


def build_segmenter(on_host: bool) -> Any:
    """One that finds persons by their color."""
    if not on_host:
        return Segmenter(ColourSegmenter(), "deeplabv3_resnet101", WEIGHTS, (lambda size: size,))
    entry = SegmenterEntry(lambda: None, ("person",))
    return OwnSegmenter(lambda photo: (photo[..., :1] > 0.5).astype(np.float32), "own", entry)


class Programs:
    """Compiles what the stylizer runs, and keeps its text."""

    def __init__(self) -> None:
        self.compiled: dict[Any, Any] = {}

    def __call__(self, *key: Any) -> Any:
        """In the place of `compiled_stylizer`."""

        def run(*arguments: Any) -> Any:
            if key not in self.compiled:
                self.compiled[key] = compiled_stylizer(*key).lower(*arguments).compile()
            return self.compiled[key](*arguments)

        return run

    @property
    def texts(self) -> list[str]:
        """Of each program."""
        return [program.as_text() for program in self.compiled.values()]


def stylize(model: Path, case: Case, devices: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames of two batches, the second of which is not full, and the shares of their regions."""
    options = build_options(quick_config(segment_every=case.every, picture_smoothing=case.smoothing))
    network, segmenter = load_feedforward(str(model)), build_segmenter(case.on_host)
    spec = build_mask_spec(
        MaskSpec(network.regions, (), options.inputs.masks), segmenter, (WIDTH, HEIGHT), case.smoothing
    )
    length = case.batch if devices > 1 else case.alone
    stylizer, batch = feedforward.feedforward_stylizer(
        options.temporal, network, segmenter, spec, parse_blend_schedule("0:0,0.3:1"), length, jax.devices()[:devices]
    )
    assert batch == length
    frames, state, made = np.stack(moving(2 * case.batch, HEIGHT, WIDTH)), stylizer.state, []
    for number, start in enumerate(range(0, len(frames), batch)):
        images = frames[start : start + batch]
        timings = tuple(FrameTiming(Fraction(start + index, 25), Fraction(1, 25)) for index in range(batch))
        given = np.zeros((*images.shape[:3], 0), np.uint8)
        *arrays, state = stylizer.stylize(FrameBatch(number, images, given, timings, (None,) * batch), state)
        made.append([np.asarray(array) for array in arrays])
    pictures, fractions = (np.concatenate(values) for values in zip(*made, strict=True))
    return pictures, fractions


def frames_of_convolutions(program: str) -> list[int]:
    """The frames that each convolution of a program computes: the batch of its result."""
    found = re.findall(r"= \w+\[([\d,]+)\]\S* convolution\(.*dim_labels=\S*->(\w+)", program)
    return [int(shape.split(",")[labels.index("b")]) for shape, labels in found]


def exchanged(program: str) -> dict[str, int]:
    """The elements of the largest array that each kind of exchange between devices results in."""
    largest: dict[str, int] = {}
    kinds = "all-gather|all-to-all|all-reduce|collective-permute|reduce-scatter"
    for result, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", program):
        for shape in re.findall(r"\w+\[([\d,]*)\]", result):
            elements = int(np.prod([int(side) for side in shape.split(",") if side]))
            largest[kind] = max(largest.get(kind, 0), elements)
    return largest


def compare(case: Case) -> dict[str, Any]:
    """How far the pictures of four devices are from those of one, and what their programs compute and exchange."""
    with tempfile.TemporaryDirectory() as folder:
        model = small_model(Path(folder))
        one, shares = stylize(model, case, 1)
        feedforward.compiled_stylizer = programs = Programs()  # type: ignore[assignment]
        four, split_shares = stylize(model, case, DEVICES)
    differences = np.abs(one.astype(int) - four)
    return {
        "difference": int(differences.max()),
        "differing": float((differences > 0).mean()),
        "shares": float(np.abs(shares - split_shares).max()),
        "spread": float(one.std()),
        "programs": len(programs.texts),
        "convolutions": sorted({count for text in programs.texts for count in frames_of_convolutions(text)}),
        "exchanged": {kind: most for text in programs.texts for kind, most in exchanged(text).items()},
    }


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_default_matmul_precision", "highest")
    for name in sys.argv[1:]:
        print(json.dumps(compare(CASES[name])), flush=True)
