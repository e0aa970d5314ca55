"""The segmenter in the package: twenty classes without a download."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.models.deeplab import LITE_NETWORK
from msst_jax.models.pretrained import EMBEDDED_SEGMENTERS
from msst_jax.models.voc import CLASSES
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.segmenter import load_segmenter

MAX_BYTES = 10e6


@pytest.fixture(autouse=True)
def nothing_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path))


def test_a_dog_needs_no_mask_and_no_download() -> None:
    segmenter = load_segmenter("", ["dog", "person#1", "cat+horse"])
    assert segmenter.record() == {"name": LITE_NETWORK, "weights": f"{LITE_NETWORK}.safetensors"}
    assert segmenter.predicted == CLASSES


def test_the_segmenter_in_the_package_stays_small() -> None:
    assert EMBEDDED_SEGMENTERS[LITE_NETWORK].stat().st_size <= MAX_BYTES


@pytest.mark.parametrize("name", ["dog", "cat", "horse", "person"])
def test_the_segmenter_in_the_package_finds_what_fills_a_photo(name: str, shared: Path) -> None:
    index, folder = CLASSES.index(name), shared / "data" / "voc21"
    truths = {path.stem: np.asarray(Image.open(path)) == index for path in sorted((folder / "masks").glob("voc_*.png"))}
    best = max(truths, key=lambda stem: truths[stem].mean())
    with Image.open(folder / "images" / f"{best}.jpg") as photo:
        found = class_probabilities(load_segmenter(""), photo.convert("RGB"), refine=True).argmax(-1) == index
    overlap = (found & truths[best]).sum() / (found | truths[best]).sum()
    assert overlap > 0.6
