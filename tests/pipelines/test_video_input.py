"""Clips that are damaged or none, and places that cannot be written to: one line, nothing under the output's name."""

import errno
import os
import resource
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.photo import run
from msst_jax.video import feedforward as clip_fast
from msst_jax.video import resume
from msst_jax.video.io import encoders
from msst_jax.video.io.reader import open_video
from tests.helpers.clips import Tone, make_clip, make_sound, moving, sound_span
from tests.helpers.feedforward import clip_config, clip_job
from tests.helpers.pictures import noise, run_script, save

pytestmark = pytest.mark.usefixtures("small_batches")


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def refused(
    clip: Path, output: Path, model: Path, told: str, config: dict[str, Any] | None = None, **more: Any
) -> None:
    """The job fails with a line, and leaves the folder of the output as it was."""
    before = {file: file.read_bytes() for file in output.parent.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=told) as raised:
        run(clip_config(**(config or {})), clip_job(clip, output, model=str(model), **more))
    assert "\n" not in str(raised.value)
    assert {file: file.read_bytes() for file in output.parent.rglob("*") if file.is_file()} == before
    assert not list(output.parent.glob("*.part"))


def no_video(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no clips, and what is told of them."""
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video at all\n" * 99)
    make_sound(folder / "sound.mp4", Tone("aac"))
    make_sound(folder / "cover.mkv", Tone("flac"), cover=False)
    whole = make_clip(folder / "whole.mp4", moving(3)).read_bytes()
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
        "folder": (folder / "folder", "has no pictures"),
    }


NO_VIDEO = ["nothing.mp4", "empty.mp4", "text.mp4", "sound.mp4", "cover.mkv", "codec.mp4", "head.mp4", "index.mp4"]


@pytest.mark.parametrize("name", [*NO_VIDEO, "folder"])
def test_what_is_no_clip_is_one_line(model: Path, tmp_path: Path, left, name: str):
    (tmp_path / "in").mkdir()
    file, told = no_video(tmp_path / "in")[name]
    refused(file, tmp_path / "out.mp4", model, told, masks=left)


def test_what_is_no_clip_is_one_line_of_the_command(model: Path, tmp_path: Path, left):
    (tmp_path / "sound.mp4").write_bytes(make_sound(tmp_path / "a.mp4", Tone("aac")).read_bytes())
    before = names(tmp_path)
    code, told = run_script(["sound.mp4", f"--model={model}", "-o", "out.mp4"], tmp_path)
    assert (code, told) == (2, "stylize.py: sound.mp4 has no video, only sound; give a video file\n")
    assert names(tmp_path) == before


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ""])
def test_of_a_truncated_clip_what_is_left_is_painted_and_the_warning_says_how_much(
    model: Path, tmp_path: Path, left, ending: str, caplog
):
    images = [noise(48, 64, seed) for seed in range(11)]
    path = make_clip(tmp_path / "a.mp4", images, sounds=[Tone("aac")])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    count = len(list(open_video(path).frames()))
    assert 1 < count < 11
    caplog.clear()
    assert run(clip_config(), clip_job(path, tmp_path / f"out{ending}", model=str(model), masks=left)) == 0
    assert f"video {path} is damaged or cut short: {count} of 11 frames could be read" in caplog.text
    frames = list(open_video(tmp_path / f"out{ending}").frames())
    assert len(frames) == count
    if ending in (".mp4", ".webm"):
        assert sound_span(tmp_path / f"out{ending}")[1] <= Fraction(count + 2, 25)
    assert not list(tmp_path.glob("*.part"))


def test_outputs_that_cannot_be_are_refused_before_any_work(model: Path, tmp_path: Path, left, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    monkeypatch.setattr("msst_jax.pipelines.video.load_model", lambda *_: pytest.fail("work was begun"))
    monkeypatch.chdir(tmp_path)
    for output, told in (
        (path, "would overwrite"),
        (tmp_path / ".." / tmp_path.name / "a.mp4", "would overwrite"),
        (tmp_path / "out.avi", "unknown video ending '.avi'; use one of .mp4, .webm, .gif, or no ending for a folder"),
        (tmp_path / "out.png", "unknown video ending"),
        (tmp_path / "full", "the folder is not empty"),
        (path / "out.mp4", "Not a directory"),
        (tmp_path / ("n" * 300 + ".mp4"), "File name too long"),
    ):
        before = names(tmp_path)
        with pytest.raises(UserError, match=told):
            run(clip_config(), clip_job(path, output, model=str(model), masks=left))
        assert names(tmp_path) == before
    for crf in (0, 52, -1):
        refused(path, tmp_path / "out.mp4", model, rf"the quality \(crf\) is {crf}", masks=left, crf=crf)


def test_a_name_that_leaves_no_room_for_that_of_the_parts_is_one_line(model: Path, tmp_path: Path, left):
    path = make_clip(tmp_path / "a.mp4", moving(2))
    refused(path, tmp_path / ("n" * 248 + ".mp4"), model, "File name too long; choose another output$", masks=left)


@pytest.mark.parametrize("mask", ["none.png", "bad.png", "black.png", "thin", "text.mp4"])
def test_a_mask_that_is_none_is_told_before_any_work(model: Path, tmp_path: Path, mask: str, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "thin").mkdir()
    save(tmp_path / "black.png", np.zeros((48, 64), np.uint8))
    monkeypatch.setattr("msst_jax.pipelines.video.load_model", lambda *_: pytest.fail("work was begun"))
    refused(path, tmp_path / "out.mp4", model, mask, masks={"person": str(tmp_path / mask)})


def test_a_frame_of_another_size_is_one_line_and_leaves_nothing_if_it_comes_at_once(model: Path, tmp_path: Path, left):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "1.png", noise(48, 64))
    save(tmp_path / "in" / "2.png", noise(64, 48))
    refused(tmp_path / "in", tmp_path / "out.mp4", model, "make them one size", masks=left)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("size", 8, "clip .* becomes 8x6 pixels; every side must have at least"),
        ("segment_every", 0, "segment_every"),
        ("mask_smoothing", 1.0, "mask_smoothing is 1.0; it must be below 1"),
        ("picture_smoothing", 1.0, "picture_smoothing is 1.0; it must be below 1"),
        ("next_steps", 0, "next_steps"),
    ],
)
def test_numbers_that_cannot_be_are_refused(model: Path, tmp_path: Path, left, field: str, value: float, told: str):
    path = make_clip(tmp_path / "a.mp4", moving(2))
    refused(path, tmp_path / "out.mp4", model, told, {field: value}, masks=left)


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ""])
@pytest.mark.parametrize("place", ["parts", "encoder"])
def test_a_full_disk_is_one_line_and_the_old_file_stays(
    model: Path, tmp_path: Path, left, ending: str, place: str, monkeypatch
):
    path = make_clip(tmp_path / "a.mp4", moving(7), rate=Fraction(1))
    output = tmp_path / f"out{ending}"
    if ending:
        output.write_text("old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "parts":
        monkeypatch.setattr(resume.np, "savez", full)
    else:
        for sink in (encoders.VideoFileSink, encoders.GifSink, encoders.FrameFolderSink):
            monkeypatch.setattr(sink, "write", full)
    with pytest.raises(UserError, match=r"^cannot write .*: No space left on device; choose another output$"):
        run(clip_config(), clip_job(path, output, model=str(model), masks=left))
    assert output.read_text() == "old" if ending else not output.exists()
    assert output.with_name(f"{output.name}.part").exists() == (place == "encoder")  # a batch was kept
    monkeypatch.undo()
    monkeypatch.setattr(clip_fast, "MAX_BATCH", 2)
    assert run(clip_config(), clip_job(path, output, model=str(model), masks=left, resume=True)) == 0
    assert len(list(open_video(output).frames())) == 7


def small_files() -> None:
    """In a process of its own: the clip does not fit on the disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_a_full_disk_is_one_line_of_the_command(model: Path, tmp_path: Path, left):
    make_clip(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(9)])
    command = ["a.mp4", f"--model={model}", f"--mask=person={left['person']}", "-o", "out.mp4"]
    code, told = run_script(command, tmp_path, before=small_files)
    assert code == 2
    assert told.startswith("stylize.py: cannot write out.mp4.part/")
    assert told.endswith(": File too large; choose another output\n")
    assert len(told.splitlines()) == 1
    assert names(tmp_path) == {"a.mp4", "left.png"}
