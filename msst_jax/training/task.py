"""The interface of a training task: model, loss, evaluation, export."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from msst_jax.io.fingerprint import Fingerprint
from msst_jax.losses.objective import Terms

Params = Any
Batch = Mapping[str, Any]


class Evaluation(NamedTuple):
    """The metrics of parameters on held-out photos."""

    scalars: dict[str, float]
    picture: Image.Image
    """A sheet of sample outputs, always of the same photos."""


class Task(NamedTuple):
    """A model, its loss and evaluation, and how its parameters are exported."""

    init: Callable[[jax.Array], Params]
    """Random key to parameters."""
    loss: Callable[[Params, Any, Batch, jax.Array], tuple[jax.Array, Terms]]
    """(parameters, frozen, batch, key) to the loss and its terms, each a mean over the batch. A batch has "photo",
    uint8 (N, S, S, 3), and "masks", float32 (N, S, S, K) in multiples of 1/255: their sum is 1, beyond the photo 0."""
    frozen: Any
    """Arrays that the loss reads and training does not update."""
    evaluate: Callable[[Params], Evaluation]
    save: Callable[[Path, Params], None]
    """Exports parameters to a weights file for inference."""
    score: str = ""
    """Scalar of the evaluation by which the best parameters (highest score) are exported; "" = the newest ones."""
    rate: Callable[[str], float] | None = None
    """Factor of the learning rate of the parameter with a module path; None = 1 for all."""


class TaskSpec(NamedTuple):
    """A task whose own files are read and checked, before the photos and masks are opened."""

    regions: Sequence[str]
    """Names of the masks, including "background"."""
    build: Callable[[Batch], Task]
    """Held-out photos and masks, a batch like those of the loss, to the task."""
    draw: Callable[[np.random.Generator], dict[str, np.ndarray]] | None = None
    """What the loss draws at random for each photo: further fields of the batch. It lies with the photos, so that it is
    the same on any number of devices and after a resume."""
    files: Mapping[str, Fingerprint] = MappingProxyType({})
    """Further files that the task reads, by the field of the config that names them: a run goes on with the same."""
    given: Sequence[str] = ()
    """Names of further masks, which are read where --masks has them and are no regions: the last channels."""
