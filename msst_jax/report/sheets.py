"""Contact sheets: inputs, blend strips, comparisons of losses, class overlays."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from msst_jax.io.images import to_picture
from msst_jax.io.transparency import over_white
from msst_jax.models.voc import CLASSES, COLORS
from msst_jax.regions.masks import area_fractions, format_percent
from msst_jax.transfer.inputs import PhotoInputs, Region

# One color per region, in order; the palette is safe for color blindness (Okabe & Ito 2008).
REGION_COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0))
GAP = 8
MIN_FONT = 14  # pixels; captions that would have to be smaller are wrapped
MIN_COLUMN = 120  # width of wrapped captions above narrow pictures
OVERLAY = 0.6  # opacity of the class colors over the photo
MAX_SIDE = 16000  # WebP supports no more

Box = tuple[int, int, int, int]


class Cell(NamedTuple):
    """Where a picture of a sheet and its caption go, in pixels; boxes are (left, top, right, bottom)."""

    picture: Box
    lines: tuple[tuple[str, Box], ...]
    """The lines of the caption, each with its box."""
    font_size: int


def sheet(pictures: Sequence[tuple[str, Image.Image]], height: int, columns: int = 0) -> Image.Image:
    """Captioned images in rows, all of one height, on white.

    Args:
      pictures: (caption, image) in reading order.
      height: of every image, in pixels.
      columns: images per row; 0 = all in one row.
    """
    sizes = [(max(1, round(picture.width * height / picture.height)), height) for _, picture in pictures]
    cells = sheet_cells([caption for caption, _ in pictures], sizes, columns)
    boxes = [box for cell in cells for box in (cell.picture, *(box for _, box in cell.lines))]
    page = Image.new("RGB", (max(box[2] for box in boxes) + GAP, max(cell.picture[3] for cell in cells) + GAP), "white")
    draw = ImageDraw.Draw(page)
    for (_, picture), size, cell in zip(pictures, sizes, cells, strict=True):
        page.paste(picture.resize(size, Image.Resampling.LANCZOS), cell.picture[:2])
        for text, box in cell.lines:
            draw.text(box[:2], text, fill="black", font=ImageFont.load_default(cell.font_size))
    page.thumbnail((MAX_SIDE, MAX_SIDE))
    return page


def sheet_cells(captions: Sequence[str], sizes: Sequence[tuple[int, int]], columns: int = 0) -> list[Cell]:
    """The layout of a sheet: captions stand above their pictures, in rows, and no two boxes overlap.

    A caption, which may have lines, that is wider than its picture shrinks to MIN_FONT, then wraps; words that a narrow
    picture has no room for widen its cell.

    Args:
      captions: one per picture.
      sizes: (width, height) of the pictures, all of one height.
      columns: pictures per row; 0 = all in one row.
    """
    columns = columns or len(captions)
    cells: list[Cell] = []
    top = GAP
    for start in range(0, len(captions), columns):
        row = slice(start, start + columns)
        cells += _row_cells(captions[row], sizes[row], top)
        top = cells[-1].picture[3] + GAP
    return cells


def _row_cells(captions: Sequence[str], sizes: Sequence[tuple[int, int]], top: int) -> list[Cell]:
    """As `sheet_cells`, for one row, whose captions start at `top`."""
    height = sizes[0][1]
    font_size = max(14, height // 16)
    fitted = [_fit_caption(caption, width, font_size) for caption, (width, _) in zip(captions, sizes, strict=True)]
    # Descenders of the last line reach into the gap.
    caption_height = max(font_size, *((len(lines) - 1) * _line_height(size) + size for lines, size in fitted))
    picture_top = top + caption_height + GAP
    cells: list[Cell] = []
    left = GAP
    for (lines, size), (width, _) in zip(fitted, sizes, strict=True):
        tops = range(top, top + len(lines) * _line_height(size), _line_height(size))
        boxes = [
            (left, y, left + _text_width(line, size), y + _line_height(size))
            for y, line in zip(tops, lines, strict=True)
        ]
        cells.append(
            Cell((left, picture_top, left + width, picture_top + height), tuple(zip(lines, boxes, strict=True)), size)
        )
        left = max(left + width, *(box[2] for box in boxes)) + GAP
    return cells


def _fit_caption(text: str, width: int, size: int) -> tuple[list[str], int]:
    """The lines of a caption above a picture of a width, and their font size, at most `size`."""
    given = text.split("\n")
    for smaller in range(size, min(size, MIN_FONT) - 1, -1):
        if all(_text_width(line, smaller) <= width for line in given):
            return given, smaller
    size = min(size, MIN_FONT)
    return [part for line in given for part in _wrap_line(line, max(width, MIN_COLUMN), size)], size


def _wrap_line(text: str, width: int, size: int) -> list[str]:
    """A line in parts that fit a width, broken between words where that is possible."""
    lines: list[str] = []
    for word in (part for whole in text.split() for part in _break_word(whole, width, size)):
        if lines and _text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _break_word(word: str, width: int, size: int) -> list[str]:
    """A word in parts that fit a width."""
    parts = [""]
    for letter in word:
        if parts[-1] and _text_width(parts[-1] + letter, size) > width:
            parts.append("")
        parts[-1] += letter
    return parts


def _text_width(text: str, size: int) -> int:
    return math.ceil(ImageFont.load_default(size).getlength(text))


def _line_height(size: int) -> int:
    """That of letters with descenders and accents, which are up to a fifth higher than the font is large."""
    return math.ceil(1.2 * size)


def regions_overlay(inputs: PhotoInputs) -> Image.Image:
    """The photo in gray, tinted with one color per region."""
    colors = np.asarray([REGION_COLORS[k % len(REGION_COLORS)] for k in range(len(inputs.regions))], np.float32)
    gray = inputs.photo.mean(-1, keepdims=True)
    return to_picture(0.5 * gray + 0.5 * (inputs.masks @ colors) / 255.0)


def classes_overlay(
    photo: np.ndarray,
    masks: Mapping[str, np.ndarray],
    fractions: Mapping[str, float],
    *,
    captions: Mapping[str, str] = MappingProxyType({}),
    labels: Iterable[tuple[str, tuple[float, float]]] = (),
) -> Image.Image:
    """The photo tinted with the VOC color of every class, above a legend of names and area fractions.

    Args:
      photo: (H, W, 3) in [0, 1].
      masks: {class: (H, W) in [0, 1]} of all classes but the background, which keeps the photo's colors.
      fractions: {class: area fraction}, including the background.
      captions: {class: what the legend says in place of its name and fraction}.
      labels: texts, each with the (x, y) of its middle, that are drawn on the photo.
    """
    picture, colors = tint_classes(photo, masks), class_colors(masks)
    _draw_labels(picture, labels)
    line = max(14, picture.height // 20)
    font = ImageFont.load_default(line)
    texts = {name: f"{name} {format_percent(fraction)}" for name, fraction in fractions.items()} | dict(captions)
    width = max(picture.width, *(round(font.getlength(text)) + line + 3 * GAP for text in texts.values()))
    page = Image.new("RGB", (width, picture.height + len(texts) * (line + GAP) + GAP), "white")
    page.paste(picture)
    draw = ImageDraw.Draw(page)
    for index, (name, text) in enumerate(texts.items()):
        y = picture.height + GAP + index * (line + GAP)
        fill = colors.get(name)
        draw.rectangle((GAP, y, GAP + line, y + line - 1), fill=fill, outline="black")
        draw.text((line + 2 * GAP, y), text, fill="black", font=font)
    return page


def _draw_labels(picture: Image.Image, labels: Iterable[tuple[str, tuple[float, float]]]) -> None:
    """Texts, each around an (x, y), on a picture of any brightness."""
    draw, size = ImageDraw.Draw(picture), max(14, picture.height // 12)
    for text, middle in labels:
        font = ImageFont.load_default(size)
        draw.text(middle, text, fill="white", font=font, anchor="mm", stroke_width=size // 8, stroke_fill="black")


def tint_classes(photo: np.ndarray, masks: Mapping[str, np.ndarray]) -> Image.Image:
    """The photo (H, W, 3) in [0, 1], tinted under masks {class: (H, W) in [0, 1]} with the classes' colors."""
    tinted = photo * (1 - OVERLAY * sum(masks.values(), np.zeros(photo.shape[:2], np.float32)))[..., None]
    colors = class_colors(masks)
    for name, mask in masks.items():
        tinted = tinted + OVERLAY * mask[..., None] * np.asarray(colors[name], np.float32) / 255
    return to_picture(tinted)


