"""How long until the loss is as low as the original program's after 300 evaluations.

Ours is configs/seed_fast.py, which has the loss of configs/seed.py; the original's structure is that of
tests/torch_reference.py. The original's 300 evaluations are made in three parts and a run of ours follows each, so that
a busy machine slows both. Ours includes targets and all that is made at half the size; compilation is told apart.
"""

import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.harness.program import OURS, Case, Timing
from benchmarks.speed.optimize import ORIGINAL, example, torch_optimization
from configs import seed_fast
from msst_jax.transfer import build, optimization

GROUP = "time_to_loss"
PARTS = 3
FULL = (512, 300)  # side, the original's evaluations
QUICK = (64, 30)


class NotReached(Exception):
    """Ours ended above the original's loss."""


class Descent(NamedTuple):
    """One run of ours."""

    timings: np.ndarray
    """Seconds from the start to the end of each evaluation, compilation left out."""
    losses: np.ndarray
    """At each of them; infinite for smaller pictures, whose loss is another."""
    compile_seconds: float


def case(quick: bool) -> Case:
    """What is measured; its programs are not called."""
    side, evaluations = QUICK if quick else FULL
    what = f"to the original's loss after {evaluations} evaluations, configs/seed_fast.py"
    return Case(GROUP, what, f"{side}x{side}", "picture", {})


def measure(quick: bool) -> dict[str, Timing]:
    """Times both programs; the original's seconds are of its parts, as if all of its evaluations took as long.

    Raises:
      NotReached: ours ends above the loss of the original, or the original stops early.
    """
    side, evaluations = QUICK if quick else FULL
    torch_optimization(side, "original", 1).step()  # warms up
    original = torch_optimization(side, "original", evaluations // PARTS)
    descents, seconds = [], []
    for _ in tqdm(range(PARTS), unit="part", desc=GROUP, disable=None, leave=False):
        started = time.perf_counter()
        original.step()
        seconds.append(PARTS * (time.perf_counter() - started))
        descents.append(descend(side))
    if len(original.losses) != evaluations:
        raise NotReached(f"the original stops after {len(original.losses)} of {evaluations} evaluations")
    target = min(original.losses)
    return {
        OURS: Timing([reached(descent, target) for descent in descents], descents[0].compile_seconds, None),
        ORIGINAL: Timing(seconds, 0.0, None),
    }


def descend(side: int) -> Descent:
    """A whole run of ours on the example."""
    config, inputs = example(side, seed_fast.get_config())
    vgg, _ = build.load_loss_network(config)
    moments: list[float] = []
    started = time.perf_counter()

    def note(*_: object) -> None:
        moments.append(time.perf_counter() - started)

    outcome = optimization.stylize(
        config, vgg, inputs, [build.build_weights(config, config.blend_ratio)], progress=note
    )
    if outcome.interrupted:  # the first Ctrl-C only ends the loop
        raise KeyboardInterrupt
    losses = np.array(outcome.losses[0]["total"])
    losses[: -outcome.evaluations[-1]] = np.inf
    return Descent(np.array(moments) - outcome.compile_seconds, losses, outcome.compile_seconds)


def reached(descent: Descent, target: float) -> float:
    """Seconds until the loss was at most `target`.

    Raises:
      NotReached: it never was.
    """
    below = np.flatnonzero(descent.losses <= target)
    if not below.size:
        raise NotReached(
            f"configs/seed_fast.py ends at a loss of {descent.losses.min():.6g}, above the original's {target:.6g}; "
            "give it more steps"
        )
    return float(descent.timings[below[0]])
