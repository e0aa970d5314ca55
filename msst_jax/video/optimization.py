"""Frames of a clip optimised one after the other, each from the one before, moved along with the picture."""

import functools
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from msst_jax.losses.objective import LossWeights
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, resize, to_uint8
from msst_jax.optim.minimize import CompiledMinimizer, compile_minimizer, run_minimizer
from msst_jax.regions.segmenter import Segmenter
from msst_jax.transfer.build import build_optimizer, build_weights
from msst_jax.transfer.inputs import PhotoInputs, Region
from msst_jax.transfer.objective import build_objective, scale_scene
from msst_jax.transfer.optimization import coarse_to_fine
from msst_jax.video.batching import FrameBatch
from msst_jax.video.blend_schedule import BlendSchedule
from msst_jax.video.streaming import FrameStylizer, StylizerStopped
from msst_jax.video.temporal import Motion, blend_recursive, estimate_motion, flow_grid
from msst_jax.video.temporal_masks import MaskSpec, MaskState, frame_masks, initial_mask_state, key_frames


class FrameOptimization(NamedTuple):
    """What all frames have in common.

    Attributes:
      config: see configs/photo.py.
      vgg: the network of the losses.
      styles: the regions with their style pictures, in the order of the layout.
      schedule: the blend ratio over time.
      seed: of the random start (config.init = "noise").
      stop: ends the frame at hand, which is then lost.
      progress: called as (evaluation, loss) within each frame.
    """

    config: ConfigDict
    vgg: VGG
    styles: Sequence[Region]
    schedule: BlendSchedule
    seed: int
    stop: threading.Event
    progress: Callable[[int, float], None]

    def weights(self, time: Fraction) -> LossWeights:
        """The factors of the loss at a time in seconds, as a batch of one run."""
        factors = build_weights(self.config, self.schedule.at(time))
        return jax.tree.map(lambda value: jnp.asarray([value], jnp.float32), factors)


def optimization_stylizer(work: FrameOptimization, segmenter: Segmenter | None, layout: MaskSpec) -> FrameStylizer:
    """Paints frame by frame, a batch each, with the losses of the method.

    The first frame takes `config.steps` evaluations, coarse to fine; every other one `config.next_steps` at full size.

    Args:
      work: see `FrameOptimization`.
      segmenter: finds regions; None if all are given.
      layout: see `build_mask_spec`.
    """
    finder = nnx.split(segmenter.model) if segmenter else None
    later = _make_optimize_next(work)

    def paint(batch: FrameBatch, state: Any) -> tuple[jax.Array, jax.Array, Any]:
        find = _compiled_masks(
            finder[0] if finder else None, layout, key_frames(batch.number, 1, work.config.segment_every)
        )
        frame, given = (values.astype(np.float32) / 255 for values in (batch.images, batch.given))
        masks, _, regions = find(finder[1] if finder else None, frame, given, state["regions"])
        inputs = PhotoInputs(frame[0], np.asarray(masks[0]), tuple(work.styles))
        weights = work.weights(batch.timings[0].time)
        if bool(state["seen"]):
            pixels = later(inputs, weights, _warp_pixels(state["pixels"], state["photo"], frame[0]))
        else:
            pixels = _optimize_first(work, inputs, weights)
        result = to_uint8(composite(pixels, masks[0]))
        after = {"regions": regions, "pixels": pixels, "photo": jnp.asarray(frame[0]), "seen": jnp.asarray(True)}
        return result[None], masks.mean((1, 2)), after

    width, height = layout.size
    nothing = {"pixels": jnp.zeros((len(work.styles), height, width, 3)), "photo": jnp.zeros((height, width, 3))}
    return FrameStylizer({"regions": initial_mask_state(layout), "seen": jnp.asarray(False), **nothing}, paint)


@functools.cache
def _compiled_masks(definition: nnx.GraphDef | None, layout: MaskSpec, keys: tuple[int, ...]) -> Callable[..., Any]:
    def find(
        weights: Any, photos: jax.Array, given: jax.Array, state: MaskState
    ) -> tuple[jax.Array, Motion, MaskState]:
        network = nnx.merge(definition, weights) if definition is not None else None
        return frame_masks(layout, network, photos, given, state, keys)

    return jax.jit(find)


@jax.jit
def _warp_pixels(pixels: jax.Array, before: jax.Array, photo: jax.Array) -> jax.Array:
    """The images (K, H, W, 3) of the frame before, moved along; the photo (H, W, 3) where motion explains nothing."""
    width, height = flow_grid((photo.shape[1], photo.shape[0]))
    small = resize(jnp.stack([before, photo]), height, width)
    side_by_side = jnp.concatenate(list(pixels), -1)  # as channels of one picture, which moves once
    moved = blend_recursive(*estimate_motion(small[1:], small[0]), side_by_side, jnp.tile(photo, len(pixels))[None])[0]
    return jnp.stack(jnp.split(moved, len(pixels), -1))


def _optimize_first(work: FrameOptimization, inputs: PhotoInputs, weights: LossWeights) -> jax.Array:
    """The images (K, H, W, 3) of the first frame."""
    pixels, solutions = coarse_to_fine(
        work.config,
        lambda scene: build_objective(work.config, work.vgg, scene, weights),
        inputs,
        (1, len(inputs.regions)),
        work.seed,
        work.progress,
        stop=work.stop,
    )
    if any(solution.interrupted for solution in solutions):
        raise StylizerStopped
    return pixels[0]


def _make_optimize_next(work: FrameOptimization) -> Callable[[PhotoInputs, LossWeights, jax.Array], jax.Array]:
    """Makes the images (K, H, W, 3) of a later frame from a start; one program serves all of them."""
    transform = build_optimizer(work.config, work.config.next_steps)
    compiled: CompiledMinimizer | None = None

    def later(inputs: PhotoInputs, weights: LossWeights, start: jax.Array) -> jax.Array:
        nonlocal compiled
        loss, runs = build_objective(work.config, work.vgg, scale_scene(inputs, 1.0), weights)
        compiled = compiled or compile_minimizer(loss, start[None], transform, runs=runs)
        solution = run_minimizer(
            compiled,
            loss,
            start[None],
            work.config.next_steps,
            runs=runs,
            on_evaluation=work.progress,
            stop=work.stop,
        )
        if solution.interrupted:
            raise StylizerStopped
        return jnp.asarray(solution.best_pixels if work.config.keep == "best" else solution.pixels)[0]

    return later
