"""The bundled example: NASA's astronaut in brush strokes in front of a mosaic; under a minute on 2 CPU cores.

The values of photo.py at 320 pixels, with fewer evaluations.
"""

from pathlib import Path

from ml_collections import ConfigDict

from msst_jax.configs import photo

EXAMPLES = Path(__file__).parent.parent / "examples"


def get_config() -> ConfigDict:
    """The config of `python stylize.py` without arguments."""
    config = photo.get_config()
    use_example(config)
    config.size = 320
    config.steps = 130
    return config


def use_example(config: ConfigDict) -> None:
    """Sets the inputs of a config to the bundled example, segmented by the network in the package.

    The segmenter is named, so that another one that was converted on this machine does not change the result.
    """
    config.photo = str(EXAMPLES / "astronaut.jpg")
    config.styles = (f"person={EXAMPLES / 'brush_strokes.jpg'}", f"background={EXAMPLES / 'mosaic.jpg'}")
    config.masks = ()
    config.points = ()
    config.segmenter = config.segmenter or "person_vgg16"
