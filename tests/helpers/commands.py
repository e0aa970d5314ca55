"""The commands in this process, and the scripts in processes of their own."""

import contextlib
import io
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from logging import getLogger
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
from absl import logging

from msst_jax.cli import stylize, train
from tests.helpers.logging_state import restored_logging

ROOT = Path(__file__).parents[2]
WAIT = 1500  # seconds, for what otherwise might wait forever
STYLIZE, TRAIN = ROOT / "stylize.py", ROOT / "train.py"
MAINS: Mapping[Path, Callable[[Sequence[str]], int]] = {STYLIZE: stylize.main, TRAIN: train.main}
_NUMBERS = count()


def run_command(arguments: Sequence[str], folder: Path, script: Path = STYLIZE) -> tuple[int, str]:
    """As `run_script`, without a process: (exit code, stderr)."""
    stderr = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stderr(stderr),
        _own_logging(stderr),
        _own_environment(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)  # ml_collections reads config files so
        return MAINS[script]([str(script), *arguments]), stderr.getvalue()


@contextlib.contextmanager
def _own_logging(stream: io.StringIO) -> Iterator[None]:
    """Messages of the command go to a stream; what it sets is taken back."""
    root, python_handler = getLogger(), logging.get_absl_handler().python_handler
    handlers, stderr = root.handlers[:], python_handler.stream
    python_handler.stream = stream
    try:
        with restored_logging():
            yield
    finally:
        python_handler.stream = stderr
        root.handlers[:] = handlers


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Script:
    """`python SCRIPT ARGUMENTS`: a process of its own, forked from one that has imported JAX already."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        script: Path = STYLIZE,
        *,
        settings: Mapping[str, Any] = MappingProxyType({}),
        environ: Mapping[str, str] = MappingProxyType({}),
        before: Callable[[], None] = print,
    ):
        """Starts it.

        Args:
          arguments: of the command line.
          folder: where it runs.
          script: which one.
          settings: of jax.config.
          environ: more of the environment.
          before: called in the new process first.
        """
        context = multiprocessing.get_context("forkserver")
        modules = ["pytest", "ml_collections.config_flags", "msst_jax.pipelines.photo", "msst_jax.pipelines.train"]
        context.set_forkserver_preload(modules)
        self.stderr = folder / f"stderr{next(_NUMBERS)}.txt"
        self.stderr.touch()  # a process that is killed at once never opens it
        arguments = (list(arguments), folder, script, self.stderr, dict(settings), dict(environ), before)
        self.process = context.Process(target=_script, args=arguments)
        self.process.start()

    def wait(self) -> tuple[int | None, str]:
        """(Exit code, stderr)."""
        self.process.join()
        text = self.stderr.read_text()
        self.stderr.unlink()
        return self.process.exitcode, text


def run_script(arguments: Sequence[str], folder: Path, script: Path = STYLIZE, **more: Any) -> tuple[int | None, str]:
    """Runs a `Script`: (exit code, stderr)."""
    return Script(arguments, folder, script, **more).wait()


def run_comparison(module: str, *arguments: str) -> list[dict[str, Any]]:
    """What `python -m tests.helpers.MODULE` prints, a JSON in each line.

    Of programs over several virtual devices, in their own process: one whose threads wait for each other never ends.
    """
    command = [sys.executable, "-m", f"tests.helpers.{module}", *arguments]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT, check=False)
    assert made.returncode == 0, made.stderr
    return [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]


def _script(
    arguments: list[str],
    folder: Path,
    script: Path,
    stderr: Path,
    settings: dict[str, Any],
    environ: dict[str, str],
    before: Callable[[], None],
) -> None:
    os.chdir(folder)
    os.environ.update(environ)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    for name, value in settings.items():
        jax.config.update(name, value)
    before()
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
