"""The scripts from their first moment on: a signal while they import ends them with one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from msst_jax.runtime.hugepages import RESTARTED
from tests.helpers.commands import ROOT
from tests.helpers.pictures import noise, save

PROGRAM = """
import builtins, os, signal, sys
script, command, module, number = sys.argv[1:]
original = builtins.__import__
def interrupted(name, *arguments, **more):
    if name == module:
        os.kill(os.getpid(), getattr(signal, number))
    return original(name, *arguments, **more)
builtins.__import__ = interrupted
sys.argv = [script]
from msst_jax.cli import entry
getattr(entry, command)()
"""


@pytest.mark.parametrize(
    ("module", "number", "code"),
    [
        ("msst_jax.runtime.streams", "SIGINT", 130),
        ("msst_jax.runtime.hugepages", "SIGINT", 130),
        ("pathlib", "SIGHUP", 129),
        ("platform", "SIGTERM", 143),
        ("numpy", "SIGINT", 130),
        ("jax", "SIGTERM", 143),
        ("av", "SIGHUP", 129),
        ("msst_jax.cli.flags", "SIGINT", 130),
    ],
)
@pytest.mark.parametrize(("command", "script"), [("stylize", "stylize.py"), ("train", "/usr/bin/msst-train")])
def test_a_signal_while_modules_are_imported_is_one_line(tmp_path: Path, module, number, code, command, script):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), RESTARTED: "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, script, command, module, number],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == f"{Path(script).name}: interrupted; nothing was written\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", ["stylize.py", "-m stylize", "train.py", "-m train"])
@pytest.mark.slow
def test_a_closed_stderr_changes_nothing_but_what_is_printed(arguments: str):
    command = f"{sys.executable} {arguments} --config=nowhere 2>&-"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize("restarted", [{}, {RESTARTED: "1"}], ids=["with huge pages", "without"])
def test_a_picture_for_a_closed_stdout_is_refused_at_once(tmp_path: Path, restarted: dict[str, str]):
    save(tmp_path / "photo.png", noise(24, 32))
    command = f"{sys.executable} {ROOT / 'stylize.py'} photo.png --model=builtin -o - >&-"
    environment = {**os.environ, **restarted}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    message = "cannot write a picture to standard output: it is closed; give a file with -o, or -o - > FILE"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"stylize.py: {message}\n")


def test_help_into_a_reader_that_stops_is_no_error(tmp_path: Path):
    command = f"{sys.executable} {ROOT / 'stylize.py'} --help | head -n 0; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("module", ["msst_jax.cli.entry", "msst_jax.runtime.first_signals", "signal"])
@pytest.mark.parametrize("script", ["stylize.py", "train.py"])
def test_ctrl_c_before_signals_are_heeded_is_one_line_too(tmp_path: Path, script: str, module: str):
    """`signal` is imported by nothing before: the program only knows its C part."""
    program = PROGRAM.replace("import builtins, os, signal, sys", "import builtins, os, sys, _signal as signal")
    program = program.partition("from msst_jax.cli")[0] + "import runpy\nrunpy.run_path(script, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program, ROOT / script, "", module, "SIGINT"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{script}: interrupted; nothing was written\n")


@pytest.mark.parametrize("entry", ["msst_jax.cli.entry", "msst_jax.convert_weights.__main__"])
def test_nothing_slow_is_imported_before_signals_are_heeded(entry: str):
    """Without `site`, which imports more or less of it in one environment or the other."""
    program = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}]
before = set(sys.modules)
import {entry}
print(*sorted(module for module in set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    package = {".".join(entry.split(".")[:count]) for count in (1, 2, 3)}
    assert set(done.stdout.split()) == {*package, "msst_jax.runtime", "msst_jax.runtime.first_signals"}


@pytest.mark.parametrize("module", ["msst_jax.runtime.streams", "numpy"])
def test_a_signal_while_the_converter_is_imported_is_one_line(module: str):
    program = PROGRAM.replace("from msst_jax.cli import entry\ngetattr(entry, command)()", "import runpy\nrun()")
    program = program.replace("run()", 'runpy.run_module("convert_weights", run_name="__main__")')
    done = subprocess.run(
        [sys.executable, "-c", program, "convert", "", module, "SIGTERM"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (143, "convert_weights: interrupted; nothing was written\n")
