"""Peak memory: of a process of its own for each program, since a process never gets below its peak again.

Memory of on-line optimisation is told per megapixel: the peak at the larger of two sizes less that at the smaller, so
that what a process needs anyway does not count. Three evaluations are made; the history of L-BFGS, 24 bytes times
`config.history` for each pixel and region, comes on top.
"""

import json
import subprocess
import sys
from functools import partial

import jax

from benchmarks.harness.program import OURS, Case, Timing, measure
from benchmarks.speed.optimize import AGREEMENT, PIECES, references, start_ours
from msst_jax.errors import UserError

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
            OURS: partial(start_ours, side, PIECES),
            REMAT: partial(start_ours, side, PIECES, remat=True),
            **references(side),
        },
        pieces=PIECES,
        agreement=AGREEMENT,
    )


def per_megapixel(quick: bool) -> dict[str, float | None]:
    """GB of each program; None where it is not known."""
    sides = QUICK_SIDES if quick else SIDES
    peaks = {
        name: [peak_of(GROUP, index, name, quick) for index in range(len(sides))] for name in cases(quick)[0].programs
    }
    more = (sides[1] ** 2 - sides[0] ** 2) / MEGAPIXEL
    return {
        name: (large - small) / more if small is not None and large is not None else None
        for name, (small, large) in peaks.items()
    }


def seconds(quick: bool, pairs: int) -> dict[str, Timing]:
    """Of ours at the larger size, with and without config.remat; PyTorch's are among those of benchmarks.optimize."""
    case = cases(quick)[-1]
    return measure(case._replace(programs={name: case.programs[name] for name in (OURS, REMAT)}), pairs)


def peak_of(group: str, index: int, program: str, quick: bool) -> float | None:
    """GB that a fresh process needs for the first pieces of one program of `python -m benchmarks`; None if unknown.

    Raises:
      UserError: the process failed; with the last line that it wrote.
    """
    if jax.default_backend() == "tpu":  # this process holds it, and no other can
        return None
    command = [sys.executable, "-m", "benchmarks", "--alone", group, str(index), program]
    command += ["--quick"] if quick else []
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it was killed, perhaps for want of memory"]
        raise UserError(f"the peak memory of {group} {index}, {program}, cannot be measured: {said[-1]}")
    peak = json.loads(done.stdout.splitlines()[-1])
    return None if peak is None else float(peak)
