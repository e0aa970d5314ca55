"""What a segmenter finds in a photo: an overlay to look at, masks to edit and give back with --mask, the shares."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from msst_jax import images, report, segmentation
from msst_jax.files import check_overwrites
from msst_jax.regions import BACKGROUND
from msst_jax.voc import CLASSES


def mask_path(output: Path, name: str) -> Path:
    """masks.jpg, "person" to masks_person.png; masks are never stored with loss."""
    return output.with_name(f"{output.stem}_{name}.png")


def write_regions(
    config: ConfigDict,
    photo: str,
    output: Path,
    *,
    inputs: Iterable[str] = (),
    segmenter: segmentation.Segmenter | None = None,
) -> None:
    """Segments a photo and writes what was found, at the size that the config asks for.

    Writes the overlay to `output`, a grey mask for every class but the background beside it (see `mask_path`; hard
    ones if `config.hard_masks`), and OUTPUT.json with the share of every class. Given back with --mask, the masks
    are the regions that the segmenter gives itself.

    Args:
      config: see configs/photo.py (size, square, hard_masks, segmenter, min_speck).
      photo: file of the photo.
      output: the overlay.
      inputs: files that must not be written over.
      segmenter: the network to use; None loads `config.segmenter`.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    check_overwrites(output, [output, *(mask_path(output, name) for name in CLASSES[1:])], [photo, *inputs])
    picture = images.read_picture(photo, "photo")
    content = images.load_image(photo, config.size, square=config.square, what="photo")
    segmenter = segmenter or segmentation.load_segmenter(config.segmenter)
    size = (content.shape[1], content.shape[0])
    probabilities = segmentation.class_probabilities(segmenter.model, picture, size)
    cleaned = segmentation.remove_specks(probabilities, segmentation.SINGLE_CLASSES, config.min_speck)
    shares = segmentation.found_classes(cleaned)
    masks = {
        name: segmentation.mask_of(cleaned, segmentation.classes_of(name), hard=config.hard_masks)
        for name in shares
        if name != BACKGROUND
    }
    images.save_picture(report.classes_overlay(content, masks, shares), output)
    for name, mask in masks.items():
        images.save_picture(Image.fromarray(np.round(mask * 255).astype(np.uint8)), mask_path(output, name))
    record = {
        "photo": photo,
        "shares": shares,
        "masks": {name: mask_path(output, name).name for name in masks},
        "segmenter": segmenter.record(),
        "size": list(size),
        **report.environment(),
        "seconds": {"total": time.perf_counter() - started},
        "config": config.to_dict(),
    }
    report.write_json(record, output.with_suffix(".json"))
    _tell(output, shares, masks)


def _tell(output: Path, shares: Mapping[str, float], masks: Mapping[str, np.ndarray]) -> None:
    written = [output, *(mask_path(output, name) for name in masks)]
    logging.info("found: %s", segmentation.describe(shares))
    logging.info("wrote %s", ", ".join(map(str, written)))
