"""Whether the memory is there for an optimization: known once its first program is compiled, before it starts."""

import math
from collections.abc import Sequence

from msst_jax.errors import UserError
from msst_jax.optim.minimize import CompiledMinimizer
from msst_jax.optim.optimizer import Optimizer, OptimizerOptions, without_unused
from msst_jax.runtime.memory import available_memory, is_memory_shared
from msst_jax.transfer.listener import FEWER_RUNS
from msst_jax.transfer.options import StylizationOptions
from msst_jax.transfer.tiling import ScalePlan, evaluation_bytes, optimizer_bytes, target_bytes

GB = 10**9
SAID_FROM = GB  # bytes from which on the estimate is told
SHORT_HISTORY = 20  # pairs of L-BFGS that do nearly as well as the default
SIZE_STEP = 16  # pixels: an advised size is a multiple


def estimate_memory(
    options: StylizationOptions, compiled: CompiledMinimizer, scales: Sequence[ScalePlan]
) -> int | None:
    """Bytes that the largest of the scales takes of a memory; None where the compiler does not tell.

    What several devices share takes as much of the memory of each, or of one for all.

    The program of the first scale tells what an evaluation takes beside the state of the optimizer; that grows with
    `evaluation_bytes`. Measured at 256x256: 219 MB by this rule and 233 MB in truth (guided), 408 and 423 (separate).

    Args:
      options: the optimizer counts.
      compiled: the program of the first of the scales.
      scales: in order.
    """
    temporary = compiled.temporary_bytes
    if temporary is None:
        return None
    first = evaluation_bytes(options, scales[0])
    shared = is_memory_shared()
    later_targets = [0.0, *(target_bytes(options, scale) for scale in scales[1:])]  # those of the first are there
    return max(
        (math.floor(temporary * evaluation_bytes(options, scale) / first + later) + optimizer_bytes(options, scale))
        * (scale.devices if shared else 1)
        for scale, later in zip(scales, later_targets, strict=True)
    )


def check_memory(
    options: StylizationOptions, compiled: CompiledMinimizer, scales: Sequence[ScalePlan], fewer: str = FEWER_RUNS
) -> str | None:
    """What an optimization is going to take, in words, if that is much; arguments as in `estimate_memory`.

    Beyond those, `fewer` is what the user gives for fewer runs in the batch.

    Raises:
      UserError: the memory is not there; says what helps.
    """
    needed, available = estimate_memory(options, compiled, scales), available_memory()
    if needed is None or available is None:
        return None
    if needed > available:
        height, width = scales[-1].shape[-3:-1]
        raise UserError(
            f"{width}x{height} pixels take about {_gigabytes(needed)} of memory, and {_gigabytes(available)} are free; "
            f"give {' or '.join(_advice(options, scales, available / needed, fewer))}"
        )
    return f"about {_gigabytes(needed)} of memory" if needed >= SAID_FROM else None


def _advice(options: StylizationOptions, scales: Sequence[ScalePlan], share: float, fewer: str) -> list[str]:
    """What takes less memory than a run of which only a share of the memory is there."""
    runs, images, height, width, _ = scales[-1].shape
    smaller = math.floor(max(height, width) * math.sqrt(share) / SIZE_STEP) * SIZE_STEP
    longest, tiled = max(scale.evaluations for scale in scales), scales[-1].tiles > 1
    return [
        f"--config.size={max(smaller, SIZE_STEP)}",
        *([f"--config.history={SHORT_HISTORY}"] if _kept_pairs(options.optimizer, longest) > SHORT_HISTORY else []),
        *(["--config.remat=True"] if images > 1 and not (options.guided or options.remat or tiled) else []),
        *(["--config.tiles=auto"] if options.tiles else []),
        *([fewer] if runs > 1 else []),
    ]


def _kept_pairs(optimizer: Optimizer, evaluations: int) -> int:
    """The pairs that L-BFGS keeps in a run of so many evaluations; 0 of others."""
    fitted = without_unused(optimizer, evaluations)
    return fitted.history if isinstance(fitted, OptimizerOptions) else 0


def _gigabytes(number: float) -> str:
    return f"{number / GB:.1f} GB"
