"""Unreadable videos and unwritable outputs: a one-line error, and no output file."""

import errno
import os
import resource
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.run import run_job
from msst_jax.video import feedforward, resume
from msst_jax.video.io import encoders
from msst_jax.video.io.reader import open_video
from tests.helpers.commands import run_command, run_script
from tests.helpers.compilation import READ_ONLY_CACHE
from tests.helpers.feedforward import video_config, video_job
from tests.helpers.pictures import noise, save
from tests.helpers.videos import Tone, make_sound, make_video, moving, sound_span

pytestmark = pytest.mark.usefixtures("small_batches")


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def assert_rejected(
    video: Path, output: Path, model: Path, message: str, config: dict[str, Any] | None = None, **more: Any
) -> None:
    """The job fails with a one-line error and leaves the folder of the output unchanged."""
    before = {file: file.read_bytes() for file in output.parent.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=message) as raised:
        run_job(video_config(**(config or {})), video_job(video, output, model=str(model), **more))
    assert "\n" not in str(raised.value)
    assert {file: file.read_bytes() for file in output.parent.rglob("*") if file.is_file()} == before
    assert not list(output.parent.glob("*.part"))


def unreadable_videos(folder: Path) -> dict[str, tuple[Path, str]]:
    """{name: (a file that is not a readable video, the error about it)}."""
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video at all\n" * 99)
    make_sound(folder / "sound.mp4", Tone("aac"))
    make_sound(folder / "cover.mkv", Tone("flac"), cover=False)
    whole = make_video(folder / "whole.mp4", moving(3)).read_bytes()
    (folder / "codec.mp4").write_bytes(whole.replace(b"avc1", b"zzzz"))
    (folder / "head.mp4").write_bytes(whole[:40])
    (folder / "index.mp4").write_bytes(whole[: whole.index(b"mdat") + 8])
    (folder / "folder").mkdir()
    return {
        "nothing.mp4": (folder / "nothing.mp4", "does not exist; check the name"),
        "empty.mp4": (folder / "empty.mp4", "is empty; give another copy"),
        "text.mp4": (folder / "text.mp4", "is no video that can be read, or is damaged; give another copy"),
        "sound.mp4": (folder / "sound.mp4", "has no video, only sound; give a video file"),
        "cover.mkv": (folder / "cover.mkv", "has no video, only sound; give a video file"),
        "codec.mp4": (folder / "codec.mp4", "is in a codec that is not known; convert it to H.264 first"),
        "head.mp4": (folder / "head.mp4", "has no video, nothing that moves; give a video file"),
        "index.mp4": (folder / "index.mp4", "has no frame that can be decoded; give another copy"),
        "folder": (folder / "folder", "has no images"),
    }


UNREADABLE = ["nothing.mp4", "empty.mp4", "text.mp4", "sound.mp4", "cover.mkv", "codec.mp4", "head.mp4", "index.mp4"]


@pytest.mark.parametrize("name", [*UNREADABLE, "folder"])
def test_an_unreadable_video_is_a_one_line_error(model: Path, tmp_path: Path, left, name: str):
    (tmp_path / "in").mkdir()
    file, message = unreadable_videos(tmp_path / "in")[name]
    assert_rejected(file, tmp_path / "out.mp4", model, message, masks=left)


def test_the_command_reports_an_unreadable_video_in_one_line(model: Path, tmp_path: Path, left):
    (tmp_path / "sound.mp4").write_bytes(make_sound(tmp_path / "a.mp4", Tone("aac")).read_bytes())
    before = names(tmp_path)
    code, printed = run_command(["sound.mp4", f"--model={model}", "-o", "out.mp4"], tmp_path)
    assert (code, printed) == (2, "stylize.py: sound.mp4 has no video, only sound; give a video file\n")
    assert names(tmp_path) == before


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ""])
def test_a_truncated_video_is_stylized_up_to_its_end_with_a_warning(
    model: Path, tmp_path: Path, left, ending: str, caplog
):
    images = [noise(48, 64, seed) for seed in range(11)]
    path = make_video(tmp_path / "a.mp4", images, sounds=[Tone("aac")])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    count = len(list(open_video(path).frames()))
    assert 1 < count < 11
    caplog.clear()
    assert run_job(video_config(), video_job(path, tmp_path / f"out{ending}", model=str(model), masks=left)) == 0
    assert f"video {path} is damaged or cut short: {count} of 11 frames could be read" in caplog.text
    frames = list(open_video(tmp_path / f"out{ending}").frames())
    assert len(frames) == count
    if ending in (".mp4", ".webm"):
        assert sound_span(tmp_path / f"out{ending}")[1] <= Fraction(count + 2, 25)
    assert not list(tmp_path.glob("*.part"))


