"""The command stylize.py, or msst-stylize: flags, defaults, and how errors end it."""

from collections.abc import Sequence
from dataclasses import replace

from absl import flags
from ml_collections import ConfigDict

from msst_jax.cli.flags import (
    Command,
    define_deterministic,
    define_import,
    define_names_or_all,
    parse_command,
    resolve_config_paths,
)
from msst_jax.cli.recorded_flags import add_recorded, leave_out_alien
from msst_jax.cli.run_command import run_command
from msst_jax.cli.stylize_job import StylizeFlags, build_job, check_flags, placed_in, resolve_paths
from msst_jax.errors import UserError
from msst_jax.io.write_options import SUBSAMPLINGS
from msst_jax.models.deeplab import SEGMENTERS
from msst_jax.pipelines.job import Job, PhotoJob, VideoJob
from msst_jax.pipelines.run import run_job
from msst_jax.presets.applicability import (
    PAINTED,
    STYLIZE_FIELDS,
    STYLIZE_FLAGS,
    VIDEOS,
    Given,
    Run,
    changed_fields,
    check_flags_apply,
    check_swept,
    warn_of_inert,
)
from msst_jax.presets.lookup import load_preset
from msst_jax.presets.recorded import hint_of_imports, stylization_template
from msst_jax.presets.validation import STARTS, check_config
from msst_jax.regions.masks import all_masked
from msst_jax.runtime.compilation import prepare_xla
from msst_jax.runtime.console import configure_logging
from msst_jax.runtime.devices import start_device
from msst_jax.transfer.kept import kept_regions
from msst_jax.transfer.photo_colors import parse_color_regions

USAGE = """Gives every region of a photo or a video a style of its own.

{command}                                     the bundled example, no download
{command} PHOTO --mask person=person.png --style person=A.jpg --style background=B.jpg -o out.png
{command} PHOTO --regions-only -o masks.png   segments it: overlay, masks, area fractions
{command} FOLDER --style person=A.jpg --style background=B.jpg -o DIR   every photo of it
{command} PHOTO|FOLDER --model any --style person=A.jpg --style background=B.jpg   at once, with a feed-forward model
{command} VIDEO --model DIR|builtin -o out.mp4  with its own styles; .mp4, .mov, .mkv, .webm, .gif or a folder
"""
PATH_FIELDS = ("photo", "segmenter", "weights", "init")
PATH_WORDS = {"init": STARTS}
PRESETS = ("photo", "photo_separate", "quickstart", "seed", "seed_fast", "video")  # the first is the default


def define_flags(values: flags.FlagValues) -> None:
    """The flags of the command, but for --config; see `StylizeFlags`."""
    _define_files(values)
    _define_look(values)
    _define_run(values)
    _define_encoding(values)
    flags.DEFINE_string(
        "rate", None, "Frames a second of a folder of frames, such as 25 or 30000/1001.", flag_values=values
    )
    flags.DEFINE_string("start", None, "Where in a video to start: seconds, or HH:MM:SS.", flag_values=values)
    flags.DEFINE_string("end", None, "Where in a video to end: seconds, or HH:MM:SS.", flag_values=values)
    define_import(values)
    define_deterministic(values)
    flags.DEFINE_boolean("resume", False, "Continue an interrupted video.", flag_values=values)
    flags.DEFINE_boolean("quiet", False, "No progress and no messages but errors.", flag_values=values)


def _define_files(values: flags.FlagValues) -> None:
    """Paintings, masks, and where the result goes."""
    flags.DEFINE_multi_string(
        "style",
        [],
        "REGION=FILE: the painting that a region takes its style from; REGION=A.jpg:2,B.jpg:1: several, with weights; "
        "REGION=keep: it stays the photo.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "mask",
        [],
        "REGION=FILE: gray image, white inside the region; of a folder also one of such files.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "point",
        [],
        "REGION=X,Y: of a region of a photo, only what lies under this pixel of it, counted from the top left corner.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output",
        None,
        "The image to write, or of a folder the folder; default outputs/PHOTO.png.",
        short_name="o",
        flag_values=values,
    )


def _define_look(values: flags.FlagValues) -> None:
    """Numbers that change the picture."""
    flags.DEFINE_string(
        "blend",
        None,
        "Blend ratio; of a photo also a list such as 0,0.2,0.4, of a video SECONDS:RATIO,SECONDS:RATIO,...",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of the random start (config.init).", lower_bound=0, upper_bound=2**32 - 1, flag_values=values
    )
    flags.DEFINE_string(
        "init",
        None,
        "The picture that the optimization starts from, such as an earlier result; also content (the photo) or noise.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "stroke-size",
        None,
        "How large the strokes are, 0.1 to 4; 1 = as in the paintings, if these were as large as the photo.",
        flag_values=values,
    )
    define_names_or_all(
        values,
        "keep-colours",
        "The photo keeps its colors, and takes only strokes and light from the paintings; --keep-colours=person,dog: "
        "only in these regions.",
    )


