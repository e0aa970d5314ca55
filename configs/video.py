"""What a clip gets from a fast model by default: the numbers of photo.py at the clip's own size."""

from ml_collections import ConfigDict

from configs import photo


def get_config() -> ConfigDict:
    """The default config of stylize.py for clips with --model."""
    config = photo.get_config()
    config.size = 0  # longest side in pixels; 0 = the clip's own
    return config
