"""How much a stylised clip flickers, with and without smoothing over time.

    python -m benchmarks.flicker CLIP... [--model builtin] [--frames N] [--size 512]

stylize.py paints each clip three times: as it does by default, with pictures frame by frame
(--config.picture_smoothing=0), and with the masks frame by frame too (--config.mask_smoothing=0). Measured is the
warping error E_warp (Lai et al. 2018, arXiv:1808.00449): every frame is moved to where the next one is, along the
optical flow of the clip itself (OpenCV's DIS), and compared with it; the squared difference of RGB in [0, 1], mean of
the three channels and of the pixels that both frames show, averaged over the clip. Those that they do not both show,
and the edges of what moves, are left out as in Ruder et al. 2016, arXiv:1604.08610. The same is measured for the clip
itself: no version of it can be expected to flicker less. "edges" is only where the last two versions differ in one of
the two frames, and close by, which is where the masks have edges. Prints Markdown, times 1000.
"""

import argparse
import itertools
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.images import fit_size
from msst_jax.runtime.console import ArgumentParser, print_line
from msst_jax.video.io.reader import open_video

SCRIPT = Path(__file__).parents[2] / "stylize.py"
VERSIONS = {
    "smoothed": [],
    "pictures frame by frame": ["--config.picture_smoothing=0"],
    "masks frame by frame too": ["--config.picture_smoothing=0", "--config.mask_smoothing=0"],
}
INPUT = "the clip itself"
DIFFERS = 8 / 255  # of a channel; less is not seen
CLOSE = 0.01  # of the longest side, how far the edges reach


class Step(NamedTuple):
    """From a frame to the next."""

    flow: np.ndarray
    """float32 (H, W, 2), (dx, dy) in pixels: for each pixel of the next frame, where it was in the frame."""
    seen: np.ndarray
    """bool (H, W), of the next frame: what the frame shows too, and not at the edge of what moves."""


class Errors(NamedTuple):
    """E_warp of one version of a clip; NaN where there is nothing to compare."""

    everywhere: float
    edges: float


def import_cv2() -> ModuleType:
    """OpenCV.

    Raises:
      UserError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(f"cv2 cannot be imported ({error}); run pip install '.[test]'") from error
    return cv2


def flow_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where each pixel of `source` is in `target`, both uint8 (H, W, 3): float32 (H, W, 2), (dx, dy) in pixels."""
    cv2 = import_cv2()
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (source, target)]
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)


def warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """What an image (H, W, C) shows where a flow (H, W, 2) points, bilinear; the border repeated."""
    cv2 = import_cv2()
    rows, columns = np.indices(flow.shape[:2], np.float32)
    places = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def seen_in_both(backward: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """The pixels of a frame that the frame before shows too, and that are not at the edge of what moves.

    Args:
      backward: (H, W, 2), from each pixel of the frame to the frame before.
      forward: (H, W, 2), from each pixel of the frame before to the frame.

    Returns:
      bool (H, W).

    Source: the two inequalities of the short-term loss of arXiv:1604.08610, after Sundaram et al. 2010; and what the
    flow takes from outside the picture is not seen.
    """
    there = warped(forward, backward)
    lengths = (there**2).sum(-1) + (backward**2).sum(-1)
    disoccluded = ((there + backward) ** 2).sum(-1) > 0.01 * lengths + 0.5
    slopes = sum((slope**2).sum(-1) for slope in np.gradient(backward, axis=(0, 1)))
    boundary = slopes > 0.01 * (backward**2).sum(-1) + 0.002
    height, width = backward.shape[:2]
    rows, columns = np.indices((height, width), np.float32)
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) & ~disoccluded & ~boundary


def step_between(before: np.ndarray, after: np.ndarray) -> Step:
    """The step from a frame to the next, both uint8 (H, W, 3)."""
    backward = flow_between(after, before)
    return Step(backward, seen_in_both(backward, flow_between(before, after)))


def step_error(before: np.ndarray, after: np.ndarray, flow: np.ndarray, mask: np.ndarray) -> float:
    """Mean squared difference of a frame and the one before moved to it; NaN if the mask is empty.

    Args:
      before: uint8 (H, W, 3).
      after: the next frame.
      flow: see `StepOutput`.
      mask: bool (H, W), the pixels that count.
    """
    scaled = [image.astype(np.float32) / 255 for image in (before, after)]
    squares = (warped(scaled[0], flow) - scaled[1]) ** 2
    return float(squares[mask].mean()) if mask.any() else math.nan


def warp_error(frames: Iterable[np.ndarray], flows: Iterable[np.ndarray], masks: Iterable[np.ndarray]) -> float:
    """E_warp of a clip: the mean of `step_error` over its steps; those with an empty mask do not count.

    Args:
      frames: T of uint8 (H, W, 3).
      flows: T - 1; see `StepOutput`.
      masks: T - 1 of bool (H, W), the pixels that count.

    Returns:
      The error from 0 up; NaN if no step counts.

    Source: the evaluation metrics of arXiv:1808.00449, there with a sum over the channels, here with their mean.
    """
    steps = zip(itertools.pairwise(frames), flows, masks, strict=True)
    return _mean([step_error(before, after, flow, mask) for (before, after), flow, mask in steps])


def _mean(errors: Sequence[float]) -> float:
    known = [error for error in errors if not math.isnan(error)]
    return sum(known) / len(known) if known else math.nan


