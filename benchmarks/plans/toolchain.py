"""The compiler of an NVIDIA GPU on a machine without one: where it lies, and the process that can use it.

Extra `gpu-aot`: the plugin of JAX for CUDA, NVIDIA's assembler and its device library. A process that has them in its
path and sees no GPU cannot start JAX there, so they are used by one of its own, whose JAX computes on the CPU.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from jax.experimental import topologies

from msst_jax.errors import UserError

FOLDER = "MSST_GPU_AOT"
"""Environment variable: the folder of `pip install --target` with the packages of the extra, if they lie apart."""
PLUGIN = "jax_cuda13_plugin"
TOOLS = Path("nvidia", "cu13")
DESCRIPTION = Path(__file__).with_name("h100.txtpb")

# Without times to choose by, XLA takes a tiling for its own matrix products that does not fit all shapes.
WITHOUT_AUTOTUNER = ("--xla_gpu_enable_triton_gemm=false",)


def find_toolchain() -> Path:
    """The folder that holds the packages of the extra.

    Raises:
      UserError: they are nowhere.
    """
    spec = importlib.util.find_spec(PLUGIN)
    installed = Path(spec.origin).parents[1] if spec and spec.origin else None
    place = os.environ.get(FOLDER)
    folder = Path(place) if place else installed
    if folder is None or not (folder / PLUGIN).is_dir() or not (folder / TOOLS / "bin" / "ptxas").exists():
        raise UserError(
            f"the compiler for NVIDIA's GPUs is not at {folder or 'hand'}; install the packages of the "
            f"extra gpu-aot, of JAX's version, with pip --target into a folder of their own, and set {FOLDER} to it"
        )
    return folder


def environment(folder: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that computes on the CPU and compiles for the GPU."""
    tools = folder / TOOLS
    paths = [str(folder), base.get("PYTHONPATH", "")]
    return {
        **base,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join(
            [f"--xla_gpu_cuda_data_dir={tools}", *WITHOUT_AUTOTUNER, base.get("XLA_FLAGS", "")]
        ).strip(),
        "PATH": os.pathsep.join([str(tools / "bin"), base.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        FOLDER: str(folder),
    }


def command(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line of such a process."""
    return [sys.executable, "-m", module, *arguments]


def h100() -> jax.Device:
    """An H100 that can only be compiled for; in a process with `environment`."""
    return _h100s(1)[0]


def h100_node() -> list[jax.Device]:
    """Eight of them, of one host."""
    return _h100s(8)


def _h100s(count: int) -> list[jax.Device]:
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name="", target_config=DESCRIPTION.read_text(), topology=f"1x1x{count}"
    )
    return list(topology.devices)
