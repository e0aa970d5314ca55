"""The networks that find regions: how well they segment, and how fast beside PyTorch.

    python -m benchmarks.segmentation --weights NAME|FILE --data DIR [--limit N] [--no-refine] [--sheet FILE]
    python -m benchmarks.segmentation --speed [--network NAME] [--size 520] [--pairs 5]

The first prints the intersection over union of every class that the network knows, and of persons in photos where
they are large, over DIR/images/*.jpg and DIR/masks/*.png (palette pictures whose index is the class, 255 = ignored).
--weights is a network whose weights are looked for where stylize.py looks, or a file of weights; to person_vgg16 all
but persons is background. The second times this project and torchvision in turns, one picture a turn: a deeplabv3
network alone on the same random weights; person_vgg16 with all that makes probabilities of a photo, beside
torchvision's smallest network with the same. Both print Markdown.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import ArgumentParser, UserError, print_line
from msst_jax.files import check_writable
from msst_jax.images import check_output_format, read_picture, save_picture, to_array
from msst_jax.models.deeplab import NAMES, SEGMENTERS, DeepLabV3
from msst_jax.models.deeplab import PERSON as PERSON_NETWORK
from msst_jax.report import sheet, tinted
from msst_jax.segmentation import class_probabilities
from msst_jax.segmenters import VIEWS, Segmenter, Size, load_segmenter
from msst_jax.voc import CLASSES

IGNORED = 255
PERSON = CLASSES.index("person")
LARGE = 0.1  # of the picture
SHOWN = 24
PHOTO_SIZE = (512, 384)
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


class Segmented(NamedTuple):
    """A photo of the folder and what was found in it."""

    name: str
    photo: Image.Image
    truth: np.ndarray
    """Class indices (H, W); classes that the network does not know are background."""
    probabilities: np.ndarray
    """(H, W, 21)."""

    def person(self) -> float:
        """The share of the picture that persons cover in truth."""
        return float((self.truth == PERSON).mean())


def segment(segmenter: Segmenter, folder: Path, limit: int | None = None, *, refine: bool) -> Iterator[Segmented]:
    """The first `limit` pairs of a folder, one by one, at the photos' own size.

    Raises:
      UserError: no photos, one that cannot be used, or a mask that does not fit its photo.
    """
    photos = sorted((folder / "images").glob("*.jpg"))[:limit]
    if not photos:
        raise UserError(f"{folder} has no images/*.jpg; give a folder with images/ and masks/")
    for path in tqdm(photos, unit="photo", disable=None):
        photo = read_picture(path, "photo")
        truth = read_mask(folder / "masks" / f"{path.stem}.png")
        if truth.shape != photo.size[::-1]:
            raise UserError(f"the mask of {path} has another size than the photo")
        try:
            probabilities = class_probabilities(segmenter, photo, refine=refine)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        known = np.isin(truth, (*segmenter.model.classes, IGNORED))
        yield Segmented(path.stem, photo, np.where(known, truth, 0), probabilities)


def print_accuracy(
    weights: str, folder: Path, limit: int | None = None, *, refine: bool = True, sheet_file: Path | None = None
) -> None:
    """The table of the first use, and the sheet if there is a file for it."""
    segmenter = load_segmenter(weights)
    counts, persons, shown = [], [], []
    for found in segment(segmenter, folder, limit, refine=refine):
        counts.append(confusion(found.truth, found.probabilities.argmax(-1)))
        persons.append(found.person())
        if sheet_file:
            shown.append(_shown(found))
    classes, total = list(segmenter.model.classes), np.sum(counts, 0)
    print_table(classes, total)
    large = [count for count, share in zip(counts, persons, strict=True) if share > LARGE]
    score = intersection_over_union(np.sum(large, 0))[PERSON] if large else np.nan
    print(
        f"\nperson, in the {len(large)} photos where it covers more than {LARGE:.0%} of the picture: {_percent(score)}"
    )
    print(f"{len(counts)} photos; {np.trace(total) / max(total.sum(), 1):.1%} of the pixels right")
    print(f"edges {'moved onto' if refine else 'not moved onto'} those of the photo; void pixels left out")
    if sheet_file:
        places = np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).round().astype(int)
        save_picture(sheet([shown[place] for place in places], height=256, columns=6), sheet_file)


def print_table(classes: Sequence[int], counts: np.ndarray) -> None:
    """The IoU of every class that the network knows, and of all 21 their mean; counts as of `confusion`."""
    scores = intersection_over_union(counts)
    print("| class | IoU |\n|---|---|")
    for index in classes:
        print(f"| {CLASSES[index]} | {_percent(scores[index])} |")
    if len(classes) == len(CLASSES):
        print(f"| **mean** | **{_percent(np.nanmean(scores))}** |")


def _percent(score: float) -> str:
    return "-" if np.isnan(score) else f"{score:.1%}"


def _shown(found: Segmented) -> tuple[str, Image.Image]:
    """What the sheet shows of a photo: its caption, and the person that was found in a colour."""
    mask = found.probabilities[..., PERSON]
    caption = f"{found.name}: {(mask > 0.5).mean():.0%}, in truth {found.person():.0%}"
    small = tinted(to_array(found.photo), {CLASSES[PERSON]: mask})
    small.thumbnail((512, 256))
    return caption, small


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


def person_programs() -> dict[str, Callable[[], object]]:
    """The whole way of one photo to class probabilities by the person network, and by torchvision's smallest."""
    from convert_weights.torch_compat import import_torch, import_torchvision

    torch, models = import_torch(), import_torchvision().models.segmentation
    network = getattr(models, NAMES[-1])(weights=None, weights_backbone=None).eval()
    preset = models.DeepLabV3_MobileNet_V3_Large_Weights.DEFAULT.transforms()
    pixels = np.random.default_rng(0).integers(0, 256, (PHOTO_SIZE[1], PHOTO_SIZE[0], 3), np.uint8)
    photo, segmenter = Image.fromarray(pixels), load_segmenter(PERSON_NETWORK)

    def torchvision() -> np.ndarray:
        with torch.inference_mode():
            scores = network(preset(photo)[None])["out"]
            scores = torch.nn.functional.interpolate(scores, pixels.shape[:2], mode="bilinear", align_corners=False)
            return scores.softmax(1)[0].permute(1, 2, 0).numpy()

    return {"ours": lambda: class_probabilities(segmenter, photo), "torchvision": torchvision}