def near_edges(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where two versions of a frame, uint8 (H, W, 3), differ visibly, and close by; bool (H, W)."""
    cv2 = import_cv2()
    differs = np.abs(one.astype(np.float32) - other).max(-1) > DIFFERS * 255
    reach = max(1, round(CLOSE * max(differs.shape)))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.dilate(differs.astype(np.uint8), square).astype(bool)


def clip_errors(clip: Iterable[np.ndarray], versions: Mapping[str, Iterable[np.ndarray]]) -> dict[str, Errors]:
    """E_warp of versions of a clip, and of itself; two frames of each are held at a time.

    Args:
      clip: frames, uint8 (H, W, 3).
      versions: as many frames each, of the same size; the last two tell where edges are.

    Raises:
      ValueError: the versions have not as many frames as the clip.
    """
    errors: dict[str, list[Errors]] = {name: [] for name in (*versions, INPUT)}
    moments = zip(*versions.values(), clip, strict=True)
    for before, after in itertools.pairwise(moments):
        flow, seen = step_between(before[-1], after[-1])
        edge_before, edge_after = (near_edges(*moment[-3:-1]) for moment in (before, after))
        edges = seen & (edge_after | (warped(edge_before.astype(np.float32), flow) > 0.5))
        for own, first, second in zip(errors.values(), before, after, strict=True):
            own.append(Errors(*(step_error(first, second, flow, mask) for mask in (seen, edges))))
    return {
        name: Errors(_mean([error.everywhere for error in own]), _mean([error.edges for error in own]))
        for name, own in errors.items()
    }


def rows(clip: str, errors: Mapping[str, Errors]) -> list[str]:
    """The Markdown rows of a clip: each version's errors, and how they compare with the last version's."""
    *versions, last, own = errors
    made = []
    for name in (*versions, last, own):
        ratios = [one / other if other else math.nan for one, other in zip(errors[name], errors[last], strict=True)]
        cells = [f"{_thousandths(error)} ({_ratio(ratio)})" for error, ratio in zip(errors[name], ratios, strict=True)]
        made.append(f"| {clip} | {name} | {' | '.join(cells)} |")
    return made


def _thousandths(error: float) -> str:
    return "-" if math.isnan(error) else f"{1000 * error:.3f}"


def _ratio(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:.3f}"


def frames_of(path: Path, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
    """The frames of a clip, uint8 (H, W, 3); resized to (width, height) if that is given."""
    for frame in open_video(path).frames():
        picture = Image.fromarray(frame.image)
        same = size is None or size == picture.size
        yield frame.image if same else np.asarray(picture.resize(size or picture.size, Image.Resampling.BILINEAR))


def save_frames(clip: Path, folder: Path, size: int, count: int | None) -> str:
    """Writes the first frames of a clip as 000001.png, ..., at most `size` pixels long; returns their rate.

    What stylize.py and the measuring see is then the same, to the pixel.

    Raises:
      UserError: the clip cannot be read, is too small, or has less than two frames.
    """
    opened = open_video(clip)
    longest = max(opened.info.width, opened.info.height)
    target = fit_size(opened.info.width, opened.info.height, min(size, longest) if size else 0)
    folder.mkdir()
    number = 0
    for number, image in enumerate(itertools.islice(frames_of(clip, target), count), 1):
        Image.fromarray(image).save(folder / f"{number:06}.png", compress_level=1)
    if number < 2:
        raise UserError(f"clip {clip} has {number} frame(s); give one with two at least")
    return str(opened.info.rate)


def paint(frames: Path, rate: str, model: str, output: Path, settings: Sequence[str]) -> None:
    """Has stylize.py paint a folder of frames into another.

    Raises:
      UserError: it fails; its last line says why.
    """
    command = [sys.executable, str(SCRIPT), str(frames), "--rate", rate, "--model", model, "-o", str(output)]
    done = subprocess.run(
        [*command, "--config.size=0", "--quiet", *settings], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UserError(f"stylize.py failed with {done.returncode}: {said[-1] if said else 'it says nothing'}")


def measure(clip: Path, model: str, size: int, count: int | None) -> dict[str, Errors]:
    """Paints all versions of a clip and measures them.

    Raises:
      UserError: as `save_frames` and `paint`.
    """
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        rate = save_frames(clip, frames, size, count)
        outputs = {name: Path(folder) / f"version_{number}" for number, name in enumerate(VERSIONS)}
        for name, settings in VERSIONS.items():
            paint(frames, rate, model, outputs[name], settings)
        total = len(list(frames.iterdir()))
        shown = tqdm(frames_of(frames), total=total, unit="frame", desc="measure", disable=None)
        return clip_errors(shown, {name: frames_of(output) for name, output in outputs.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 done, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
        import_cv2()
        made = []
        for clip in flags.clips:
            made += rows(clip.name, measure(clip, flags.model, flags.size, flags.frames))
    except UserError as error:
        print_line("benchmarks.flicker", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks.flicker", "interrupted; run again for a whole table")
        return 130
    print("| clip | version | 1000 E_warp | at the edges |\n|---|---|---|---|")
    print("\n".join(made))
    extent = f"the first {flags.frames} frames" if flags.frames else "all frames"
    longest = f"at most {flags.size} pixels long" if flags.size else "at their own size"
    print(f"\n{extent}, {longest}, model {flags.model}; lower is steadier; in brackets, of the last version")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks.flicker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="a video, or a folder of frames")
    parser.add_argument("--model", default="builtin", metavar="DIR|builtin", help="the fast model that paints")
    parser.add_argument("--frames", type=_at_least(2), metavar="N", help="only the first so many")
    parser.add_argument("--size", type=_at_least(0), default=512, help="longest side in pixels, 0 = as it is")
    return parser.parse_args(arguments)


def _at_least(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
        return int(text)

    return count


if __name__ == "__main__":
    sys.exit(main())
