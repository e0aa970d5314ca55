"""What counts as a picture of a folder, for photos, frames, training photos and masks alike, and what is left out."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.io.folders import list_pictures
from msst_jax.io.picture_formats import readable_suffixes
from msst_jax.pipelines.folder import folder_targets
from msst_jax.pipelines.job import MasksJob, PhotoJob
from msst_jax.pipelines.run import run_job
from msst_jax.training.data.photos import FolderPhotos, find_photos
from msst_jax.video.io.frame_folder import FrameFolder, list_frames
from msst_jax.video.io.types import VideoInfo
from msst_jax.video.mask_sources import open_masks
from tests.helpers.commands import run_command
from tests.helpers.pictures import noise, quick_config, save, stripe
from tests.helpers.segmenters import fake_networks

GRAY = stripe(16, 20, 0, 0.5)


def photos(folder: Path) -> list[str]:
    return [file.name for file in folder_targets(folder, Path("out"))]


def frames(folder: Path) -> list[str]:
    return [file.name for file in FrameFolder(folder).files]


def training(folder: Path) -> list[str]:
    found = find_photos([str(folder)])
    assert isinstance(found, FolderPhotos)
    return [file.name for file in found.files]


def masks(folder: Path) -> list[str]:
    count = len(list_frames(folder))
    first = FrameFolder(folder).info
    video = VideoInfo(**{**vars(first), "path": Path("a.mp4"), "frames": count})
    open_masks({"person": str(folder)}, video, (20, 16))(0)
    return [file.name for file in list_frames(folder)]


USERS: dict[str, Callable[[Path], list[str]]] = {
    "photos": photos,
    "frames": frames,
    "training": training,
    "masks": masks,
}
each_user = pytest.mark.parametrize("user", USERS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, to which a test adds what may be none."""
    place = tmp_path / "in"
    place.mkdir()
    for name in ("1.png", "2.png"):
        save(place / name, GRAY)
    return place


@pytest.fixture
def own_plugins() -> Iterator[None]:
    """What Pillow can read is found out anew, before and after."""
    readable_suffixes.cache_clear()
    yield
    readable_suffixes.cache_clear()


@each_user
@pytest.mark.parametrize(
    "name", ["._1.png", ".DS_Store", ".hidden.jpg", ".cache/3.png", "notes.txt", "a.json", "a.mp4", "png"]
)
def test_hidden_files_and_files_that_are_no_pictures_do_not_count(folder: Path, caplog, user: str, name: str):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\0\5\x16\7")
    assert USERS[user](folder) == ["1.png", "2.png"]
    assert not caplog.text


@each_user
@pytest.mark.parametrize(
    "name", ["3.JPG", "3.jfif", "3.webp", "3.gif", "3.avif", "3.jp2", "3.bmp", "3.tif", "3.ppm", "3.tga"]
)
def test_every_format_that_a_photo_may_have_counts(folder: Path, caplog, user: str, name: str):
    if Path(name).suffix.lower() not in readable_suffixes():
        pytest.skip("Pillow was built without it")
    Image.fromarray(np.stack([GRAY] * 3, -1)).save(folder / name)
    assert USERS[user](folder) == ["1.png", "2.png", name]
    assert not caplog.text


@each_user
@pytest.mark.parametrize("name", ["3.heic", "3.cr2", "3.DNG", "3.jxl"])
def test_a_format_that_cannot_be_read_is_named(folder: Path, caplog, monkeypatch, own_plugins, user: str, name: str):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (folder / name).touch()
    assert USERS[user](folder) == ["1.png", "2.png"]
    assert f"{folder}: left out formats that cannot be read: 1 ({name})" in caplog.text


def test_heic_counts_if_its_library_is_installed(folder: Path, caplog, monkeypatch, own_plugins):
    monkeypatch.setattr(Image, "EXTENSION", {**Image.registered_extensions()})

    def register() -> None:
        Image.EXTENSION[".heic"] = "HEIF"

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    (folder / "3.heic").touch()
    assert photos(folder) == ["1.png", "2.png", "3.heic"]
    assert not caplog.text


@each_user
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "socket", "device"])
def test_a_special_file_is_never_opened_but_named(folder: Path, tmp_path: Path, caplog, user: str, kind: str):
    make_special(folder / "3.png", tmp_path / "elsewhere", kind)
    os.mkfifo(folder / "1.json")  # looks like the JSON of an output
    assert USERS[user](folder) == ["1.png", "2.png"]
    assert f"{folder}: left out pipes, sockets and devices: 1 (3.png)" in caplog.text


@each_user
@pytest.mark.parametrize("target", ["gone.png", "3.png"])
def test_a_link_that_leads_nowhere_is_named(folder: Path, caplog, user: str, target: str):
    (folder / "3.png").symlink_to(target)
    assert USERS[user](folder) == ["1.png", "2.png"]
    assert f"{folder}: left out links that lead nowhere: 1 (3.png)" in caplog.text


def make_special(path: Path, elsewhere: Path, kind: str) -> None:
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(elsewhere)
            path.symlink_to(elsewhere)
        case "socket":
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:  # whose paths are short
                server.bind(path.name)
        case "device":
            path.symlink_to(os.devnull)


