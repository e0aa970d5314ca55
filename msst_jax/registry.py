"""Open registries: segmenters, training tasks and stylizers of the user's, by name.

Low in the house, and without a heavy import: a module that registers something costs nothing until that is used, since
every entry is a function that builds. What is in the package is not registered; its names are reserved.
"""

import difflib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from msst_jax.errors import UnknownNameError, UserError, first_line

BACKGROUND = "background"
IMPORT_HINT = "one of your own needs --import MODULE"
Entry = TypeVar("Entry")


class SegmenterEntry(NamedTuple):
    """A registered segmenter.

    Attributes:
      build: makes the function that segments, see `register_segmenter`.
      classes: names of its channels.
    """

    build: Callable[[], Callable[[Any], Any]]
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes with the background, which comes first; without a channel it is what the others leave."""
        return (BACKGROUND, *(name for name in self.classes if name != BACKGROUND))


class StylizerEntry(NamedTuple):
    """A registered architecture of feed-forward models.

    Attributes:
      build: makes the network, see `register_stylizer`.
      weights: the file of a trained model that the name stands for; None = only an architecture.
    """

    build: Callable[..., Any]
    weights: Path | None


class Registry(Generic[Entry]):
    """Entries by name."""

    def __init__(self, kind: str, reserved: Iterable[str], words: Iterable[str] = ()):
        """An empty registry.

        Args:
          kind: of the entries, for errors.
          reserved: names of what is in the package.
          words: further names with a meaning of their own.
        """
        self.kind = kind
        self.reserved = tuple(reserved)
        self._taken = (*self.reserved, *words)
        self._entries: dict[str, Entry] = {}

    def __contains__(self, name: object) -> bool:
        """Whether a name is registered; those of the package are not."""
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names, in the order of their registration."""
        return tuple(self._entries)

    def add(self, name: str, entry: Entry, *, replace: bool = False) -> None:
        """Registers an entry.

        Raises:
          UserError: the name is empty or no identifier, or it is taken and `replace` is false, or it is reserved.
        """
        check_name(name, self.kind)
        if name in self._taken:
            raise UserError(f"{self.kind} {name!r} is taken by the package ({_join(self._taken)}); choose another name")
        if name in self._entries and not replace:
            raise UserError(f"{self.kind} {name!r} is registered already; choose another name, or give replace=True")
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Takes an entry back, if it is there."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
          UnknownNameError: it is not registered; names the nearest one.
        """
        if name not in self._entries:
            raise UnknownNameError(f"there is no {self.kind} {name!r}; {self.alternatives(name)}")
        return self._entries[name]

    def alternatives(self, name: str, more: str = "") -> str:
        """What to give in place of a name that is unknown: the nearest one, or all.

        Args:
          name: as the user gives it.
          more: what else may be given, such as "a file".
        """
        known = (*self.reserved, *self._entries)
        similar = difflib.get_close_matches(name, known, 1)
        meant = f"did you mean {similar[0]}?" if similar else f"use one of {_join(filter(None, [*known, more]))}"
        return f"{meant}; {IMPORT_HINT}"


def call(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of the user's.

    Args:
      what: names it in errors, such as "segmenter sky".
      function: the function.
      arguments: of the call.

    Raises:
      UserError: the function raises one, or fails otherwise; says where.
    """
    try:
        return function(*arguments)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{what} fails in {place.filename}, line {place.lineno} ({reason}); mend it") from error


def check_name(name: object, kind: str) -> None:
    """Raises UserError for a name that is empty, or not made of letters, digits, _ and -."""
    if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
        raise UserError(f"{kind} {name!r}: a name is made of letters, digits, _ and -, and starts with a letter")


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


SEGMENTERS: Registry[SegmenterEntry] = Registry(
    "segmenter",
    (
        "deeplabv3_resnet101",
        "deeplabv3_resnet50",
        "deeplabv3_mobilenet_v3_large",
        "deeplabv3_efficientnet_lite0",
        "person_vgg16",
    ),
)
TASKS: Registry[Callable[[Any, Mapping[str, str]], Any]] = Registry("task", ("stylizer", "any_stylizer", "segmenter"))
ARCHITECTURE = "region_stylizer"  # of the package
STYLIZERS: Registry[StylizerEntry] = Registry(
    "architecture",
    (ARCHITECTURE,),
    words=("builtin", "any", "kandinsky_wave", "starry_wheat", "any_stylizer", "stylizer"),
)


def register_segmenter(
    name: str,
    build: Callable[[], Callable[[Any], Any]],
    classes: Sequence[str],
    *,
    replace: bool = False,
) -> None:
    """Registers a segmenter with class names of its own, for --segmenter NAME and config.segmenter.

    Args:
      name: letters, digits, _ and -.
      build: called once, when the segmenter is first needed; returns a function from a photo, float32 (H, W, 3) in
        [0, 1], sRGB, to the probability of every class at every pixel, (H, W, C) in [0, 1], as NumPy or JAX array.
      classes: the C names of its channels. Without "background", that is what the others leave of 1.
      replace: of an earlier registration, as when the cell of a notebook runs again.

    Raises:
      UserError: a name that cannot be one, or is taken; no classes, or one twice.
    """
    names = tuple(classes) if not isinstance(classes, str) else (classes,)
    for one in names:
        check_name(one, f"segmenter {name!r}: class")
    if not set(names) - {BACKGROUND} or len(set(names)) != len(names):
        raise UserError(f"segmenter {name!r} has the classes {_join(names) or 'none'}; name each of its regions once")
    _check_callable(f"segmenter {name!r}", "build", build)
    SEGMENTERS.add(name, SegmenterEntry(build, names), replace=replace)


def register_task(name: str, load: Callable[[Any, Mapping[str, str]], Any], *, replace: bool = False) -> None:
    """Registers a task of the trainer, for config.task.

    Args:
      name: letters, digits, _ and -.
      load: called with the config (`ml_collections.ConfigDict`) and the styles, {region: file}; returns a
        `msst_jax.training.task.TaskSpec`. It checks its own fields of the config, and raises UserError.
      replace: of an earlier registration.

    Raises:
      UserError: a name that cannot be one, or is taken.
    """
    _check_callable(f"task {name!r}", "load", load)
    TASKS.add(name, load, replace=replace)


def register_stylizer(
    name: str, build: Callable[..., Any], *, weights: str | Path | None = None, replace: bool = False
) -> None:
    """Registers an architecture of feed-forward models, for config.architecture of train.py.

    Models that are trained with it name it in their file, so that --model DIR builds it again.

    Args:
      name: letters, digits, _ and -.
      build: called as build(styles, config, dtype, rngs) with the number of styles S, the config of the training
        ({field: value}), the compute dtype and `nnx.Rngs`; returns an `nnx.Module` that is called as
        network(images, masks, mixtures) like `msst_jax.models.stylizer.Stylizer`: images (N, H, W, 3), normalized, and
        masks (N, H, W, K) to pictures (N, H, W, 3) in [0, 1]. It is also called abstractly (`nnx.eval_shape`).
      weights: the file of a trained model; with it, the name itself is one: --model NAME.
      replace: of an earlier registration.

    Raises:
      UserError: a name that cannot be one, or is taken.
    """
    _check_callable(f"stylizer {name!r}", "build", build)
    STYLIZERS.add(name, StylizerEntry(build, None if weights is None else Path(weights).expanduser()), replace=replace)


def _check_callable(what: str, argument: str, value: object) -> None:
    if not callable(value):
        raise UserError(f"{what}: {argument} is {value!r}, and must be a function; see its documentation")
