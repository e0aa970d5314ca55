"""DeepLab-V3: how well it segments, and how fast beside PyTorch.

    python -m benchmarks.segmentation --weights deeplabv3_resnet101 --data DIR [--limit N]
    python -m benchmarks.segmentation --speed [--network NAME] [--size 520] [--pairs 5]

The first prints the intersection over union of every class, over DIR/images/*.jpg and DIR/masks/*.png (palette
pictures whose index is the class, 255 = ignored). --weights is a network whose converted weights are looked for
where stylize.py looks, or a file of weights. The second times this project and torchvision in turns, one picture a
turn, on the same random weights. Both print Markdown.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from msst_jax.errors import ArgumentParser, UserError, print_line
from msst_jax.images import read_picture
from msst_jax.models.deeplab import NAMES, SEGMENTERS, DeepLabV3
from msst_jax.segmentation import class_probabilities
from msst_jax.segmenters import Segmenter, load_segmenter
from msst_jax.voc import CLASSES

IGNORED = 255
AGREEMENT = 2e-5  # of the largest score


def confusion(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pixels by class in the mask (rows) and class found (columns), (21, 21); ignored pixels left out."""
    count, known = len(CLASSES), truth != IGNORED
    return np.bincount(count * truth[known].astype(int) + found[known], minlength=count**2).reshape(count, count)


def intersection_over_union(counts: np.ndarray) -> np.ndarray:
    """IoU of every class, (21,); NaN for a class that is neither in a mask nor found."""
    both = np.diag(counts).astype(float)
    either = counts.sum(0) + counts.sum(1) - both
    return np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)


def read_mask(path: Path) -> np.ndarray:
    """Class indices (H, W).

    Raises:
      UserError: missing or unreadable, or not a picture of class indices.
    """
    try:
        with Image.open(path) as picture:
            mask = np.asarray(picture)
            mode = picture.mode
    except Exception as error:  # Pillow's many decoders raise whatever damaged data lead them to
        raise UserError(f"mask {path} cannot be read ({error}); every photo needs one of its name") from error
    if mode not in ("P", "L") or not np.isin(mask, [*range(len(CLASSES)), IGNORED]).all():
        raise UserError(f"mask {path} ({mode}) must hold class indices 0 to {len(CLASSES) - 1}, or {IGNORED}")
    return mask


def evaluate(segmenter: Segmenter, folder: Path, limit: int | None = None) -> tuple[np.ndarray, int]:
    """The confusion matrix over the first `limit` pairs of a folder, and how many pairs that were.

    Raises:
      UserError: no photos, one that cannot be used, or a mask that does not fit its photo.
    """
    photos = sorted((folder / "images").glob("*.jpg"))[:limit]
    if not photos:
        raise UserError(f"{folder} has no images/*.jpg; give a folder with images/ and masks/")
    counts = np.zeros((len(CLASSES), len(CLASSES)), int)
    for path in tqdm(photos, unit="photo", disable=None):
        photo = read_picture(path, "photo")
        truth = read_mask(folder / "masks" / f"{path.stem}.png")
        if truth.shape != photo.size[::-1]:
            raise UserError(f"the mask of {path} has another size than the photo")
        try:
            found = class_probabilities(segmenter, photo).argmax(-1)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        counts += confusion(truth, found)
    return counts, len(photos)


def load(weights: str) -> Segmenter:
    """The network of --weights: a name, or a file whose metadata has the name.

    Raises:
      UserError: weights that are missing, damaged or of another network.
    """
    if weights in SEGMENTERS:
        return load_segmenter(weights)
    try:
        with safe_open(weights, "numpy") as file:
            name = (file.metadata() or {}).get("network")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"weights {weights} cannot be read ({error}); give a file that convert_weights wrote, or one of "
            f"{', '.join(SEGMENTERS)}"
        ) from error
    if name not in SEGMENTERS:
        raise UserError(f"weights {weights} are of {name or 'no named network'}; use one of {', '.join(SEGMENTERS)}")
    return load_segmenter(name, path=Path(weights))


