"""The lock on a folder: no second run gets in, and a killed one keeps no one out."""

import errno
import multiprocessing
import os
import signal
import socket
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.io import lock
from msst_jax.io.lock import LOCK_FILE, locked_folder

FORK = multiprocessing.get_context("forkserver")
IN_USE = rf"is in use by process {os.getpid()} on {socket.gethostname()}; wait until it ends, or do else$"


def test_a_second_run_is_refused_with_the_process_that_holds_the_folder(tmp_path: Path):
    with locked_folder(tmp_path / "run", "do else"):
        for _ in range(2):
            with pytest.raises(UserError, match=IN_USE), locked_folder(tmp_path / "run", "do else"):
                pass
    with locked_folder(tmp_path / "run", "do else") as previous:
        assert previous == ""


@pytest.mark.parametrize("spelling", ["run/", "./run", "link"])
def test_another_spelling_of_the_folder_does_not_get_in(tmp_path: Path, monkeypatch, spelling: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("run")
    with (
        locked_folder(tmp_path / "run", "do else"),
        pytest.raises(UserError, match=IN_USE),
        locked_folder(Path(spelling), "do else"),
    ):
        pass


def test_nothing_stays_of_the_lock_nor_of_a_folder_that_it_created(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "used").mkdir()
    for name in ("new", "mine", "used"):
        with locked_folder(tmp_path / name, "do else"):
            (tmp_path / "used" / "file").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "mine",
        "used",
        "used/file",
    ]


def hold(folder: Path, held: Event) -> None:
    with locked_folder(folder, "do else"):
        held.set()
        signal.pause()


def test_the_lock_of_another_process_counts_until_it_is_killed(tmp_path: Path):
    held = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path, held))
    process.start()
    held.wait()
    with pytest.raises(UserError, match=f"by process {process.pid} on"), locked_folder(tmp_path, "do else"):
        pass
    process.kill()
    process.join()
    with locked_folder(tmp_path, "do else") as previous:
        assert previous == f"process {process.pid} on {socket.gethostname()}"


@pytest.mark.parametrize("left", [b"", b"12", b"\xff\x00", b"12 old\n", b"[1]"])
def test_a_lock_file_that_was_left_keeps_no_one_out(tmp_path: Path, left: bytes):
    (tmp_path / LOCK_FILE).write_bytes(left)
    with locked_folder(tmp_path, "do else") as previous:
        assert previous == ("process 12 on old" if left.startswith(b"12 ") else "")
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()} {socket.gethostname()}\n"


def test_a_lock_file_removed_by_its_holder_while_it_was_opened_is_opened_again(tmp_path: Path, monkeypatch):
    real = lock._lock

    def slow(file, folder: Path) -> None:
        monkeypatch.setattr(lock, "_lock", real)
        (tmp_path / LOCK_FILE).unlink()
        real(file, folder)

    monkeypatch.setattr(lock, "_lock", slow)
    with locked_folder(tmp_path, "do else"), pytest.raises(UserError, match=IN_USE), locked_folder(tmp_path, "do else"):
        pass


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path: Path, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked_folder(tmp_path, "do else"):
        pass
    assert caplog.messages == [f"{tmp_path} cannot be locked (No locks available): take care that no other run uses it"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"^cannot write .*/file/run: Not a directory; choose another"),
        locked_folder(tmp_path / "file" / "run", "do else"),
    ):
        pass