@pytest.mark.parametrize("user", ["photos", "frames", "masks"])
def test_a_folder_named_like_a_picture_is_none(folder: Path, caplog, user: str):
    (folder / "3.png").mkdir()
    assert USERS[user](folder) == ["1.png", "2.png"]
    assert f"{folder}: left out subfolders: 1 (3.png)" in caplog.text


def test_training_photos_are_those_of_subfolders_too_whatever_their_names(folder: Path, caplog):
    (folder / "3.png").mkdir()
    save(folder / "3.png" / "4.png", GRAY)
    assert training(folder) == ["1.png", "2.png", "4.png"]
    assert not caplog.text


@each_user
def test_links_to_pictures_and_folders_are_followed(folder: Path, tmp_path: Path, user: str):
    (folder / "3.png").symlink_to(folder / "1.png")
    (tmp_path / "link").symlink_to(folder)
    assert USERS[user](tmp_path / "link") == ["1.png", "2.png", "3.png"]


def test_a_linked_folder_is_entered_once_and_circles_end(folder: Path, tmp_path: Path, caplog):
    (tmp_path / "other").mkdir()
    save(tmp_path / "other" / "3.png", GRAY)
    for name, target in {"other": tmp_path / "other", "again": tmp_path / "other", "circle": folder}.items():
        (folder / name).symlink_to(target)
    assert training(folder) == ["1.png", "2.png", "3.png"]
    assert not caplog.text


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """Opening this folder fails; root, which tests may run as, can open any."""
    scan = os.scandir

    def scandir(place: str | Path) -> object:
        if Path(place) == refused:
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_subfolder_that_cannot_be_opened_is_named(folder: Path, caplog, monkeypatch: pytest.MonkeyPatch):
    (folder / "locked").mkdir()
    refuse(monkeypatch, folder / "locked")
    assert training(folder) == ["1.png", "2.png"]
    assert f"{folder}: left out subfolders that cannot be opened: 1 (locked)" in caplog.text


@each_user
def test_a_folder_that_cannot_be_opened_is_a_one_line_error(folder: Path, monkeypatch, user: str):
    refuse(monkeypatch, folder)
    with pytest.raises(UserError, match=rf"^{folder} cannot be opened \(Permission denied\); check its permissions$"):
        USERS[user](folder)


@pytest.mark.slow
def test_outputs_written_beside_their_photos_are_no_photos_the_next_time(
    model: Path, tmp_path: Path, caplog, monkeypatch
):
    """Of a model, of the optimization with its sheets, and of --regions-only."""
    fake_networks(monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    photo = save(folder / "photo.jpg", noise(24, 32))
    styles = {"background": save(tmp_path / "style.png", noise(24, 32, 1))}
    for job in (
        PhotoJob(str(folder), {}, {}, folder, [0.0], model=str(model), quiet=True),
        PhotoJob(photo, {}, {}, folder / "strip.png", [0.0, 0.3], model=str(model), quiet=True),
        PhotoJob(photo, styles, {}, folder / "out.png", [0.0, 0.2], compare=True, quiet=True),
        MasksJob(photo, folder / "regions.png"),
    ):
        assert run_job(quick_config(), job) == 0
    written = {"photo.png", "out.png", "out_blend0.png", "out_blend0.2.png", "out_inputs.png", "out_comparison.png"}
    written |= {"strip.png", "strip_blend0.png", "strip_blend0.3.png"}
    assert {file.name for file in folder.glob("*.png")} >= {*written, "regions.png"}
    caplog.clear()
    assert photos(folder) == ["photo.jpg"]
    count = len(list(folder.glob("*.png")))
    assert f"left out outputs of earlier runs: {count} (out.png, ...)" in caplog.text


def test_outputs_of_photos_elsewhere_are_pictures_like_others(folder: Path):
    """Stylized frames become a video; their sheets do not."""
    for number in (1, 2):
        (folder / f"{number}.json").write_text(f'{{"photo": "frames/{number}.jpg", "versions": {{"msst_jax": "1"}}}}')
        save(folder / f"{number}_inputs.png", GRAY)
    assert frames(folder) == ["1.png", "2.png"]


@pytest.mark.parametrize("content", ["{", "[]", '{"photo": "2.png"}', '{"photo": "2.png", "versions": {}}', "\xff"])
def test_json_files_of_other_programs_leave_nothing_out(folder: Path, content: str):
    (folder / "1.json").write_text(content, encoding="latin-1")
    assert frames(folder) == ["1.png", "2.png"]


def test_an_error_about_an_empty_folder_says_what_was_left_out(tmp_path: Path):
    (tmp_path / "in" / "3.png").mkdir(parents=True)
    (tmp_path / "in" / "a.svg").touch()
    code, stderr = run_command(["in", "--model=builtin", "-o", "out"], tmp_path)
    assert code == 2
    reasons = "formats that cannot be read: 1 (a.svg); subfolders: 1 (3.png)"
    assert stderr == f"stylize.py: in has no images ({reasons}); give a picture, or a folder that has some\n"


def test_pictures_are_sorted_by_path(folder: Path):
    for name in ("b/1.png", "a/2.png", "0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        save(folder / name, GRAY)
    found = [str(file.relative_to(folder)) for file in list_pictures(folder, deep=True).pictures]
    assert found == ["0.png", "1.png", "2.png", "a/2.png", "b/1.png"]
