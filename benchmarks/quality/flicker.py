"""Flicker of stylized video: warping error with and without temporal smoothing.

    python -m benchmarks.quality.flicker VIDEO... [--model builtin] [--frames N] [--size 512]
    python -m benchmarks.quality.flicker VIDEO --stylized VIDEO [--frames N]

stylize.py stylizes each video three times: with its defaults, with unsmoothed images (--config.picture_smoothing=0),
and with unsmoothed masks too (--config.mask_smoothing=0). The metric is the warping error E_warp (Lai et al. 2018,
arXiv:1808.00449): every frame is warped to the next along the optical flow of the input video (OpenCV's DIS) and
compared with it; the squared difference of RGB in [0, 1], averaged over the three channels, over the pixels visible in
both frames, and over the video. Occluded pixels and motion boundaries are excluded as in Ruder et al. 2016,
arXiv:1604.08610. The input video is measured too: no stylized version can be expected to flicker less. "edges" counts
only pixels at or near a difference between the last two versions in one of the two frames, which is where the masks
have edges. Prints Markdown, times 1000.

With --stylized a stylized version that is there already, of any program, is measured at its own size, and the input.
"""

import argparse
import itertools
import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.harness.arguments import at_least
from benchmarks.harness.averages import mean_known
from benchmarks.harness.child import run_child
from msst_jax.errors import UserError
from msst_jax.io.images import fit_size
from msst_jax.runtime.console import ArgumentParser, print_line
from msst_jax.video.io.reader import open_video

SCRIPT = Path(__file__).parents[2] / "stylize.py"
VERSIONS = {
    "smoothed": [],
    "images frame by frame": ["--config.picture_smoothing=0"],
    "masks frame by frame too": ["--config.picture_smoothing=0", "--config.mask_smoothing=0"],
}
INPUT = "input video"
VISIBLE_DIFFERENCE = 8 / 255  # of a channel; smaller ones are invisible
EDGE_REACH = 0.01  # radius of the edges, relative to the longest side


class Step(NamedTuple):
    """Motion from a frame to the next."""

    flow: np.ndarray
    """float32 (H, W, 2), (dx, dy) in pixels: backward flow, from each pixel of the next frame into the frame."""
    visible: np.ndarray
    """bool (H, W), pixels of the next frame that are also visible in the frame, without motion boundaries."""


class Errors(NamedTuple):
    """E_warp of one version of a video; NaN if there is nothing to compare."""

    everywhere: float
    edges: float


def import_cv2() -> ModuleType:
    """Imports OpenCV.

    Raises:
      UserError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(f"cv2 cannot be imported ({error}); run pip install '.[test]'") from error
    return cv2


def estimate_flow(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Optical flow from `source` to `target`, both uint8 (H, W, 3): float32 (H, W, 2), (dx, dy) in pixels."""
    cv2 = import_cv2()
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (source, target)]
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*gray, None)


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Samples an image (H, W, C) where a flow (H, W, 2) points, bilinearly, with replicated borders."""
    cv2 = import_cv2()
    rows, columns = np.indices(flow.shape[:2], np.float32)
    positions = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(image, *positions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def visible_in_both(backward: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Pixels of a frame that are also visible in the previous frame and not at a motion boundary.

    Args:
      backward: (H, W, 2), flow from the frame to the previous frame.
      forward: (H, W, 2), flow from the previous frame to the frame.

    Returns:
      bool (H, W).

    Source: the two inequalities of the short-term loss of arXiv:1604.08610, after Sundaram et al. 2010; in addition,
    pixels whose flow leaves the image are not visible.
    """
    warped = warp(forward, backward)
    lengths = (warped**2).sum(-1) + (backward**2).sum(-1)
    disoccluded = ((warped + backward) ** 2).sum(-1) > 0.01 * lengths + 0.5
    slopes = sum((slope**2).sum(-1) for slope in np.gradient(backward, axis=(0, 1)))
    boundary = slopes > 0.01 * (backward**2).sum(-1) + 0.002
    height, width = backward.shape[:2]
    rows, columns = np.indices((height, width), np.float32)
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) & ~disoccluded & ~boundary


def estimate_step(frame: np.ndarray, following: np.ndarray) -> Step:
    """Motion from a frame to the next, both uint8 (H, W, 3)."""
    backward = estimate_flow(following, frame)
    return Step(backward, visible_in_both(backward, estimate_flow(frame, following)))


