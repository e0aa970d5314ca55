"""Draw the two style pictures of the quickstart from nothing: an oil painting and a mosaic.

Usage: python examples/draw_styles.py [--out DIR]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

WIDTH, HEIGHT = 640, 512
WARM = ["#2a0b2e", "#6d1034", "#b3202a", "#e04a1c", "#f58a1f", "#ffc02e", "#ffe9a3"]
WARM_ACCENTS = ["#241a5e", "#0d6f86", "#17a398", "#bfe6c8"]
COOL = ["#07133f", "#0d2f86", "#1557c0", "#0e8fc4", "#0fae9c", "#6fdcb8", "#eef7dc"]
GOLD = ["#b9770e", "#e8b23a", "#ffe08a"]
GROUT = ["#12141f"]


def rgb(colors: list[str]) -> np.ndarray:
    """Give hex colors as an (n, 3) float array in 0..255."""
    return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors], float)


def ramp(colors: list[str], t: np.ndarray) -> np.ndarray:
    """Give the colors along the gradient through `colors`, at positions t in 0..1 (clipped)."""
    stops = rgb(colors)
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(t, places, stops[:, c]) for c in range(3)], axis=-1)


def noise(rng: np.random.Generator, shape: tuple[int, int], size: float) -> np.ndarray:
    """Make smooth noise in 0..1 with blobs of about `size` pixels."""
    field = gaussian_filter(rng.standard_normal(shape), size, mode="reflect")
    return (field - field.min()) / np.ptp(field)


def shade(picture: np.ndarray, relief: np.ndarray, strength: float) -> np.ndarray:
    """Light a picture from the upper left, as if `relief` were its surface."""
    dy, dx = np.gradient(relief)
    light = np.clip(strength * (dx + dy), -0.45, 0.45)[..., None]
    return np.where(light > 0, picture + (255 - picture) * light, picture * (1 + light))


def finish(picture: np.ndarray) -> Image.Image:
    """Make an image of the final size from a picture drawn at twice that size."""
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


# ---------------------------------------------------------------- oil painting


def swirls(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """Make a landscape of hills and whirls; strokes run along its contour lines."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    land = 1.6 * noise(rng, shape, shape[0] / 8)
    for cy, cx, sign in zip(rng.random(count), rng.random(count), rng.choice([-1, 1], count), strict=True):
        distance = np.hypot(y - cy * shape[0], x - cx * shape[1]) / shape[0]
        land += sign * 0.9 * np.exp(-distance / 0.16)
    return gaussian_filter(land, 6)


def walk(start: np.ndarray, flow: np.ndarray, steps: int, stride: float) -> np.ndarray:
    """Give points (steps, 2) as x, y along the flow from `start`."""
    points = [start]
    for _ in range(steps - 1):
        x, y = points[-1]
        row, column = np.clip([y, x], 0, np.array(flow.shape[:2]) - 1).astype(int)
        points.append(points[-1] + stride * flow[row, column])
    return np.array(points)


def stroke(
    rng: np.random.Generator,
    canvases: list[ImageDraw.ImageDraw],
    path: np.ndarray,
    width: float,
    color: np.ndarray,
) -> None:
    """Paint one stroke, rounded at its ends, as bristle hairs of slightly different color and height."""
    colors, heights = canvases
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / (np.hypot(*along.T)[:, None] + 1e-6)
    taper = np.sin(np.linspace(0.06, 0.94, len(path)) * np.pi)[:, None] ** 0.4
    bend = 0.12 * rng.standard_normal()  # one side of the brush carries more paint
    for offset in rng.permutation(np.linspace(-0.5, 0.5, max(5, int(width / 1.8)))):
        hair = path + normal * taper * offset * width
        line = [tuple(point) for point in hair[: len(hair) - rng.integers(0, 2)]]
        tint = np.clip(color * (1 + bend * offset * 2 + 0.1 * rng.standard_normal()), 0, 255)
        colors.line(line, fill=tuple(tint.astype(int)), width=4, joint="curve")
        heights.line(line, fill=int(165 - 180 * offset**2 + rng.integers(-40, 40)), width=4)


