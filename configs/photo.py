"""The default preset of stylize.py: one image, each region of which takes its style by statistics of its own pixels.

Tuned by eye on twenty photos (people large and small, a bird, dogs, a cat, a bus) with twelve paintings.
configs/photo_separate.py optimizes an image per region instead, as the original (configs/seed.py) does.
- Style from relu1_1 and the last layer of each further block, relu2_2, relu3_3 and relu4_3: relu4_3 transfers whole
  brush strokes and swirls. The first layers of the blocks (relu2_1, relu3_1, relu4_1) have the regions half as near to
  their paintings at the same distance to the photo. The distances are relative to the painting's own Gram matrix, so
  all layers and all paintings, pale or strong, weigh alike.
- Content from relu2_2, relu3_3 and relu4_2: relu4_2 keeps faces, hats and arms, which relu3_3 alone lost at the same
  distance to the photo.
- The content weight: at 3 and below strokes cover faces, at 8 the colors change and little else.
- The preconditioner: without it the optimization hardly moves the colors of areas, and ends with those of the photo
  under strokes of the painting: twice as far from the painting's palette.
- A low blend ratio: higher ones mix the palettes, which the region is to keep apart.
- Half the size first, then the full size: the coarse scale forms large strokes, the fine scale sharpens them, and an
  evaluation at half the size costs a quarter.
- Replicate padding before the first convolution instead of zero padding, which paints a pale frame.
- Total variation per pixel, so that the look does not depend on the size, and the best image instead of the last.
- No step moves the pixels by more than 0.05 (RMS): L-BFGS with a short history occasionally overshoots, and the noise
  of that stays in the image.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The default config of stylize.py."""
    config = ConfigDict()
    # Inputs, set by the command line; styles, masks and points are what --style, --mask and --point take.
    config.photo = ""
    config.styles = ()
    config.masks = ()
    config.points = ()

    config.size = 512  # longest side in pixels; 0 = original size
    config.square = False  # stretch to size x size
    config.style_scale = 1.0  # longest side of the styles, as a multiple of the photo's
    config.stroke_size = 1.0  # of the strokes, as a multiple of those of the styles at style_scale: --stroke-size
    config.keep_colours = ()  # regions that keep the photo's colors, "*" = all: --keep-colours
    config.hard_masks = False  # one-hot masks: every pixel belongs to one region
    config.feather = 0.4  # blur of the regions' edges: sigma in percent of the longest side
    config.segmenter = ""  # for regions without a mask; empty = the best converted one, else that of the package
    config.refine_edges = True  # snap the edges of segmented regions to the edges of the photo
    config.min_speck = 0.3  # percent of the photo: smaller components and holes of segmented regions are removed

    # Videos only.
    config.segment_every = 1  # the segmenter runs on every n-th frame; in between the masks are warped by optical flow
    config.mask_smoothing = 0.7  # weight of the previous, warped mask where the flow is reliable
    config.picture_smoothing = 0.5  # the same for the images of a fast model; higher flickers less, but is softer
    config.next_steps = 40  # evaluations for each frame after the first, which starts from the previous frame

    config.network = "vgg16"
    config.weights = ""  # a safetensors file; empty = converted weights if available, else the embedded ones
    config.pooling = "max"  # or "average"
    config.padding = "replicate"  # of the first convolution; "zeros" as in torchvision
    # "default": float32, but a GPU rounds the factors of products to TF32, and a TPU to bfloat16, which is fast;
    # "highest": no device rounds them; "bfloat16": features are bfloat16. Sums are always float32.
    config.precision = "default"
    config.style_layers = ("relu1_1", "relu2_2", "relu3_3", "relu4_3")
    config.style_layer_weights = ()  # empty = 1 for every layer
    config.content_layers = ("relu2_2", "relu3_3", "relu4_2")
    config.content_layer_weights = (1.0, 1.0, 2.0)

    # One image, each region of which takes its style by the statistics of its own pixels; else one image per region.
    config.guided = True
    config.style_weight = 200.0
    config.blend_ratio = 0.02  # blend_weight = blend_ratio * style_weight
    config.content_weight = 4.0
    config.tv_weight = 5.0
    config.tv_per_pixel = True  # divide the total variation by the number of pixels

    config.steps = 200  # evaluations of loss and gradient, over all scales
    config.steps_multiple = 0  # round up to the next multiple above `steps`; 0 = exactly `steps`
    config.scales = (0.5, 1.0)  # coarse to fine, as fractions of `size`
    config.scale_steps = ()  # relative share of the steps for each scale; empty = 0.3 for the last, the rest shared
    config.init = "content"  # or "noise", or a picture's file: --init
    config.keep = "best"  # the evaluated pixels with the lowest loss, or "last"
    config.optimizer = "lbfgs"  # or "adam"
    config.learning_rate = 0.0  # 0 = the optimizer's default: 1 for lbfgs, 0.02 for adam
    config.max_step = 0.05  # L-BFGS: maximum step, as the root mean square over the pixels; 0 = no limit
    config.history = 100  # L-BFGS: number of pairs; each takes 24 bytes per pixel and region
    config.history_dtype = "float32"  # of these pairs, or "bfloat16", which takes half
    config.remat = False  # saves memory: the regions' images go through VGG one at a time
    config.tiles = "auto"  # windows of rows that go through VGG one at a time; auto = as memory needs, off = the whole
    # Devices that share the runs of a batch, if these are a multiple of them, or else one picture, each a strip of its
    # rows or columns; with a fast model, the frames of a video. 0 = all that there are.
    config.devices = 1
    config.precondition = 1.0  # L-BFGS: p of the power-law preconditioner, which scales frequency f by f^-p; 0 = none
    return config.lock()  # a misspelled field in a config derived from this one is an error
