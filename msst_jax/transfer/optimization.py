"""Coarse-to-fine optimization of the images of one photo, one or one per region, B runs at a time."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.tree_util import Partial

from msst_jax.losses.objective import LossWeights
from msst_jax.models.vgg import VGG
from msst_jax.ops.batch_split import batch_split_of
from msst_jax.ops.device_split import gather
from msst_jax.ops.image import composite, resize
from msst_jax.ops.picture_split import split_of
from msst_jax.optim.minimize import CompiledMinimizer, Solution, run_minimizer
from msst_jax.optim.programs import Programs
from msst_jax.runtime.devices import chosen_devices
from msst_jax.runtime.interrupt import interrupt_event
from msst_jax.transfer.inputs import PhotoInputs, check_photo_inputs
from msst_jax.transfer.listener import SILENT, Listener
from msst_jax.transfer.memory import check_memory
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
from msst_jax.transfer.placement import place_pixels, place_problem, place_scene, share_work, strip_multiple
from msst_jax.transfer.tiling import ScalePlan, evaluation_bytes, plan_tiles

FINISHING_EVALUATIONS = 5  # at full size, if an interrupt comes before these have begun


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
    tiles: Sequence[int] = (1,)
    """Windows of rows that each scale was cut into; 1 = the whole."""


def stylize(
    options: StylizationOptions,
    vgg: VGG,
    inputs: PhotoInputs,
    runs: Sequence[LossWeights],
    *,
    seed: int = 0,
    extra_loss: ExtraLoss | None = None,
    listener: Listener = SILENT,
    programs: Programs | None = None,
    stop: threading.Event | None = None,
) -> StylizationResult:
    """Optimizes B images of one photo as one batch, one for each of `runs`.

    Args:
      options: see `StylizationOptions`.
      vgg: the network, as deep as the layers of the options; see `objective.load_loss_network`.
      inputs: photo, masks and styles at their final size.
      runs: the factors of the loss, for each image.
      seed: of the random start (options.init = "noise").
      extra_loss: further terms of the loss; see `ExtraLoss`.
      listener: see `Listener`.
      programs: see `coarse_to_fine`.
      stop: see `coarse_to_fine`.

    Raises:
      UserError: as `check_photo_inputs` and `coarse_to_fine`.
    """
    check_photo_inputs(inputs)
    weights = jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *runs)

    def problem(scene: Scene, tiles: int) -> tuple[Partial, LossWeights]:
        return build_objective(options, vgg, scene, weights, extra_loss, tiles)

    batch = (len(runs), options.image_count(len(inputs.regions)))

    def full_images(pixels: jax.Array) -> jax.Array:
        return jax.vmap(partial(compose, options, inputs))(_resize_pixels(gather(pixels), *inputs.photo.shape[:2]))

    preview = listener.preview
    of_pixels = preview and preview._replace(show=lambda count, pixels: preview.show(count, full_images(pixels)))
    told = listener._replace(preview=of_pixels)
    pixels, solutions, tiles = coarse_to_fine(
        options, problem, inputs, batch, seed, told, programs=programs, stop=stop, devices=options.devices
    )
    return _collect(full_images(pixels), solutions, tiles)


def stylize_separately(
    options: StylizationOptions,
    vgg: VGG,
    inputs: PhotoInputs,
    *,
    seed: int = 0,
    listener: Listener = SILENT,
    stop: threading.Event | None = None,
) -> StylizationResult:
    """Each style optimized alone on the whole photo (style and content loss), then pasted by the masks.

    This is what the original program calls vanilla. Its runs, one for each style, are one batch; the result holds one
    image, whose loss is the sum over the runs. Arguments as in `stylize` and `coarse_to_fine`.
    """

    def problem(scene: Scene, tiles: int) -> tuple[Partial, dict[str, jax.Array]]:
        return build_separate_objective(options, vgg, scene, tiles)

    styled = inputs.styled
    pixels, solutions, tiles = coarse_to_fine(
        options, problem, inputs, (len(styled), 1), seed, listener, stop=stop, devices=options.devices
    )
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
    return _collect(image[None], summed, tiles)


def coarse_to_fine(
    options: StylizationOptions,
    problem: Callable[[Scene, int], tuple[Partial, Any]],
    inputs: PhotoInputs,
    batch: tuple[int, int],
    seed: int,
    listener: Listener,
    *,
    stop: threading.Event | None = None,
    programs: Programs | None = None,
    devices: int = 1,
) -> tuple[jax.Array, list[Solution], list[int]]:
    """Minimizes `problem` at each scale, starting from the resized pixels of the previous scale.

    Ctrl-C at any moment, also while a scale compiles, ends the optimization and keeps the pixels so far. If those are
    not of full size yet, they are resized and get FINISHING_EVALUATIONS there; a further Ctrl-C ends these.

    Once the first scale is compiled, it is checked that all of them fit into memory, and known better how many tiles
    the others need.

    Args:
      options: schedule, optimizer, init, keep and tiles.
      problem: a scene and a number of tiles to the objective and its runs; see `build_objective`.
      inputs: photo, masks, styles and start at their final size.
      batch: (runs, images a run).
      seed: of the random start.
      listener: see `Listener`; its preview receives the pixels of the scale.
      stop: takes the place of Ctrl-C, and ends the optimization without finishing at full size.
      programs: of earlier optimizations, which serve again where only arrays differ, and take those of this one; None =
        none.
      devices: that are to share the runs or the picture, see `placement.share_work`; 0 = all.

    Returns:
      Pixels (runs, images, H, W, 3), the Solution of each scale, and the number of its tiles.

    Raises:
      UserError: the memory is not there, or not as many devices.
    """
    pixels = None
    first = None if inputs.start is None else jnp.asarray(inputs.start)
    solutions: list[Solution] = []
    tiles: list[int] = []
    compiler = partial((programs or Programs()).minimizer, options.optimizer)
    scales = [pair for pair in zip(options.schedule.scales, options.schedule.evaluations, strict=True) if pair[1]]

    found = chosen_devices(devices)
    plans = plan_tiles(options, _scale_plans(options, scales, (*batch, *inputs.photo.shape), found))
    _log_left_out(options, plans[-1], len(found))

    def check(compiled: CompiledMinimizer) -> None:
        nonlocal plans
        if solutions:
            return
        if compiled.temporary_bytes:
            correction = compiled.temporary_bytes / evaluation_bytes(options, plans[0])
            plans = (plans[0], *plan_tiles(options, plans[1:], correction))
        needed = check_memory(options, compiled, plans, listener.fewer)
        if needed and compiled.seconds:
            listener.announce(needed)

    with interrupt_event() if stop is None else nullcontext(stop) as stopped:
        for number, (scale, evaluations) in enumerate(scales, start=1):
            scene = scale_scene(inputs, scale)
            if pixels is None:
                start = scene.photo if first is None else resize(first, *scene.photo.shape[:2])
                pixels = _initial_pixels(options.init, jax.random.key(seed), start, batch)
            else:
                pixels = _next_pixels(pixels, first, *scene.photo.shape[:2])
            finishes = stop is None and number == len(scales)
            if solutions and stopped.is_set() and not finishes:
                continue  # only bring the pixels so far to their full size
            plan = plans[number - 1]
            scene, pixels = place_scene(options.network, scene, plan.split), place_pixels(pixels, plan.split)
            told = listener._replace(done=sum(solution.losses["total"].shape[-1] for solution in solutions))
            here = partial(_build_problem, problem, scene, plan)
            solution = _minimize_scale(compiler, here, pixels, evaluations, told, check, stopped, finishes, plan.tiles)
            keep_best = options.keep == "best" or solution.interrupted
            pixels = jnp.asarray(solution.best_pixels if keep_best else solution.pixels)
            solutions.append(solution._replace(pixels=np.empty(0), best_pixels=np.empty(0)))
            tiles.append(plan.tiles)
    assert pixels is not None
    return pixels, solutions, tiles


def _scale_plans(
    options: StylizationOptions,
    scales: Sequence[tuple[float, int]],
    shape: tuple[int, ...],
    devices: Sequence[jax.Device],
) -> list[ScalePlan]:
    """The plans of scales (scale, evaluations), for pixels that have a shape (runs, images, H, W, 3) at full size."""
    runs, images, height, width, channels = shape
    plans = []
    for scale, count in scales:
        scaled = (runs, images, round(height * scale), round(width * scale), channels)
        plans.append(ScalePlan(scaled, count, split=share_work(options.network, scaled, devices)))
    return plans


def _build_problem(
    problem: Callable[[Scene, int], tuple[Partial, Any]], scene: Scene, plan: ScalePlan
) -> tuple[Partial, Any]:
    """The objective and its runs, on the devices of a plan."""
    return place_problem(problem(scene, plan.tiles), plan.split)


def _log_left_out(options: StylizationOptions, plan: ScalePlan, devices: int) -> None:
    """Says how a picture would lie on all devices, if it does not."""
    if plan.devices < devices:
        logging.info(
            "%dx%d pixels lie on %d of %d devices; a side that is a multiple of %d would lie on all",
            *(*plan.shape[3:1:-1], plan.devices, devices, devices * strip_multiple(options.network)),
        )


def _minimize_scale(
    compiler: Callable[..., tuple[CompiledMinimizer, Partial, Any]],
    problem: Callable[[], tuple[Partial, Any]],
    pixels: jax.Array,
    evaluations: int,
    listener: Listener,
    on_compiled: Callable[[CompiledMinimizer], None],
    stopped: threading.Event,
    finishes: bool,
    tiles: int,
) -> Solution:
    """Minimizes at one scale.

    Args:
      compiler: `Programs.minimizer` of an optimizer.
      problem: gives the objective and its runs.
      pixels: the first ones (runs, images, H, W, 3).
      evaluations: at this scale.
      listener: see `Listener`.
      on_compiled: called before the first evaluation.
      stopped: ends the optimization once it is set, after the evaluation at work.
      finishes: if it is set before the first evaluation, still make a few, until a further Ctrl-C.
      tiles: that the objective is cut into.
    """
    few = min(evaluations, FINISHING_EVALUATIONS)
    with ExitStack() as held:

        def finishing() -> threading.Event | None:
            """The event of a further Ctrl-C, if there was one."""
            if not (finishes and stopped.is_set()):
                return None
            further = held.enter_context(interrupt_event())
            counted = f"{few} evaluation{'s' * (few > 1)}"
            listener.announce(f"finishing at full size: {counted}; press Ctrl-C again to stop at once", few)
            return further

        stop = finishing()
        compiled, loss, runs = compiler(
            problem,
            pixels,
            few if stop else evaluations,
            on_compile=lambda: listener.announce(describe_compilation(pixels, tiles)),
        )
        on_compiled(compiled)
        stop = stop or finishing()
        solution = run_minimizer(
            compiled,
            loss,
            pixels,
            few if stop else evaluations,
            runs=runs,
            on_evaluation=listener.on_evaluation(),
            on_best=listener.on_best(),
            stop=stop or stopped,
        )
        return solution._replace(interrupted=stopped.is_set())


def describe_compilation(pixels: jax.Array, tiles: int = 1) -> str:
    """What is said before the program for images (..., H, W, 3) is compiled."""
    height, width = pixels.shape[-3:-1]
    split = split_of(pixels) or batch_split_of(pixels)
    parts = [f" in {tiles} tiles" * (tiles > 1), f" over {split.devices} devices" if split else ""]
    return f"compiling for {width}x{height} pixels{''.join(parts)}"


def _resize_pixels(pixels: jax.Array, height: int, width: int) -> jax.Array:
    """Pixels (..., H, W, 3) at another scale, in [0, 1]."""
    if pixels.shape[-3:-1] == (height, width):
        return pixels
    return jnp.clip(resize(pixels, height, width), 0.0, 1.0)


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
    if start is None:
        return _resize_pixels(pixels, height, width)
    coarse = resize(start, *pixels.shape[-3:-1])
    details = resize(start, height, width) - resize(coarse, height, width)
    return jnp.clip(resize(pixels, height, width) + details, 0.0, 1.0)


def _collect(images: jax.Array, solutions: list[Solution], tiles: list[int]) -> StylizationResult:
    names = solutions[0].losses
    curves = {name: np.concatenate([solution.losses[name] for solution in solutions], -1) for name in names}
    better = [solution.best_loss < solution.losses["total"][:, 0] for solution in solutions]
    return StylizationResult(
        images=np.asarray(images),
        losses=[{name: curves[name][run].tolist() for name in names} for run in range(len(images))],
        evaluations=[solution.losses["total"].shape[-1] for solution in solutions],
        tiles=tiles,
        finite=np.all([solution.finite for solution in solutions], axis=0),
        improved=np.any(better, axis=0),
        interrupted=any(solution.interrupted for solution in solutions),
        compile_seconds=sum(solution.compile_seconds for solution in solutions),
        optimize_seconds=sum(solution.run_seconds for solution in solutions),
    )
