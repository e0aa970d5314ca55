"""Coarse-to-fine optimization of the images of one photo, one or one per region, B runs at a time."""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from msst_jax.losses.objective import LossWeights
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, resize
from msst_jax.optim.minimize import Solution, minimize
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.runtime.interrupt import interrupt_event
from msst_jax.transfer.inputs import PhotoInputs
from msst_jax.transfer.kept import KEEP
from msst_jax.transfer.objective import (
    ExtraLoss,
    Scene,
    build_objective,
    build_separate_objective,
    compose,
    finish,
    scale_scene,
)
from msst_jax.transfer.options import StylizationOptions

ProgressCallback = Callable[[int, float], None]
"""Called as (evaluation counted over all scales, loss summed over the runs)."""


class StylizationResult(NamedTuple):
    """B finished images of one batched run."""

    images: np.ndarray
    """(B, H, W, 3) in [0, 1]: the composites."""
    losses: list[dict[str, list[float]]]
    """For each image: "total" and the weighted terms at every evaluation."""
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
    options: StylizationOptions,
    vgg: VGG,
    inputs: PhotoInputs,
    runs: Sequence[LossWeights],
    *,
    seed: int = 0,
    extra_loss: ExtraLoss | None = None,
    progress: ProgressCallback | None = None,
) -> StylizationResult:
    """Optimizes B images of one photo as one batch, one for each of `runs`.

    Args:
      options: see `StylizationOptions`.
      vgg: the network, as deep as the layers of the options; see `objective.load_loss_network`.
      inputs: photo, masks and styles at their final size.
      runs: the factors of the loss, for each image.
      seed: of the random start (options.init = "noise").
      extra_loss: further terms of the loss; see `ExtraLoss`.
      progress: see `ProgressCallback`.
    """
    weights = jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *runs)

    def problem(scene: Scene) -> tuple[Partial, LossWeights]:
        return build_objective(options, vgg, scene, weights, extra_loss)

    batch = (len(runs), options.image_count(len(inputs.regions)))
    pixels, solutions = coarse_to_fine(options, problem, inputs, batch, seed, progress)
    images = jax.vmap(partial(compose, options, inputs))(pixels)
    return _collect(images, solutions)


