"""Coarse-to-fine optimization, and the effect of its options."""

import signal
import threading
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.losses import objective as losses
from msst_jax.models.pretrained import load_vgg
from msst_jax.models.vgg import VGG
from msst_jax.optim import programs
from msst_jax.optim.minimize import compile_minimizer
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.transfer import objective
from msst_jax.transfer import optimization as stylization
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.listener import Listener, Preview, say_nothing
from msst_jax.transfer.optimization import FINISHING_EVALUATIONS
from tests.helpers.pictures import noise, quick_config, stripe

TWO_SCALES = {"scales": (0.5, 1.0), "scale_steps": (0.5, 0.5)}


@pytest.fixture(scope="module")
def inputs() -> PhotoInputs:
    left = stripe(37, 45, 0, 0.4)[..., None] / np.float32(255)
    paintings = {name: Painting(noise(33, 41, seed) / np.float32(255)) for seed, name in ((1, "dog"), (2, "sky"))}
    styles = tuple(Region(name, (painting,)) for name, painting in paintings.items())
    return PhotoInputs(noise(37, 45) / np.float32(255), np.concatenate([left, 1 - left], -1).astype(np.float32), styles)


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_vgg("vgg16", ["relu2_1"])[0]


def run(
    inputs: PhotoInputs,
    vgg: VGG,
    progress: Any = None,
    announce: Any = say_nothing,
    preview: Any = None,
    **changes: Any,
) -> stylization.StylizationResult:
    options = build_options(quick_config(**changes))
    return stylization.stylize(
        options, vgg, inputs, [options.weights(0.2)], listener=Listener(progress, announce, preview)
    )


def test_the_fine_scale_continues_from_the_coarse_one(inputs: PhotoInputs, vgg: VGG):
    both = run(inputs, vgg, steps=12, **TWO_SCALES)
    fine = run(inputs, vgg, steps=6)
    assert both.evaluations == [6, 6]
    assert both.images.shape == (1, 37, 45, 3)
    assert fine.losses[0]["content"][0] == 0  # the photo itself
    assert both.losses[0]["content"][6] > 0.1


def test_a_start_from_a_file_keeps_the_details_that_the_coarse_scale_cannot_hold(inputs: PhotoInputs, vgg: VGG):
    start = noise(37, 45, 9) / np.float32(255)
    options = build_options(quick_config(steps=2, style_weight=0.0, content_weight=0.0, **TWO_SCALES))
    made = stylization.stylize(options, vgg, inputs._replace(start=start), [options.weights(0.0)]).images[0]
    np.testing.assert_allclose(made, start, atol=1e-5)


def test_ctrl_c_in_the_coarse_scale_gives_an_image_of_full_size(inputs: PhotoInputs, vgg: VGG):
    def progress(evaluation: int, _total: float) -> None:
        if evaluation == 2:
            signal.raise_signal(signal.SIGINT)

    outcome = run(inputs, vgg, progress, steps=1000, **TWO_SCALES)
    assert outcome.interrupted
    assert outcome.evaluations[0] < 20
    assert outcome.evaluations[1:] == [FINISHING_EVALUATIONS]
    assert outcome.images.shape == (1, 37, 45, 3)
    fine = outcome.losses[0]["total"][outcome.evaluations[0] :]
    assert min(fine) < fine[0]


def test_a_second_ctrl_c_ends_the_finish_at_full_size_with_the_resized_picture(inputs: PhotoInputs, vgg: VGG):
    said: list[tuple[str, int | None]] = []

    def interrupt(text: str, left: int | None = None) -> None:
        said.append((text, left))
        if text.startswith("finishing"):
            signal.raise_signal(signal.SIGINT)

    def progress(evaluation: int, _total: float) -> None:
        if evaluation == 2:
            signal.raise_signal(signal.SIGINT)

    outcome = run(inputs, vgg, progress, interrupt, steps=1000, **TWO_SCALES)
    assert outcome.interrupted
    assert outcome.evaluations[1:] == [1]  # of the resized picture itself
    assert outcome.images.shape == (1, 37, 45, 3)
    few = f"finishing at full size: {FINISHING_EVALUATIONS} evaluations; press Ctrl-C again to stop at once"
    compilations = [(f"compiling for {size} pixels", None) for size in ("22x18", "45x37")]
    assert said == [compilations[0], (few, FINISHING_EVALUATIONS), compilations[1]]


