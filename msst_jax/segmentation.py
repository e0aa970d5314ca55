"""Regions found by a segmentation network: class probabilities of a photo, and region masks made of them."""

import functools
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image
from scipy import ndimage

from msst_jax import images
from msst_jax.errors import UserError
from msst_jax.guided_filter import refine_edges
from msst_jax.regions import BACKGROUND, describe
from msst_jax.segmenters import Segmenter, Size, preset_size
from msst_jax.voc import CLASSES

EVERY_CLASS = tuple(range(len(CLASSES)))
SINGLE_CLASSES = tuple((index,) for index in EVERY_CLASS[1:])  # every class but the background
GIVEN = "masks given"  # stands after the classes where masks of a person's claim a part of the photo


def preprocess(photo: Image.Image | np.ndarray, view: Callable[[Size], Size] = preset_size) -> jax.Array:
    """What a network sees of a photo: float32 (h, w, 3), normalised.

    Args:
      photo: 8-bit RGB picture, or (H, W, 3) in [0, 1], which is rounded to 8 bits as in a file.
      view: its size to the size at which the network sees it; see msst_jax/segmenters.py.

    Source: torchvision.transforms._presets.SemanticSegmentation on a Pillow picture: bilinear and antialiased,
    rounded to 8 bits, then normalised. On a tensor instead of a picture the same preset rounds otherwise: up to one
    level of 255 apart.

    Raises:
      UserError: a size that the network cannot see.
    """
    picture = _picture(photo)
    return images.normalize(jnp.asarray(_resized(picture, view(picture.size))))


def _picture(photo: Image.Image | np.ndarray) -> Image.Image:
    return photo if isinstance(photo, Image.Image) else images.to_picture(photo)


def _resized(picture: Image.Image, size: Size) -> np.ndarray:
    return images.to_array(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR))


def class_probabilities(
    segmenter: Segmenter, photo: Image.Image | np.ndarray, size: Size | None = None, *, refine: bool = False
) -> np.ndarray:
    """Probability of every class at every pixel: float32 (H, W, 21), sum 1 over the classes of `voc.CLASSES`.

    Classes that the network does not know have probability 0. The scores, not the probabilities, are resized, so that
    the likeliest class is the one that torchvision's scores give. The network is compiled once for every shape of
    what it sees, not for every photo's size. A network with several views of a photo gives the mean of their scores.

    Args:
      segmenter: the network.
      photo: 8-bit RGB picture, or (H, W, 3) in [0, 1]; give it as large as it is, `preprocess` resizes it.
      size: (width, height) of the result; None = the photo's.
      refine: move the edges onto those of the photo at that size; see `guided_filter.refine_edges`.

    Source of the resizing of the scores: torch.nn.functional.interpolate(mode="bilinear", align_corners=False).

    Raises:
      UserError: as `preprocess`.
    """
    picture = _picture(photo)
    size = size or picture.size
    scores = [_scores(*nnx.split(segmenter.model), preprocess(picture, view)) for view in segmenter.views]
    probabilities = np.asarray(_probabilities(scores, size, segmenter.model.classes))
    return refine_edges(probabilities, _resized(picture, size)) if refine else probabilities


@functools.partial(jax.jit, static_argnums=0)
def _scores(definition: nnx.GraphDef, state: nnx.State, image: jax.Array) -> jax.Array:
    return nnx.merge(definition, state)(image[None])[0]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _probabilities(scores: Sequence[jax.Array], size: Size, classes: tuple[int, ...]) -> jax.Array:
    # Scores are smooth (the network's grid is coarser than any photo), so shrinking them needs no antialiasing.
    shape = (size[1], size[0], len(classes))
    resized = [jax.image.resize(view, shape, method="linear", antialias=False) for view in scores]
    known = jax.nn.softmax(sum(resized[1:], resized[0]) / len(resized))
    if classes == EVERY_CLASS:
        return known
    return jnp.zeros((*known.shape[:2], len(CLASSES))).at[..., np.array(classes)].set(known)


