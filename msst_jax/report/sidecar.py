"""The JSON file beside every output: what is needed to make it again."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from msst_jax.regions.masks import area_fractions
from msst_jax.transfer.inputs import PhotoInputs

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow", "msst_jax")


def build_sidecar(
    *,
    config: ConfigDict,
    inputs: PhotoInputs,
    weights: Path,
    seed: int,
    seconds: dict[str, float],
    **more: Any,
) -> dict[str, Any]:
    """Everything needed to make a picture again; the loss is added for each picture."""
    return {
        **more,
        "regions": [
            {"name": region.name, "style": region.style_file, "share": share, "origin": region.origin}
            for region, share in zip(inputs.regions, area_fractions(inputs.masks), strict=True)
        ],
        "size": [inputs.photo.shape[1], inputs.photo.shape[0]],
        "seed": seed,
        **environment(),
        "weights": weights.name,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "seconds": seconds,
        "config": config.to_dict(),
    }


def environment() -> dict[str, Any]:
    """The device, and the versions of Python and the libraries."""
    return {
        "device": f"{jax.default_backend()}: {jax.devices()[0].device_kind}",
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}},
    }
