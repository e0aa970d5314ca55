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

from msst_jax.losses.objective import Weights
from msst_jax.models.vgg import VGG
from msst_jax.ops.image import composite, resize, to_bytes
from msst_jax.optim.minimize import Compiled, follow, prepare
from msst_jax.regions.segmenter import Segmenter
from msst_jax.transfer.build import optimizer_of, weights_of
from msst_jax.transfer.inputs import Inputs, Region
from msst_jax.transfer.objective import problem_of, scene_at
from msst_jax.transfer.optimization import coarse_to_fine
from msst_jax.video.batching import Batch
from msst_jax.video.blend_schedule import BlendRamp
from msst_jax.video.streaming import Painter, Stopped
from msst_jax.video.temporal import Motion, carried, grid_of, motion_of
from msst_jax.video.temporal_masks import Layout, State, frame_masks, initial_state, keys_of


class Optimisation(NamedTuple):
    """What all frames have in common.

    Attributes:
      config: see configs/photo.py.
      vgg: the network of the losses.
      styles: the regions with their style pictures, in the order of the layout.
      ramp: the blend ratio over time.
      seed: of the random start (config.init = "noise").
      stop: ends the frame at hand, which is then lost.
      progress: called as (evaluation, loss) within each frame.
    """

    config: ConfigDict
    vgg: VGG
    styles: Sequence[Region]
    ramp: BlendRamp
    seed: int
    stop: threading.Event
    progress: Callable[[int, float], None]

    def weights(self, time: Fraction) -> Weights:
        """The factors of the loss at a time in seconds, as a batch of one run."""
        factors = weights_of(self.config, self.ramp.at(time))
        return jax.tree.map(lambda value: jnp.asarray([value], jnp.float32), factors)


def online_painter(work: Optimisation, segmenter: Segmenter | None, layout: Layout) -> Painter:
    """Paints frame by frame, a batch each, with the losses of the method.

    The first frame takes `config.steps` evaluations, coarse to fine; every other one `config.next_steps` at full size.

    Args:
      work: see `Optimisation`.
      segmenter: finds regions; None if all are given.
      layout: see `clip_regions.layout_of`.
    """
    finder = nnx.split(segmenter.model) if segmenter else None
    later = _later(work)

    def paint(batch: Batch, state: Any) -> tuple[jax.Array, jax.Array, Any]:
        find = _finder(finder[0] if finder else None, layout, keys_of(batch.number, 1, work.config.segment_every))
        frame, given = (values.astype(np.float32) / 255 for values in (batch.images, batch.given))
        masks, _, regions = find(finder[1] if finder else None, frame, given, state["regions"])
        inputs = Inputs(frame[0], np.asarray(masks[0]), tuple(work.styles))
        weights = work.weights(batch.moments[0].time)
        if bool(state["seen"]):
            pixels = later(inputs, weights, _moved(state["pixels"], state["photo"], frame[0]))
        else:
            pixels = _first(work, inputs, weights)
        result = to_bytes(composite(pixels, masks[0]))
        after = {"regions": regions, "pixels": pixels, "photo": jnp.asarray(frame[0]), "seen": jnp.asarray(True)}
        return result[None], masks.mean((1, 2)), after

    width, height = layout.size
    nothing = {"pixels": jnp.zeros((len(work.styles), height, width, 3)), "photo": jnp.zeros((height, width, 3))}
    return Painter({"regions": initial_state(layout), "seen": jnp.asarray(False), **nothing}, paint)


@functools.cache
def _finder(definition: nnx.GraphDef | None, layout: Layout, keys: tuple[int, ...]) -> Callable[..., Any]:
    def find(weights: Any, photos: jax.Array, given: jax.Array, state: State) -> tuple[jax.Array, Motion, State]:
        network = nnx.merge(definition, weights) if definition is not None else None
        return frame_masks(layout, network, photos, given, state, keys)

    return jax.jit(find)


@jax.jit
def _moved(pixels: jax.Array, before: jax.Array, photo: jax.Array) -> jax.Array:
    """The images (K, H, W, 3) of the frame before, moved along; the photo (H, W, 3) where motion explains nothing."""
    width, height = grid_of((photo.shape[1], photo.shape[0]))
    small = resize(jnp.stack([before, photo]), height, width)
    side_by_side = jnp.concatenate(list(pixels), -1)  # as channels of one picture, which moves once
    moved = carried(*motion_of(small[1:], small[0]), side_by_side, jnp.tile(photo, len(pixels))[None])[0]
    return jnp.stack(jnp.split(moved, len(pixels), -1))


def _first(work: Optimisation, inputs: Inputs, weights: Weights) -> jax.Array:
    """The images (K, H, W, 3) of the first frame."""
    pixels, solutions = coarse_to_fine(
        work.config,
        lambda scene: problem_of(work.config, work.vgg, scene, weights),
        inputs,
        (1, len(inputs.regions)),
        work.seed,
        work.progress,
        stop=work.stop,
    )
    if any(solution.interrupted for solution in solutions):
        raise Stopped
    return pixels[0]


def _later(work: Optimisation) -> Callable[[Inputs, Weights, jax.Array], jax.Array]:
    """Makes the images (K, H, W, 3) of a later frame from a start; one program serves all of them."""
    transform = optimizer_of(work.config, work.config.next_steps)
    compiled: Compiled | None = None

    def later(inputs: Inputs, weights: Weights, start: jax.Array) -> jax.Array:
        nonlocal compiled
        loss, runs = problem_of(work.config, work.vgg, scene_at(inputs, 1.0), weights)
        compiled = compiled or prepare(loss, start[None], transform, runs=runs)
        solution = follow(
            compiled,
            loss,
            start[None],
            work.config.next_steps,
            runs=runs,
            on_evaluation=work.progress,
            stop=work.stop,
        )
        if solution.interrupted:
            raise Stopped
        return jnp.asarray(solution.best_pixels if work.config.keep == "best" else solution.pixels)[0]

    return later
