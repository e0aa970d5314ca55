"""Training of a fast model for any painting: a feed-forward network that stylizes a photo in one pass.

python train.py --config configs/any.py --workdir runs/any --photos DIR --masks DIR --config.paintings='("DIR",)'
"""

from ml_collections import ConfigDict

from msst_jax.configs import fast


def get_config() -> ConfigDict:
    """The config of the training on many paintings."""
    config = fast.get_config().unlock()
    del config["architecture"], config["region_weights"]
    config.task = "any_stylizer"
    config.paintings = ()  # folders; a view is as likely to come from one as from another
    config.views = 640  # of paintings: crops, half of them in other colors
    config.regions = ("person",)  # names of the masks; the background is the rest
    config.without_mask = "random"
    config.style_size = 256  # side of the views
    return config.lock()
