"""Photos a second per core that the input pipeline of train.py makes of a folder, and of the same photos packed.

    python -m benchmarks.speed.input_pipeline [--photos DIR --masks DIR] [--count 2000] [--size 256] [--rounds 5]

Random crops of photos with the mask of one region, in batches as the step takes them. Without --photos they are made
up. One thread makes the batches, without any prefetching; the two sources alternate, and what counts is the time of the
processor: that of one core. All files have been read once before, so that the disk takes no part.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from benchmarks.harness.arguments import at_least
from benchmarks.harness.program import ratio
from msst_jax.configs import fast
from msst_jax.errors import UserError
from msst_jax.io.paths import user_path
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.runtime.cores import available_cores
from msst_jax.training.build import build_crop_options
from msst_jax.training.data.augment import random_masks
from msst_jax.training.data.masks import open_masks
from msst_jax.training.data.packing import PackOptions, pack_photos
from msst_jax.training.data.photos import FolderPhotos, Masks, Photos, find_photos
from msst_jax.training.data.pipeline import PhotoExamples, batch_dataset

PROGRAM = "benchmarks.speed.input_pipeline"
NAMES = ("person", "background")
BATCH = 8
MADE_UP = (341, 256)  # width and height, as of many data sets
GRAIN = 4  # pixels: noise of single pixels would make JPEG slower than of photographs


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 success, 2 bad input."""
    configure_logging(quiet=True)
    try:
        args = _parse(arguments)
        with tempfile.TemporaryDirectory() as place:
            print(_measure(args, Path(place)))
    except UserError as error:
        print_line(PROGRAM, error)
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog=f"python -m {PROGRAM}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", metavar="DIR", help="folder of photos; default: made up")
    parser.add_argument("--masks", metavar="DIR", help="masks of persons, named like the photos")
    parser.add_argument("--count", type=at_least(BATCH), default=2000, help="photos, at most")
    parser.add_argument("--size", type=at_least(16), default=256, help="side of the crops in pixels")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="runs of each source, over all photos together")
    args = parser.parse_args(arguments)
    if bool(args.photos) != bool(args.masks):
        raise UserError("--photos and --masks belong together; give both, or none")
    return args


def _measure(args: argparse.Namespace, place: Path) -> str:
    """Measures both sources; returns the lines to print."""
    folders = (
        [user_path(args.photos, "--photos"), user_path(args.masks, "--masks")] if args.photos else _draw(args, place)
    )
    found = find_photos([str(folders[0])])
    assert isinstance(found, FolderPhotos)
    photos = FolderPhotos(dict([*found.named.items()][: args.count]))
    masks = open_masks(photos, [folders[1]], NAMES, all_needed=True)
    options = PackOptions(("person",), 0, 1, "", available_cores(), quiet=False)
    pack_photos(photos, lambda index, _: masks.read(index), place / "packed", options)
    packed = find_photos([str(place / "packed")])
    own = packed.own_masks(NAMES)
    assert own
    batches = {"folder": _batches(photos, masks, args.size), "packed": _batches(packed, own, args.size)}
    return _report(_alternate(batches, len(photos), args.rounds), len(photos), batches["folder"][0], args.size)


def _draw(args: argparse.Namespace, place: Path) -> list[Path]:
    """Makes up photos and masks."""
    folders = [place / "photos", place / "masks"]
    for folder in folders:
        folder.mkdir()
    width, height = MADE_UP
    for index in range(args.count):
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, (height // GRAIN, width // GRAIN, 3), np.uint8)
        photo = Image.fromarray(coarse).resize(MADE_UP, Image.Resampling.BICUBIC)
        photo.save(folders[0] / f"{index:05d}.jpg", quality=85)
        mask = random_masks(MADE_UP, NAMES, rng)["person"].filter(ImageFilter.GaussianBlur(2))
        mask.save(folders[1] / f"{index:05d}.png")
    return folders


def _batches(photos: Photos, masks: Masks, size: int) -> Any:
    config = fast.get_config()
    config.size = size
    return batch_dataset(
        PhotoExamples(photos, masks, range(len(photos)), size),
        build_crop_options(config),
        NAMES,
        batch=BATCH,
        seed=0,
    )


def _alternate(batches: dict[str, Any], count: int, rounds: int) -> dict[str, list[float]]:
    """Processor seconds a photo of each source, of each round; the order is reversed from round to round."""
    each = max(1, count // BATCH // rounds)
    seconds: dict[str, list[float]] = {name: [] for name in batches}
    order = [*batches]
    for number in tqdm(range(rounds), desc="rounds", disable=None):
        for name in order:
            started = time.process_time()
            for index in range(number * each, (number + 1) * each):
                batches[name][index]
            seconds[name].append((time.process_time() - started) / each / BATCH)
        order.reverse()
    return seconds


def _report(seconds: dict[str, list[float]], count: int, batch: dict[str, np.ndarray], size: int) -> str:
    lines = [
        f"{count} photos, crops of {size}x{size}, {sum(field.nbytes for field in batch.values()) // BATCH} bytes each"
    ]
    lines += [
        f"{name}: {1 / statistics.median(values):.0f} photos a second per core" for name, values in seconds.items()
    ]
    median, least, most = ratio(seconds["folder"], seconds["packed"])
    return "\n".join([*lines, f"packed, times the folder: {median:.2f} ({least:.2f} to {most:.2f})"])


if __name__ == "__main__":
    sys.exit(main())
