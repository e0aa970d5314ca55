"""Segmentation accuracy: intersection over union of every class.

    python -m benchmarks.quality.segmentation --weights NAME|FILE --data DIR [--limit N] [--no-refine] [--sheet FILE]

Prints, as Markdown, the IoU of every class of the network, and of persons in photos where they are large, over
DIR/images/*.jpg and DIR/masks/*.png (palette images whose index is the class, 255 = ignored). --weights is a network
name, whose weights are located as by stylize.py, or a weights file; for person_vgg16 every class but person is
background. The speed of the networks is part of `python -m benchmarks`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.harness.arguments import at_least
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable
from msst_jax.io.images import read_picture, save_picture, to_array
from msst_jax.io.write_options import check_output_format
from msst_jax.models.voc import CLASSES
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.segmenter import AnySegmenter, load_segmenter
from msst_jax.report.sheets import sheet, tint_classes
from msst_jax.runtime.console import ArgumentParser, print_line

IGNORED = 255
PERSON = CLASSES.index("person")
LARGE = 0.1  # fraction of the image
SHEET_PHOTOS = 24


def confusion(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Confusion matrix (21, 21): pixels by true class (rows) and predicted class (columns), without ignored pixels."""
    count, valid = len(CLASSES), truth != IGNORED
    return np.bincount(count * truth[valid].astype(int) + predicted[valid], minlength=count**2).reshape(count, count)


def intersection_over_union(counts: np.ndarray) -> np.ndarray:
    """IoU of every class, (21,), from a confusion matrix; NaN for a class that is nowhere true or predicted."""
    intersection = np.diag(counts).astype(float)
    union = counts.sum(0) + counts.sum(1) - intersection
    return np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def read_mask(path: Path) -> np.ndarray:
    """Reads class indices (H, W).

    Raises:
      UserError: the mask is missing, unreadable, or not an image of class indices.
    """
    try:
        with Image.open(path) as picture:
            mask = np.asarray(picture)
            mode = picture.mode
    except Exception as error:  # Pillow's decoders raise almost any exception on damaged data
        raise UserError(f"mask {path} cannot be read ({error}); every photo needs a mask of the same name") from error
    if mode not in ("P", "L") or not np.isin(mask, [*range(len(CLASSES)), IGNORED]).all():
        raise UserError(f"mask {path} ({mode}) must hold class indices 0 to {len(CLASSES) - 1}, or {IGNORED}")
    return mask


class Prediction(NamedTuple):
    """A photo with its true and predicted segmentation."""

    name: str
    photo: Image.Image
    truth: np.ndarray
    """Class indices (H, W); classes that the network lacks are background."""
    probabilities: np.ndarray
    """(H, W, 21)."""

    def person_share(self) -> float:
        """Fraction of the image that is person in the ground truth."""
        return float((self.truth == PERSON).mean())


def segment(segmenter: AnySegmenter, folder: Path, limit: int | None = None, *, refine: bool) -> Iterator[Prediction]:
    """Segments the first `limit` photos of a folder at their original size.

    Raises:
      UserError: there are no photos, one is unusable, or a mask does not match its photo.
    """
    photos = sorted((folder / "images").glob("*.jpg"))[:limit]
    if not photos:
        raise UserError(f"{folder} has no images/*.jpg; pass a folder with images/ and masks/")
    for path in tqdm(photos, unit="photo", disable=None):
        photo = read_picture(path, "photo")
        truth = read_mask(folder / "masks" / f"{path.stem}.png")
        if truth.shape != photo.size[::-1]:
            sizes = f"{truth.shape[1]}x{truth.shape[0]}, the photo {photo.width}x{photo.height}"
            raise UserError(f"the mask of {path} is {sizes}; give both the same size")
        try:
            probabilities = class_probabilities(segmenter, photo, refine=refine)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        kept = np.isin(truth, (*_indices(segmenter), IGNORED))
        yield Prediction(path.stem, photo, np.where(kept, truth, 0), probabilities)


def _indices(segmenter: AnySegmenter) -> list[int]:
    """The classes that it predicts, as indices of voc.CLASSES."""
    return [CLASSES.index(name) for name in segmenter.predicted]


def print_accuracy(
    weights: str, folder: Path, limit: int | None = None, *, refine: bool = True, sheet_file: Path | None = None
) -> None:
    """Prints the table; writes a contact sheet if `sheet_file` is given."""
    segmenter = load_segmenter(weights)
    counts, person_shares, entries = [], [], []
    for prediction in segment(segmenter, folder, limit, refine=refine):
        counts.append(confusion(prediction.truth, prediction.probabilities.argmax(-1)))
        person_shares.append(prediction.person_share())
        if sheet_file:
            entries.append(_sheet_entry(prediction))
    classes, total = _indices(segmenter), np.sum(counts, 0)
    print_table(classes, total)
    large = [count for count, share in zip(counts, person_shares, strict=True) if share > LARGE]
    score = intersection_over_union(np.sum(large, 0))[PERSON] if large else np.nan
    print(f"\nperson, in the {len(large)} photos where it covers more than {LARGE:.0%} of the image: {_percent(score)}")
    print(f"{len(counts)} photos; pixel accuracy {np.trace(total) / max(total.sum(), 1):.1%}")
    print(f"edges {'refined' if refine else 'not refined'}; ignored pixels excluded")
    if sheet_file:
        chosen = np.linspace(0, len(entries) - 1, min(SHEET_PHOTOS, len(entries))).round().astype(int)
        save_picture(sheet([entries[index] for index in chosen], height=256, columns=6), sheet_file)


def print_table(classes: Sequence[int], counts: np.ndarray) -> None:
    """Prints the IoU of every class of the network, and their mean if it has all 21; `counts` is a confusion matrix."""
    scores = intersection_over_union(counts)
    print("| class | IoU |\n|---|---|")
    for index in classes:
        print(f"| {CLASSES[index]} | {_percent(scores[index])} |")
    if len(classes) == len(CLASSES):
        print(f"| **mean** | **{_percent(np.nanmean(scores))}** |")


def _percent(score: float) -> str:
    return "-" if np.isnan(score) else f"{score:.1%}"


def _sheet_entry(prediction: Prediction) -> tuple[str, Image.Image]:
    """Caption and thumbnail of a photo, with the predicted person tinted."""
    mask = prediction.probabilities[..., PERSON]
    caption = f"{prediction.name}: {(mask > 0.5).mean():.0%}, ground truth {prediction.person_share():.0%}"
    thumbnail = tint_classes(to_array(prediction.photo), {CLASSES[PERSON]: mask})
    thumbnail.thumbnail((512, 256))
    return caption, thumbnail


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 success, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
        if flags.sheet:
            check_writable(flags.sheet)
            check_output_format(flags.sheet)
        print_accuracy(flags.weights, flags.data, flags.limit, refine=flags.refine, sheet_file=flags.sheet)
    except UserError as error:
        print_line("benchmarks.quality.segmentation", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks.quality.segmentation", "interrupted; run again for a complete table")
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks.quality.segmentation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", required=True, metavar="FILE|NAME", help="network to evaluate")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder with images/ and masks/")
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="evaluate only the first N photos")
    parser.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="align edges with those of the photo, as stylize.py does, or evaluate the network alone",
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help=f"contact sheet of {SHEET_PHOTOS} photos with the predicted person"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
