"""Training of a fast model: a feed-forward network for a fixed set of styles that stylizes a photo in one pass.

    python train.py --config configs/fast.py --workdir runs/x --photos DIR --style person=A.jpg --style background=B.jpg

The layers and their factors are those of configs/photo_separate.py, so that both methods target the same look.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The default config of train.py."""
    config = ConfigDict()
    config.task = "stylizer"

    config.architecture = "region_stylizer"  # of the network, or the name of one of your own: docs/python.md
    config.width = 16  # channels of the network at full resolution
    config.blocks = 6  # residual blocks
    config.start = ""  # fine-tunes a trained model: builtin, a workdir or a file; empty = random weights
    config.precision = "default"  # or "highest", "bfloat16", see configs/photo.py; parameters are float32

    config.size = 256  # side of the training crops in pixels
    config.smallest_crop = 0.5  # minimum side of a crop, as a fraction of the photo's shorter side
    config.largest_crop = 1.0  # maximum side
    config.colour = 0.0  # maximum relative change of brightness, contrast and saturation
    config.batch = 8  # photos per step, over all devices of all hosts
    config.accumulate = 1  # parts of a device's share of them, one in memory at a time; their gradients are averaged
    config.without_mask = "error"  # photos without a mask file: "error", or "random" regions
    config.leave_out = ""  # column of an index.csv beside the photos; those with a 1 there are not trained on
    config.segmenter = ""  # computes the masks without --masks; empty = the best one available when the run starts
    config.refine_edges = True  # snap the edges of those masks to the edges of the photo
    config.workers = 0  # threads that read photos; 0 = one for every core, up to 32
    config.seed = 0

    config.network = "vgg16"
    config.style_size = 384  # longest side of the style images
    config.style_layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    config.style_layer_weights = ()  # empty = 1 for every layer
    config.content_layers = ("relu2_2", "relu3_3")
    config.content_layer_weights = ()
    config.style_weight = 200.0
    config.region_weights = ()  # factors of the styles, in the order of --style; empty = 1 for each
    config.blend_ratio = 0.02  # blend_weight = blend_ratio * style_weight
    # Chosen by looking: with a third of it faces go, and a fine weave fills flat areas, since the features of the photo
    # have none; with twice as much the picture is the photo in other colors.
    config.content_weight = 35.0
    config.tv_weight = 4.0  # of the total variation per pixel

    config.temporal_weight = 0.0  # of the loss that holds pictures of moving photos still; a third more work a step

    config.steps = 40_000
    config.learning_rate = 1e-3
    config.warmup = 500  # steps of linear warm-up; cosine decay follows
    config.clip = 1.0  # maximum gradient norm (0 = no clipping); the losses are large, so nearly all steps are clipped
    config.ema = 0.999  # decay of the moving average of the weights, which is exported

    config.log_every = 10
    config.sample_every = 500
    config.samples = 4  # held-out photos of the sample sheet; at most one in ten is held out
    config.checkpoint_every = 1000
    config.keep_last = 3
    config.keep_every = 10_000
    return config.lock()
