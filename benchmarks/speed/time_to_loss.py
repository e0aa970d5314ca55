"""Benchmark of the time until the loss is as low as the original program's after 300 evaluations.

msst_jax runs configs/seed_fast.py, which has the loss of configs/seed.py; the original runs in its own structure
(reference/original.py). The original's 300 evaluations are split into three parts, each followed by a run of msst_jax,
so that other load on the machine slows both. The time of msst_jax includes the targets and the evaluations at half the
size; compilation is reported separately.
"""

import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.harness.program import OURS, Case, Timing
from benchmarks.speed.optimize import ORIGINAL, example, torch_optimization
from msst_jax.configs import seed_fast
from msst_jax.transfer.build import build_options
from msst_jax.transfer.listener import Listener
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.optimization import stylize

GROUP = "time_to_loss"
PARTS = 3
FULL = (512, 300)  # side, the original's evaluations
QUICK = (64, 30)


class TargetNotReached(Exception):
    """msst_jax ended above the original's loss."""


class LossCurve(NamedTuple):
    """Loss over time in one run of msst_jax."""

    times: np.ndarray
    """Seconds from the start to the end of each evaluation, without compilation."""
    losses: np.ndarray
    """Loss at each evaluation; infinite at smaller scales, whose loss is not comparable."""
    compile_seconds: float


def case(quick: bool) -> Case:
    """The case to report; its programs are not called."""
    side, evaluations = QUICK if quick else FULL
    what = f"to the original's loss after {evaluations} evaluations, configs/seed_fast.py"
    return Case(GROUP, what, f"{side}x{side}", "picture", {})


def measure(quick: bool) -> dict[str, Timing]:
    """Times both programs; the original's seconds are extrapolated from each of its parts.

    Raises:
      TargetNotReached: msst_jax ends above the loss of the original, or the original stops early.
    """
    side, evaluations = QUICK if quick else FULL
    torch_optimization(side, "original", 1).step()  # warms up
    original = torch_optimization(side, "original", evaluations // PARTS)
    curves, seconds = [], []
    for _ in tqdm(range(PARTS), unit="part", desc=GROUP, disable=None, leave=False):
        started = time.perf_counter()
        original.step()
        seconds.append(PARTS * (time.perf_counter() - started))
        curves.append(run_ours(side))
    if len(original.losses) != evaluations:
        raise TargetNotReached(f"the original stops after {len(original.losses)} of {evaluations} evaluations")
    target = min(original.losses)
    return {
        OURS: Timing([seconds_to_loss(curve, target) for curve in curves], curves[0].compile_seconds, None),
        ORIGINAL: Timing(seconds, 0.0, None),
    }


def run_ours(side: int) -> LossCurve:
    """A complete run of msst_jax on the example."""
    config, inputs = example(side, seed_fast.get_config())
    options = build_options(config)
    vgg, _ = load_loss_network(options.network)
    times: list[float] = []
    started = time.perf_counter()

    def record_time(*_: object) -> None:
        times.append(time.perf_counter() - started)

    outcome = stylize(options, vgg, inputs, [options.weights()], listener=Listener(record_time))
    if outcome.interrupted:  # the first Ctrl-C only ends the loop
        raise KeyboardInterrupt
    losses = np.array(outcome.losses[0]["total"])
    losses[: -outcome.evaluations[-1]] = np.inf
    return LossCurve(np.array(times) - outcome.compile_seconds, losses, outcome.compile_seconds)


def seconds_to_loss(curve: LossCurve, target: float) -> float:
    """Seconds until the loss is at most `target`.

    Raises:
      TargetNotReached: it never is.
    """
    below = np.flatnonzero(curve.losses <= target)
    if not below.size:
        raise TargetNotReached(
            f"configs/seed_fast.py ends at a loss of {curve.losses.min():.6g}, above the original's {target:.6g}; "
            "give it more steps"
        )
    return float(curve.times[below[0]])
