"""The segmentation loss equals PyTorch, and unlabeled pixels count neither in it nor in the score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from msst_jax.losses import segmentation
from tests.helpers.training_data import partly_labeled_batch


def test_the_loss_and_its_gradient_equal_pytorch():
    masks = partly_labeled_batch(3)["masks"]
    scores = np.random.default_rng(2).normal(size=masks.shape).astype(np.float32)
    (value, terms), gradient = jax.value_and_grad(segmentation.segmentation_loss, has_aux=True)(
        jnp.asarray(scores), masks
    )
    theirs = torch.from_numpy(scores).double().requires_grad_()
    truth = torch.from_numpy(masks).double()
    known = truth.sum(-1)
    entropy = F.cross_entropy(theirs.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2), reduction="none")
    entropy = (entropy.sum((1, 2)) / known.sum((1, 2))).mean()
    found, inside = theirs.softmax(-1)[..., 1] * known, truth[..., 1]
    both = (found * inside).sum((1, 2))
    jaccard = (1 - (both + 1) / (found.sum((1, 2)) + inside.sum((1, 2)) - both + 1)).mean()
    expected = entropy + segmentation.JACCARD_WEIGHT * jaccard
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(terms["entropy"] + terms["jaccard"], value, rtol=1e-6)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=0, atol=1e-6 * float(theirs.grad.abs().max()) * 10)


def test_unlabeled_pixels_change_neither_the_loss_nor_the_score():
    masks = partly_labeled_batch(2)["masks"]
    unknown = masks.sum(-1) == 0
    scores = np.random.default_rng(2).normal(size=masks.shape).astype(np.float32)
    other = np.where(unknown[..., None], -scores, scores)
    assert (
        segmentation.segmentation_loss(jnp.asarray(scores), masks)[0]
        == segmentation.segmentation_loss(jnp.asarray(other), masks)[0]
    )
    assert segmentation.intersection_over_union(scores, masks) == segmentation.intersection_over_union(other, masks)


def test_intersection_over_union_is_pooled_over_all_pixels():
    masks = np.zeros((2, 4, 4, 2), np.float32)
    masks[0, :2, :, 1] = 1  # 8 pixels of a person, of which 4 are found, and 2 false positives
    masks[..., 0] = 1 - masks[..., 1]
    found = np.zeros((2, 4, 4), bool)
    found[0, 0] = True
    found[1, 3, :2] = True
    scores = np.stack([~found, found], -1).astype(np.float32)
    assert segmentation.intersection_over_union(scores, masks) == pytest.approx(4 / 10)


def three_classes() -> tuple[np.ndarray, np.ndarray]:
    """Scores, and soft masks of background and two classes: the second photo lacks the second, the third has none."""
    rng = np.random.default_rng(0)
    masks = rng.dirichlet((0.2, 0.2, 0.2), (3, 6, 5)).astype(np.float32)
    masks[1, ..., 0] += masks[1, ..., 2]
    masks[1, ..., 2] = 0
    masks[2] = (1, 0, 0)
    masks[:, 4:] = 0
    return rng.normal(size=masks.shape).astype(np.float32), masks


def test_the_loss_of_several_classes_takes_the_mean_jaccard_of_those_in_each_photo():
    scores, masks = three_classes()
    value, terms = segmentation.segmentation_loss(jnp.asarray(scores), masks)
    probabilities = torch.from_numpy(scores).double().softmax(-1)
    truth = torch.from_numpy(masks).double()
    entropies, losses = [], []
    for found, inside, counted in zip(probabilities, truth, ((1, 2), (1,), (1, 2)), strict=True):
        known = inside.sum(-1)
        entropies.append(-(inside * found.log()).sum() / known.sum())
        each = []
        for index in counted:
            part, wanted = found[..., index] * known, inside[..., index]
            both = (part * wanted).sum()
            each.append(1 - (both + 1) / (part.sum() + wanted.sum() - both + 1))
        losses.append(sum(each) / len(each))
    np.testing.assert_allclose(terms["entropy"], sum(entropies) / 3, rtol=1e-5)
    np.testing.assert_allclose(terms["jaccard"], segmentation.JACCARD_WEIGHT * sum(losses) / 3, rtol=1e-5)
    np.testing.assert_allclose(value, terms["entropy"] + terms["jaccard"], rtol=1e-6)


def test_the_score_of_several_classes_is_the_mean_iou_of_those_that_occur():
    truth = np.array([[0, 0, 1, 1], [2, 2, 0, 0]])[None]
    found = np.array([[0, 1, 1, 1], [0, 2, 3, 0]])[None]  # class 3 does not occur
    masks, scores = np.eye(4, dtype=np.float32)[truth], np.eye(4, dtype=np.float32)[found]
    assert segmentation.intersection_over_union(scores, masks) == pytest.approx((2 / 5 + 2 / 3 + 1 / 2) / 3)
    overlap = segmentation.Overlap(4)
    for row in range(2):  # in parts
        overlap.add(scores[:, row : row + 1], masks[:, row : row + 1])
    assert overlap.of(1) == pytest.approx(2 / 3)
    assert overlap.mean() == pytest.approx((2 / 5 + 2 / 3 + 1 / 2) / 3)
