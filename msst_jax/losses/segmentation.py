"""Loss (cross-entropy plus soft Jaccard) and metric (IoU) of segmentation into a background and one or more classes."""

import jax
import jax.numpy as jnp
import numpy as np

from msst_jax.losses.objective import Terms

JACCARD_WEIGHT = 0.5  # factor of the Jaccard loss; that of the cross-entropy is 1


def segmentation_loss(scores: jax.Array, masks: jax.Array) -> tuple[jax.Array, Terms]:
    """Cross-entropy, plus the Jaccard loss of the classes, each a mean over the photos.

    The Jaccard loss of a photo is the mean over the classes in it; without any, over all, whose false positives it
    counts. It depends on no other photo, so that a step is the same on any number of devices.

    Args:
      scores: logits (N, H, W, C), background and classes.
      masks: (N, H, W, C) in [0, 1]; their sum is 1, or 0 at unlabeled pixels, which are ignored.

    Returns:
      The loss and its weighted terms "entropy" and "jaccard".

    Source of the Jaccard loss, 1 minus a soft intersection over union: Rahman & Wang 2016 (Optimizing
    Intersection-Over-Union in Deep Neural Networks for Image Segmentation).
    """
    labeled = masks.sum(-1)
    counts = jnp.maximum(labeled.sum((1, 2)), 1)
    entropy = -(masks * jax.nn.log_softmax(scores)).sum((1, 2, 3)) / counts
    probabilities = jax.nn.softmax(scores)
    if scores.shape[-1] == 2:
        jaccard = _jaccard_losses(probabilities[..., 1] * labeled, masks[..., 1])
    else:
        losses = _jaccard_losses(probabilities[..., 1:] * labeled[..., None], masks[..., 1:])
        found = (masks[..., 1:] > 0.5).any((1, 2))
        counted = jnp.where(found.any(-1, keepdims=True), found, True)
        jaccard = (losses * counted).sum(-1) / counted.sum(-1)
    terms = {"entropy": entropy.mean(), "jaccard": JACCARD_WEIGHT * jaccard.mean()}
    return terms["entropy"] + terms["jaccard"], terms


def _jaccard_losses(predicted: jax.Array, truth: jax.Array) -> jax.Array:
    """1 minus the soft IoU: (N, H, W, ...) to (N, ...)."""
    intersection = (predicted * truth).sum((1, 2))
    union = (predicted + truth - predicted * truth).sum((1, 2))
    return 1 - (intersection + 1) / (union + 1)


class Overlap:
    """Pixels that prediction and truth share, and those that either has, of every class over all photos."""

    def __init__(self, classes: int):
        """Counts for `classes` scores, the background's first."""
        self.intersection, self.union, self.truth = (np.zeros(classes, np.int64) for _ in range(3))

    def add(self, scores: np.ndarray, masks: np.ndarray) -> None:
        """Counts the labeled pixels of photos; arguments as for `segmentation_loss`."""
        labeled = masks.sum(-1) > 0.5
        predicted = np.where(labeled, scores.argmax(-1), -1)
        for index in range(scores.shape[-1]):
            found, truth = predicted == index, (masks[..., index] > 0.5) & labeled
            self.intersection[index] += (found & truth).sum()
            self.union[index] += (found | truth).sum()
            self.truth[index] += truth.sum()

    def of(self, index: int) -> float:
        """The IoU of one class."""
        return float(self.intersection[index] / max(self.union[index], 1))

    def mean(self) -> float:
        """The mean IoU of the classes that occur, the background among them; of a single class its own IoU."""
        if len(self.union) == 2:
            return self.of(1)
        occurring = np.flatnonzero(self.truth).tolist()
        return float(np.mean([self.of(index) for index in occurring])) if occurring else 0.0


def intersection_over_union(scores: np.ndarray, masks: np.ndarray) -> float:
    """The mean of `Overlap` over all labeled pixels of all photos; arguments as for `segmentation_loss`."""
    overlap = Overlap(scores.shape[-1])
    overlap.add(scores, masks)
    return overlap.mean()