def test_ctrl_c_at_full_size_ends_there_at_once(inputs: PhotoInputs, vgg: VGG):
    said: list[str] = []

    def progress(evaluation: int, _total: float) -> None:
        if evaluation == 8:
            signal.raise_signal(signal.SIGINT)

    outcome = run(inputs, vgg, progress, lambda text, left=None: said.append(text), steps=1000, scales=(1.0,))
    assert outcome.interrupted
    assert 8 <= outcome.evaluations[0] < 20
    assert said == ["compiling for 45x37 pixels"]


def test_a_stop_of_the_caller_resizes_without_finishing(inputs: PhotoInputs, vgg: VGG):
    stop = threading.Event()
    options = build_options(quick_config(steps=1000, **TWO_SCALES))
    listener = Listener(lambda evaluation, _total: stop.set() if evaluation == 2 else None)
    outcome = stylization.stylize_separately(options, vgg, inputs, listener=listener, stop=stop)
    assert outcome.interrupted
    assert len(outcome.evaluations) == 1
    assert outcome.images.shape == (1, 37, 45, 3)


def test_ctrl_c_while_the_last_scale_compiles_still_finishes_at_full_size(
    inputs: PhotoInputs, vgg: VGG, monkeypatch: pytest.MonkeyPatch
):
    compiled: list[int] = []

    def interrupted_compilation(*args: Any, **kwargs: Any) -> Any:
        compiled.append(1)
        if len(compiled) == 2:
            signal.raise_signal(signal.SIGINT)
        return compile_minimizer(*args, **kwargs)

    monkeypatch.setattr(programs, "compile_minimizer", interrupted_compilation)
    outcome = run(inputs, vgg, steps=14, **TWO_SCALES)
    assert outcome.interrupted
    assert outcome.evaluations == [7, FINISHING_EVALUATIONS]
    assert outcome.images.shape == (1, 37, 45, 3)


@pytest.mark.parametrize("guided", [True, False])
def test_previews_are_the_best_pictures_so_far_at_full_size_and_change_nothing(
    inputs: PhotoInputs, vgg: VGG, guided: bool
):
    shown: list[np.ndarray] = []
    settings = {"steps": 12, "guided": guided, **TWO_SCALES}
    outcome = run(
        inputs, vgg, preview=Preview(4, lambda _evaluation, images: shown.append(np.asarray(images))), **settings
    )
    assert [images.shape for images in shown] == [(1, 37, 45, 3)] * 3
    assert all(np.abs(one - two).max() > 1e-3 for one, two in pairwise(shown))
    best = np.argmin(outcome.losses[0]["total"][6:])
    if best == 5:  # evaluated last
        np.testing.assert_array_equal(shown[-1], outcome.images)
    np.testing.assert_array_equal(run(inputs, vgg, **settings).images, outcome.images)


@pytest.mark.parametrize("guided", [True, False])
def test_separate_stylization_applies_each_style_to_the_whole_photo(inputs: PhotoInputs, vgg: VGG, guided: bool):
    options = build_options(quick_config(guided=guided, keep="last", max_step=0.0))
    separate = stylization.stylize_separately(options, vgg, inputs)
    whole = np.ones_like(inputs.masks[..., :1])
    alone = []
    for region in inputs.regions:
        weights = options.weights(0.0)._replace(tv=0.0)
        outcome = stylization.stylize(options, vgg, PhotoInputs(inputs.photo, whole, (region,)), [weights])
        alone.append(outcome)
    pasted = sum(outcome.images[0] * inputs.masks[..., k, None] for k, outcome in enumerate(alone))
    np.testing.assert_allclose(separate.images[0], pasted, atol=2e-3)
    for name in ("total", "style", "content"):
        summed = np.sum([outcome.losses[0][name] for outcome in alone], 0)
        np.testing.assert_allclose(separate.losses[0][name], summed, rtol=1e-3, atol=1e-4)
    assert not any(separate.losses[0]["blend"])
    assert not any(separate.losses[0]["smooth"])


