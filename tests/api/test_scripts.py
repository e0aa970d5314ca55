"""What a researcher does, each as a cell of a notebook: photo and paintings are there, the lines are all that it takes.

The lines are counted, imports aside, so that a door which becomes narrower is noticed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import msst_jax
from tests.helpers.own_networks import sky_photo
from tests.helpers.pictures import noise, stripe
from tests.helpers.training_runs import make_photos

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

    def __call__(self, images, mixtures=None):
        tints = self.tints[...] if mixtures is None else mixtures @ self.tints[...]
        return nnx.sigmoid(self.conv(images)[:, None] + tints.reshape(-1, *tints.shape[-2:])[:, :, None, None])

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


def lines(script: str) -> int:
    """Of a script without imports and empty lines."""
    return sum(bool(line.strip()) and not line.startswith(("import ", "from ")) for line in script.splitlines())


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an earlier cell has made: arrays, and a folder to train on as the working one."""
    make_photos(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    arrays = {"scream": noise(40, 40, 1), "wave": noise(40, 40, 2), "left": stripe(48, 64, 0, 0.4) > 0}
    return {"photo": sky_photo(48, 64), **arrays}


def run(script: str, names: dict[str, Any], most: int) -> dict[str, Any]:
    """The names that a script leaves, which takes at most so many lines."""
    assert lines(script) <= most
    exec(script, names)
    return names


@pytest.mark.slow
def test_a_loss_of_ones_own(names: dict[str, Any]):
    warmth = run(OWN_LOSS, names, 4)["result"].losses["warmth"]
    assert warmth[-1] < warmth[0]


@pytest.mark.slow
def test_adam_with_a_schedule(names: dict[str, Any]):
    assert run(ADAM_WITH_A_SCHEDULE, names, 3)["result"].evaluations == 5


@pytest.mark.slow
def test_masks_as_arrays(names: dict[str, Any]):
    mask = run(OWN_MASKS, names, 2)["result"].masks["left"]
    assert ((mask > 0.5) == names["left"]).mean() > 0.98


@pytest.mark.slow
def test_a_fast_model_on_an_array(names: dict[str, Any]):
    assert run(FAST_MODEL, names, 2)["picture"].shape == (48, 64, 3)
    assert msst_jax.read_image("out.png").shape == (48, 64, 3)


@pytest.mark.slow
def test_a_segmenter_with_classes_of_its_own(names: dict[str, Any]):
    result = run(OWN_SEGMENTER, names, 3)["result"]
    np.testing.assert_array_equal(result.masks["sky"][:17] > 0.5, True)
    land = result.masks["background"] > 0.99
    np.testing.assert_array_equal(result.picture[land], (names["photo"] / np.float32(255))[land])


def test_a_task_of_ones_own(names: dict[str, Any]):
    run(OWN_TASK, names, 15)
    assert "0." in Path("runs/color/model.safetensors").read_text()


@pytest.mark.slow
def test_an_architecture_of_ones_own(names: dict[str, Any]):
    picture = run(OWN_ARCHITECTURE, names, 13)["picture"]
    assert picture.shape == (48, 64, 3)
    assert np.isfinite(picture).all()


@pytest.mark.slow
def test_pictures_on_the_way(names: dict[str, Any]):
    run(CALLBACK, names, 3)
    assert [path.name for path in sorted(Path().glob("00*.png"))] == ["002.png", "004.png"]
