"""What `stylize` returns."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from msst_jax.io.images import to_picture


@dataclass(frozen=True)
class Result:
    """A stylized photo.

    Attributes:
      picture: float32 (H, W, 3) in [0, 1], sRGB.
      masks: {region: float32 (H, W)} in [0, 1], of the size of the picture; they sum to 1 at every pixel.
      losses: {term: its weighted value at every evaluation}: "total", "style", "blend", "content", "smooth" and those
        of `extra_loss`. The terms add up to the total.
      seconds: "compile" (0 if an earlier call has compiled the same), "optimize" and "total".
      evaluations: of loss and gradient, over all scales.
      improved: False where nothing better than the start was found.
      finite: False where the loss was not finite in the end and the best pixels before are the picture.
      interrupted: whether `stop`, or Ctrl-C, has ended it early.
    """

    picture: np.ndarray
    masks: dict[str, np.ndarray]
    losses: dict[str, list[float]]
    seconds: dict[str, float]
    evaluations: int
    improved: bool
    finite: bool
    interrupted: bool

    @property
    def image(self) -> Image.Image:
        """The picture as an 8-bit Pillow image."""
        return to_picture(self.picture)
