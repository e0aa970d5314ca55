"""Several runs over several devices: divided where they divide evenly, without any exchange; else strips."""

import jax
import jax.numpy as jnp
import pytest

from msst_jax.configs import photo
from msst_jax.ops.batch_split import BatchSplit, batch_split_of, split_batch
from msst_jax.ops.picture_split import PictureSplit
from msst_jax.optim.minimize import make_init
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.transfer.build import build_options
from msst_jax.transfer.optimization import describe_compilation
from msst_jax.transfer.placement import place_pixels, share_work
from msst_jax.transfer.tiling import ScalePlan, evaluation_bytes, optimizer_bytes, plan_tiles
from tests.helpers.commands import run_comparison

OPTIONS = build_options(photo.get_config())


def split_of_all() -> BatchSplit:
    split = split_batch(jax.devices())
    assert split is not None
    return split


@pytest.mark.parametrize(
    ("runs", "devices", "kind"),
    [
        (4, 4, BatchSplit),
        (8, 4, BatchSplit),
        (3, 3, BatchSplit),
        (1, 4, PictureSplit),
        (2, 4, PictureSplit),
        (6, 4, PictureSplit),
        (1, 1, type(None)),
        (4, 1, type(None)),
    ],
)
def test_runs_are_divided_if_they_are_a_multiple_of_the_devices(runs: int, devices: int, kind: type):
    split = share_work(OPTIONS.network, (runs, 1, 64, 96, 3), jax.devices()[:devices])
    assert isinstance(split, kind)
    assert split is None or split.devices == devices


def test_runs_are_divided_where_no_strips_divide_the_picture():
    assert isinstance(share_work(OPTIONS.network, (4, 1, 50, 70, 3), jax.devices()), BatchSplit)


def test_all_that_is_of_a_run_is_on_its_device():
    split = split_of_all()
    pixels = place_pixels(jnp.zeros((8, 1, 12, 10, 3)), split)
    assert batch_split_of(pixels) == split
    state = make_init(build_optimizer(OPTIONS.optimizer, 3), batched=True, split=split)(pixels)
    for leaf in jax.tree.leaves(state):
        assert batch_split_of(leaf) == split
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {2}


def test_what_is_said_before_a_compilation_names_the_devices():
    pixels = place_pixels(jnp.zeros((4, 1, 12, 10, 3)), split_of_all())
    assert describe_compilation(pixels) == "compiling for 10x12 pixels over 4 devices"
    assert describe_compilation(pixels, 3) == "compiling for 10x12 pixels in 3 tiles over 4 devices"


def test_each_device_takes_the_memory_of_its_runs_and_cuts_them_into_tiles(monkeypatch: pytest.MonkeyPatch):
    alone, all_on_one = (ScalePlan((runs, 1, 4096, 4096, 3), 5) for runs in (1, 4))
    shared = all_on_one._replace(split=split_of_all())
    for tiles in (1, 6):
        needs = [evaluation_bytes(OPTIONS, plan._replace(tiles=tiles)) for plan in (shared, alone)]
        assert needs[0] == needs[1]
    assert optimizer_bytes(OPTIONS, shared) == optimizer_bytes(OPTIONS, all_on_one) // 4
    monkeypatch.setattr("msst_jax.transfer.tiling.available_memory", lambda: 48 * 10**9)
    monkeypatch.setattr("msst_jax.transfer.tiling.is_memory_shared", lambda: True)
    in_one_memory = plan_tiles(OPTIONS, [shared])[0].tiles
    monkeypatch.setattr("msst_jax.transfer.tiling.available_memory", lambda: 12 * 10**9)
    monkeypatch.setattr("msst_jax.transfer.tiling.is_memory_shared", lambda: False)
    assert 1 < in_one_memory == plan_tiles(OPTIONS, [shared])[0].tiles == plan_tiles(OPTIONS, [alone])[0].tiles


def assert_as_one(tiles: int) -> None:
    (found,) = run_comparison("shared_runs", str(tiles))
    assert found["first_loss"] <= 1e-5, found
    assert found["loss"] <= 1e-3, found
    assert found["picture"] <= 1e-2, found
    assert found["spread"] > 10 * found["picture"], found  # the ratios differ
    assert found["programs"] == 2, found
    assert found["tiles"] == [tiles, tiles], found
    assert found["shown"] == [4, 36, 44, 3], found
    assert found["exchanged"] == {}, found


def test_divided_runs_are_those_of_one_device_and_exchange_nothing():
    assert_as_one(1)


@pytest.mark.slow
def test_divided_runs_are_cut_into_tiles():
    assert_as_one(3)
