"""Presets are found by name and by path, from any folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.presets.lookup import load_preset, preset_folder, preset_names, preset_path

ROOT = Path(__file__).parents[2]


def test_the_presets_of_a_clone_are_the_files_of_configs() -> None:
    assert preset_folder() == ROOT / "configs"
    assert set(preset_names()) == {path.stem for path in (ROOT / "configs").glob("[a-z]*.py")}
    assert {"photo", "seed", "fast"} <= set(preset_names())


@pytest.mark.parametrize("text", ["seed", "seed.py", "configs/seed.py"])
def test_a_name_and_its_path_in_the_clone_work_from_any_folder(text: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert preset_path(text) == ROOT / "configs" / "seed.py"


def test_a_file_of_the_user_s_comes_before_a_preset_at_the_same_path(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "seed.py").touch()
    assert preset_path("configs/seed.py") == Path("configs/seed.py")
    assert preset_path(str(tmp_path / "configs" / "seed.py")) == tmp_path / "configs" / "seed.py"


def test_a_folder_of_the_name_of_a_preset_is_not_taken_for_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed").mkdir()
    assert preset_path("seed") == ROOT / "configs" / "seed.py"


@pytest.mark.parametrize("text", ["nowhere", "nowhere.py", "other/seed.py", "__init__", "configs/__init__.py", "", "."])
def test_what_is_neither_a_preset_nor_a_file_is_refused(text: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^--config .* is neither a preset nor a file; "):
        preset_path(text)


def test_a_misspelled_preset_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(UserError, match="did you mean seed_fast"):
        preset_path("seedfast")


def test_a_clone_takes_its_own_presets_although_another_one_is_installed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "msst_jax").mkdir()
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "msst_jax" / name, tmp_path / "msst_jax" / name)
    for room in ("io", "presets"):
        shutil.copytree(ROOT / "msst_jax" / room, tmp_path / "msst_jax" / room)
    lines = "import msst_jax.configs; from msst_jax.presets.lookup import preset_folder; print(preset_folder())"
    done = subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path / "configs"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name: str) -> None:
    assert load_preset(name).get_config().steps > 0