def step_error(frame: np.ndarray, following: np.ndarray, flow: np.ndarray, mask: np.ndarray) -> float:
    """Mean squared difference of the next frame and the frame warped to it; NaN if the mask is empty.

    Args:
      frame: uint8 (H, W, 3).
      following: the next frame.
      flow: see `Step`.
      mask: bool (H, W), the pixels that count.
    """
    scaled = [image.astype(np.float32) / 255 for image in (frame, following)]
    squares = (warp(scaled[0], flow) - scaled[1]) ** 2
    return float(squares[mask].mean()) if mask.any() else math.nan


def warp_error(frames: Iterable[np.ndarray], flows: Iterable[np.ndarray], masks: Iterable[np.ndarray]) -> float:
    """E_warp of a video: mean of `step_error` over its steps, without those with an empty mask.

    Args:
      frames: T of uint8 (H, W, 3).
      flows: T - 1; see `Step`.
      masks: T - 1 of bool (H, W), the pixels that count.

    Returns:
      The error, at least 0; NaN if no step counts.

    Source: the evaluation metrics of arXiv:1808.00449, which sum over the channels; here their mean is taken.
    """
    steps = zip(itertools.pairwise(frames), flows, masks, strict=True)
    return mean_known([step_error(frame, following, flow, mask) for (frame, following), flow, mask in steps])