def stylize_separately(
    options: StylizationOptions,
    vgg: VGG,
    inputs: PhotoInputs,
    *,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> StylizationResult:
    """Each style optimized alone on the whole photo (style and content loss), then pasted by the masks.

    This is what the original program calls vanilla. Its runs, one for each style, are one batch; the result holds one
    image, whose loss is the sum over the runs. Arguments as in `stylize`.
    """

    def problem(scene: Scene) -> tuple[Partial, dict[str, jax.Array]]:
        return build_separate_objective(options, vgg, scene)

    styled = [index for index, file in enumerate(inputs.style_files) if file != KEEP]
    pixels, solutions = coarse_to_fine(options, problem, inputs, (len(styled), 1), seed, progress)
    images = jnp.broadcast_to(inputs.photo, (len(inputs.regions), *inputs.photo.shape)).at[jnp.asarray(styled)]
    image = finish(options, inputs, composite(images.set(pixels[:, 0]), jnp.asarray(inputs.masks)))
    summed = [
        solution._replace(
            losses={name: value.sum(0, keepdims=True) for name, value in solution.losses.items()},
            best_loss=solution.best_loss.sum(keepdims=True),
            finite=np.all(solution.finite, keepdims=True),
        )
        for solution in solutions
    ]
    return _collect(image[None], summed)


def coarse_to_fine(
    options: StylizationOptions,
    problem: Callable[[Scene], tuple[Partial, Any]],
    inputs: PhotoInputs,
    batch: tuple[int, int],
    seed: int,
    progress: ProgressCallback | None,
    *,
    stop: threading.Event | None = None,
) -> tuple[jax.Array, list[Solution]]:
    """Minimizes `problem` at each scale, starting from the resized pixels of the previous scale.

    Ctrl-C at any moment, also while a scale compiles, ends the optimization and keeps the pixels so far; so does
    `stop`, if it is given.

    Args:
      options: schedule, optimizer, init and keep.
      problem: a scene to the objective and its runs; see `build_objective`.
      inputs: photo, masks, styles and start at their final size.
      batch: (runs, images a run).
      seed: of the random start.
      progress: see `ProgressCallback`.
      stop: ends the optimization once it is set.

    Returns:
      Pixels (runs, images, H, W, 3), and the Solution of each scale.
    """
    pixels = None
    first = None if inputs.start is None else jnp.asarray(inputs.start)
    solutions: list[Solution] = []
    schedule = options.schedule
    with interrupt_event() if stop is None else nullcontext(stop) as stopped:
        for scale, evaluations in zip(schedule.scales, schedule.evaluations, strict=True):
            if not evaluations:
                continue
            scene = scale_scene(inputs, scale)
            if pixels is None:
                start = scene.photo if first is None else resize(first, *scene.photo.shape[:2])
                pixels = _initial_pixels(options.init, jax.random.key(seed), start, batch)
            else:
                pixels = _next_pixels(pixels, first, *scene.photo.shape[:2])
            if solutions and stopped.is_set():
                continue  # only bring the pixels so far to their full size
            loss, runs = problem(scene)
            solution = minimize(
                loss,
                pixels,
                build_optimizer(options.optimizer, evaluations),
                evaluations,
                runs=runs,
                stop=stopped,
                on_evaluation=_shifted(progress, sum(solution.losses["total"].shape[-1] for solution in solutions)),
            )
            keep_best = options.keep == "best" or solution.interrupted
            pixels = jnp.asarray(solution.best_pixels if keep_best else solution.pixels)
            solutions.append(solution._replace(pixels=np.empty(0), best_pixels=np.empty(0)))
    assert pixels is not None
    return pixels, solutions


def _shifted(progress: ProgressCallback | None, done: int) -> ProgressCallback | None:
    """Counts on from the evaluations of the previous scales."""
    if progress is None:
        return None
    return lambda evaluation, total: progress(done + evaluation, total)


def _initial_pixels(init: str, key: jax.Array, start: jax.Array, batch: tuple[int, int]) -> jax.Array:
    """The first pixels (runs, images, H, W, 3): a start (H, W, 3), or noise around mid-gray, the same for every run."""
    shape = (*batch, *start.shape)
    if init == "noise":
        noise = 0.5 + 0.1 * jax.random.normal(key, shape[1:])
        return jnp.broadcast_to(jnp.clip(noise, 0.0, 1.0), shape)
    return jnp.broadcast_to(start, shape)


def _next_pixels(pixels: jax.Array, start: jax.Array | None, height: int, width: int) -> jax.Array:
    """The pixels (runs, images, H, W, 3) of a scale at the size of the next one.

    The details of a start from a file, which the coarser scale cannot hold, are added again: it may be a result that
    is to be continued.
    """
    larger = resize(pixels, height, width)
    if start is not None:
        coarse = resize(start, *pixels.shape[-3:-1])
        larger += resize(start, height, width) - resize(coarse, height, width)
    return jnp.clip(larger, 0.0, 1.0)


def _collect(images: jax.Array, solutions: list[Solution]) -> StylizationResult:
    names = solutions[0].losses
    curves = {name: np.concatenate([solution.losses[name] for solution in solutions], -1) for name in names}
    better = [solution.best_loss < solution.losses["total"][:, 0] for solution in solutions]
    return StylizationResult(
        images=np.asarray(images),
        losses=[{name: curves[name][run].tolist() for name in names} for run in range(len(images))],
        evaluations=[solution.losses["total"].shape[-1] for solution in solutions],
        finite=np.all([solution.finite for solution in solutions], axis=0),
        improved=np.any(better, axis=0),
        interrupted=any(solution.interrupted for solution in solutions),
        compile_seconds=sum(solution.compile_seconds for solution in solutions),
        optimize_seconds=sum(solution.run_seconds for solution in solutions),
    )
