"""Runs of an optimization on one device and divided among four, compared: `python -m tests.helpers.shared_runs TILES`.

In a process of its own: programs over several devices wait for each other in the threads of a CPU.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from msst_jax.optim.programs import Programs
from msst_jax.transfer.build import build_options
from msst_jax.transfer.listener import SILENT, Preview
from msst_jax.transfer.objective import load_loss_network
from msst_jax.transfer.optimization import StylizationResult, stylize
from tests.helpers.frame_shares import exchanged
from tests.helpers.pictures import quick_config
from tests.helpers.strips import two_regions

DEVICES = 4
RATIOS = (0.0, 0.5, 2.0, 8.0)


def optimize(devices: int, tiles: int, programs: Programs) -> tuple[StylizationResult, list[Any]]:
    """A few evaluations at two scales, a run for each ratio; and the shapes of the previews.

    Of a picture whose sides no strips divide.
    """
    changes = {"steps": 4, "scales": (0.5, 1.0), "scale_steps": (1.0, 1.0), "precondition": 1.0}
    options = replace(build_options(quick_config(devices=devices, **changes)), tiles=tiles)
    vgg, _ = load_loss_network(options.network)
    shown: list[Any] = []
    preview = Preview(1, lambda _, images: shown.append(images.shape))
    weights = [options.weights(ratio) for ratio in RATIOS]
    listener = SILENT._replace(preview=preview)
    return stylize(options, vgg, two_regions(36, 44), weights, listener=listener, programs=programs), shown


def compare(tiles: int) -> dict[str, Any]:
    """How far pictures and losses are apart, relative, and what the programs of four devices exchange."""
    one, _ = optimize(1, tiles, Programs())
    programs = Programs()
    four, shown = optimize(DEVICES, tiles, programs)
    compiled = list(programs._compiled.values())
    totals = [np.array([losses["total"] for losses in result.losses]) for result in (one, four)]
    return {
        "first_loss": float(np.abs(totals[1][:, :2] / totals[0][:, :2] - 1).max()),
        "loss": float(np.abs(totals[1] / totals[0] - 1).max()),
        "picture": float(np.abs(one.images - four.images).max()),
        "spread": float(np.abs(four.images - four.images[:1]).max()),
        "programs": len(compiled),
        "tiles": list(four.tiles),
        "shown": shown[-1],
        "exchanged": {kind: most for each in compiled for kind, most in exchanged(each.step.as_text()).items()},
    }


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_default_matmul_precision", "highest")
    print(json.dumps(compare(int(sys.argv[1]))))
