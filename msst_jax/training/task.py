"""What a training task is: a model, a loss, an evaluation, and how the result is saved."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from PIL import Image

Params = Any
Batch = Mapping[str, Any]
Terms = dict[str, jax.Array]


class Evaluation(NamedTuple):
    """What a task says of its parameters."""

    scalars: dict[str, float]
    picture: Image.Image
    """A sheet to look at; always of the same photos."""


class Task(NamedTuple):
    """A model, a loss and an evaluation, and how what was learned is written."""

    init: Callable[[jax.Array], Params]
    """Random key to parameters."""
    loss: Callable[[Params, Any, Batch, jax.Array], tuple[jax.Array, Terms]]
    """(parameters, frozen, batch, key) to the mean loss over the batch and its terms, means too."""
    frozen: Any
    """Arrays that the loss reads and training does not change."""
    evaluate: Callable[[Params], Evaluation]
    save: Callable[[Path, Params], None]
    """Writes parameters to a file in the form in which they are used."""
    score: str = ""
    """Scalar of the evaluation that is to be as high as can be: the best parameters are saved. "" = the newest."""


class TaskSpec(NamedTuple):
    """What a kind of task needs to know, and has read, before a run begins; its data are photos with masks."""

    regions: Sequence[str]
    """Names of the masks; "background" is one of them."""
    build: Callable[[Batch], Task]
    """Held-out photos and masks, a batch like those of training, to the task."""
