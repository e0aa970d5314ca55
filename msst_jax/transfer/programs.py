"""Compiled programs that several optimizations share: those whose problems differ only in their arrays."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import jax
from jax.tree_util import Partial

from msst_jax.optim.minimize import CompiledMinimizer, compile_minimizer
from msst_jax.optim.optimizer import OptimizerOptions, build_optimizer


class Programs:
    """Keeps what was compiled."""

    def __init__(self) -> None:
        self._compiled: dict[Hashable, CompiledMinimizer] = {}
        self._shapes: set[tuple[int, ...]] = set()

    def know(self, pixels: jax.Array) -> bool:
        """Whether a program for pixels of this shape was compiled, which need not be the one that is needed."""
        return pixels.shape in self._shapes

    def compile(
        self,
        optimizer: OptimizerOptions,
        loss: Partial,
        pixels: jax.Array,
        runs: Any,
        evaluations: int,
        announce: Callable[[], None],
    ) -> CompiledMinimizer:
        """The minimizer of a problem; one that was compiled before took no seconds.

        Args:
          optimizer: what moves the pixels.
          loss: see `build_objective`.
          pixels: the first ones, (runs, images, H, W, 3).
          runs: as `loss`.
          evaluations: planned.
          announce: called before a compilation, if the shape of the pixels was known.
        """
        key = _program_key(optimizer, evaluations, loss.func, (loss.args, loss.keywords, pixels, runs))
        if key in self._compiled:
            return self._compiled[key]._replace(seconds=0.0)
        if self.know(pixels):
            announce()
        compiled = compile_minimizer(loss, pixels, build_optimizer(optimizer, evaluations), runs=runs)
        self._compiled[key] = compiled
        self._shapes.add(pixels.shape)
        return compiled


def _program_key(optimizer: OptimizerOptions, evaluations: int, function: Hashable, arrays: Any) -> Hashable:
    """Equal for problems with the same program: `arrays` enter with their structure, shapes and types."""
    leaves, structure = jax.tree.flatten(arrays)
    kept = replace(optimizer, history=min(optimizer.history, evaluations))
    return function, kept, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


_SHARED: ContextVar[Programs | None] = ContextVar("shared programs", default=None)


@contextmanager
def shared_programs() -> Iterator[None]:
    """Inside, an optimization uses the programs of those before it."""
    token = _SHARED.set(Programs())
    try:
        yield
    finally:
        _SHARED.reset(token)


def current_programs() -> Programs:
    """Those of `shared_programs`, else new ones."""
    return _SHARED.get() or Programs()