def _define_run(values: flags.FlagValues) -> None:
    """What is made of the photo, and by which networks."""
    flags.DEFINE_string(
        "segmenter",
        None,
        f"Segments regions without a mask: {', '.join(SEGMENTERS)}, a workdir of train.py, a file of weights, or "
        "one of an imported module; default: the first of them that is available.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "regions-only", False, "Segment the photo and write overlay, masks, area fractions.", flag_values=values
    )
    flags.DEFINE_boolean(
        "compare",
        False,
        "Also stylize with the losses left out one after another, and write a sheet of them.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "preview-every",
        None,
        "Evaluations after which the image so far is written, while the optimization goes on.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "sweep",
        [],
        "FIELD=VALUE,VALUE,...: a picture for each value of a number of the config, and a sheet of them; given twice, "
        "for each pair of values.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "model",
        "",
        "Feed-forward model: any (with --style), builtin, a workdir of train.py, or one of an imported module.",
        flag_values=values,
    )


def _define_encoding(values: flags.FlagValues) -> None:
    """How pictures and videos are encoded."""
    flags.DEFINE_integer(
        "quality",
        None,
        "Of .jpg and .webp (1 to 100, default 95; higher is better), of H.264 (1 to 51, default 18) and .webm videos "
        "(0 to 63, default 24; lower is better).",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "subsampling", None, SUBSAMPLINGS, "Of the colors in a .jpg; default 4:4:4, none.", flag_values=values
    )
    flags.DEFINE_enum(
        "metadata",
        "keep",
        ("keep", "none"),
        "Whether the picture keeps the photo's EXIF (camera, dates, location), resolution and having a color profile.",
        flag_values=values,
    )


def main(argv: Sequence[str]) -> int:
    """Runs one command line; returns the exit code, see `run_command`."""
    return run_command(argv, _run, smaller="--config.size, or give fewer blend ratios or values of --sweep")


def _run(argv: Sequence[str]) -> int:
    command = parse_command(argv, USAGE, define_flags, PRESETS, _template)
    with hint_of_imports(command.missing_imports):
        return _run_command(command)


def _run_command(command: Command) -> int:
    typed = StylizeFlags._make(command.flags[name.replace("_", "-")].value for name in StylizeFlags._fields)
    configure_logging(typed.quiet)
    prepare_xla(deterministic=typed.deterministic)
    resolve_config_paths(command.config, PATH_FIELDS, PATH_WORDS)
    typed, arguments = resolve_paths(add_recorded(typed, command.recorded_flags), command.arguments)
    command = command._replace(arguments=arguments)
    photos = arguments or [file for file in [command.config.photo] if file]
    typed = leave_out_alien(typed, command.recorded_flags, photos, command.overrides)
    run = check_flags(typed, photos)
    check_flags_apply(run, STYLIZE_FLAGS, command.given)
    config = choose_config(command, typed, run)
    job = replace(build_job(typed, photos, config, run), imports=command.imports)
    check_config(config)
    given = _given(command, config, job)
    if isinstance(job, PhotoJob):
        check_swept(run, STYLIZE_FIELDS, given, [field.name for field in job.sweep])
    warn_of_inert(run, STYLIZE_FIELDS, given)
    start_device()
    return run_job(config, job)


def _template(config: ConfigDict) -> ConfigDict:
    """See `stylization_template`."""
    if hasattr(config, "task"):
        raise UserError(f"the config is for training; give it to train.py, or choose one of {', '.join(PRESETS)}")
    return stylization_template(config)


def choose_config(command: Command, typed: StylizeFlags, run: Run) -> ConfigDict:
    """The config; the bundled example and videos have presets of their own, with the same overrides."""
    config, photos = command.config, command.arguments
    if command.default and (run & VIDEOS or not photos):
        # Optimizing takes memory, so not at a video's own size.
        name = "quickstart" if not run & VIDEOS else "video" if typed.model else PRESETS[0]
        config = load_preset(name).get_config()
        config.update_from_flattened_dict(command.overrides)
        resolve_config_paths(config, PATH_FIELDS, PATH_WORDS)
    elif not photos and not config.photo:
        load_preset("quickstart").use_example(config)
    if typed.model:  # most have styles of their own; and a blend of 0 unless one is asked for
        config.styles = config.styles if run & PAINTED else ()
        config.blend_ratio = command.overrides.get("blend_ratio", 0.0)
    for field in ("masks", "points"):
        config[field] = placed_in(config, field, photos, field in command.overrides)
    config.segmenter = typed.segmenter or config.segmenter
    config.init = typed.init or config.init
    if typed.keep_colours is not None:
        config.keep_colours = parse_color_regions(typed.keep_colours)
    config.stroke_size = config.stroke_size if typed.stroke_size is None else typed.stroke_size
    return config


def _given(command: Command, config: ConfigDict, job: Job) -> Given:
    """What the user gave, with the fields of a preset that the user chose."""
    chosen = not (command.default or command.recorded)
    preset = changed_fields(command.config, load_preset(PRESETS[0]).get_config()) if chosen else {}
    styles, masks = (job.styles, job.masks) if isinstance(job, PhotoJob | VideoJob) else ({}, {})
    typed = [*command.given, *(["photo"] if command.arguments not in ([], [config.photo]) else [])]
    return Given(typed, command.overrides, config, all_masked(styles, masks), preset, kept_regions(styles))
