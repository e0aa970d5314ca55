"""What an evaluation of the default look takes, beside one image per region, as the compiler plans it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from msst_jax.configs import photo, photo_separate
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import Painting, PhotoInputs, Region
from msst_jax.transfer.objective import build_objective, load_loss_network, scale_scene
from tests.helpers.pictures import noise

SIDE = 256


def temporary_bytes(config: ConfigDict, regions: int) -> int:
    """Of loss and gradient for a photo of so many vertical strips."""
    options = build_options(config)
    vgg, _ = load_loss_network(options.network)
    image = noise(SIDE, SIDE) / np.float32(255)
    labels = np.arange(SIDE) * regions // SIDE
    masks = np.broadcast_to(np.eye(regions, dtype=np.float32)[labels], (SIDE, SIDE, regions))
    painted = tuple(Region(f"region {number}", (Painting(image),)) for number in range(regions))
    scene = scale_scene(PhotoInputs(image, masks, painted), 1.0)
    weights = jax.tree.map(lambda value: jnp.full(1, value), options.weights())
    loss, runs = build_objective(options, vgg, scene, weights)
    pixels = jnp.broadcast_to(scene.photo, (options.image_count(regions), *scene.photo.shape))
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    compiled = gradient.lower(pixels, jax.tree.map(lambda value: value[0], runs)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_the_default_look_takes_half_the_memory_of_an_image_per_region_and_no_more_for_more_regions() -> None:
    two, four = (temporary_bytes(photo.get_config(), regions) for regions in (2, 4))
    separate = temporary_bytes(photo_separate.get_config(), 2)
    assert two <= separate / 2
    assert four <= 1.05 * two
