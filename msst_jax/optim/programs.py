"""Compiled minimizers that serve again: problems that differ only in their arrays, such as photos of one size."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax

from msst_jax.optim.minimize import CompiledMinimizer, compile_minimizer
from msst_jax.optim.optimizer import OptimizerOptions, build_optimizer


@dataclass(frozen=True)
class Bound:
    """A function with its first arguments. Unlike those of functools.partial, two that are made alike are equal."""

    function: Callable[..., Any]
    arguments: tuple[Hashable, ...]

    def __call__(self, *more: Any) -> Any:
        """The function of all the arguments."""
        return self.function(*self.arguments, *more)


class Programs:
    """The minimizers that its owner has needed; they are kept as long as it is."""

    def __init__(self, kept: int | None = None):
        """Starts without any.

        Args:
          kept: how many at most, each of which takes tens of megabytes; None = all. Before one more is compiled, all of
            them are dropped, and all else that jax has compiled in this process, which keeps them alive.
        """
        self._kept = kept
        self._compiled: dict[Hashable, CompiledMinimizer] = {}

    def minimizer(
        self,
        optimizer: OptimizerOptions,
        loss: jax.tree_util.Partial,
        pixels: jax.Array,
        evaluations: int,
        *,
        runs: Any,
        on_compile: Callable[[], None],
    ) -> CompiledMinimizer:
        """The program for a problem; its `seconds` are 0 if an earlier problem has left it.

        Args:
          optimizer: see `OptimizerOptions`.
          loss: as in `minimize`; to be equal to an earlier one, its function must be, see `Bound`.
          pixels: the initial ones.
          evaluations: that will be made at most.
          runs: as in `minimize`.
          on_compile: called before a compilation.
        """
        leaves, structure = jax.tree.flatten((loss, pixels, runs))
        key = (optimizer, evaluations, structure, tuple(map(jax.typeof, leaves)))
        if key in self._compiled:
            return self._compiled[key]._replace(seconds=0.0)
        if len(self._compiled) == self._kept:
            self._compiled.clear()
            jax.clear_caches()
        on_compile()
        compiled = compile_minimizer(loss, pixels, build_optimizer(optimizer, evaluations), runs=runs)
        self._compiled[key] = compiled
        return compiled
