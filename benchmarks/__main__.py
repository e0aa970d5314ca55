"""Benchmarks of speed and peak memory against PyTorch.

    python -m benchmarks [--only GROUP ...] [--quick] [--output DIR]
    python -m benchmarks --docs

The programs of a row alternate on the same inputs; ratios are medians over pairs. The results of a device go to
DIR/DEVICE.json and, as Markdown, to DIR/DEVICE.md (benchmarks/results by default); groups that are not measured keep
their earlier results. --quick takes small inputs, to check that everything runs: its figures mean nothing, and go to
DIR/DEVICE-quick.json. --docs puts the tables of benchmarks/results into docs/benchmarks.md and docs/parity.md. A full
run takes more than an hour on two cores; the references need the test installation.
"""

from msst_jax.runtime.hugepages import use_hugepages

if __name__ == "__main__":
    use_hugepages()

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.device import device_name, file_name, measured_rates
from benchmarks.harness.results import FOLDER, GROUPS, circumstances, markdown, page_with, read, update
from benchmarks.parity.__main__ import table as parity_table
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_text
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line

QUICK, SPEED, PARITY = "-quick", "speed", "parity"
DOCS = Path(__file__).parents[1] / "docs"
PAGES = {SPEED: DOCS / "benchmarks.md", PARITY: DOCS / "parity.md"}


def put_into_docs() -> None:
    """Writes the tables of all devices into the pages of docs/.

    Raises:
      UserError: there are no results, or a page cannot be written.
    """
    for page, text in docs_with_results().items():
        write_text(page, text)


def docs_with_results() -> dict[Path, str]:
    """{page: its text with the tables of benchmarks/results in place of the present ones}.

    Raises:
      UserError: there are no results, or a page has no place for them.
    """
    files = [path for path in sorted(FOLDER.glob("*.json")) if not path.stem.endswith(QUICK)]
    speed = [read(path) for path in files if not path.stem.startswith(PARITY)]
    parity = [results for path in files if path.stem.startswith(PARITY) and not (results := read(path))["quick"]]
    if not (speed and parity):
        raise UserError(
            f"{FOLDER} has no results; run python -m benchmarks, and python -m benchmarks.parity --output "
            f"{FOLDER / PARITY}-DEVICE.json"
        )
    tables = {
        SPEED: "\n".join(markdown(results) for results in speed),
        PARITY: "\n\n".join(parity_table(results) for results in parity),
    }
    return {page: page_with(page, name, tables[name]) for name, page in PAGES.items()}


def _measure(flags: argparse.Namespace) -> int:
    """Measures the groups and writes each as soon as it is done; 1 if the programs of one disagree."""
    from benchmarks.speed import groups  # imports torch

    device = device_name()
    path = flags.output / f"{file_name(device)}{QUICK if flags.quick else ''}.json"
    check_writable(path)
    run = circumstances()
    rates = measured_rates()
    code = 0
    for group in (group for group in GROUPS if group in (flags.only or GROUPS)):
        try:
            measured = {group: groups.rows_of(group, flags.quick, rates)}
        except groups.REFUSALS as error:
            print_line("benchmarks", error)
            code = 1
        else:
            update(path, device, rates, measured, run)
    if path.exists():
        print(markdown(read(path)))
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 done, 1 programs disagree, 2 bad input, 130 interrupted."""
    configure_logging(quiet=True)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the GPU
    try:
        flags = _parse(arguments)
        if flags.alone:
            from benchmarks.speed import groups

            group, index, program = flags.alone
            print(json.dumps(groups.peak_alone(group, int(index), program, flags.quick)))
        elif flags.docs:
            put_into_docs()
        else:
            return _measure(flags)
    except UserError as error:
        print_line("benchmarks", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks", "interrupted; the groups measured so far are written")
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="measure these groups")
    parser.add_argument("--quick", action="store_true", help="small inputs, one pair")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="folder of the results")
    parser.add_argument("--docs", action="store_true", help="measure nothing, put the results into docs/")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)  # group, index, program: prints its peak memory
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
