"""Atomic writes leave no partial files, JSON is valid, and unwritable outputs are rejected before the work starts."""

import errno
import json
import math
import os
import re
import socket
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.io.files import (
    atomic_path,
    check_outputs,
    check_regular_file,
    check_writable,
    remove_temporary_files,
    write_atomically,
    write_json,
    write_text,
)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path: Path, failure: BaseException):
    target = tmp_path / "a.png"
    target.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise failure

    with pytest.raises((UserError, KeyboardInterrupt)) as error:
        write_atomically(target, write)
    if isinstance(failure, OSError):
        assert re.fullmatch(r"cannot write .*a.png: No space left on device; choose another output", str(error.value))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert target.read_text() == "old"


def test_a_written_file_has_the_permissions_of_the_umask(tmp_path: Path):
    write_atomically(tmp_path / "a.txt", lambda temporary: temporary.write_text("x") and None)
    (tmp_path / "b.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize("output", [".", "file/out.png", "file/deeper/out.png", "n" * 300 + ".png"])
def test_an_unwritable_path_is_rejected(tmp_path: Path, output: str):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write [^\n]*; (choose another output|give a file name)[^\n]*$"):
        check_writable(tmp_path / output)


def test_a_folder_as_output_is_rejected_with_a_file_name_of_the_right_suffix(tmp_path: Path):
    (tmp_path / "w.safetensors").mkdir()
    for path, example, suggestion in (
        (tmp_path, "out.png", tmp_path / "out.png"),
        (tmp_path, "vgg16.safetensors", tmp_path / "vgg16.safetensors"),
        (tmp_path / "w.safetensors", "out.png", tmp_path / "w.safetensors" / "out.safetensors"),
    ):
        with pytest.raises(UserError, match=rf"it is a folder; give a file name such as {suggestion}$"):
            check_writable(path, example)


def test_checking_an_output_leaves_nothing_behind(tmp_path: Path):
    check_writable(tmp_path / "new" / "folder" / "out.png")
    assert not list(tmp_path.iterdir())


def test_nonfinite_numbers_become_null_in_json(tmp_path: Path):
    write_json({"loss": [1.0, math.nan, -math.inf], "nested": ({"a": math.inf},)}, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"loss": [1.0, None, None], "nested": [{"a": None}]}


def test_unwritable_json_is_a_one_line_error_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^cannot write .*a.json: (Not a dir|File exists)[^\n]*; choose another output$"
    ):
        write_json({}, tmp_path / "file" / "a.json")
    with pytest.raises(TypeError):
        write_json({"a": object()}, tmp_path / "a.json")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("there", [True, False])
def test_an_output_that_is_a_link_is_written_through(tmp_path: Path, there: bool):
    target, link = tmp_path / "data" / "real.txt", tmp_path / "a.txt"
    if there:
        target.parent.mkdir()
        target.write_text("old")
    link.symlink_to(target)
    check_writable(link)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert {file.name for file in tmp_path.iterdir()} == {"a.txt", "data"}
    assert {file.name for file in target.parent.iterdir()} == {target.name}


def test_a_linked_output_that_fails_leaves_link_and_target(tmp_path: Path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "a.txt").symlink_to("real.txt")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError):
        write_atomically(tmp_path / "a.txt", fail)
    assert {file.name for file in tmp_path.iterdir()} == {"a.txt", "real.txt"}
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_output_folder_that_is_a_link_is_written_through(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "frames").symlink_to("real")
    with atomic_path(tmp_path / "frames", folder=True) as temporary:
        (temporary / "1.png").touch()
    assert (tmp_path / "frames").is_symlink()
    assert (tmp_path / "real" / "1.png").exists()


def test_a_link_to_itself_is_no_output(tmp_path: Path):
    (tmp_path / "a.png").symlink_to("a.png")
    message = r"^cannot write \S+a.png: the link leads nowhere \(.*\); choose another$"
    with pytest.raises(UserError, match=message):
        check_writable(tmp_path / "a.png")
    with pytest.raises(UserError, match=message):
        check_outputs(tmp_path / "a.png", [tmp_path / "a.png"], ["b.png"])


def test_an_output_that_is_a_pipe_or_device_is_refused_and_stays(tmp_path: Path):
    os.mkfifo(tmp_path / "out.png")
    (tmp_path / "null.png").symlink_to(os.devnull)
    for name, kind in (("out.png", "pipe"), ("null.png", "device")):
        with pytest.raises(UserError, match=rf"it is a {kind}; choose another output$"):
            check_writable(tmp_path / name)
    assert (tmp_path / "out.png").is_fifo()


def test_only_regular_files_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link", "missing"):
        check_regular_file(tmp_path / name, "photo")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    for path, kind in (("pipe", "pipe"), ("socket", "socket"), (os.devnull, "device"), (".", "folder")):
        with pytest.raises(UserError, match=rf"^photo {re.escape(path)} is a {kind}; give a regular file$"):
            check_regular_file(Path(path), "photo")


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path: Path):
    mine = {".hidden", ".out-mine.png", ".out-abcdefgh.json", "out-abcdefgh.png", ".other-abcdefgh.png"}
    for name in (*mine, ".out-abcdefgh.png", ".out-12_45678.png"):
        (tmp_path / name).touch()
    remove_temporary_files(tmp_path, "out.png")
    assert {path.name for path in tmp_path.iterdir()} == mine
    remove_temporary_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".hidden", ".out-mine.png", "out-abcdefgh.png"}


def test_the_temporary_files_of_atomic_writes_are_those_that_are_removed(tmp_path: Path):
    with atomic_path(tmp_path / "out.png") as temporary:
        (tmp_path / "kept").touch()
        assert temporary.exists()
        remove_temporary_files(tmp_path, "out.png")
        assert [path.name for path in tmp_path.iterdir()] == ["kept"]
        temporary.touch()
