"""How commands end: exit codes, and one line for what the system refuses; a bug shows its trace."""

import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from jax.errors import JaxRuntimeError
from tqdm import tqdm

from msst_jax.cli.flags import TextRequested
from msst_jax.cli.run_command import EXIT_BUG, run_command
from msst_jax.errors import UserError
from msst_jax.pipelines import photo, photo_feedforward, train
from msst_jax.training import checkpoints
from msst_jax.video.resume import ResumeFolder
from tests.helpers import commands
from tests.helpers.commands import TRAIN
from tests.helpers.pictures import QUICK, make_scene, noise, save
from tests.helpers.training_runs import tiny_flags
from tests.helpers.videos import make_video, moving


def end(error: Exception | int) -> int:
    def action(_argv: Sequence[str]) -> int:
        if isinstance(error, int):
            return error
        raise error

    return run_command(["/bin/prog"], action, interrupted="interrupted", smaller="--size")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("wrong\nin two lines"), "wrong in two lines"),
        (PermissionError(13, "Permission denied", "frames"), "cannot use frames: Permission denied; check it, or give"),
        (OSError(5, "Input/output error"), "cannot use a file or stream: Input/output error; check it"),
        (OSError(18, "Cross-device", "a", None, "b"), "cannot use a -> b: Cross-device; check it, or give another"),
        (RuntimeError("Symlink loop from 'x'"), "symlink loop from 'x': a link that leads to itself; give another"),
        (MemoryError(), "not enough memory; lower --size"),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "not enough memory; lower --size"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_what_the_system_refuses_is_one_line_and_exit_code_2(error: Exception, line: str, capsys):
    assert end(error) == 2
    assert re.fullmatch(rf"prog: {re.escape(line)}[^\n]*\n", capsys.readouterr().err)


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("y"), JaxRuntimeError("INTERNAL")], ids=repr)
def test_a_bug_shows_its_trace_and_asks_for_a_report(error: Exception, capsys):
    assert end(error) == EXIT_BUG
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("prog: this is a bug of the program (")


@pytest.mark.parametrize("code", [0, 1, 130])
def test_the_exit_code_of_the_action_is_that_of_the_command(code: int):
    assert end(code) == code


def test_text_that_is_requested_goes_to_stdout(capsys):
    assert end(TextRequested("text")) == 0
    assert capsys.readouterr() == ("text\n", "")


def test_an_interrupt_that_a_library_turns_into_another_error_is_still_one(capsys):
    def action(_argv: Sequence[str]) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise RuntimeError("import failed") from error
        return 0

    assert run_command(["prog"], action, interrupted="interrupted", smaller="") == 143
    assert capsys.readouterr().err == "prog: interrupted\n"


def test_the_version_is_printed(tmp_path: Path, capsys):
    for script in commands.MAINS:
        assert commands.run_command(["--version", "nonsense"], tmp_path, script) == (0, "")
        assert re.fullmatch(r"msst_jax \d+\.\d+\.\d+\n", capsys.readouterr().out)


def after(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, count: int, number: signal.Signals = signal.SIGTERM
) -> None:
    """Sends this process a signal after a function was called that often."""
    original, calls = getattr(place, name), []

    def counted(*arguments: Any, **more: Any) -> Any:
        result = original(*arguments, **more)
        calls.append(1)
        if len(calls) == count:
            signal.raise_signal(number)
        return result

    monkeypatch.setattr(place, name, counted)


def test_sigterm_before_anything_is_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_scene(tmp_path)
    before = sorted(tmp_path.iterdir())
    after(monkeypatch, photo, "load_photo_inputs", 1)
    code, stderr = commands.run_command(["photo.png", "--style=background=a.png", "--config.size=0"], tmp_path)
    assert (code, stderr) == (143, "stylize.py: interrupted; nothing was written\n")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("quiet", [True, False])
