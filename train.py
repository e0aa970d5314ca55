"""Trains the feed-forward model, or the person segmenter; `python train.py --help` tells how."""

import sys

if __name__ == "__main__":
    try:
        from msst_jax.cli.entry import train

        train()
    except KeyboardInterrupt:  # before `train` does the same: nothing can be shared while nothing is imported
        print("train.py: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
