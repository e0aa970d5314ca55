"""Views of paintings: which pictures are found, that a seed gives the same views, and what is wrong in one line."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.training.data import paintings
from msst_jax.training.data.paintings import find_paintings, painting_view
from tests.helpers.pictures import flat, noise, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    for name, size in {"tall.png": (60, 30), "wide.jpg": (20, 90), "more/small.png": (9, 12)}.items():
        save(tmp_path / name, noise(*size))
    (tmp_path / "notes.txt").write_text("no painting")
    return tmp_path


def views(folders: list[list[Path]], seed: int, count: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([painting_view(folders, rng, 24) for _ in range(count)])


def test_views_of_any_painting_have_one_size_and_a_seed_gives_the_same_ones(folder: Path):
    found = find_paintings([str(folder)])
    assert sorted(path.name for path in found[0]) == ["small.png", "tall.png", "wide.jpg"]
    first, again, other = (views(found, seed) for seed in (1, 1, 2))
    assert (first.shape, first.dtype) == ((12, 24, 24, 3), np.uint8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any((1, 2, 3)).all()
    assert len(np.unique(first.reshape(12, -1), axis=0)) == 12


def test_a_folder_of_one_painting_is_as_likely_as_one_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paintings, "RECOLORED", 0.0)
    for name, count, color in (("many", 9, (250, 0, 0)), ("one", 1, (0, 0, 250))):
        (tmp_path / name).mkdir()
        for index in range(count):
            save(tmp_path / name / f"{index}.png", flat(color, 24, 24))
    shown = views(find_paintings([str(tmp_path / "many"), str(tmp_path / "one")]), 0, 200)
    assert 0.4 < (shown[:, 12, 12, 2] > 200).mean() < 0.6


def test_half_of_the_views_have_other_colors(tmp_path: Path):
    save(tmp_path / "red.png", flat((200, 40, 40), 24, 24))
    shown = views(find_paintings([str(tmp_path)]), 0, 100)
    own = np.abs(shown[:, 12, 12].astype(int) - (200, 40, 40)).max(-1) <= 2
    assert 0.35 < own.mean() < 0.65
    assert len(np.unique(shown[~own][:, 12, 12], axis=0)) > 20


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"^config.paintings is empty; give folders of paintings: --config.paintings='\(\"DIR\",\)'$"),
        (["nowhere"], r"^config.paintings: nowhere is no folder of pictures; give one that is$"),
        (["in", "empty"], r"^config.paintings: empty is no folder of pictures; give one that is$"),
        (["in/a.png"], r"^config.paintings: in/a.png is no folder of pictures; give one that is$"),
    ],
)
def test_paintings_that_are_not_there_are_one_line(tmp_path: Path, monkeypatch, names: list[str], message: str):
    monkeypatch.chdir(tmp_path)
    for name in ("in", "empty"):
        Path(name).mkdir()
    save(Path("in/a.png"), noise(20, 20))
    with pytest.raises(UserError, match=message):
        find_paintings(names)


def test_a_damaged_painting_is_named(tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"^painting .*bad\.png is not a picture"):
        partial(painting_view, find_paintings([str(tmp_path)]))(np.random.default_rng(0), 24)
