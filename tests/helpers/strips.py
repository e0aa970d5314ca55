"""A step of an optimization on one device and over four, compared: `python -m tests.helpers.strips PRESET H W`.

PRESET is the name of one, or "quick" for `quick_config`.

In a process of its own: programs over several devices wait for each other in the threads of a CPU.
"""

import json
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.ops.picture_split import place_pictures
from msst_jax.optim.minimize import CompiledMinimizer, compile_minimizer
from msst_jax.optim.optimizer import build_optimizer
from msst_jax.presets.lookup import load_preset
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.objective import build_objective, load_loss_network, scale_scene
from msst_jax.transfer.options import StylizationOptions
from msst_jax.transfer.placement import choose_split, place_scene
from tests.helpers.pictures import noise, quick_config

DEVICES = 4


def two_regions(height: int, width: int) -> PhotoInputs:
    """A photo of noise, two regions whose shares change from pixel to pixel, and their paintings.

    No pixel equals its neighbor: there the gradient of the total variation jumps, and rounding decides where to.
    """
    rng = np.random.default_rng(0)
    colors, share = (rng.random((height, width, channels), np.float32) for channels in (3, 1))
    regions = tuple(Region(name, (Painting(noise(64, 96, seed) / np.float32(255)),)) for seed, name in enumerate("ab"))
    return PhotoInputs(colors, np.concatenate([share, 1 - share], -1), regions)


def first_step(options: StylizationOptions, inputs: PhotoInputs, devices: int) -> tuple[CompiledMinimizer, Any, Any]:
    """The program, and the loss and gradient that its first step evaluates."""
    vgg, _ = load_loss_network(options.network)
    weights = jax.tree.map(lambda factor: jnp.full(1, factor, jnp.float32), options.weights())
    scene = scale_scene(inputs, 1.0)
    images = options.image_count(len(inputs.regions))
    pixels = jnp.broadcast_to(0.9 * scene.photo, (1, images, *scene.photo.shape))
    split = choose_split(options.network, scene.photo.shape, jax.devices()[:devices])
    assert (split.devices if split else 1) == devices
    scene, pixels = place_scene(options.network, scene, split), place_pictures(pixels, split)
    loss, runs = build_objective(options, vgg, scene, weights)
    compiled = compile_minimizer(loss, pixels, build_optimizer(options.optimizer, 5, split), runs=runs)
    loss = jax.tree_util.Partial(compiled.function, *loss.args)
    state, terms, _ = compiled.step(compiled.start(pixels), loss, runs)
    return compiled, float(terms["total"][0]), np.asarray(state.transform.gradient)


def gathered(program: str) -> list[int]:
    """The elements of what each all-gather of a program results in, the largest array of each."""
    lines = re.findall(r"= (.*?) all-gather(?:-start)?\(", program)
    shapes = [re.findall(r"\w+\[([\d,]*)\]", line) for line in lines]
    return [max(int(np.prod([int(side) for side in shape.split(",") if side])) for shape in each) for each in shapes]


def compare(preset: str, height: int, width: int) -> dict[str, Any]:
    """How far loss and gradient over the devices are from those of one, and what a device holds; all relative."""
    config = quick_config() if preset == "quick" else load_preset(preset).get_config()
    options = build_options(config)
    inputs = two_regions(height, width)
    one, loss, gradient = first_step(options, inputs, 1)
    several, split_loss, split_gradient = first_step(options, inputs, DEVICES)
    assert one.temporary_bytes
    assert several.temporary_bytes
    return {
        "loss": abs(split_loss / loss - 1),
        "gradient": float(np.linalg.norm(split_gradient - gradient) / np.linalg.norm(gradient)),
        "temporary": several.temporary_bytes / one.temporary_bytes,
        "megabytes": [one.temporary_bytes / 1e6, several.temporary_bytes / 1e6],
        "gathered": gathered(several.step.as_text()),
    }


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_default_matmul_precision", "highest")
    print(json.dumps(compare(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
