"""How well the networks that find regions segment.

    python -m benchmarks.segmentation --weights NAME|FILE --data DIR [--limit N] [--no-refine] [--sheet FILE]

Prints the intersection over union of every class that the network knows, and of persons in photos where they are
large, over DIR/images/*.jpg and DIR/masks/*.png (palette pictures whose index is the class, 255 = ignored), as
Markdown. --weights is a network whose weights are looked for where stylize.py looks, or a file of weights; to
person_vgg16 all but persons is background. Their speed is part of `python -m benchmarks`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from msst_jax.errors import UserError
from msst_jax.io.files import check_writable
from msst_jax.io.images import check_output_format, read_picture, save_picture, to_array
from msst_jax.models.voc import CLASSES
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.segmenter import Segmenter, load_segmenter
from msst_jax.report.sheets import sheet, tint_classes
from msst_jax.runtime.console import ArgumentParser, print_line

IGNORED = 255
PERSON = CLASSES.index("person")
LARGE = 0.1  # of the picture
SHOWN = 24


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
    """The table, and the sheet if there is a file for it."""
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
    small = tint_classes(to_array(found.photo), {CLASSES[PERSON]: mask})
    small.thumbnail((512, 256))
    return caption, small


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 done, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
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
    parser.add_argument("--weights", required=True, metavar="FILE|NAME", help="what to evaluate")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder with images/ and masks/")
    parser.add_argument("--limit", type=_count, help="evaluate the first so many photos only")
    parser.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="move the edges onto those of the photo, as stylize.py does, or evaluate the network alone",
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help=f"a picture of {SHOWN} photos with the person found")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