def test_unwritable_outputs_are_rejected_before_any_work(model: Path, tmp_path: Path, left, monkeypatch):
    path = make_video(tmp_path / "a.mp4", moving(2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    monkeypatch.setattr("msst_jax.pipelines.video.open_model", lambda *_, **__: pytest.fail("work was begun"))
    monkeypatch.chdir(tmp_path)
    for output, message in (
        (path, "would overwrite"),
        (tmp_path / ".." / tmp_path.name / "a.mp4", "would overwrite"),
        (
            tmp_path / "out.avi",
            "unknown video ending '.avi'; use one of .mp4, .m4v, .mov, .mkv, .webm, .gif, or no ending for a folder",
        ),
        (tmp_path / "out.png", "unknown video ending"),
        (tmp_path / "full", "the folder is not empty"),
        (path / "out.mp4", "Not a directory"),
        (tmp_path / ("n" * 300 + ".mp4"), "File name too long"),
    ):
        before = names(tmp_path)
        with pytest.raises(UserError, match=message):
            run_job(video_config(), video_job(path, output, model=str(model), masks=left))
        assert names(tmp_path) == before
    for crf in (0, 52, -1):
        assert_rejected(path, tmp_path / "out.mp4", model, rf"the quality \(crf\) is {crf}", masks=left, crf=crf)


def test_a_name_too_long_for_the_resume_folder_is_a_one_line_error(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a.mp4", moving(2))
    assert_rejected(
        path, tmp_path / ("n" * 248 + ".mp4"), model, "File name too long; choose another output$", masks=left
    )


@pytest.mark.parametrize("mask", ["none.png", "bad.png", "black.png", "color.png", "thin", "text.mp4"])
def test_an_unusable_mask_is_rejected_before_any_work(model: Path, tmp_path: Path, mask: str, monkeypatch):
    path = make_video(tmp_path / "a.mp4", moving(2))
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "thin").mkdir()
    save(tmp_path / "black.png", np.zeros((48, 64), np.uint8))
    save(tmp_path / "color.png", noise(48, 64))
    monkeypatch.setattr("msst_jax.pipelines.video.open_model", lambda *_, **__: pytest.fail("work was begun"))
    assert_rejected(path, tmp_path / "out.mp4", model, mask, masks={"person": str(tmp_path / mask)})


def test_a_frame_of_another_size_in_the_first_batch_is_a_one_line_error_and_leaves_nothing(
    model: Path, tmp_path: Path, left
):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "1.png", noise(48, 64))
    save(tmp_path / "in" / "2.png", noise(64, 48))
    assert_rejected(tmp_path / "in", tmp_path / "out.mp4", model, "make them one size", masks=left)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", 8, "video .* becomes 8x6 pixels; every side must have at least"),
        ("segment_every", 0, "segment_every"),
        ("mask_smoothing", 1.0, "mask_smoothing is 1.0; it must be below 1"),
        ("picture_smoothing", 1.0, "picture_smoothing is 1.0; it must be below 1"),
        ("next_steps", 0, "next_steps"),
    ],
)
def test_invalid_config_values_are_rejected(model: Path, tmp_path: Path, left, field: str, value: float, message: str):
    path = make_video(tmp_path / "a.mp4", moving(2))
    assert_rejected(path, tmp_path / "out.mp4", model, message, {field: value}, masks=left)


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ""])
@pytest.mark.parametrize("place", ["parts", "encoder"])
def test_a_full_disk_is_a_one_line_error_and_keeps_the_old_file(
    model: Path, tmp_path: Path, left, ending: str, place: str, monkeypatch
):
    path = make_video(tmp_path / "a.mp4", moving(7), rate=Fraction(1))
    output = tmp_path / f"out{ending}"
    if ending:
        output.write_text("old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "parts":
        monkeypatch.setattr(resume, "ZipFile", full)
    else:
        for sink in (encoders.VideoFileSink, encoders.GifSink, encoders.FrameFolderSink):
            monkeypatch.setattr(sink, "write", full)
    with pytest.raises(UserError, match=r"^cannot write .*: No space left on device; choose another output$"):
        run_job(video_config(), video_job(path, output, model=str(model), masks=left))
    assert output.read_text() == "old" if ending else not output.exists()
    assert output.with_name(f"{output.name}.part").exists() == (place == "encoder")  # a batch has been kept
    monkeypatch.undo()
    monkeypatch.setattr(feedforward, "MAX_BATCH", 2)
    assert run_job(video_config(), video_job(path, output, model=str(model), masks=left, resume=True)) == 0
    assert len(list(open_video(output).frames())) == 7


def limit_file_size() -> None:
    """Runs in a separate process: the video does not fit on the disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_the_command_reports_a_full_disk_in_one_line(model: Path, tmp_path: Path, left):
    make_video(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(9)])
    command = ["a.mp4", f"--model={model}", f"--mask=person={left['person']}", "-o", "out.mp4"]
    code, printed = run_script(command, tmp_path, settings=READ_ONLY_CACHE, before=limit_file_size)
    assert code == 2
    assert printed.startswith("stylize.py: cannot write out.mp4.part/")
    assert printed.endswith(": File too large; choose another output\n")
    assert len(printed.splitlines()) == 1
    assert names(tmp_path) == {"a.mp4", "left.png"}
