"""Each loss and its gradient equals the formula in PyTorch with its autograd; the weighted sum equals the twin's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from msst_jax import losses
from msst_jax.images import normalize
from msst_jax.models.vgg import VGG
from msst_jax.models.weights import EMBEDDED_VGG16, load_vgg
from tests import torch_reference
from tests.torch_reference import Reference, Settings

LAYERS = losses.Layers(("conv1_1", "conv2_1"), ("conv1_2", "conv2_2"), (0.5, 2.0), (1.5, 0.25))
FACTORS = losses.Weights(style=1e6, blend=3e5, content=2.0, tv=8.5e-3)
FORMULA_TOLERANCE = 1e-5  # of the largest magnitude; float32 sums of thousands of values
VALUE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4  # relative L2, through the network


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def assert_near(ours: Any, theirs: torch.Tensor, tolerance: float = FORMULA_TOLERANCE) -> None:
    expected = theirs.detach().numpy()
    assert np.shape(ours) == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def assert_equals_torch(
    ours: Callable[[jax.Array], jax.Array], theirs: Callable[[torch.Tensor], torch.Tensor], x: np.ndarray
) -> None:
    """Compares value and gradient (for a random cotangent, so that nothing cancels by symmetry)."""
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor)
    value, pull = jax.vjp(ours, jnp.asarray(x))
    assert_near(value, expected)
    cotangent = normal(*expected.shape, seed=9)
    expected.backward(torch.from_numpy(np.asarray(cotangent)))
    assert tensor.grad is not None
    assert_near(pull(jnp.asarray(cotangent))[0], tensor.grad)


def torch_grams(features: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C) to (N, C, C), position by position."""
    _, h, w, c = features.shape
    outer = features[..., :, None] * features[..., None, :]
    return outer.sum((1, 2)) / (c * h * w)


# --- the formulas


def test_gram_and_its_gradient() -> None:
    assert_equals_torch(losses.gram, torch_grams, normal(3, 7, 5, 6))


def test_gram_of_a_batch_is_that_of_each_image() -> None:
    features = jnp.asarray(normal(3, 8, 9, 5))
    for index in range(3):
        single = losses.gram(features[index : index + 1])
        np.testing.assert_allclose(losses.gram(features)[index], single[0], rtol=0, atol=1e-6)


def test_gram_of_bfloat16_features_is_float32_and_near() -> None:
    features = jnp.asarray(normal(2, 64, 64, 16))

    def loss(features: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(losses.gram(features)))

    rough = features.astype(jnp.bfloat16)
    ours, exact = losses.gram(rough), losses.gram(features)
    assert ours.dtype == jnp.float32
    # Summed in bfloat16, 4,096 products would be wrong by several percent.
    assert float(jnp.abs(ours - exact).max()) <= 2e-3 * float(jnp.abs(exact).max())
    gradient, expected = jax.grad(loss)(rough), jax.grad(loss)(features)
    assert gradient.dtype == jnp.bfloat16
    assert float(jnp.linalg.norm(gradient - expected)) <= 0.01 * float(jnp.linalg.norm(expected))


@pytest.mark.parametrize(("images", "styles"), [(1, 1), (2, 2), (3, 2)])
def test_style_distances_compare_every_image_with_every_style(images: int, styles: int) -> None:
    targets = normal(styles, 4, 4, seed=1)

    def by_hand(grams: torch.Tensor) -> torch.Tensor:
        pairs = [[((a - torch.from_numpy(b)) ** 2).mean() for b in targets] for a in grams]
        return torch.stack([torch.stack(row) for row in pairs])

    assert_equals_torch(
        lambda grams: losses.style_distances(grams, jnp.asarray(targets)), by_hand, normal(images, 4, 4)
    )


def test_style_loss_takes_the_diagonal_and_blend_loss_the_rest() -> None:
    distances = uniform(3, 3)
    own = [(0, 0), (1, 1), (2, 2)]
    other = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert_equals_torch(losses.style_loss, lambda d: sum(d[i] for i in own), distances)  # type: ignore[arg-type]
    assert_equals_torch(losses.blend_loss, lambda d: sum(d[i] for i in other), distances)  # type: ignore[arg-type]


def test_a_row_of_distances_gives_the_share_of_its_image() -> None:
    distances = jnp.asarray(uniform(3, 3))
    for loss in (losses.style_loss, losses.blend_loss):
        rows = [float(loss(distances[k : k + 1], k)) for k in range(3)]
        assert sum(rows) == pytest.approx(float(loss(distances)), rel=1e-6)
    assert float(losses.style_loss(distances[1:2], 1)) == float(distances[1, 1])


def test_one_region_has_no_blend_loss() -> None:
    assert float(losses.blend_loss(jnp.array([[7.0]]))) == 0


def test_content_loss_and_its_gradient() -> None:
    target = normal(1, 6, 7, 5, seed=1)
    assert_equals_torch(
        lambda features: losses.content_loss(features, jnp.asarray(target)),
        lambda features: ((features - torch.from_numpy(target)) ** 2).mean(),
        normal(1, 6, 7, 5),
    )


