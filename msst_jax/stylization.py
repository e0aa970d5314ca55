"""One photo, K styles: the method of the project, run coarse to fine on the on-line loop."""

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from ml_collections import ConfigDict

from msst_jax import losses
from msst_jax.configuration import compute_type
from msst_jax.images import resize
from msst_jax.inputs import Inputs
from msst_jax.lbfgs import torch_lbfgs
from msst_jax.models.vgg import VGG
from msst_jax.models.weights import load_vgg
from msst_jax.optimize import Solution, interruption, minimize
from msst_jax.preconditioner import smooth_first

Progress = Callable[[int, float], None]
"""Called as (evaluation counted over all scales, loss summed over the pictures)."""

OwnLoss = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]
"""own_loss(pixels (K, H, W, 3), result (H, W, 3)) -> {name: weighted scalar}, added to the loss of the method."""


class Scene(NamedTuple):
    """Photo, masks and styles at one scale, on the device."""

    photo: jax.Array
    masks: jax.Array
    styles: tuple[jax.Array, ...]


class Outcome(NamedTuple):
    """B finished pictures of one batched run."""

    results: np.ndarray
    """(B, H, W, 3) in [0, 1]: the composites."""
    losses: list[dict[str, list[float]]]
    """For each picture: "total" and the weighted terms at every evaluation."""
    evaluations: list[int]
    """Evaluations made at each scale."""
    finite: np.ndarray
    """(B,) False where a loss was not finite and the best pixels so far were kept."""
    improved: np.ndarray
    """(B,) False where nothing better than the start was found."""
    interrupted: bool
    compile_seconds: float
    optimize_seconds: float


def layers_of(config: ConfigDict) -> losses.Layers:
    """The layers and factors that a config names."""
    return losses.Layers(
        tuple(config.style_layers),
        tuple(config.content_layers),
        tuple(config.style_layer_weights) or (1.0,) * len(config.style_layers),
        tuple(config.content_layer_weights) or (1.0,) * len(config.content_layers),
    )


def weights_of(config: ConfigDict, blend_ratio: float) -> losses.Weights:
    """The four factors of the loss for one blend ratio."""
    blend_weight = blend_ratio * config.style_weight
    return losses.Weights(config.style_weight, blend_weight, config.content_weight, config.tv_weight)


def network_of_losses(config: ConfigDict) -> tuple[VGG, Path]:
    """The network that a config names, as deep as its layers, and the file of its weights.

    Raises:
      UserError: weights that are missing, damaged or not deep enough.
    """
    layers = layers_of(config)
    return load_vgg(
        config.network,
        [*layers.style, *layers.content],
        pooling=config.pooling,
        padding=config.padding,
        dtype=compute_type(config.dtype),
        path=Path(config.weights) if config.weights else None,
    )


