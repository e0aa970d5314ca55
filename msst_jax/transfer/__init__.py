"""Style transfer over arrays: inputs, typed options, objective, coarse-to-fine optimization."""
