"""Numerical parity with PyTorch on the default device.

    python -m benchmarks.parity [--only GROUP...] [--quick] [--output benchmarks/results/parity-DEVICE.json]
    python -m benchmarks.parity --checkpoint FILE.pth [--quick] [--output FILE.json]

PyTorch runs on the CPU, JAX on its default device. Every row compares both on the same random inputs: its error is the
largest difference relative to the tensor's largest magnitude; of several tensors the worst is named. It is measured at
JAX's default precision of matrix products and convolutions, which on an accelerator rounds their factors, and at the
highest, the only one that the tests limit. Prints Markdown, with rows above the limit in bold; the exit code is then 1.
Needs the test installation. --checkpoint measures one thing only: a VGG or DeepLab-V3 of your own in torchvision's
architecture, converted, against PyTorch's with the tensors of that file; the worst layer is named.
"""

import argparse
import datetime
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.harness.device import device_name
from benchmarks.parity.rows import Comparison, Row, WorstError, measure_rows
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_json
from msst_jax.io.paths import user_path
from msst_jax.runtime.console import ArgumentParser, print_line

GROUPS = ("vgg", "deeplab", "losses", "whole_loss", "lbfgs", "fast")
CHECKPOINT = "checkpoint"

Results = Mapping[str, Any]
"""Content of the JSON file: "device", "platform", "jax", "torch", "torchvision", "date", "quick", and "rows", a list of
{"group", "what", "against", "shape", "default", "highest", "limit", "ok"}; the errors, "default" at JAX's default
precision and "highest", are {"error", "at": the tensor or ""}; the error is None if the two cannot be compared
(different shapes, NaN)."""


def measure(groups: Sequence[str], *, quick: bool) -> Results:
    """Measures all rows of the groups, in the order of GROUPS.

    Raises:
      UserError: torch or torchvision is not installed.
    """
    builders = {group: build for group, build in _groups().items() if group in groups}
    return _measure(builders, quick=quick)


def measure_checkpoint(path: Path, *, quick: bool) -> Results:
    """Measures the network in a checkpoint of torch.

    Raises:
      UserError: as `measure`, or the file holds none of the networks of `convert_weights`.
    """
    from convert_weights.torch_compat import import_torchvision

    import_torchvision()
    from benchmarks.parity import networks

    return _measure({CHECKPOINT: partial(networks.checkpoint, path)}, quick=quick)


def _measure(builders: Mapping[str, Callable[..., list[Comparison]]], *, quick: bool) -> Results:
    comparisons = [(group, comparison) for group, build in builders.items() for comparison in build(quick=quick)]
    rows: list[Row] = []
    for group, comparison in (bar := tqdm(comparisons, unit="comparison", disable=None)):
        bar.set_description(group)
        rows += measure_rows(group, comparison)
    return {**environment(), "quick": quick, "rows": [row_to_json(row) for row in rows]}


def _groups() -> dict[str, Callable[..., list[Comparison]]]:
    """{group: function that lists its comparisons}; imported here so that --help works without torch."""
    from convert_weights.torch_compat import import_torchvision

    import_torchvision()  # before the modules of reference/ import it, which need the patched one
    from benchmarks.parity import losses, networks, steps

    builders = (
        networks.vgg,
        networks.deeplab,
        losses.losses,
        losses.whole_loss,
        steps.lbfgs,
        steps.feedforward,
    )
    return dict(zip(GROUPS, builders, strict=True))


def environment() -> dict[str, str]:
    """Device, library versions and date."""
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


def row_to_json(row: Row) -> dict[str, Any]:
    """A row as JSON-serializable values."""
    return {
        **row._asdict(),
        "default": _error_to_json(row.default),
        "highest": _error_to_json(row.highest),
        "ok": row.ok,
    }


def _error_to_json(worst: WorstError) -> dict[str, Any]:
    return {"error": worst.error if math.isfinite(worst.error) else None, "at": worst.at}


def table(results: Results) -> str:
    """Markdown table of the rows, and a line with device, versions and date."""
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


def _error(worst: Mapping[str, Any]) -> str:
    return f"{_number(worst['error'])} ({worst['at']})" if worst["at"] else _number(worst["error"])


def _number(value: float | None) -> str:
    """Two significant digits, such as 2.5e-6 or 2e-5."""
    if not value:
        return "0" if value is not None else "not comparable"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 all within limits, 1 not, 2 bad input, 130 interrupted."""
    try:
        flags = _parse(arguments)
        if flags.output:
            check_writable(flags.output, "parity.json")
        if flags.checkpoint:
            results = measure_checkpoint(user_path(flags.checkpoint, "--checkpoint"), quick=flags.quick)
        else:
            results = measure(flags.only, quick=flags.quick)
        print(table(results))
        if flags.output:
            write_json(results, flags.output)
    except UserError as error:
        print_line("benchmarks.parity", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks.parity", "interrupted; run again for a complete table")
        return 130
    failed = [row["what"] for row in results["rows"] if not row["ok"]]
    if failed:
        print_line("benchmarks.parity", f"{len(failed)} above the limit at the highest precision: {'; '.join(failed)}")
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP", help=", ".join(GROUPS))
    what.add_argument("--checkpoint", metavar="FILE", help="a .pth file with a network of convert_weights")
    parser.add_argument("--quick", action="store_true", help="smaller images, fewer networks")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write the rows to this file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
