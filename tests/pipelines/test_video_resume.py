"""A clip whose making is interrupted: nothing under its name, what was made is kept, --resume gives the same file."""

import errno
import os
import re
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.job import EXIT_INTERRUPTED
from msst_jax.pipelines.photo import run
from msst_jax.video import feedforward
from msst_jax.video.io.reader import open_video
from msst_jax.video.resume import ResumeFolder
from tests.helpers.clips import Tone, make_clip
from tests.helpers.feedforward import clip_config, clip_job
from tests.helpers.pictures import noise, run_script, save, stripe

pytestmark = pytest.mark.usefixtures("small_batches")

COUNT = 11  # frames: with batches of 2 and segments of 4 the last of both is not full
ENDINGS = [".mp4", ".webm", ".gif", ""]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of two frames a second, with sound, and a mask."""
    folder = tmp_path_factory.mktemp("inputs")
    images = [noise(48, 64, seed) for seed in range(COUNT)]
    make_clip(folder / "a.mp4", images, rate=Fraction(2), sounds=[Tone("aac", seconds=COUNT / 2)])
    save(folder / "left.png", stripe(48, 64, 0, 0.5))
    return folder


def make(model: Path, inputs: Path, output: Path, config: dict[str, Any] | None = None, **more: Any) -> int:
    settings = {"masks": {"person": str(inputs / "left.png")}, "model": str(model), **more}
    config = {"picture_smoothing": 0.5, **(config or {})}  # then every batch depends on the one before
    return run(clip_config(**config), clip_job(inputs / "a.mp4", output, **settings))


def content(output: Path) -> Any:
    if output.is_dir():
        return {file.name: file.read_bytes() for file in output.iterdir()}
    return output.read_bytes()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def at_batch(monkeypatch: pytest.MonkeyPatch, count: int, action: Any) -> None:
    """Does something when so many batches were kept in this run."""
    add, added = ResumeFolder.add_batch, []

    def limited(self: ResumeFolder, *arguments: Any) -> None:
        add(self, *arguments)
        added.append(None)
        if len(added) == count:
            action()

    monkeypatch.setattr(ResumeFolder, "add_batch", limited)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("ending", ENDINGS)
def test_ctrl_c_writes_nothing_says_how_to_go_on_and_resume_gives_the_same_file(
    model: Path, inputs: Path, tmp_path: Path, ending: str, monkeypatch, caplog
):
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    assert make(model, inputs, whole) == 0
    made = {whole.name, "whole.json"}
    parts = f"{output.name}.part"
    caplog.set_level("INFO")
    for batches, kept in ((1, 2), (1, 4), (3, 10)):
        with monkeypatch.context() as patch:
            at_batch(patch, batches, interrupt)
            caplog.clear()
            assert make(model, inputs, output, resume=True) == EXIT_INTERRUPTED
        assert caplog.messages[-1] == f"interrupted: {kept} frames are kept in {output}.part; go on with --resume"
        assert names(tmp_path) == {*made, parts}
        assert not [file for file in names(tmp_path / parts) if file.startswith(".")]
    assert make(model, inputs, output, resume=True) == 0
    assert names(tmp_path) == {*made, output.name, "out.json"}
    assert content(output) == content(whole)
    assert len(list(open_video(output).frames())) == COUNT


def test_ctrl_c_while_kept_frames_are_read_again_loses_none(
    model: Path, inputs: Path, tmp_path: Path, monkeypatch, caplog
):
    output = tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        at_batch(patch, 4, interrupt)
        assert make(model, inputs, output) == EXIT_INTERRUPTED
    with monkeypatch.context() as patch:
        segment = ResumeFolder.segment
        patch.setattr(ResumeFolder, "segment", lambda *arguments: (interrupt(), segment(*arguments))[1])
        assert make(model, inputs, output, resume=True) == EXIT_INTERRUPTED
    assert caplog.messages[-1].startswith("interrupted: 8 frames are kept")
    assert make(model, inputs, output, resume=True) == 0
    make(model, inputs, tmp_path / "whole.mp4")
    assert content(output) == content(tmp_path / "whole.mp4")


def test_ctrl_c_before_the_first_batch_leaves_nothing(model: Path, inputs: Path, tmp_path: Path, monkeypatch, caplog):
    def stop(*_: Any) -> None:
        interrupt()
        raise KeyboardInterrupt

    monkeypatch.setattr(ResumeFolder, "add_batch", stop)
    with pytest.raises(KeyboardInterrupt):
        make(model, inputs, tmp_path / "out.mp4")
    assert not names(tmp_path)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("batches", [1, 4, 6])
def test_an_error_in_the_middle_keeps_what_was_made(
    model: Path, inputs: Path, tmp_path: Path, ending: str, batches: int, monkeypatch
):
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    make(model, inputs, whole)

    def fail() -> None:
        raise RuntimeError("of the device")

    with monkeypatch.context() as patch:
        at_batch(patch, batches, fail)
        with pytest.raises(RuntimeError, match="of the device"):
            make(model, inputs, output)
    assert names(tmp_path) == {whole.name, "whole.json", f"{output.name}.part"}
    assert make(model, inputs, output, resume=True) == 0
    assert content(output) == content(whole)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_error_while_the_file_is_finished_costs_nothing(
    model: Path, inputs: Path, tmp_path: Path, ending: str, monkeypatch
):
    from msst_jax import clip_writer

    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    make(model, inputs, whole)
    finish = clip_writer.ClipWriter.finish

    def full(self: Any) -> None:
        finish(self)
        with clip_writer.encoder_refusals(output):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(clip_writer.ClipWriter, "finish", full)
        with pytest.raises(
            UserError, match=rf"^cannot write {output}: No space left on device; choose another output$"
        ):
            make(model, inputs, output)
    assert names(tmp_path) == {whole.name, "whole.json", f"{output.name}.part"}
    with monkeypatch.context() as patch:
        at_batch(patch, 1, pytest.fail)  # nothing is painted again
        assert make(model, inputs, output, resume=True) == 0
    assert content(output) == content(whole)


def test_parts_are_neither_used_without_resume_nor_with_other_settings(
    model: Path, inputs: Path, tmp_path: Path, monkeypatch
):
    output = tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        at_batch(patch, 1, interrupt)
        make(model, inputs, output)
    with pytest.raises(
        UserError, match=r"out.mp4.part holds what an interrupted run made; go on with --resume, or del"
    ):
        make(model, inputs, output)
    for change, told in (
        ({"crf": 30}, "quality"),
        ({"blend": "0:0,1:1"}, "blend"),
        ({"seed": 1}, "seed"),
        ({"config": {"feather": 1.0}}, "config.feather"),
        ({"config": {"size": 32, "segment_every": 3}}, "config.segment_every, config.size"),
    ):
        with pytest.raises(UserError, match="was made with another ") as raised:
            make(model, inputs, output, resume=True, **change)
        named = re.match(r".* was made with another (.*): give what was given then", str(raised.value))
        assert named is not None
        assert set(told.split(", ")) <= set(named[1].split(", "))
    (inputs / "left.png").touch()
    with pytest.raises(UserError, match="was made with another masks"):
        make(model, inputs, output, resume=True)
    assert names(tmp_path) == {"out.mp4.part"}


def test_resume_without_parts_begins_and_a_second_run_writes_the_same_again(model: Path, inputs: Path, tmp_path: Path):
    output = tmp_path / "deep" / "er" / "out.mp4"
    assert make(model, inputs, output, resume=True) == 0
    first = content(output)
    assert make(model, inputs, output) == 0
    assert content(output) == first


def test_damaged_parts_are_one_line(model: Path, inputs: Path, tmp_path: Path, monkeypatch):
    output = tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        at_batch(patch, 3, interrupt)
        make(model, inputs, output)
    for name in ("state_000002", "batch_000002", "segment_000000"):
        file = tmp_path / "out.mp4.part" / f"{name}.npz"
        whole = file.read_bytes()
        file.write_bytes(whole[:-40])
        with pytest.raises(UserError, match=rf"^{file} is damaged \(.*\); delete its folder to begin anew$"):
            make(model, inputs, output, resume=True)
        file.write_bytes(whole)
    assert make(model, inputs, output, resume=True) == 0


def killed_after_three_batches() -> None:
    """In a process of its own."""
    feedforward.MAX_BATCH = 2
    at_batch(pytest.MonkeyPatch(), 3, lambda: os.kill(os.getpid(), signal.SIGKILL))


def interrupted_after_three_batches() -> None:
    feedforward.MAX_BATCH = 2
    at_batch(pytest.MonkeyPatch(), 3, interrupt)


def in_small_batches() -> None:
    feedforward.MAX_BATCH = 2


def test_kill_9_leaves_nothing_but_the_parts_and_resume_gives_the_same_file(model: Path, inputs: Path, tmp_path: Path):
    command = [str(inputs / "a.mp4"), f"--model={model}", f"--mask=person={inputs / 'left.png'}", "-o", "out.mp4"]
    (tmp_path / "whole").mkdir()
    assert run_script(command, tmp_path / "whole", before=in_small_batches)[0] == 0
    (tmp_path / "killed").mkdir()
    assert run_script(command, tmp_path / "killed", before=killed_after_three_batches)[0] == -signal.SIGKILL
    assert names(tmp_path / "killed") == {"out.mp4.part"}
    code, told = run_script(command, tmp_path / "killed", before=interrupted_after_three_batches)
    assert code == 2
    assert told == (
        "stylize.py: out.mp4.part holds what an interrupted run made; go on with --resume, or delete it to begin anew\n"
    )
    again = [*command, "--resume"]
    assert run_script(again, tmp_path / "killed", before=killed_after_three_batches)[0] == -signal.SIGKILL
    code, told = run_script(again, tmp_path / "killed", before=in_small_batches)
    assert (code, told) == (0, f"wrote out.mp4: {COUNT} frames\n")
    assert names(tmp_path / "killed") == {"out.mp4", "out.json"}
    assert content(tmp_path / "killed" / "out.mp4") == content(tmp_path / "whole" / "out.mp4")


def test_ctrl_c_on_the_command_line_has_its_exit_code(model: Path, inputs: Path, tmp_path: Path):
    command = [str(inputs / "a.mp4"), f"--model={model}", f"--mask=person={inputs / 'left.png'}", "-o", "out.webm"]
    code, told = run_script(command, tmp_path, before=interrupted_after_three_batches)
    assert code == EXIT_INTERRUPTED
    assert (
        told.splitlines(keepends=True)[-1] == "interrupted: 6 frames are kept in out.webm.part; go on with --resume\n"
    )
    assert names(tmp_path) == {"out.webm.part"}
