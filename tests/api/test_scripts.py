"""What a researcher does, each as a cell of a notebook: the lines are all that it takes.

The lines are counted, imports aside, so that a door which becomes narrower is noticed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msst_jax
from tests.helpers.scripts import (
    ADAM_WITH_A_SCHEDULE,
    CALLBACK,
    FAST_MODEL,
    OWN_ARCHITECTURE,
    OWN_LOSS,
    OWN_MASKS,
    OWN_SEGMENTER,
    OWN_TASK,
    earlier_cell,
)
from tests.helpers.training_runs import make_photos


def lines(script: str) -> int:
    """Of a script without imports and empty lines."""
    return sum(bool(line.strip()) and not line.startswith(("import ", "from ")) for line in script.splitlines())


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an earlier cell has made: arrays, and a folder to train on as the working one."""
    make_photos(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return earlier_cell()


def run(script: str, names: dict[str, Any], most: int) -> dict[str, Any]:
    """The names that a script leaves, which takes at most so many lines."""
    assert lines(script) <= most
    exec(script, names)
    return names


@pytest.mark.slow
def test_a_loss_of_ones_own(names: dict[str, Any]):
    warmth = run(OWN_LOSS, names, 4)["result"].losses["warmth"]
    assert warmth[-1] < warmth[0]


@pytest.mark.slow
def test_adam_with_a_schedule(names: dict[str, Any]):
    assert run(ADAM_WITH_A_SCHEDULE, names, 3)["result"].evaluations == 5


@pytest.mark.slow
def test_masks_as_arrays(names: dict[str, Any]):
    mask = run(OWN_MASKS, names, 2)["result"].masks["left"]
    assert ((mask > 0.5) == names["left"]).mean() > 0.98


@pytest.mark.slow
def test_a_fast_model_on_an_array(names: dict[str, Any]):
    assert run(FAST_MODEL, names, 2)["picture"].shape == (48, 64, 3)
    assert msst_jax.read_image("out.png").shape == (48, 64, 3)


@pytest.mark.slow
def test_a_segmenter_with_classes_of_its_own(names: dict[str, Any]):
    result = run(OWN_SEGMENTER, names, 3)["result"]
    np.testing.assert_array_equal(result.masks["sky"][:17] > 0.5, True)
    land = result.masks["background"] > 0.99
    np.testing.assert_array_equal(result.picture[land], (names["photo"] / np.float32(255))[land])


def test_a_task_of_ones_own(names: dict[str, Any]):
    run(OWN_TASK, names, 15)
    assert "0." in Path("runs/color/model.safetensors").read_text()


@pytest.mark.slow
def test_an_architecture_of_ones_own(names: dict[str, Any]):
    picture = run(OWN_ARCHITECTURE, names, 13)["picture"]
    assert picture.shape == (48, 64, 3)
    assert np.isfinite(picture).all()


@pytest.mark.slow
def test_pictures_on_the_way(names: dict[str, Any]):
    run(CALLBACK, names, 3)
    assert [path.name for path in sorted(Path().glob("00*.png"))] == ["002.png", "004.png"]