def test_content_loss_of_bfloat16_features_is_float32() -> None:
    features = jnp.full((1, 64, 64, 8), 1.0078125, jnp.bfloat16)  # the next number after 1
    loss = losses.content_loss(features, jnp.ones_like(features))
    assert loss.dtype == jnp.float32
    assert float(loss) == pytest.approx(0.0078125**2)


def test_total_variation_and_its_gradient() -> None:
    def by_hand(image: torch.Tensor) -> torch.Tensor:
        across = sum((image[:, i + 1] - image[:, i]).abs().sum() for i in range(image.shape[1] - 1))
        down = sum((image[i + 1] - image[i]).abs().sum() for i in range(image.shape[0] - 1))
        return across + down  # type: ignore[return-value]

    assert_equals_torch(losses.total_variation, by_hand, uniform(9, 6, 3))


def test_total_variation_of_a_flat_image_has_no_gradient() -> None:
    """torch's rule for |0|, where JAX's own is 1; every flat sky starts there."""
    flat = jnp.full((5, 6, 3), 0.25)
    assert float(losses.total_variation(flat)) == 0
    assert not np.any(jax.grad(losses.total_variation)(flat))


def test_composite_and_its_gradient() -> None:
    masks = np.random.default_rng(1).dirichlet([1, 1, 1], (5, 7)).astype(np.float32)  # (H, W, K)

    def by_hand(images: torch.Tensor) -> torch.Tensor:
        return sum(torch.from_numpy(masks[..., k : k + 1]) * images[k] for k in range(3))  # type: ignore[return-value]

    assert_equals_torch(lambda images: losses.composite(images, jnp.asarray(masks)), by_hand, uniform(3, 5, 7, 3))


def test_composite_of_hard_masks_takes_each_pixel_from_its_region() -> None:
    images = uniform(2, 4, 6, 3)
    mask = (uniform(4, 6) > 0.5).astype(np.float32)
    result = losses.composite(jnp.asarray(images), jnp.asarray(np.stack([mask, 1 - mask], -1)))
    np.testing.assert_array_equal(result, np.where(mask[..., None] == 1, images[0], images[1]))


def test_weighted_sum_pairs_layers_with_factors() -> None:
    values = {"b": jnp.float32(3.0), "a": jnp.float32(5.0)}
    assert float(losses.weighted_sum(values, (2.0, 10.0))) == 56
    with pytest.raises(ValueError, match="shorter"):
        losses.weighted_sum(values, (1.0,))


# --- the weighted sum against tests/torch_reference.py


class Case(NamedTuple):
    """A photo of 32x44 pixels with K regions and styles of other sizes."""

    content: np.ndarray
    styles: list[np.ndarray]
    masks: np.ndarray
    pixels: np.ndarray


def case(regions: int) -> Case:
    rng = np.random.default_rng(regions)
    styles = [uniform(30 + 6 * k, 28, 3, seed=10 + k) for k in range(regions)]
    masks = rng.dirichlet([1] * regions, (32, 44)).astype(np.float32)
    return Case(uniform(32, 44, 3, seed=20), styles, masks, uniform(regions, 32, 44, 3, seed=21))


@pytest.fixture(scope="module")
def vgg() -> VGG:
    return load_vgg("vgg16", [*LAYERS.style, *LAYERS.content], path=EMBEDDED_VGG16)[0]


@jax.jit
def evaluate(
    vgg: VGG, content: jax.Array, styles: list[jax.Array], masks: jax.Array, pixels: jax.Array, weights: losses.Weights
) -> tuple[tuple[jax.Array, dict[str, jax.Array]], jax.Array]:
    """((loss, terms), gradient) with everything computed from the pictures."""
    grams = [losses.style_targets(vgg, style, LAYERS.style) for style in styles]
    targets = losses.Targets(
        {layer: jnp.concatenate([gram[layer] for gram in grams]) for layer in LAYERS.style},
        losses.content_targets(vgg, content, LAYERS.content),
    )
    return jax.value_and_grad(
        lambda pixels: losses.stylization_loss(vgg, targets, masks, LAYERS, pixels, weights), has_aux=True
    )(pixels)


