"""What a training step costs in operations, and what share of the devices' peak a speed is: model FLOPs utilization."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from msst_jax.runtime.device_peaks import peak_flops
from msst_jax.runtime.flops import count_flops


class StepCost(NamedTuple):
    """The operations of a step, and what the devices could do."""

    flops_per_photo: float
    """Of products and convolutions, forward and backward, in the network and in the VGG of the losses."""
    peak: float | None
    """FLOP/s of all devices of all hosts; None where it is not known."""
    devices: int

    def utilization(self, photos_per_second: float) -> dict[str, float]:
        """{"mfu": share of the peak in [0, 1]}, nothing where the peak is not known.

        Source: model FLOPs utilization, Chowdhery et al. 2022 (arXiv:2204.02311), appendix B.
        """
        return {"mfu": photos_per_second * self.flops_per_photo / self.peak} if self.peak else {}

    def describe(self, seconds: float) -> str:
        """A line for the log, after the first step."""
        of = f"; {self.devices} x {self.peak / self.devices / 1e12:.4g} TFLOP/s at most" if self.peak else ""
        flops = f"{self.flops_per_photo / 1e9:.4g} GFLOP a photo"
        return f"first step after {seconds:.1f} s, compilation included; {flops}{of}"


def step_cost(
    step: Callable[..., Any], arguments: tuple[Any, ...], batch: int, devices: Sequence[jax.Device] | None = None
) -> StepCost:
    """Traces a step, or reads the trace of one that has run, without compiling it.

    Args:
      step: from `step.data_parallel`.
      arguments: state, frozen arrays and batch of this host, arrays or their shapes.
      batch: photos of a step, over all devices of all hosts.
      devices: those of all hosts; None = all that JAX sees.
    """
    devices = devices or jax.devices()
    of_one_device = count_flops(jax.make_jaxpr(step)(*arguments).jaxpr)
    peak = peak_flops(devices[0].device_kind)
    return StepCost(of_one_device * len(devices) / batch, peak * len(devices) if peak else None, len(devices))
