"""What is timed: programs that do the same work, one piece after the other, in turns."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

OURS = "msst_jax"


class Cost(NamedTuple):
    """Of one piece of work, as XLA counts it; the body of a loop counts once."""

    flops: float
    """Floating-point operations of the program as written."""
    bytes: float
    """Read and written by the program as compiled."""


class Program(NamedTuple):
    """A computation that can be carried on a piece at a time."""

    advance: Callable[[], Any]
    """Does the next pieces and waits for them. The first results must agree between the programs of a case."""
    compile_seconds: float = 0.0
    cost: Cost | None = None


class Case(NamedTuple):
    """One thing to measure."""

    group: str
    what: str
    size: str
    unit: str
    """What a second is of: "evaluation", "photo"."""
    programs: Mapping[str, Callable[[], Program]]
    """Name to what makes it ready; OURS first, then what it is compared with."""
    agreement: float | None = None
    """How much the first results may differ, of the largest value; None where they cannot be compared."""
    pieces: int = 1
    """That one call of `advance` does."""


class Timing(NamedTuple):
    """What one program of a case took."""

    seconds: list[float]
    """Of a piece, for each turn."""
    compile_seconds: float
    cost: Cost | None


class Disagreement(Exception):
    """The programs of a case do not compute the same."""


def measure(case: Case, pairs: int) -> dict[str, Timing]:
    """Times the programs of a case in turns, so that a busy machine slows all of them.

    Raises:
      Disagreement: their first results differ.
    """
    running = {name: start() for name, start in case.programs.items()}
    check_agreement(case, {name: program.advance() for name, program in running.items()})  # warms up too
    calls = {name: program.advance for name, program in running.items()}
    seconds = in_turns(calls, pairs, case.pieces, f"{case.what} {case.size}")
    return {name: Timing(seconds[name], program.compile_seconds, program.cost) for name, program in running.items()}


def check_agreement(case: Case, results: Mapping[str, Any]) -> None:
    """Raises Disagreement unless all results are those of the first program."""
    if case.agreement is None:
        return
    first = np.asarray(next(iter(results.values())))
    for name, result in results.items():
        error = np.abs(np.asarray(result) - first).max() / np.abs(first).max()
        if not error <= case.agreement:
            raise Disagreement(
                f"{case.what}, {case.size}: {name} does not compute the same, its first result differs by {error:.1e} "
                f"of the largest value, more than {case.agreement:.0e}; run the tests"
            )


def in_turns(
    calls: Mapping[str, Callable[[], Any]], pairs: int, pieces: int = 1, title: str | None = None
) -> dict[str, list[float]]:
    """Seconds of a piece, for every turn of every program."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in tqdm(range(pairs), unit="pair", desc=title, disable=None, leave=False):
        for name, call in calls.items():
            gc.collect()
            started = time.perf_counter()
            call()
            seconds[name].append((time.perf_counter() - started) / pieces)
    return seconds


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most of how many times longer they take, over the pairs."""
    ratios = [their / own for their, own in zip(theirs, ours, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def compiled(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], float, Cost]:
    """A compiled function, the seconds that compiling took, and its cost. `function` may be jitted already."""
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    started = time.perf_counter()
    lowered = jitted.lower(*arguments)
    ready = lowered.compile()
    seconds = time.perf_counter() - started
    return ready, seconds, cost_of(lowered, ready)


def cost_of(lowered: Any, ready: Any) -> Cost:
    """What XLA tells of a program before and after it was compiled; NaN for what it does not tell."""
    before, after = (stage.cost_analysis() or {} for stage in (lowered, ready))
    return Cost(float(before.get("flops", np.nan)), float(after.get("bytes accessed", np.nan)))


def torch_device() -> str:
    """Where PyTorch runs: on the GPU if JAX does."""
    import torch

    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
