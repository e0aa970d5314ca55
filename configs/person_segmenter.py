"""Training of the person segmenter: a DeepLab head on the embedded VGG-16, which needs no download.

    python train.py --config configs/person_segmenter.py --workdir runs/person --photos DIR --masks DIR

Masks are gray images named like the photos, white where a person is. msst_jax/assets/README.md describes how the
embedded weights were trained with it.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The config of train.py for the person segmenter."""
    config = ConfigDict()
    config.task = "segmenter"
    config.segmenter_network = "person_vgg16"  # or "deeplabv3_efficientnet_lite0", see configs/segmenter.py
    config.classes = ("person",)  # of VOC; the background is the rest
    config.encoder_rate = 1.0  # factor of the learning rate of the network's encoder

    # Initial weights: the network in the package, another model's file or workdir, "random", or "vgg16": conv5 of
    # VGG-16 (needs converted weights), the rest random.
    config.start = "person_vgg16"
    config.precision = "default"  # or "highest", "bfloat16", see configs/photo.py; parameters are float32

    config.size = 224  # side of the training crops in pixels
    config.smallest_crop = 0.75  # minimum side of a crop, as a fraction of the photo's shorter side
    config.largest_crop = 1.6  # maximum side; above 1 the photo is padded, so that whole photos are seen too
    config.colour = 0.3  # maximum relative change of brightness, contrast and saturation
    config.batch = 8  # photos per step, over all devices of all hosts
    config.accumulate = 1  # parts of a device's share of them, one in memory at a time; their gradients are averaged
    config.without_mask = "error"  # photos without a mask file: "error", or "background": nobody is there
    config.leave_out = "also_in_voc21"  # column of an index.csv beside the photos; those with a 1 there are for tests
    config.segmenter = "deeplabv3_resnet101"  # computes the masks without --masks
    config.refine_edges = True  # snap the edges of those masks to the edges of the photo
    config.workers = 0  # threads that read photos; 0 = one for every core, up to 32
    config.seed = 0

    config.steps = 2000
    config.learning_rate = 1e-3
    config.warmup = 50  # steps of linear warm-up; cosine decay follows
    config.clip = 1.0  # maximum gradient norm (0 = no clipping)
    config.ema = 0.995  # decay of the moving average of the weights, which is exported

    config.log_every = 10
    config.sample_every = 200
    config.samples = 64  # held-out photos; the model with the best score on them is kept
    config.checkpoint_every = 100
    config.keep_last = 3
    config.keep_every = 0
    return config.lock()
