"""Measures the speed and memory of everything, against PyTorch, and writes the table.

    python -m benchmarks [--only GROUP ...] [--quick] [--output DIR]
    python -m benchmarks --readme

The programs of a row run in turns, on the same inputs; ratios are medians of pairs. The results of a device go to
DIR/DEVICE.json and, as Markdown, to DIR/DEVICE.md (benchmarks/results by default); groups that are not measured keep
what an earlier run found. --quick takes small inputs, to see that everything runs: its figures mean nothing, and go to
DIR/DEVICE-quick.json. --readme puts the tables of benchmarks/results into README.md. A whole run takes more than an
hour on two cores; what ours is compared with needs the test installation.
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
from benchmarks.harness.results import FOLDER, GROUPS, README, markdown, read, readme_with, update
from benchmarks.parity.__main__ import table as parity_table
from msst_jax.errors import UserError
from msst_jax.io.files import check_writable, write_text
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.runtime.devices import request_deterministic_ops

QUICK, PARITY = "-quick", "parity"


def put_into_readme() -> None:
    """The tables of all devices in README.md.

    Raises:
      UserError: there are no results, or README.md cannot be written.
    """
    write_text(README, readme_text(README.read_text(encoding="utf-8")))


def readme_text(readme: str) -> str:
    """README.md with the tables of benchmarks/results in place of those that it has.

    Raises:
      UserError: there are no results.
    """
    files = [path for path in sorted(FOLDER.glob("*.json")) if not path.stem.endswith(QUICK)]
    speed = [read(path) for path in files if not path.stem.startswith(PARITY)]
    equal = [results for path in files if path.stem.startswith(PARITY) and not (results := read(path))["quick"]]
    if not (speed and equal):
        raise UserError(
            f"{FOLDER} has no results; run python -m benchmarks, and python -m benchmarks.parity --output "
            f"{FOLDER / PARITY}-DEVICE.json"
        )
    readme = readme_with(readme, "speed", "\n".join(markdown(results) for results in speed))
    return readme_with(readme, PARITY, "\n\n".join(parity_table(results) for results in equal))


def _measure(flags: argparse.Namespace) -> int:
    """Measures the groups, each into the file as soon as it is done; 1 if programs of one did not agree."""
    from benchmarks.speed import groups  # takes torch

    device = device_name()
    path = flags.output / f"{file_name(device)}{QUICK if flags.quick else ''}.json"
    check_writable(path)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    rates = measured_rates()
    code = 0
    for group in (group for group in GROUPS if group in (flags.only or GROUPS)):
        try:
            measured = {group: groups.rows_of(group, flags.quick, rates)}
        except groups.REFUSALS as error:
            print_line("benchmarks", error)
            code = 1
        else:
            update(path, device, rates, measured, load)
    if path.exists():
        print(markdown(read(path)))
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 done, 1 programs disagree, 2 bad input, 130 interrupted."""
    configure_logging(quiet=True)
    request_deterministic_ops()  # as the scripts do, before the first computation
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is shared with PyTorch
    try:
        flags = _parse(arguments)
        if flags.alone:
            from benchmarks.speed import groups

            group, index, program = flags.alone
            print(json.dumps(groups.peak_alone(group, int(index), program, flags.quick)))
        elif flags.readme:
            put_into_readme()
        else:
            return _measure(flags)
    except UserError as error:
        print_line("benchmarks", error)
        return 2
    except KeyboardInterrupt:
        print_line("benchmarks", "interrupted; groups that were measured are written")
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="measure these groups")
    parser.add_argument("--quick", action="store_true", help="small inputs, one pair")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="where results go")
    parser.add_argument("--readme", action="store_true", help="measure nothing, put the results into README.md")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)  # group, index, program: prints its peak memory
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
