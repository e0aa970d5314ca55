"""A comparison as pictures: contact sheets, and the matrices as heat maps."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy import ndimage

from benchmarks.quality.comparison import Comparison, measured_inputs
from benchmarks.quality.metrics.edges import border
from benchmarks.quality.pairs import Pair
from benchmarks.quality.scores import is_diagonal, own_distance
from benchmarks.quality.tables import MATRICES, matrices
from msst_jax.io.images import read_picture, save_picture, to_picture
from msst_jax.report.sheets import REGION_COLORS, sheet
from msst_jax.transfer.inputs import PhotoInputs

ROWS_A_PAGE = 6
BOX = (320, 240)  # of every picture of a contact sheet, in pixels
CELL = 110  # side of a field of a heat map
MARGIN = 130  # for the names beside the fields
FULL = np.array([33, 102, 172])  # color of the largest value; 0 is white
TITLES = {"gram": "Gram distance to the painting of", "palette": "palette distance to the painting of"}


def write_drawings(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes matrices.png and sheet_1.png, ...; removes pages of an earlier run that are no more.

    Raises:
      UserError: a file cannot be read or written.
    """
    written = []
    if comparison.common:
        written.append(folder / "matrices.png")
        save_picture(matrices_page(comparison), written[-1])
    for number, page in enumerate(contact_sheets(comparison), 1):
        written.append(folder / f"sheet_{number}.png")
        save_picture(page, written[-1])
    for path in {folder / "matrices.png", *folder.glob("sheet_*.png")} - set(written):
        path.unlink(missing_ok=True)
    return written


def contact_sheets(comparison: Comparison) -> Iterator[Image.Image]:
    """Pages of ROWS_A_PAGE rows: a photo with its borders, its paintings, and the picture of every entrant."""
    shown = [pair for pair in comparison.pairs if any(pair.name in found for found in comparison.pictures.values())]
    paintings = max((len(pair.styles) for pair in shown), default=0)
    columns = 1 + paintings + len(comparison.pictures)
    for start in range(0, len(shown), ROWS_A_PAGE):
        entries = [entry for pair in shown[start : start + ROWS_A_PAGE] for entry in _row(comparison, pair, paintings)]
        yield sheet(
            [(caption, ImageOps.pad(picture, BOX, color="white")) for caption, picture in entries], BOX[1], columns
        )


def _row(comparison: Comparison, pair: Pair, paintings: int) -> list[tuple[str, Image.Image]]:
    inputs = measured_inputs(pair, comparison.size)
    blank = Image.new("RGB", BOX, "white")
    row = [(pair.name, outlined(inputs))]
    row += [
        (f"{region.name}: {Path(region.style).stem}", to_picture(region.paintings[0].image))
        for region in inputs.regions
    ]
    row += [("", blank)] * (paintings - len(inputs.regions))
    for entrant, pictures in comparison.pictures.items():
        if pair.name in pictures:
            row.append((_caption(comparison, entrant, pair), read_picture(pictures[pair.name].path)))
        else:
            row.append((f"{entrant}: none", blank))
    return row


def _caption(comparison: Comparison, entrant: str, pair: Pair) -> str:
    """Distances to the own paintings, "(leaks)" if a region is nearer to the painting of another, and to the photo."""
    scores = comparison.scores[entrant][pair.name]
    digits = {"gram": ("Gram", 2), "palette": ("palette", 1)}
    parts = []
    for name, (title, places) in digits.items():
        matrix = getattr(scores, name)
        parts.append(f"{title} {own_distance(matrix):.{places}f}{'' if is_diagonal(matrix) else ' (leaks)'}")
    if not math.isnan(scores.lpips):
        parts.append(f"LPIPS {scores.lpips:.2f}")
    return f"{entrant}: {', '.join(parts)}"


def outlined(inputs: PhotoInputs) -> Image.Image:
    """The photo at the size of the sheet, each region outlined in a color of its own."""
    height, width = inputs.photo.shape[:2]
    scale = min(BOX[0] / width, BOX[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR) for mask in np.moveaxis(inputs.masks, -1, 0)]
    labels = np.argmax([np.asarray(mask) for mask in small], 0)
    picture = np.array(to_picture(inputs.photo).resize(size, Image.Resampling.LANCZOS))
    at_border = ndimage.binary_dilation(border(labels))
    picture[at_border] = np.array(REGION_COLORS)[labels[at_border] % len(REGION_COLORS)]
    return Image.fromarray(picture)


def matrices_page(comparison: Comparison) -> Image.Image:
    """The mean matrices of every entrant, Gram distances beside palette distances; a color means the same in all."""
    found = matrices(comparison)
    largest = {name: max(float(np.nanmax(means[name], initial=0)) for _, _, means in found) for name in MATRICES}
    maps = [
        (f"{entrant}: {TITLES[name]}", heat_map(means[name], regions, largest[name]))
        for entrant, regions, means in found
        for name in MATRICES
    ]
    return sheet(maps, max(picture.height for _, picture in maps), columns=len(MATRICES))


def heat_map(matrix: np.ndarray, regions: list[str], largest: float) -> Image.Image:
    """A matrix (K, K) as fields with their values: a row for each region, a column for the painting of each.

    The darker, the farther: a good matrix is light on its diagonal, which is framed.
    """
    count = len(regions)
    page = Image.new("RGB", (MARGIN + count * CELL + 2, count * CELL + 32), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for index, region in enumerate(regions):
        draw.text((MARGIN + index * CELL + CELL / 2, 15), region, fill="black", font=font, anchor="mm")
        draw.text((MARGIN - 8, 30 + index * CELL + CELL / 2), region, fill="black", font=font, anchor="rm")
    for (row, column), value in np.ndenumerate(matrix):
        left, top = MARGIN + column * CELL, 30 + row * CELL
        share = 0.0 if math.isnan(value) or not largest else min(1.0, value / largest)
        fill = tuple(np.round(255 + share * (FULL - 255)).astype(int).tolist())
        draw.rectangle((left, top, left + CELL, top + CELL), fill=fill)
        text = "-" if math.isnan(value) else f"{value:.3g}"
        ink = "white" if share > 0.5 else "black"
        draw.text((left + CELL / 2, top + CELL / 2), text, fill=ink, font=font, anchor="mm")
    for index in range(count):
        left, top = MARGIN + index * CELL, 30 + index * CELL
        draw.rectangle((left, top, left + CELL, top + CELL), outline="black", width=3)
    return page
