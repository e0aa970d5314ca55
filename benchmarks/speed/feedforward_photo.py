"""One photo through the fast model of configs/fast.py, K styles and their composite, against its PyTorch twin."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.harness.program import OURS, Case, Program, compiled, torch_device
from configs import fast
from msst_jax.models.feedforward_model import build_stylizer
from msst_jax.models.serialization import state_to_tensors
from msst_jax.models.stylizer import blend_mixtures
from msst_jax.transfer.feedforward import stylize_batch

GROUP = "fast_photo"
TWIN = "PyTorch twin"
STYLES = 2
AGREEMENT = 1e-4


def cases(quick: bool) -> list[Case]:
    """At sizes that fit the device; random weights, which change nothing about the speed."""
    large = (1024, 2048) if jax.default_backend() != "cpu" else (256, 512)
    return [_case(size) for size in ((32,) if quick else large)]


def _case(size: int) -> Case:
    width = fast.get_config().width
    return Case(
        group=GROUP,
        what=f"fast model of {STYLES} styles, width {width}",
        size=f"{size}x{size}",
        unit="photo",
        programs={OURS: partial(start_ours, size), TWIN: partial(start_torch, size)},
        agreement=AGREEMENT,
    )


def _network() -> nnx.Module:
    return build_stylizer(fast.get_config(), STYLES, nnx.Rngs(0))


def _photo(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A random photo (1, size, size, 3) and masks (1, size, size, K)."""
    rng = np.random.default_rng(0)
    photo = rng.uniform(size=(1, size, size, 3)).astype(np.float32)
    return photo, rng.dirichlet([1] * STYLES, (1, size, size)).astype(np.float32)


def start_ours(size: int) -> Program:
    """What stylize.py runs."""
    arguments = (_network(), *map(jnp.asarray, (*_photo(size), blend_mixtures(STYLES, 0.0))))
    ready, seconds, cost = compiled(stylize_batch, *arguments)
    return Program(lambda: np.asarray(ready(*arguments)), seconds, cost)


def start_torch(size: int) -> Program:
    """The twin, with the same weights."""
    import torch
    from tests.torch_reference import normalize, to_tensor
    from tests.torch_stylizer import stylizer_of

    device = torch_device()
    network = stylizer_of(state_to_tensors(nnx.state(_network()))).to(device).eval()
    photo, masks = (to_tensor(array).to(device) for array in _photo(size))

    def advance() -> np.ndarray:
        with torch.inference_mode():
            styled = network(normalize(photo))
            result = (styled * masks[:, :, None]).sum(1)
        return result.permute(0, 2, 3, 1).cpu().numpy()

    return Program(advance)
