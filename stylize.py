"""Gives every region of a photo a style of its own.

python stylize.py                                     the bundled example, no download
python stylize.py PHOTO --mask person=person.png --style person=A.jpg --style background=B.jpg -o out.png
python stylize.py PHOTO --regions-only -o masks.png   what it finds: overlay, masks, shares
python stylize.py PHOTO|FOLDER --model DIR|builtin    with a trained fast model, at once
python stylize.py VIDEO --model DIR|builtin -o out.mp4  a clip: .mp4, .webm, .gif or a folder of frames
"""

from msst_jax.runtime.hugepages import use_hugepages

if __name__ == "__main__":
    use_hugepages()

import sys
from pathlib import Path

from absl import app, flags
from jax.errors import JaxRuntimeError
from ml_collections import ConfigDict, config_flags

from configs import photo, quickstart, video
from msst_jax.cli.flags import EXIT_BAD_INPUT, parse_flags
from msst_jax.cli.stylize_flags import StylizeFlags, build_job, check_flags, is_video
from msst_jax.errors import UserError
from msst_jax.models.deeplab import SEGMENTERS
from msst_jax.pipelines.job import EXIT_INTERRUPTED
from msst_jax.pipelines.photo import run
from msst_jax.runtime.console import configure_logging
from msst_jax.runtime.devices import request_deterministic_ops

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "photo.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, "File of numbers; --config.FIELD=VALUE changes one of them.")
flags.DEFINE_multi_string("style", [], "REGION=FILE: the painting that a region takes its style from.")
flags.DEFINE_multi_string("mask", [], "REGION=FILE: grey picture, white inside the region.")
flags.DEFINE_string("output", None, "The picture to write; default outputs/PHOTO.png.", short_name="o")
flags.DEFINE_string(
    "blend", None, "Blend ratio; of a photo also a list such as 0,0.2,0.4, of a clip SECONDS:RATIO,SECONDS:RATIO,..."
)
flags.DEFINE_integer("seed", 0, "Of the random start (config.init).", lower_bound=0, upper_bound=2**32 - 1)
flags.DEFINE_string(
    "segmenter",
    None,
    f"Finds regions without a mask: {', '.join(SEGMENTERS)}, a workdir of train.py or a file of weights; default: the "
    "first of them that is there.",
)
flags.DEFINE_boolean("regions-only", False, "Write what the segmenter finds: overlay, masks, shares.")
flags.DEFINE_boolean("compare", False, "Also make separate / naive / without smooth, and a sheet of them.")
flags.DEFINE_string("model", "", "Fast model: a workdir of train.py, or builtin.")
flags.DEFINE_integer("quality", None, "Of .mp4 (1 to 51, default 18) and .webm (0 to 63, 24); less is better.")
flags.DEFINE_string("rate", None, "Frames a second of a folder of frames, such as 25 or 30000/1001.")
flags.DEFINE_boolean("resume", False, "Go on with a clip whose making was interrupted.")
flags.DEFINE_boolean("quiet", False, "No progress bar and no messages but errors.")


def _config(asked: StylizeFlags, photos: list[str]) -> ConfigDict:
    """The config; the quickstart and clips have defaults of their own, which --config.FIELD=VALUE changes too."""
    config = _CONFIG.value
    clip = is_video(asked, photos)
    if f"--config={DEFAULT_CONFIG}" in sys.argv and (clip or not photos):
        preset = quickstart if not clip else video if asked.model else photo  # optimising takes memory: not at any size
        config = preset.get_config()
        config.update_from_flattened_dict(config_flags.get_override_values(flags.FLAGS["config"]))
    elif not photos and not config.photo:
        quickstart.use_example(config)
    if asked.model:  # its styles and its blend are its own
        config.styles, config.blend_ratio = (), 0.0
    config.segmenter = asked.segmenter or config.segmenter
    return config


def main(argv: list[str]) -> int:
    """Runs one job; returns the exit code."""
    asked = StylizeFlags._make(flags.FLAGS[name.replace("_", "-")].value for name in StylizeFlags._fields)
    configure_logging(asked.quiet)
    request_deterministic_ops()
    try:
        check_flags(asked, argv[1:])
        config = _config(asked, argv[1:])
        return run(config, build_job(asked, argv[1:], config))
    except UserError as error:
        print(f"stylize.py: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (MemoryError, JaxRuntimeError) as error:
        if isinstance(error, JaxRuntimeError) and "out of memory" not in str(error).lower():
            raise
        print("stylize.py: not enough memory; lower --config.size or give fewer blend ratios", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("stylize.py: interrupted; only what is named above was written", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    app.run(main, flags_parser=lambda argv: parse_flags(argv, DEFAULT_CONFIG, lambda _: photo.get_config()))
