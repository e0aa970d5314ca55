"""Optimizers of images: L-BFGS, its preconditioner, the minimizer loop."""
