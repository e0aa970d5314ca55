"""An optimization that does not fit into memory is refused before its first evaluation, with what helps."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.errors import UserError
from msst_jax.models.pretrained import load_vgg
from msst_jax.optim.minimize import CompiledMinimizer, compile_minimizer
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.transfer import memory, objective
from msst_jax.transfer import optimization as stylization
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.listener import Listener
from msst_jax.transfer.memory import check_memory, estimate_memory
from msst_jax.transfer.options import StylizationOptions
from msst_jax.transfer.tiling import ScalePlan
from tests.helpers.pictures import noise, quick_config, stripe

SIDE = 128
SCALES = {"scales": (0.5, 1.0), "scale_steps": (0.5, 0.5), "steps": 60, "history": 30}
VGG = load_vgg("vgg16", ["relu2_1"])[0]


def inputs() -> PhotoInputs:
    left = stripe(SIDE, SIDE, 0, 0.4)[..., None] / np.float32(255)
    masks = np.concatenate([left, 1 - left], -1).astype(np.float32)
    styles = tuple(
        Region(name, (Painting(noise(SIDE, SIDE, seed) / np.float32(255)),)) for seed, name in ((1, "dog"), (2, "b"))
    )
    return PhotoInputs(noise(SIDE, SIDE) / np.float32(255), masks, styles)


def compiled_at(options: StylizationOptions, scale: float) -> CompiledMinimizer:
    scene = objective.scale_scene(inputs(), scale)
    pixels = jnp.broadcast_to(scene.photo, (1, options.image_count(2), *scene.photo.shape))
    weights = options.weights(0.2)._make(jnp.full(1, value) for value in options.weights(0.2))
    loss, runs = objective.build_objective(options, VGG, scene, weights)
    return compile_minimizer(loss, pixels, build_optimizer(options.optimizer, 30), runs=runs)


@pytest.mark.parametrize("guided", [True, False])
def test_the_small_scale_tells_what_the_full_one_takes(guided: bool):
    options = build_options(quick_config(guided=guided, **SCALES))
    plans = [ScalePlan((1, options.image_count(2), side, side, 3), 30) for side in (SIDE // 2, SIDE)]
    early, exact = (
        estimate_memory(options, compiled_at(options, scale), plans[number:]) for number, scale in enumerate((0.5, 1.0))
    )
    assert early is not None
    assert exact is not None
    print(f"estimated {early / 1e6:.1f} MB, of the program itself {exact / 1e6:.1f} MB")
    assert 0.8 * exact < early < 1.5 * exact
    assert exact > 24 * 30 * SIDE**2 * options.image_count(2)  # the history


def run(free: int | None, monkeypatch: pytest.MonkeyPatch, ratios: int = 1, **changes: Any) -> list[str]:
    """What a run says with so many bytes free."""
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    options = build_options(quick_config(**{**SCALES, "steps": 2, **changes}))
    said: list[str] = []
    listener = Listener(announce=lambda text, left=None: said.append(text))
    stylization.stylize(options, VGG, inputs(), [options.weights(0.2)] * ratios, listener=listener)
    return said


def test_too_little_memory_ends_the_run_with_advice_that_fits_it(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        UserError, match=r"^128x128 pixels take about 0\.\d GB of memory, and 0\.0 GB are free; "
    ) as error:
        run(10**6, monkeypatch)
    assert str(error.value).endswith("free; give --config.size=16")
    with pytest.raises(UserError, match=r"=16 or --config.history=20 or --config.remat=True or fewer blend ratios$"):
        run(10**6, monkeypatch, ratios=2, guided=False, steps=60)
    with pytest.raises(UserError, match=r"give --config.size=16$"):
        run(10**6, monkeypatch, optimizer="adam", steps=60)


@pytest.mark.parametrize("free", [None, 10**12])
def test_enough_memory_or_memory_that_is_not_known_says_nothing(free: int | None, monkeypatch: pytest.MonkeyPatch):
    sizes = ("64x64", "128x128")
    assert run(free, monkeypatch) == [f"compiling for {size} pixels" for size in sizes]


def test_what_a_large_run_takes_is_said_before_its_first_evaluation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "SAID_FROM", 10**6)
    assert run(10**12, monkeypatch)[1].endswith(" GB of memory")


def test_an_estimate_that_the_compiler_does_not_give_stops_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CompiledMinimizer, "temporary_bytes", None)
    monkeypatch.setattr(memory, "available_memory", lambda: 1)
    options = build_options(quick_config())
    compiled = CompiledMinimizer(*[None] * 4)  # type: ignore[arg-type]
    assert check_memory(options, compiled, [ScalePlan((1, 1, 16, 16, 3), 3)]) is None
