"""The default preset of stylize.py for videos with a fast model: the values of photo.py at the video's own size."""

from ml_collections import ConfigDict

from msst_jax.configs import photo


def get_config() -> ConfigDict:
    """The default config of stylize.py for videos with --model."""
    config = photo.get_config()
    config.size = 0  # longest side in pixels; 0 = the video's own
    return config
