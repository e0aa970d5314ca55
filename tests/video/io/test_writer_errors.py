"""Failed video writes: a one-line error, no partial output, and an existing file stays untouched."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from msst_jax.errors import UserError
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Frame, VideoSource
from msst_jax.video.io.writer import check_video_output, video_writer
from tests.helpers.pictures import noise
from tests.helpers.videos import Tone, make_video, transcode


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "out.avi",
            r"unknown video ending '.avi'; use one of .mp4, .m4v, .mov, .mkv, .webm, .gif, or no ending for a folder",
        ),
        ("folder.mp4", "it is a folder; give a file name such as .*folder.mp4/out.mp4"),
        ("full", "the folder is not empty; empty it, or give another"),
        ("file", "it is a file; give a folder, or one of .mp4, .m4v, .mov, .mkv, .webm, .gif"),
        ("file/out.mp4", "Not a directory; choose another output"),
        ("n" * 300 + ".mp4", "File name too long; choose another output"),
        ("n" * 300, "File name too long; choose another output"),
    ],
)
def test_an_unwritable_output_path_is_rejected_before_any_work(tmp_path: Path, name: str, message: str):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.png").touch()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^cannot write (frames to )?{tmp_path}/{name}: {message}$"):
        check_video_output(tmp_path / name)


@pytest.mark.parametrize(("name", "crf", "limits"), [("a.mp4", 0, "1 .best. to 51"), ("a.webm", 64, "0 .best. to 63")])
def test_a_crf_out_of_range_is_rejected(tmp_path: Path, name: str, crf: int, limits: str):
    with pytest.raises(UserError, match=rf"^the quality \(crf\) is {crf}; give {limits} for {name[1:]}$"):
        check_video_output(tmp_path / name, crf)


SUFFIXES = [".mp4", ".webm", ".gif", ""]


@pytest.fixture
def source_and_folder(tmp_path: Path) -> tuple[VideoSource, Path]:
    """A video to transcode, and a folder that holds older outputs."""
    video = open_video(make_video(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(8)], sounds=[Tone("aac")]))
    folder = tmp_path / "out"
    folder.mkdir()
    for suffix in SUFFIXES[:3]:
        (folder / f"out{suffix}").write_text("old")
    return video, folder


def is_unchanged(folder: Path) -> bool:
    return {file.name: file.read_text() for file in folder.iterdir()} == {f"out{s}": "old" for s in SUFFIXES[:3]}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Makes writes beyond `size` bytes per file fail, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_a_one_line_error_and_keeps_the_old_file(
    source_and_folder: tuple[VideoSource, Path], suffix: str
):
    video, folder = source_and_folder
    message = f"^cannot write {folder}/out{suffix}: File too large; choose another [a-z ]+$"
    with file_size_limit(2000), pytest.raises(UserError, match=message):
        transcode(video.info.path, folder / f"out{suffix}")
    assert is_unchanged(folder)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "of another file")])
def test_an_error_of_the_frame_source_keeps_the_old_file_and_is_not_reported_as_a_write_error(
    source_and_folder: tuple[VideoSource, Path], suffix: str, error: BaseException
):
    video, folder = source_and_folder

    def frames() -> Iterator[Frame]:
        yield next(video.frames())
        raise error

    with pytest.raises(type(error)) as raised:
        transcode(video.info.path, folder / f"out{suffix}", frames())
    assert raised.value is error
    assert is_unchanged(folder)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_frames_is_an_error_and_writes_no_file(source_and_folder: tuple[VideoSource, Path], suffix: str):
    video, folder = source_and_folder
    with (
        pytest.raises(UserError, match=r"there are no frames; give a video with at least one$"),
        video_writer(folder / f"out{suffix}", video.info),
    ):
        pass
    assert is_unchanged(folder)


def test_a_size_that_the_encoder_rejects_is_a_one_line_error(source_and_folder: tuple[VideoSource, Path]):
    video, folder = source_and_folder
    with (
        pytest.raises(
            UserError, match=r"^cannot write .*out.mp4: the encoder failed \(.*\); choose another size or format$"
        ),
        video_writer(folder / "out.mp4", video.info, width=40000, height=16),
    ):
        pass
    assert is_unchanged(folder)
