"""Benchmark of one evaluation of the optimization: loss, gradient and L-BFGS update, configs/seed.py, bundled example.

Compared with PyTorch in two structures (reference/original.py): that of the original program, and one pass over the
batch without gradients of weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from benchmarks.harness.program import OURS, PAIRS, Case, Cost, Program, cost_of
from benchmarks.harness.torch_side import torch_device
from msst_jax.cli.region_styles import parse_single_styles
from msst_jax.configs import quickstart, seed
from msst_jax.losses.objective import LossWeights
from msst_jax.models.pretrained import EMBEDDED_VGG16
from msst_jax.optim.lbfgs_direction import Form
from msst_jax.optim.minimize import clip_to_range, compile_step, make_init
from msst_jax.optim.optimizer import OptimizerOptions, build_optimizer
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from msst_jax.transfer.objective import build_objective, load_loss_network, scale_scene
from msst_jax.transfer.options import StylizationOptions
from reference.original import Modes, Optimization, Reference, Settings, Structure

GROUP = "optimize"
ORIGINAL = "PyTorch, the original's structure"
LEAN = "PyTorch, one pass, no gradients of weights"
TOLERANCE = 1e-3  # of the first losses
EVALUATIONS = 3  # per call
EXAMPLE_MASK = quickstart.EXAMPLES / "astronaut_mask.png"


def cases(quick: bool) -> list[Case]:
    """Cases at sizes that suit the device."""
    large = (512, 1024) if jax.default_backend() != "cpu" else (256, 512)
    return [_case(size) for size in ((64,) if quick else large)]


def _case(size: int) -> Case:
    return Case(
        group=GROUP,
        what="configs/seed.py",
        size=f"{size}x{size}",
        unit="evaluation",
        programs={OURS: partial(start_ours, size, EVALUATIONS * (PAIRS + 1)), **references(size)},
        tolerance=TOLERANCE,
        units_per_call=EVALUATIONS,
    )


def references(size: int) -> dict[str, Callable[[], Program]]:
    """The PyTorch programs that msst_jax is compared with."""
    return {ORIGINAL: partial(start_torch, size, "original"), LEAN: partial(start_torch, size, "lean")}


def example(size: int, config: ConfigDict | None = None) -> tuple[ConfigDict, PhotoInputs]:
    """A config, configs/seed.py by default, and the bundled example at size x size pixels.

    The weights are the embedded ones, which the PyTorch reference uses too, whatever was converted on this machine.
    """
    config = config or seed.get_config()
    quickstart.use_example(config)
    config.size, config.weights = size, str(EMBEDDED_VGG16)
    masks = {"person": str(EXAMPLE_MASK)}
    return config, load_photo_inputs(build_options(config), config.photo, parse_single_styles(config.styles), masks)


class Example(NamedTuple):
    """The bundled example under a config, as the steps of benchmarks are compiled of it."""

    config: ConfigDict
    options: StylizationOptions
    inputs: PhotoInputs

    def problem(self) -> "StepProblem":
        """With the full history of the config; to be called, as its step is compiled, at the config's precision."""
        return step_problem(self.options, self.inputs, self.config.history)


def changed_example(size: int, config: ConfigDict, form: Form, changes: Mapping[str, Any]) -> Example:
    """The bundled example at size x size pixels.

    Args:
      size: side in pixels.
      config: of a preset.
      form: of L-BFGS's direction.
      changes: fields of the config.
    """
    config, inputs = example(size, config)
    config.update(changes)
    options = build_options(config)
    if isinstance(options.optimizer, OptimizerOptions):
        options = replace(options, optimizer=replace(options.optimizer, form=form))
    return Example(config, options, inputs)


def start_ours(size: int, history: int, *, remat: bool = False) -> Program:
    """The compiled step, called as msst_jax calls it for one photo.

    Args:
      size: side of the images in pixels.
      history: capacity of the L-BFGS history; the number of evaluations, since PyTorch's grows as it is filled.
      remat: config.remat.
    """
    config, inputs = example(size)
    config.remat = remat
    return start_step(build_options(config), inputs, history)


class StepProblem(NamedTuple):
    """What a step of a photo at full size is compiled of."""

    loss: jax.tree_util.Partial
    runs: LossWeights
    """Of a single run."""
    pixels: jax.Array
    """(1, I, H, W, 3), the photo."""
    transform: optax.GradientTransformationExtraArgs


def step_problem(options: StylizationOptions, inputs: PhotoInputs, history: int) -> StepProblem:
    """The problem of a photo; `history` as in `start_ours`."""
    vgg, _ = load_loss_network(options.network)
    weights = jax.tree.map(lambda value: jnp.full(1, value), options.weights())
    loss, runs = build_objective(options, vgg, scale_scene(inputs, 1.0), weights)
    images = options.image_count(len(inputs.regions))
    pixels = jnp.broadcast_to(jnp.asarray(inputs.photo), (1, images, *inputs.photo.shape))
    transform = optax.with_extra_args_support(build_optimizer(options.optimizer, history))
    return StepProblem(loss, runs, pixels, transform)


def start_step(options: StylizationOptions, inputs: PhotoInputs, history: int) -> Program:
    """The compiled step of a photo at full size; `history` as in `start_ours`."""
    problem, runs, pixels, transform = step_problem(options, inputs, history)
    state = make_init(transform, batched=True)(pixels)
    step, compile_seconds = compile_step(problem, transform, clip_to_range, state, runs)

    def advance() -> list[float]:
        nonlocal state
        losses = []
        for _ in range(EVALUATIONS):
            state, terms, _ = step(state, problem, runs)
            losses.append(terms["total"])
        jax.block_until_ready(state)
        return [float(loss[0]) for loss in losses]

    return Program(advance, compile_seconds, _cost(problem, pixels, runs, step))


def _cost(problem: jax.tree_util.Partial, pixels: jax.Array, runs: object, step: object) -> Cost:
    """FLOPs of loss and gradient, to which the update adds almost nothing; bytes of the complete step."""
    gradient = jax.jit(jax.vmap(jax.value_and_grad(problem, has_aux=True)))
    return cost_of(gradient.lower(pixels, runs), step, gradient, pixels, runs)


def start_torch(size: int, structure: Structure) -> Program:
    """The PyTorch reference."""
    optimization = torch_optimization(size, structure, EVALUATIONS)

    def advance() -> list[float]:
        optimization.step()
        return optimization.losses[-EVALUATIONS:]

    return Program(advance)


def torch_optimization(
    size: int, structure: Structure, evaluations_per_step: int, modes: Modes | None = None
) -> Optimization:
    """The PyTorch optimization of the example, on the GPU if JAX uses one."""
    config, inputs = example(size)
    styles = [region.paintings[0].image for region in inputs.regions]
    settings = Settings(blend_ratio=config.blend_ratio)
    masks, device = inputs.masks, torch_device()
    reference = Reference(EMBEDDED_VGG16, inputs.photo, styles, masks, settings, structure, device, modes or Modes())
    return Optimization(reference, np.stack([inputs.photo] * len(styles)), evaluations_per_step)
