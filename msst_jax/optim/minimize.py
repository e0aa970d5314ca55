"""Minimizes a loss over pixels: one jitted step of any optax transformation, looped on the host."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding

from msst_jax.errors import UserError
from msst_jax.ops.batch_split import SHARE, WHOLE, BatchSplit, batch_split_of
from msst_jax.ops.picture_split import PictureSplit, split_of
from msst_jax.runtime.interrupt import interrupt_event

Loss = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
"""loss(pixels) -> (scalar, {term name: scalar}), or loss(pixels, run) if batched."""

# The host dispatches this many evaluations ahead of the device, so that neither waits for the other.
DISPATCH_AHEAD = 2


class MinimizerState(NamedTuple):
    """The state carried from one evaluation to the next; if batched, every leaf has a leading axis."""

    pixels: jax.Array
    transform: optax.OptState
    best_pixels: jax.Array
    best_loss: jax.Array
    alive: jax.Array
    """False once the loss or the pixels were not finite; `pixels` are then frozen at the best."""


StepOutput = tuple[MinimizerState, dict[str, jax.Array], jax.Array]
"""Result of one evaluation: the state, "total" and the terms before the update, and whether the run is alive."""


class Solution(NamedTuple):
    """Result of the loop; if batched, every array has a leading axis."""

    pixels: np.ndarray
    """After the last update (the best, if the run failed), of the shape that was given."""
    best_pixels: np.ndarray
    """Those with the smallest evaluated loss."""
    best_loss: np.ndarray
    """Their loss."""
    losses: dict[str, np.ndarray]
    """"total" and each term at every evaluation, shape (evaluations,) or (B, evaluations)."""
    finite: np.ndarray
    """False where the run fell back to the best pixels because a loss or a pixel was not finite."""
    interrupted: bool
    """Whether `stop`, or Ctrl-C, has ended it early."""
    compile_seconds: float
    """Of the compilation."""
    run_seconds: float
    """Of the loop."""


class CompiledMinimizer(NamedTuple):
    """A step compiled for one loss function and one shape of pixels; the loss's arrays may change between runs."""

    step: jax.stages.Compiled
    start: Callable[[jax.Array], MinimizerState]
    function: Callable[..., Any]
    seconds: float
    """Of the compilation; 0 if it was made for an earlier problem."""

    @property
    def temporary_bytes(self) -> int | None:
        """What a step takes beside its arguments and results; None where the compiler does not tell."""
        analysis = self.step.memory_analysis()
        return None if analysis is None else int(analysis.temp_size_in_bytes)


def clip_to_range(pixels: jax.Array) -> jax.Array:
    """Keeps pixels in [0, 1]."""
    return jnp.clip(pixels, 0.0, 1.0)


def minimize(
    loss: Loss,
    pixels: jax.Array | np.ndarray,
    transform: optax.GradientTransformation,
    evaluations: int,
    *,
    runs: Any = None,
    project: Callable[[jax.Array], jax.Array] = clip_to_range,
    on_evaluation: Callable[[int, float], None] | None = None,
    stop: threading.Event | None = None,
) -> Solution:
    """Minimizes `loss` over `pixels`, one evaluation and one update of `transform` at a time.

    One step is jitted and the loop runs on the host: on CPU a loop inside XLA is about twice as slow.
    Ctrl-C ends the loop after the current evaluation and returns the result so far.

    Args:
      loss: `loss(pixels) -> (scalar, terms)`, terms a dict of scalars. A `jax.tree_util.Partial`
        keeps its large arrays out of the compiled program.
      pixels: the initial pixels, floats; any shape, in the range of `project`.
      transform: any optax transformation, including those with a line search.
      evaluations: how many times loss and gradient are computed, at least 1.
      runs: None, or a pytree whose leaves have a leading axis of B: then pixels too have a leading
        axis B and B problems `loss(pixels[b], runs[b])` are minimized as one batch.
      project: projects pixels onto the feasible set after every update: by default the range of images, [0, 1]. For
        other variables give a function of your own, such as `lambda x: x`.
      on_evaluation: called as (evaluation counted from 1, loss summed over the runs), up to DISPATCH_AHEAD
        evaluations late.
      stop: ends the loop like Ctrl-C once it is set; see `interrupt_event`, which is used if None is given.

    Returns:
      The pixels, the best ones, and the loss with its terms at every evaluation; see `Solution`.

    Raises:
      ValueError: evaluations that are no integer of at least 1, a transform that is none of optax.
    """
    if not isinstance(evaluations, int | np.integer) or evaluations < 1:
        raise ValueError(f"evaluations must be an integer of at least 1, got {evaluations!r}")
    if not isinstance(transform, optax.GradientTransformation):
        raise ValueError(f"transform must be an optax transformation such as optax.adam(0.02), got {transform!r}")
    loss = loss if isinstance(loss, jax.tree_util.Partial) else jax.tree_util.Partial(loss)
    compiled = compile_minimizer(loss, jnp.asarray(pixels), transform, runs=runs, project=project)
    return run_minimizer(compiled, loss, pixels, evaluations, runs=runs, on_evaluation=on_evaluation, stop=stop)


