"""What a caller gives to look on: a function that sees pictures, and what ends a run early."""

import threading
from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np

from msst_jax.api.presets import check_callable, positive_integer
from msst_jax.errors import UserError
from msst_jax.transfer.listener import Listener, Preview

OnPicture: TypeAlias = Callable[[int, np.ndarray], object]
"""on_picture(evaluation counted from 1, picture float32 (H, W, 3) in [0, 1])."""
Stop: TypeAlias = threading.Event | Callable[[], bool]
"""An event, or a function without arguments that returns whether to end."""


class _Asked(threading.Event):
    """An event that is set once a function has returned true."""

    def __init__(self, asked: Callable[[], bool]):
        super().__init__()
        self._asked = asked

    def is_set(self) -> bool:
        """Whether the function has returned true, now or before."""
        if not super().is_set() and self._asked():
            self.set()
        return super().is_set()


def stop_event(stop: Stop | None) -> threading.Event | None:
    """The event of an argument `stop`; UserError if it is neither an event nor a function."""
    if stop is None or isinstance(stop, threading.Event):
        return stop
    if not callable(stop):
        raise UserError(f"stop is of the type {type(stop).__name__}; give a threading.Event or a function")
    return _Asked(stop)


def picture_listener(on_picture: OnPicture | None, every: int) -> Listener:
    """Shows the best picture so far after every so many evaluations; UserError for arguments that cannot be used."""
    every = positive_integer(every, "every")
    if on_picture is None:
        return Listener()
    check_callable(on_picture, "on_picture", "evaluation, picture")

    def show(evaluation: int, images: jax.Array) -> None:
        on_picture(evaluation, np.asarray(images)[0])

    return Listener(preview=Preview(every, show))
