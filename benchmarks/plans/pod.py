"""The training step of configs/fast_pod.py, compiled for a node of eight H100 without one: nothing is measured."""

import re
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from benchmarks.plans.toolchain import h100_node
from benchmarks.speed import train_step
from msst_jax.presets.lookup import load_preset
from msst_jax.runtime.device_peaks import peak_flops
from msst_jax.training.build import build_loop_options
from msst_jax.training.step import build_train_optimizer, data_parallel, init_train_state, make_train_step
from msst_jax.training.throughput import step_cost

PRESET = "fast_pod"
UTILIZATION = 0.35  # assumed: what convolutions of few channels usually leave of a peak


class PodPlan(NamedTuple):
    """What the step is made of."""

    devices: int
    photos: int
    """Of a step, over all devices."""
    all_reduces: int
    """Instructions that sum over the devices."""
    memory: int
    """Bytes on a device: arguments, results and temporary ones."""
    flops_per_photo: float
    photos_per_second: float
    """Of all devices at UTILIZATION of their peak."""


def plan_pod(size: int | None = None, batch: int | None = None) -> PodPlan:
    """Compiles the step; another size of the crops, or another batch, makes it quick to test."""
    devices, config = h100_node(), load_preset(PRESET).get_config()
    config.update({"size": size or config.size, "batch": batch or config.batch})
    step, arguments = _step(config, devices)
    compiled = step.lower(*arguments).compile()
    cost, peak = step_cost(step, arguments, config.batch, devices=devices), peak_flops(devices[0].device_kind)
    assert peak is not None  # the table has an H100
    return PodPlan(
        devices=len(devices),
        photos=config.batch,
        all_reduces=len(re.findall(r" all-reduce(?:-start)?\(", compiled.as_text() or "")),
        memory=_bytes(compiled.memory_analysis()),
        flops_per_photo=cost.flops_per_photo,
        photos_per_second=UTILIZATION * peak * len(devices) / cost.flops_per_photo,
    )


def _step(config: ConfigDict, devices: list[jax.Device]) -> tuple[Any, tuple[Any, ...]]:
    """The step over the devices, and the shapes of its arguments."""
    _, task, one, _ = train_step.build_problem(config.size, config.width, 1, PRESET)
    optimizer = build_train_optimizer(build_loop_options(config).optimization)
    step = data_parallel(make_train_step(task.loss, optimizer, config.ema, config.accumulate), devices)
    state, frozen = jax.eval_shape(lambda: (init_train_state(task, optimizer, 0), task.frozen))
    share = (len(devices), config.batch // len(devices))
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*share, *leaf.shape[1:]), leaf.dtype), one)
    return step, (state, frozen, batch)


def _bytes(analysis: Any) -> int:
    """Those of a device; what is donated is counted once."""
    sizes = (analysis.argument_size_in_bytes, analysis.output_size_in_bytes, analysis.temp_size_in_bytes)
    return int(sum(sizes) - analysis.alias_size_in_bytes)


def describe_pod(plan: PodPlan) -> str:
    """The plan as Markdown."""
    rows = (
        ("devices", f"{plan.devices}"),
        ("photos a step", f"{plan.photos}"),
        ("all-reduces a step", f"{plan.all_reduces}"),
        ("memory of a device, GB", f"{plan.memory / 1e9:.2f}"),
        ("GFLOP a photo", f"{plan.flops_per_photo / 1e9:.1f}"),
        (f"photos a second at {UTILIZATION:.0%} of the peak (not measured)", f"{plan.photos_per_second:.0f}"),
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in (("training step", PRESET), ("---", "---"), *rows))
