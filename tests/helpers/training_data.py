"""Synthetic photos for the data pipeline, and batches of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from msst_jax.io.fingerprint import Fingerprint
from msst_jax.training.data.augment import CropOptions
from msst_jax.training.data.masks import FolderMasks
from msst_jax.training.data.pack import main
from msst_jax.training.data.photos import Photos
from msst_jax.training.data.pipeline import PhotoExamples, make_batches
from tests.helpers.logging_state import restored_logging
from tests.helpers.pictures import noise, save

NAMES = ["person", "background"]
SIZE = 8
CROP = CropOptions(SIZE, 0.6)


class GrayPhotos:
    """Photos of one gray level each: photo i has the value i everywhere, so that a crop shows where it comes from."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Image.Image:
        return Image.new("RGB", (20, 12), (index, index, index))

    def own_masks(self, regions: Sequence[str], further: Sequence[str] = ()) -> None:
        return None

    def fingerprint(self) -> Fingerprint:
        return {}


def gray_examples(count: int, indices: Sequence[int] | None = None, size: int = SIZE) -> PhotoExamples:
    return unmasked(GrayPhotos(count), list(range(count)) if indices is None else indices, size)


def unmasked(photos: Photos, indices: Sequence[int], size: int = SIZE) -> PhotoExamples:
    """Photos without masks."""
    return PhotoExamples(photos, FolderMasks(photos, [], NAMES), indices, size)


def batches(
    source: PhotoExamples, batch: int = 4, seed: int = 0, hosts: int = 1, host: int = 0, workers: int = 2, **more: Any
) -> Any:
    return make_batches(source, CROP, NAMES, batch=batch, seed=seed, workers=workers, hosts=hosts, host=host, **more)


def photo_indices(batch: dict[str, np.ndarray]) -> list[int]:
    """Which photos of `GrayPhotos` are in a batch."""
    return batch["photo"][:, 0, 0, 0].tolist()


def make_folder(folder: Path, files: dict[str, int]) -> Path:
    for name, seed in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save(folder / name, noise(20, 24, seed))
    return folder


def run_pack(*arguments: str) -> int:
    """Runs the command that packs photos; returns its exit code."""
    with restored_logging():
        return main(arguments)


def pack(folder: Path, *flags: str, masked: bool = True, out: str = "packed") -> Path:
    """Packs photos/ and, if masked, the masks of persons in masks/; returns the folder of packed photos."""
    masks = [f"--masks={folder / 'masks'}", "--regions=person,background"] if masked else []
    assert run_pack(f"--photos={folder / 'photos'}", f"--out={folder / out}", *masks, *flags) == 0
    return folder / out


def partly_labeled_batch(count: int, size: int = 32) -> dict[str, np.ndarray]:
    """Photos of blotches with soft masks; the last quarter of every photo is unlabeled."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(size=(count, size, size, 1)).astype(np.float32)
    masks = np.concatenate([1 - inside, inside], -1)
    masks[:, :, size - size // 4 :] = 0
    return {"photo": np.stack([noise(size, size, seed) for seed in range(count)]), "masks": masks}
