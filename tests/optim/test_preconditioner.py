"""The preconditioner scales frequencies by a power law, is a valid inverse Hessian, and lowers the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from benchmarks.speed.optimize import example
from msst_jax.configs import photo, photo_separate, seed, seed_fast
from msst_jax.models.pretrained import EMBEDDED_VGG16, load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.ops.picture_split import COLUMNS, ROWS, STRIPS, PictureSplit, place_pictures
from msst_jax.optim.preconditioner import MIN_FREQUENCY, power_law_preconditioner
from msst_jax.transfer import optimization
from msst_jax.transfer.build import build_options


def random_images(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("waves", [1, 4, 16])
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_a_wave_is_scaled_by_its_frequency_to_the_minus_power(waves: int, power: float) -> None:
    wave = np.cos(2 * np.pi * waves * np.arange(64) / 64, dtype=np.float32)
    across = jnp.broadcast_to(wave[None, :, None], (2, 48, 64, 3))
    np.testing.assert_allclose(
        power_law_preconditioner(across, power), across * (64 / waves) ** power, rtol=0, atol=2e-4 * 64
    )


def test_a_flat_image_is_not_divided_by_zero() -> None:
    flat = jnp.full((1, 16, 16, 3), 0.5)
    np.testing.assert_allclose(power_law_preconditioner(flat, 1.0), flat / MIN_FREQUENCY, rtol=1e-5)


def test_power_0_is_the_identity() -> None:
    x = random_images(2, 15, 21, 3)
    np.testing.assert_allclose(power_law_preconditioner(x, 0.0), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 24), (15, 21), (17, 8)])
def test_it_is_symmetric_and_positive(size: tuple[int, int]) -> None:
    a, b = random_images(2, *size, 3), random_images(2, *size, 3, seed=1)
    left, right = (
        float(jnp.vdot(power_law_preconditioner(a, 1.0), b)),
        float(jnp.vdot(a, power_law_preconditioner(b, 1.0))),
    )
    assert left == pytest.approx(right, rel=1e-4, abs=1e-2)
    for x in (a, b, a - b):
        assert float(jnp.vdot(x, power_law_preconditioner(x, 1.0))) > 0


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_vgg("vgg16", [*seed.get_config().style_layers], path=EMBEDDED_VGG16)[0]


@pytest.mark.slow
def test_it_lowers_the_loss_after_the_same_number_of_evaluations(vgg: VGG) -> None:
    losses = {}
    for power in (0.0, 1.0):
        config, inputs = example(64)
        config.steps, config.steps_multiple, config.max_step, config.precondition = 25, 0, 0.05, power
        options = build_options(config)
        outcome = optimization.stylize(options, vgg, inputs, [options.weights(0.2)])
        losses[power] = min(outcome.losses[0]["total"])
    assert losses[1.0] < 0.99 * losses[0.0]


def test_the_looks_with_an_image_per_region_do_not_use_it() -> None:
    assert seed.get_config().precondition == photo_separate.get_config().precondition == 0
    assert photo.get_config().precondition == 1


def test_seed_fast_differs_from_seed_only_in_the_optimizer() -> None:
    original, fast = seed.get_config().to_dict(), seed_fast.get_config().to_dict()
    optimizer = {"scales", "scale_steps", "steps", "steps_multiple", "max_step", "precondition", "history", "keep"}
    assert {name for name in original if original[name] != fast[name]} == optimizer


@pytest.mark.parametrize(("axis", "shape"), [(ROWS, (2, 8, 10, 3)), (COLUMNS, (2, 7, 12, 3)), (ROWS, (16, 16, 1))])
def test_images_on_several_devices_are_scaled_as_a_whole(axis: int, shape: tuple[int, ...]) -> None:
    split = PictureSplit(Mesh(np.array(jax.devices()[:4]), (STRIPS,)), axis)
    images = random_images(3, *shape)
    placed = place_pictures(images, split)
    program = jax.jit(jax.vmap(lambda each: power_law_preconditioner(each, 1.0, split))).lower(placed).compile()
    np.testing.assert_allclose(program(placed), power_law_preconditioner(images, 1.0), rtol=1e-5, atol=1e-4)
    assert "all-gather" not in program.as_text()
