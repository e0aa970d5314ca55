"""One photo, K styles: the method of the project, run coarse to fine on the on-line loop."""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from msst_jax.losses import objective as losses
from msst_jax.models.vgg import VGG
from msst_jax.ops import image as image_ops
from msst_jax.ops.image import resize
from msst_jax.optim.minimize import Solution, minimize
from msst_jax.runtime.interrupt import interrupt_event
from msst_jax.transfer.build import build_layers, build_optimizer, build_weights, evaluations_per_scale
from msst_jax.transfer.inputs import PhotoInputs
from msst_jax.transfer.objective import (
    ExtraLoss,
    Scene,
    _content_targets,
    _separate_objective,
    _style_targets,
    build_objective,
    scale_scene,
)

ProgressCallback = Callable[[int, float], None]
"""Called as (evaluation counted over all scales, loss summed over the pictures)."""


class StylizationResult(NamedTuple):
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


def stylize(
    config: ConfigDict,
    vgg: VGG,
    inputs: PhotoInputs,
    runs: Sequence[losses.LossWeights],
    *,
    seed: int = 0,
    own_loss: ExtraLoss | None = None,
    progress: ProgressCallback | None = None,
) -> StylizationResult:
    """Optimises B pictures of one photo as one batch, one for each of `runs`.

    Args:
      config: see configs/photo.py.
      vgg: the network, as deep as the layers of the config.
      inputs: photo, masks and styles at their final size.
      runs: the factors of the loss, for each picture.
      seed: of the random start (config.init = "noise").
      own_loss: more terms of a loss; see `ExtraLoss`.
      progress: see `ProgressCallback`.
    """
    weights = jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *runs)

    def problem(scene: Scene) -> tuple[Partial, losses.LossWeights]:
        return build_objective(config, vgg, scene, weights, own_loss)

    pixels, solutions = coarse_to_fine(config, problem, inputs, (len(runs), len(inputs.regions)), seed, progress)
    results = jax.vmap(image_ops.composite, in_axes=(0, None))(pixels, jnp.asarray(inputs.masks))
    return _collect(results, solutions)


def stylize_separately(
    config: ConfigDict, vgg: VGG, inputs: PhotoInputs, *, seed: int = 0, progress: ProgressCallback | None = None
) -> StylizationResult:
    """Each style optimised alone on the whole photo (style and content loss), then pasted by the masks.

    This is what the original program calls vanilla. Its K runs are one batch; the Outcome holds one
    picture, whose loss is the sum over the runs. Arguments as in `stylize`.
    """
    layers = build_layers(config)
    weights = build_weights(config, 0.0)._replace(tv=0.0)

    def problem(scene: Scene) -> tuple[Partial, dict[str, jax.Array]]:
        grams = [_style_targets(vgg, style, layers.style) for style in scene.styles]
        content = _content_targets(vgg, scene.photo, layers.content)
        whole = jnp.ones_like(scene.masks[..., :1])
        loss = Partial(partial(_separate_objective, layers, weights, config.remat), vgg, content, whole)
        return loss, jax.tree.map(lambda *values: jnp.stack(values), *grams)

    pixels, solutions = coarse_to_fine(config, problem, inputs, (len(inputs.regions), 1), seed, progress)
    result = image_ops.composite(pixels[:, 0], jnp.asarray(inputs.masks))
    summed = [
        solution._replace(
            losses={name: value.sum(0, keepdims=True) for name, value in solution.losses.items()},
            best_loss=solution.best_loss.sum(keepdims=True),
            finite=np.all(solution.finite, keepdims=True),
        )
        for solution in solutions
    ]
    return _collect(result[None], summed)


def coarse_to_fine(
    config: ConfigDict,
    problem: Callable[[Scene], tuple[Partial, Any]],
    inputs: PhotoInputs,
    batch: tuple[int, int],
    seed: int,
    progress: ProgressCallback | None,
    *,
    stop: threading.Event | None = None,
) -> tuple[jax.Array, list[Solution]]:
    """Solves `problem` at each scale, starting from the pixels of the scale before.

    `batch` is (runs, images a run); returns pixels (runs, images, H, W, 3) and a Solution a scale. Ctrl-C at any
    moment, also while a scale compiles, ends the optimisation and keeps what was found; so does `stop`, if it is given.
    """
    pixels = None
    solutions: list[Solution] = []
    with interrupt_event() if stop is None else nullcontext(stop) as stopped:
        for scale, evaluations in zip(config.scales, evaluations_per_scale(config), strict=True):
            if not evaluations:
                continue
            scene = scale_scene(inputs, scale)
            if pixels is None:
                pixels = _initial_pixels(config.init, jax.random.key(seed), scene.photo, batch)
            else:
                pixels = jnp.clip(resize(pixels, *scene.photo.shape[:2]), 0.0, 1.0)
            if solutions and stopped.is_set():
                continue  # only brings what is there to its full size
            loss, runs = problem(scene)
            solution = minimize(
                loss,
                pixels,
                build_optimizer(config, evaluations),
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


def _shifted(progress: ProgressCallback | None, done: int) -> ProgressCallback | None:
    """Counts on from the evaluations of the scales before."""
    if progress is None:
        return None
    return lambda evaluation, total: progress(done + evaluation, total)


def _initial_pixels(init: str, key: jax.Array, photo: jax.Array, batch: tuple[int, int]) -> jax.Array:
    """The first pixels (runs, images, H, W, 3): the photo, or noise around mid-grey, the same for every run."""
    shape = (*batch, *photo.shape)
    if init == "noise":
        noise = 0.5 + 0.1 * jax.random.normal(key, shape[1:])
        return jnp.broadcast_to(jnp.clip(noise, 0.0, 1.0), shape)
    return jnp.broadcast_to(photo, shape)


def _collect(results: jax.Array, solutions: list[Solution]) -> StylizationResult:
    names = solutions[0].losses
    curves = {name: np.concatenate([solution.losses[name] for solution in solutions], -1) for name in names}
    better = [solution.best_loss < solution.losses["total"][:, 0] for solution in solutions]
    return StylizationResult(
        results=np.asarray(results),
        losses=[{name: curves[name][run].tolist() for name in names} for run in range(len(results))],
        evaluations=[solution.losses["total"].shape[-1] for solution in solutions],
        finite=np.all([solution.finite for solution in solutions], axis=0),
        improved=np.any(better, axis=0),
        interrupted=any(solution.interrupted for solution in solutions),
        compile_seconds=sum(solution.compile_seconds for solution in solutions),
        optimize_seconds=sum(solution.run_seconds for solution in solutions),
    )
