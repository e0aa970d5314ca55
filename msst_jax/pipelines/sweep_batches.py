"""The pictures of a sweep in batches: what each batch is optimized with, and the inputs that it reads."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from msst_jax.errors import UserError
from msst_jax.io.paths import STANDARD_STREAM
from msst_jax.io.write_options import holds_transparency
from msst_jax.pipelines.job import PhotoJob
from msst_jax.presets.sweep import Cell
from msst_jax.regions.segmenter import AnySegmenter, load_segmenter
from msst_jax.transfer.build import build_options
from msst_jax.transfer.inputs import PhotoInputs, load_photo_inputs, mask_spec
from msst_jax.transfer.options import InputOptions, StylizationOptions

LOSS_FACTORS = ("style_weight", "blend_ratio", "content_weight", "tv_weight")
"""Fields that the runs of one batch may differ in."""


class Batch(NamedTuple):
    """Pictures that differ in factors of the loss only, and so are optimized as one batch."""

    cells: list[Cell]
    options: StylizationOptions
    """But for the factors of the loss, those of all its pictures."""
    inputs: PhotoInputs

    @property
    def costs(self) -> tuple[float, ...]:
        """About what each evaluation takes: the pixels that it evaluates."""
        pixels = len(self.cells) * self.inputs.photo[..., 0].size
        return tuple(pixels * cost for cost in self.options.schedule.costs)

    @property
    def shapes(self) -> set[tuple[float, ...]]:
        """Of the arrays that its programs are compiled for: batches share those of equal ones."""
        schedule = self.options.schedule
        return {
            (len(self.cells), *self.inputs.photo.shape, scale)
            for scale, evaluations in zip(schedule.scales, schedule.evaluations, strict=True)
            if evaluations
        }

    @property
    def shared(self) -> str:
        """What all its pictures have in common of the swept values: "size 256"; nothing if nothing."""
        first, *others = [cell.label.splitlines() for cell in self.cells]
        return ", ".join(line for line in first if all(line in lines for lines in others))


def load_batches(job: PhotoJob, cells: Sequence[Cell]) -> list[Batch]:
    """The batches with their inputs, all read before the first begins; the one that takes most memory first.

    So what is wrong, or does not fit, ends the sweep before anything is written.
    """
    grouped: dict[tuple[float, ...], list[Cell]] = {}
    for cell in cells:
        kind = tuple(value for name, value in cell.values.items() if name not in LOSS_FACTORS)
        grouped.setdefault(kind, []).append(cell)
    options = [build_options(members[0].config) for members in grouped.values()]
    inputs = _load_inputs(job, options)
    batches = [Batch(members, own, inputs[own.inputs]) for members, own in zip(grouped.values(), options, strict=True)]
    return sorted(batches, key=_memory_order)


def _memory_order(batch: Batch) -> tuple[int, int]:
    return -len(batch.cells) * batch.inputs.photo.size, -batch.options.optimizer.history


def _load_inputs(job: PhotoJob, options: Iterable[StylizationOptions]) -> dict[InputOptions, PhotoInputs]:
    """The inputs of every batch; those that are read in the same way once, by one segmenter."""
    kinds = {own.inputs: own for own in options}
    if len(kinds) > 1 and job.photo == str(STANDARD_STREAM):
        raise UserError(f"--sweep reads the photo {len(kinds)} times, and standard input only once; give a file")
    segmenter = _load_segmenter(job, next(iter(kinds.values()))) if len(kinds) > 1 else None
    load = partial(load_photo_inputs, points=job.points, segmenter=segmenter, keep_alpha=holds_transparency(job.output))
    return {kind: load(own, job.photo, job.styles, job.masks) for kind, own in kinds.items()}


def _load_segmenter(job: PhotoJob, options: StylizationOptions) -> AnySegmenter | None:
    """The segmenter, if a region needs it."""
    missing = mask_spec(options, job.styles, job.masks, job.points).missing
    return load_segmenter(options.inputs.segmenter, missing) if missing else None