def near_edges(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pixels at or near a visible difference of two versions of a frame, uint8 (H, W, 3); bool (H, W)."""
    cv2 = import_cv2()
    differs = np.abs(one.astype(np.float32) - other).max(-1) > VISIBLE_DIFFERENCE * 255
    reach = max(1, round(EDGE_REACH * max(differs.shape)))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.dilate(differs.astype(np.uint8), kernel).astype(bool)


def video_errors(video: Iterable[np.ndarray], versions: Mapping[str, Iterable[np.ndarray]]) -> dict[str, Errors]:
    """E_warp of the versions of a video, and of the input video; holds two frames of each at a time.

    Args:
      video: frames, uint8 (H, W, 3).
      versions: as many frames each, of the same size; the last two determine the edges.

    Raises:
      ValueError: the versions differ from the video in their number of frames.
    """
    errors: dict[str, list[Errors]] = {name: [] for name in (*versions, INPUT)}
    frames = zip(*versions.values(), video, strict=True)
    for current, following in itertools.pairwise(frames):
        flow, visible = estimate_step(current[-1], following[-1])
        current_edges, following_edges = (near_edges(*images[-3:-1]) for images in (current, following))
        edges = visible & (following_edges | (warp(current_edges.astype(np.float32), flow) > 0.5))
        for step_errors, first, second in zip(errors.values(), current, following, strict=True):
            step_errors.append(Errors(*(step_error(first, second, flow, mask) for mask in (visible, edges))))
    return {
        name: Errors(mean_known([error.everywhere for error in steps]), mean_known([error.edges for error in steps]))
        for name, steps in errors.items()
    }


def format_rows(video: str, errors: Mapping[str, Errors]) -> list[str]:
    """Markdown rows of a video: the errors of each version, and their ratios to those of the last version."""
    last = list(errors)[-2]  # the input video comes after it
    lines = []
    for name in errors:
        ratios = [one / other if other else math.nan for one, other in zip(errors[name], errors[last], strict=True)]
        cells = [f"{_thousandths(error)} ({_ratio(ratio)})" for error, ratio in zip(errors[name], ratios, strict=True)]
        lines.append(f"| {video} | {name} | {' | '.join(cells)} |")
    return lines


def _thousandths(error: float) -> str:
    return "-" if math.isnan(error) else f"{1000 * error:.3f}"


def _ratio(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{ratio:.3f}"


def read_frames(path: Path, size: tuple[int, int] | None = None) -> Iterator[np.ndarray]:
    """Frames of a video, uint8 (H, W, 3), resized to (width, height) if given."""
    for frame in open_video(path).frames():
        picture = Image.fromarray(frame.image)
        unchanged = size is None or size == picture.size
        yield frame.image if unchanged else np.asarray(picture.resize(size or picture.size, Image.Resampling.BILINEAR))


def save_frames(video: Path, folder: Path, size: int, count: int | None) -> str:
    """Writes the first frames of a video as 000001.png, ..., at most `size` pixels long; returns their frame rate.

    stylize.py and the measurement then use exactly the same pixels.

    Raises:
      UserError: the video cannot be read, is too small, or has fewer than two frames.
    """
    opened = open_video(video)
    longest = max(opened.info.width, opened.info.height)
    target = fit_size(opened.info.width, opened.info.height, min(size, longest) if size else 0)
    folder.mkdir()
    number = 0
    for number, image in enumerate(itertools.islice(read_frames(video, target), count), 1):
        Image.fromarray(image).save(folder / f"{number:06}.png", compress_level=1)
    if number < 2:
        raise UserError(f"video {video} has {number} frame(s); at least 2 are needed")
    return str(opened.info.rate)


def stylize(frames: Path, rate: str, model: str, output: Path, settings: Sequence[str]) -> None:
    """Runs stylize.py on a folder of frames.

    Raises:
      UserError: it fails; contains the last line of its stderr.
    """
    command = [sys.executable, str(SCRIPT), str(frames), "--rate", rate, "--model", model, "-o", str(output)]
    run_child([*command, "--config.size=0", "--quiet", *settings], "stylize.py failed with {code}")


def measure(video: Path, model: str, size: int, count: int | None) -> dict[str, Errors]:
    """Stylizes a video in all versions and measures them.

    Raises:
      UserError: see `save_frames` and `stylize`.
    """
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        rate = save_frames(video, frames, size, count)
        outputs = {name: Path(folder) / f"version_{number}" for number, name in enumerate(VERSIONS)}
        for name, settings in VERSIONS.items():
            stylize(frames, rate, model, outputs[name], settings)
        total = len(list(frames.iterdir()))
        inputs = tqdm(read_frames(frames), total=total, unit="frame", desc="measure", disable=None)
        return video_errors(inputs, {name: read_frames(output) for name, output in outputs.items()})


def measure_stylized(video: Path, stylized: Path, count: int | None) -> dict[str, float]:
    """E_warp of a stylized version of a video, and of the video at the size of that version.

    Raises:
      UserError: one cannot be read, or they have different numbers of frames.
    """
    info = open_video(stylized).info
    frames = [list(itertools.islice(read_frames(path, (info.width, info.height)), count)) for path in (video, stylized)]
    inputs, outputs = frames
    if len(inputs) != len(outputs) or len(inputs) < 2:
        raise UserError(
            f"{video} has {len(inputs)} frames and {stylized} {len(outputs)}; as many are needed, at least 2: "
            "give --frames"
        )
    steps = [estimate_step(*pair) for pair in itertools.pairwise(inputs)]
    flows, masks = [step.flow for step in steps], [step.visible for step in steps]
    return {str(stylized.name): warp_error(outputs, flows, masks), INPUT: warp_error(inputs, flows, masks)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 success, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
        import_cv2()
        if flags.stylized:
            _print_stylized(flags)
            return 0
        lines = []
        for video in flags.videos:
            lines += format_rows(video.name, measure(video, flags.model, flags.size, flags.frames))
    except UserError as error:
        print_line("benchmarks.quality.flicker", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks.quality.flicker", "interrupted; run again for a complete table")
        return 130
    print("| video | version | 1000 E_warp | at the edges |\n|---|---|---|---|")
    print("\n".join(lines))
    extent = f"the first {flags.frames} frames" if flags.frames else "all frames"
    longest = f"at most {flags.size} pixels long" if flags.size else "at original size"
    print(f"\n{extent}, {longest}, model {flags.model}; lower is steadier; in brackets: relative to the last version")
    return 0


def _print_stylized(flags: argparse.Namespace) -> None:
    if len(flags.videos) > 1:
        raise UserError(f"--stylized is a version of one video, found {len(flags.videos)}")
    errors = measure_stylized(flags.videos[0], flags.stylized, flags.frames)
    print("| version | 1000 E_warp |\n|---|---|")
    for name, error in errors.items():
        print(f"| {name} | {_thousandths(error)} |")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks.quality.flicker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="a video file, or a folder of frames")
    parser.add_argument("--model", default="builtin", metavar="DIR|builtin", help="feed-forward model")
    parser.add_argument("--stylized", type=Path, metavar="VIDEO", help="a file or a folder of frames: measure only it")
    parser.add_argument("--frames", type=at_least(2), metavar="N", help="use only the first N frames")
    parser.add_argument("--size", type=at_least(0), default=512, help="longest side in pixels, 0 = original size")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
