"""An interrupted video: no output file, completed batches are kept, and --resume completes the same file."""

import errno
import json
import os
import re
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from msst_jax.errors import UserError
from msst_jax.pipelines.run import run_job
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.video import feedforward
from msst_jax.video.io import writer
from msst_jax.video.io.encoders import FrameFolderSink, GifSink, VideoFileSink
from msst_jax.video.io.reader import open_video
from msst_jax.video.resume import ResumeFolder
from tests.helpers.commands import run_script
from tests.helpers.compilation import READ_ONLY_CACHE
from tests.helpers.feedforward import at_batch, interrupt, video_config, video_job
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.videos import Tone, make_video

pytestmark = pytest.mark.usefixtures("small_batches")

COUNT = 11  # frames: the last batch of 2 and the last segment of 4 are not full
ENDINGS = [".mp4", ".mov", ".mkv", ".webm", ".gif", ""]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two frames per second with audio, and a mask."""
    folder = tmp_path_factory.mktemp("inputs")
    images = [noise(48, 64, seed) for seed in range(COUNT)]
    make_video(folder / "a.mp4", images, rate=Fraction(2), sounds=[Tone("aac", seconds=COUNT / 2)])
    save(folder / "left.png", stripe(48, 64, 0, 0.5))
    return folder


def make(model: Path, inputs: Path, output: Path, config: dict[str, Any] | None = None, **more: Any) -> int:
    settings = {"masks": {"person": str(inputs / "left.png")}, "model": str(model), **more}
    config = {"picture_smoothing": 0.5, **(config or {})}  # so that every batch depends on the previous one
    return run_job(video_config(**config), video_job(inputs / "a.mp4", output, **settings))


def content(output: Path) -> Any:
    if output.is_dir():
        return {file.name: file.read_bytes() for file in output.iterdir()}
    return output.read_bytes()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("ending", ENDINGS)
def test_ctrl_c_writes_no_output_and_resume_completes_the_same_file(
    model: Path, inputs: Path, tmp_path: Path, ending: str, monkeypatch, caplog
):
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    assert make(model, inputs, whole) == 0
    existing = {whole.name, "whole.json"}
    resume_folder = f"{output.name}.part"
    caplog.set_level("INFO")
    for batches, kept in ((1, 2), (1, 4), (3, 10)):
        with monkeypatch.context() as patch:
            at_batch(patch, batches, interrupt)
            caplog.clear()
            assert make(model, inputs, output, resume=True) == EXIT_INTERRUPTED
        assert caplog.messages[-1] == f"interrupted: {kept} frames are kept in {output}.part; continue with --resume"
        assert names(tmp_path) == {*existing, resume_folder}
        assert not [file for file in names(tmp_path / resume_folder) if file.startswith(".")]
    assert make(model, inputs, output, resume=True) == 0
    assert names(tmp_path) == {*existing, output.name, "out.json"}
    assert content(output) == content(whole)
    assert len(list(open_video(output).frames())) == COUNT


def test_ctrl_c_while_resuming_loses_no_kept_frame(model: Path, inputs: Path, tmp_path: Path, monkeypatch, caplog):
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
def test_an_error_midway_keeps_the_completed_batches(
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
def test_an_error_while_finishing_the_file_loses_no_frame(
    model: Path, inputs: Path, tmp_path: Path, ending: str, monkeypatch
):
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    make(model, inputs, whole)
    finish = writer.VideoWriter.finish

    def full(self: Any) -> None:
        finish(self)
        with writer.encoder_errors_as_user_errors(output):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer.VideoWriter, "finish", full)
        with pytest.raises(
            UserError, match=rf"^cannot write {output}: No space left on device; choose another output$"
        ):
            make(model, inputs, output)
    assert names(tmp_path) == {whole.name, "whole.json", f"{output.name}.part"}
    with monkeypatch.context() as patch:
        at_batch(patch, 1, pytest.fail)  # no frame is stylized again
        assert make(model, inputs, output, resume=True) == 0
    assert content(output) == content(whole)


@pytest.mark.parametrize(("ending", "sink"), [(".mp4", VideoFileSink), (".gif", GifSink), ("", FrameFolderSink)])
def test_an_error_of_the_encoder_midway_is_one_line_and_loses_no_frame(
    model: Path, inputs: Path, tmp_path: Path, ending: str, sink: type, monkeypatch
):
    whole, output = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    make(model, inputs, whole)
    write, written = sink.write, []

    def full(self: Any, frame: Any) -> None:
        if len(written) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(frame)
        write(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(sink, "write", full)
        with pytest.raises(
            UserError, match=rf"^cannot write {output}: No space left on device; choose another output$"
        ):
            make(model, inputs, output)
    assert names(tmp_path) == {whole.name, "whole.json", f"{output.name}.part"}
    assert not [file for file in names(tmp_path / f"{output.name}.part") if file.startswith(".")]
    assert make(model, inputs, output, resume=True) == 0
    assert content(output) == content(whole)


def test_a_resume_folder_is_used_only_with_resume_and_the_same_settings(
    model: Path, inputs: Path, tmp_path: Path, monkeypatch
):
    output = tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        at_batch(patch, 1, interrupt)
        make(model, inputs, output)
    with pytest.raises(UserError, match=r"out.mp4.part holds an interrupted run; continue it with --resume, or del"):
        make(model, inputs, output)
    for change, message in (
        ({"crf": 30}, "quality"),
        ({"blend": "0:0,1:1"}, "blend"),
        ({"seed": 1}, "seed"),
        ({"config": {"feather": 1.0}}, "config.feather"),
        ({"config": {"size": 32, "segment_every": 3}}, "config.segment_every, config.size"),
    ):
        with pytest.raises(UserError, match="was created with another ") as raised:
            make(model, inputs, output, resume=True, **change)
        named = re.match(r".* was created with another (.*): use the same as then", str(raised.value))
        assert named is not None
        assert set(message.split(", ")) <= {one.partition(" (")[0] for one in named[1].split(", ")}
    assert names(tmp_path) == {"out.mp4.part"}


@pytest.mark.parametrize("then", [10**12, None])
def test_resume_keeps_the_batches_of_its_beginning_whatever_memory_is_free(
    model: Path, inputs: Path, tmp_path: Path, then: int | None, monkeypatch
):
    """Of 2 frames, or of 3 where the memory of an accelerator is free."""
    now = 10**12 if then is None else None
    monkeypatch.setattr(feedforward, "MAX_ACCELERATOR_BATCH", 3)
    monkeypatch.setattr(feedforward, "available_accelerator_memory", lambda: then)
    assert make(model, inputs, tmp_path / "whole.mp4") == 0
    with monkeypatch.context() as patch:
        at_batch(patch, 1, interrupt)
        assert make(model, inputs, tmp_path / "out.mp4") == EXIT_INTERRUPTED
    kept = json.loads((tmp_path / "out.mp4.part" / "run.json").read_text())
    assert kept["plan"]["batch"] == (2 if then is None else 3)
    monkeypatch.setattr(feedforward, "available_accelerator_memory", lambda: now)
    assert make(model, inputs, tmp_path / "out.mp4", resume=True) == 0
    assert content(tmp_path / "out.mp4") == content(tmp_path / "whole.mp4")


def test_resume_without_a_resume_folder_starts_and_a_second_run_is_identical(model: Path, inputs: Path, tmp_path: Path):
    output = tmp_path / "deep" / "er" / "out.mp4"
    assert make(model, inputs, output, resume=True) == 0
    first = content(output)
    assert make(model, inputs, output) == 0
    assert content(output) == first


def test_a_damaged_resume_folder_is_a_one_line_error(model: Path, inputs: Path, tmp_path: Path, monkeypatch):
    output = tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        at_batch(patch, 3, interrupt)
        make(model, inputs, output)
    for name in ("state_000002", "batch_000002", "segment_000000"):
        file = tmp_path / "out.mp4.part" / f"{name}.npz"
        whole = file.read_bytes()
        file.write_bytes(whole[:-40])
        with pytest.raises(UserError, match=rf"^{file} is damaged \(.*\); choose another output, or"):
            make(model, inputs, output, resume=True)
        file.write_bytes(whole)
    assert make(model, inputs, output, resume=True) == 0


def kill_after_a_segment() -> None:
    """Runs in a separate process."""
    feedforward.MAX_BATCH = 2
    add = ResumeFolder.add_segment

    def dying(self: ResumeFolder, packed: Any) -> None:
        add(self, packed)
        os.kill(os.getpid(), signal.SIGKILL)

    pytest.MonkeyPatch().setattr(ResumeFolder, "add_segment", dying)


def interrupt_after_three_batches() -> None:
    feedforward.MAX_BATCH = 2
    at_batch(pytest.MonkeyPatch(), 3, interrupt)


def use_small_batches() -> None:
    feedforward.MAX_BATCH = 2


@pytest.mark.slow
def test_kill_9_leaves_only_the_resume_folder_and_resume_completes_the_same_file(
    model: Path, inputs: Path, tmp_path: Path
):
    command = [str(inputs / "a.mp4"), f"--model={model}", f"--mask=person={inputs / 'left.png'}", "-o", "out.mp4"]
    (tmp_path / "whole").mkdir()
    assert run_script(command, tmp_path / "whole", before=use_small_batches)[0] == 0
    (tmp_path / "killed").mkdir()
    dying = {"settings": READ_ONLY_CACHE, "before": kill_after_a_segment}
    assert run_script(command, tmp_path / "killed", **dying)[0] == -signal.SIGKILL
    assert names(tmp_path / "killed") == {"out.mp4.part"}
    code, printed = run_script(command, tmp_path / "killed", before=interrupt_after_three_batches)
    assert code == 2
    assert printed == (
        "stylize.py: out.mp4.part holds an interrupted run; continue it with --resume, or delete it to start again\n"
    )
    again = [*command, "--resume"]
    assert run_script(again, tmp_path / "killed", **dying)[0] == -signal.SIGKILL
    killed = (tmp_path / "killed" / "out.mp4.part" / ".lock").read_text().strip().replace(" ", " on ")
    takeover = f"out.mp4.part: taking over from process {killed}, which was killed\n"
    code, printed = run_script(again, tmp_path / "killed", before=use_small_batches)
    assert (code, printed) == (0, f"{takeover}wrote out.mp4: {COUNT} frames\n")
    assert names(tmp_path / "killed") == {"out.mp4", "out.json"}
    assert content(tmp_path / "killed" / "out.mp4") == content(tmp_path / "whole" / "out.mp4")


def test_ctrl_c_on_the_command_line_has_its_own_exit_code(model: Path, inputs: Path, tmp_path: Path):
    command = [str(inputs / "a.mp4"), f"--model={model}", f"--mask=person={inputs / 'left.png'}", "-o", "out.webm"]
    code, printed = run_script(command, tmp_path, before=interrupt_after_three_batches)
    assert code == EXIT_INTERRUPTED
    assert printed.endswith("interrupted: 6 frames are kept in out.webm.part; continue with --resume\n")
    assert names(tmp_path) == {"out.webm.part"}
