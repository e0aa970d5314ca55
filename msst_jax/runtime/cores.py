"""The cores of this machine."""

import os


def available_cores() -> int:
    """The number of cores that this process may use; that of the machine where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
