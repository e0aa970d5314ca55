"""Mask files: the forms of masks that people have, read as gray with white inside, or refused in one line.

A mask is plain gray of any depth, the values 0 and 1, a cut-out (its transparency is the mask), or black and one color.
Pictures in color and maps of several labels say nothing about one region: `NotAMaskError`.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from absl import logging
from PIL import Image, ImageChops

from msst_jax.errors import UserError
from msst_jax.io.picture_file import read_stored
from msst_jax.io.sidecar_files import exported_masks, read_sidecar
from msst_jax.regions.flat_shades import label_shades

COLOR = 32  # chroma (largest minus smallest channel) above which a pixel is in color; JPEG's noise is below
COLORED = 0.001  # fraction of such pixels from which a picture is in color
OPACITY_NOISE = 8  # opacities that differ by no more are the same
INSIDE = 128  # from this value on a pixel is rather inside than outside
DARK, BRIGHT = 32, 223  # up to and from which gray counts as black and as white
MOST_OF_UNIT = 1.5  # the largest value of floats from 0 to 1: resampling overshoots
MOSTLY = 0.7  # fraction of gray pixels from which a picture is rather a photo than a soft mask
DIM = 230  # the brightest value of a mask that is worth a warning if it is below
HIGHEST_LABEL = 40  # of label maps that mark unlabeled pixels with 255: VOC has 21 classes, Cityscapes 34
MOST_LABELS = 64
LABELED = 0.005  # fraction of pixels with such values from which they are labels and not specks
LOSSY = (".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".heic", ".heif", ".jp2")
SAMPLES = 16  # files of a folder that are looked at to tell how all of them are stored
ADVICE = "give it in gray, white inside the region"


class NotAMaskError(UserError):
    """A picture that can be read, but shows no single region."""


class StoredMask(NamedTuple):
    """A mask as it is stored: what counts as its values, before they are scaled."""

    values: np.ndarray
    """(H, W), uint8, or float32 of a picture with more than 8 bits."""
    note: str = ""
    """How it was understood, if that is not evident."""
    floating: bool = False
    """A picture of floats, of which 1 is white as a rule."""


class MaskScale(NamedTuple):
    """How the values of the masks of one source are stored."""

    white: int = 255
    """The value of what is wholly inside: 1, 255 or 65535."""
    note: str = ""
    """As of `StoredMask`."""


def read_mask(path: str | Path, photo_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Reads a mask file, resized: float32 (H, W) in [0, 1], 1 = inside.

    Args:
      path: any image; see the module for the forms that are understood.
      photo_size: (width, height) of the photo's file; a mask of another aspect ratio is stretched, with a warning.
      size: (width, height) of the result.

    Raises:
      UserError: not an image, not a mask, or nothing is inside.
    """
    path = Path(path)
    check_no_overlay(path)
    lossy = path.suffix.lower() in LOSSY
    return scaled_mask(_decode_file(path), f"mask {path}", photo_size, size, lossy=lossy)


def scaled_mask(
    stored: StoredMask, label: str, photo_size: tuple[int, int], size: tuple[int, int], *, lossy: bool = False
) -> np.ndarray:
    """As `read_mask`, of a mask as it is stored; `label` names it in messages, `lossy` as in `find_scale`."""
    scale = find_scale([stored], label, lossy=lossy)
    gray = to_gray(stored.values, scale)
    if gray.size != size and not same_aspect_ratio(gray.size, photo_size):
        logging.warning("%s is %dx%d, the photo %dx%d: the mask is stretched to fit", label, *gray.size, *photo_size)
    _check_brightness(gray, label)
    _log_notes(label, [stored.note, scale.note])
    if gray.size != size:
        gray = gray.resize(size, Image.Resampling.BILINEAR)
    mask = np.asarray(gray, np.float32) / np.float32(255.0)
    if mask.max() < 0.5:
        raise UserError(f"{label} is too thin: it vanishes at {size[0]}x{size[1]}; paint it larger")
    return mask


def read_own_mask(file: Path) -> Image.Image:
    """Reads a mask that this program has written: gray as it is stored, 255 inside, however little is there.

    Raises:
      UserError: it cannot be read.
    """
    return to_gray(_decode_file(file).values, MaskScale())


