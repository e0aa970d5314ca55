"""Loss (cross-entropy plus soft Jaccard) and metric (IoU) of binary segmentation."""

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.losses.objective import Terms

JACCARD_WEIGHT = 0.5  # factor of the Jaccard loss; that of the cross-entropy is 1


def segmentation_loss(scores: jax.Array, masks: jax.Array) -> tuple[jax.Array, Terms]:
    """Cross-entropy, plus the Jaccard loss of the person class, each a mean over the photos.

    Args:
      scores: logits (N, H, W, 2), background and person.
      masks: (N, H, W, 2) in [0, 1]; their sum is 1, or 0 at unlabeled pixels, which are ignored.

    Returns:
      The loss and its weighted terms "entropy" and "jaccard".

    Source of the Jaccard loss, 1 minus a soft intersection over union: Rahman & Wang 2016 (Optimizing
    Intersection-Over-Union in Deep Neural Networks for Image Segmentation).
    """
    labeled = masks.sum(-1)
    counts = jnp.maximum(labeled.sum((1, 2)), 1)
    entropy = -(masks * jax.nn.log_softmax(scores)).sum((1, 2, 3)) / counts
    predicted, truth = jax.nn.softmax(scores)[..., 1] * labeled, masks[..., 1]
    intersection = (predicted * truth).sum((1, 2))
    union = (predicted + truth - predicted * truth).sum((1, 2))
    jaccard = 1 - (intersection + 1) / (union + 1)
    terms = {"entropy": entropy.mean(), "jaccard": JACCARD_WEIGHT * jaccard.mean()}
    return terms["entropy"] + terms["jaccard"], terms


def intersection_over_union(scores: np.ndarray, masks: np.ndarray) -> float:
    """IoU of the person class over all labeled pixels of all photos; arguments as `segmentation_loss`."""
    labeled = masks.sum(-1) > 0.5
    predicted, truth = (scores[..., 1] > scores[..., 0]) & labeled, masks[..., 1] > 0.5
    return float((predicted & truth).sum() / max((predicted | truth).sum(), 1))
