"""Training of a small segmenter of all 20 classes of VOC: DeepLab-V3 on EfficientNet-Lite0, which fits in 10 MB.

    python -m convert_weights efficientnet_lite0
    python train.py --config configs/segmenter.py --workdir runs/segmenter --photos DIR --masks DIR

Masks are gray images DIR/CLASS/NAME.png, named like the photos: the brightness is the probability of the class. What no
class claims is background, and a class without a file is not in the photo. White in DIR/void/NAME.png marks pixels
without a label, such as outlines or guesses of low confidence: they count neither in the loss nor in the score. Of a
single class, whose masks may also lie in DIR itself, DIR/void is not read.
"""

from ml_collections import ConfigDict

from msst_jax.configs import person_segmenter
from msst_jax.models.voc import CLASSES


def get_config() -> ConfigDict:
    """The config of train.py for the segmenter of 20 classes."""
    config = person_segmenter.get_config().unlock()
    config.segmenter_network = "deeplabv3_efficientnet_lite0"
    config.classes = CLASSES[1:]  # all but the background
    # The encoder trained on ImageNet (needs converted weights), another model's file or workdir, or "random".
    config.start = "imagenet"
    config.encoder_rate = 0.1

    config.size = 256
    config.without_mask = "background"  # none of the classes is in it
    config.steps = 20000
    config.warmup = 200
    config.ema = 0.999
    config.sample_every = 500
    config.checkpoint_every = 250
    return config.lock()
