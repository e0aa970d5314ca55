"""One evaluation of the on-line method: this project against PyTorch, on the same pictures, in turns.

    python -m benchmarks.optimize [--sizes 256 512] [--pairs 4] [--evaluations 3]

Runs configs/seed.py on the bundled example, three programs side by side (see tests/torch_reference.py):
"ours", the step that msst_jax.optimize compiles; "original", PyTorch in the structure of the original program;
"lean", PyTorch with one pass over the batch and no gradients of weights. A pair is a few evaluations of each, one
program after the other, so that a busy machine slows all of them. Peak memory is that of a process of its own for
each. Prints Markdown. The defaults take about a quarter of an hour on two cores.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from configs import quickstart, seed
from msst_jax.inputs import Inputs, load_inputs, parse_pairs

PROGRAMS = ("ours", "original", "lean")
AGREEMENT = 1e-3  # of the first losses, relative
EXAMPLE_MASK = quickstart.EXAMPLES / "astronaut_mask.png"


class Program(NamedTuple):
    """An optimisation that can be carried on a few evaluations at a time."""

    advance: Callable[[], list[float]]
    """Makes the next evaluations and updates and waits for them; returns their losses."""
    compile_seconds: float


class Timing(NamedTuple):
    """What one program took."""

    compile_seconds: float
    seconds: list[float]
    """Of an evaluation, for each pair."""
    losses: list[float]
    """At every evaluation, those that warm up included."""


def example(size: int) -> tuple[ConfigDict, Inputs]:
    """configs/seed.py and the bundled example at size x size pixels."""
    config = seed.get_config()
    quickstart.use_example(config)
    config.size = size
    masks = {"person": str(EXAMPLE_MASK)}
    return config, load_inputs(config, config.photo, parse_pairs(config.styles, "style"), masks)


def start_ours(config: ConfigDict, inputs: Inputs, evaluations: int, total: int) -> Program:
    """The compiled step, called as msst_jax.optimize.minimize calls it for one picture.

    Args:
      config: configs/seed.py.
      inputs: the pictures.
      evaluations: how many `advance` makes.
      total: how many there will be; bounds the history of L-BFGS, as in msst_jax.stylization.
    """
    import jax
    import jax.numpy as jnp
    import optax

    from msst_jax import optimize, stylization
    from msst_jax.lbfgs import torch_lbfgs
    from msst_jax.models.weights import EMBEDDED_VGG16, load_vgg

    taps = [*config.style_layers, *config.content_layers]
    vgg, _ = load_vgg(config.network, taps, pooling=config.pooling, padding=config.padding, path=EMBEDDED_VGG16)
    weights = jax.tree.map(lambda value: jnp.full(1, value), stylization.weights_of(config, config.blend_ratio))
    problem, runs = stylization.problem_of(config, vgg, stylization.scene_at(inputs, 1.0), weights)
    pixels = jnp.broadcast_to(jnp.asarray(inputs.photo), (1, len(inputs.regions), *inputs.photo.shape))
    transform = optax.with_extra_args_support(torch_lbfgs(config.learning_rate, min(config.history, total)))
    state = optimize.starter(transform, batched=True)(pixels)
    step, compile_seconds = optimize.compile_step(problem, transform, optimize.clip_to_range, state, runs)

    def advance() -> list[float]:
        nonlocal state
        history = []
        for _ in range(evaluations):
            state, terms, _ = step(state, problem, runs)
            history.append(terms["total"])
        jax.block_until_ready(state)
        return [float(total[0]) for total in history]

    return Program(advance, compile_seconds)


def start_torch(config: ConfigDict, inputs: Inputs, evaluations: int, *, lean: bool) -> Program:
    """The PyTorch twin; one step of its L-BFGS makes `evaluations`. Arguments as in `start_ours`."""
    from msst_jax.models.weights import EMBEDDED_VGG16
    from tests.torch_reference import Optimization, Reference, Settings, Structure

    settings = Settings(blend_ratio=config.blend_ratio)
    styles = [region.style for region in inputs.regions]
    structure: Structure = "lean" if lean else "original"
    reference = Reference(EMBEDDED_VGG16, inputs.photo, styles, inputs.masks, settings, structure)
    optimization = Optimization(reference, np.stack([inputs.photo] * len(styles)), evaluations)

    def advance() -> list[float]:
        optimization.step()
        return optimization.losses[-evaluations:]

    return Program(advance, 0.0)


def start(program: str, size: int, evaluations: int, total: int) -> Program:
    """One of PROGRAMS on the example at size x size."""
    config, inputs = example(size)
    if program == "ours":
        return start_ours(config, inputs, evaluations, total)
    return start_torch(config, inputs, evaluations, lean=program == "lean")


def measure(size: int, pairs: int, evaluations: int) -> dict[str, Timing]:
    """Times all programs in turns, after one round that warms up."""
    total = (pairs + 1) * evaluations
    programs = {name: start(name, size, evaluations, total) for name in PROGRAMS}
    losses = {name: program.advance() for name, program in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(pairs):
        for name, program in programs.items():
            gc.collect()
            started = time.perf_counter()
            losses[name] += program.advance()
            seconds[name].append((time.perf_counter() - started) / evaluations)
    return {name: Timing(programs[name].compile_seconds, seconds[name], losses[name]) for name in PROGRAMS}


def peak_memory(program: str, size: int, evaluations: int) -> float:
    """Peak resident memory in GB of a fresh process that makes `evaluations` of one program and nothing else."""
    command = [sys.executable, "-m", "benchmarks.optimize", "--only", program, "--sizes", str(size)]
    command += ["--evaluations", str(evaluations)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_gb"])


def run_alone(program: str, size: int, evaluations: int) -> None:
    """What the process of `peak_memory` does: one step of `evaluations`, then its own peak as JSON."""
    start(program, size, evaluations, evaluations).advance()
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    print(json.dumps({"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}))


def check_agreement(timings: dict[str, Timing]) -> None:
    """Raises RuntimeError unless all programs start from the same loss."""
    first = {name: timing.losses[0] for name, timing in timings.items()}
    for name, loss in first.items():
        if abs(loss / first["original"] - 1) > AGREEMENT:
            raise RuntimeError(f"the programs do not compute the same loss ({name}): {first}")


def rows(size: int, timings: dict[str, Timing], memory: dict[str, float]) -> list[str]:
    """One Markdown row for each program."""
    made = []
    for name, timing in timings.items():
        ratios = [theirs / own for theirs, own in zip(timing.seconds, timings["ours"].seconds, strict=True)]
        against = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        cells = [
            f"{size}x{size}",
            name,
            f"{statistics.median(timing.seconds):.3f}",
            "1" if name == "ours" else against,
            f"{timing.compile_seconds:.1f}" if name == "ours" else "-",
            f"{memory[name]:.2f}",
            f"{timing.losses[0]:.6g}",
            f"{timing.losses[-1]:.6g}",
        ]
        made.append(f"| {' | '.join(cells)} |")
    return made


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="side of the pictures in pixels")
    parser.add_argument("--pairs", type=int, default=4, help="how many times the programs take turns")
    parser.add_argument("--evaluations", type=int, default=3, help="of each program at each turn")
    parser.add_argument("--only", choices=PROGRAMS, help="run one program once and print its peak memory")
    flags = parser.parse_args()
    if flags.only:
        run_alone(flags.only, flags.sizes[0], flags.evaluations)
        return
    total = (flags.pairs + 1) * flags.evaluations
    heads = ("size", "program", "s an evaluation", "times ours (range)", "compile s", "peak GB", "first loss")
    print(f"| {' | '.join((*heads, f'loss {total}'))} |")
    print("|" + "---|" * (len(heads) + 1))
    load = os.getloadavg()[0]
    for size in flags.sizes:
        memory = {name: peak_memory(name, size, total) for name in PROGRAMS}
        timings = measure(size, flags.pairs, flags.evaluations)
        check_agreement(timings)
        print("\n".join(rows(size, timings, memory)), flush=True)
        gc.collect()
    print(f"\n{os.cpu_count()} cores; load average before: {load:.1f} (a busy machine slows PyTorch's threads most)")


if __name__ == "__main__":
    main()
