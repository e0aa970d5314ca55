"""The JSON sidecar of an output: everything needed to reproduce it."""

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from msst_jax.regions.masks import area_fractions
from msst_jax.runtime.versions import version_of
from msst_jax.transfer.inputs import PhotoInputs

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow", "msst_jax")


def build_sidecar(
    *,
    config: Mapping[str, Any],
    inputs: PhotoInputs,
    weights: Path,
    seed: int,
    seconds: dict[str, float],
    **extra: Any,
) -> dict[str, Any]:
    """The content of a sidecar; `extra` holds the fields that only some pipelines have, such as the loss."""
    return {
        **extra,
        "regions": [
            {"name": region.name, "style": region.style, "share": fraction, "origin": region.origin}
            for region, fraction in zip(inputs.regions, area_fractions(inputs.masks), strict=True)
        ],
        "size": [inputs.photo.shape[1], inputs.photo.shape[0]],
        "seed": seed,
        **environment(),
        "weights": weights.name,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "seconds": seconds,
        "config": dict(config),
    }


def environment() -> dict[str, Any]:
    """The device, and the versions of Python and the libraries."""
    return {
        "device": f"{jax.default_backend()}: {jax.devices()[0].device_kind}",
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in LIBRARIES}},
    }
