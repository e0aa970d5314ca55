"""Contact sheets: inputs, blend strips, comparisons of losses, class overlays."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from msst_jax.io.images import to_picture
from msst_jax.models.voc import CLASSES, COLORS
from msst_jax.regions.masks import area_fractions, format_percent
from msst_jax.transfer.inputs import PhotoInputs

# One color per region, in order; the palette is safe for color blindness (Okabe & Ito 2008).
REGION_COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0))
GAP = 8
OVERLAY = 0.6  # opacity of the class colors over the photo
MAX_SIDE = 16000  # WebP supports no more


def sheet(pictures: Sequence[tuple[str, Image.Image]], height: int, columns: int = 0) -> Image.Image:
    """Captioned images in rows, all of one height, on white.

    Args:
      pictures: (caption, image) in reading order.
      height: of every image, in pixels.
      columns: images per row; 0 = all in one row.
    """
    columns = columns or len(pictures)
    caption = max(14, height // 16)
    scaled = [
        p.resize((max(1, round(p.width * height / p.height)), height), Image.Resampling.LANCZOS) for _, p in pictures
    ]
    rows = [range(start, min(start + columns, len(scaled))) for start in range(0, len(scaled), columns)]
    row_height = height + caption + 2 * GAP
    width = max(sum(scaled[i].width + GAP for i in row) for row in rows) + GAP
    page = Image.new("RGB", (width, len(rows) * row_height + GAP), "white")
    draw = ImageDraw.Draw(page)
    for row_index, row in enumerate(rows):
        x, y = GAP, row_index * row_height + GAP
        for i in row:
            draw.text((x, y), pictures[i][0], fill="black", font=_font(pictures[i][0], caption, scaled[i].width))
            page.paste(scaled[i], (x, y + caption + GAP))
            x += scaled[i].width + GAP
    page.thumbnail((MAX_SIDE, MAX_SIDE))
    return page


def _font(text: str, size: int, width: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """The largest font up to `size` in which `text` is no wider than `width`, but not below 8 pixels."""
    while size > 8 and ImageFont.load_default(size).getlength(text) > width:
        size -= 1
    return ImageFont.load_default(size)


def regions_overlay(inputs: PhotoInputs) -> Image.Image:
    """The photo in gray, tinted with one color per region."""
    colors = np.asarray([REGION_COLORS[k % len(REGION_COLORS)] for k in range(len(inputs.regions))], np.float32)
    gray = inputs.photo.mean(-1, keepdims=True)
    return to_picture(0.5 * gray + 0.5 * (inputs.masks @ colors) / 255.0)


def classes_overlay(photo: np.ndarray, masks: Mapping[str, np.ndarray], fractions: Mapping[str, float]) -> Image.Image:
    """The photo tinted with the VOC color of every class, above a legend of names and area fractions.

    Args:
      photo: (H, W, 3) in [0, 1].
      masks: {class: (H, W) in [0, 1]} of all classes but the background, which keeps the photo's colors.
      fractions: {class: area fraction}, including the background.
    """
    picture = tint_classes(photo, masks)
    line = max(14, picture.height // 20)
    font = ImageFont.load_default(line)
    texts = {name: f"{name} {format_percent(fraction)}" for name, fraction in fractions.items()}
    width = max(picture.width, *(round(font.getlength(text)) + line + 3 * GAP for text in texts.values()))
    page = Image.new("RGB", (width, picture.height + len(texts) * (line + GAP) + GAP), "white")
    page.paste(picture)
    draw = ImageDraw.Draw(page)
    for index, (name, text) in enumerate(texts.items()):
        y = picture.height + GAP + index * (line + GAP)
        fill = _class_color(name) if name in masks else None
        draw.rectangle((GAP, y, GAP + line, y + line - 1), fill=fill, outline="black")
        draw.text((line + 2 * GAP, y), text, fill="black", font=font)
    return page


def tint_classes(photo: np.ndarray, masks: Mapping[str, np.ndarray]) -> Image.Image:
    """The photo (H, W, 3) in [0, 1], tinted under masks {class: (H, W) in [0, 1]} with the classes' VOC colors."""
    tinted = photo * (1 - OVERLAY * sum(masks.values(), np.zeros(photo.shape[:2], np.float32)))[..., None]
    for name, mask in masks.items():
        tinted = tinted + OVERLAY * mask[..., None] * np.asarray(_class_color(name), np.float32) / 255
    return to_picture(tinted)


def _class_color(name: str) -> tuple[int, int, int]:
    return COLORS[CLASSES.index(name)]


def inputs_sheet(inputs: PhotoInputs, result: np.ndarray) -> Image.Image:
    """Photo, regions, the style of each region, and the result (H, W, 3)."""
    fractions = zip(inputs.regions, area_fractions(inputs.masks), strict=True)
    caption = ", ".join(f"{region.name} {fraction:.0%}" for region, fraction in fractions)
    return sheet(
        [
            ("photo", to_picture(inputs.photo)),
            (f"regions: {caption}", regions_overlay(inputs)),
            *((f"style of {region.name}", to_picture(region.style)) for region in inputs.regions),
            ("result", to_picture(result)),
        ],
        height=min(384, inputs.photo.shape[0]),
    )


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
