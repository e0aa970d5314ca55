"""Trains the fast model, or the person segmenter. The same command goes on where a run ended.

python train.py --workdir runs/x --photos DIR --style person=A.jpg --style background=B.jpg [--masks DIR]
python train.py --config configs/person_segmenter.py --workdir runs/x --photos DIR --masks DIR
"""

from msst_jax.runtime.hugepages import use_hugepages

if __name__ == "__main__":
    use_hugepages()

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from configs import fast, person_segmenter
from msst_jax.cli.flags import EXIT_BAD_INPUT, parse_flags, parse_region_files
from msst_jax.errors import UserError
from msst_jax.pipelines.train import EXIT_INTERRUPTED, TrainJob, run
from msst_jax.runtime.console import configure_logging
from msst_jax.runtime.devices import initialize_distributed, request_deterministic_ops

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "fast.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, "File of numbers; --config.FIELD=VALUE changes one of them.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, samples, metrics, the model.")
_PHOTOS = flags.DEFINE_multi_string("photos", [], "Folder of photos, or tfds:NAME; can be repeated.")
_MASKS = flags.DEFINE_multi_string("masks", [], "Folder of masks named like the photos; without it, the segmenter's.")
_STYLE = flags.DEFINE_multi_string("style", [], "REGION=FILE: the painting that a region takes its style from.")
_RESTART = flags.DEFINE_boolean("restart", False, "Remove what an earlier run left in the workdir.")
_QUIET = flags.DEFINE_boolean("quiet", False, "No progress bar and no messages but errors.")


def _template(config: ConfigDict) -> ConfigDict:
    """The config of the same task as it comes."""
    templates = {template.task: template for template in (fast.get_config(), person_segmenter.get_config())}
    return templates.get(config.get("task"), fast.get_config())


def _job() -> TrainJob:
    if not _WORKDIR.value:
        raise UserError("no folder for the run was given; add --workdir DIR")
    if not _PHOTOS.value:
        raise UserError("no photos were given; add --photos DIR")
    return TrainJob(
        workdir=Path(_WORKDIR.value),
        photos=_PHOTOS.value,
        styles=parse_region_files(_STYLE.value, "style"),
        masks=_MASKS.value,
        restart=_RESTART.value,
        quiet=_QUIET.value,
    )


def main(argv: list[str]) -> int:
    """Runs one job; returns the exit code."""
    configure_logging(_QUIET.value)
    try:
        if argv[1:]:
            raise UserError(f"{' '.join(argv[1:])} belongs to no flag; photos are given with --photos DIR")
        request_deterministic_ops()
        initialize_distributed()
        return run(_CONFIG.value, _job())
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("train.py: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    app.run(main, flags_parser=lambda argv: parse_flags(argv, DEFAULT_CONFIG, _template))
