"""What an interrupted run kept: wherever it was killed, and whatever is wrong with it now."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.video.resume import ChunkPlan, ResumeFolder, resume_path, segment_length

PLAN = ChunkPlan(batch=2, segment=4)
RUN = {"clip": ["a.mp4", 3], "quality": None, "config.size": (1, 2)}
STATE = {"photo": jnp.zeros((2, 3)), "seen": jnp.asarray(False)}


class Killed(BaseException):
    """As kill -9: nothing that runs after it counts."""


def images(number: int) -> np.ndarray:
    return np.full((2, 4, 6, 3), number, np.uint8)


def state(number: int) -> dict[str, Any]:
    return {"photo": jnp.full((2, 3), float(number)), "seen": jnp.asarray(True)}


def packed(number: int) -> dict[str, np.ndarray]:
    return {"data": np.full(5, number, np.uint8)}


def begin(folder: Path, *, resume: bool = False, plan: ChunkPlan = PLAN, **changes: Any) -> ResumeFolder:
    return ResumeFolder(folder, plan, {**RUN, **changes}, resume=resume)


def fill(folder: Path, count: int) -> ResumeFolder:
    """As a run that made so many batches."""
    parts = begin(folder)
    for number in range(count):
        parts.add_batch(number, images(number), state(number))
        if number % 2:
            parts.add_segment(packed(number // 2))
    return parts


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return resume_path(tmp_path / "out.mp4")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_run_goes_on_after_the_last_batch(folder: Path, count: int):
    fill(folder, count)
    parts = begin(folder, resume=True)
    assert (parts.batches, parts.segments) == (count, count // 2)
    kept = parts.state(STATE)
    np.testing.assert_array_equal(kept["photo"], state(count - 1)["photo"])
    assert bool(kept["seen"])
    for number in range(count // 2):
        np.testing.assert_array_equal(parts.segment(number)["data"], packed(number)["data"])
    for number in range(count // 2 * 2, count):
        np.testing.assert_array_equal(parts.images(number), images(number))


def test_images_go_when_their_segment_is_there_and_states_when_the_next_is(folder: Path):
    fill(folder, 5)
    expected = {"run.json", "segment_000000.npz", "segment_000001.npz", "batch_000004.npz", "state_000004.npz"}
    assert names(folder) == expected


def test_without_segments_every_batch_stays(folder: Path):
    parts = begin(folder, plan=ChunkPlan(2, 0))
    for number in range(3):
        parts.add_batch(number, images(number), state(number))
    assert names(folder) == {"run.json", "state_000002.npz", *(f"batch_{number:06d}.npz" for number in range(3))}
    assert begin(folder, resume=True, plan=ChunkPlan(2, 0)).batches == 3


def killed_after(monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """The next files get their names, then the process is killed."""
    from msst_jax import files

    done, replace = [], files.os.replace

    def limited(*arguments: Any) -> None:
        if len(done) == renames:
            raise Killed
        done.append(replace(*arguments))

    monkeypatch.setattr(files.os, "replace", limited)


@pytest.mark.parametrize(("renames", "batches"), [(0, 2), (1, 2), (2, 3)])
def test_a_kill_between_state_and_batch_loses_that_batch_only(folder: Path, monkeypatch, renames: int, batches: int):
    parts = fill(folder, 2)
    killed_after(monkeypatch, renames)
    unlink = Path.unlink
    monkeypatch.setattr(
        Path, "unlink", lambda path, **_: unlink(path, missing_ok=True) if path.name[0] == "." else None
    )
    if renames < 2:
        with pytest.raises(Killed):
            parts.add_batch(2, images(2), state(2))
    else:
        parts.add_batch(2, images(2), state(2))
        assert {"state_000001.npz", "state_000002.npz"} <= names(folder)  # the older was not yet removed
    monkeypatch.undo()
    again = begin(folder, resume=True)
    assert again.batches == batches
    np.testing.assert_array_equal(again.state(STATE)["photo"], state(batches - 1)["photo"])


def test_a_kill_between_a_batch_and_its_segment_keeps_both_batches(folder: Path, monkeypatch):
    parts = fill(folder, 3)
    parts.add_batch(3, images(3), state(3))
    killed_after(monkeypatch, 0)
    with pytest.raises(Killed):
        parts.add_segment(packed(1))
    monkeypatch.undo()
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (4, 1)
    np.testing.assert_array_equal(again.images(3), images(3))
    again.add_segment(packed(1))
    assert names(folder) == {"run.json", "state_000003.npz", "segment_000000.npz", "segment_000001.npz"}


def test_a_kill_before_the_images_of_a_segment_are_removed_counts_none_of_them_twice(folder: Path, monkeypatch):
    parts = fill(folder, 3)
    parts.add_batch(3, images(3), state(3))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    parts.add_segment(packed(1))
    monkeypatch.undo()
    assert {"batch_000002.npz", "batch_000003.npz", "segment_000001.npz"} <= names(folder)
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (4, 2)


def test_a_last_segment_that_is_not_full_counts_the_batches_that_were_made(folder: Path):
    parts = fill(folder, 3)
    parts.add_segment(packed(1))
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (3, 2)


def test_what_was_being_written_at_a_kill_is_removed(folder: Path):
    fill(folder, 1)
    (folder / ".batch_000001-x.npz").write_bytes(b"half")
    (folder / ".out-x").mkdir()
    (folder / ".out-x" / "000001.png").touch()
    begin(folder, resume=True)
    assert names(folder) == {"run.json", "batch_000000.npz", "state_000000.npz"}


def test_without_resume_parts_are_neither_used_nor_touched(folder: Path):
    fill(folder, 2)
    before = names(folder)
    with pytest.raises(UserError, match=rf"^{folder} holds what an interrupted run made; go on with --resume, or del"):
        begin(folder)
    assert names(folder) == before


@pytest.mark.parametrize("left", [[], ["run.json"], [".run-x.json"], ["run.json", "state_000000.npz"]])
def test_a_run_that_kept_nothing_is_in_nobodys_way(folder: Path, left: list[str]):
    folder.mkdir()
    for name in left:
        (folder / name).write_text("{}")
    assert begin(folder).batches == 0
    assert names(folder) == {"run.json"}
    assert json.loads((folder / "run.json").read_text())["clip"] == ["a.mp4", 3]


def test_parts_from_before_a_setting_go_on_as_they_were_made(folder: Path):
    fill(folder, 2)
    assert begin(folder, resume=True, **{"config.remat": False}).batches == 2
    with pytest.raises(UserError, match=r"was made with another config\.remat: "):
        begin(folder, resume=True, **{"config.remat": True})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quality": 20}, "quality"),
        ({"clip": ["b.mp4", 3], "config.size": (2, 2)}, "clip, config.size"),
        ({"plan": ChunkPlan(3, 6)}, "plan"),
    ],
)
def test_other_settings_are_refused_by_their_names_and_the_parts_stay(folder: Path, changes: dict, told: str):
    fill(folder, 2)
    before = names(folder)
    with pytest.raises(UserError, match=rf"^{folder} was made with another {told}: give what was given then, or del"):
        begin(folder, resume=True, **changes)
    assert names(folder) == before


def test_somebody_elses_folder_is_refused_and_stays(folder: Path):
    folder.mkdir()
    (folder / "mine.txt").touch()
    for resume in (False, True):
        with pytest.raises(UserError, match=r"delete it to begin anew$"):
            begin(folder, resume=resume)
    assert names(folder) == {"mine.txt"}


def test_a_file_of_that_name_is_one_line(folder: Path):
    folder.write_text("mine")
    with pytest.raises(UserError, match=rf"^cannot write {folder}: File exists; choose another output$"):
        begin(folder)
    assert folder.read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"no zip", "half", "flipped"])
@pytest.mark.parametrize("name", ["state", "batch", "segment"])
def test_a_damaged_file_is_one_line(folder: Path, name: str, content: bytes | str):
    fill(folder, 3)
    (file,) = sorted(folder.glob(f"{name}_*"))
    whole = file.read_bytes()
    middle = len(whole) * 2 // 5 if name == "batch" else whole.index(b"}") + 60
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    file.write_bytes({"half": whole[: len(whole) // 2], "flipped": flipped}.get(content, content))
    parts = begin(folder, resume=True)
    read = {"state": lambda: parts.state(STATE), "batch": lambda: parts.images(2), "segment": lambda: parts.segment(0)}
    with pytest.raises(UserError, match=rf"^{file} is damaged \(.*\); delete its folder to begin anew$"):
        read[name]()


@pytest.mark.parametrize("content", ["", "{", None])
def test_a_damaged_description_is_one_line(folder: Path, content: str | None):
    fill(folder, 1)
    (folder / "run.json").unlink()
    if content is not None:
        (folder / "run.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{folder} is damaged \(.*\); delete it to begin anew$"):
        begin(folder, resume=True)


def test_nothing_stays_of_a_complete_run(folder: Path):
    fill(folder, 4).remove()
    assert not folder.exists()


def test_segments_are_whole_batches_of_about_two_seconds():
    assert segment_length(16, 25) == 48
    assert segment_length(1, 24) == 48
    assert segment_length(16, 1) == 16
