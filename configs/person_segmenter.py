"""The person segmenter: a DeepLab head on the embedded VGG-16, for masks of persons without any download.

    python train.py --config configs/person_segmenter.py --workdir runs/person --photos DIR --masks DIR

Masks are grey pictures named like the photos, white where a person is. msst_jax/assets/README.md tells how the
embedded weights were made with it.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The config of train.py for the person segmenter."""
    config = ConfigDict()
    config.task = "segmenter"

    # What training begins with: the network in the package, another model's file or workdir, "random", or "vgg16":
    # conv5 is VGG-16's own (converted weights are needed) and the rest random.
    config.start = "person_vgg16"
    config.dtype = "float32"  # of the computation, or bfloat16; parameters are float32

    config.size = 224  # side of the crops in pixels
    config.smallest_crop = 0.75  # side of a crop, as a share of the photo's shorter side: at least
    config.largest_crop = 1.6  # and at most; beyond 1 it reaches beyond the photo, so that whole ones are seen too
    config.colour = 0.3  # change of brightness, contrast and saturation, at most
    config.batch = 8  # photos a step, over all devices of all hosts
    config.without_mask = "error"  # photos that have no mask file: "error", or "background": nobody is there
    config.leave_out = "also_in_voc21"  # photos with a 1 in this column of an index.csv beside them: they are for tests
    config.segmenter = "deeplabv3_resnet101"  # makes the masks if there is no --masks
    config.refine_edges = True  # of those masks: move their edges onto those of the photo
    config.workers = 4  # threads that read photos
    config.seed = 0

    config.steps = 2000
    config.learning_rate = 1e-3
    config.warmup = 50  # steps until the learning rate is reached; it falls as a cosine from there
    config.clip = 1.0  # norm of the gradient at most (0 = no limit)
    config.ema = 0.995  # decay of the average of the weights, which is what is used

    config.log_every = 10
    config.sample_every = 200
    config.samples = 64  # photos held out; the best model on them is kept
    config.checkpoint_every = 100
    config.keep_last = 3
    config.keep_every = 0
    return config.lock()
