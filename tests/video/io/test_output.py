"""A clip appears under its name when it is complete; else there is one line, and nothing stays."""

import resource
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.video.io.reader import open_video
from msst_jax.video.io.types import Frame, VideoSource
from msst_jax.video.io.writer import check_video_output, video_writer
from tests.helpers.clips import Tone, make_clip, moving, rewrite
from tests.helpers.pictures import noise


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.avi", r"unknown video ending '.avi'; use one of .mp4, .webm, .gif, or no ending for a folder"),
        ("folder.mp4", "it is a folder; give a file name such as .*folder.mp4/out.mp4"),
        ("full", "the folder is not empty; empty it, or give another"),
        ("file", "it is a file; give a folder, or one of .mp4, .webm, .gif"),
        ("file/out.mp4", "Not a directory; choose another output"),
        ("n" * 300 + ".mp4", "File name too long; choose another output"),
        ("n" * 300, "File name too long; choose another output"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, name: str, message: str):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.png").touch()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^cannot write (frames to )?{tmp_path}/{name}: {message}$"):
        check_video_output(tmp_path / name)


@pytest.mark.parametrize(("name", "crf", "limits"), [("a.mp4", 0, "1 .best. to 51"), ("a.webm", 64, "0 .best. to 63")])
def test_a_quality_out_of_range_is_refused(tmp_path: Path, name: str, crf: int, limits: str):
    with pytest.raises(UserError, match=rf"^the quality \(crf\) is {crf}; give {limits} for {name[1:]}$"):
        check_video_output(tmp_path / name, crf)


ENDINGS = [".mp4", ".webm", ".gif", ""]


@pytest.fixture
def scene(tmp_path: Path) -> tuple[VideoSource, Path]:
    """A clip to rewrite, and a folder to write to with an older output."""
    clip = open_video(make_clip(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(8)], sounds=[Tone("aac")]))
    place = tmp_path / "place"
    place.mkdir()
    for ending in ENDINGS[:3]:
        (place / f"out{ending}").write_text("old")
    return clip, place


def nothing_new(place: Path) -> bool:
    return {file.name: file.read_text() for file in place.iterdir()} == {f"out{e}": "old" for e in ENDINGS[:3]}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing more than `size` bytes into one file fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_one_line_and_the_old_file_stays(scene: tuple[VideoSource, Path], ending: str):
    clip, place = scene
    message = f"^cannot write {place}/out{ending}: File too large; choose another [a-z ]+$"
    with files_of_at_most(2000), pytest.raises(UserError, match=message):
        rewrite(clip.info.path, place / f"out{ending}")
    assert nothing_new(place)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "of another file")])
def test_an_error_between_the_frames_leaves_the_old_file_and_is_not_taken_for_the_outputs(
    scene: tuple[VideoSource, Path], ending: str, error: BaseException
):
    clip, place = scene

    def frames() -> Iterator[Frame]:
        yield next(clip.frames())
        raise error

    with pytest.raises(type(error)) as raised:
        rewrite(clip.info.path, place / f"out{ending}", frames())
    assert raised.value is error
    assert nothing_new(place)


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_frame_is_an_error_and_no_file(scene: tuple[VideoSource, Path], ending: str):
    clip, place = scene
    with (
        pytest.raises(UserError, match=r"there is no frame; give a clip that has some$"),
        video_writer(place / f"out{ending}", clip.info),
    ):
        pass
    assert nothing_new(place)


def test_a_size_that_the_encoder_refuses_is_one_line(scene: tuple[VideoSource, Path]):
    clip, place = scene
    with (
        pytest.raises(
            UserError, match=r"^cannot write .*out.mp4: the encoder refuses \(.*\); choose another size or format$"
        ),
        video_writer(place / "out.mp4", clip.info, width=40000, height=16),
    ):
        pass
    assert nothing_new(place)


def test_two_clips_are_written_at_once_by_threads_of_their_own(tmp_path: Path):
    path = make_clip(tmp_path / "a.mp4", moving(11), sounds=[Tone("aac")])
    clip = open_video(path)

    def work(name: str) -> None:
        with video_writer(tmp_path / name, clip.info) as writer:
            opener = threading.Thread(target=lambda: [writer.write(frame) for frame in clip.frames()])
            opener.start()
            opener.join()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one.mp4", "two.mp4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    assert len(list(open_video(tmp_path / "one.mp4").frames())) == 11


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_the_frame_in_hand_is_in_memory(tmp_path: Path, ending: str):
    clip = open_video(make_clip(tmp_path / "a.mp4", moving(20)))
    seen: list[weakref.ref[np.ndarray]] = []
    with video_writer(tmp_path / f"out{ending}", clip.info) as writer:
        for frame in clip.frames():
            writer.write(frame)
            seen.append(weakref.ref(frame.image))
            assert sum(one() is not None for one in seen) <= 2
