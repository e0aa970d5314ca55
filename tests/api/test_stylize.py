"""A researcher's uses of `msst_jax.stylize`, each in the few lines that they take."""

import logging
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import msst_jax
from msst_jax.api.result import Result
from msst_jax.errors import DivergenceError
from tests.helpers.pictures import noise, quick_config, save, stripe

HEIGHT, WIDTH = 32, 40
PHOTO = noise(HEIGHT, WIDTH)
LEFT = stripe(HEIGHT, WIDTH, 0, 0.4)
STYLES = {"left": noise(28, 36, 1), "background": noise(28, 36, 2)}
QUICK = quick_config(size=512)


def run(photo: Any = PHOTO, styles: Any = STYLES, masks: Any = None, **options: Any) -> Result:
    masks = {"left": LEFT} if masks is None else masks
    return msst_jax.stylize(photo, styles, masks, **{"preset": QUICK, **options})


def test_arrays_in_give_arrays_out():
    result = run()
    assert (result.picture.shape, result.picture.dtype) == ((HEIGHT, WIDTH, 3), np.float32)
    assert 0 <= result.picture.min() <= result.picture.max() <= 1
    assert result.improved
    assert result.finite
    assert not result.interrupted
    assert {name: mask.shape for name, mask in result.masks.items()} == dict.fromkeys(STYLES, (HEIGHT, WIDTH))
    np.testing.assert_allclose(sum(result.masks.values()), 1, atol=1e-5)
    assert {len(values) for values in result.losses.values()} == {3} == {result.evaluations}
    terms = [values for name, values in result.losses.items() if name != "total"]
    np.testing.assert_allclose(np.sum(terms, 0), result.losses["total"], rtol=1e-5)
    assert result.seconds.keys() == {"compile", "optimize", "total"}
    assert result.image.size == (WIDTH, HEIGHT)


def test_the_same_picture_in_any_form_gives_the_same_result(tmp_path: Path):
    wanted = run().picture
    floats = PHOTO / np.float32(255)
    forms = {
        "floats": (floats, {"left": LEFT / np.float32(255)}),
        "jax": (jnp.asarray(floats), {"left": jnp.asarray(LEFT) / 255}),
        "pillow": (Image.fromarray(PHOTO), {"left": Image.fromarray(LEFT)}),
        "bool": (floats.astype(np.float64), {"left": LEFT > 0}),
        "zero and one": (PHOTO, {"left": (LEFT > 0).astype(np.int64)}),
        "paths": (save(tmp_path / "p.png", PHOTO), {"left": Path(save(tmp_path / "m.png", LEFT))}),
    }
    for name, (photo, masks) in forms.items():
        np.testing.assert_allclose(run(photo, masks=masks).picture, wanted, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("size", "shape"), [(None, (HEIGHT, WIDTH)), (20, (16, 20)), (0, (HEIGHT, WIDTH))])
def test_a_photo_is_not_enlarged_unless_asked(size: int | None, shape: tuple[int, int]):
    assert run(size=size, steps=1).picture.shape[:2] == shape


def test_a_second_call_of_the_same_size_compiles_nothing(caplog: pytest.LogCaptureFixture):
    def call(seed: int) -> list[str]:
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            result = run(noise(HEIGHT, WIDTH, seed), blend=0.1 * seed, steps=4)
        assert (result.seconds["compile"] == 0) == (seed > 1)
        return [record.message for record in caplog.records if record.message.startswith("Compiling")]

    jax.clear_caches()
    assert call(1)
    assert call(2) == []


def test_an_own_loss_gets_the_features_and_may_return_a_scalar():
    def mean_feature(pixels: jax.Array, result: jax.Array, features: msst_jax.Features) -> jax.Array:
        assert features.pixels["relu1_1"].shape == (1, *result.shape[:2], 64)
        return 100 * jnp.square(features.result["relu2_1"].mean() - 1)

    losses = run(extra_loss=mean_feature).losses
    assert losses["extra"][-1] < losses["extra"][0]


def test_adam_with_a_schedule_takes_the_place_of_the_optimizer():
    first = run(transform=optax.adam(optax.cosine_decay_schedule(0.02, 3)))
    frozen = run(transform=optax.adam(optax.constant_schedule(0.0)))
    assert first.improved
    assert not frozen.improved
    np.testing.assert_array_equal(frozen.picture, PHOTO / np.float32(255))


def test_pictures_are_seen_on_the_way():
    seen: list[tuple[int, np.ndarray]] = []
    result = run(on_picture=lambda evaluation, picture: seen.append((evaluation, picture)), every=2, steps=5)
    assert [evaluation for evaluation, _ in seen] == [2, 4]
    assert all(isinstance(picture, np.ndarray) and picture.shape == result.picture.shape for _, picture in seen)


@pytest.mark.parametrize("kind", ["event", "function"])
def test_a_stop_ends_early_with_the_picture_so_far(kind: str):
    event = threading.Event()
    stop = event if kind == "event" else event.is_set
    result = run(on_picture=lambda evaluation, _: event.set() if evaluation == 2 else None, every=1, steps=9, stop=stop)
    assert result.interrupted
    assert result.evaluations == 2
    assert result.picture.shape == PHOTO.shape


def test_several_paintings_and_a_region_that_stays_the_photo():
    one, two = STYLES.values()
    result = run(styles={"left": [(one, 2.0), (two, 1.0)], "background": "keep"}, masks={"left": LEFT > 0})
    kept = result.masks["background"] > 0.99
    np.testing.assert_array_equal(result.picture[kept], (PHOTO / np.float32(255))[kept])
    np.testing.assert_array_equal(
        run(styles={"left": [one, two], "background": one}).picture,
        run(styles={"left": [(one, 1), (two, 1)], "background": one}).picture,
    )


def test_it_may_start_from_an_earlier_result():
    first = run(steps=6)
    again = run(init=first.picture, steps=6)
    assert again.losses["total"][0] < first.losses["total"][0]


def test_regions_without_a_mask_are_segmented():
    absent = r"region 'person' was not found in the photo; found: background 100%: .* out, or give masks\['person'\]$"
    with pytest.raises(msst_jax.UserError, match=absent):
        run(np.zeros((HEIGHT, WIDTH, 3)), {"person": STYLES["left"], "background": STYLES["background"]}, {})


def test_a_loss_that_is_not_finite_at_first_is_an_error_and_no_picture():
    with pytest.raises(DivergenceError, match=r"not finite at the first evaluation \(extra\)"):
        run(extra_loss=lambda pixels, _result, _features: pixels.mean() * jnp.nan)
