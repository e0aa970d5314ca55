"""Settles what is claimed of a GPU, in the ten minutes that a borrowed one is at hand.

    python -m benchmarks.gpu -o DIR [--minutes 10] [--only PART...] [--quick]

From a plain checkout, without an installation of it: rates of the device, an evaluation of configs/seed.py at every
precision and in both forms of L-BFGS, the whole of it beside PyTorch's, parity, a training step, memory by size, video,
and starts without and with a cache. Parts have shares of the minutes; what is over in one is left to the next. Results
are written as they come, to DIR/results.jsonl and, as Markdown, to DIR/results.md; repeated, the command measures only
what is not there. --quick takes tiny inputs, to see on any machine that everything runs. The exit code is 1 if a step
failed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Part, Step, parts
from benchmarks.gpu.report import markdown
from benchmarks.harness.arguments import at_least
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, os_errors_as_user_errors, write_text
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line

PROGRAM = "benchmarks.gpu"
ROOT = Path(__file__).parents[2]
RESULTS, PAGE = "results.jsonl", "results.md"
LEAST = 20.0  # seconds: with less a step is not begun
GRACE = 5.0  # seconds between a request to end and the end
Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code: 0 done, 1 a step failed or was left out, 2 bad input, 130 interrupted."""
    configure_logging(quiet=True)
    try:
        flags = _parse(arguments)
        folder = flags.output.resolve()
        check_writable(folder / RESULTS)
        with os_errors_as_user_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        chosen = [part for part in parts(flags.quick, str(folder)) if not flags.only or part.name in flags.only]
        results = measure(chosen, folder, time.monotonic() + 60 * flags.minutes)
    except UserError as error:
        print_line(PROGRAM, error)
        return 2
    except KeyboardInterrupt:
        print_line(PROGRAM, "interrupted; what was measured so far is written")
        return 130
    print(markdown(results))
    return 0 if all(result["error"] is None for result in results) else 1


def measure(chosen: Sequence[Part], folder: Path, deadline: float) -> list[Result]:
    """Runs the steps that have no result yet; returns all results.

    Args:
      chosen: the parts, in their order.
      folder: of the results.
      deadline: on time.monotonic's clock.
    """
    results = _read(folder / RESULTS)
    done = {result["step"] for result in results if result["error"] is None}
    again = {step.name for part in chosen for step in part.steps} - done
    results = [result for result in results if result["step"] not in again]
    for index, part in enumerate(chosen):
        left = deadline - time.monotonic()
        end = time.monotonic() + left * part.share / sum(each.share for each in chosen[index:])
        for step in part.steps:
            if step.name in again:
                for path in step.emptied:
                    shutil.rmtree(path, ignore_errors=True)
                results.append({"part": part.name, "step": step.name, **_run(step, end - time.monotonic())})
                _write(results, folder)
    return results


def _run(step: Step, seconds: float) -> Result:
    """The outcome of a step: its last line if that is a JSON object, else all that it printed, and what failed."""
    if seconds < LEAST:
        return {"seconds": 0.0, "row": None, "text": "", "error": "not begun: the time of its part was over"}
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": _path(os.environ), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    process = subprocess.Popen(
        [sys.executable, *step.arguments],
        cwd=ROOT,
        env={**environment, **step.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    error = None
    try:
        printed, complaints = process.communicate(timeout=seconds)
        if process.returncode:
            error = (complaints.strip().splitlines() or ["no message"])[-1] + f" (exit code {process.returncode})"
    except subprocess.TimeoutExpired:
        printed, error = _end(process), f"ended after {seconds:.0f} s, the time of its part"
    except BaseException:
        _end(process)
        raise
    return {"seconds": time.monotonic() - started, **_parse_printed(printed), "error": error}


def _end(process: "subprocess.Popen[str]") -> str:
    """Ends a process with all that it started; returns what it has printed."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            return process.communicate(timeout=GRACE)[0] or ""
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break
    return ""


def _path(environment: Mapping[str, str]) -> str:
    return os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))


def _parse_printed(printed: str) -> Result:
    last = (printed.strip().splitlines() or [""])[-1]
    try:
        row = json.loads(last)
    except ValueError:
        row = None
    return {"row": row if isinstance(row, dict) else None, "text": "" if isinstance(row, dict) else printed.strip()}


def _read(path: Path) -> list[Result]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); remove it, or give another folder") from error


def _write(results: Sequence[Result], folder: Path) -> None:
    write_text(folder / RESULTS, "".join(f"{json.dumps(result)}\n" for result in results))
    write_text(folder / PAGE, markdown(results))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [part.name for part in parts(quick=True, folder="")]
    parser = ArgumentParser(
        f"python -m {PROGRAM}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=at_least(1), default=10)
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="tiny inputs, whose figures mean nothing")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