def classes_of(region: str) -> tuple[int, ...]:
    """The classes that a region's name joins: "person+dog" to (15, 12).

    Raises:
      UserError: a name that is no class, or one joined with the background.
    """
    names = region.split("+")
    for name in names:
        if name not in CLASSES:
            raise UserError(
                f"there is no region {name!r}; regions are {', '.join(CLASSES)}, or any name with a mask: "
                f"correct the name or give --mask {region}=FILE"
            )
    if BACKGROUND in names:
        raise UserError(f"region {region!r}: {BACKGROUND} is what no other region claims, it cannot be joined")
    return tuple(CLASSES.index(name) for name in names)


def check_names(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The classes of every region but the background.

    Raises:
      UserError: as `classes_of`, or a class in two regions.
    """
    groups = {name: classes_of(name) for name in names if name != BACKGROUND}
    owners: dict[int, str] = {}
    for name, group in groups.items():
        for index in group:
            if index in owners:
                raise UserError(
                    f"class {CLASSES[index]!r} is named twice, in region {owners[index]!r} and in {name!r}; "
                    "leave one out"
                )
            owners[index] = name
    return groups


def region_masks(
    probabilities: np.ndarray,
    names: Sequence[str],
    *,
    claimed: np.ndarray | None = None,
    min_speck: float = 0.0,
    hard: bool = False,
    must_exist: bool = True,
) -> dict[str, np.ndarray]:
    """The masks {name: float32 (H, W) in [0, 1]} of regions; their sum is at most 1, with `claimed` too.

    "background" gets no mask here: it is what the others leave, `regions.combine` gives it that.

    Args:
      probabilities: (H, W, 21), see `class_probabilities`.
      names: classes, joined by + where a region has several.
      claimed: (H, W) in [0, 1], what other masks have taken already: nothing is found there.
      min_speck: percent of the photo; smaller pieces of a region, and holes in it, go to what is around them, see
        `remove_specks`.
      hard: 1 where one of the region's classes is the likeliest, 0 elsewhere, instead of probabilities.
      must_exist: a region that is not in the photo is an error; else it gets a mask that is (nearly) empty.

    Raises:
      UserError: as `check_names`, or a region that is not in the photo; the error lists the classes that are.
    """
    groups = check_names(names)
    left = probabilities if claimed is None else _beside(probabilities, claimed)
    # Specks of classes that nobody named are removed too: they would be holes in a region that somebody did name.
    named = {index for group in groups.values() for index in group}
    others = [group for group in SINGLE_CLASSES if group[0] not in named]
    cleaned = remove_specks(left, [*groups.values(), *others], min_speck)
    masks = {name: mask_of(cleaned, group, hard=hard) for name, group in groups.items()}
    for name, mask in masks.items():
        if must_exist and mask.max() < 0.5:
            raise UserError(_not_found(name, probabilities, left, min_speck, mask.max()))
    return masks


def _beside(probabilities: np.ndarray, claimed: np.ndarray) -> np.ndarray:
    """Probabilities (H, W, C + 1) where masks (H, W) claim a part of every pixel; that part comes last."""
    claimed = claimed[..., None]
    return np.concatenate([probabilities * (1 - claimed), claimed], -1)


def mask_of(probabilities: np.ndarray, classes: Sequence[int], *, hard: bool = False) -> np.ndarray:
    """The mask, float32 (H, W) in [0, 1], of some classes; see `region_masks`."""
    if hard:
        return np.isin(probabilities.argmax(-1), classes).astype(np.float32)
    return np.clip(probabilities[..., list(classes)].sum(-1), 0, 1).astype(np.float32)


def _not_found(name: str, everywhere: np.ndarray, left: np.ndarray, min_speck: float, certainty: float) -> str:
    """Why a region is empty; from the probabilities `everywhere` and those `left` beside the masks given."""
    group = classes_of(name)
    pieces = np.isin(left.argmax(-1), group)
    advice = f"leave its --style out or give --mask {name}=FILE"
    if not np.isin(everywhere.argmax(-1), group).any():
        reason = "was not found in the photo"
    elif not pieces.any():
        reason = "lies wholly under the masks given"
    elif _specks(pieces, min_speck / 100 * pieces.size).all():
        reason = f"was found only in specks smaller than config.min_speck = {min_speck:g}% of the photo"
    else:
        reason = f"is nowhere more than half certain ({certainty:.0%} at most, yet likelier there than any other)"
        advice = f"take it all the same with --config.hard_masks=True, or {advice}"
    return f"region {name!r} {reason}; found: {describe(found_classes(left, min_speck))}: {advice}"


def remove_specks(probabilities: np.ndarray, groups: Iterable[Sequence[int]], percent: float) -> np.ndarray:
    """Gives small pieces of regions to the classes that are likeliest there without them, and fills small holes.

    A piece is a connected part (edges or corners touch) of the pixels whose likeliest class is one of the region's.
    With a piece goes the faint halo around it: all that lies nearer to it than to a piece that stays. Small pieces of
    the background are holes; they take what is next to them, when the regions' own small pieces are gone.

    Args:
      probabilities: (H, W, C), sum 1 over the classes; class 0 is the background.
      groups: the classes of each region, without the background; classes that are in none keep their pieces.
      percent: of the photo; smaller pieces are removed, 0 = none.

    Returns:
      (H, W, C), sum 1; of no region and of the background there is a piece smaller than `percent`.
    """
    smallest = percent / 100 * probabilities[..., 0].size
    pieces = [list(group) for group in groups]
    while True:  # what is given back can make a speck elsewhere; a class never returns to a pixel, so this ends
        likeliest = probabilities.argmax(-1)
        specks = [(group, _specks(np.isin(likeliest, group), smallest)) for group in pieces]
        specks = [(group, speck) for group, speck in specks if speck.any()]
        if not specks:
            return _fill_holes(probabilities, likeliest == 0, smallest)
        probabilities = probabilities.copy()
        for group, speck in specks:
            probabilities[..., group] *= ~speck[..., None]
        total = probabilities.sum(-1, keepdims=True)
        probabilities[..., :1] += total <= 0
        probabilities /= np.where(total > 0, total, 1)


def _fill_holes(probabilities: np.ndarray, background: np.ndarray, smallest: float) -> np.ndarray:
    """Removes the pieces of `background` (H, W) with fewer than `smallest` pixels, and their halo."""
    holes = _specks(background, smallest)
    if not holes.any():
        return probabilities
    filled = probabilities.copy()
    filled[..., 0] *= ~holes
    nearest = ndimage.distance_transform_edt(holes & background, return_distances=False, return_indices=True)
    filled = filled[tuple(nearest)]
    return filled / filled.sum(-1, keepdims=True)


def _specks(inside: np.ndarray, smallest: float) -> np.ndarray:
    """Pixels (H, W) nearest to a piece of `inside` with fewer than `smallest` pixels."""
    pieces, _ = ndimage.label(inside, structure=np.ones((3, 3)))
    small = np.bincount(pieces.ravel()) < smallest
    small[0] = False  # piece 0 is what lies outside
    if not small.any():
        return np.zeros_like(inside)
    nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    return small[pieces[tuple(nearest)]]


def found_classes(probabilities: np.ndarray, min_speck: float = 0.0) -> dict[str, float]:
    """The share of the photo of every class found in it, largest first; they add up to 1.

    Args:
      probabilities: (H, W, 21), or (H, W, 22) where the last is what masks claim.
      min_speck: percent of the photo; smaller pieces do not count.
    """
    cleaned = remove_specks(probabilities, SINGLE_CLASSES, min_speck)
    names = (*CLASSES, GIVEN)
    shares = np.bincount(cleaned.argmax(-1).ravel(), minlength=len(names)) / cleaned[..., 0].size
    return {names[index]: float(shares[index]) for index in np.argsort(-shares, kind="stable") if shares[index]}
