"""Benchmark of one photo through the feed-forward model of configs/fast.py, with few and with more regions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.harness.program import OURS, Case, Program, compile_with_cost
from benchmarks.harness.torch_side import torch_device, waited
from msst_jax.configs import fast
from msst_jax.models.serialization import state_to_tensors
from msst_jax.models.stylizer import Stylizer, blend_mixtures
from msst_jax.transfer.feedforward import stylize_batch
from reference.original import normalize, to_tensor
from reference.stylizer import build_twin

GROUP = "fast_photo"
REFERENCE = "PyTorch twin"
REGIONS = (2, 4)
TOLERANCE = 1e-4


def cases(quick: bool) -> list[Case]:
    """Cases at sizes that suit the device; random weights, which do not affect speed."""
    large = (1024, 2048) if jax.default_backend() != "cpu" else (256, 512)
    return [_case(size, regions) for size in ((32,) if quick else large) for regions in REGIONS]


def _case(size: int, regions: int) -> Case:
    width = fast.get_config().width
    return Case(
        group=GROUP,
        what=f"fast model, {regions} regions, width {width}",
        size=f"{size}x{size}",
        unit="photo",
        programs={OURS: partial(start_ours, size, regions), REFERENCE: partial(start_torch, size, regions)},
        tolerance=TOLERANCE,
    )


def random_network(regions: int) -> nnx.Module:
    """The network of configs/fast.py with random weights."""
    config = fast.get_config()
    return Stylizer(regions, width=config.width, blocks=config.blocks, rngs=nnx.Rngs(0))


def _photo(size: int, regions: int) -> tuple[np.ndarray, np.ndarray]:
    """A random photo (1, size, size, 3) and masks (1, size, size, K)."""
    rng = np.random.default_rng(0)
    photo = rng.uniform(size=(1, size, size, 3)).astype(np.float32)
    return photo, rng.dirichlet([1] * regions, (1, size, size)).astype(np.float32)


def start_ours(size: int, regions: int) -> Program:
    """The jitted function that stylize.py runs."""
    inputs = (*_photo(size, regions), blend_mixtures(regions, 0.0))
    arguments = (random_network(regions), *map(jnp.asarray, inputs))
    compiled, seconds, cost = compile_with_cost(stylize_batch, *arguments)
    return Program(lambda: jax.block_until_ready(compiled(*arguments)), seconds, cost)


def start_torch(size: int, regions: int) -> Program:
    """The PyTorch reference with the same weights."""
    import torch

    device = torch_device()
    network = build_twin(state_to_tensors(nnx.state(random_network(regions)))).to(device).eval()
    photo, masks = (to_tensor(array).to(device) for array in _photo(size, regions))

    def advance() -> "torch.Tensor":
        with torch.inference_mode():
            return waited(network(normalize(photo), masks)).permute(0, 2, 3, 1)

    return Program(advance)
