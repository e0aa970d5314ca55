"""Compiles programs for an H100 on a machine without one, and says what XLA plans.

    python -m benchmarks.plans [PROGRAM...] [--size 512] [--json] [--hlo DIR]

Prints a Markdown table: kernels that a call launches, loops and those of them whose number of trips the host must ask
for, what would be slow (select-and-scatter, float64, callbacks), and temporary memory. No times: nothing runs, and the
autotuner has nothing to time. Needs the extra gpu-aot. With --json one JSON object; with --hlo also the optimized HLO.
--seconds prints what an optimization by configs/seed.py would take instead, by kind of kernel and way of computing it,
reasoned from operations, bytes and launches (benchmarks/plans/seconds.py). --pod tells of the training step of
configs/fast_pod.py on a node of eight H100 instead: its sums over the devices, memory and operations.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.harness.arguments import at_least
from benchmarks.plans.facts import Facts, facts_of
from benchmarks.plans.seconds import H100, Part, parts_of_text
from benchmarks.plans.toolchain import command, environment, find_toolchain, h100
from msst_jax.errors import UserError
from msst_jax.io.files import write_text
from msst_jax.presets.lookup import load_preset
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line

PROGRAM = "benchmarks.plans"
CHILD = "--child"
EVALUATIONS = 320  # of configs/seed.py, whose 300 steps are rounded up as the original program does


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles and prints; returns the exit code: 0 done, 2 bad input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    configure_logging(quiet=True)
    try:
        flags = _parse(given)
        if not flags.child:
            return subprocess.run(
                command(PROGRAM, [CHILD, *given]), env=environment(find_toolchain()), check=False
            ).returncode
        if flags.seconds:
            print(seconds_table(predict(flags.size)))
            return 0
        if flags.pod:
            print(_pod_table())
            return 0
        plans = plan(flags.programs, flags.size, flags.hlo)
    except UserError as error:
        print_line(PROGRAM, error)
        return 2
    print(json.dumps({name: facts._asdict() for name, facts in plans.items()}) if flags.json else table(plans))
    return 0


def plan(names: Sequence[str], size: int, hlo: Path | None = None) -> dict[str, Facts]:
    """{program: its facts}.

    Raises:
      UserError: an unknown program, or a folder that cannot be written.
    """
    from benchmarks.plans.programs import PROGRAMS

    if unknown := [name for name in names if name not in PROGRAMS]:
        raise UserError(f"there is no program {unknown[0]}; give some of {', '.join(PROGRAMS)}")
    device, plans = h100(), {}
    for name in names or PROGRAMS:
        compiled = PROGRAMS[name](size, device)
        if hlo:
            write_text(hlo / f"{name}_{size}.hlo", compiled.as_text() or "")
        plans[name] = facts_of(compiled)
    return plans


def _pod_table() -> str:
    from benchmarks.plans.pod import describe_pod, plan_pod

    return describe_pod(plan_pod())


def predict(size: int) -> dict[str, dict[str, Part]]:
    """{way of computing an evaluation of configs/seed.py: {kind of kernel: its part of one}}."""
    from benchmarks.plans.programs import VARIANTS

    device, history = h100(), load_preset("seed").get_config().history
    texts = {name: (variant, variant.compile(size, device).as_text() or "") for name, variant in VARIANTS.items()}
    return {
        name: parts_of_text(text, H100, exact=variant.exact, trips=history) for name, (variant, text) in texts.items()
    }


def seconds_table(predicted: Mapping[str, Mapping[str, Part]]) -> str:
    """Seconds of EVALUATIONS evaluations by kind of kernel, and what one evaluation does, as Markdown."""
    kinds = list(dict.fromkeys(kind for parts in predicted.values() for kind in parts))
    rows = []
    for name, parts in predicted.items():
        total = sum(parts.values(), Part())
        seconds = [parts[kind].seconds if kind in parts else 0.0 for kind in kinds]
        each = [f"{EVALUATIONS * value:.2f}" for value in (*seconds, total.seconds)]
        done = [f"{total.operations / 1e9:.0f}", f"{total.bytes / 1e9:.1f}", f"{total.kernels:.0f}"]
        rows.append((name, *each, *done, f"{total.waits:.0f}"))
    return _markdown(
        (f"{EVALUATIONS} evaluations, s", *kinds, "all", "GFLOP each", "GB each", "kernels", "waits"), rows
    )


def table(plans: Mapping[str, Facts]) -> str:
    """The facts as Markdown."""
    head = (
        "program",
        "kernels",
        "loops",
        "of unknown length",
        "select-and-scatter",
        "float64",
        "callbacks",
        "temporary, GB",
    )
    rows = [(name, *map(str, facts[:-1]), f"{facts.temporary / 1e9:.3f}") for name, facts in plans.items()]
    return _markdown(head, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    parser.add_argument("--size", type=at_least(16), default=512, help="side of the pictures in pixels")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hlo", type=Path, metavar="DIR")
    parser.add_argument("--seconds", action="store_true", help="what configs/seed.py would take, instead")
    parser.add_argument("--pod", action="store_true", help="the training step on a node of eight, instead")
    parser.add_argument(CHILD, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