def class_colors(names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """The color of each class: those of VOC have their own, others the remaining ones in alphabetical order."""
    names = [*names]
    own = {name: COLORS[CLASSES.index(name)] for name in names if name in CLASSES}
    free = [color for color in COLORS[1:] if color not in own.values()] or [*COLORS[1:]]
    return own | dict(zip(sorted({*names} - {*own}), itertools.cycle(free), strict=False))


def inputs_sheet(inputs: PhotoInputs, result: np.ndarray) -> Image.Image:
    """Photo, regions, the paintings of each region that has some, and the result (H, W, 3), side by side, on white."""
    inputs = inputs._replace(photo=over_white(inputs.photo, inputs.alpha))
    fractions = zip(inputs.regions, area_fractions(inputs.masks), strict=True)
    caption = ", ".join(f"{region.name} {fraction:.0%}" for region, fraction in fractions)
    return sheet(
        [
            ("photo", to_picture(inputs.photo)),
            (f"regions: {caption}", regions_overlay(inputs)),
            *(captioned for region in inputs.regions for captioned in _captioned_paintings(region)),
            ("result", to_picture(over_white(result, inputs.alpha))),
        ],
        height=min(384, inputs.photo.shape[0]),
    )


def _captioned_paintings(region: Region) -> list[tuple[str, Image.Image]]:
    """The paintings of a region; where there are several, each with its share in the style."""
    several = len(region.paintings) > 1
    return [
        (f"style of {region.name}" + (f": {format_percent(share)}" if several else ""), to_picture(painting.image))
        for painting, share in zip(region.paintings, region.shares, strict=True)
    ]


def comparison_sheet(
    separate: np.ndarray, naive: np.ndarray, without_tv: np.ndarray, complete: np.ndarray
) -> Image.Image:
    """An ablation of the losses: separate, naive, without smooth, all; images (H, W, 3)."""
    return sheet(
        [
            ("separate: each style alone, pasted", to_picture(separate)),
            ("naive: no blend, no smooth loss", to_picture(naive)),
            ("without smooth loss", to_picture(without_tv)),
            ("all losses", to_picture(complete)),
        ],
        height=min(384, complete.shape[0]),
        columns=2,
    )


def blend_strip(ratios: Sequence[float], results: np.ndarray) -> Image.Image:
    """Results (B, H, W, 3) side by side, in the order of their blend ratios."""
    captioned = [(f"blend {ratio:g}", to_picture(result)) for ratio, result in zip(ratios, results, strict=True)]
    return sheet(captioned, height=min(384, results.shape[1]))
