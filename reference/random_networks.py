"""State dicts of torchvision's networks with random numbers: what tests and benchmarks put into both sides."""

import numpy as np
import torch
import torchvision

from convert_weights.deeplab import block_modules
from msst_jax.models.deeplab import TORCHVISION_NETWORKS

MOBILENET = TORCHVISION_NETWORKS[-1]

State = dict[str, torch.Tensor]


def vgg_state(name: str) -> State:
    """He weights and small biases; the classifier is a stub."""
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
    """torchvision's network with its auxiliary head, without numbers."""
    with torch.device("meta"):
        if output_stride == 16 and name != MOBILENET:  # torchvision's builder knows 8 only
            dilate = [False, False, True]
            build = getattr(torchvision.models, name.removeprefix("deeplabv3_"))
            backbone = build(weights=None, replace_stride_with_dilation=dilate)
            return torchvision.models.segmentation.deeplabv3._deeplabv3_resnet(backbone, classes, True).eval()
        build = getattr(torchvision.models.segmentation, name)
        return build(weights=None, weights_backbone=None, aux_loss=True, num_classes=classes).eval()


def deeplab_state(name: str, classes: int = 21, seed: int = 7) -> State:
    """He weights and random statistics; branches that a shortcut adds to are small, so that sums stay of order 1."""
    rng = np.random.default_rng(seed)
    net = deeplab_net(name, classes=classes)
    added = tuple(f"{block}.bn3.weight" for block in block_modules(name).values())
    state = {}
    for key, tensor in net.state_dict().items():
        shape = tuple(tensor.shape)
        if tensor.ndim == 4:
            values = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        elif key.endswith("running_var"):
            values = rng.uniform(0.5, 2, shape)
        elif key.endswith("weight"):
            values = rng.uniform(0.5, 1.5, shape) * (0.3 if key in added else 1)
        elif key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(12345)
            continue
        else:
            values = rng.standard_normal(shape) * 0.2
        state[key] = torch.from_numpy(np.asarray(values, np.float32))
    return state