def compile_minimizer(
    loss: jax.tree_util.Partial,
    pixels: jax.Array,
    transform: optax.GradientTransformation,
    *,
    runs: Any = None,
    project: Callable[[jax.Array], jax.Array] = clip_to_range,
) -> CompiledMinimizer:
    """Compiles a minimizer for problems that differ only in their arrays; arguments as in `minimize`.

    Pixels on several devices stay there, see `ops.picture_split` and, of runs that are divided, `ops.batch_split`; the
    loss and the runs must be on the same ones.
    """
    transform = optax.with_extra_args_support(transform)
    split = split_of(pixels) or batch_split_of(pixels)
    start = make_init(transform, batched=runs is not None, split=split)
    step, seconds = compile_step(loss, transform, project, jax.eval_shape(start, pixels), runs, split)
    return CompiledMinimizer(step, start, loss.func, seconds)


def run_minimizer(
    compiled: CompiledMinimizer,
    loss: jax.tree_util.Partial,
    pixels: jax.Array | np.ndarray,
    evaluations: int,
    *,
    runs: Any = None,
    on_evaluation: Callable[[int, float], None] | None = None,
    on_best: Callable[[int, jax.Array], None] | None = None,
    stop: threading.Event | None = None,
) -> Solution:
    """As `minimize`, with a minimizer compiled by `compile_minimizer` for the same loss function and shapes.

    Beyond its arguments, `on_best` is called as (evaluation counted from 1, best pixels so far) without delay: whoever
    reads the pixels waits for them. They may not be kept: the next evaluation takes their memory.
    """
    state = compiled.start(jnp.asarray(pixels))
    # A compiled step accepts only the very function it was compiled for, not an equal one.
    loss = jax.tree_util.Partial(compiled.function, *loss.args, **loss.keywords)
    start_time = time.perf_counter()
    history: list[tuple[dict[str, jax.Array], jax.Array]] = []
    reported = 0
    with interrupt_event() if stop is None else nullcontext(stop) as stop_event:
        for _ in range(evaluations):
            state, terms, alive = compiled.step(state, loss, runs)
            history.append((terms, alive))
            if on_best is not None:
                on_best(len(history), state.best_pixels)
            reported = _report(history, reported, len(history) - DISPATCH_AHEAD, on_evaluation)
            all_failed = reported > 0 and not np.any(history[reported - 1][1])
            if stop_event.is_set() or all_failed:
                break
        _report(history, reported, len(history), on_evaluation)
    return Solution(
        pixels=np.asarray(state.pixels),
        best_pixels=np.asarray(state.best_pixels),
        best_loss=np.asarray(state.best_loss),
        losses={name: np.stack([np.asarray(terms[name]) for terms, _ in history], -1) for name in history[0][0]},
        finite=np.asarray(state.alive),
        interrupted=stop_event.is_set(),
        compile_seconds=compiled.seconds,
        run_seconds=time.perf_counter() - start_time,
    )


def make_init(
    transform: optax.GradientTransformation, *, batched: bool, split: PictureSplit | BatchSplit | None = None
) -> Callable[[jax.Array], MinimizerState]:
    """Jitted `start(pixels)`: the state before the first evaluation. Its leaves can be donated.

    `split` is how the pixels lie on several devices, and so does all of the state that has their shape; where
    the runs are divided, all of it.

    Jitted, because `jax.vmap` outside of jit creates every array twice: L-BFGS's history was the peak of memory.
    """
    init = jax.vmap(transform.init) if batched else transform.init

    def start(pixels: jax.Array) -> MinimizerState:
        runs = pixels.shape[:1] if batched else ()
        state = MinimizerState(
            pixels=pixels,
            transform=init(pixels),
            best_pixels=pixels,
            best_loss=jnp.full(runs, jnp.inf, pixels.dtype),
            alive=jnp.ones(runs, bool),
        )
        state = jax.tree.map(jnp.copy, state)  # jit returns an argument itself uncopied
        return state if isinstance(split, BatchSplit) else _placed(state, split)

    return jax.jit(start, **_result_shardings(split))


