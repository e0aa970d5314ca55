"""Inputs that several tests of reports share."""

import numpy as np
import pytest

from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from tests.helpers.pictures import noise


@pytest.fixture
def inputs() -> PhotoInputs:
    masks = np.zeros((24, 40, 3), np.float32)
    masks[:, :10, 0], masks[:, 10:20, 1], masks[:, 20:, 2] = 1, 1, 1
    styles = [noise(20, 30, seed).astype(np.float32) / 255 for seed in range(3)]
    names = ("dog", "cat", "background")
    regions = tuple(
        Region(name, (Painting(style, file=f"{name}.jpg"),)) for name, style in zip(names, styles, strict=True)
    )
    return PhotoInputs(noise(24, 40).astype(np.float32) / 255, masks, regions)
