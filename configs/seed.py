"""The original program (PyTorch, two regions), number for number.

Every number below is the original's. tests/transfer/test_golden.py compares this config with a recorded run of it, and
reference/original.py reimplements its loop in PyTorch. The recorded run uses VGG-16, whose weights are embedded here;
the original's default was VGG-19: `--config.network=vgg19`. The layers have the same names in both.
"""

from ml_collections import ConfigDict

from msst_jax.configs import photo_separate


def get_config() -> ConfigDict:
    """The config that reproduces the original."""
    config = photo_separate.get_config()
    # Inputs: the original stretches every image to a square, and uses its binary masks unchanged.
    config.size = 512
    config.square = True
    config.style_scale = 1.0
    config.hard_masks = True
    config.feather = 0.0
    config.min_speck = 0.0
    config.refine_edges = False

    # Features: before the ReLU, all layers with the same weight.
    config.network = "vgg16"
    config.pooling = "max"
    config.padding = "zeros"
    config.precision = "default"
    config.style_layers = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
    config.style_layer_weights = ()
    config.content_layers = ("conv2_2",)
    config.content_layer_weights = ()

    # Loss: the original's factors. Total variation is a sum over the normalized result, so it grows with the size.
    config.style_weight = 1e6
    config.blend_ratio = 0.2
    config.content_weight = 1.0
    config.tv_weight = 8.5e-5
    config.tv_per_pixel = False

    # Optimizer: torch.optim.LBFGS(lr=1), with torch's history of 100. The original counts evaluations but checks the
    # count only between steps of 20 evaluations, and continues while it is not above `steps`: 300 means 320.
    config.optimizer = "lbfgs"
    config.learning_rate = 1.0
    config.max_step = 0.0
    config.history = 100
    config.steps = 300
    config.steps_multiple = 20
    config.scales = (1.0,)
    config.scale_steps = (1.0,)
    config.init = "content"
    config.keep = "last"
    return config
