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
PAIRS, QUICK_PAIRS = 5, 1
ROUNDED = 0.05  # how much first results may differ on an accelerator, which rounds the factors of products by default


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
    compile_seconds: float | None = None
    """None where it compiles on the first call: that is then what the first call takes longer."""
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
    """How much the first results may differ on CPU, of the largest value; None where they cannot be compared."""
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
    calls = {name: program.advance for name, program in running.items()}
    first = {name: _timed(call) for name, call in calls.items()}  # warms up too
    check_agreement(case, {name: result for name, (result, _) in first.items()})
    seconds = in_turns(calls, pairs, case.pieces, f"{case.what} {case.size}")
    timings = {}
    for name, program in running.items():
        compiling = program.compile_seconds
        if compiling is None:
            compiling = max(0.0, first[name][1] - case.pieces * statistics.median(seconds[name]))
        timings[name] = Timing(seconds[name], compiling, program.cost)
    return timings


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    gc.collect()
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def check_agreement(case: Case, results: Mapping[str, Any]) -> None:
    """Raises Disagreement unless all results are those of the first program."""
    if case.agreement is None:
        return
    limit = case.agreement if jax.default_backend() == "cpu" else ROUNDED
    first = np.asarray(next(iter(results.values())))
    for name, result in results.items():
        error = np.abs(np.asarray(result) - first).max() / np.abs(first).max()
        if not error <= limit:
            raise Disagreement(
                f"{case.what}, {case.size}: {name} does not compute the same, its first result differs by {error:.1e} "
                f"of the largest value, more than {limit:.0e}; run the tests"
            )


def in_turns(
    calls: Mapping[str, Callable[[], Any]], pairs: int, pieces: int = 1, title: str | None = None
) -> dict[str, list[float]]:
    """Seconds of a piece, for every turn of every program; who was first is last in the next pair."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in tqdm(range(pairs), unit="pair", desc=title, disable=None, leave=False):
        for name in order:
            seconds[name].append(_timed(calls[name])[1] / pieces)
        order.reverse()
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
