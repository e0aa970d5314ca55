"""A registered segmenter of the user's: calls it, and checks what it returns before anything relies on it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from msst_jax.errors import UserError
from msst_jax.registry import BACKGROUND, SEGMENTERS, SegmenterEntry, call

TOLERANCE = 1e-3  # of probabilities and their sum, for those of bfloat16 networks


class OwnSegmenter(NamedTuple):
    """A function that segments photos, with class names of its own."""

    segment: Callable[[np.ndarray], Any]
    """See `registry.register_segmenter`."""
    name: str
    entry: SegmenterEntry

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the C classes of `probabilities`, "background" first."""
        return self.entry.names

    @property
    def predicted(self) -> tuple[str, ...]:
        """The classes that it can find: all."""
        return self.classes

    def record(self) -> dict[str, Any]:
        """Its entry in the JSON sidecar."""
        return {"name": self.name, "classes": list(self.classes)}

    def probabilities(self, photo: np.ndarray) -> np.ndarray:
        """Probability of every class at every pixel: float32 (H, W, C), sum 1 over `classes`.

        Args:
          photo: float32 (H, W, 3) in [0, 1].

        Raises:
          UserError: the function fails, or returns something else than `register_segmenter` asks for.
        """
        found = np.asarray(call(f"segmenter {self.name}", self.segment, photo))
        self._check(found, photo.shape[:2])
        values = np.clip(found, 0, 1).astype(np.float32)
        channels = {name: values[..., index] for index, name in enumerate(self.entry.classes)}
        if BACKGROUND not in channels:
            channels[BACKGROUND] = np.clip(1 - values.sum(-1), 0, 1)
        stacked = np.stack([channels[name] for name in self.classes], -1)
        total = stacked.sum(-1, keepdims=True)
        stacked[..., :1] += total <= 0  # no class at all is background
        return stacked / np.where(total > 0, total, 1)

    def _check(self, found: np.ndarray, size: tuple[int, ...]) -> None:
        wanted = (*size, len(self.entry.classes))
        named = f"segmenter {self.name}, with the classes {', '.join(self.entry.classes)},"
        if found.shape != wanted:
            raise UserError(f"{named} returned {found.shape} for a photo of {size}; let it return {wanted}")
        if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
            raise UserError(f"{named} returned values that are not finite numbers; let it return probabilities")
        low, high, most = (float(value) for value in (found.min(), found.max(), found.sum(-1, dtype=np.float64).max()))
        if low < -TOLERANCE or high > 1 + TOLERANCE or most > 1 + TOLERANCE:
            raise UserError(
                f"{named} returned values from {low:.3g} to {high:.3g}, with sums up to {most:.3g}; let it return "
                "probabilities: from 0 to 1, and not more than 1 over the classes of a pixel"
            )


def load_own_segmenter(name: str) -> OwnSegmenter:
    """Builds a registered segmenter.

    Raises:
      UserError: it is not registered, or its `build` fails or returns no function.
    """
    entry = SEGMENTERS[name]
    segment = call(f"segmenter {name}", entry.build)
    if not callable(segment):
        raise UserError(f"segmenter {name}: build() returned {type(segment).__name__}; let it return a function")
    return OwnSegmenter(segment, name, entry)
