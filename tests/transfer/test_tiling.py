"""Tiles are chosen when the whole does not fit into memory, and given ones reach the losses; pictures stay the same."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.configs import photo, photo_separate, seed
from msst_jax.errors import UserError
from msst_jax.losses.objective import Features, Targets
from msst_jax.models.pretrained import load_vgg
from msst_jax.presets.validation import check_config
from msst_jax.transfer import memory, objective, tiling
from msst_jax.transfer import optimization as stylization
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.listener import Listener
from msst_jax.transfer.options import StylizationOptions
from msst_jax.transfer.tiling import (
    ScalePlan,
    argument_bytes,
    evaluation_bytes,
    plan_tiles,
    stores_content,
    target_bytes,
)
from tests.helpers.pictures import noise, quick_config, stripe

GB = 10**9
MEGAPIXELS = {1: (1, 1, 1000, 1000, 3), 16: (1, 1, 4096, 4096, 3)}
VGG = load_vgg("vgg16", ["relu2_1"])[0]


@pytest.fixture
def inputs() -> PhotoInputs:
    left = stripe(48, 24, 0, 0.4)[..., None] / np.float32(255)
    masks = np.concatenate([left, 1 - left], -1).astype(np.float32)
    masks[:29] = masks[:29, :, ::-1]  # ends inside a tile
    regions = tuple(
        Region(name, (Painting(noise(40, 26, number) / np.float32(255)),)) for number, name in enumerate(("dog", "b"))
    )
    return PhotoInputs(noise(48, 24) / np.float32(255), masks, regions)


def with_memory(free: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, tiling):
        monkeypatch.setattr(module, "available_memory", lambda: free)


def tiles_of(options: StylizationOptions, free: int | None, size: int, monkeypatch: pytest.MonkeyPatch) -> int:
    with_memory(free, monkeypatch)
    return plan_tiles(options, [ScalePlan(MEGAPIXELS[size], 5)])[0].tiles


def test_the_whole_is_taken_where_it_fits_and_where_free_memory_is_not_known(monkeypatch: pytest.MonkeyPatch):
    options = build_options(photo.get_config())
    assert tiles_of(options, 80 * GB, 16, monkeypatch) == 1
    assert tiles_of(options, None, 16, monkeypatch) == 1
    assert tiles_of(build_options(quick_config()), 1, 1, monkeypatch) == 1  # small: tiles would save nothing


def test_as_few_tiles_are_taken_as_fit(monkeypatch: pytest.MonkeyPatch):
    options = build_options(photo.get_config())
    less, more = (tiles_of(options, free * GB, 16, monkeypatch) for free in (12, 24))
    assert 1 < more < less
    plan = ScalePlan(MEGAPIXELS[16], 5)
    for tiles, fits in ((less, True), (less - 1, False)):
        cut = plan._replace(tiles=tiles)
        needed = evaluation_bytes(options, cut) + argument_bytes(options, cut)
        assert (needed <= tiling.FREE_SHARE * 12 * GB) == fits


def test_features_of_the_photo_are_stored_unless_they_take_more_than_a_window():
    for preset in (photo, photo_separate, seed):
        options = build_options(preset.get_config())
        plan = ScalePlan((1, 2, 4096, 4096, 3), 5)
        few, many = (plan._replace(tiles=tiles) for tiles in (2, 64))
        assert [stores_content(options, 4096, tiles) for tiles in (1, 2, 64)] == [True, True, False]
        assert target_bytes(options, few) > GB > target_bytes(options, many) == 0
        kept = [evaluation_bytes(options, each) + target_bytes(options, each) for each in (few, many)]
        assert kept[1] < kept[0] / 2


def test_a_large_picture_fits_into_eight_gigabytes(monkeypatch: pytest.MonkeyPatch):
    options = replace(
        build_options(photo.get_config()), optimizer=build_options(quick_config(optimizer="adam")).optimizer
    )
    assert tiles_of(options, 7 * GB, 16, monkeypatch) > 1


def test_a_picture_that_no_tiles_make_fit_is_left_whole_for_the_advice(monkeypatch: pytest.MonkeyPatch):
    assert tiles_of(build_options(photo.get_config()), GB, 16, monkeypatch) == 1


def test_given_tiles_are_kept_and_the_first_program_corrects_those_that_are_not(monkeypatch: pytest.MonkeyPatch):
    options = build_options(photo.get_config())
    assert tiles_of(replace(options, tiles=7), 80 * GB, 16, monkeypatch) == 7
    assert tiles_of(replace(options, tiles=1), GB, 16, monkeypatch) == 1
    with_memory(48 * GB, monkeypatch)
    plans = [ScalePlan(MEGAPIXELS[16], 5)]
    assert plan_tiles(options, plans)[0].tiles == 1
    assert plan_tiles(options, plans, 2.0)[0].tiles > 1


@pytest.mark.parametrize(
    ("preset", "images", "measured"),
    [(photo, 1, 0.53), (photo_separate, 2, 1.16), (seed, 2, 1.21)],
    ids=["photo", "photo_separate", "seed"],
)
def test_the_estimate_of_an_evaluation_is_what_the_compiler_plans(preset: Any, images: int, measured: float):
    """In gigabytes, at 512x512; see docs/benchmarks.md."""
    options = build_options(preset.get_config())
    estimated = evaluation_bytes(options, ScalePlan((1, images, 512, 512, 3), 5)) / GB
    assert estimated == pytest.approx(measured, rel=0.25)


def test_tiles_take_a_tenth_of_the_memory_of_a_large_picture():
    for preset in (photo, seed):
        options = build_options(preset.get_config())
        whole, tiled = (evaluation_bytes(options, ScalePlan((1, 1, 8192, 8192, 3), 5, tiles)) for tiles in (1, 32))
        assert tiled < 0.1 * whole


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "computed"])
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "separate"])
def test_tiles_give_the_same_images_even_in_a_batch(
    inputs: PhotoInputs, guided: bool, stored: bool, monkeypatch: pytest.MonkeyPatch
):
    options = build_options(quick_config(guided=guided, steps=3))
    runs = [options.weights(ratio) for ratio in (0.0, 0.5)]
    whole = stylization.stylize(options, VGG, inputs, runs)
    monkeypatch.setattr(objective, "stores_content", lambda *_: stored)
    tiled = stylization.stylize(replace(options, tiles=3), VGG, inputs, runs)
    np.testing.assert_allclose(tiled.images, whole.images, atol=1e-4)
    for ours, theirs in zip(tiled.losses, whole.losses, strict=True):
        for name, values in theirs.items():
            np.testing.assert_allclose(ours[name], values, rtol=1e-4, atol=1e-4, err_msg=name)
    assert np.abs(tiled.images[0] - tiled.images[1]).max() > 1e-4


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "computed"])
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "separate"])
def test_tiles_reach_each_style_alone(inputs: PhotoInputs, guided: bool, stored: bool, monkeypatch: pytest.MonkeyPatch):
    name = "tiled_guided_loss" if guided else "tiled_stylization_loss"
    loss, asked = getattr(objective, name), []

    def spy(vgg: Any, targets: Targets, *args: Any, tiles: int) -> Any:
        asked.append((tiles, targets.photo is None))
        return loss(vgg, targets, *args, tiles=tiles)

    monkeypatch.setattr(objective, name, spy)
    monkeypatch.setattr(objective, "stores_content", lambda *_: stored)
    options = build_options(quick_config(guided=guided, steps=1, tiles="2", style_layers=("relu1_1",)))
    assert stylization.stylize_separately(options, VGG, inputs).finite.all()
    assert set(asked) == {(2, stored)}


def test_a_loss_of_the_users_sees_the_features_of_the_whole_picture(inputs: PhotoInputs):
    def extra(pixels: jax.Array, result: jax.Array, features: Features) -> jax.Array:
        return jnp.mean(features.pixels["relu1_1"]) + jnp.mean(result)

    options = build_options(quick_config(steps=1))
    found = [
        stylization.stylize(replace(options, tiles=tiles), VGG, inputs, [options.weights()], extra_loss=extra).losses[0]
        for tiles in (1, 2)
    ]
    assert found[1]["extra"] == pytest.approx(found[0]["extra"], rel=1e-6)
    assert found[1]["total"] == pytest.approx(found[0]["total"], rel=1e-5)


def test_tiles_that_memory_asks_for_are_said_and_used(inputs: PhotoInputs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiling, "WHOLE_BELOW", 1)
    options = build_options(quick_config(steps=1, optimizer="adam"))
    plan = ScalePlan((1, 1, *inputs.photo.shape), 1)
    free = (argument_bytes(options, plan) + 0.9 * evaluation_bytes(options, plan)) / tiling.FREE_SHARE
    monkeypatch.setattr(tiling, "available_memory", lambda: int(free))
    said: list[str] = []
    listener = Listener(announce=lambda text, left=None: said.append(text))
    made = stylization.stylize(options, VGG, inputs, [options.weights()], listener=listener)
    assert made.tiles == [2]
    assert [text for text in said if "compiling" in text] == ["compiling for 24x48 pixels in 2 tiles"]


def test_tiles_of_bfloat16_features_give_the_same_loss_up_to_its_rounding(inputs: PhotoInputs):
    options = build_options(quick_config(steps=2, precision="bfloat16"))
    vgg = load_vgg("vgg16", ["relu2_1"], dtype=jnp.bfloat16)[0]
    first = [
        stylization.stylize(replace(options, tiles=tiles), vgg, inputs, [options.weights()]).losses[0]["total"][0]
        for tiles in (1, 3)
    ]
    assert first[1] == pytest.approx(first[0], rel=1e-2)


@pytest.mark.parametrize(("text", "tiles"), [("auto", 0), ("off", 1), ("1", 1), ("12", 12)])
def test_tiles_of_a_config_are_a_word_or_a_number(text: str, tiles: int):
    assert build_options(quick_config(tiles=text)).tiles == tiles


@pytest.mark.parametrize("text", ["0", "-2", "2.5", "some", "", "99999999999"])
def test_other_tiles_are_refused(text: str):
    with pytest.raises(UserError, match=rf"config.tiles is '{text}'; use auto, off, or a number of windows of rows"):
        check_config(quick_config(tiles=text))