def brush_strokes(seed: int = 1) -> Image.Image:
    """Paint a warm oil painting: swirling strokes, large ones first, small ones on top."""
    rng = np.random.default_rng(seed)
    shape = (HEIGHT * 2, WIDTH * 2)  # painted at twice the size, reduced at the end
    land = swirls(rng, shape, 7)
    down, right = np.gradient(land)
    flow = np.stack([down, -right], -1) / (np.hypot(down, right)[..., None] + 1e-9)
    tone = 0.5 - 0.5 * np.cos(2 * np.pi * (1.7 * land + 0.35 * noise(rng, shape, 30)))
    streaks = noise(rng, shape, 26)  # where it is high, strokes take an accent color
    paint = Image.fromarray(ramp(WARM, tone).astype(np.uint8))  # the ground, nearly all painted over
    relief = Image.new("L", shape[::-1], 130)
    canvases = [ImageDraw.Draw(paint), ImageDraw.Draw(relief)]
    for width, steps, count in [(60, 16, 900), (36, 16, 1100), (20, 16, 1300), (10, 14, 900)]:
        for start in rng.uniform(-80, [shape[1] + 80, shape[0] + 80], (count, 2)):
            here = tuple(np.clip(start[::-1], 0, np.array(shape) - 1).astype(int))
            color = ramp(WARM, 0.88 * tone[here] + 0.08 * rng.standard_normal())
            if (streaks[here] > 0.67 and rng.random() < 0.6) or rng.random() < 0.01:
                color = ramp(WARM_ACCENTS, tone[here] + 0.15 * rng.standard_normal())
            color *= np.exp(0.1 * rng.standard_normal())
            stroke(rng, canvases, walk(start, flow, steps, width * 0.3), width, color)
    surface = gaussian_filter(np.asarray(relief, float), 1.2)
    return finish(shade(np.asarray(paint, float), surface, 0.012))


# ---------------------------------------------------------------------- mosaic


def claim(pixels: np.ndarray, centres: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find for each pixel the tile whose turned square reaches it first, and by how much it won."""
    near = cKDTree(centres).query(pixels, 6)[1]
    row, column = centres.astype(int).T
    turn = angle[row, column][near]
    dy, dx = np.moveaxis(pixels[:, None] - centres[near], -1, 0)
    across, along = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    reach = np.maximum(abs(across), abs(along))
    first, second = np.sort(reach, axis=1)[:, :2].T
    return near[np.arange(len(near)), reach.argmin(1)], second - first


def lay_tiles(rng: np.random.Generator, angle: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Pack squarish tiles turned by `angle`: tile of each pixel, distance to its joint, tile centres."""
    pixels = np.moveaxis(np.indices(angle.shape).astype(float), 0, -1)
    coarse = pixels[::3, ::3].reshape(-1, 2)
    centres = rng.random((count, 2)) * angle.shape
    for _ in range(20):  # Lloyd's method: each centre moves to the middle of its tile
        owner = claim(coarse, centres, angle)[0]
        size = np.maximum(np.bincount(owner, minlength=count), 1)
        centres = np.stack([np.bincount(owner, coarse[:, i], count) / size for i in (0, 1)], 1)
    owner, joint = claim(pixels.reshape(-1, 2), centres, angle)
    return owner.reshape(angle.shape), joint.reshape(angle.shape), centres


def glaze(rng: np.random.Generator, distance: np.ndarray) -> np.ndarray:
    """Choose colors of tiles by distance from the nearest sun: gold inside, blue and green rings around."""
    spread = rng.standard_normal((3, len(distance)))
    ring = distance * 10 + 0.1 * spread[0]
    colors = ramp(COOL, 0.04 + 0.88 * (0.5 + 0.5 * np.cos(np.pi * ring)) + 0.07 * spread[1])
    gold = (distance < 0.075) | (abs(ring % 4 - 2.5) < 0.12) | (rng.random(len(ring)) < 0.02)
    colors[gold] = ramp(GOLD, rng.random(gold.sum()))
    return colors * np.exp(0.12 * spread[2])[:, None]


def mosaic(seed: int = 3) -> Image.Image:
    """Lay a cool ceramic mosaic: rings of tiles around golden suns, with dark joints."""
    rng = np.random.default_rng(seed)
    shape = (HEIGHT * 2, WIDTH * 2)
    y, x = np.mgrid[: shape[0], : shape[1]] / (2 * HEIGHT)
    suns = [(0.30, 0.33), (0.73, 0.93), (0.10, 1.13), (0.98, 0.16)]
    distance = np.min([np.hypot(y - sy, x - sx) for sy, sx in suns], axis=0)
    distance += 0.06 * (noise(rng, shape, 60) - 0.5)
    down, right = np.gradient(gaussian_filter(distance, 8))
    owner, joint, centres = lay_tiles(rng, np.arctan2(down, right), 2700)
    row, column = centres.astype(int).T
    picture = glaze(rng, distance[row, column])[owner] * (0.9 + 0.2 * noise(rng, shape, 3)[..., None])
    picture = shade(picture, gaussian_filter(np.clip(joint, 0, 9), 1.5), 0.18)
    picture[joint < 2.2] = rgb(GROUT)[0]
    return finish(picture)


def main() -> None:
    """Draw both pictures into the folder given by --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: this one)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    brush_strokes().save(out / "brush_strokes.jpg", quality=90)
    mosaic().save(out / "mosaic.jpg", quality=90)


if __name__ == "__main__":
    main()