def test_sigterm_amid_a_folder_names_what_was_written(tmp_path: Path, model: Path, left, quiet, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.png", noise(48, 64))
    after(monkeypatch, photo_feedforward, "save_picture", 1)
    command = ["in", f"--model={model}", f"--mask=person={left['person']}", "-o", "out", "--config.size=0"]
    code, stderr = commands.run_command([*command, f"--quiet={quiet}"], tmp_path)
    assert (code, stderr) == (143, "stylize.py: interrupted; all that was written: out/a.png\n")
    assert os.listdir(tmp_path / "out") == ["a.png"]


def test_sigterm_before_the_first_checkpoint_promises_none(tmp_path: Path, photos: Path, monkeypatch):
    after(monkeypatch, train, "find_photos", 1)
    code, stderr = commands.run_command(tiny_flags(photos), tmp_path, TRAIN)
    line = "train.py: interrupted; the same command continues the run, from its newest checkpoint if there is one\n"
    assert (code, stderr) == (143, line)


def test_sigterm_writes_the_best_photo_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_scene(tmp_path)
    numbers = [f"--config.{name}={value!r}".replace("'", '"') for name, value in {**QUICK, "steps": 10_000}.items()]
    after(monkeypatch, tqdm, "update", 4)
    code, stderr = commands.run_command(["photo.png", "--style=background=a.png", "-o", "x.png", *numbers], tmp_path)
    assert code == 143
    assert re.search(r"^interrupted after \d+ evaluations: wrote the best picture so far$", stderr, re.MULTILINE)
    assert {"x.png", "x.json"} <= set(os.listdir(tmp_path))


@pytest.mark.usefixtures("small_batches")
def test_sigterm_keeps_the_frames_of_a_video_and_resume_goes_on(tmp_path: Path, model: Path, left, monkeypatch):
    make_video(tmp_path / "in.mp4", moving(6))
    command = ["in.mp4", f"--model={model}", f"--mask=person={left['person']}", "-o", "out.mp4"]
    with monkeypatch.context() as patch:
        after(patch, ResumeFolder, "add_batch", 1)
        code, stderr = commands.run_command(command, tmp_path)
    assert code == 143
    assert re.search(r"^interrupted: \d frames are kept in out.mp4.part; continue with --resume$", stderr, re.MULTILINE)
    assert not (tmp_path / "out.mp4").exists()
    assert commands.run_command([*command, "--resume"], tmp_path)[0] == 0


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_of_a_training_run_and_the_model(tmp_path: Path, photos: Path, monkeypatch):
    after(monkeypatch, checkpoints, "save", 1)
    code, stderr = commands.run_command(tiny_flags(photos, steps=10_000, checkpoint_every=3), tmp_path, TRAIN)
    assert code == 143
    assert re.search(r"interrupted at step \d+: run/model.safetensors\n$", stderr)
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_flags_in_a_file_are_read_like_those_of_the_command_line(tmp_path: Path):
    make_scene(tmp_path)
    (tmp_path / "flags.txt").write_text("--config=seed\n--config.steps=0\nphoto.png\n")
    code, stderr = commands.run_command(["--flagfile=flags.txt"], tmp_path)
    assert (code, stderr) == (2, "stylize.py: config.steps is 0; it must be above zero\n")


@pytest.mark.parametrize("script", commands.MAINS, ids=lambda script: script.name)
def test_a_file_of_flags_that_is_missing_is_one_line(tmp_path: Path, script: Path):
    code, stderr = commands.run_command(["--flagfile=nofile"], tmp_path, script)
    assert code == 2
    assert re.fullmatch(rf"{script.name}: Unable to open flagfile: [^\n]*\n", stderr)


@pytest.mark.parametrize("more", ["--model=builtin", "--regions-only", "--style=background=loop.png"])
def test_a_link_to_itself_is_one_line(tmp_path: Path, more: str):
    (tmp_path / "loop.png").symlink_to("loop.png")
    code, stderr = commands.run_command(["loop.png", more], tmp_path)
    assert code == 2
    assert re.fullmatch(r"stylize\.py: [^\n]*loop\.png[^\n]*\n", stderr)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"JAX_PROCESS_ID": "5"}, "JAX_PROCESS_ID is 5; it must be below JAX_NUM_PROCESSES, which is 2"),
        ({"JAX_COORDINATOR_ADDRESS": "localhost"}, "JAX_COORDINATOR_ADDRESS is 'localhost'; it must be HOST:PORT"),
        ({"JAX_COORDINATOR_ADDRESS": "a:99999"}, "JAX_COORDINATOR_ADDRESS is 'a:99999'; it must be HOST:PORT"),
        ({"JAX_COORDINATOR_ADDRESS": "", "SLURM_NTASKS": "two"}, "SLURM_NTASKS is 'two'; unset it, or make it a whole"),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_variables_of_hosts_that_make_no_sense_are_one_line(tmp_path: Path, photos: Path, variables, line, monkeypatch):
    good = {"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}
    for name, value in {**good, **variables}.items():
        monkeypatch.setenv(name, value)
    code, stderr = commands.run_command(tiny_flags(photos), tmp_path, TRAIN)
    assert code == 2
    assert re.fullmatch(rf"train\.py: {re.escape(line)}[^\n]*\n", stderr)


def test_a_cluster_that_cannot_be_joined_is_one_line(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("DEADLINE_EXCEEDED: nobody is there\nmore")

    monkeypatch.setattr("jax.distributed.initialize", refuse)
    for name, value in (("COORDINATOR_ADDRESS", "h:1"), ("NUM_PROCESSES", "2"), ("PROCESS_ID", "1")):
        monkeypatch.setenv(f"JAX_{name}", value)
    code, stderr = commands.run_command(tiny_flags(photos), tmp_path, TRAIN)
    assert code == 2
    assert re.fullmatch(r"train\.py: [^\n]*cannot be joined \(DEADLINE_EXCEEDED: nobody is there\);[^\n]*\n", stderr)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(AssertionError(), "AssertionError"), (RuntimeError("Unable to initialize\nmore"), "Unable to initialize")],
    ids=["without a message", "with one"],
)
@pytest.mark.parametrize("script", [commands.STYLIZE, TRAIN], ids=["stylize", "train"])
def test_a_device_that_jax_does_not_have_is_one_line(
    tmp_path: Path, photos: Path, script: Path, error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr("jax.devices", refuse)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    arguments = tiny_flags(photos) if script == TRAIN else [str(photos / "a.png"), "--model=builtin", "-o", "out.png"]
    code, stderr = commands.run_command(arguments, tmp_path, script)
    message = f"{script.name}: JAX_PLATFORMS is 'cuda', which JAX cannot use here ({reason}); unset it, or install"
    assert code == 2
    assert re.fullmatch(rf"{re.escape(message)}[^\n]*\n", stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output", ["x.mp4", "x"])
def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch):
    """Refused by hand: the tests may run as root, whom no permission stops."""
    (tmp_path / "frames").mkdir()

    def refusing(original: Callable[..., Any]) -> Callable[..., Any]:
        def listed(path: Any = ".") -> Any:
            if "frames" in str(path):
                raise PermissionError(13, "Permission denied", "frames")
            return original(path)

        return listed

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    code, stderr = commands.run_command(["frames", "--model=builtin", "-o", output], tmp_path)
    assert code == 2
    assert re.fullmatch(r"stylize\.py: [^\n]*frames[^\n]*Permission denied[^\n]*\n", stderr)


def test_a_folder_of_checkpoints_that_cannot_be_read_is_one_line(tmp_path: Path, photos: Path, monkeypatch):
    def refuse(*_arguments: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied", "run/checkpoints")

    monkeypatch.setattr("msst_jax.training.checkpoints.open_checkpoints", refuse)
    code, stderr = commands.run_command(tiny_flags(photos), tmp_path, TRAIN)
    assert code == 2
    assert stderr.splitlines()[-1].startswith("train.py: cannot use run/checkpoints: Permission denied; ")
    assert "Traceback" not in stderr