def test_remat_gives_the_same_images_even_in_a_batch(inputs: PhotoInputs, vgg: VGG):
    options = build_options(quick_config(guided=False, steps=4, **TWO_SCALES))
    runs = [options.weights(ratio) for ratio in (0.0, 20.0)]
    plain = stylization.stylize(options, vgg, inputs, runs)
    rematerialized = stylization.stylize(replace(options, remat=True), vgg, inputs, runs)
    print(f"largest difference of a pixel: {np.abs(rematerialized.images - plain.images).max():.1e}")
    np.testing.assert_allclose(rematerialized.images, plain.images, atol=1e-4)
    for ours, theirs in zip(rematerialized.losses, plain.losses, strict=True):
        for name in ("total", *losses.TERMS):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4)
    assert np.abs(rematerialized.images[0] - rematerialized.images[1]).max() > 1e-3


@pytest.mark.parametrize("separate", [False, True])
def test_remat_is_passed_to_the_loss(inputs: PhotoInputs, vgg: VGG, monkeypatch: pytest.MonkeyPatch, separate: bool):
    requested: list[bool] = []
    loss = losses.stylization_loss

    def spy(*args: Any, remat: bool, **more: Any) -> Any:
        requested.append(remat)
        return loss(*args, remat=remat, **more)

    monkeypatch.setattr(objective, "stylization_loss", spy)
    options = build_options(quick_config(guided=False, remat=True, steps=1))
    if separate:
        outcome = stylization.stylize_separately(options, vgg, inputs)
    else:
        outcome = stylization.stylize(options, vgg, inputs, [options.weights(0.2)])
    assert outcome.finite.all()
    assert set(requested) == {True}


def test_remat_needs_less_than_half_of_the_memory_of_a_step(vgg: VGG):
    """Temporary memory of the compiled step for three regions; the measured ratio is 0.30."""
    third = np.full((96, 96, 3), 1 / 3, np.float32)
    regions = tuple(Region(str(k), (Painting(noise(96, 96, k) / np.float32(255)),)) for k in range(3))
    scene = objective.scale_scene(PhotoInputs(noise(96, 96) / np.float32(255), third, regions), 1.0)
    temporary = []
    for remat in (False, True):
        options = build_options(quick_config(guided=False, remat=remat))
        weights = jax.tree.map(lambda value: jnp.full(1, value), options.weights(0.2))
        loss, runs = objective.build_objective(options, vgg, scene, weights)
        pixels = jnp.broadcast_to(scene.photo, (1, 3, *scene.photo.shape))
        step = compile_minimizer(loss, pixels, build_optimizer(options.optimizer, 3), runs=runs).step
        temporary.append(step.memory_analysis().temp_size_in_bytes)
    print(temporary, temporary[1] / temporary[0])
    assert temporary[1] < 0.5 * temporary[0]


def test_adam_lowers_the_loss_with_its_default_settings(inputs: PhotoInputs, vgg: VGG):
    adam = run(inputs, vgg, optimizer="adam", steps=12)
    assert adam.improved.all()
    assert adam.losses[0]["total"][-1] < 0.9 * adam.losses[0]["total"][0]
    assert adam.losses[0] != run(inputs, vgg, steps=12).losses[0]


def test_keep_chooses_between_the_best_and_the_last_pixels(inputs: PhotoInputs, vgg: VGG):
    best, last = (
        run(inputs, vgg, optimizer="adam", learning_rate=0.5, steps=3, keep=keep) for keep in ("best", "last")
    )
    assert best.losses == last.losses
    assert np.abs(best.images - last.images).max() > 0.01


def test_total_variation_per_pixel_does_not_grow_with_the_size(inputs: PhotoInputs, vgg: VGG):
    whole, per_pixel = (run(inputs, vgg, steps=1, tv_per_pixel=value).losses[0]["smooth"][0] for value in (False, True))
    assert whole == pytest.approx(per_pixel * 37 * 45, rel=1e-5)


def test_extra_loss_terms_cannot_shadow_those_of_the_method(inputs: PhotoInputs, vgg: VGG):
    options = build_options(quick_config())
    for name, message in (("style", "the method's: use other names"), ("total", "the name of the terms' sum")):
        with pytest.raises(ValueError, match=message):
            stylization.stylize(
                options,
                vgg,
                inputs,
                [losses.LossWeights(1.0, 1.0, 1.0, 1.0)],
                extra_loss=lambda p, _r, _f, n=name: {n: p.sum()},
            )
