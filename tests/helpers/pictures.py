"""Small images, and a config that runs quickly."""

from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from msst_jax.configs import photo

TWO = [
    "--style=dog=a.png",
    "--style=background=b.png",
    "--mask=dog=left.png",
]  # flags for the files of `make_scene`
QUICK = {
    "size": 32,
    "steps": 3,
    "scales": (1.0,),
    "scale_steps": (1.0,),
    "style_layers": ("relu1_1", "relu2_1"),
    "style_layer_weights": (),
    "content_layers": ("relu2_1",),
    "content_layer_weights": (),
    "history": 4,
}


def quick_config(**changes: Any) -> ConfigDict:
    """configs/photo.py with shallow layers, one scale and few steps."""
    config = photo.get_config()
    config.update({**QUICK, **changes})
    return config


def flat(color: tuple[int, ...], height: int = 48, width: int = 64) -> np.ndarray:
    """An image (height, width, C) of one color, uint8."""
    return np.full((height, width, len(color)), color, np.uint8)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image (height, width, 3) of blotches, uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (max(2, height // 4), max(2, width // 4), 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, values: np.ndarray | Image.Image, **options: Any) -> str:
    """Writes an image and returns its path."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)
    return str(path)


def stripe(height: int, width: int, begin: float, end: float) -> np.ndarray:
    """A mask (height, width), white between two fractions of its width."""
    columns = (np.arange(width) + 0.5) / width
    return np.tile(np.where((columns >= begin) & (columns < end), 255, 0).astype(np.uint8), (height, 1))


def make_scene(folder: Path, height: int = 24, width: int = 32) -> Path:
    """photo.png, a.png, b.png, c.png and the masks left.png and middle.png in `folder`."""
    save(folder / "photo.png", noise(height, width))
    for seed, name in enumerate("abc", start=1):
        save(folder / f"{name}.png", noise(28, 36, seed))
    save(folder / "left.png", stripe(height, width, 0, 0.4))
    save(folder / "middle.png", stripe(height, width, 0.4, 0.7))
    return folder