def mask_series(files: Sequence[Path], label: str) -> Callable[[Path], Image.Image]:
    """A reader of masks that belong together, such as those of a folder: a file to a gray image, white inside.

    Some of them tell how all are stored, since one by itself may be empty: a black one, one with hardly any value.

    Args:
      files: all of them; a sample is looked at, of which those that cannot be read say nothing.
      label: names the source in messages, as in "mask masks/".

    Raises:
      NotAMaskError: one of the sample; the reader raises it, too, and UserError for a file that cannot be read.
    """
    step = max(1, len(files) // SAMPLES)
    sample = []
    for file in files[::step][:SAMPLES]:
        try:
            sample.append(_decode_file(file))
        except NotAMaskError:
            raise
        except UserError:
            continue
    lossy = any(file.suffix.lower() in LOSSY for file in files)
    scale = find_scale(sample, label, lossy=lossy)
    _log_notes(label, [*dict.fromkeys(stored.note for stored in sample), scale.note])
    return lambda file: to_gray(_decode_file(file).values, scale)


def _decode_file(file: Path) -> StoredMask:
    return decode_mask(read_stored(file, "mask"), f"mask {file}")


def _log_notes(label: str, notes: Iterable[str]) -> None:
    for note in filter(None, notes):
        logging.info("%s %s", label, note)


def check_no_overlay(path: Path) -> None:
    """Raises NotAMaskError for the overlay that --regions-only writes beside the masks."""
    masks = exported_masks(read_sidecar(path))
    if masks and path.name not in masks:
        raise NotAMaskError(
            f"mask {path} is the overlay that --regions-only wrote for looking at; give {path.with_name(masks[0])} in "
            "place of it"
        )


def decode_mask(picture: Image.Image, label: str) -> StoredMask:
    """What counts as the values of a mask: its gray, its transparency, or which of two colors.

    Args:
      picture: of any mode.
      label: names it in errors.

    Raises:
      NotAMaskError: it is in color, or wholly transparent.
    """
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return StoredMask(np.nan_to_num(np.asarray(picture, np.float32)), floating=picture.mode == "F")
    if picture.has_transparency_data:
        opacity = picture.convert("RGBA").getchannel("A")
        values = np.asarray(opacity)
        least, most = int(values.min()), int(values.max())
        if most - least > OPACITY_NOISE:
            return _decode_cut_out(picture.convert("RGB"), opacity)
        if most <= OPACITY_NOISE:
            return StoredMask(np.zeros_like(values))
    rgb = picture.convert("RGB")
    colored = is_colored(rgb)
    if colored or picture.mode in ("P", "PA"):
        color = _only_color_on_black(rgb)
        if color:
            inside = np.where(np.asarray(rgb).any(-1), np.uint8(255), np.uint8(0))
            return StoredMask(inside, f"is black and {color}: {color} is inside")
    if colored:
        raise NotAMaskError(f"{label} {_describe_colors(rgb)}")
    return StoredMask(np.asarray(rgb.convert("L")))


def _decode_cut_out(rgb: Image.Image, opacity: Image.Image) -> StoredMask:
    """Opaque is inside, unless what is opaque is itself a mask, painted in black and white."""
    visible = opacity.point(lambda value: 255 * (value >= INSIDE))
    gray = rgb.convert("L")
    counts = gray.histogram(visible)
    dark, bright, total = sum(counts[: DARK + 1]), sum(counts[BRIGHT:]), max(1, sum(counts))
    if not is_colored(rgb, visible) and dark + bright > 0.98 * total and min(dark, bright) > 0.01 * total:
        return StoredMask(np.asarray(ImageChops.multiply(gray, opacity)))
    return StoredMask(np.asarray(opacity), "" if bright > 0.98 * total else "is a cut-out: what is opaque is inside")


def is_colored(rgb: Image.Image, visible: Image.Image | None = None) -> bool:
    """Whether a picture is in color, where it is visible (mode L, 0 or 255)."""
    red, green, blue = rgb.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    smallest = ImageChops.darker(ImageChops.darker(red, green), blue)
    counts = ImageChops.difference(largest, smallest).histogram(visible)
    return sum(counts[COLOR + 1 :]) > COLORED * sum(counts)


def _only_color_on_black(rgb: Image.Image) -> str:
    """ "(128, 0, 0)" of a picture of black and that color, which is not white; else ""."""
    colors = sorted(cast(tuple[int, int, int], color) for _, color in rgb.getcolors(2) or [])
    found = len(colors) == 2 and colors[0] == (0, 0, 0) and min(colors[1]) < BRIGHT
    return str(colors[1]) if found else ""


def _describe_colors(rgb: Image.Image) -> str:
    """What a picture in color is, and what to give in place of it."""
    colors = rgb.getcolors(MOST_LABELS)
    if colors:
        return f"is a map of {len(colors)} labels in color, and a mask shows one region; {ADVICE} and black elsewhere"
    return f"is a picture in color; {ADVICE} (of --regions-only: NAME_person.png), or as a cut-out on transparency"


def find_scale(masks: Sequence[StoredMask], label: str, *, lossy: bool = False) -> MaskScale:
    """How the values of masks that belong together are stored.

    Args:
      masks: as decoded.
      label: names them in errors.
      lossy: small values may be noise.

    Raises:
      NotAMaskError: they are maps of labels.
    """
    scale = _stored_scale(masks, label, lossy)
    notes = [scale.note] if lossy else [scale.note, *_check_shades(masks, scale, label)]
    return scale._replace(note="; ".join(filter(None, notes)))


def _stored_scale(masks: Sequence[StoredMask], label: str, lossy: bool) -> MaskScale:
    """As `find_scale`, by the values alone, wherever they lie."""
    peak = max((float(mask.values.max()) for mask in masks), default=0.0)
    deep = any(mask.values.dtype != np.uint8 for mask in masks)
    if 0 < peak <= MOST_OF_UNIT and (deep or not lossy):
        floating = any(mask.floating for mask in masks)
        return MaskScale(1, "" if floating else "has the values 0 and 1: 1 is inside")
    if deep and not 0 < peak <= 255:
        return MaskScale(65535)
    _check_no_labels(masks, label, lossy)
    return MaskScale(255, f"has values up to {peak:g} in more than 8 bits: 255 is white" if deep else "")


def _check_no_labels(masks: Sequence[StoredMask], label: str, lossy: bool) -> None:
    """Raises NotAMaskError for values that are indices of classes or objects rather than shades."""
    counts = np.zeros(256, np.int64)
    for mask in masks:
        counts += np.bincount(mask.values.clip(0, 255).astype(np.uint8).ravel(), minlength=256)
    values = np.flatnonzero(counts)
    shades = values[(values > 0) & (values < 255)]
    if lossy or len(values) > MOST_LABELS or not len(shades) or counts[shades].sum() < LABELED * counts.sum():
        return
    unlabeled = bool(counts[255])  # 255 marks what belongs to no class
    if shades.max() <= (HIGHEST_LABEL if unlabeled else INSIDE - 1) and len(shades) >= (1 if unlabeled else 2):
        raise NotAMaskError(_describe_labels(label, "values", values.tolist()))


def _check_shades(masks: Sequence[StoredMask], scale: MaskScale, label: str) -> list[str]:
    """What is said of masks with one flat shade between two others, which is partly inside; empty without one.

    Raises:
      NotAMaskError: one of them has more flat shades: labels that are spread over the grays.
    """
    notes = []
    for mask in masks:  # each by itself: over many frames a region may fade in
        shades = label_shades(to_gray(mask.values, scale))
        if len(shades) > 3:
            raise NotAMaskError(_describe_labels(label, "flat shades", shades))
        if shades:
            notes.append(f"has a flat shade of {shades[1]} of 255: it is read as {shades[1] / 255:.0%} inside")
    return notes[:1]


def _describe_labels(label: str, what: str, found: Sequence[int]) -> str:
    shown = f"{', '.join(map(str, found[:4]))}{', ...' if len(found) > 4 else ''}"
    return f"{label} is a map of labels ({what} {shown}), and a mask shows one region; {ADVICE}"


def to_gray(values: np.ndarray, scale: MaskScale) -> Image.Image:
    """The values of a mask, (H, W), as an 8-bit gray picture, 255 = inside."""
    white = min(scale.white, 255) if values.dtype == np.uint8 else scale.white
    if white == 255 and values.dtype == np.uint8:
        return Image.fromarray(values)
    return Image.fromarray(np.round(np.clip(values / np.float32(white), 0, 1) * 255).astype(np.uint8))


def _check_brightness(gray: Image.Image, label: str) -> None:
    """Refuses a mask with nothing inside, and says if nothing is wholly inside, or nothing outside."""
    values = np.asarray(gray)
    darkest, brightest = int(values.min()), int(values.max())
    if brightest < INSIDE:
        problem = (
            "is black: nothing is inside" if brightest == 0 else f"is dark: its brightest value is {brightest} of 255"
        )
        raise UserError(f"{label} {problem}; paint the region white")
    if brightest < DIM:
        logging.warning(
            "%s has no white: its brightest value is %d of 255, so nothing is wholly inside", label, brightest
        )
    middle = float(((values > DARK) & (values < BRIGHT)).mean())
    if middle > MOSTLY:
        logging.warning("%s is neither black nor white in %.0f%% of its area: is it a mask?", label, 100 * middle)
    if darkest >= DIM:
        logging.warning("%s is white everywhere: its region is the whole photo", label)


def same_aspect_ratio(size: tuple[int, int], photo_size: tuple[int, int]) -> bool:
    """Whether a (width, height) has the photo's aspect ratio, up to rounding of a side."""
    larger, smaller = sorted((size, photo_size), reverse=True)
    scale = smaller[0] / larger[0]
    return abs(larger[1] * scale - smaller[1]) < 1
