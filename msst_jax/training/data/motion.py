"""Synthetic motion of a photo, as of two frames of a video: drawn with the photo, applied on the device."""

import numpy as np

TURN, ZOOM, SHIFT = 0.05, 0.05, 0.04  # largest rotation in radians, change of size, and translation by the side
BEND, BENDS = 0.015, 4  # largest local displacement by the side, at a grid of so many points a side
NOISE = 0.02  # largest standard deviation of the noise, of [0, 1]


def random_motion(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Fields of a training example that say how the second frame differs from the first.

    Returns:
      {"affine": (2, 3), displacement (x, y) as a matrix of (x, y, 1), positions in [-1/2, 1/2] and all by the side;
      "bends": (BENDS, BENDS, 2), further displacement; "noise": (), its standard deviation; "noise_seed": ()}.
    """
    turn, zoom = rng.uniform(-TURN, TURN), rng.uniform(-ZOOM, ZOOM)
    shift = rng.uniform(-SHIFT, SHIFT, 2)
    affine = np.array([[zoom, -turn, shift[0]], [turn, zoom, shift[1]]], np.float32)
    bends = rng.uniform(-BEND, BEND, (BENDS, BENDS, 2)).astype(np.float32)
    noise = np.float32(rng.uniform(0, NOISE))
    return {
        "affine": affine,
        "bends": bends,
        "noise": np.asarray(noise),
        "noise_seed": np.asarray(rng.integers(2**32), np.uint32),
    }
