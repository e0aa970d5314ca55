"""The original's loss, reached sooner: the picture is another path's, the loss that it is judged by the same.

A little at half the size comes first, and L-BFGS begins with an inverse Hessian that moves large shapes more than grain
(msst_jax/preconditioner.py) and makes no step longer than 0.05.
"""

from ml_collections import ConfigDict

from configs import seed


def get_config() -> ConfigDict:
    """The config that ends, on the bundled example at 512x512, below where the original ends."""
    config = seed.get_config()
    config.scales = (0.5, 1.0)
    config.scale_steps = (30.0, 150.0)
    config.steps = 180
    config.steps_multiple = 0
    config.max_step = 0.05
    config.precondition = 1.0
    config.history = 20
    config.keep = "best"
    return config
