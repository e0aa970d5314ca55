"""Makes, finds and measures the pictures of a comparison."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.harness.child import run_child
from benchmarks.quality.metrics import lpips
from benchmarks.quality.metrics.network import LAYERS
from benchmarks.quality.pairs import Pair
from benchmarks.quality.pictures import (
    Finished,
    discard_record,
    find_pictures,
    finished,
    is_made,
    preset_config,
    read_inputs,
)
from benchmarks.quality.scores import Networks, Paintings, Scores, build_target, load_networks, score
from msst_jax.configs import photo
from msst_jax.errors import UserError
from msst_jax.io.images import read_picture, to_array
from msst_jax.transfer.inputs import PhotoInputs

SAME_SHAPE = 0.05  # a picture whose proportions differ by more is of another photo, or cropped
MAX_LISTED = 8  # names in a note

Pictures = dict[str, Finished]
"""{name of the pair: picture}."""


@dataclass(frozen=True)
class Comparison:
    """What has been measured.

    Attributes:
      pairs: of the set, in order.
      size: the longest side of the pictures, 0 = that of the photos.
      layers: of VGG-16, where style and content are measured.
      pictures: {entrant: its pictures}; an entrant is a preset, the label of a model, or the name of a folder.
      scores: {entrant: {name of the pair: its scores}}.
      notes: what the reader must know, a line each.
    """

    pairs: list[Pair]
    size: int
    layers: tuple[str, ...]
    pictures: dict[str, Pictures]
    scores: dict[str, dict[str, Scores]]
    notes: list[str] = field(default_factory=list)

    @property
    def common(self) -> list[Pair]:
        """The pairs of which every entrant has a picture: only over these do averages compare."""
        return [pair for pair in self.pairs if all(pair.name in pictures for pictures in self.pictures.values())]


def make_all(
    presets: Sequence[str], pairs: Sequence[Pair], size: int, folder: Path, alone: Sequence[str]
) -> dict[str, Pictures]:
    """The pictures of the presets, `folder`/PRESET/PAIR.png; those that are there already are kept.

    Args:
      presets: their names.
      pairs: of the set.
      size: the longest side, 0 = that of the photos.
      folder: where they go.
      alone: the command that makes one picture, followed by its preset, pair and file.

    Raises:
      UserError: a preset that stylizes no photos, or a run that fails; the pictures made until then stay.
    """
    configs = {preset: preset_config(preset, size) for preset in presets}
    tasks = [(preset, pair, folder / preset / f"{pair.name}.png") for preset in presets for pair in pairs]
    made: dict[str, Pictures] = {preset: {} for preset in presets}
    for preset, pair, path in tqdm(tasks, unit="picture", disable=None):
        if not is_made(configs[preset], pair, path):
            discard_record(path)
            run_child([sys.executable, *alone, preset, pair.name, str(path)], f"{preset} of {pair.name} failed")
        made[preset][pair.name] = finished(path)
    return made


def compare(
    pairs: list[Pair],
    size: int,
    made: Mapping[str, Pictures],
    folders: Mapping[str, Path],
    layers: Sequence[str] = LAYERS,
    notes: Sequence[str] = (),
) -> Comparison:
    """Measures the pictures of presets and models, and those found in folders, at some layers of VGG-16.

    Args:
      pairs: of the set.
      size: the longest side, 0 = that of the photos.
      made: {entrant: its pictures}.
      folders: {entrant: the folder that has its pictures}.
      layers: where style and content are measured.
      notes: what the reader must know of the pictures that were made, a line each.

    Raises:
      UserError: no such layer, a folder without pictures, or a picture that cannot be read or is of another photo.
    """
    pictures = {**made, **{name: find_pictures(folder, pairs) for name, folder in folders.items()}}
    alexnet = None
    try:
        alexnet = lpips.load_weights()
    except UserError as error:
        notes = [*notes, f"LPIPS is left out: {error}"]
    networks = load_networks(alexnet, layers)
    scores: dict[str, dict[str, Scores]] = {name: {} for name in pictures}
    known: Paintings = {}
    for pair in tqdm(pairs, unit="pair", desc="measure", disable=None):
        entrants = {name: found[pair.name] for name, found in pictures.items() if pair.name in found}
        for name, measured in _score_pair(networks, pair, size, entrants, known).items():
            scores[name][pair.name] = measured
    return Comparison(pairs, size, networks.layers, pictures, scores, [*notes, *_notes(pairs, size, pictures)])


def _score_pair(
    networks: Networks, pair: Pair, size: int, entrants: Mapping[str, Finished], known: Paintings
) -> dict[str, Scores]:
    if not entrants:
        return {}
    inputs = measured_inputs(pair, size)
    target = build_target(networks, inputs, known)
    return {name: score(networks, target, fitted(entrant.path, inputs.photo)) for name, entrant in entrants.items()}


def measured_inputs(pair: Pair, size: int) -> PhotoInputs:
    """Photo, hard masks and paintings as the pictures are measured, whatever a preset makes of them.

    Raises:
      UserError: as `read_inputs`.
    """
    config = photo.get_config()
    config.update(size=size, square=False, style_scale=1.0, feather=0.0, hard_masks=True, scales=(1.0,))
    config.scale_steps = (1.0,)
    return read_inputs(config, pair)


def fitted(path: Path, photo_pixels: np.ndarray) -> np.ndarray:
    """The picture of a file as float32 (H, W, 3) in [0, 1], resized to its photo where the sizes differ.

    Raises:
      UserError: it cannot be read, or has other proportions.
    """
    picture = read_picture(path)
    height, width = photo_pixels.shape[:2]
    if abs(picture.width * height / (picture.height * width) - 1) > SAME_SHAPE:
        raise UserError(
            f"picture {path} is {picture.width}x{picture.height}, the photo {width}x{height}; give one that is not "
            "cropped or stretched"
        )
    return to_array(picture if picture.size == (width, height) else picture.resize((width, height)))


def _notes(pairs: Sequence[Pair], size: int, pictures: Mapping[str, Pictures]) -> list[str]:
    notes = []
    for name, found in pictures.items():
        lacking = [pair.name for pair in pairs if pair.name not in found]
        if lacking:
            notes.append(f"{name} has no picture of {_listed(lacking)}; averages leave them out for all")
        resized = [pair for pair, entry in found.items() if size and max(read_picture(entry.path).size) != size]
        if resized:
            notes.append(f"{name} of {_listed(resized)} is resized to {size} pixels, which changes its figures")
        notes += [f"{name} of {pair}: {flaw}" for pair, entry in found.items() for flaw in entry.flaws]
    return notes


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_LISTED
    return f"{', '.join(names[:MAX_LISTED])}{f' and {more} more' if more > 0 else ''}"
