"""Cross-entropy and Jaccard loss of a two-class segmentation, and its intersection over union."""

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.training.task import Terms

JACCARD_WEIGHT = 0.5  # factor of the Jaccard loss beside the cross-entropy


def segmentation_loss(scores: jax.Array, masks: jax.Array) -> tuple[jax.Array, Terms]:
    """Cross-entropy and the Jaccard loss of the person, each a mean over the photos.

    Args:
      scores: (N, H, W, 2), background and person.
      masks: (N, H, W, 2) in [0, 1]; their sum is 1, or 0 at a pixel that nothing is known of.

    Returns:
      The loss and its weighted terms "entropy" and "jaccard".

    Source of the Jaccard loss, 1 minus a soft intersection over union: Rahman & Wang 2016 (Optimizing
    Intersection-Over-Union in Deep Neural Networks for Image Segmentation).
    """
    known = masks.sum(-1)
    counts = jnp.maximum(known.sum((1, 2)), 1)
    entropy = -(masks * jax.nn.log_softmax(scores)).sum((1, 2, 3)) / counts
    found, truth = jax.nn.softmax(scores)[..., 1] * known, masks[..., 1]
    both = (found * truth).sum((1, 2))
    either = (found + truth - found * truth).sum((1, 2))
    jaccard = 1 - (both + 1) / (either + 1)
    terms = {"entropy": entropy.mean(), "jaccard": JACCARD_WEIGHT * jaccard.mean()}
    return terms["entropy"] + terms["jaccard"], terms


def intersection_over_union(scores: np.ndarray, masks: np.ndarray) -> float:
    """Of the person, over all pixels of all photos that something is known of; arguments as `segmentation_loss`."""
    known = masks.sum(-1) > 0.5
    found, truth = (scores[..., 1] > scores[..., 0]) & known, masks[..., 1] > 0.5
    return float((found & truth).sum() / max((found | truth).sum(), 1))
