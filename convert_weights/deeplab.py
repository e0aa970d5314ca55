"""Key mapping between torchvision's deeplabv3_* networks and `msst_jax.models.deeplab`."""

import functools
from collections.abc import Iterator

from flax import nnx

from msst_jax.models.deeplab import DeepLabV3, HeadConfig
from msst_jax.models.mobilenet import BLOCKS, STEM
from msst_jax.models.resnet import DEPTHS
from msst_jax.models.serialization import parameter_shapes

# Not converted: the auxiliary head is used in training only, the batch counters never.
DROPPED = ("aux_classifier.*", "*.num_batches_tracked")
NORM_LEAVES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}

Layers = dict[str, tuple[str, str | None]]  # {layer in msst_jax: (torchvision's convolution, its BatchNorm or None)}


@functools.cache
def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """{module path: shape} of a complete network in msst_jax."""
    return parameter_shapes(nnx.eval_shape(lambda: DeepLabV3(name, rngs=nnx.Rngs(0))))


def state_keys(name: str) -> dict[str, str]:
    """{key in torchvision's state dict: module path in msst_jax}, for the complete network."""
    backbone = _resnet_layers(name) if "resnet" in name else _mobilenet_layers()
    keys = {}
    for layer, (conv, norm) in {**backbone, **_classifier_layers()}.items():
        keys[f"{conv}.weight"] = f"{layer}.kernel"
        if norm is None:
            keys[f"{conv}.bias"] = f"{layer}.bias"
        else:
            keys |= {f"{norm}.{theirs}": f"{layer}.{ours}" for theirs, ours in NORM_LEAVES.items()}
    return keys


def block_modules(name: str) -> dict[str, str]:
    """{block of `DeepLabV3.blocks`: torchvision's module with the same output}; all but the last, `logits`."""
    if "resnet" in name:
        modules = {"stem": "backbone.maxpool"} | {block: f"backbone.{block}" for block in _resnet_blocks(name)}
    else:
        names = ["stem", *(f"layers.{index}" for index in range(len(BLOCKS))), "last"]
        modules = {block: f"backbone.{index}" for index, block in enumerate(names)}
    branches = [*(f"aspp.{index}" for index in range(len(HeadConfig().rates) + 1)), "aspp.pooling"]
    modules |= {branch: f"classifier.0.convs.{index}" for index, branch in enumerate(branches)}
    return modules | {"aspp": "classifier.0", "head": "classifier.3", "scores": "classifier.4"}


def _classifier_layers() -> Layers:
    count = len(HeadConfig().rates) + 1
    branches: Layers = {
        f"aspp.branches.{i}": (f"classifier.0.convs.{i}.0", f"classifier.0.convs.{i}.1") for i in range(count)
    }
    return {
        **branches,
        "aspp.pooling": (f"classifier.0.convs.{count}.1", f"classifier.0.convs.{count}.2"),
        "aspp.project": ("classifier.0.project.0", "classifier.0.project.1"),
        "head": ("classifier.1", "classifier.2"),
        "scores": ("classifier.4", None),
    }


def _resnet_layers(name: str) -> Layers:
    layers: Layers = {"backbone.stem": ("backbone.conv1", "backbone.bn1")}
    for block in _resnet_blocks(name):
        path = f"backbone.{block}"
        layers |= {f"{path}.conv{n}": (f"{path}.conv{n}", f"{path}.bn{n}") for n in (1, 2, 3)}
        if block.endswith(".0"):
            layers[f"{path}.shortcut"] = (f"{path}.downsample.0", f"{path}.downsample.1")
    return layers


def _resnet_blocks(name: str) -> Iterator[str]:
    for number, depth in enumerate(DEPTHS[name.removeprefix("deeplabv3_")], start=1):
        yield from (f"layer{number}.{index}" for index in range(depth))


def _mobilenet_layers() -> Layers:
    """torchvision numbers the layers that a block contains, so the numbers depend on which ones it has."""
    layers: Layers = {"backbone.stem": ("backbone.0.0", "backbone.0.1")}
    inputs = [STEM, *(block.outputs for block in BLOCKS[:-1])]
    for index, (block, channels) in enumerate(zip(BLOCKS, inputs, strict=True)):
        layer_names = ["expand"] if block.expanded != channels else []
        layer_names += ["depthwise", "squeeze", "project"] if block.squeeze else ["depthwise", "project"]
        for number, layer in enumerate(layer_names):
            ours, theirs = f"backbone.layers.{index}.{layer}", f"backbone.{index + 1}.block.{number}"
            if layer == "squeeze":
                layers |= {f"{ours}.{fc}": (f"{theirs}.{fc}", None) for fc in ("fc1", "fc2")}
            else:
                layers[ours] = (f"{theirs}.0", f"{theirs}.1")
    last = f"backbone.{len(BLOCKS) + 1}"
    return {**layers, "backbone.last": (f"{last}.0", f"{last}.1")}
