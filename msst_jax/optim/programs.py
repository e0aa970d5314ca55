"""Compiled minimizers that serve again: problems that differ only in their arrays, such as photos of one size."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax

from msst_jax.ops.ambient_precision import ambient_precision
from msst_jax.ops.picture_split import split_of
from msst_jax.optim.minimize import CompiledMinimizer, compile_minimizer
from msst_jax.optim.optimizer import Optimizer, build_optimizer, without_unused

KEPT_PROGRAMS = 8  # of a run over many sizes: four at two scales, such as photos on edge and lying of two cameras

Problem = tuple[jax.tree_util.Partial, Any]
"""The loss and the runs, as in `minimize`."""


@dataclass(frozen=True)
class Bound:
    """A function with its first arguments. Unlike those of functools.partial, two that are made alike are equal."""

    function: Callable[..., Any]
    arguments: tuple[Hashable, ...]

    def __call__(self, *more: Any) -> Any:
        """The function of all the arguments."""
        return self.function(*self.arguments, *more)


def bind(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """The function with its first arguments, as `Bound`; if one of these has no hash, equal to nothing but itself."""
    bound = Bound(function, arguments)
    try:
        hash(bound)
    except TypeError:
        return partial(function, *arguments)
    return bound


class _Key(NamedTuple):
    """What a program was compiled for: equal for problems that it serves."""

    optimizer: Optimizer
    pixels: Hashable
    """Shape and type, as those of the arrays, and where they are."""
    structure: Hashable
    arrays: tuple[Hashable, ...]
    products: str | None
    """See `ambient_precision`."""


class Programs:
    """The minimizers that its owner has needed; they are kept as long as it is."""

    def __init__(self, kept: int | None = None):
        """Starts without any.

        Args:
          kept: how many at most, each of which takes tens of megabytes; None = all. Before one more is compiled, all of
            them are dropped, and all else that jax has compiled in this process, which keeps them alive.
        """
        self._kept = kept
        self._compiled: dict[_Key, CompiledMinimizer] = {}

    def minimizer(
        self,
        optimizer: Optimizer,
        problem: Callable[[], Problem],
        pixels: jax.Array,
        evaluations: int,
        *,
        on_compile: Callable[[], None],
    ) -> tuple[CompiledMinimizer, jax.tree_util.Partial, Any]:
        """The program for a problem, whose `seconds` are 0 if an earlier problem has left it; the loss and the runs.

        Args:
          optimizer: see `Optimizer`; one that is given as it is must be the same object to serve again.
          problem: gives the loss and the runs; for the program to serve others, the loss must be made of `bind`.
          pixels: the initial ones.
          evaluations: that will be made at most.
          on_compile: called before a compilation; if no program is for such pixels, already before the problem is
            built, which then compiles, too.
        """
        of_pixels = jax.typeof(pixels), pixels.sharding
        known = any(key.pixels == of_pixels for key in self._compiled)
        if not known:
            on_compile()
        loss, runs = problem()
        arrays, structure = jax.tree.flatten((loss, runs))
        fitted = without_unused(optimizer, evaluations)
        key = _Key(fitted, of_pixels, structure, tuple(map(jax.typeof, arrays)), ambient_precision())
        if key in self._compiled:
            return self._compiled[key]._replace(seconds=0.0), loss, runs
        if known:
            on_compile()
        if len(self._compiled) == self._kept:
            self._compiled.clear()
            jax.clear_caches()
        transform = build_optimizer(optimizer, evaluations, split_of(pixels))
        compiled = compile_minimizer(loss, pixels, transform, runs=runs)
        self._compiled[key] = compiled
        return compiled, loss, runs
