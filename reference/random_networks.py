"""Random state dicts of VGG, DeepLab and EfficientNet-Lite0 as PyTorch has them, to load into both implementations."""

import numpy as np
import torch

from convert_weights.convert import OIHW_TO_HWIO
from convert_weights.deeplab import block_modules
from convert_weights.networks import NETWORKS
from msst_jax.models.deeplab import TORCHVISION_NETWORKS
from reference.torchvision_compat import torchvision

MOBILENET = TORCHVISION_NETWORKS[-1]

State = dict[str, torch.Tensor]


def vgg_state(name: str) -> State:
    """State dict of a VGG with He-initialized weights and small biases; the classifier is a stub."""
    rng = np.random.default_rng(7)
    with torch.device("meta"):
        shapes = getattr(torchvision.models, name)(weights=None).features.state_dict()
    state = {}
    for key, tensor in shapes.items():
        fan_in = tensor.shape[1] * 9 if tensor.ndim == 4 else 50
        values = rng.standard_normal(tuple(tensor.shape), np.float32) * np.float32(np.sqrt(2 / fan_in))
        state[f"features.{key}"] = torch.from_numpy(values)
    return {**state, "classifier.0.weight": torch.ones(4, 4), "classifier.0.bias": torch.ones(4)}


def deeplab_net(name: str, output_stride: int | None = None, classes: int = 21) -> torch.nn.Module:
    """torchvision's network with its auxiliary head, on the meta device (no values)."""
    with torch.device("meta"):
        if output_stride == 16 and name != MOBILENET:  # torchvision's builder only supports 8
            dilate = [False, False, True]
            build = getattr(torchvision.models, name.removeprefix("deeplabv3_"))
            backbone = build(weights=None, replace_stride_with_dilation=dilate)
            return torchvision.models.segmentation.deeplabv3._deeplabv3_resnet(backbone, classes, True).eval()
        build = getattr(torchvision.models.segmentation, name)
        return build(weights=None, weights_backbone=None, aux_loss=True, num_classes=classes).eval()


def deeplab_state(name: str, classes: int = 21, seed: int = 7) -> State:
    """He-initialized weights, random statistics; residual branches are scaled down so that sums stay of order 1."""
    rng = np.random.default_rng(seed)
    net = deeplab_net(name, classes=classes)
    residual = tuple(f"{block}.bn3.weight" for block in block_modules(name).values())
    state = {}
    for key, tensor in net.state_dict().items():
        shape = tuple(tensor.shape)
        if tensor.ndim == 4:
            values = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        elif key.endswith("running_var"):
            values = rng.uniform(0.5, 2, shape)
        elif key.endswith("weight"):
            values = rng.uniform(0.5, 1.5, shape) * (0.3 if key in residual else 1)
        elif key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(12345)
            continue
        else:
            values = rng.standard_normal(shape) * 0.2
        state[key] = torch.from_numpy(np.asarray(values, np.float32))
    return state


def efficientnet_state() -> State:
    """As `deeplab_state`, of EfficientNet-Lite0, and stubs of the layers that are not converted."""
    rng = np.random.default_rng(7)
    network = NETWORKS["efficientnet_lite0"]
    shapes = network.shapes(None)
    state = {}
    for key, path in network.keys.items():
        shape = shapes[path]
        if len(shape) == 4:
            shape = tuple(shape[OIHW_TO_HWIO.index(axis)] for axis in range(4))
            values = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        elif path.endswith(".var"):
            values = rng.uniform(0.5, 2, shape)
        elif path.endswith(".scale"):
            values = rng.uniform(0.5, 1.5, shape) * (0.5 if ".project." in path else 1)
        else:
            values = rng.standard_normal(shape) * 0.2
        state[key] = torch.from_numpy(np.asarray(values, np.float32))
    return {**state, "_conv_head.weight": torch.ones(4), "_bn1.weight": torch.ones(4), "_fc.bias": torch.ones(4)}
