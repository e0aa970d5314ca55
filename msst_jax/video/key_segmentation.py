"""Who segments the key frames: a network within the compiled step, or a registered segmenter on the host before it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from msst_jax.ops.batch_split import BatchSplit
from msst_jax.ops.device_split import place_everywhere
from msst_jax.ops.image import resize
from msst_jax.regions.own_segmenter import OwnSegmenter
from msst_jax.regions.segmenter import AnySegmenter, Network
from msst_jax.video.temporal_masks import FrameMaskSpec, KeyFrames


class KeySegmenter(NamedTuple):
    """The static and the traced half of a segmenter.

    Attributes:
      definition: of the network; None without one.
      arguments: (uint8 frames (N, H, W, 3), key frames) to what the compiled step takes, see `found_by`.
      split: how frames lie on several devices; None = on one.
    """

    definition: nnx.GraphDef | None
    arguments: Callable[[np.ndarray, KeyFrames], Any]
    split: BatchSplit | None = None

    def places(self, keys: KeyFrames, frames: int) -> KeyFrames:
        """The places where there is a key frame in the share of any device, of a batch of so many frames.

        All devices run one program. What was found before has a place for every frame then, see `key_segmenter`.
        """
        share = frames // (self.split.devices if self.split else 1)
        if self.split and self.definition is None:
            return tuple(range(share)) if keys else ()
        return tuple(sorted({key % share for key in keys}))


def key_segmenter(segmenter: AnySegmenter | None, spec: FrameMaskSpec, split: BatchSplit | None = None) -> KeySegmenter:
    """Splits a segmenter; None if all masks are given.

    Of frames on several devices, a network is brought to each; what is found on the host has zeros for the frames that
    are no key frames, so that it can be divided as the frames are.

    What is registered is called on the host: its function may be anything, also a compiled one, which must not run
    within another.
    """
    if isinstance(segmenter, OwnSegmenter):
        own = segmenter

        def find(frames: np.ndarray, keys: KeyFrames) -> jax.Array:
            found = _segment(own, spec, frames, keys)
            return found if split is None else _spread(found, keys, len(frames))

        return KeySegmenter(None, find, split)
    if segmenter is None:
        return KeySegmenter(None, lambda _frames, _keys: None, split)
    definition, state = nnx.split(segmenter.model)
    state = place_everywhere(state, split)
    return KeySegmenter(definition, lambda _frames, _keys: state, split)


def found_by(definition: nnx.GraphDef | None, arguments: Any) -> Network | jax.Array | None:
    """What `frame_masks` takes, within the compiled step: the network, or what was found before, or None."""
    return arguments if definition is None else nnx.merge(definition, arguments)


def _segment(segmenter: OwnSegmenter, spec: FrameMaskSpec, frames: np.ndarray, keys: Sequence[int]) -> jax.Array:
    """Probabilities (n, h, w, R) of the segmented regions of the n key frames, on the grid of the specification."""
    width, height = spec.grid
    found = [segmenter.probabilities(frames[key].astype(np.float32) / 255) for key in keys]
    regions = [np.stack([one[..., list(group)].sum(-1) for group in spec.groups], -1) for one in found]
    if not regions:
        return jnp.zeros((0, height, width, len(spec.groups)))
    return resize(jnp.asarray(np.stack(regions)), height, width)


def _spread(found: jax.Array, keys: KeyFrames, frames: int) -> jax.Array:
    """What was found in the key frames, (n, ...), among zeros for the others of so many frames."""
    return jnp.zeros((frames, *found.shape[1:])).at[np.array(keys, int)].set(found)
