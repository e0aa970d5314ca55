"""Video frames optimized one after the other, each from the previous result warped along the optical flow."""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx

from msst_jax.losses.objective import LossWeights
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import resize, to_uint8
from msst_jax.optim.minimize import CompiledMinimizer, Solution, compile_minimizer, run_minimizer
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.regions.segmenter import AnySegmenter
from msst_jax.transfer.inputs import PhotoInputs, Region
from msst_jax.transfer.listener import Announce, Listener
from msst_jax.transfer.objective import build_objective, compose, scale_scene
from msst_jax.transfer.optimization import coarse_to_fine, describe_compilation
from msst_jax.transfer.options import StylizationOptions
from msst_jax.transfer.tiling import ScalePlan, plan_tiles
from msst_jax.video.batching import FrameBatch
from msst_jax.video.blend_schedule import BlendSchedule
from msst_jax.video.key_segmentation import found_by, key_segmenter
from msst_jax.video.streaming import FrameStylizer, StylizerStopped
from msst_jax.video.temporal import Motion, blend_recursive, estimate_motion, flow_grid
from msst_jax.video.temporal_masks import (
    FrameMaskSpec,
    KeyFrames,
    MaskState,
    frame_masks,
    initial_mask_state,
    key_frames,
)


@dataclass(frozen=True)
class FrameOptimization:
    """What the optimizations of all frames share.

    Attributes:
      options: see `StylizationOptions`.
      vgg: the network of the losses.
      regions: with their style images, in the order of the mask specification.
      schedule: the blend ratio over time.
      seed: of the random start (options.init = "noise").
      stop: ends the current frame, which is then lost.
      progress: called as (evaluation, loss) within each frame.
      announce: see `Announce`.
    """

    options: StylizationOptions
    vgg: VGG
    regions: Sequence[Region]
    schedule: BlendSchedule
    seed: int
    stop: threading.Event
    progress: Callable[[int, float], None]
    announce: Announce

    def weights(self, time: Fraction) -> LossWeights:
        """The factors of the loss at a time in seconds, as a batch of one run."""
        factors = self.options.weights(self.schedule.at(time))
        return jax.tree.map(lambda value: jnp.asarray([value], jnp.float32), factors)


def optimization_stylizer(
    work: FrameOptimization, segmenter: AnySegmenter | None, spec: FrameMaskSpec
) -> FrameStylizer:
    """Stylizes frame by frame, a batch each, with the losses of the method.

    The first frame takes the evaluations of the schedule, coarse to fine; every other one `next_steps` at full size.

    Args:
      work: see `FrameOptimization`.
      segmenter: None if all masks are given.
      spec: see `build_mask_spec`.
    """
    finder = key_segmenter(segmenter, spec)
    every = work.options.temporal.segment_every
    optimize_next = _make_optimize_next(work)

    def stylize(batch: FrameBatch, state: Any) -> tuple[jax.Array, jax.Array, Any]:
        keys = key_frames(batch.number, 1, every)
        find = _compiled_masks(finder.definition, spec, keys)
        frame, given = (values.astype(np.float32) / 255 for values in (batch.images, batch.given))
        masks, _, regions = find(finder.arguments(batch.images, keys), frame, given, state["regions"])
        inputs = PhotoInputs(frame[0], np.asarray(masks[0]), tuple(work.regions))
        weights = work.weights(batch.timings[0].time)
        if bool(state["seen"]):
            pixels = optimize_next(inputs, weights, _warp_pixels(state["pixels"], state["photo"], frame[0]))
        else:
            pixels = _optimize_first(work, inputs, weights)
        result = to_uint8(compose(work.options, inputs, pixels))
        after = {"regions": regions, "pixels": pixels, "photo": jnp.asarray(frame[0]), "seen": jnp.asarray(True)}
        return result[None], masks.mean((1, 2)), after

    width, height = spec.size
    images = work.options.image_count(len(work.regions))
    nothing = {"pixels": jnp.zeros((images, height, width, 3)), "photo": jnp.zeros((height, width, 3))}
    return FrameStylizer({"regions": initial_mask_state(spec), "seen": jnp.asarray(False), **nothing}, stylize)


@functools.cache
def _compiled_masks(definition: nnx.GraphDef | None, spec: FrameMaskSpec, keys: KeyFrames) -> Callable[..., Any]:
    def find(found: Any, photos: jax.Array, given: jax.Array, state: MaskState) -> tuple[jax.Array, Motion, MaskState]:
        return frame_masks(spec, found_by(definition, found), photos, given, state, keys)

    return jax.jit(find)


@jax.jit
def _warp_pixels(pixels: jax.Array, previous: jax.Array, photo: jax.Array) -> jax.Array:
    """The images (I, H, W, 3) of the previous frame, warped; the photo (H, W, 3) where motion explains nothing."""
    width, height = flow_grid((photo.shape[1], photo.shape[0]))
    small = resize(jnp.stack([previous, photo]), height, width)
    side_by_side = jnp.concatenate(list(pixels), -1)  # as channels of one image, which is warped once
    warped = blend_recursive(*estimate_motion(small[1:], small[0]), side_by_side, jnp.tile(photo, len(pixels))[None])[0]
    return jnp.stack(jnp.split(warped, len(pixels), -1))


def _optimize_first(work: FrameOptimization, inputs: PhotoInputs, weights: LossWeights) -> jax.Array:
    """The images (I, H, W, 3) of the first frame."""
    pixels, solutions, _ = coarse_to_fine(
        work.options,
        lambda scene, tiles: build_objective(work.options, work.vgg, scene, weights, tiles=tiles),
        inputs,
        (1, work.options.image_count(len(inputs.regions))),
        work.seed,
        Listener(work.progress, work.announce),
        stop=work.stop,
    )
    if any(solution.interrupted for solution in solutions):
        raise StylizerStopped
    _warn_if_not_finite(solutions)
    return pixels[0]


def _warn_if_not_finite(solutions: Sequence[Solution]) -> None:
    """Warns of the first such frame only: there may be thousands."""
    if not all(np.all(solution.finite) for solution in solutions):
        logging.log_first_n(
            logging.WARNING, "the loss of a frame was not finite: it fell back to the best picture so far", 1
        )


def _make_optimize_next(work: FrameOptimization) -> Callable[[PhotoInputs, LossWeights, jax.Array], jax.Array]:
    """The optimization of a later frame's images (I, H, W, 3) from a start; one program serves all frames."""
    evaluations = work.options.temporal.next_steps
    transform = build_optimizer(work.options.optimizer, evaluations)
    compiled: CompiledMinimizer | None = None
    tiles = 1

    def optimize_next(inputs: PhotoInputs, weights: LossWeights, start: jax.Array) -> jax.Array:
        nonlocal compiled, tiles
        if compiled is None:
            (plan,) = plan_tiles(work.options, [ScalePlan((1, *start.shape), evaluations)])
            tiles = plan.tiles
        loss, runs = build_objective(work.options, work.vgg, scale_scene(inputs, 1.0), weights, tiles=tiles)
        if compiled is None:
            work.announce(describe_compilation(start, tiles))
            compiled = compile_minimizer(loss, start[None], transform, runs=runs)
        solution = run_minimizer(
            compiled,
            loss,
            start[None],
            evaluations,
            runs=runs,
            on_evaluation=work.progress,
            stop=work.stop,
        )
        if solution.interrupted:
            raise StylizerStopped
        _warn_if_not_finite([solution])
        return jnp.asarray(solution.best_pixels if work.options.keep == "best" else solution.pixels)[0]

    return optimize_next