@pytest.mark.parametrize("regions", [2, 3])
def test_whole_loss_and_gradient_equal_torch(vgg: VGG, regions: int) -> None:
    pictures = case(regions)
    settings = Settings(
        style_layers=LAYERS.style,
        content_layers=LAYERS.content,
        style_factors=LAYERS.style_factors,
        content_factors=LAYERS.content_factors,
        style_weight=float(FACTORS.style),
        blend_ratio=float(FACTORS.blend) / float(FACTORS.style),
        content_weight=float(FACTORS.content),
        tv_weight=float(FACTORS.tv),
    )
    reference = Reference(EMBEDDED_VGG16, pictures.content, pictures.styles, pictures.masks, settings)
    expected, expected_gradient, terms = reference.value_and_gradient(pictures.pixels)
    (value, ours), gradient = evaluate(vgg, *pictures, FACTORS)
    assert value == pytest.approx(expected, rel=VALUE_TOLERANCE)
    assert sum(ours.values()) == pytest.approx(float(value), rel=1e-6)
    assert set(ours) == set(losses.TERMS)
    smooth = float(FACTORS.content) * float(FACTORS.tv) * terms.variation.item()
    assert ours["smooth"] == pytest.approx(smooth, rel=VALUE_TOLERANCE)
    own = sum(f * terms.distances[x].trace().item() for x, f in zip(LAYERS.style, LAYERS.style_factors, strict=True))
    assert ours["style"] == pytest.approx(float(FACTORS.style) * own, rel=VALUE_TOLERANCE)
    error = np.linalg.norm(gradient - expected_gradient) / np.linalg.norm(expected_gradient)
    print(f"K={regions}: loss {abs(float(value) / expected - 1):.1e}, gradient {error:.1e}")
    assert error <= GRADIENT_TOLERANCE


@pytest.mark.parametrize("regions", [1, 2, 3])
@pytest.mark.parametrize("kind", ["conv", "relu"])
def test_one_image_after_the_other_gives_the_same_loss_terms_and_gradient(vgg: VGG, kind: str, regions: int) -> None:
    layers = LAYERS._replace(
        style=tuple(tap.replace("conv", kind) for tap in LAYERS.style),
        content=tuple(tap.replace("conv", kind) for tap in ("conv1_2", "conv2_1")),
    )
    grams = [losses.style_targets(vgg, uniform(40, 36, 3, seed=k), layers.style) for k in range(regions)]
    targets = losses.Targets(
        jax.tree.map(lambda *values: jnp.concatenate(values), *grams),
        losses.content_targets(vgg, uniform(64, 64, 3, seed=20), layers.content),
    )
    masks = np.random.default_rng(1).dirichlet([1] * regions, (64, 64)).astype(np.float32)

    def both(pixels: jax.Array, remat: bool) -> Any:
        def loss(pixels: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
            return losses.stylization_loss(vgg, targets, jnp.asarray(masks), layers, pixels, FACTORS, remat=remat)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(pixels)

    pixels = jnp.asarray(uniform(regions, 64, 64, 3, seed=21))
    (value, terms), gradient = both(pixels, True)
    (expected, expected_terms), expected_gradient = both(pixels, False)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert set(terms) == set(losses.TERMS)
    for name in losses.TERMS:
        assert float(terms[name]) == pytest.approx(float(expected_terms[name]), rel=1e-6), name
    error = jnp.linalg.norm(gradient - expected_gradient) / jnp.linalg.norm(expected_gradient)
    print(f"K={regions}, {kind}: gradient {float(error):.1e}")
    assert float(error) <= 1e-6


@pytest.mark.parametrize("name", losses.Weights._fields)
def test_each_factor_scales_its_own_term(vgg: VGG, name: str) -> None:
    pictures = case(2)
    (_, before), _ = evaluate(vgg, *pictures, FACTORS)
    (_, after), _ = evaluate(vgg, *pictures, FACTORS._replace(**{name: 3 * getattr(FACTORS, name)}))
    scaled = {"tv": ("smooth",), "content": ("content", "smooth")}.get(name, (name,))
    for term in losses.TERMS:
        factor = 3 if term in scaled else 1
        assert float(after[term]) == pytest.approx(factor * float(before[term]), rel=1e-6), term


def test_loss_of_one_region_has_no_blend_term(vgg: VGG) -> None:
    (value, terms), gradient = evaluate(vgg, *case(1), FACTORS)
    assert float(terms["blend"]) == 0
    assert float(value) > 0
    assert np.all(np.isfinite(gradient))


def test_start_from_the_photo_has_no_content_loss(vgg: VGG) -> None:
    pictures = case(2)
    (_, terms), _ = evaluate(vgg, *pictures._replace(pixels=np.stack([pictures.content] * 2)), FACTORS)
    # The masks add up to 1 only up to rounding.
    assert float(terms["content"]) <= 1e-8 * float(FACTORS.content)


def test_total_variation_is_taken_on_the_normalised_result(vgg: VGG) -> None:
    pictures = case(2)
    (_, terms), _ = evaluate(vgg, *pictures, FACTORS)
    result = torch_reference.to_tensor(
        np.asarray(losses.composite(*map(jnp.asarray, (pictures.pixels, pictures.masks))))
    )
    expected = torch_reference.variation(torch_reference.normalize(result)).item()
    assert float(terms["smooth"]) == pytest.approx(float(FACTORS.content) * float(FACTORS.tv) * expected, rel=1e-5)


def test_normalisation_is_torchvisions() -> None:
    image = uniform(2, 5, 6, 3)
    theirs = torch_reference.normalize(torch_reference.to_tensor(image))
    np.testing.assert_allclose(normalize(jnp.asarray(image)), torch_reference.to_array(theirs), rtol=0, atol=1e-6)
