"""Peak memory: of a process of its own for each program, since a process never gets below its peak again.

Memory of on-line optimisation is told per megapixel: the peak at the larger of two sizes less that at the smaller, so
that what a process needs anyway does not count. The history of L-BFGS comes on top: 24 bytes times `config.history` for
each pixel and region.
"""

import json
import subprocess
import sys
from functools import partial

from benchmarks.device import peak_memory
from benchmarks.optimize import AGREEMENT, LEAN, ORIGINAL, PIECES, start_ours, start_torch
from benchmarks.program import OURS, Case, Timing, measure

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
        what="configs/seed.py; memory in GB per megapixel",
        size=f"{side}x{side}",
        unit="evaluation",
        programs={
            OURS: partial(start_ours, side),
            REMAT: partial(start_ours, side, remat=True),
            ORIGINAL: partial(start_torch, side, "original"),
            LEAN: partial(start_torch, side, "lean"),
        },
        pieces=PIECES,
        agreement=AGREEMENT,
    )


def per_megapixel(quick: bool) -> dict[str, float]:
    """GB of each program."""
    sides = QUICK_SIDES if quick else SIDES
    peaks = {
        name: [peak_of(GROUP, index, name, quick) for index in range(len(sides))] for name in cases(quick)[0].programs
    }
    more = (sides[1] ** 2 - sides[0] ** 2) / MEGAPIXEL
    return {name: (large - small) / more for name, (small, large) in peaks.items()}


def seconds(quick: bool, pairs: int) -> dict[str, Timing]:
    """Of ours at the larger size, with and without config.remat; PyTorch's are among those of benchmarks.optimize."""
    case = cases(quick)[-1]
    return measure(case._replace(programs={name: case.programs[name] for name in (OURS, REMAT)}), pairs)


def peak_of(group: str, index: int, program: str, quick: bool) -> float:
    """GB that a fresh process needs for the first pieces of one program of `python -m benchmarks`."""
    command = [sys.executable, "-m", "benchmarks", "--alone", group, str(index), program]
    done = subprocess.run([*command, *(["--quick"] if quick else [])], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def run_alone(case: Case, program: str) -> None:
    """What the process of `peak_of` does."""
    case.programs[program]().advance()
    print(json.dumps(peak_memory(program.startswith(OURS))))
