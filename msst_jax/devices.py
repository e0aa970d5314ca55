"""Settings of the device, for scripts to make before the first computation."""

import os


def make_repeatable() -> None:
    """Asks XLA for GPU kernels that give the same bits in every run, at some cost in speed.

    CPU and TPU do so anyway. The user's own XLA_FLAGS come later in the line and win.
    """
    os.environ["XLA_FLAGS"] = f"--xla_gpu_deterministic_ops=true {os.environ.get('XLA_FLAGS', '')}".strip()
