"""Interleaved timing of programs that do the same work, with a check that their results agree."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from msst_jax.runtime.flops import count_flops

OURS = "msst_jax"
PAIRS, QUICK_PAIRS = 5, 1
ACCELERATOR_TOLERANCE = 0.05  # accelerators round the factors of matrix products by default


class Cost(NamedTuple):
    """Cost of one unit of work according to XLA; the body of a loop counts once."""

    flops: float
    """Floating-point operations of the program as written."""
    bytes: float
    """Bytes read and written by the program as compiled."""


class Program(NamedTuple):
    """A prepared computation that can be advanced step by step."""

    advance: Callable[[], Any]
    """Does the next `Case.units_per_call` units of work and waits for them; the first results of a case must agree."""
    compile_seconds: float | None = None
    """None if the first call compiles; its extra time is then the compile time."""
    cost: Cost | None = None


class Case(NamedTuple):
    """One row to measure: programs that do the same work."""

    group: str
    what: str
    size: str
    unit: str
    """Unit of work that seconds refer to: "evaluation", "photo"."""
    programs: Mapping[str, Callable[[], Program]]
    """{name: function that prepares the program}; OURS first, then the references."""
    tolerance: float | None = None
    """Allowed difference of the first results on CPU, relative to the largest value; None if not comparable."""
    units_per_call: int = 1
    """Units of work in one call of `advance`."""


class Timing(NamedTuple):
    """Timing of one program of a case."""

    seconds: list[float]
    """Per unit of work, one entry for each pair."""
    compile_seconds: float
    cost: Cost | None


class Disagreement(Exception):
    """The programs of a case compute different results."""


def measure(case: Case, pairs: int) -> dict[str, Timing]:
    """Times the programs of a case alternately, so that other load on the machine slows all of them.

    Raises:
      Disagreement: their first results differ.
    """
    programs = {name: start() for name, start in case.programs.items()}
    calls = {name: program.advance for name, program in programs.items()}
    first = {name: _timed(call) for name, call in calls.items()}  # also the warm-up
    check_agreement(case, {name: result for name, (result, _) in first.items()})
    seconds = time_alternately(calls, pairs, case.units_per_call, f"{case.what} {case.size}")
    timings = {}
    for name, program in programs.items():
        compile_seconds = program.compile_seconds
        if compile_seconds is None:
            compile_seconds = max(0.0, first[name][1] - case.units_per_call * statistics.median(seconds[name]))
        timings[name] = Timing(seconds[name], compile_seconds, program.cost)
    return timings


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    gc.collect()
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def check_agreement(case: Case, results: Mapping[str, Any]) -> None:
    """Raises Disagreement unless all results agree with those of the first program within the tolerance."""
    if case.tolerance is None:
        return
    limit = case.tolerance if jax.default_backend() == "cpu" else ACCELERATOR_TOLERANCE
    arrays = {name: _on_host(result) for name, result in results.items()}
    first = next(iter(arrays.values()))
    for name, array in arrays.items():
        error = np.abs(array - first).max() / np.abs(first).max()
        if not error <= limit:
            raise Disagreement(
                f"{case.what}, {case.size}: the first result of {name} differs by {error:.1e} of the largest value, "
                f"more than {limit:.0e}; run the tests"
            )


def _on_host(result: Any) -> np.ndarray:
    """A result of either side, which may lie on a GPU: the way to the host is not timed."""
    return np.asarray(result.cpu() if hasattr(result, "cpu") else result)


def time_alternately(
    calls: Mapping[str, Callable[[], Any]], pairs: int, units_per_call: int = 1, title: str | None = None
) -> dict[str, list[float]]:
    """{program: seconds per unit of work, for every pair}; the order is reversed after each pair."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in tqdm(range(pairs), unit="pair", desc=title, disable=None, leave=False):
        for name in order:
            seconds[name].append(_timed(calls[name])[1] / units_per_call)
        order.reverse()
    return seconds


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum over the pairs of their time in multiples of ours."""
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def compile_with_cost(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], float, Cost]:
    """Compiles a function, jitted or not; returns it with the compile time in seconds and its cost."""
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    started = time.perf_counter()
    lowered = jitted.lower(*arguments)
    compiled = lowered.compile()
    seconds = time.perf_counter() - started
    return compiled, seconds, cost_of(lowered, compiled, jitted, *arguments)


def cost_of(lowered: Any, compiled: Any, function: Callable[..., Any], *arguments: Any) -> Cost:
    """FLOPs of a function as written, and bytes of its compiled program, by XLA's cost analysis.

    Where the compiler counts no FLOPs, as those of GPU do not, they are `count_flops`; unknown bytes are NaN.
    """
    written, optimized = (stage.cost_analysis() or {} for stage in (lowered, compiled))
    flops = written.get("flops") or count_flops(jax.make_jaxpr(function)(*arguments).jaxpr)
    return Cost(float(flops), float(optimized.get("bytes accessed", np.nan)))
