"""The bundled example: NASA's astronaut in brush strokes before a mosaic; under 3 minutes on 2 CPU cores.

The numbers of photo.py at 384 pixels, with fewer evaluations.
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs import photo

EXAMPLES = Path(__file__).parent.parent / "examples"


def get_config() -> ConfigDict:
    """The config of `python stylize.py` without arguments."""
    config = photo.get_config()
    use_example(config)
    config.size = 384
    config.steps = 80
    config.content_weight = 1.5  # the two style pictures have more contrast than most paintings
    return config


def use_example(config: ConfigDict) -> None:
    """Sets the inputs of a config to the bundled example."""
    config.photo = str(EXAMPLES / "astronaut.jpg")
    config.styles = (f"person={EXAMPLES / 'brush_strokes.jpg'}", f"background={EXAMPLES / 'mosaic.jpg'}")
    config.masks = (f"person={EXAMPLES / 'astronaut_mask.png'}",)
