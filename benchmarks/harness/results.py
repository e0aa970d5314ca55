"""Benchmark results of a device: rows, JSON, Markdown tables, and their place in the pages of docs/."""

import datetime
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.harness.device import GIGA, Rates
from benchmarks.harness.program import OURS, Case, Cost, Timing, ratio
from benchmarks.harness.torch_side import described_device
from msst_jax.errors import UserError
from msst_jax.io.files import write_json, write_text
from msst_jax.runtime.cores import available_cores

FOLDER = Path(__file__).parents[1] / "results"
GROUPS = ("optimize", "guided", "time_to_loss", "memory", "segmentation", "train_step", "fast_photo", "video")
LIBRARIES = ("jax", "jaxlib", "torch", "torchvision")
COLUMNS = (
    "what",
    "size",
    "msst_jax, s",
    "reference",
    "reference, s",
    "times ours: median (range)",
    "peak memory, GB: ours / reference",
    "compiling, s",
    "share of product rate",
    "share of copy rate",
)

Row = dict[str, Any]


def build_row(case: Case, timings: Mapping[str, Timing], memory: Mapping[str, float | None], rates: Rates) -> Row:
    """The row of a case as JSON holds it; figures that are not available are None.

    Args:
      case: the case that was measured.
      timings: of every program.
      memory: peak GB of every program whose memory was measured.
      rates: of the device.
    """
    ours = timings[OURS]
    median = statistics.median(ours.seconds)
    others = [name for name in {**timings, **memory} if name != OURS]
    cost = ours.cost or Cost(math.nan, math.nan)
    return {
        "group": case.group,
        "what": case.what,
        "size": case.size,
        "unit": case.unit,
        "seconds": median,
        "memory_gb": memory.get(OURS),
        "compile_seconds": ours.compile_seconds,
        "gigaflop": _finite(cost.flops / GIGA),
        "gigabytes": _finite(cost.bytes / GIGA),
        "share_of_product_rate": _finite(cost.flops / median / rates.flops),
        "share_of_copy_rate": _finite(cost.bytes / median / rates.bytes),
        "pairs": len(ours.seconds),
        "references": [_reference(name, ours, timings.get(name), memory.get(name)) for name in others],
    }


def _reference(name: str, ours: Timing, timing: Timing | None, memory: float | None) -> Row:
    return {
        "name": name,
        "seconds": statistics.median(timing.seconds) if timing else None,
        "ratio": ratio(timing.seconds, ours.seconds) if timing else None,
        "memory_gb": memory,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def circumstances() -> Row:
    """What holds for all rows of a run; to be called before its work, which an error here would waste.

    Raises:
      UserError: see `torch_device`.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "versions": {library: version(library) for library in LIBRARIES},
        "torch_on": described_device(),
        "cores": available_cores(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def update(
    path: Path, device: str, rates: Rates, measured: Mapping[str, Sequence[Row]], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Replaces the rows of some groups in a device's file; returns the whole content of the file.

    Args:
      path: the JSON file; the Markdown file goes beside it.
      device: name of the device.
      rates: of the device, measured in the same run.
      measured: the rows of each group.
      run: its `circumstances`.
    """
    results: dict[str, Any] = {"device": device, "groups": {}}
    if path.exists():
        results = read(path)
    part = {
        **run,
        "product_gigaflop_a_second": rates.flops / GIGA,
        "copy_gigabytes_a_second": rates.bytes / GIGA,
    }
    results["groups"] |= {group: {**part, "rows": list(rows)} for group, rows in measured.items()}
    write_json(results, path)
    write_text(path.with_suffix(".md"), markdown(results))
    return results


def read(path: Path) -> dict[str, Any]:
    """The content of a results file.

    Raises:
      UserError: the file is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and measure again") from error


def markdown(results: Mapping[str, Any]) -> str:
    """A device's table, followed by the dates, versions and rates of its groups."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for _, part in in_order(results["groups"]):
        for row in part["rows"]:
            lines += _lines(row)
    return "\n".join([*lines, "", *_notes(results)]) + "\n"


def in_order(groups: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Groups in the order of GROUPS, whichever was measured first."""
    return sorted(groups.items(), key=lambda item: GROUPS.index(item[0]))


def _lines(row: Row) -> Iterable[str]:
    """One line for each reference of a row, or a single line if it has none."""
    references = row["references"] or [None]
    for index, reference in enumerate(references):
        own = [f"{row['what']}, per {row['unit']}", row["size"], seconds(row["seconds"])] if index == 0 else [""] * 3
        theirs = ["-"] * 3
        memory = gigabytes(row["memory_gb"])
        if reference:
            theirs = [reference["name"], seconds(reference["seconds"]), times(reference["ratio"])]
            memory = f"{memory} / {gigabytes(reference['memory_gb'])}"
        rest = [
            seconds(row["compile_seconds"]),
            *map(_share, (row["share_of_product_rate"], row["share_of_copy_rate"])),
        ]
        yield _line([*own, *theirs, memory, *(rest if index == 0 else [""] * 3)])


def _notes(results: Mapping[str, Any]) -> Iterable[str]:
    groups: dict[str, list[str]] = {}
    for name, part in in_order(results["groups"]):
        versions = ", ".join(f"{library} {number}" for library, number in part["versions"].items())
        circumstances = (
            f"{part['date']}; {versions}; PyTorch on {part['torch_on']}; float32 matrix products reach "
            f"{part['product_gigaflop_a_second']:.0f} GFLOP/s, copies {part['copy_gigabytes_a_second']:.0f} GB/s"
        )
        groups.setdefault(circumstances, []).append(name)
    for circumstances, names in groups.items():
        yield f"*{results['device']}: {', '.join(names)}: {circumstances}.*"


def seconds(value: float | None) -> str:
    """Three significant digits, for a table; "-" for None."""
    if not value:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.1e}"


def gigabytes(value: float | None) -> str:
    """Two decimals, for a table; "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def times(values: Sequence[float] | None) -> str:
    """Median and range of a ratio, for a table; "-" for None."""
    if values is None:
        return "-"
    median, least, most = values
    return f"{median:.2f} ({least:.2f} to {most:.2f})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page_with(page: Path, name: str, tables: str) -> str:
    """The text of a page with `tables` between the lines that mark the place of the tables `name`.

    Raises:
      UserError: the page is missing or has no such lines.
    """
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->\n"
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{page} cannot be read ({error}); restore it") from error
    head, opened, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (opened and closed):
        raise UserError(f"{page} has no lines {begin.strip()} and {end.strip()}; put them where the table goes")
    return f"{head}{begin}\n{tables}\n{end}{tail}"