def state_bytes(transform: optax.GradientTransformation, pixels: jax.ShapeDtypeStruct, *, batched: bool) -> int:
    """Memory of the state for pixels of a shape."""
    state = jax.eval_shape(make_init(transform, batched=batched), pixels)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def compile_step(
    loss: Loss,
    transform: optax.GradientTransformationExtraArgs,
    project: Callable[[jax.Array], jax.Array],
    state: MinimizerState,
    runs: Any = None,
    split: PictureSplit | BatchSplit | None = None,
) -> tuple[jax.stages.Compiled, float]:
    """The compiled `step(state, loss, runs)`, which donates `state`, and the seconds of compilation.

    `split` as in `make_init`.
    """

    def single(state: MinimizerState, loss: Loss, *run: Any) -> StepOutput:
        return _step(state, lambda pixels: loss(pixels, *run), transform, project)

    def step(state: MinimizerState, loss: Loss, runs: Any) -> StepOutput:
        if runs is None:
            after, terms, alive = single(state, loss)
        else:
            after, terms, alive = jax.vmap(single, in_axes=(0, None, 0))(state, loss, runs)
        return after if isinstance(split, BatchSplit) else _placed(after, split), terms, alive

    mapped = split.of_shares(step, (SHARE, WHOLE, SHARE)) if isinstance(split, BatchSplit) else step
    if split is not None:
        state = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            *(state, _shardings(state, split)),
        )
    start_time = time.perf_counter()
    compiled = jax.jit(mapped, donate_argnums=0, **_result_shardings(split)).lower(state, loss, runs).compile()
    return compiled, time.perf_counter() - start_time


def _result_shardings(split: PictureSplit | BatchSplit | None) -> dict[str, Any]:
    """Those that `jax.jit` is to be told: of divided runs, whose zeros XLA would leave on every device."""
    return {"out_shardings": split.shares} if isinstance(split, BatchSplit) else {}


def _placed(state: MinimizerState, split: PictureSplit | None) -> MinimizerState:
    """The state of a program, on the devices of the pixels."""
    return state if split is None else jax.lax.with_sharding_constraint(state, _shardings(state, split))


def _shardings(state: MinimizerState, split: PictureSplit | BatchSplit) -> Any:
    """Those of a state: what has the shape of a picture lies as the pixels do, all else is on every device.

    Of runs that are divided, all that is of a run is on its device.
    """
    if isinstance(split, BatchSplit):
        return jax.tree.map(lambda _: split.shares, state)
    picture = state.pixels.shape[-3:]

    def sharding(leaf: jax.Array) -> NamedSharding:
        return split.sharding(leaf.ndim) if leaf.shape[-3:] == picture else split.everywhere

    return jax.tree.map(sharding, state)


def _step(
    state: MinimizerState,
    loss: Callable[[jax.Array], tuple[jax.Array, dict[str, jax.Array]]],
    transform: optax.GradientTransformationExtraArgs,
    project: Callable[[jax.Array], jax.Array],
) -> StepOutput:
    (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(state.pixels)
    better = jnp.isfinite(value) & (value < state.best_loss)
    best_pixels = jnp.where(better, state.pixels, state.best_pixels)
    updates, transform_state = transform.update(
        gradient, state.transform, state.pixels, value=value, grad=gradient, value_fn=lambda p: loss(p)[0]
    )
    new_pixels = project(optax.apply_updates(state.pixels, updates))
    alive = state.alive & jnp.isfinite(value) & jnp.all(jnp.isfinite(new_pixels))
    state = MinimizerState(
        pixels=jnp.where(alive, new_pixels, best_pixels),
        transform=transform_state,
        best_pixels=best_pixels,
        best_loss=jnp.where(better, value, state.best_loss),
        alive=alive,
    )
    if "total" in terms:
        raise UserError("a term of the loss is named 'total', the name of the terms' sum; rename it")
    return state, {"total": value, **terms}, alive


def _report(
    history: list[tuple[dict[str, jax.Array], jax.Array]],
    reported: int,
    until: int,
    on_evaluation: Callable[[int, float], None] | None,
) -> int:
    """Reports evaluations up to `until`; reading their loss blocks until the device has computed it."""
    for index in range(reported, until):
        total = float(np.sum(history[index][0]["total"]))
        if on_evaluation is not None:
            on_evaluation(index + 1, total)
    return max(reported, until)