def evaluations_of(config: ConfigDict) -> list[int]:
    """Evaluations at each scale; they add up to `steps`, or to the next multiple above it.

    The last scale gets at least one; a coarser one may get none and is then left out.
    """
    total = config.steps
    if config.steps_multiple:
        total = (config.steps // config.steps_multiple + 1) * config.steps_multiple
    ends = [round(total * share) for share in np.cumsum(config.scale_steps) / np.sum(config.scale_steps)]
    starts = [min(start, total - 1) for start in [0, *ends]]
    return [end - start for start, end in zip(starts[:-1], [*starts[1:-1], total], strict=True)]


def problem_of(
    config: ConfigDict, vgg: VGG, scene: Scene, weights: losses.Weights, own_loss: OwnLoss | None = None
) -> tuple[Partial, losses.Weights]:
    """What `optimize.minimize` takes for one scene: `loss(pixels, run)` and `runs`.

    The large arrays are arguments of the Partial, so that they stay out of the compiled program.
    `weights` has a leading axis of B runs; the weights returned are those for the size of the scene.
    """
    layers = layers_of(config)
    grams = [_style_targets(vgg, style, layers.style) for style in scene.styles]
    targets = losses.Targets(
        jax.tree.map(lambda *values: jnp.concatenate(values), *grams),
        _content_targets(vgg, scene.photo, layers.content),
    )
    if config.tv_per_pixel:
        height, width = scene.photo.shape[:2]
        weights = weights._replace(tv=weights.tv / (height * width))
    return Partial(partial(_loss, layers, own_loss, config.remat), vgg, targets, scene.masks), weights


def stylize(
    config: ConfigDict,
    vgg: VGG,
    inputs: Inputs,
    runs: Sequence[losses.Weights],
    *,
    seed: int = 0,
    own_loss: OwnLoss | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Optimises B pictures of one photo as one batch, one for each of `runs`.

    Args:
      config: see configs/photo.py.
      vgg: the network, as deep as the layers of the config.
      inputs: photo, masks and styles at their final size.
      runs: the factors of the loss, for each picture.
      seed: of the random start (config.init = "noise").
      own_loss: more terms of a loss; see `OwnLoss`.
      progress: see `Progress`.
    """
    weights = jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *runs)

    def problem(scene: Scene) -> tuple[Partial, losses.Weights]:
        return problem_of(config, vgg, scene, weights, own_loss)

    pixels, solutions = coarse_to_fine(config, problem, inputs, (len(runs), len(inputs.regions)), seed, progress)
    results = jax.vmap(losses.composite, in_axes=(0, None))(pixels, jnp.asarray(inputs.masks))
    return _outcome(results, solutions)


def stylize_separately(
    config: ConfigDict, vgg: VGG, inputs: Inputs, *, seed: int = 0, progress: Progress | None = None
) -> Outcome:
    """Each style optimised alone on the whole photo (style and content loss), then pasted by the masks.

    This is what the original program calls vanilla. Its K runs are one batch; the Outcome holds one
    picture, whose loss is the sum over the runs. Arguments as in `stylize`.
    """
    layers = layers_of(config)
    weights = weights_of(config, 0.0)._replace(tv=0.0)

    def problem(scene: Scene) -> tuple[Partial, dict[str, jax.Array]]:
        grams = [_style_targets(vgg, style, layers.style) for style in scene.styles]
        content = _content_targets(vgg, scene.photo, layers.content)
        whole = jnp.ones_like(scene.masks[..., :1])
        loss = Partial(partial(_separate_loss, layers, weights, config.remat), vgg, content, whole)
        return loss, jax.tree.map(lambda *values: jnp.stack(values), *grams)

    pixels, solutions = coarse_to_fine(config, problem, inputs, (len(inputs.regions), 1), seed, progress)
    result = losses.composite(pixels[:, 0], jnp.asarray(inputs.masks))
    summed = [
        solution._replace(
            losses={name: value.sum(0, keepdims=True) for name, value in solution.losses.items()},
            best_loss=solution.best_loss.sum(keepdims=True),
            finite=np.all(solution.finite, keepdims=True),
        )
        for solution in solutions
    ]
    return _outcome(result[None], summed)


def _loss(
    layers: losses.Layers,
    own_loss: OwnLoss | None,
    remat: bool,
    vgg: VGG,
    targets: losses.Targets,
    masks: jax.Array,
    pixels: jax.Array,
    weights: losses.Weights,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    total, terms = losses.stylization_loss(vgg, targets, masks, layers, pixels, weights, remat=remat)
    if own_loss is None:
        return total, terms
    own = own_loss(pixels, losses.composite(pixels, masks))
    if taken := own.keys() & terms.keys():
        raise ValueError(f"own_loss returns {', '.join(taken)}; those terms are the method's: use other names")
    return total + sum(own.values()), {**terms, **own}


def _separate_loss(
    layers: losses.Layers,
    weights: losses.Weights,
    remat: bool,
    vgg: VGG,
    content: dict[str, jax.Array],
    whole: jax.Array,
    pixels: jax.Array,
    grams: dict[str, jax.Array],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    targets = losses.Targets(grams, content)
    return losses.stylization_loss(vgg, targets, whole, layers, pixels, weights, remat=remat)


_style_targets = jax.jit(losses.style_targets, static_argnums=2)
_content_targets = jax.jit(losses.content_targets, static_argnums=2)


def coarse_to_fine(
    config: ConfigDict,
    problem: Callable[[Scene], tuple[Partial, Any]],
    inputs: Inputs,
    batch: tuple[int, int],
    seed: int,
    progress: Progress | None,
    *,
    stop: threading.Event | None = None,
) -> tuple[jax.Array, list[Solution]]:
    """Solves `problem` at each scale, starting from the pixels of the scale before.

    `batch` is (runs, images a run); returns pixels (runs, images, H, W, 3) and a Solution a scale. Ctrl-C at any
    moment, also while a scale compiles, ends the optimisation and keeps what was found; so does `stop`, if it is given.
    """
    pixels = None
    solutions: list[Solution] = []
    with interruption() if stop is None else nullcontext(stop) as stopped:
        for scale, evaluations in zip(config.scales, evaluations_of(config), strict=True):
            if not evaluations:
                continue
            scene = scene_at(inputs, scale)
            if pixels is None:
                pixels = _start(config.init, jax.random.key(seed), scene.photo, batch)
            else:
                pixels = jnp.clip(resize(pixels, *scene.photo.shape[:2]), 0.0, 1.0)
            if solutions and stopped.is_set():
                continue  # only brings what is there to its full size
            loss, runs = problem(scene)
            solution = minimize(
                loss,
                pixels,
                optimizer_of(config, evaluations),
                evaluations,
                runs=runs,
                stop=stopped,
                on_evaluation=_shifted(progress, sum(solution.losses["total"].shape[-1] for solution in solutions)),
            )
            keep_best = config.keep == "best" or solution.interrupted
            pixels = jnp.asarray(solution.best_pixels if keep_best else solution.pixels)
            solutions.append(solution._replace(pixels=np.empty(0), best_pixels=np.empty(0)))
    assert pixels is not None
    return pixels, solutions


def _shifted(progress: Progress | None, done: int) -> Progress | None:
    """Counts on from the evaluations of the scales before."""
    if progress is None:
        return None
    return lambda evaluation, total: progress(done + evaluation, total)


def scene_at(inputs: Inputs, scale: float) -> Scene:
    """The inputs on the device, every side multiplied by `scale`."""

    def shrink(image: np.ndarray) -> jax.Array:
        if scale == 1:
            return jnp.asarray(image)
        height, width = image.shape[:2]
        return resize(jnp.asarray(image), round(height * scale), round(width * scale))

    return Scene(shrink(inputs.photo), shrink(inputs.masks), tuple(shrink(region.style) for region in inputs.regions))


def _start(init: str, key: jax.Array, photo: jax.Array, batch: tuple[int, int]) -> jax.Array:
    """The first pixels (runs, images, H, W, 3): the photo, or noise around mid-grey, the same for every run."""
    shape = (*batch, *photo.shape)
    if init == "noise":
        noise = 0.5 + 0.1 * jax.random.normal(key, shape[1:])
        return jnp.broadcast_to(jnp.clip(noise, 0.0, 1.0), shape)
    return jnp.broadcast_to(photo, shape)


def optimizer_of(config: ConfigDict, evaluations: int) -> optax.GradientTransformation:
    """The transformation that a config names.

    L-BFGS keeps no more history than it can fill: at 512x512 each pair takes 12 MB for two images.
    """
    if config.optimizer == "adam":
        return optax.adam(config.learning_rate or 0.02)
    return torch_lbfgs(
        config.learning_rate or 1.0,
        min(config.history, evaluations),
        config.max_step or math.inf,
        partial(smooth_first, power=config.precondition) if config.precondition else None,
    )


def _outcome(results: jax.Array, solutions: list[Solution]) -> Outcome:
    names = solutions[0].losses
    curves = {name: np.concatenate([solution.losses[name] for solution in solutions], -1) for name in names}
    better = [solution.best_loss < solution.losses["total"][:, 0] for solution in solutions]
    return Outcome(
        results=np.asarray(results),
        losses=[{name: curves[name][run].tolist() for name in names} for run in range(len(results))],
        evaluations=[solution.losses["total"].shape[-1] for solution in solutions],
        finite=np.all([solution.finite for solution in solutions], axis=0),
        improved=np.any(better, axis=0),
        interrupted=any(solution.interrupted for solution in solutions),
        compile_seconds=sum(solution.compile_seconds for solution in solutions),
        optimize_seconds=sum(solution.run_seconds for solution in solutions),
    )
