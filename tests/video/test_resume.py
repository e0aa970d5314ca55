"""The resume folder of an interrupted run: correct wherever the run was killed, or rejected if damaged."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.io import files
from msst_jax.video.resume import ChunkPlan, ResumeFolder, Waiting, resume_path, segment_length
from msst_jax.video.resume_identity import recorded_batch

PLAN = ChunkPlan(batch=2, segment=4)
RUN = {"clip": {"": [3, "ab"]}, "quality": None, "config.size": (1, 2)}
LONG = Waiting(10**6, 1000.0)
STATE = {"photo": jnp.zeros((2, 3)), "seen": jnp.asarray(False)}


class Killed(BaseException):
    """Simulates kill -9: the process does not continue after it."""


def images(number: int) -> np.ndarray:
    return np.full((2, 4, 6, 3), number, np.uint8)


def state(number: int) -> dict[str, Any]:
    return {"photo": jnp.full((2, 3), float(number)), "seen": jnp.asarray(True)}


def packed(number: int) -> dict[str, np.ndarray]:
    return {"data": np.full(5, number, np.uint8)}


def begin(
    folder: Path, *, resume: bool = False, plan: ChunkPlan = PLAN, waiting: Waiting = LONG, **changes: Any
) -> ResumeFolder:
    """A resume folder that the next one in the test need not wait for."""
    with ResumeFolder(folder, plan, {**RUN, **changes}, resume=resume, waiting=waiting) as opened:
        return opened


def store(resume_folder: ResumeFolder, number: int) -> None:
    """Adds a batch, and lets nothing wait."""
    resume_folder.add_batch(number, images(number), state(number))
    resume_folder.keep()


def fill(folder: Path, count: int) -> ResumeFolder:
    """The resume folder of a run after `count` batches."""
    resume_folder = begin(folder)
    for number in range(count):
        store(resume_folder, number)
        if number % 2:
            resume_folder.add_segment(packed(number // 2))
    return resume_folder


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return resume_path(tmp_path / "out.mp4")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_run_continues_after_its_last_batch(folder: Path, count: int):
    fill(folder, count)
    resume_folder = begin(folder, resume=True)
    assert (resume_folder.batches, resume_folder.segments) == (count, count // 2)
    restored = resume_folder.state(STATE)
    np.testing.assert_array_equal(restored["photo"], state(count - 1)["photo"])
    assert bool(restored["seen"])
    for number in range(count // 2):
        np.testing.assert_array_equal(resume_folder.segment(number)["data"], packed(number)["data"])
    for number in range(count // 2 * 2, count):
        np.testing.assert_array_equal(resume_folder.images(number), images(number))


def test_images_are_removed_once_in_a_segment_and_states_once_superseded(folder: Path):
    fill(folder, 5)
    expected = {"run.json", "segment_000000.npz", "segment_000001.npz", "batch_000004.npz", "state_000004.npz"}
    assert names(folder) == expected


def test_without_segments_every_batch_is_kept(folder: Path):
    resume_folder = begin(folder, plan=ChunkPlan(2, 0))
    for number in range(3):
        store(resume_folder, number)
    assert names(folder) == {"run.json", "state_000002.npz", *(f"batch_{number:06d}.npz" for number in range(3))}
    assert begin(folder, resume=True, plan=ChunkPlan(2, 0)).batches == 3


def kill_after(monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """The process is killed after `renames` further files have been renamed into place."""
    done, replace = [], files.os.replace

    def limited(*arguments: Any) -> None:
        if len(done) == renames:
            raise Killed
        done.append(replace(*arguments))

    monkeypatch.setattr(files.os, "replace", limited)


@pytest.mark.parametrize(("renames", "batches"), [(0, 2), (1, 2), (2, 3)])
def test_a_kill_between_state_and_batch_loses_only_that_batch(folder: Path, monkeypatch, renames: int, batches: int):
    resume_folder = fill(folder, 2)
    kill_after(monkeypatch, renames)
    unlink = Path.unlink
    monkeypatch.setattr(
        Path, "unlink", lambda path, **_: unlink(path, missing_ok=True) if path.name[0] == "." else None
    )
    if renames < 2:
        with pytest.raises(Killed):
            store(resume_folder, 2)
    else:
        store(resume_folder, 2)
        assert {"state_000001.npz", "state_000002.npz"} <= names(folder)  # the older one has not been removed yet
    monkeypatch.undo()
    again = begin(folder, resume=True)
    assert again.batches == batches
    np.testing.assert_array_equal(again.state(STATE)["photo"], state(batches - 1)["photo"])


def test_a_kill_between_a_batch_and_its_segment_keeps_both_batches(folder: Path, monkeypatch):
    resume_folder = fill(folder, 3)
    store(resume_folder, 3)
    kill_after(monkeypatch, 0)
    with pytest.raises(Killed):
        resume_folder.add_segment(packed(1))
    monkeypatch.undo()
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (4, 1)
    np.testing.assert_array_equal(again.images(3), images(3))
    again.add_segment(packed(1))
    assert names(folder) == {"run.json", "state_000003.npz", "segment_000000.npz", "segment_000001.npz"}


def test_a_kill_before_the_images_of_a_segment_are_removed_counts_no_batch_twice(folder: Path, monkeypatch):
    resume_folder = fill(folder, 3)
    store(resume_folder, 3)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    resume_folder.add_segment(packed(1))
    monkeypatch.undo()
    assert {"batch_000002.npz", "batch_000003.npz", "segment_000001.npz"} <= names(folder)
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (4, 2)


def test_an_incomplete_last_segment_counts_only_its_batches(folder: Path):
    resume_folder = fill(folder, 3)
    resume_folder.add_segment(packed(1))
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (3, 2)


def test_files_half_written_at_a_kill_are_removed(folder: Path):
    fill(folder, 1)
    (folder / ".batch_000001-x.npz").write_bytes(b"half")
    (folder / ".out-x").mkdir()
    (folder / ".out-x" / "000001.png").touch()
    begin(folder, resume=True)
    assert names(folder) == {"run.json", "batch_000000.npz", "state_000000.npz"}


def test_without_resume_a_resume_folder_is_neither_used_nor_changed(folder: Path):
    fill(folder, 2)
    before = names(folder)
    with pytest.raises(UserError, match=rf"^{folder} holds an interrupted run; continue it with --resume, or del"):
        begin(folder)
    assert names(folder) == before


@pytest.mark.parametrize("left", [[], ["run.json"], [".run-x.json"], ["run.json", "state_000000.npz"]])
def test_a_resume_folder_without_a_batch_is_overwritten(folder: Path, left: list[str]):
    folder.mkdir()
    for name in left:
        (folder / name).write_text("{}")
    assert begin(folder).batches == 0
    assert names(folder) == {"run.json"}
    assert json.loads((folder / "run.json").read_text())["clip"] == {"": [3, "ab"]}


def test_a_setting_added_later_keeps_its_old_behavior_on_resume(folder: Path):
    fill(folder, 2)
    assert begin(folder, resume=True, **{"config.remat": False, "config.history_dtype": "float32"}).batches == 2
    with pytest.raises(UserError, match=r"was created with another config\.remat \(False, now True\): "):
        begin(folder, resume=True, **{"config.remat": True})


@pytest.mark.parametrize(("before", "now"), [("float32", "default"), ("bfloat16", "bfloat16")])
def test_a_run_of_a_version_whose_config_had_a_dtype_goes_on(folder: Path, before: str, now: str):
    store(begin(folder, **{"config.dtype": before}), 0)
    assert begin(folder, resume=True, **{"config.precision": now}).batches == 1
    with pytest.raises(UserError, match=rf"was created with another config\.precision \('{now}', now 'highest'\): "):
        begin(folder, resume=True, **{"config.precision": "highest"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": 20}, r"quality \(None, now 20\)"),
        (
            {"clip": {"": [3, "ac"]}, "config.size": (2, 2)},
            r"clip \(of other content\), config.size \(\[1, 2\], now \[2, 2\]\)",
        ),
        ({"plan": ChunkPlan(3, 6)}, "plan"),
        ({"part": ["1", "None"]}, r"part \(the whole, now from 1 s to the end\)"),
        ({"part": ["0", "5/2"]}, r"part \(the whole, now from 0 s to 2.5 s\)"),
    ],
)
def test_changed_settings_are_rejected_by_name_and_keep_the_resume_folder(folder: Path, changes: dict, message: str):
    fill(folder, 2)
    before = names(folder)
    with pytest.raises(UserError, match=rf"^{folder} was created with another {message}.*: use the same as then, "):
        begin(folder, resume=True, **changes)
    assert names(folder) == before


def test_a_foreign_folder_is_rejected_and_kept(folder: Path):
    folder.mkdir()
    (folder / "mine.txt").touch()
    for resume in (False, True):
        with pytest.raises(UserError, match=r"delete it to start again$"):
            begin(folder, resume=resume)
    assert names(folder) == {"mine.txt"}


def test_a_file_in_place_of_the_resume_folder_is_a_one_line_error(folder: Path):
    folder.write_text("mine")
    with pytest.raises(UserError, match=rf"^cannot write {folder}: File exists; choose another output$"):
        begin(folder)
    assert folder.read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"no zip", "half", "flipped"])
@pytest.mark.parametrize("name", ["state", "batch", "segment"])
def test_a_damaged_file_is_a_one_line_error(folder: Path, name: str, content: bytes | str):
    fill(folder, 3)
    (file,) = sorted(folder.glob(f"{name}_*"))
    whole = file.read_bytes()
    middle = len(whole) * 2 // 5 if name == "batch" else whole.index(b"}") + 60
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    file.write_bytes({"half": whole[: len(whole) // 2], "flipped": flipped}.get(content, content))
    resume_folder = begin(folder, resume=True)
    read = {
        "state": lambda: resume_folder.state(STATE),
        "batch": lambda: resume_folder.images(2),
        "segment": lambda: resume_folder.segment(0),
    }
    with pytest.raises(UserError, match=rf"^{file} is damaged \(.*\); choose another output, or"):
        read[name]()


@pytest.mark.parametrize("content", ["", "{", None])
def test_a_damaged_run_description_is_a_one_line_error(folder: Path, content: str | None):
    fill(folder, 1)
    (folder / "run.json").unlink()
    if content is not None:
        (folder / "run.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{folder} is damaged \(.*\); choose another output, or delete it to start"):
        begin(folder, resume=True)


def test_nothing_remains_after_a_complete_run(folder: Path):
    fill(folder, 4).remove()
    assert not folder.exists()


def test_segments_are_full_batches_of_about_two_seconds():
    assert segment_length(16, 25) == 48
    assert segment_length(1, 24) == 48
    assert segment_length(16, 1) == 16


def test_styles_in_another_order_are_another_run(folder: Path):
    """The state is in the order of the regions."""
    styles = {"a": {"": [3, "ab"]}, "b": {"": [4, "cd"]}}
    opened = begin(folder, styles=styles)
    store(opened, 0)
    assert begin(folder, resume=True, styles=styles).batches == 1
    with pytest.raises(UserError, match="was created with another styles: "):
        begin(folder, resume=True, styles=dict(reversed(styles.items())))


@pytest.mark.parametrize("name", ["state", "batch", "segment"])
def test_a_file_without_its_arrays_is_a_one_line_error(folder: Path, name: str):
    fill(folder, 3)
    (file,) = sorted(folder.glob(f"{name}_*"))
    np.savez(file, other=np.zeros(3))
    resume_folder = begin(folder, resume=True)
    read = {"state": lambda: resume_folder.state(STATE), "batch": lambda: resume_folder.images(2)}
    with pytest.raises(UserError, match=rf"^{file} is damaged \(.*\); choose another output, or"):
        read.get(name, lambda: resume_folder.segment(0))()


def test_a_folder_that_another_run_holds_is_neither_used_nor_changed(folder: Path):
    with ResumeFolder(folder, PLAN, RUN, resume=False) as first:
        store(first, 0)
        before = names(folder)
        for resume in (False, True):
            with pytest.raises(UserError, match=rf"^{folder} is in use by process \d+ on .*, or choose"):
                begin(folder, resume=resume)
        assert names(folder) == before
    assert begin(folder, resume=True).batches == 1


def test_the_folder_is_free_again_once_the_output_is_complete(folder: Path):
    with ResumeFolder(folder, PLAN, RUN, resume=False) as first:
        store(first, 0)
        first.remove()
        assert not folder.exists()
        with ResumeFolder(folder, PLAN, RUN, resume=False) as second:
            assert second.batches == 0


def test_nothing_but_the_segment_and_the_state_after_it_is_written_while_batches_may_wait(folder: Path):
    resume_folder = begin(folder, waiting=LONG)
    for number in range(3):
        resume_folder.add_batch(number, images(number), state(number))
        resume_folder.keep_if_due()
    assert names(folder) == {"run.json"}
    resume_folder.add_segment(packed(0))
    assert names(folder) == {"run.json", "segment_000000.npz", "state_000001.npz"}
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (2, 1)
    np.testing.assert_array_equal(again.state(STATE)["photo"], state(1)["photo"])
    resume_folder.keep()
    assert names(folder) == {"run.json", "segment_000000.npz", "batch_000002.npz", "state_000002.npz"}
    assert begin(folder, resume=True).batches == 3


@pytest.mark.parametrize("waiting", [Waiting(2 * 2 * 4 * 6 * 3, 1000.0), Waiting(10**6, -1.0)])
def test_batches_wait_no_longer_than_may_be_lost(folder: Path, waiting: Waiting):
    resume_folder = begin(folder, waiting=waiting)
    for number in range(3):  # of the size of one and a half of the first limit
        resume_folder.add_batch(number, images(number), state(number))
    resume_folder.keep_if_due()
    assert begin(folder, resume=True).batches == 3


def test_a_segment_that_ends_while_later_batches_are_kept_leaves_their_state(folder: Path):
    resume_folder = begin(folder, waiting=LONG)
    for number in range(3):
        resume_folder.add_batch(number, images(number), state(number))
    resume_folder.keep()
    resume_folder.add_segment(packed(0))
    assert names(folder) == {"run.json", "segment_000000.npz", "batch_000002.npz", "state_000002.npz"}
    again = begin(folder, resume=True)
    assert (again.batches, again.segments) == (3, 1)
    np.testing.assert_array_equal(again.state(STATE)["photo"], state(2)["photo"])


@pytest.mark.parametrize(("renames", "batches"), [(0, 2), (1, 2), (2, 2), (3, 4)])
def test_a_kill_while_waiting_batches_are_written_loses_only_them(
    folder: Path, monkeypatch, renames: int, batches: int
):
    fill(folder, 2)
    resume_folder = begin(folder, resume=True, waiting=LONG)
    for number in (2, 3):
        resume_folder.add_batch(number, images(number), state(number))
    kill_after(monkeypatch, renames)
    if renames < 3:
        with pytest.raises(Killed):
            resume_folder.keep()
    else:
        resume_folder.keep()
    monkeypatch.undo()
    again = begin(folder, resume=True)
    assert again.batches == batches
    np.testing.assert_array_equal(again.state(STATE)["photo"], state(batches - 1)["photo"])


def test_the_batch_of_an_earlier_run_is_read_without_opening_it(tmp_path: Path):
    assert recorded_batch(tmp_path / "none") is None
    begin(tmp_path / "kept")
    assert recorded_batch(tmp_path / "kept") == PLAN.batch


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"plan": 3}', '{"plan": {"batch": 0}}', b"\xff"])
def test_a_damaged_record_has_no_batch(tmp_path: Path, text: str | bytes):
    (tmp_path / "run.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert recorded_batch(tmp_path) is None
