"""A photo over several devices: equal strips of its longer side, the same picture, and refusals in one line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.configs import photo, seed
from msst_jax.errors import UserError
from msst_jax.io.images import read_picture
from msst_jax.losses.functional import guided_gram
from msst_jax.ops.device_split import gather
from msst_jax.ops.picture_split import COLUMNS, ROWS, PictureSplit, place_pictures, split_of
from msst_jax.optim.minimize import make_init
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.presets.validation import check_config
from msst_jax.runtime.devices import chosen_devices
from msst_jax.transfer.build import build_options
from msst_jax.transfer.optimization import describe_compilation
from msst_jax.transfer.placement import choose_split
from msst_jax.transfer.tiling import ScalePlan, evaluation_bytes, optimizer_bytes, plan_tiles
from tests.helpers.commands import run_command, run_comparison, run_script
from tests.helpers.pictures import TWO, make_scene, quick_config

PHOTO = build_options(photo.get_config()).network  # of stride 8


def split(shape: Sequence[int], devices: int = 4) -> PictureSplit:
    found = choose_split(PHOTO, shape, jax.devices()[:devices])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("height", "width", "devices", "axis"),
    [
        (64, 64, 4, ROWS),
        (64, 96, 4, COLUMNS),  # the longer side
        (96, 64, 4, ROWS),
        (64, 100, 4, ROWS),  # the side that divides
        (120, 72, 3, ROWS),  # as many devices as divide it
        (48, 20, 3, ROWS),
        (40, 16, 2, COLUMNS),
    ],
)
def test_strips_are_of_the_longer_side_and_as_many_as_divide_it(height: int, width: int, devices: int, axis: int):
    found = split((1, height, width, 3))
    assert (found.devices, found.axis) == (devices, axis)


def test_a_picture_that_no_devices_divide_and_one_for_a_single_device_stay_whole():
    assert choose_split(PHOTO, (50, 70, 3), jax.devices()) is None
    assert choose_split(PHOTO, (64, 64, 3), jax.devices()[:1]) is None


def test_strips_begin_where_the_deepest_layer_has_a_feature():
    shallow = build_options(seed.get_config()).network  # of stride 4
    for network, devices in ((PHOTO, 2), (shallow, 4)):
        found = choose_split(network, (16, 6, 3), jax.devices())
        assert found is not None
        assert found.devices == devices


@pytest.mark.parametrize("axis", [ROWS, COLUMNS], ids=["rows", "columns"])
def test_a_picture_knows_how_it_lies_and_is_gathered_unchanged(axis: int):
    picture = np.arange(2 * 8 * 12 * 3, dtype=np.float32).reshape(2, 8, 12, 3)
    by = PictureSplit(split((64, 64, 3)).mesh, axis)
    placed = place_pictures(jnp.asarray(picture), by)
    assert split_of(placed) == by
    whole = gather(placed)
    assert split_of(whole) is None
    np.testing.assert_array_equal(whole, picture)
    assert split_of(jnp.asarray(picture)) is None


@pytest.mark.parametrize("axis", [ROWS, COLUMNS], ids=["rows", "columns"])
def test_guided_gram_matrices_and_their_gradients_are_those_of_the_whole(axis: int):
    rng = np.random.default_rng(0)
    features, guides = (rng.normal(size=(8, 12, channels)).astype(np.float32) for channels in (5, 2))
    by = PictureSplit(split((64, 64, 3)).mesh, axis)

    def loss(features: jax.Array, guides: jax.Array, by: PictureSplit | None) -> jax.Array:
        return jnp.square(guided_gram(features, guides**2, by)).sum()

    def gradients(by: PictureSplit | None, *arrays: np.ndarray) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        placed = place_pictures(tuple(map(jnp.asarray, arrays)), by)
        return jax.jit(jax.value_and_grad(lambda *both: loss(*both, by), (0, 1)))(*placed)

    found, expected = (jax.tree.leaves(gradients(each, features, guides)) for each in (by, None))
    for ours, whole in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-5, atol=1e-6)


def test_the_state_of_the_optimizer_lies_as_the_pixels_do():
    by = split((64, 64, 3))
    pixels = place_pictures(jnp.zeros((1, 2, 64, 32, 3)), by)
    transform = build_optimizer(build_options(photo.get_config()).optimizer, 3, by)
    state = make_init(transform, batched=True, split=by)(pixels)
    for leaf in jax.tree.leaves(state):
        assert (split_of(leaf) == by) == (leaf.shape[-3:] == (64, 32, 3))
        assert leaf.sharding.device_set == set(jax.devices())


def test_what_is_said_before_a_compilation_names_the_devices():
    pixels = place_pictures(jnp.zeros((1, 1, 64, 32, 3)), split((64, 32, 3)))
    assert describe_compilation(pixels) == "compiling for 32x64 pixels over 4 devices"


def test_each_device_takes_its_share_and_no_tiles_are_made(monkeypatch: pytest.MonkeyPatch):
    options = build_options(photo.get_config())
    whole = ScalePlan((1, 1, 4096, 4096, 3), 5)
    plan = whole._replace(split=split(whole.shape))
    assert evaluation_bytes(options, plan) == evaluation_bytes(options, whole) / 4
    assert optimizer_bytes(options, plan) == optimizer_bytes(options, whole) // 4
    monkeypatch.setattr("msst_jax.transfer.tiling.available_memory", lambda: 12 * 10**9)
    assert plan_tiles(options, [plan])[0].tiles == 1 < plan_tiles(options, [whole])[0].tiles


def test_more_devices_than_there_are_are_refused_before_any_work(tmp_path: Path):
    make_scene(tmp_path)
    before = sorted(tmp_path.iterdir())
    for more in ([], ["--sweep", "content_weight=1,2"]):
        code, stderr = run_command([*TWO, *more, "--config.devices=9", "photo.png", "-o", "out.png"], tmp_path)
        assert (code, stderr) == (2, "stylize.py: config.devices is 9, and there are 4; give at most 4, or 0 for all\n")
    assert sorted(tmp_path.iterdir()) == before


def test_all_devices_or_the_first_ones_are_chosen():
    assert chosen_devices(0) == jax.devices()
    assert chosen_devices(1) == jax.devices()[:1]


@pytest.mark.parametrize("devices", [-1, -4])
def test_a_negative_number_of_devices_is_refused(devices: int):
    with pytest.raises(UserError, match=rf"^config.devices is {devices}; it must be an integer of at least 0$"):
        check_config(quick_config(devices=devices))


@pytest.mark.parametrize("devices", [0, 4])
def test_tiles_of_a_picture_on_several_devices_are_refused(devices: int):
    with pytest.raises(UserError, match=rf"^config.devices is {devices} and config.tiles 8, but [^\n]*; leave one of"):
        check_config(quick_config(devices=devices, tiles="8"))
    for tiles in ("auto", "off", "1"):
        check_config(quick_config(devices=devices, tiles=tiles))


def compare_as_one(preset: str, height: int, width: int) -> dict[str, Any]:
    """`strips.compare`, after the check that loss and gradient are those of one device, and no picture is gathered.

    In a process of its own, since one of several devices whose threads wait for each other never ends.
    """
    (found,) = run_comparison("strips", preset, str(height), str(width))
    assert found["loss"] <= 1e-6, found
    assert found["gradient"] <= 1e-5, found
    assert all(elements < height * width for elements in found["gathered"]), found
    return found


def test_a_step_over_four_devices_evaluates_what_one_does():
    compare_as_one("quick", 48, 64)


@pytest.mark.slow
def test_a_picture_over_four_devices_is_that_of_one(tmp_path: Path):
    """The whole command, in processes of their own; without smoothness: its gradient jumps where pixels are equal."""
    make_scene(tmp_path, 64, 48)
    layers = ["--config.style_layers=('relu1_1',)", "--config.content_layers=('relu1_1',)"]
    factors = ["--config.content_layer_weights=()", "--config.tv_weight=0"]
    sizes = ["--config.size=64", "--config.steps=3", "--config.scales=(1.0,)"]
    pictures, losses = {}, {}
    for devices in (1, 4):
        flags = [f"--config.devices={devices}", "photo.png", "-o", f"{devices}.png"]
        ran = run_script([*TWO, *layers, *factors, *sizes, *flags], tmp_path, settings={"jax_num_cpu_devices": 4})
        assert ran[0] == 0, ran
        assert ("compiling for 48x64 pixels over 4 devices" in ran[1]) == (devices == 4)
        pictures[devices] = read_picture(str(tmp_path / f"{devices}.png"), "result")
        losses[devices] = json.loads((tmp_path / f"{devices}.json").read_text())["loss"]["total"]
    np.testing.assert_allclose(losses[4][:2], losses[1][:2], rtol=1e-6)
    np.testing.assert_allclose(losses[4], losses[1], rtol=1e-3)
    one, four = (np.asarray(picture, np.float32) for picture in pictures.values())
    assert np.abs(one - four).mean() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "height", "width"), [("seed", 512, 512), ("photo_separate", 384, 640), ("photo", 1024, 1024)]
)
def test_loss_and_gradient_over_four_devices_are_those_of_one_at_a_third_of_the_memory(
    preset: str, height: int, width: int
):
    """`photo` at 1024: beside its share of the picture a device holds the network's kernels, turned for gradients."""
    assert compare_as_one(preset, height, width)["temporary"] <= 0.35
