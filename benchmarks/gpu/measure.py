"""One measurement, in a process of its own: prints a JSON object as its last line.

python -m benchmarks.gpu.measure rates|evaluation|whole|torch|training [flags]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.harness.arguments import at_least
from benchmarks.harness.device import GIGA, copy_rate, device_name, peak_memory, product_rate
from benchmarks.harness.program import OURS, time_alternately
from benchmarks.speed import optimize
from msst_jax.configs import fast, seed
from msst_jax.errors import UserError
from msst_jax.models.precision import PRECISIONS, products_at
from msst_jax.optim.lbfgs_direction import FORMS
from msst_jax.optim.minimize import clip_to_range, compile_step, make_init
from msst_jax.optim.optimizer import HISTORY_DTYPES
from msst_jax.runtime.compilation import prepare_xla
from msst_jax.runtime.console import ArgumentParser, configure_logging, print_line
from msst_jax.runtime.versions import version_of
from msst_jax.transfer.build import build_options

PROGRAM = "benchmarks.gpu.measure"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "torchvision")
WARM, TIMED = 3, 20  # evaluations
EVALUATIONS, QUICK_EVALUATIONS = 320, 4  # of configs/seed.py
PRODUCT_SIDE = 8192
Row = dict[str, Any]


def rates(flags: argparse.Namespace) -> Row:
    """Versions, and what the device reaches in products of each type and in copying memory."""
    side = 256 if flags.quick else PRODUCT_SIDE
    with jax.default_matmul_precision("highest"):
        highest = product_rate(side, jnp.float32)
    found = {
        "highest": highest,
        "default": product_rate(side, jnp.float32),
        "bfloat16": product_rate(side, jnp.bfloat16),
    }
    versions = {name: version_of(name) for name in PACKAGES}
    products = {f"{name}, TFLOP/s": rate / 1e12 for name, rate in found.items()}
    return {"device": device_name(), **products, "copies, GB/s": copy_rate() / GIGA, "versions": versions}


def evaluation(flags: argparse.Namespace) -> Row:
    """Seconds of an evaluation of configs/seed.py, loss, gradient and update, and the peak memory of the device."""
    changes = {name: getattr(flags, name) for name in ("precision", "history", "history_dtype", "remat", "tiles")}
    example = optimize.changed_example(flags.size, seed.get_config(), flags.form, changes)
    with products_at(flags.precision):
        loss, runs, pixels, transform = example.problem()
        state = make_init(transform, batched=True)(pixels)
        step, compiling = compile_step(loss, transform, clip_to_range, state, runs)

    def advance() -> None:
        nonlocal state
        state, _, _ = jax.block_until_ready(step(state, loss, runs))

    loops = flags.form == "loops" or (flags.form == "by_platform" and jax.default_backend() == "cpu")
    # The loops walk through the pairs that are stored, the products through all that can be.
    warm = max(WARM, flags.history) if loops else WARM
    median = _median_seconds(advance, warm, 3 if flags.size > 1024 else TIMED)
    return {"ms": 1e3 * median, "compiling, s": compiling, "peak, GB": peak_memory(True)}


def _median_seconds(advance: Callable[[], Any], warm: int, timed: int) -> float:
    """Of a call, after some that are not timed."""
    for _ in range(warm):
        advance()
    return statistics.median(time_alternately({OURS: advance}, timed)[OURS])


def whole(flags: argparse.Namespace) -> Row:
    """Seconds of all evaluations of configs/seed.py, without compiling, one after the other without a wait."""
    config, inputs = optimize.example(flags.size, seed.get_config())
    problem = optimize.step_problem(build_options(config), inputs, config.history)
    init = make_init(problem.transform, batched=True)
    state = init(problem.pixels)
    step, compiling = compile_step(problem.loss, problem.transform, clip_to_range, state, problem.runs)
    jax.block_until_ready(step(state, problem.loss, problem.runs))  # the state is donated
    state = init(problem.pixels)
    count = QUICK_EVALUATIONS if flags.quick else EVALUATIONS
    started = time.perf_counter()
    for _ in range(count):
        state, terms, _ = step(state, problem.loss, problem.runs)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - started
    return {"evaluations": count, "s": seconds, "loss": float(terms["total"][0]), "compiling, s": compiling}


def torch(flags: argparse.Namespace) -> Row:
    """Seconds of the same evaluations by PyTorch in one pass without gradients of weights, in one of its modes."""
    from reference.original import Modes

    modes = Modes(flags.compile, flags.channels_last, flags.amp)
    count = QUICK_EVALUATIONS if flags.quick else EVALUATIONS
    started = time.perf_counter()
    optimize.torch_optimization(flags.size, "lean", QUICK_EVALUATIONS, modes).step()
    compiling = time.perf_counter() - started
    optimization = optimize.torch_optimization(flags.size, "lean", count, modes)
    started = time.perf_counter()
    optimization.step()
    seconds = time.perf_counter() - started
    return {
        "evaluations": len(optimization.losses),
        "s": seconds,
        "loss": optimization.losses[-1],
        "warming up, s": compiling,
    }


def training(flags: argparse.Namespace) -> Row:
    """A step of configs/fast.py: seconds, photos a second, and the share of the device's rate of products."""
    from benchmarks.speed import train_step

    size, width = (32, 4) if flags.quick else (256, fast.get_config().width)
    program = train_step.start_ours(size, width)
    median = _median_seconds(program.advance, WARM, TIMED)
    assert program.cost
    rate = program.cost.flops / median
    return {
        "ms": 1e3 * median,
        "photos/s": train_step.BATCH / median,
        "TFLOP/s": rate / 1e12,
        "share of products": rate / product_rate(256 if flags.quick else PRODUCT_SIDE),
        "compiling, s": program.compile_seconds,
    }


MEASUREMENTS: Mapping[str, Callable[[argparse.Namespace], Row]] = {
    "rates": rates,
    "evaluation": evaluation,
    "whole": whole,
    "torch": torch,
    "training": training,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code: 0 done, 2 bad input."""
    configure_logging(quiet=True)
    prepare_xla()
    try:
        flags = _parse(arguments)
        print(json.dumps(MEASUREMENTS[flags.what](flags)))
    except UserError as error:
        print_line(PROGRAM, error)
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, whose figures mean nothing")
    parser.add_argument("--size", type=at_least(16), default=512, help="side of the pictures in pixels")
    parser.add_argument("--precision", choices=PRECISIONS, default="default")
    parser.add_argument("--form", choices=FORMS, default="by_platform")
    parser.add_argument("--history", type=at_least(1), default=100)
    parser.add_argument("--history-dtype", choices=HISTORY_DTYPES, default="float32")
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--tiles", default="off")
    parser.add_argument("--compile", action="store_true", help="PyTorch: torch.compile")
    parser.add_argument("--channels-last", action="store_true", help="PyTorch: that memory layout")
    parser.add_argument("--amp", action="store_true", help="PyTorch: products in bfloat16")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
