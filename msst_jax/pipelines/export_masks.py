"""Segments a photo; writes overlay, masks and area fractions."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.files import check_outputs, check_writable, write_json
from msst_jax.io.images import save_picture
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.write_options import check_output_format
from msst_jax.pipelines.job import MasksJob, recorded_imports
from msst_jax.regions.masks import foreground, format_fractions
from msst_jax.regions.segmenter import AnySegmenter, load_segmenter, segmenter_classes
from msst_jax.regions.selection import segment_classes
from msst_jax.report.sheets import classes_overlay
from msst_jax.report.sidecar import environment
from msst_jax.transfer.build import build_input_options
from msst_jax.transfer.options import InputOptions
from msst_jax.transfer.photo import load_photo, log_enlargement


def mask_path(output: Path, name: str) -> Path:
    """masks.jpg, "person" to masks_person.png; masks are stored without loss."""
    return output.with_name(f"{output.stem}_{name}.png")


def run(config: ConfigDict, job: MasksJob) -> int:
    """Segments the photo of a job; see `export_masks`. Returns the exit code.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    if Path(job.photo).is_dir():
        raise UserError(f"photo {job.photo} is a folder; give a picture of it")
    if job.output == STANDARD_STREAM:
        raise UserError("--regions-only writes several files; give a file name with -o in place of -")
    check_writable(job.output)
    check_output_format(job.output)
    export_masks(
        build_input_options(config),
        job.photo,
        job.output,
        config=config.to_dict(),
        protected=job.protected,
        imports=job.imports,
    )
    return 0


def export_masks(
    options: InputOptions,
    photo: str,
    output: Path,
    *,
    config: Mapping[str, Any],
    protected: Iterable[str] = (),
    imports: Sequence[str] = (),
    segmenter: AnySegmenter | None = None,
) -> None:
    """Segments a photo and writes overlay, masks and area fractions, at the size that the options ask for.

    Writes the overlay to `output`, a gray mask for every class but the background beside it (see `mask_path`; hard
    ones if the options say so), and OUTPUT.json with the area fraction of every class. Given back with --mask, the
    masks are the regions that the segmenter would give. Masks that an earlier run wrote there, of classes that are not
    in the photo now, are removed.

    Args:
      options: size, masks and segmenter.
      photo: file of the photo.
      output: the overlay.
      config: recorded in the JSON.
      protected: further files that must not be overwritten.
      imports: modules of the user's that were imported, for the JSON.
      segmenter: the network to use; None loads that of the options.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    sidecar = output.with_suffix(".json")
    classes = segmenter.classes if segmenter else segmenter_classes(options.segmenter)
    paths = {name: mask_path(output, name) for name in foreground(classes)}
    check_outputs(output, [output, sidecar, *paths.values()], [photo, *protected])
    picture, pixels, _ = load_photo(options, photo)
    segmenter = segmenter or load_segmenter(options.segmenter)
    size = (pixels.shape[1], pixels.shape[0])
    fractions, masks = segment_classes(options.masks, segmenter, picture, size)
    save_picture(classes_overlay(pixels, masks, fractions), output)
    for name, mask in masks.items():
        save_picture(Image.fromarray(np.round(mask * 255).astype(np.uint8)), paths[name])
    stale = _previous_masks(sidecar) & {path.name for name, path in paths.items() if name not in masks}
    for name in stale:
        output.with_name(name).unlink(missing_ok=True)
    record = {
        "photo": photo,
        "shares": fractions,
        "masks": {name: paths[name].name for name in masks},
        "segmenter": segmenter.record(),
        **recorded_imports(imports),
        "size": list(size),
        **environment(),
        "seconds": {"total": time.perf_counter() - started},
        "config": dict(config),
    }
    write_json(record, sidecar)
    log_enlargement(photo, picture.size, size)
    logging.info("found: %s", format_fractions(fractions))
    logging.info("wrote %s", ", ".join(map(str, [output, *(paths[name] for name in masks)])))
    if stale:
        logging.info("removed %s: of an earlier run, not found now", ", ".join(sorted(stale)))


def _previous_masks(sidecar: Path) -> set[str]:
    """Names of the mask files that an earlier run wrote, by its sidecar; none if there is no such sidecar."""
    try:
        content = json.loads(sidecar.read_text())
        return set(content["masks"].values()) if "shares" in content else set()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()
