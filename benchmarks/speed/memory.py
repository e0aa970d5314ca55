"""Benchmark of peak memory per megapixel of the optimization, each program in a fresh process.

A process of its own, since the peak of a process never decreases. Per megapixel: the peak at the larger of two sizes
minus that at the smaller, so that the constant overhead of a process cancels. Three evaluations are run; the L-BFGS
history, 24 bytes times `config.history` per pixel and optimized image, comes on top.
"""

import json
import sys
from functools import partial

import jax

from benchmarks.harness.child import run_child
from benchmarks.harness.program import OURS, Case, Timing, measure
from benchmarks.speed.optimize import EVALUATIONS, TOLERANCE, references, start_ours

GROUP = "memory"
REMAT = "msst_jax, config.remat"
SIDES, QUICK_SIDES = (512, 1024), (64, 128)
MEGAPIXEL = 1e6


def cases(quick: bool) -> list[Case]:
    """The same programs at two sizes."""
    return [_case(side) for side in (QUICK_SIDES if quick else SIDES)]


def _case(side: int) -> Case:
    return Case(
        group=GROUP,
        what="configs/seed.py; memory: GB per megapixel",
        size=f"{side}x{side}",
        unit="evaluation",
        programs={
            OURS: partial(start_ours, side, EVALUATIONS),
            REMAT: partial(start_ours, side, EVALUATIONS, remat=True),
            **references(side),
        },
        units_per_call=EVALUATIONS,
        tolerance=TOLERANCE,
    )


def per_megapixel(quick: bool) -> dict[str, float | None]:
    """GB per megapixel of each program; None if unknown."""
    sides = QUICK_SIDES if quick else SIDES
    peaks = {
        name: [peak_in_subprocess(GROUP, index, name, quick) for index in range(len(sides))]
        for name in cases(quick)[0].programs
    }
    megapixels = (sides[1] ** 2 - sides[0] ** 2) / MEGAPIXEL
    return {
        name: (large - small) / megapixels if small is not None and large is not None else None
        for name, (small, large) in peaks.items()
    }


def seconds(quick: bool, pairs: int) -> dict[str, Timing]:
    """Timings of msst_jax at the larger size, with and without config.remat; the group "optimize" has PyTorch's."""
    case = cases(quick)[-1]
    return measure(case._replace(programs={name: case.programs[name] for name in (OURS, REMAT)}), pairs)


def peak_in_subprocess(group: str, index: int, program: str, quick: bool) -> float | None:
    """Peak GB of a fresh process that calls one program of `python -m benchmarks` once; None if unknown.

    Raises:
      UserError: the process failed; contains the last line of its stderr.
    """
    if jax.default_backend() == "tpu":  # held by this process, and not available to another
        return None
    command = [sys.executable, "-m", "benchmarks", "--alone", group, str(index), program]
    command += ["--quick"] if quick else []
    printed = run_child(command, f"the peak memory of {group} {index}, {program}, cannot be measured")
    peak = json.loads(printed.splitlines()[-1])
    return None if peak is None else float(peak)
