"""Data-parallel training: the step, the loop, checkpoints, metrics, the workdir."""