def _times(size: Size) -> str:
    return "x".join(map(str, size))


def print_person_speed(pairs: int) -> None:
    """The table of the second use for the person network, which torchvision has no equal of."""
    load_before = os.getloadavg()[0]
    running = person_programs()
    for program in running.values():
        program()  # warms up
    seconds = in_turns(running, pairs)
    ours, theirs = (statistics.median(values) for values in seconds.values())
    seen = [
        " and ".join(map(_times, (view(PHOTO_SIZE) for view in VIEWS[name]))) for name in (PERSON_NETWORK, NAMES[-1])
    ]
    print("| program | the network sees | classes | s |\n|---|---|---|---|")
    print(f"| msst_jax, {PERSON_NETWORK} | {seen[0]} | 2 | {ours:.3f} |")
    print(f"| torchvision, {NAMES[-1]}, random weights | {seen[1]} | {len(CLASSES)} | {theirs:.3f} |")
    print(f"\ntimed: one photo of {_times(PHOTO_SIZE)} to class probabilities of its size (resizing, network,")
    print("resizing of the scores, softmax); edges are not refined, files are not read, compilation is not counted")
    print(f"torchvision / msst_jax: {_ratio(seconds)}; {_circumstances(pairs, load_before)}")


def in_turns(running: Mapping[str, Callable[[], object]], pairs: int) -> dict[str, list[float]]:
    """Seconds of every call of the programs, which take turns."""
    seconds: dict[str, list[float]] = {program: [] for program in running}
    for _ in tqdm(range(pairs), unit="pair", disable=None):
        for program, call in running.items():
            gc.collect()
            started = time.perf_counter()
            call()
            seconds[program].append(time.perf_counter() - started)
    return seconds


def _ratio(seconds: Mapping[str, Sequence[float]]) -> str:
    """Median and range of how many times longer torchvision takes."""
    ratios = [their / own for their, own in zip(seconds["torchvision"], seconds["ours"], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _circumstances(pairs: int, load_before: float) -> str:
    return f"{pairs} pairs in turns, {os.cpu_count()} cores; load average before: {load_before:.1f}"


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
    seconds = in_turns(running, pairs)
    medians = " | ".join(f"{statistics.median(values):.3f}" for values in seconds.values())
    print("| network | size | ours, s | torchvision, s | torchvision / ours (range) |\n|---|---|---|---|---|")
    print(f"| {name} | {size}x{size} | {medians} | {_ratio(seconds)} |")
    print(f"\n{_circumstances(pairs, load_before)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 done, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
        if flags.speed and flags.network == PERSON_NETWORK:
            print_person_speed(flags.pairs)
        elif flags.speed:
            print_speed(flags.network, flags.size, flags.pairs)
        else:
            if flags.sheet:
                check_writable(flags.sheet)
                check_output_format(flags.sheet)
            print_accuracy(flags.weights, flags.data, flags.limit, refine=flags.refine, sheet_file=flags.sheet)
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
    parser.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="move the edges onto those of the photo, as stylize.py does, or evaluate the network alone",
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help=f"a picture of {SHOWN} photos with the person found")
    parser.add_argument("--speed", action="store_true", help="time this project and torchvision instead")
    parser.add_argument("--network", choices=SEGMENTERS, default=NAMES[0], help="what to time")
    parser.add_argument("--size", type=_count, default=520, help="side of what a deeplabv3 network sees when timed")
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
