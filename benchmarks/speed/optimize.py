"""One evaluation of the on-line method, with configs/seed.py on the bundled example: loss, gradient, update of L-BFGS.

Compared with PyTorch in two structures (tests/torch_reference.py): that of the original program, and one pass over the
batch without gradients of weights.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from benchmarks.harness.program import OURS, PAIRS, Case, Cost, Program, cost_of, torch_device
from configs import quickstart, seed
from msst_jax.cli.flags import parse_region_files
from msst_jax.models.pretrained import EMBEDDED_VGG16
from msst_jax.optim.minimize import clip_to_range, compile_step, make_init
from msst_jax.transfer import build, objective
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs
from reference.original import Optimization, Reference, Settings, Structure

GROUP = "optimize"
ORIGINAL = "PyTorch, the original's structure"
LEAN = "PyTorch, one pass, no gradients of weights"
AGREEMENT = 1e-3  # of the first losses
PIECES = 3
EXAMPLE_MASK = quickstart.EXAMPLES / "astronaut_mask.png"


def cases(quick: bool) -> list[Case]:
    """At sizes that fit the device."""
    large = (512, 1024) if jax.default_backend() != "cpu" else (256, 512)
    return [_case(size) for size in ((64,) if quick else large)]


def _case(size: int) -> Case:
    return Case(
        group=GROUP,
        what="configs/seed.py",
        size=f"{size}x{size}",
        unit="evaluation",
        programs={OURS: partial(start_ours, size, PIECES * (PAIRS + 1)), **references(size)},
        agreement=AGREEMENT,
        pieces=PIECES,
    )


def references(size: int) -> dict[str, Callable[[], Program]]:
    """What ours is compared with."""
    return {ORIGINAL: partial(start_torch, size, "original"), LEAN: partial(start_torch, size, "lean")}


def example(size: int, config: ConfigDict | None = None) -> tuple[ConfigDict, PhotoInputs]:
    """A config, configs/seed.py if none is given, and the bundled example at size x size pixels.

    The weights are those in the package, which the twin has too, whatever was converted on this machine.
    """
    config = config or seed.get_config()
    quickstart.use_example(config)
    config.size, config.weights = size, str(EMBEDDED_VGG16)
    masks = {"person": str(EXAMPLE_MASK)}
    return config, load_photo_inputs(config, config.photo, parse_region_files(config.styles, "style"), masks)


def start_ours(size: int, history: int, *, remat: bool = False) -> Program:
    """The compiled step, called as msst_jax.optimize calls it for one picture.

    Args:
      size: side of the pictures in pixels.
      history: pairs that L-BFGS has room for; as many as evaluations are made, since PyTorch's grows only then.
      remat: config.remat.
    """
    config, inputs = example(size)
    config.remat = remat
    vgg, _ = build.load_loss_network(config)
    weights = jax.tree.map(lambda value: jnp.full(1, value), build.build_weights(config, config.blend_ratio))
    problem, runs = objective.build_objective(config, vgg, objective.scale_scene(inputs, 1.0), weights)
    pixels = jnp.broadcast_to(jnp.asarray(inputs.photo), (1, len(inputs.regions), *inputs.photo.shape))
    transform = optax.with_extra_args_support(build.build_optimizer(config, history))
    state = make_init(transform, batched=True)(pixels)
    step, compile_seconds = compile_step(problem, transform, clip_to_range, state, runs)

    def advance() -> list[float]:
        nonlocal state
        losses = []
        for _ in range(PIECES):
            state, terms, _ = step(state, problem, runs)
            losses.append(terms["total"])
        jax.block_until_ready(state)
        return [float(loss[0]) for loss in losses]

    return Program(advance, compile_seconds, _cost(problem, pixels, runs, step))


def _cost(problem: jax.tree_util.Partial, pixels: jax.Array, runs: object, step: object) -> Cost:
    """FLOPs of loss and gradient, to which the update adds next to nothing; bytes of the whole step."""
    gradient = jax.jit(jax.vmap(jax.value_and_grad(problem, has_aux=True)))
    return cost_of(gradient.lower(pixels, runs), step)


def start_torch(size: int, structure: Structure) -> Program:
    """The PyTorch twin."""
    optimization = torch_optimization(size, structure, PIECES)

    def advance() -> list[float]:
        optimization.step()
        return optimization.losses[-PIECES:]

    return Program(advance)


def torch_optimization(size: int, structure: Structure, evaluations_per_step: int) -> Optimization:
    """The twin's loop over the example, on the GPU if ours is there."""
    config, inputs = example(size)
    styles = [region.style for region in inputs.regions]
    settings = Settings(blend_ratio=config.blend_ratio)
    reference = Reference(
        EMBEDDED_VGG16, inputs.photo, styles, inputs.masks, settings, structure, device=torch_device()
    )
    return Optimization(reference, np.stack([inputs.photo] * len(styles)), evaluations_per_step)
