"""Groups of `python -m benchmarks`: their cases, and the rows measured for each."""

from collections.abc import Callable

from convert_weights.torch_compat import import_torchvision

import_torchvision()  # before other modules import it, which need the patched one

from benchmarks.harness.device import Rates, peak_memory
from benchmarks.harness.program import OURS, PAIRS, QUICK_PAIRS, Case, Disagreement, measure
from benchmarks.harness.results import Row, build_row
from benchmarks.speed import feedforward_photo, guided, memory, optimize, segmentation, time_to_loss, train_step, video
from benchmarks.speed.memory import peak_in_subprocess

REFUSALS = (Disagreement, time_to_loss.TargetNotReached)
CASES: dict[str, Callable[[bool], list[Case]]] = {
    module.GROUP: module.cases
    for module in (optimize, guided, memory, segmentation, train_step, feedforward_photo, video)
}


def rows_of(group: str, quick: bool, rates: Rates) -> list[Row]:
    """Measures the cases of one group.

    Raises:
      Disagreement: the programs of a row compute different results.
      TargetNotReached: see `time_to_loss.measure`.
      UserError: see `memory.peak_in_subprocess`.
    """
    pairs = QUICK_PAIRS if quick else PAIRS
    if group == time_to_loss.GROUP:
        return [build_row(time_to_loss.case(quick), time_to_loss.measure(quick), {}, rates)]
    if group == memory.GROUP:
        largest = memory.cases(quick)[-1]
        return [build_row(largest, memory.seconds(quick, pairs), memory.per_megapixel(quick), rates)]
    rows = []
    for index, case in enumerate(CASES[group](quick)):
        peaks = {name: peak_in_subprocess(group, index, name, quick) for name in case.programs}
        rows.append(build_row(case, measure(case, pairs), peaks, rates))
    return rows


def peak_alone(group: str, index: int, program: str, quick: bool) -> float | None:
    """Calls one program once in this process; returns the peak memory in GB, None if unknown."""
    CASES[group](quick)[index].programs[program]().advance()
    return peak_memory(program.startswith(OURS))
