"""Training of a fast model on many accelerators: configs/fast.py with a batch of 256 photos in bfloat16.

    python train.py --config fast_pod --workdir DIR --photos DIR --style person=A.jpg --style background=B.jpg

The rules by which another batch follows from configs/fast.py, here and for a batch of one's own:
- Steps are stated as photos seen: a run of fast.py sees 320,000. A large batch takes fewer, less noisy steps, and gets
  twice the photos here.
- Adam's learning rate goes with the square root of the batch (Malladi et al. 2022, arXiv:2205.10287), up to a bound,
  and the warm-up is a tenth of the steps.
- The decay of the moving average is that of fast.py for each photo.
Written for accelerators that no run of it has seen yet; the rules are those of the literature, not tuned here.
"""

from ml_collections import ConfigDict

from msst_jax.configs import fast

BATCH = 256
PHOTOS = 640_000
MAX_LEARNING_RATE = 4e-3  # Adam's first steps destroy the network's normalization with more


def get_config() -> ConfigDict:
    """The config of train.py for a pod or a cluster."""
    config = fast.get_config().unlock()
    growth = BATCH / config.batch
    config.precision = "bfloat16"
    config.batch = BATCH
    config.steps = PHOTOS // BATCH
    config.learning_rate = min(config.learning_rate * growth**0.5, MAX_LEARNING_RATE)
    config.warmup = config.steps // 10
    config.ema = config.ema**growth
    config.sample_every = 250
    config.checkpoint_every = 250
    config.keep_every = 0
    return config.lock()
