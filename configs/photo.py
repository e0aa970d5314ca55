"""What a person gets by default; chosen by looking at results on photos of people with the styles of twelve painters.

Against the original (configs/seed.py) and what was tried:
- Style from relu1_1, relu2_1, relu3_1 and relu4_1: relu4_1 brings whole brush strokes and swirls where the original
  stops at texture. The factors make the four layers weigh about the same: they are the inverse of the mean square of
  the styles' Gram matrices. Later layers of each block (relu4_3 instead of relu4_1) gave more noise than strokes.
- Content from relu3_3: relu2_2 and relu4_2 at the same weight lost the faces.
- Half the size first, then the full size: large strokes come from the coarse picture, the fine one sharpens
  them, and an evaluation at half the size costs a quarter.
- The border is repeated before the first convolution instead of padded with zeros, which paints a pale frame.
- The content weight is a compromise: at 0.3 the strokes are bolder but faces go, at 1.5 only the colours change.
- Total variation per pixel, so that the look does not change with the size, and the best picture instead of the last.
- No step moves the pixels by more than 0.05 in the mean: L-BFGS with little history now and then overshoots, and the
  noise of that stays in the picture.
- Moving large shapes more than grain (precondition 1) reaches the same loss in two thirds of the evaluations, but puts
  the colours of a painting where the photo has room for them and not on the region: the picture is paler.
- Average pooling smears flat areas and needs other weights for each layer; max pooling keeps crisp strokes.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The default config of stylize.py."""
    config = ConfigDict()
    # Inputs that the command line fills in: NAME=FILE pairs.
    config.photo = ""
    config.styles = ()
    config.masks = ()

    config.size = 512  # longest side in pixels; 0 = as it is
    config.square = False  # stretch to size x size
    config.style_scale = 1.0  # longest side of the styles, as a multiple of the photo's
    config.hard_masks = False
    config.feather = 0.4  # softness of the regions' edges: sigma in percent of the longest side
    config.segmenter = ""  # finds the regions that have no mask; empty = the best converted one, else person_vgg16
    config.refine_edges = True  # move the edges of what the segmenter finds onto those of the photo
    config.min_speck = 0.3  # percent of the photo: smaller pieces and holes of what the segmenter finds go

    # Of clips only.
    config.segment_every = 1  # the segmenter looks at every so many-th frame; in between the masks follow the motion
    config.mask_smoothing = 0.7  # share of the last frame's mask that stays where motion explains the picture
    config.picture_smoothing = 0.5  # the same share of the last picture of a fast model; more is calmer and softer
    config.next_steps = 40  # evaluations for a frame after the first, which starts from the one before

    config.network = "vgg16"
    config.weights = ""  # a safetensors file; empty = converted weights if there, else the embedded ones
    config.pooling = "max"  # or "average"
    config.padding = "replicate"  # what VGG sees beyond the border; "zeros" as torchvision
    config.dtype = "float32"  # or bfloat16
    config.style_layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    config.style_layer_weights = (20.0, 2.5, 1.0, 5.0)  # empty = 1 for every layer
    config.content_layers = ("relu3_3",)
    config.content_layer_weights = ()

    config.style_weight = 1e6
    config.blend_ratio = 0.2  # blend_weight = blend_ratio * style_weight
    config.content_weight = 0.6
    config.tv_weight = 10.0
    config.tv_per_pixel = True  # divide the total variation by the number of pixels

    config.steps = 200  # evaluations of loss and gradient, over all scales
    config.steps_multiple = 0  # make the next multiple above `steps`; 0 = exactly `steps`
    config.scales = (0.5, 1.0)  # sizes optimised one after the other, as fractions of `size`
    config.scale_steps = (0.7, 0.3)  # how the steps are shared between them
    config.init = "content"  # or "noise"
    config.keep = "best"  # the evaluated pixels with the least loss, or "last"
    config.optimizer = "lbfgs"  # or "adam"
    config.learning_rate = 0.0  # 0 = the optimiser's own: 1 for lbfgs, 0.02 for adam
    config.max_step = 0.05  # L-BFGS: longest step, as the root mean square over the pixels; 0 = no limit
    config.history = 100  # pairs that L-BFGS keeps; each takes 24 bytes for every pixel of every region
    config.remat = False  # less memory: the regions' images go through VGG one after the other
    config.precondition = 0.0  # L-BFGS: moves a wave of the picture by its frequency to the minus this; 0 = all alike
    return config.lock()  # a misspelt field in a config made from this one is an error
