"""PyTorch as a fair opponent: on the same device, its autotuner on, and products rounded as JAX rounds them there."""

from typing import TYPE_CHECKING

import jax

from msst_jax.errors import UserError

if TYPE_CHECKING:
    import torch


def torch_device() -> str:
    """The device for PyTorch, the GPU if JAX uses one, set up as JAX is.

    Raises:
      UserError: JAX uses a GPU that this PyTorch cannot use: its figures would be those of a CPU.
    """
    import torch

    if jax.default_backend() != "gpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise UserError(
            f"JAX uses {jax.devices()[0].device_kind}, and torch {torch.__version__} no GPU; install a torch for CUDA, "
            "or set JAX_PLATFORMS=cpu"
        )
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")  # TF32, as JAX's default precision is on a GPU
    return "cuda"


def waited(tensor: "torch.Tensor") -> "torch.Tensor":
    """The tensor, once its device has computed it."""
    import torch

    if tensor.is_cuda:
        torch.cuda.synchronize()
    return tensor


def described_device() -> str:
    """`torch_device`, and what to say of the programs of both sides there."""
    device = torch_device()
    return device if device == "cpu" else f"{device} with cudnn.benchmark, products in TF32 on both sides"
