"""Optimizations that differ only in their arrays share one compiled program, and no others do."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from msst_jax.losses.objective import Features
from msst_jax.models.pretrained import load_vgg
from msst_jax.optim import programs
from msst_jax.optim.programs import Programs
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.listener import Listener
from msst_jax.transfer.optimization import StylizationResult, stylize
from msst_jax.transfer.options import StylizationOptions
from tests.helpers.pictures import noise, quick_config, stripe

VGG = load_vgg("vgg16", ["relu2_1"])[0]


def inputs(side: int = 24, style_side: int = 24) -> PhotoInputs:
    left = stripe(side, side, 0, 0.4)[..., None] / np.float32(255)
    styles = [
        Region(name, (Painting(noise(style_side, style_side, seed) / np.float32(255)),))
        for seed, name in enumerate("ab")
    ]
    return PhotoInputs(noise(side, side) / np.float32(255), np.concatenate([left, 1 - left], -1), tuple(styles))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each compilation."""
    calls: list[int] = []
    first = programs.compile_minimizer

    def counted(*args: Any, **more: Any) -> Any:
        calls.append(1)
        return first(*args, **more)

    monkeypatch.setattr(programs, "compile_minimizer", counted)
    return calls


def run(
    options: StylizationOptions, photo: PhotoInputs, said: list[str] | None = None, **more: Any
) -> StylizationResult:
    listener = Listener(announce=lambda text, left=None: None if said is None else said.append(text))
    return stylize(options, VGG, photo, [options.weights(0.2)], listener=listener, **more)


@pytest.mark.parametrize("guided", [True, False])
def test_other_styles_weights_and_evaluations_take_the_same_program_to_the_same_pixels(compiled: list, guided: bool):
    options = build_options(quick_config(guided=guided))
    longer = replace(options, schedule=replace(options.schedule, evaluations=(4,)), content_weight=1.0)
    options = replace(options, optimizer=replace(options.optimizer, history=2))
    longer = replace(longer, optimizer=options.optimizer)
    said: list[str] = []
    shared = Programs()
    first = run(options, inputs(), said, programs=shared)
    second = run(longer, inputs(style_side=30), said, programs=shared)
    assert len(compiled) == len(said) == 1
    assert first.compile_seconds > second.compile_seconds == 0
    np.testing.assert_array_equal(run(longer, inputs(style_side=30)).images, second.images)
    assert len(compiled) == 2  # nothing is shared without


def extra(pixels: jax.Array, _result: jax.Array, _features: Features) -> dict[str, jax.Array]:
    return {"more": pixels.mean()}


@pytest.mark.slow
def test_another_size_optimizer_or_loss_is_compiled_and_said(compiled: list[int]):
    options = build_options(quick_config())
    said: list[str] = []
    shared = Programs()
    run(options, inputs(), said, programs=shared)
    run(options, inputs(side=32), said, programs=shared)
    run(replace(options, optimizer=replace(options.optimizer, max_step=0.1)), inputs(), said, programs=shared)
    assert "more" in run(options, inputs(), said, extra_loss=extra, programs=shared).losses[0]
    assert len(compiled) == 4
    assert said == [f"compiling for {side}x{side} pixels" for side in (24, 32, 24, 24)]


class Unhashable:
    """A loss that has no hash, as instances of a dataclass have none."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, pixels: jax.Array, result: jax.Array, features: Features) -> dict[str, jax.Array]:
        return extra(pixels, result, features)


def test_a_loss_without_a_hash_can_be_used():
    assert "more" in run(build_options(quick_config()), inputs(), extra_loss=Unhashable()).losses[0]
