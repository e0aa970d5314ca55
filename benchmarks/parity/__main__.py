"""How near this project is to PyTorch in numbers, on the device at hand.

    python -m benchmarks.parity [--only GROUP...] [--quick] [--output benchmarks/results/parity-DEVICE.json]

PyTorch computes on the CPU, JAX on its own default device. Every row is a comparison on the same random numbers: its
error is the largest difference in parts of the tensor's largest magnitude, and of several tensors the worst is named.
It is measured at JAX's default precision of matrix products and convolutions, which on an accelerator rounds their
factors, and at the highest, for which alone the tests set a limit. Prints Markdown, rows above the limit in bold; then
the exit code is 1. It needs the test installation.
"""

import argparse
import datetime
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.harness.device import device_name
from benchmarks.parity.rows import Comparison, Found, Row, rows_of
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_json
from msst_jax.runtime.console import ArgumentParser, print_line

GROUPS = ("vgg", "deeplab", "losses", "whole_loss", "lbfgs", "fast")

Results = Mapping[str, Any]
"""What the JSON file holds: "device", "platform", "jax", "torch", "torchvision", "date", "quick", and "rows", a list of
{"group", "what", "against", "shape", "default", "highest", "limit", "ok"}; the errors, "default" at JAX's default
precision and "highest", are {"error", "at": the tensor or ""}, the error None where the two cannot be compared (other
shapes, values that are not numbers)."""


def measure(groups: Sequence[str], *, quick: bool) -> Results:
    """All rows of the groups, in the order of GROUPS.

    Raises:
      UserError: torch or torchvision is not installed.
    """
    comparisons = [
        (group, comparison) for group, make in _groups().items() if group in groups for comparison in make(quick=quick)
    ]
    rows: list[Row] = []
    for group, comparison in (bar := tqdm(comparisons, unit="comparison", disable=None)):
        bar.set_description(group)
        rows += rows_of(group, comparison)
    return {**circumstances(), "quick": quick, "rows": [plain(row) for row in rows]}


def _groups() -> dict[str, Callable[..., list[Comparison]]]:
    """{group: what lists its comparisons}; imported here, so that --help works without torch."""
    from convert_weights.torch_compat import import_torchvision

    import_torchvision()  # before the reference's modules do, which expect one that fits torch
    from benchmarks.parity import losses, networks, steps

    made = (
        networks.vgg,
        networks.deeplab,
        losses.losses,
        losses.whole_loss,
        steps.lbfgs,
        steps.fast,
    )
    return dict(zip(GROUPS, made, strict=True))


def circumstances() -> dict[str, str]:
    """Device, versions and date."""
    import jax
    import torch
    import torchvision

    return {
        "device": device_name(),
        "platform": jax.default_backend(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "date": datetime.date.today().isoformat(),
    }


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON can hold it."""
    return {**row._asdict(), "default": _plain(row.default), "highest": _plain(row.highest), "ok": row.ok}


def _plain(found: Found) -> dict[str, Any]:
    return {"error": found.error if math.isfinite(found.error) else None, "at": found.at}


def table(results: Results) -> str:
    """Markdown: the rows, and a line that tells the device, the versions and the date."""
    lines = [
        "| what | compared with | shape | error, default precision | error, highest precision | the tests allow |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        cells = [row["what"], row["against"], row["shape"], _error(row["default"]), _error(row["highest"])]
        cells.append(_number(row["limit"]))
        lines.append(f"| {' | '.join(cells if row['ok'] else [f'**{cell}**' for cell in cells])} |")
    versions = ", ".join(f"{name} {results[name]}" for name in ("jax", "torch", "torchvision"))
    return "\n".join([*lines, "", f"{results['device']} ({results['platform']}), {versions}, {results['date']}"])


def _error(found: Mapping[str, Any]) -> str:
    return f"{_number(found['error'])} ({found['at']})" if found["at"] else _number(found["error"])


def _number(value: float | None) -> str:
    """As 2.5e-6, or 2e-5."""
    if not value:
        return "0" if value is not None else "not comparable"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 all within the limits, 1 not, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
        if flags.output:
            check_writable(flags.output, "parity.json")
        results = measure(flags.only, quick=flags.quick)
        print(table(results))
        if flags.output:
            write_json(results, flags.output)
    except UserError as error:
        print_line("benchmarks.parity", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks.parity", "interrupted; run again for a whole table")
        return 130
    wrong = [row["what"] for row in results["rows"] if not row["ok"]]
    if wrong:
        print_line("benchmarks.parity", f"{len(wrong)} above the limit at the highest precision: {'; '.join(wrong)}")
    return 1 if wrong else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="smaller pictures, and fewer networks")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the rows here too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
