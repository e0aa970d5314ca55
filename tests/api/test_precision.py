"""The setting `precision`: it reaches every product of loss and gradient, and makes a program of its own."""

from typing import Any

import jax
import numpy as np
import pytest

import msst_jax
from msst_jax.optim import programs
from tests.helpers.lowered_products import lowered_products
from tests.helpers.pictures import noise, quick_config, stripe

PHOTO, LEFT = noise(24, 32), stripe(24, 32, 0, 0.4)
STYLES = {"left": noise(24, 32, 1), "background": noise(24, 32, 2)}


class Compiled(Exception):
    """In place of a program."""


def stylize(guided: bool, **options: Any) -> msst_jax.Result:
    preset = quick_config(size=32, guided=guided, steps=1)
    return msst_jax.stylize(PHOTO, STYLES, {"left": LEFT}, preset=preset, **options)


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "separate"])
@pytest.mark.parametrize(
    ("precision", "kept"),
    [("highest", {"f32 HIGHEST"}), ("default", {"f32 DEFAULT"}), ("bfloat16", {"bf16 DEFAULT"})],
)
def test_every_product_of_loss_and_gradient_is_as_exact_as_the_setting_says(
    precision: str, kept: set[str], guided: bool, monkeypatch: pytest.MonkeyPatch
):
    def compile_minimizer(loss: Any, pixels: jax.Array, *_: Any, runs: Any) -> Any:
        def evaluate(pixels: jax.Array, run: Any, loss: Any) -> Any:
            return jax.value_and_grad(lambda pixels: loss(pixels, run), has_aux=True)(pixels)

        raise Compiled(lowered_products(jax.vmap(evaluate, (0, 0, None)), pixels, runs, loss))

    monkeypatch.setattr(programs, "compile_minimizer", compile_minimizer)
    with jax.default_matmul_precision(None), pytest.raises(Compiled) as caught:  # as users have it
        stylize(guided, precision=precision)
    (products,) = caught.value.args
    assert {*products} == kept
    assert products.total() > 10


def test_another_precision_is_another_program_and_the_callers_own_setting_is_left():
    with jax.default_matmul_precision(None):
        stylize(True, precision="default", style_weight=3.0)
        assert stylize(True, precision="highest", style_weight=3.0).seconds["compile"] > 0
        assert stylize(True, precision="default", style_weight=3.0).seconds["compile"] == 0
        assert jax.config.jax_default_matmul_precision is None
    with jax.default_matmul_precision("highest"):  # "default" is JAX's default, which a caller may have changed
        assert stylize(True, precision="default", style_weight=3.0).seconds["compile"] == 0


def test_on_a_cpu_all_float32_settings_give_the_same_picture():
    with jax.default_matmul_precision(None):
        pictures = [stylize(True, precision=precision).picture for precision in ("default", "highest")]
    np.testing.assert_allclose(*pictures, atol=1e-6)


def test_the_name_of_earlier_versions_is_told_todays():
    with pytest.raises(
        msst_jax.UserError, match=r"^stylize has no argument 'dtype'; .*precision; use one of highest, "
    ):
        stylize(True, dtype="bfloat16")
