"""Trains the feed-forward model, or the person segmenter; `python train.py --help` tells how."""

from msst_jax.cli.entry import train

if __name__ == "__main__":
    train()
