"""The whole way of one photo: files in, pictures, sheets and JSON out."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from msst_jax import images, report
from msst_jax.configuration import check_config, check_number
from msst_jax.errors import UserError
from msst_jax.files import check_overwrites, check_writable
from msst_jax.found import write_regions
from msst_jax.inputs import Inputs, load_inputs
from msst_jax.losses import Weights
from msst_jax.models.vgg import VGG
from msst_jax.models.weights import load_vgg
from msst_jax.stylization import Outcome, evaluations_of, layers_of, stylize, stylize_separately, weights_of

EXIT_NOTHING_BETTER = 1
EXIT_INTERRUPTED = 130


class Job(NamedTuple):
    """What a person asked for."""

    photo: str
    styles: Mapping[str, str]
    masks: Mapping[str, str]
    output: Path
    blend_ratios: Sequence[float]
    seed: int = 0
    compare: bool = False
    quiet: bool = False
    regions_only: bool = False
    """Write what the segmenter finds instead; see msst_jax/found.py."""


def default_output(photo: str, regions_only: bool) -> Path:
    """Where the picture goes if a person does not say."""
    return Path("outputs") / f"{Path(photo).stem or 'photo'}{'_regions' if regions_only else ''}.png"


def parse_ratios(text: str) -> list[float]:
    """ "0,0.2,0.4" to [0.0, 0.2, 0.4].

    Raises:
      UserError: not numbers, negative, or one twice.
    """
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--blend {text!r} is no list of numbers; write for example --blend 0,0.2,0.4") from None
    for ratio in ratios:
        check_number("--blend", ratio)
    if len({f"{ratio:g}" for ratio in ratios}) != len(ratios):
        raise UserError(f"--blend {text!r} names a ratio twice; leave one out")
    return ratios


def run(config: ConfigDict, job: Job) -> int:
    """Stylises one photo, or finds its regions, and writes everything; returns the exit code.

    Writes `job.output` and its JSON. With several blend ratios that is a strip, and each picture is
    written beside it as NAME_blend0.2.png with a JSON of its own. NAME_inputs.png shows photo, regions, styles
    and result; `compare` adds NAME_comparison.png.

    Raises:
      UserError: bad input; nothing has been written then.
    """
    started = time.perf_counter()
    check_config(config)
    for ratio in job.blend_ratios:
        check_number("blend ratio times config.style_weight", ratio * config.style_weight)
    check_writable(job.output)
    images.check_output_format(job.output)
    files = [job.photo, *job.styles.values(), *job.masks.values()]
    if job.regions_only:
        write_regions(config, job.photo, job.output, inputs=files)
        return 0
    written = [job.output, *blend_paths(job), beside(job.output, "inputs"), beside(job.output, "comparison")]
    check_overwrites(job.output, written, files)
    layers = layers_of(config)
    dtype = jnp.bfloat16 if config.dtype == "bfloat16" else jnp.float32
    vgg, weights = load_vgg(
        config.network,
        [*layers.style, *layers.content],
        pooling=config.pooling,
        padding=config.padding,
        dtype=dtype,
        path=Path(config.weights) if config.weights else None,
    )
    inputs = load_inputs(config, job.photo, job.styles, job.masks)
    outcome = _optimize(config, vgg, inputs, job)
    separate = _separate(config, vgg, inputs, job) if job.compare and not outcome.interrupted else None
    _write(config, job, inputs, weights, outcome, separate, started)
    return _exit_code(job, outcome)


def blend_paths(job: Job) -> list[Path]:
    """Where the pictures of a list of blend ratios go."""
    return [beside(job.output, f"blend{ratio:g}") for ratio in job.blend_ratios]


def _runs(config: ConfigDict, job: Job) -> list[Weights]:
    """The pictures of the batch: one for each blend ratio, then those of the comparison."""
    runs = [weights_of(config, ratio) for ratio in job.blend_ratios]
    if job.compare:
        rough = weights_of(config, job.blend_ratios[-1])._replace(tv=0.0)
        runs += [rough._replace(blend=0.0), rough]
    return runs


def _progress_bar(description: str, evaluations: int, quiet: bool) -> tqdm:
    return tqdm(
        total=evaluations, desc=description, unit="eval", disable=quiet or not sys.stderr.isatty(), dynamic_ncols=True
    )


def _optimize(config: ConfigDict, vgg: VGG, inputs: Inputs, job: Job) -> Outcome:
    with _progress_bar("stylize", sum(evaluations_of(config)), job.quiet) as bar:

        def progress(_evaluation: int, total: float) -> None:
            bar.set_postfix_str(f"loss {total:.4g}", refresh=False)
            bar.update()

        return stylize(config, vgg, inputs, _runs(config, job), seed=job.seed, progress=progress)


def _separate(config: ConfigDict, vgg: VGG, inputs: Inputs, job: Job) -> Outcome:
    with _progress_bar("separate", sum(evaluations_of(config)), job.quiet) as bar:
        return stylize_separately(config, vgg, inputs, progress=lambda _evaluation, _total: bar.update())


def _write(
    config: ConfigDict,
    job: Job,
    inputs: Inputs,
    weights: Path,
    outcome: Outcome,
    separate: Outcome | None,
    started: float,
) -> None:
    count = len(job.blend_ratios)
    common: dict[str, Any] = {"photo": job.photo, "masks": dict(job.masks), "evaluations": outcome.evaluations}
    common |= {"interrupted": outcome.interrupted, "segmenter": inputs.segmenter}

    def write_sidecar(path: Path, loss: dict[str, list[float]], **more: Any) -> None:
        seconds = {
            "compile": outcome.compile_seconds,
            "optimize": outcome.optimize_seconds,
            "total": time.perf_counter() - started,
        }
        content = report.sidecar(
            config=config, inputs=inputs, weights=weights, seed=job.seed, loss=loss, seconds=seconds, **common, **more
        )
        report.write_json(content, path.with_suffix(".json"))

    if count == 1:
        images.save_image(outcome.results[0], job.output)
        write_sidecar(job.output, outcome.losses[0], blend_ratio=job.blend_ratios[0])
    else:
        paths = blend_paths(job)
        for path, ratio, result, loss in zip(paths, job.blend_ratios, outcome.results, outcome.losses, strict=False):
            images.save_image(result, path)
            write_sidecar(path, loss, blend_ratio=ratio)
        images.save_picture(report.blend_strip(job.blend_ratios, outcome.results[:count]), job.output)
        summed = {
            name: np.sum([loss[name] for loss in outcome.losses[:count]], 0).tolist() for name in outcome.losses[0]
        }
        write_sidecar(job.output, summed, blend_ratio=list(job.blend_ratios), pictures=[path.name for path in paths])
    images.save_picture(report.inputs_sheet(inputs, outcome.results[count - 1]), beside(job.output, "inputs"))
    if separate is not None:
        naive, rough = outcome.results[count:]
        page = report.comparison_sheet(separate.results[0], naive, rough, outcome.results[count - 1])
        images.save_picture(page, beside(job.output, "comparison"))


def beside(output: Path, what: str) -> Path:
    """out.png, "inputs" to out_inputs.png."""
    return output.with_name(f"{output.stem}_{what}{output.suffix}")


def _exit_code(job: Job, outcome: Outcome) -> int:
    """Tells how the run ended, and what that means for a calling script."""
    if outcome.interrupted:
        logging.warning("interrupted after %d evaluations: wrote the best picture so far", sum(outcome.evaluations))
    if not np.all(outcome.finite):
        logging.warning("the loss was not finite: fell back to the best picture so far; lower the weights or steps")
    logging.info("wrote %s", job.output)
    if not np.all(outcome.improved):
        logging.error("nothing better than the start was found; the picture is the start")
        return EXIT_NOTHING_BETTER
    return EXIT_INTERRUPTED if outcome.interrupted else 0
