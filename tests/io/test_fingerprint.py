"""Fingerprints of input files: what makes a run another one, and what does not."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from msst_jax.io import fingerprint as module
from msst_jax.io.fingerprint import BLOCK, changes, file_fingerprint, fingerprint, relative_names


def write(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def of_folder(folder: Path) -> module.Fingerprint:
    return fingerprint(relative_names([(folder, sorted(path for path in folder.rglob("*") if not path.is_dir()))]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "in", a=b"first", b=b"second", large=bytes(5 * BLOCK))


def touched(folder: Path) -> Path:
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    return folder


def linked(folder: Path) -> Path:
    (folder.parent / "link").symlink_to(folder)
    return folder.parent / "link"


def test_a_pipe_is_not_opened_and_counts_as_what_cannot_be_read(folder: Path):
    os.mkfifo(folder / "pipe")
    assert of_folder(folder)["pipe"] == file_fingerprint(folder / "pipe")[module.SINGLE] == [-1, ""]


SAME: dict[str, Callable[[Path], Path]] = {
    "trailing slash": lambda folder: Path(f"{folder}/"),
    "dot": lambda folder: folder / ".",
    "relative": lambda folder: Path(os.path.relpath(folder)),
    "link": linked,
    "other times": touched,
    "moved": lambda folder: folder.rename(folder.parent / "elsewhere"),
    "copied": lambda folder: Path(shutil.copytree(folder, folder.parent / "copy")),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_spelling_place_and_times_of_a_folder_do_not_count(folder: Path, kind: str):
    before = of_folder(folder)
    assert changes(before, of_folder(SAME[kind](folder))) == ""


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


OTHER: dict[str, tuple[Callable[[Path], object], str]] = {
    "other bytes": (lambda folder: flip(folder / "b", 3), "1 of other content (the first: b)"),
    "other bytes at the end of a large file": (
        lambda folder: flip(folder / "large", 5 * BLOCK - 1),
        "1 of other content (the first: large)",
    ),
    "other size": (lambda folder: (folder / "a").write_bytes(b"longer"), "1 of another size (the first: a)"),
    "one more": (lambda folder: write(folder, c=b""), "1 added (the first: c)"),
    "one less": (lambda folder: (folder / "a").unlink(), "1 removed (the first: a)"),
    "renamed": (
        lambda folder: (folder / "a").rename(folder / "z"),
        "1 added (the first: z), 1 removed (the first: a)",
    ),
    "into a subfolder": (
        lambda folder: write(folder, **{"sub/a": (folder / "a").read_bytes()}) and (folder / "a").unlink(),
        "1 added (the first: sub/a), 1 removed (the first: a)",
    ),
    "a broken link": (
        lambda folder: (folder / "a").unlink() or (folder / "a").symlink_to("gone"),
        "1 of another size (the first: a)",
    ),
}


@pytest.mark.parametrize("kind", OTHER)
def test_other_files_are_named(folder: Path, kind: str):
    change, phrase = OTHER[kind]
    before = of_folder(folder)
    change(folder)
    assert changes(before, of_folder(folder)) == phrase


def test_of_very_many_files_only_names_and_sizes_count_and_none_is_opened(folder: Path, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES_READ", 2)
    monkeypatch.setattr(Path, "open", None)
    before = of_folder(folder)
    monkeypatch.undo()
    flip(folder / "a", 0)
    assert changes(before, of_folder(folder)) == ""
    (folder / "a").write_bytes(b"longer")
    assert changes(before, of_folder(folder)) == "1 of another size (the first: a)"


def test_names_of_several_folders_stay_apart(tmp_path: Path):
    one, two = write(tmp_path / "one", a=b"1"), write(tmp_path / "two", a=b"2")
    names = relative_names([(one, [one / "a"]), (two, [two / "a"])])
    assert names == {"0/a": one / "a", "1/a": two / "a"}


def test_a_single_file_may_be_renamed_but_not_changed(tmp_path: Path):
    write(tmp_path, a=b"clip")
    before = file_fingerprint(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert changes(before, file_fingerprint(tmp_path / "b")) == ""
    flip(tmp_path / "b", 0)
    assert changes(before, file_fingerprint(tmp_path / "b")) == "of other content"
