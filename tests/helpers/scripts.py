"""What a researcher does, each as a cell of a notebook: a photo, paintings and a mask are there as arrays."""

from typing import Any

from tests.helpers.own_networks import sky_photo
from tests.helpers.pictures import noise, stripe

OWN_LOSS = """
import jax.numpy as jnp
import msst_jax

def warm(pixels, result, features):
    return {"warmth": 1e4 * jnp.square(result.mean((0, 1)) - jnp.array([0.6, 0.45, 0.3])).sum()}

result = msst_jax.stylize(photo, {"background": wave}, steps=5, extra_loss=warm)
print(result.losses["warmth"])
"""

ADAM_WITH_A_SCHEDULE = """
import msst_jax
import optax

adam = optax.adam(optax.cosine_decay_schedule(0.05, 5))
result = msst_jax.stylize(photo, {"background": wave}, steps=5, scales=(1.0,), transform=adam)
result.image.save("out.png")
"""

OWN_MASKS = """
import msst_jax

result = msst_jax.stylize(photo, {"left": scream, "background": wave}, {"left": left}, steps=5)
result.image.save("out.png")
"""

FAST_MODEL = """
import msst_jax

picture = msst_jax.load_stylizer("builtin")(photo)
msst_jax.write_image(picture, "out.png")
"""

OWN_SEGMENTER = """
import msst_jax

msst_jax.register_segmenter("blue", lambda: lambda photo: photo[..., 2:] > photo[..., :1] + 0.2, classes=["sky"])
result = msst_jax.stylize(photo, {"sky": wave, "background": "keep"}, segmenter="blue", steps=5)
result.image.save("out.png")
"""

OWN_TASK = """
from pathlib import Path
import jax.numpy as jnp
import msst_jax
from msst_jax.configs import person_segmenter
from msst_jax.pipelines.train import TrainJob, run
from msst_jax.training.task import Evaluation, Task, TaskSpec
from PIL import Image

def loss(params, frozen, batch, key):
    off = jnp.square(batch["photo"].mean((1, 2)) / 255 - params["color"]).mean()
    return off, {"off": off}

def build(samples):
    return Task(
        init=lambda key: {"color": jnp.full(3, 0.5)},
        loss=loss,
        frozen={},
        evaluate=lambda params: Evaluation({"red": float(params["color"][0])}, Image.new("RGB", (8, 8))),
        save=lambda path, params: path.write_text(str(params["color"])),
    )

msst_jax.register_task("color", lambda config, styles: TaskSpec(["background"], build))
config = person_segmenter.get_config()
config.update(task="color", size=32, batch=4, steps=4, samples=1)
run(config, TrainJob(Path("runs/color"), ["photos"], styles={}, quiet=True))
"""

OWN_ARCHITECTURE = """
from pathlib import Path
import jax
import msst_jax
from flax import nnx
from msst_jax.configs import fast
from msst_jax.pipelines.train import TrainJob, run

class Tinted(nnx.Module):
    def __init__(self, styles, config, dtype, rngs):
        self.conv = nnx.Conv(3, 3, (9, 9), dtype=dtype, rngs=rngs)
        self.tints = nnx.Param(jax.random.normal(rngs.params(), (styles, 3)))

    def __call__(self, images, masks, mixtures=None):
        tints = self.tints[...] if mixtures is None else mixtures @ self.tints[...]
        return nnx.sigmoid(self.conv(images) + masks @ tints)

msst_jax.register_stylizer("tinted", Tinted)
config = fast.get_config()
config.update(architecture="tinted", size=32, batch=4, steps=2, samples=1, style_size=32)
styles = {"person": "a.png", "background": "b.png"}
run(config, TrainJob(Path("runs/tinted"), ["photos"], styles, masks=["masks"], quiet=True))
picture = msst_jax.load_stylizer("runs/tinted")(photo, {"person": left})
"""

CALLBACK = """
import msst_jax

def show(evaluation, picture):
    msst_jax.write_image(picture, f"{evaluation:03d}.png")

msst_jax.stylize(photo, {"background": wave}, steps=5, on_picture=show, every=2)
"""


def earlier_cell() -> dict[str, Any]:
    """The arrays that the scripts find: a photo, two paintings and a mask."""
    photo = sky_photo(48, 64)
    return {"photo": photo, "scream": noise(40, 40, 1), "wave": noise(40, 40, 2), "left": stripe(48, 64, 0, 0.4) > 0}
