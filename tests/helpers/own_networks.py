"""Networks as a user would register them, and a module that registers them by --import."""

from pathlib import Path

import numpy as np

MODULE = '''
"""What is blue is sky; a task that fits the mean color; an architecture of one convolution."""

import numpy as np

from msst_jax.registry import register_segmenter, register_stylizer, register_task


def build_segmenter():
    def segment(photo):
        return (photo[..., 2:] > photo[..., :1] + 0.2).astype(np.float32)

    return segment


def load_task(config, styles):
    import jax.numpy as jnp
    from PIL import Image

    from msst_jax.training.task import Evaluation, Task, TaskSpec

    def loss(params, frozen, batch, key):
        off = jnp.square(batch["photo"].mean((1, 2)) / 255 - params["color"]).sum(-1).mean()
        return off, {"off": off}

    def build(samples):
        return Task(
            init=lambda key: {"color": jnp.full(3, config.first)},
            loss=loss,
            frozen={},
            evaluate=lambda params: Evaluation({"first": float(params["color"][0])}, Image.new("RGB", (8, 8))),
            save=lambda path, params: path.write_text(str(params["color"])),
        )

    return TaskSpec(["background"], build)


def build_stylizer(styles, config, dtype, rngs):
    import jax
    from flax import nnx

    class Tinted(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(3, 3, (3, 3), dtype=dtype, rngs=rngs)
            self.tints = nnx.Param(jax.random.uniform(rngs.params(), (styles, 3)))

        def __call__(self, images, masks, mixtures=None):
            tints = self.tints[...] if mixtures is None else mixtures @ self.tints[...]
            tints = tints.reshape(-1, 1, *tints.shape[-2:])
            return nnx.sigmoid(self.conv(images) + masks @ tints)

    return Tinted()


register_segmenter("blue", build_segmenter, classes=["sky"])
register_task("color", load_task)
register_stylizer("tinted", build_stylizer)
'''


def write_module(folder: Path, name: str = "my_networks.py", text: str = MODULE) -> Path:
    """A .py file for --import."""
    (folder / name).write_text(text)
    return folder / name


def blue_is_sky(photo: np.ndarray) -> np.ndarray:
    """Probabilities (H, W, 1) of a photo (H, W, 3) in [0, 1]."""
    return (photo[..., 2:] > photo[..., :1] + 0.2).astype(np.float32)


def sky_photo(height: int, width: int) -> np.ndarray:
    """uint8 (H, W, 3): blue sky over two fifths, brown land below."""
    photo = np.full((height, width, 3), (120, 90, 40), np.uint8)
    photo[: 2 * height // 5] = (60, 120, 230)
    return photo