def print_accuracy(weights: str, folder: Path, limit: int | None) -> None:
    """The table of the first use."""
    counts, photos = evaluate(load(weights), folder, limit)
    scores = intersection_over_union(counts)
    print("| class | IoU |\n|---|---|")
    for name, score in zip(CLASSES, scores, strict=True):
        print(f"| {name} | {'-' if np.isnan(score) else f'{score:.1%}'} |")
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    print(f"| **mean** | **{np.nanmean(scores):.1%}** |\n\n{photos} photos; {accuracy:.1%} of the pixels right")


def programs(name: str, size: int) -> dict[str, Callable[[], np.ndarray]]:
    """This project and torchvision on the same weights and picture; each call gives the logits, NHWC."""
    import jax
    from flax import nnx

    from convert_weights.convert import convert
    from convert_weights.networks import NETWORKS
    from convert_weights.torch_compat import import_torch, import_torchvision
    from msst_jax.models.weights import assign

    torch = import_torch()
    torch.manual_seed(0)
    network = getattr(import_torchvision().models.segmentation, name)(weights=None, weights_backbone=None).eval()
    state = {key: value.float().numpy() for key, value in network.state_dict().items()}
    tensors = convert(state, NETWORKS[name], deepest=None, dtype=np.float32, origin="torchvision's")
    model = assign(nnx.eval_shape(lambda: DeepLabV3(name, rngs=nnx.Rngs(0))), tensors, "of torchvision")
    images = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype(np.float32)
    theirs_in, ours_in = torch.tensor(images).permute(0, 3, 1, 2).contiguous(), jax.numpy.asarray(images)
    forward = jax.jit(lambda model, images: model(images)).lower(model, ours_in).compile()

    def ours() -> np.ndarray:
        return np.asarray(forward(model, ours_in))

    def torchvision() -> np.ndarray:
        with torch.inference_mode():
            return network(theirs_in)["out"].permute(0, 2, 3, 1).numpy()

    return {"ours": ours, "torchvision": torchvision}


def print_speed(name: str, size: int, pairs: int) -> None:
    """The table of the second use.

    Raises:
      UserError: the two do not compute the same.
    """
    load_before = os.getloadavg()[0]
    running = programs(name, size)
    ours, theirs = (program() for program in running.values())  # warms up
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not error <= AGREEMENT:
        raise UserError(
            f"the programs do not compute the same: they differ by {error:.1e} of the largest score; run the tests"
        )
    seconds: dict[str, list[float]] = {program: [] for program in running}
    for _ in tqdm(range(pairs), unit="pair", disable=None):
        for program, call in running.items():
            gc.collect()
            started = time.perf_counter()
            call()
            seconds[program].append(time.perf_counter() - started)
    ratios = [their / own for their, own in zip(seconds["torchvision"], seconds["ours"], strict=True)]
    medians = " | ".join(f"{statistics.median(values):.3f}" for values in seconds.values())
    print("| network | size | ours, s | torchvision, s | torchvision / ours (range) |\n|---|---|---|---|---|")
    print(
        f"| {name} | {size}x{size} | {medians} | {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}) |"
    )
    print(f"\n{pairs} pairs in turns, {os.cpu_count()} cores; load average before: {load_before:.1f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 done, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
        if flags.speed:
            print_speed(flags.network, flags.size, flags.pairs)
        else:
            print_accuracy(flags.weights, flags.data, flags.limit)
    except UserError as error:
        print_line("benchmarks.segmentation", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks.segmentation", "interrupted; run again for a whole table")
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks.segmentation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", metavar="FILE|NAME", help="what to evaluate")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with images/ and masks/")
    parser.add_argument("--limit", type=_count, help="evaluate the first so many photos only")
    parser.add_argument("--speed", action="store_true", help="time this project and torchvision instead")
    parser.add_argument("--network", choices=NAMES, default=NAMES[0], help="what to time")
    parser.add_argument("--size", type=_count, default=520, help="side of the timed picture in pixels")
    parser.add_argument("--pairs", type=_count, default=5, help="how many times the programs take turns")
    flags = parser.parse_args(arguments)
    if not flags.speed and not (flags.weights and flags.data):
        parser.error("give --weights and --data, or --speed")
    return flags


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
