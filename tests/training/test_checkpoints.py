"""Checkpoints: which are kept_steps, which are restored, and what is reported about unreadable ones."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msst_jax.errors import UserError
from msst_jax.training import checkpoints
from tests.helpers.logging_state import logged_warnings


class SmallState(NamedTuple):
    step: Any
    params: Any
    optimizer: Any


def make_state(step: int) -> SmallState:
    params = {"kernel": jnp.arange(6.0).reshape(2, 3) + step, "half": jnp.ones(3, jnp.bfloat16) * step}
    return SmallState(jnp.int32(step), params, optax.adam(0.1).init(params))


def write(folder: Path, steps: list[int], keep_last: int = 3, keep_every: int = 0) -> None:
    with checkpoints.open_checkpoints(folder, keep_last=keep_last, keep_every=keep_every) as saved:
        for step in steps:
            checkpoints.save(saved, step, make_state(step), {"next": step})


def read(folder: Path, expected: Any = None) -> Any:
    with checkpoints.open_checkpoints(folder, keep_last=3, keep_every=0) as saved:
        return checkpoints.restore(saved, make_state(0) if expected is None else expected)


def kept_steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir())


def damage(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_checkpoint_restores_structure_dtypes_values_and_data_position(tmp_path: Path):
    write(tmp_path, [4])
    state, position = read(tmp_path)
    expected = make_state(4)
    assert type(state.optimizer) is type(expected.optimizer)
    assert type(state.optimizer[0]) is type(expected.optimizer[0])
    for name, value in expected.params.items():
        assert state.params[name].dtype == value.dtype
        np.testing.assert_array_equal(state.params[name], value)
    assert state.step == 4
    assert position == {"next": 4}


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path):
    assert read(tmp_path / "new") is None


def test_the_last_checkpoints_and_every_kth_are_kept(tmp_path: Path):
    write(tmp_path, list(range(1, 12)), keep_last=2, keep_every=4)
    assert kept_steps(tmp_path) == [4, 8, 10, 11]


def test_without_keep_every_only_the_last_checkpoints_are_kept(tmp_path: Path):
    write(tmp_path, list(range(1, 6)), keep_last=2)
    assert kept_steps(tmp_path) == [4, 5]


def test_saving_copies_the_state_before_its_buffers_are_donated(tmp_path: Path):
    state = make_state(3)
    with checkpoints.open_checkpoints(tmp_path, keep_last=1, keep_every=0) as saved:
        checkpoints.save(saved, 3, state, {"next": 3})
        for leaf in state.params.values():
            leaf.delete()
    np.testing.assert_array_equal(read(tmp_path)[0].params["kernel"], make_state(3).params["kernel"])


@pytest.mark.parametrize("part", ["state", "position", ""])
def test_a_damaged_newest_checkpoint_is_skipped_with_a_warning_and_overwritten(tmp_path: Path, caplog, part: str):
    write(tmp_path, [1, 2, 3])
    damage(tmp_path / "3" / part)
    state, position = read(tmp_path)
    assert state.step == 2
    assert position == {"next": 2}
    wanted = r"checkpoint 3 is damaged \(.+\): falling back to the previous one"
    assert any(re.fullmatch(wanted, text) for text in logged_warnings(caplog))
    assert kept_steps(tmp_path) == [1, 2]
    write(tmp_path, [3])
    assert read(tmp_path)[0].step == 3


# Orbax's threads may still read when its event loop is closed; see `configure_logging`.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_flipped_bits_in_the_arrays_are_detected(tmp_path: Path):
    write(tmp_path, [1, 2])
    arrays = [file for file in (tmp_path / "2" / "state").rglob("d/*") if file.is_file()]
    for file in arrays:
        content = bytearray(file.read_bytes())
        for place in range(0, len(content), 16):
            content[place] ^= 1
        file.write_bytes(bytes(content))
    assert arrays
    assert read(tmp_path)[0].step == 1


@pytest.mark.slow
def test_two_damaged_checkpoints_are_both_skipped(tmp_path: Path):
    write(tmp_path, [1, 2, 3])
    damage(tmp_path / "3" / "state")
    damage(tmp_path / "2" / "state")
    assert read(tmp_path)[0].step == 1


@pytest.mark.slow
def test_if_no_checkpoint_is_readable_none_is_removed_and_the_error_suggests_restart(tmp_path: Path):
    write(tmp_path, [1, 2])
    for step in (1, 2):
        damage(tmp_path / str(step) / "state")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read; take another --workdir, or start again"):
        read(tmp_path)
    assert kept_steps(tmp_path) == [1, 2]


def test_a_mismatched_dtype_is_rejected_instead_of_cast(tmp_path: Path, caplog):
    write(tmp_path, [1])
    expected = make_state(0)
    expected.params["half"] = jnp.ones(3, jnp.float32)
    with pytest.raises(UserError, match="can be read"):
        read(tmp_path, expected)
    assert "found bfloat16(3,) for float32(3,)" in caplog.text


def test_a_checkpoint_half_written_at_a_kill_is_removed(tmp_path: Path):
    write(tmp_path, [1])
    half = tmp_path / "2.orbax-checkpoint-tmp"
    (half / "state").mkdir(parents=True)
    assert read(tmp_path)[0].step == 1
    assert not half.exists()


def test_a_failed_write_is_a_one_line_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with checkpoints.open_checkpoints(tmp_path, keep_last=1, keep_every=0) as saved:

        def full(*_arguments: Any, **_options: Any) -> None:
            raise ValueError("RESOURCE_EXHAUSTED: No space left on device\nmore\nlines")

        monkeypatch.setattr(saved, "save_checkpointables_async", full)
        with pytest.raises(UserError, match=r"^cannot write a checkpoint to .*: RESOURCE_EXHAUSTED: No space left on "):
            checkpoints.save(saved, 1, make_state(1), {})


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


def zero(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(bytes(file.stat().st_size))


DAMAGE: dict[str, tuple[Callable[[Path], object], int]] = {  # of the checkpoints 1 and 2; which one is restored
    "empty": (lambda folder: empty(folder / "2"), 1),
    "zeros": (lambda folder: zero(folder / "2"), 1),
    "a file": (lambda folder: replace_by_file(folder / "2"), 1),
    "no state": (lambda folder: shutil.rmtree(folder / "2" / "state"), 1),
    "no position": (lambda folder: shutil.rmtree(folder / "2" / "position"), 1),
    "no metadata": (lambda folder: (folder / "2" / "_CHECKPOINT_METADATA").unlink(), 2),
    "empty metadata": (lambda folder: (folder / "2" / "_CHECKPOINT_METADATA").write_bytes(b""), 2),
    "a stray file": (lambda folder: (folder / ".DS_Store").touch(), 2),
    "a stray folder": (lambda folder: (folder / "old").mkdir(), 2),
    "a stray number": (lambda folder: (folder / "99").mkdir(), 2),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_is_damaged_the_newest_intact_checkpoint_is_restored_and_later_ones_are_saved(
    tmp_path: Path, damage: str
):
    write(tmp_path, [1, 2])
    damage_it, expected = DAMAGE[damage]
    damage_it(tmp_path)
    assert read(tmp_path)[0].step == expected
    write(tmp_path, list(range(expected + 1, 5)))
    assert read(tmp_path)[0].step == 4


def test_a_file_in_place_of_the_folder_is_one_line_and_is_kept(tmp_path: Path):
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(UserError, match=r"checkpoints is no folder; take another --workdir, or start again"):
        read(tmp_path / "checkpoints")
    assert (tmp_path / "checkpoints").read_text() == "mine"
