"""Which flags and config fields act in which kind of run, so that none is ignored in silence."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Flag, auto
from typing import Any, NamedTuple

from absl import logging
from ml_collections import ConfigDict

from msst_jax.errors import UserError
from msst_jax.presets.validation import parse_tiles


class Run(Flag):
    """The kinds of runs."""

    PHOTO = auto()
    PHOTO_MODEL = auto()
    PHOTO_ANY = auto()
    VIDEO = auto()
    VIDEO_MODEL = auto()
    VIDEO_ANY = auto()
    REGIONS = auto()
    STYLIZER = auto()
    ANY_STYLIZER = auto()
    SEGMENTER = auto()


ANY = Run.PHOTO_ANY | Run.VIDEO_ANY
MODEL = Run.PHOTO_MODEL | Run.VIDEO_MODEL | ANY
PHOTOS = Run.PHOTO | Run.PHOTO_MODEL | Run.PHOTO_ANY
VIDEOS = Run.VIDEO | Run.VIDEO_MODEL | Run.VIDEO_ANY
OPTIMIZED = Run.PHOTO | Run.VIDEO
PAINTED = OPTIMIZED | ANY  # by paintings that are given
STYLIZED = PHOTOS | VIDEOS
STYLIZERS = Run.STYLIZER | Run.ANY_STYLIZER
TRAINING = STYLIZERS | Run.SEGMENTER

NAMES = {
    Run.PHOTO: "a photo without --model",
    Run.PHOTO_MODEL: "a photo with --model",
    Run.PHOTO_ANY: "a photo with a model for any painting",
    Run.VIDEO: "a video without --model",
    Run.VIDEO_MODEL: "a video with --model",
    Run.VIDEO_ANY: "a video with a model for any painting",
    Run.REGIONS: "--regions-only",
    Run.STYLIZER: "the training of a stylizer",
    Run.ANY_STYLIZER: "the training of a stylizer for any painting",
    Run.SEGMENTER: "the training of a segmenter",
}

STYLIZE_FLAGS: Mapping[str, Run] = {
    "style": PAINTED | Run.REGIONS,
    "mask": STYLIZED,
    "point": PHOTOS | Run.REGIONS,
    "output": STYLIZED | Run.REGIONS,
    "blend": STYLIZED,
    "seed": OPTIMIZED,
    "init": Run.PHOTO,
    "stroke-size": PAINTED,
    "keep-colours": OPTIMIZED,
    "segmenter": STYLIZED | Run.REGIONS,
    "regions-only": Run.REGIONS,
    "compare": Run.PHOTO,
    "preview-every": Run.PHOTO,
    "sweep": Run.PHOTO,
    "model": MODEL,
    "quality": STYLIZED,
    **dict.fromkeys(("subsampling", "metadata"), PHOTOS),
    **dict.fromkeys(("rate", "start", "end"), VIDEOS),
    "resume": VIDEOS,
    "import": STYLIZED | Run.REGIONS,
    "deterministic": STYLIZED | Run.REGIONS,
    "quiet": STYLIZED | Run.REGIONS,
    "config": STYLIZED | Run.REGIONS,
}
TRAIN_FLAGS: Mapping[str, Run] = {
    "workdir": TRAINING,
    "photos": TRAINING,
    "masks": TRAINING,
    "style": Run.STYLIZER,
    "restart": TRAINING,
    "import": TRAINING,
    "deterministic": TRAINING,
    "quiet": TRAINING,
    "profile": TRAINING,
    "config": TRAINING,
}
STYLIZE_FIELDS: Mapping[str, Run] = {
    **dict.fromkeys(
        ("photo", "precision", "size", "square", "hard_masks", "segmenter", "refine_edges"), STYLIZED | Run.REGIONS
    ),
    **dict.fromkeys(("masks", "feather", "blend_ratio"), STYLIZED),
    **dict.fromkeys(("min_speck", "points"), PHOTOS | Run.REGIONS),
    **dict.fromkeys(("segment_every", "mask_smoothing"), VIDEOS),
    "picture_smoothing": Run.VIDEO_MODEL | Run.VIDEO_ANY,
    "next_steps": Run.VIDEO,
    "styles": PAINTED | Run.REGIONS,
    "stroke_size": PAINTED,
    **dict.fromkeys(("style_scale", "network", "weights", "pooling", "padding"), OPTIMIZED),
    **dict.fromkeys(("style_layers", "style_layer_weights", "content_layers", "content_layer_weights"), OPTIMIZED),
    **dict.fromkeys(
        ("guided", "keep_colours", "style_weight", "content_weight", "tv_weight", "tv_per_pixel"), OPTIMIZED
    ),
    **dict.fromkeys(("steps", "steps_multiple", "scales", "scale_steps", "init", "keep"), OPTIMIZED),
    **dict.fromkeys(("optimizer", "learning_rate", "max_step", "history", "history_dtype"), OPTIMIZED),
    **dict.fromkeys(("remat", "tiles", "precondition"), OPTIMIZED),
    "devices": Run.PHOTO | Run.VIDEO_MODEL | Run.VIDEO_ANY,
}
TRAIN_FIELDS: Mapping[str, Run] = {
    **dict.fromkeys(("task", "precision", "size", "smallest_crop", "largest_crop", "colour", "batch"), TRAINING),
    **dict.fromkeys(("without_mask", "leave_out", "segmenter", "refine_edges", "workers", "seed"), TRAINING),
    **dict.fromkeys(("steps", "learning_rate", "warmup", "clip", "ema", "log_every", "sample_every"), TRAINING),
    **dict.fromkeys(("samples", "checkpoint_every", "keep_last", "keep_every", "accumulate"), TRAINING),
    **dict.fromkeys(("width", "blocks", "network", "style_size", "style_weight", "blend_ratio"), STYLIZERS),
    **dict.fromkeys(("style_layers", "style_layer_weights", "content_layers", "content_layer_weights"), STYLIZERS),
    **dict.fromkeys(("content_weight", "tv_weight", "temporal_weight"), STYLIZERS),
    **dict.fromkeys(("paintings", "views", "regions"), Run.ANY_STYLIZER),
    **dict.fromkeys(("segmenter_network", "classes", "encoder_rate"), Run.SEGMENTER),
    "start": TRAINING,
    "architecture": Run.STYLIZER,
    "region_weights": Run.STYLIZER,
}


class Given(NamedTuple):
    """What the user gave of a run.

    Attributes:
      flags: on the command line, by name; "photo" for a positional argument that is not config.photo.
      fields: of the config, on the command line.
      config: the whole one.
      masked: every region has a mask, so that none is segmented.
      preset: fields with another value than the default in a preset that the user chose.
      kept: the regions that are left the photo.
    """

    flags: Collection[str]
    fields: Collection[str]
    config: ConfigDict
    masked: bool
    preset: Collection[str] = ()
    kept: Collection[str] = ()


class Condition(NamedTuple):
    """Flags and fields that do not act under a condition, in runs where they otherwise do.

    Attributes:
      runs: kinds of runs that the condition concerns.
      names: as the user writes them.
      holds: whether they have no effect.
      because: what the message says.
    """

    runs: Run
    names: tuple[str, ...]
    holds: Callable[[Given], bool]
    because: str


CONDITIONS = (
    Condition(OPTIMIZED, ("--seed",), lambda given: given.config.init != "noise", "the start is not config.init=noise"),
    Condition(
        OPTIMIZED,
        ("config.history", "config.history_dtype", "config.max_step", "config.precondition"),
        lambda given: given.config.optimizer != "lbfgs",
        "the optimizer is not lbfgs",
    ),
    Condition(
        OPTIMIZED,
        ("config.remat",),
        lambda given: given.config.guided,
        "config.guided takes a single image through VGG",
    ),
    Condition(
        OPTIMIZED,
        ("config.remat",),
        lambda given: not given.config.guided and parse_tiles(given.config.tiles) > 1,
        "config.tiles takes a part of a single image through VGG",
    ),
    Condition(
        STYLIZED | TRAINING,
        ("--segmenter", "config.segmenter", "config.refine_edges", "config.min_speck"),
        lambda given: given.masked,
        "every region has a mask",
    ),
    Condition(
        Run.REGIONS,
        ("config.precision",),
        lambda given: given.config.precision == "bfloat16",
        "segmenters compute in float32",
    ),
    Condition(TRAINING, ("config.without_mask",), lambda given: "masks" not in given.flags, "masks are computed"),
    Condition(STYLIZED | Run.REGIONS, ("config.photo",), lambda given: "photo" in given.flags, "a photo is given"),
    Condition(
        STYLIZED | Run.REGIONS,
        ("config.segmenter",),
        lambda given: "segmenter" in given.flags and not given.masked,
        "--segmenter is given",
    ),
    Condition(STYLIZED, ("config.blend_ratio",), lambda given: "blend" in given.flags, "--blend is given"),
    Condition(OPTIMIZED, ("config.init",), lambda given: "init" in given.flags, "--init is given"),
    Condition(PAINTED, ("config.stroke_size",), lambda given: "stroke-size" in given.flags, "--stroke-size is given"),
    Condition(
        OPTIMIZED, ("config.keep_colours",), lambda given: "keep-colours" in given.flags, "--keep-colours is given"
    ),
    Condition(PAINTED | Run.REGIONS, ("config.styles",), lambda given: "style" in given.flags, "--style is given"),
    Condition(STYLIZED, ("config.masks",), lambda given: "mask" in given.flags, "--mask is given"),
    Condition(PHOTOS | Run.REGIONS, ("config.points",), lambda given: "point" in given.flags, "--point is given"),
)


def check_flags_apply(run: Run, table: Mapping[str, Run], given: Iterable[str]) -> None:
    """Raises UserError for a flag that cannot act in a run of this kind."""
    for flag in given:
        if not table[flag] & run:
            raise UserError(f"--{flag} has no effect on {NAMES[run]}; leave it out")


def describe_inert(run: Run, table: Mapping[str, Run], given: Given) -> list[str]:
    """What was given and does not act in this run, with the reason, a phrase for each reason."""
    return _phrases(run, table, given, [f"--{flag}" for flag in given.flags])


def _phrases(run: Run, table: Mapping[str, Run], given: Given, flags: Sequence[str]) -> list[str]:
    """As `describe_inert`, of the fields and only these of the flags."""
    names = [*flags, *(f"config.{field}" for field in given.fields)]
    fields = dict.fromkeys([*given.fields, *given.preset])
    alien = [f"config.{field}" for field in fields if not table.get(field, run) & run]  # others are a config's own
    phrases = [f"{', '.join(alien)} on {NAMES[run]}"] if alien else []
    for condition in CONDITIONS:
        found = [name for name in condition.names if name in names and name not in alien]
        if condition.runs & run and found and condition.holds(given):
            phrases.append(f"{', '.join(found)}, since {condition.because}")
    return [*phrases, *_idle_colors(run, given, names)]


def _idle_colors(run: Run, given: Given, names: Sequence[str]) -> Iterator[str]:
    """Of the regions that are named to keep the photo's colors, those that are the photo anyway."""
    by = [name for name in ("--keep-colours", "config.keep_colours") if name in names]
    if by and run & OPTIMIZED:
        kept = [region for region in given.config.keep_colours if region in given.kept]
        if kept:
            yield f"{by[0]} of {', '.join(kept)}, since the style leaves it the photo"


def warn_of_inert(run: Run, table: Mapping[str, Run], given: Given) -> None:
    """Says in one line what was given and does not act in this run, if anything."""
    phrases = describe_inert(run, table, given)
    if phrases:
        logging.warning("no effect: %s", "; ".join(phrases))


def check_swept(run: Run, table: Mapping[str, Run], given: Given, swept: Sequence[str]) -> None:
    """Raises UserError for fields that --sweep has no effect with, or that are also given by themselves."""
    if twice := [field for field in swept if field in given.fields]:
        raise UserError(f"--config.{twice[0]} and --sweep {twice[0]} both say what it is; leave one out")
    if own := [field for field in swept if field not in table]:
        raise UserError(f"--sweep {own[0]}: this field is the config's own, and nothing takes it; sweep another field")
    phrases = _phrases(run, table, given._replace(fields=swept, preset=()), ())
    if phrases:
        raise UserError(
            f"--sweep would give one picture again and again: no effect: {'; '.join(phrases)}; sweep another field"
        )


def changed_fields(config: ConfigDict, default: ConfigDict) -> dict[str, Any]:
    """The fields of a config with another value than in the default one."""
    return {name: value for name, value in config.items() if value != default.get(name)}
