"""Benchmark of one evaluation of the default look beside one image per region, for two and four regions."""

from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.harness.program import OURS, PAIRS, Case, Program
from benchmarks.speed.optimize import EVALUATIONS, example, start_step
from msst_jax.configs import photo, photo_separate
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import PhotoInputs

GROUP = "guided"
SEPARATE = "msst_jax, configs/photo_separate.py"


def cases(quick: bool) -> list[Case]:
    """Two and four regions, at a size that suits the device."""
    size = 64 if quick else 512 if jax.default_backend() == "cpu" else 1024
    return [_case(regions, size) for regions in (2, 4)]


def _case(regions: int, size: int) -> Case:
    return Case(
        group=GROUP,
        what=f"configs/photo.py, {regions} regions",
        size=f"{size}x{size}",
        unit="evaluation",
        programs={
            OURS: partial(_start, photo.get_config(), regions, size),
            SEPARATE: partial(_start, photo_separate.get_config(), regions, size),
        },
        units_per_call=EVALUATIONS,
    )


def _start(config: ConfigDict, regions: int, size: int) -> Program:
    config.square = True
    config, inputs = example(size, config)
    return start_step(build_options(config), _with_regions(inputs, regions), EVALUATIONS * (PAIRS + 1))


def _with_regions(inputs: PhotoInputs, count: int) -> PhotoInputs:
    """The two regions of the example, each cut into vertical strips of equal width, which take its style."""
    strips = count // 2
    columns = np.arange(inputs.photo.shape[1]) * strips // inputs.photo.shape[1]
    cut = [inputs.masks * (columns == strip)[None, :, None] for strip in range(strips)]
    return inputs._replace(masks=np.concatenate(cut, -1), regions=inputs.regions * strips)
