"""A training step of the fast model: this project against its PyTorch twin, on the same batch, in turns.

    python -m benchmarks.train_step [--size 256] [--width 32] [--batch 4] [--pairs 3]

Both compute the loss of configs/fast.py for two styles, its gradient, the limit on its norm, Adam and the running
average of the weights, from the same weights and with all threads. "ours" is the step of train.py, on one device and
with kernels that are repeatable as there; "torch" is tests/torch_stylizer.py; on a GPU there is also "compiled", the
same under torch.compile. The pictures are random; that changes nothing about the speed. First the losses of one step
are compared. Prints Markdown; on an accelerator also which share ours reaches of the speed of large matrix products
there.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from configs import fast as fast_config
from msst_jax import fast
from msst_jax.devices import make_repeatable
from msst_jax.models.weights import EMBEDDED_VGG16, dotted_tensors, load_vgg
from msst_jax.train_step import (
    Task,
    initial_state,
    learning_rate,
    make_step,
    on_all_devices,
    optimizer_of,
    replicated,
    split_over_devices,
)

REGIONS = ("person", "background")
SMALLEST = 32  # of --size; VGG's deepest layer is an eighth of it
AGREEMENT = 1e-3  # of the losses before the first step, relative
PRODUCT = 8192  # side of the matrices whose product is taken for the peak


Program = Callable[[], float]
"""A training: each call makes a step, waits for it, and returns the loss before it."""


class Problem(NamedTuple):
    """What is trained, and on what."""

    config: ConfigDict
    task: Task
    batch: dict[str, np.ndarray]
    styles: list[np.ndarray]


def make_problem(size: int, width: int, batch: int) -> Problem:
    """configs/fast.py with random pictures."""
    config = fast_config.get_config()
    config.size, config.width, config.batch = size, width, batch
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    masks = rng.dirichlet([1] * len(REGIONS), (batch, size, size)).astype(np.float32)
    styles = [rng.uniform(size=(size, size, 3)).astype(np.float32) for _ in REGIONS]
    vgg, _ = load_vgg(config.network, [*config.style_layers, *config.content_layers], path=EMBEDDED_VGG16)
    data = {"photo": photos, "masks": masks}
    return Problem(config, fast.make_task(config, vgg, REGIONS, REGIONS, styles, data), data, styles)


def start_ours(problem: Problem) -> tuple[Program, dict[str, np.ndarray]]:
    """The step of train.py on one device, and the weights that it starts from."""
    config, task, batch, _ = problem
    device = jax.local_devices()[:1]
    optimizer = optimizer_of(config)
    state = initial_state(task, optimizer, config.seed)
    weights = dotted_tensors(state.params)
    step = on_all_devices(make_step(task.loss, optimizer, config.ema), device)
    state, frozen = replicated(state, device), replicated(task.frozen, device)
    shared = jax.device_put(split_over_devices(batch, 1), device[0])

    def advance() -> float:
        nonlocal state
        state, metrics = step(state, frozen, shared)
        jax.block_until_ready(state)
        return float(metrics["loss"])

    return advance, weights


def start_torch(problem: Problem, weights: Mapping[str, np.ndarray], steps: int, *, compiled: bool) -> Program:
    """The twin, on the GPU if ours is there, for up to `steps` steps."""
    import torch

    from tests import torch_reference
    from tests.torch_reference import to_tensor
    from tests.torch_stylizer import TrainingLoss, stylizer_of, training_step

    config, _, batch, styles = problem
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    settings = torch_reference.Settings(
        style_layers=config.style_layers,
        content_layers=config.content_layers,
        style_factors=config.style_layer_weights,
        content_factors=config.content_layer_weights or (1.0,) * len(config.content_layers),
        style_weight=config.style_weight,
        blend_ratio=config.blend_ratio,
        content_weight=config.content_weight,
        tv_weight=config.tv_weight / config.size**2,
    )
    vgg = torch_reference.network(EMBEDDED_VGG16)
    loss = TrainingLoss(stylizer_of(weights), vgg, [to_tensor(style) for style in styles], settings).to(device)
    step = training_step(loss, config.clip, config.ema, compiled=compiled)
    photos = to_tensor(batch["photo"]).to(device) / 255
    masks = torch.from_numpy(np.moveaxis(batch["masks"], -1, 1).copy()).to(device)
    rates = np.asarray(jax.vmap(learning_rate(config))(jnp.arange(steps))).tolist()
    made = 0

    def advance() -> float:
        nonlocal made
        value = step(made, rates[made], photos, masks).item()
        made += 1
        return value

    return advance


def start(problem: Problem, steps: int) -> dict[str, Program]:
    """All programs, from the same weights."""
    ours, weights = start_ours(problem)
    programs = {"ours": ours, "torch": start_torch(problem, weights, steps, compiled=False)}
    if jax.default_backend() == "gpu":
        programs["compiled"] = start_torch(problem, weights, steps, compiled=True)
    return programs


def measure(programs: Mapping[str, Program], pairs: int) -> dict[str, list[float]]:
    """Seconds of each step of each program, in turns.

    Raises:
      RuntimeError: the programs do not compute the same.
    """
    losses = {name: program() for name, program in programs.items()}  # warms up
    for name, loss in losses.items():
        if not abs(loss / losses["ours"] - 1) <= AGREEMENT:
            raise RuntimeError(f"the programs do not compute the same loss ({name}): {losses}")
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for pair in tqdm(range(pairs + 1), unit="pair", disable=None):
        for name, program in programs.items():
            gc.collect()
            started = time.perf_counter()
            program()
            if pair:  # the second step may still warm up
                seconds[name].append(time.perf_counter() - started)
    return seconds


def flops_of(problem: Problem) -> float:
    """Floating-point operations of the loss and its gradient, as XLA counts them before it optimises."""
    task, key = problem.task, jax.random.key(0)
    params = jax.eval_shape(task.init, key)
    gradient = jax.jit(jax.grad(task.loss, has_aux=True))
    cost = gradient.lower(params, task.frozen, problem.batch, key).cost_analysis() or {}
    return float(cost.get("flops", 0.0))


def product_speed() -> float:
    """FLOP/s of a large float32 matrix product, at the precision that convolutions have too."""
    matrix = jnp.ones((PRODUCT, PRODUCT))
    product = jax.jit(jnp.dot)
    product(matrix, matrix).block_until_ready()
    started = time.perf_counter()
    results = [product(matrix, matrix) for _ in range(10)]
    jax.block_until_ready(results)
    return 10 * 2 * PRODUCT**3 / (time.perf_counter() - started)


def rows(seconds: Mapping[str, Sequence[float]], batch: int) -> list[str]:
    """One Markdown row for each program."""
    made = []
    for name, own in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(own, seconds["ours"], strict=True)]
        against = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        middle = statistics.median(own)
        made.append(f"| {name} | {middle:.3f} | {batch / middle:.2f} | {'1' if name == 'ours' else against} |")
    return made


def positive(text: str) -> int:
    """A flag's whole number of 1 at least."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the flags, measures, prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=positive, default=256, help="side of the pictures in pixels")
    parser.add_argument("--width", type=positive, default=32, help="channels of the network at full size")
    parser.add_argument("--batch", type=positive, default=4, help="photos a step, each in two styles")
    parser.add_argument("--pairs", type=positive, default=3, help="how many times the programs take turns")
    flags = parser.parse_args(arguments)
    if flags.size < SMALLEST:
        print(f"benchmarks.train_step: --size {flags.size} must be {SMALLEST} at least", file=sys.stderr)
        return 2
    make_repeatable()  # as train.py does, before the first computation
    load_before = os.getloadavg()[0]
    problem = make_problem(flags.size, flags.width, flags.batch)
    programs = start(problem, flags.pairs + 2)
    seconds = measure(programs, flags.pairs)
    print("| program | s a step | photos a second | time / ours (range) |\n|---|---|---|---|")
    print("\n".join(rows(seconds, flags.batch)))
    if jax.default_backend() != "cpu":
        share = flops_of(problem) / statistics.median(seconds["ours"]) / product_speed()
        print(f"\nours reaches {share:.0%} of the FLOP rate of a product of {PRODUCT}x{PRODUCT} matrices here")
    print(
        f"\n{flags.batch} photos of {flags.size}x{flags.size}, width {flags.width}, {jax.devices()[0].device_kind}; "
        f"{flags.pairs} pairs in turns, {os.cpu_count()} cores; load average before: {load_before:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
