"""Speed benchmark of the segmentation networks: DeepLab-V3 against torchvision, and the network in the package.

DeepLab-V3 has the same random weights in both. That of the package has no counterpart in torchvision: it is compared
with the smallest network there, both from a photo to class probabilities of its size (resizing, network, resizing of
the scores, softmax).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from benchmarks.harness.program import OURS, Case, Program, compile_with_cost
from benchmarks.harness.torch_side import torch_device, waited
from convert_weights.torch_compat import import_torch, import_torchvision
from msst_jax.models.deeplab import LITE_NETWORK, TORCHVISION_NETWORKS, DeepLabV3
from msst_jax.regions.inference import class_probabilities
from msst_jax.regions.segmenter import load_segmenter
from reference.converted import converted

GROUP = "segmentation"
TORCHVISION = "torchvision"
TOLERANCE = 2e-5  # relative to the largest score
SIDE, QUICK_SIDE = 520, 65  # 520 is torchvision's preset
PHOTO = (512, 384)


def cases(quick: bool) -> list[Case]:
    """Cases of all networks; if quick, only of the smallest DeepLab-V3 and that of the package."""
    names = TORCHVISION_NETWORKS[-1:] if quick else TORCHVISION_NETWORKS
    return [*(_deeplab(name, QUICK_SIDE if quick else SIDE) for name in names), _embedded()]


def _deeplab(name: str, side: int) -> Case:
    return Case(
        group=GROUP,
        what=name,
        size=f"{side}x{side}",
        unit="picture",
        programs={OURS: partial(start_ours, name, side), TORCHVISION: partial(start_torchvision, name, side)},
        tolerance=TOLERANCE,
    )


def _network(name: str) -> Any:
    import_torch().manual_seed(0)
    return getattr(import_torchvision().models.segmentation, name)(weights=None, weights_backbone=None).eval()


def _image(side: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, side, side, 3)).astype(np.float32)


def start_ours(name: str, side: int) -> Program:
    """The network alone, to logits, NHWC."""
    state = {key: value.float().numpy() for key, value in _network(name).state_dict().items()}
    model = converted(name, nnx.eval_shape(lambda: DeepLabV3(name, rngs=nnx.Rngs(0))), state)
    arguments = model, jnp.asarray(_image(side))
    compiled, seconds, cost = compile_with_cost(lambda model, images: model(images), *arguments)
    return Program(lambda: jax.block_until_ready(compiled(*arguments)), seconds, cost)


def start_torchvision(name: str, side: int) -> Program:
    """torchvision's network, to the same logits."""
    torch = import_torch()
    network, images = _network(name).to(torch_device()), torch.tensor(_image(side)).to(torch_device())
    images = images.permute(0, 3, 1, 2).contiguous()

    def advance() -> Any:
        with torch.inference_mode():
            return waited(network(images)["out"]).permute(0, 2, 3, 1)

    return Program(advance)


def _embedded() -> Case:
    return Case(
        group=GROUP,
        what=f"{LITE_NETWORK}, photo to probabilities",
        size="x".join(map(str, PHOTO)),
        unit="photo",
        programs={OURS: start_embedded, f"torchvision, {TORCHVISION_NETWORKS[-1]}": start_smallest},
    )


def _photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (PHOTO[1], PHOTO[0], 3), np.uint8)
    return Image.fromarray(pixels)


def start_embedded() -> Program:
    """The network in the package, without edge refinement."""
    segmenter, photo = load_segmenter(LITE_NETWORK), _photo()
    return Program(lambda: class_probabilities(segmenter, photo))


def start_smallest() -> Program:
    """torchvision's smallest network, with random weights."""
    torch, models = import_torch(), import_torchvision().models.segmentation
    network, photo, device = _network(TORCHVISION_NETWORKS[-1]).to(torch_device()), _photo(), torch_device()
    preset = models.DeepLabV3_MobileNet_V3_Large_Weights.DEFAULT.transforms()

    def advance() -> np.ndarray:
        with torch.inference_mode():
            scores = network(preset(photo)[None].to(device))["out"]
            scores = torch.nn.functional.interpolate(scores, PHOTO[::-1], mode="bilinear", align_corners=False)
            return np.asarray(scores.softmax(1)[0].permute(1, 2, 0).cpu())

    return Program(advance)
