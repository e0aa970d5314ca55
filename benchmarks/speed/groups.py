"""The groups of `python -m benchmarks`: what each measures, and its rows."""

from collections.abc import Callable

from benchmarks.harness.device import Rates, peak_memory
from benchmarks.harness.program import OURS, PAIRS, QUICK_PAIRS, Case, Disagreement, measure
from benchmarks.harness.results import Row, build_row
from benchmarks.speed import feedforward_photo as fast_photo
from benchmarks.speed import memory, optimize, time_to_loss, train_step, video
from benchmarks.speed import segmentation as segmentation_speed
from benchmarks.speed.memory import peak_of
from convert_weights.torch_compat import import_torchvision

import_torchvision()  # before other modules do, which expect one that fits torch

REFUSALS = (Disagreement, time_to_loss.NotReached)
CASES: dict[str, Callable[[bool], list[Case]]] = {
    module.GROUP: module.cases for module in (optimize, memory, segmentation_speed, train_step, fast_photo, video)
}


def rows_of(group: str, quick: bool, rates: Rates) -> list[Row]:
    """Measures one group.

    Raises:
      Disagreement: programs of a row do not compute the same.
      NotReached: see `time_to_loss.measure`.
      UserError: see `memory.peak_of`.
    """
    pairs = QUICK_PAIRS if quick else PAIRS
    if group == time_to_loss.GROUP:
        return [build_row(time_to_loss.case(quick), time_to_loss.measure(quick), {}, rates)]
    if group == memory.GROUP:
        large = memory.cases(quick)[-1]
        return [build_row(large, memory.seconds(quick, pairs), memory.per_megapixel(quick), rates)]
    rows = []
    for index, case in enumerate(CASES[group](quick)):
        peaks = {name: peak_of(group, index, name, quick) for name in case.programs}
        rows.append(build_row(case, measure(case, pairs), peaks, rates))
    return rows


def peak_alone(group: str, index: int, program: str, quick: bool) -> float | None:
    """Runs the first pieces of one program; the peak memory in GB of this process, None if it is not known."""
    CASES[group](quick)[index].programs[program]().advance()
    return peak_memory(program.startswith(OURS))
