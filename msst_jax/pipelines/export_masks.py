"""Segments a photo; writes overlay, masks and area fractions."""

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
from msst_jax.pipelines.earlier_masks import ABSENT, earlier_run, mask_path
from msst_jax.pipelines.job import MasksJob, recorded_config, recorded_imports
from msst_jax.regions.absent import check_mask_files
from msst_jax.regions.asked import Asked, asked_masks
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.masks import foreground
from msst_jax.regions.points import Point, check_points, recorded_points, scale_points
from msst_jax.regions.segmenter import AnySegmenter, load_segmenter, segmenter_classes
from msst_jax.regions.selection import Found, find_classes
from msst_jax.report.sheets import classes_overlay
from msst_jax.report.sidecar import environment
from msst_jax.transfer.build import build_input_options
from msst_jax.transfer.options import InputOptions
from msst_jax.transfer.photo import load_photo, log_enlargement


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
        config=recorded_config(config, job.photo, job.styles, {}, job.points),
        regions=tuple(job.styles),
        points=job.points,
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
    regions: Sequence[str] = (),
    points: Sequence[Point] = (),
    protected: Iterable[str] = (),
    imports: Sequence[str] = (),
    segmenter: AnySegmenter | None = None,
) -> None:
    """Segments a photo and writes overlay, masks and area fractions, at the size that the options ask for.

    Writes the overlay to `output`, a gray mask for every class but the background beside it (see `mask_path`; hard
    ones if the options say so), one for each instance of a class that has several, and OUTPUT.json with the area
    fraction of every class. Given back with --mask, the masks are the regions that the segmenter would give. Masks that
    an earlier run wrote there, of what is not in the photo now, are removed, but for those that were painted on.

    Args:
      options: size, masks and segmenter.
      photo: file of the photo.
      output: the overlay.
      config: recorded in the JSON.
      regions: get a mask in any case: of what the photo does not have an empty one of the photo's own size.
      points: of `regions` of which only the component there is taken.
      protected: further files that must not be overwritten.
      imports: modules of the user's that were imported, for the JSON.
      segmenter: the network to use; None loads that of the options.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    check_points(points, regions, ())
    check_mask_files(output.stem, foreground(regions))
    sidecar, inputs = output.with_suffix(".json"), [photo, *protected]
    names = foreground(
        dict.fromkeys([*(segmenter.classes if segmenter else segmenter_classes(options.segmenter)), *regions])
    )
    check_outputs(output, [output, sidecar, *(mask_path(output, name) for name in names)], inputs)
    picture, pixels, _ = load_photo(options, photo)
    size = (pixels.shape[1], pixels.shape[0])
    scaled = scale_points(points, picture.size, size)
    segmenter = segmenter or load_segmenter(options.segmenter)
    probabilities = class_probabilities(segmenter, picture, size, refine=options.masks.refine_edges)
    found = find_classes(options.masks, probabilities, segmenter.classes)
    asked = asked_masks(options.masks, probabilities, segmenter.classes, found, regions, scaled)
    masks = {**found.masks, **found.instance_masks(), **asked.masks}
    masks = {name: mask for name, mask in masks.items() if name not in asked.absent}  # a class whose rest is empty
    earlier = earlier_run(output, sidecar)
    painted = earlier.painted(output, asked.absent, masks)
    absent = [*dict.fromkeys([*asked.absent, *painted])]  # painted ones are known to later runs too
    files = check_mask_files(output.stem, (*masks, *absent))
    check_outputs(output, [output.with_name(file) for file in files.values()], inputs)
    save_picture(_overlay(pixels, found), output)
    _write_masks(output, masks, [name for name in absent if name not in painted], picture.size)
    stale = {*earlier.masks.values()} - {*files.values()}
    for file in stale:
        output.with_name(file).unlink(missing_ok=True)
    record = {
        "photo": photo,
        "shares": found.fractions,
        **({"instances": instances} if (instances := found.instance_fractions()) else {}),
        "masks": files,
        **({ABSENT: absent} if absent else {}),
        **recorded_points(points),
        "segmenter": segmenter.record(),
        **recorded_imports(imports),
        "size": list(size),
        **environment(),
        "seconds": {"total": time.perf_counter() - started},
        "config": dict(config),
    }
    write_json(record, sidecar)
    log_enlargement(photo, picture.size, size)
    _log(output, found, asked, [*masks], painted, stale)


def _overlay(pixels: np.ndarray, found: Found) -> Image.Image:
    numbers = [
        (f"#{number}", middle)
        for instances in found.several.values()
        for number, middle in enumerate(instances.middles, start=1)
    ]
    return classes_overlay(pixels, found.masks, found.fractions, captions=found.describe(), labels=numbers)


def _write_masks(
    output: Path, masks: Mapping[str, np.ndarray], empty: Iterable[str], photo_size: tuple[int, int]
) -> None:
    """The masks {region: (H, W)}, and those of regions that are to be painted, as large as the photo."""
    for name, mask in masks.items():
        save_picture(Image.fromarray(np.round(mask * 255).astype(np.uint8)), mask_path(output, name))
    for name in empty:
        save_picture(Image.new("L", photo_size), mask_path(output, name))


def _log(
    output: Path, found: Found, asked: Asked, written: Sequence[str], painted: Sequence[str], stale: Iterable[str]
) -> None:
    """Says what was found, what was written, and what to do about regions that were not found."""
    logging.info("found: %s", ", ".join(found.describe().values()))
    logging.info("wrote %s", ", ".join(map(str, [output, *(mask_path(output, name) for name in written)])))
    for name in asked.absent:
        path = mask_path(output, name)
        if name in painted:
            logging.info("not found: %s; left %s as it was painted: give --mask %s=%s", name, path, name, path)
        else:
            logging.warning(
                "not found: %s; wrote an empty mask: paint the region white in %s, and give --mask %s=%s",
                *(name, path, name, path),
            )
    if stale:
        logging.info("removed %s: of an earlier run, not found now", ", ".join(sorted(stale)))
