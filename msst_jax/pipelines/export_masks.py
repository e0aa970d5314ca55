"""What a segmenter finds in a photo: an overlay to look at, masks to edit and give back with --mask, the shares."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.io.files import check_outputs, write_json
from msst_jax.io.images import load_image, read_picture, save_picture
from msst_jax.models.voc import CLASSES
from msst_jax.regions.components import remove_small_components
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import BACKGROUND, format_fractions
from msst_jax.regions.segmenter import Segmenter, load_segmenter
from msst_jax.regions.selection import SINGLE_CLASSES, class_fractions, class_indices, class_mask
from msst_jax.report.sheets import classes_overlay
from msst_jax.report.sidecar import environment


def mask_path(output: Path, name: str) -> Path:
    """masks.jpg, "person" to masks_person.png; masks are never stored with loss."""
    return output.with_name(f"{output.stem}_{name}.png")


def export_masks(
    config: ConfigDict,
    photo: str,
    output: Path,
    *,
    inputs: Iterable[str] = (),
    segmenter: Segmenter | None = None,
) -> None:
    """Segments a photo and writes what was found, at the size that the config asks for.

    Writes the overlay to `output`, a grey mask for every class but the background beside it (see `mask_path`; hard
    ones if `config.hard_masks`), and OUTPUT.json with the share of every class. Given back with --mask, the masks
    are the regions that the segmenter gives itself. Masks that an earlier run left there, of classes that are not
    found now, are removed.

    Args:
      config: see configs/photo.py (size, square, hard_masks, segmenter, min_speck, refine_edges).
      photo: file of the photo.
      output: the overlay.
      inputs: files that must not be written over.
      segmenter: the network to use; None loads `config.segmenter`.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    record_path = output.with_suffix(".json")
    paths = {name: mask_path(output, name) for name in CLASSES if name != BACKGROUND}
    check_outputs(output, [output, record_path, *paths.values()], [photo, *inputs])
    picture = read_picture(photo, "photo")
    content = load_image(photo, config.size, square=config.square, what="photo", picture=picture)
    segmenter = segmenter or load_segmenter(config.segmenter)
    size = (content.shape[1], content.shape[0])
    shares, masks = _segment(config, segmenter, picture, size)
    save_picture(classes_overlay(content, masks, shares), output)
    for name, mask in masks.items():
        save_picture(Image.fromarray(np.round(mask * 255).astype(np.uint8)), paths[name])
    stale = _previous_masks(record_path) & {path.name for name, path in paths.items() if name not in masks}
    for name in stale:
        output.with_name(name).unlink(missing_ok=True)
    record = {
        "photo": photo,
        "shares": shares,
        "masks": {name: paths[name].name for name in masks},
        "segmenter": segmenter.record(),
        "size": list(size),
        **environment(),
        "seconds": {"total": time.perf_counter() - started},
        "config": config.to_dict(),
    }
    write_json(record, record_path)
    logging.info("found: %s", format_fractions(shares))
    logging.info("wrote %s", ", ".join(map(str, [output, *(paths[name] for name in masks)])))
    if stale:
        logging.info("removed %s: of an earlier run, not found now", ", ".join(sorted(stale)))


def _segment(
    config: ConfigDict, segmenter: Segmenter, picture: Image.Image, size: tuple[int, int]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The share of every class found, and the masks (H, W) of all but the background; size is (width, height)."""
    probabilities = class_probabilities(segmenter, picture, size, refine=config.refine_edges)
    cleaned = remove_small_components(probabilities, SINGLE_CLASSES, config.min_speck)
    shares = class_fractions(cleaned)
    return shares, {
        name: class_mask(cleaned, class_indices(name), hard=config.hard_masks) for name in shares if name != BACKGROUND
    }


def _previous_masks(record: Path) -> set[str]:
    """Names of the mask files that an earlier run wrote, as its JSON says; none if there is no JSON of that kind."""
    try:
        content = json.loads(record.read_text())
        return set(content["masks"].values()) if "shares" in content else set()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()
