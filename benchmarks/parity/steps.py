"""Parity of L-BFGS and of the feed-forward model (images, training loss, gradients) with PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from benchmarks.parity.rows import Comparison, Errors, Label, format_shape, relative_errors
from msst_jax.models.serialization import state_to_tensors
from msst_jax.ops.image import normalize
from reference import stylizer_cases
from reference.lbfgs_cases import (
    FLOAT32_TOLERANCE,
    FLOAT64_TOLERANCE,
    SIZE,
    ill_conditioned,
    our_iterates,
    torch_iterates,
)
from reference.original import to_tensor
from reference.stylizer import build_twin
from reference.stylizer_cases import BATCHES, SEEDS, LossAndGradients

LBFGS = "torch.optim.LBFGS"
CLAMPED = {"free": False, "clamped": True}
AGAINST = "a PyTorch twin, autograd"
STYLES, WIDTH, BLOCKS = 3, 16, 6  # the last two are those of configs/fast.py
IMAGES = (2, 96, 131, 3)
QUICK_WIDTH, QUICK_BLOCKS = 4, 2
QUICK_IMAGES = (1, 18, 23, 3)


def lbfgs(*, quick: bool) -> list[Comparison]:
    """All evaluated points, unconstrained and clamped to [0, 1] as pixels are."""
    del quick  # takes a second anyway
    settings = ((10, "float32", FLOAT32_TOLERANCE), (40, "float64", FLOAT64_TOLERANCE))
    return [
        Comparison(
            {"iterates": Label(f"L-BFGS, {count} iterations, {dtype}", LBFGS, f"{SIZE}", limit)},
            partial(_start_lbfgs, count, dtype),
        )
        for count, dtype, limit in settings
    ]


def _start_lbfgs(count: int, dtype: str) -> Callable[[], Mapping[str, Errors]]:
    theirs = {
        name: torch_iterates(ill_conditioned, count, getattr(torch, dtype), clamp=clamp)
        for name, clamp in CLAMPED.items()
    }

    def measure() -> Mapping[str, Errors]:
        with jax.enable_x64(dtype == "float64"):
            ours = {
                name: our_iterates(ill_conditioned, count, jnp.dtype(dtype), clamp=clamp)[0]
                for name, clamp in CLAMPED.items()
            }
        return {"iterates": relative_errors(ours, theirs)}

    return measure


def feedforward(*, quick: bool) -> list[Comparison]:
    """Images of a network of the size in configs/fast.py; loss and gradients of small ones, away from kinks."""
    width, blocks, shape = (QUICK_WIDTH, QUICK_BLOCKS, QUICK_IMAGES) if quick else (WIDTH, BLOCKS, IMAGES)
    images = Label(
        f"fast model, {STYLES} styles, width {width}, images",
        "a PyTorch twin",
        format_shape(*shape),
        stylizer_cases.IMAGE_TOLERANCE,
    )
    comparisons = [Comparison({"images": images}, partial(_start_images, width, blocks, shape))]
    for photos, styles, size in BATCHES[:1] if quick else BATCHES:
        what, seeds = f"fast model, {styles} styles", SEEDS[:1] if quick else SEEDS
        at = format_shape(photos, *size, 3)
        labels = {
            "loss": Label(f"{what}, training loss", AGAINST, at, stylizer_cases.LOSS_TOLERANCE),
            "gradient": Label(f"{what}, worst gradient of a parameter", AGAINST, at, stylizer_cases.GRADIENT_TOLERANCE),
        }
        comparisons.append(Comparison(labels, partial(_start_training, photos, styles, size, seeds)))
    return comparisons


def _start_images(width: int, blocks: int, shape: tuple[int, int, int, int]) -> Callable[[], Mapping[str, Errors]]:
    network = stylizer_cases.random_stylizer(STYLES, width=width, blocks=blocks)
    pixels = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    images = np.asarray(normalize(jnp.asarray(pixels)))
    masks = stylizer_cases.random_masks(shape[0], STYLES, shape[1:3])
    with torch.no_grad():
        twin = build_twin(state_to_tensors(nnx.state(network)))
        theirs = twin(to_tensor(images), to_tensor(masks)).movedim(1, -1).numpy()
    return lambda: {
        "images": relative_errors({"images": stylizer_cases.stylised(network, images, masks)}, {"images": theirs})
    }


def _start_training(
    photos: int, styles: int, size: tuple[int, int], seeds: Sequence[int]
) -> Callable[[], Mapping[str, Errors]]:
    vgg = stylizer_cases.load_network()
    cases = {seed: stylizer_cases.training_case(photos, styles, size, seed) for seed in seeds}
    theirs = {seed: stylizer_cases.torch_training(case) for seed, case in cases.items()}

    def measure() -> Mapping[str, Errors]:
        ours = {seed: stylizer_cases.our_training(vgg, case) for seed, case in cases.items()}
        return {"loss": _loss_errors(ours, theirs), "gradient": _gradient_errors(ours, theirs)}

    return measure


def _loss_errors(ours: Mapping[int, LossAndGradients], theirs: Mapping[int, LossAndGradients]) -> dict[str, float]:
    return {f"seed {seed}": abs(ours[seed].loss / their.loss - 1) for seed, their in theirs.items()}


def _gradient_errors(ours: Mapping[int, LossAndGradients], theirs: Mapping[int, LossAndGradients]) -> dict[str, float]:
    return {
        f"{name}, seed {seed}": error
        for seed, their in theirs.items()
        for name, error in stylizer_cases.gradient_errors(ours[seed].gradients, their.gradients).items()
    }
