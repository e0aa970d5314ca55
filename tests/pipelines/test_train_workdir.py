"""The workdir of a training run, whose loop is mocked: its record, other runs, restarts and kills."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.train import run
from msst_jax.training import run_record, workdir
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import job, make_photos, tiny_config


@pytest.fixture(autouse=True)
def all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_the_config_and_the_styles_are_stored_in_the_workdir(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    assert run(tiny_config(), job(tmp_path)) == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["config"]["width"] == 4
    for name, file in job(tmp_path).styles.items():
        assert (tmp_path / "run" / "styles" / f"{name}.png").read_bytes() == Path(file).read_bytes()


def test_a_workdir_of_another_run_is_rejected_with_the_differences_and_restart_starts_again(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    assert run(tiny_config(), job(tmp_path)) == 0
    other = tmp_path / "run" / "notes.txt"
    other.write_text("mine")
    left = tmp_path / "run" / "checkpoints" / "3"
    left.mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        run(tiny_config(width=8, content_layers=("relu1_1",), learning_rate=0.5), job(tmp_path))
    text = str(caught.value)
    assert "config.width was 4, now 8" in text
    assert "config.content_layers was ['relu1_2'], now ['relu1_1']" in text
    assert "config.learning_rate was 0.001, now 0.5" in text
    assert text.endswith(
        "take another --workdir, or start again with --restart, which deletes its checkpoints and model"
    )
    assert run(tiny_config(workers=3, checkpoint_every=1), job(tmp_path)) == 0  # these do not change the result
    swapped = dict(reversed(job(tmp_path).styles.items()))
    with pytest.raises(UserError, match="the styles were of person, background, now background, person;"):
        run(tiny_config(), job(tmp_path, styles=swapped))
    assert left.exists()
    assert run(tiny_config(width=8), job(tmp_path, restart=True)) == 0
    assert not left.exists()
    assert other.read_text() == "mine"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["width"] == 8


def test_restart_removes_nothing_if_the_new_run_cannot_start(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    assert run(tiny_config(), job(tmp_path)) == 0
    with pytest.raises(UserError, match="nowhere"):
        run(tiny_config(), job(tmp_path, photos=[str(tmp_path / "nowhere")], restart=True))
    assert (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photos/99.png": 50, "photos/98.png": 50}, "the photos have changed: 2 added (the first: 98.png)"),
        ({"photos/02.png": 0}, "the photos have changed: 1 removed (the first: 02.png); take"),
        ({"photos/03.png": 41}, "the photos have changed: 1 of another size (the first: 03.png)"),
        ({"photos/03.png": 0, "photos/9.png": 8}, "1 added (the first: 9.png), 1 removed (the first: 03.png"),
        ({"masks/01.png": 0}, "the masks have changed: 1 removed (the first: 01.png)"),
        ({"masks/01.png": 80}, "the masks have changed: 1 of another size (the first: 01.png)"),
    ],
    ids=lambda value: "-".join(value).replace("/", "-") if isinstance(value, dict) else "",
)
def test_photos_changed_since_the_run_started_are_reported_on_resume(tmp_path: Path, calls, change, message: str):
    """Order and crops would otherwise silently differ from those of an uninterrupted run."""
    make_photos(tmp_path, 5)
    config = tiny_config(without_mask="random")
    assert run(config, job(tmp_path)) == 0
    for name, side in change.items():
        (tmp_path / name).unlink(missing_ok=True)
        if side:
            save(tmp_path / name, noise(side, side)[..., 0])
    with pytest.raises(UserError) as caught:
        run(config, job(tmp_path))
    assert message in str(caught.value)
    assert str(caught.value).endswith(
        "take another --workdir, or start again with --restart, which deletes its checkpoints and model"
    )
    assert run(config, job(tmp_path, restart=True)) == 0
    assert run(config, job(tmp_path)) == 0


def test_files_unused_by_a_run_may_change(tmp_path: Path, calls):
    make_photos(tmp_path, 5)
    assert run(tiny_config(), job(tmp_path)) == 0
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    save(tmp_path / "masks" / "other.png", noise(8, 8))
    assert run(tiny_config(), job(tmp_path)) == 0


def test_a_run_without_a_record_of_its_files_continues_and_records_them(tmp_path: Path, calls):
    make_photos(tmp_path, 5)
    assert run(tiny_config(), job(tmp_path)) == 0
    (tmp_path / "run" / run_record.FILES_FILE).unlink()
    assert run(tiny_config(), job(tmp_path)) == 0
    (tmp_path / "photos" / "04.png").unlink()
    with pytest.raises(UserError, match="the photos have changed: 1 removed"):
        run(tiny_config(), job(tmp_path))


def test_a_kill_before_the_config_is_written_leaves_a_usable_workdir(tmp_path: Path, calls, monkeypatch):
    make_photos(tmp_path, 4)

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workdir, "write_json", kill)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_config(), job(tmp_path))
    assert (tmp_path / "run" / "styles").exists()
    assert run(tiny_config(), job(tmp_path)) == 0


@pytest.mark.parametrize("restart", [False, True])
def test_folders_of_the_user_are_neither_used_nor_removed(tmp_path: Path, calls, restart: bool):
    make_photos(tmp_path, 4)
    own = tmp_path / "run" / "masks" / "own.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"dear to me")
    with pytest.raises(UserError, match="has masks of its own, where a run would write; take another --workdir"):
        run(tiny_config(), job(tmp_path, restart=restart))
    (tmp_path / "run" / "config.json").write_text('{"name": "something else"}')
    with pytest.raises(UserError):
        run(tiny_config(), job(tmp_path, restart=restart))
    assert own.read_bytes() == b"dear to me"


def test_restart_does_not_remove_its_own_inputs(tmp_path: Path, calls):
    make_photos(tmp_path, 4)
    assert run(tiny_config(), job(tmp_path)) == 0
    copies = tmp_path / "run" / "styles"
    (copies / "photos").mkdir()
    config = tiny_config(without_mask="random")
    with pytest.raises(UserError, match="which the run writes; take another --workdir"):
        run(config, job(tmp_path, photos=[str(tmp_path / "photos"), str(copies)], restart=True))
    assert copies.exists()
