"""Style vectors from paintings equal the PyTorch twin's: moments, predictor, pictures and gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msst_jax.models.any_model import load_predictor_vgg
from msst_jax.models.pretrained import EMBEDDED_VGG16
from msst_jax.models.serialization import WEIGHT_TYPES, state_to_tensors
from msst_jax.models.style_predictor import (
    MAX_STATISTIC,
    MIN_SPREAD,
    MOMENTS,
    AnyStylizer,
    standardization,
    style_moments,
    style_statistics,
)
from msst_jax.ops.image import normalize
from reference import original, stylizer
from reference.loss_formulas import uniform
from reference.original import to_tensor
from reference.stylizer_cases import (
    GRADIENT_TOLERANCE,
    IMAGE_TOLERANCE,
    gradient_errors,
    random_any_stylizer,
    random_masks,
)
from tests.ops.torch_parity import relative_error

SIZE = (19, 22)


def random_moments(*shape: int) -> np.ndarray:
    """Of features between 0 and 2, in some channels constant."""
    values = 2 * uniform(6, *shape, MOMENTS // 2, seed=7)
    values[..., :5] = values[:1, ..., :5]
    return np.concatenate([values.mean(0), np.square(values).mean(0)], -1)


def tensors_of(network: AnyStylizer) -> dict[str, np.ndarray]:
    return state_to_tensors(nnx.state(network, nnx.Any(*WEIGHT_TYPES)))


def test_moments_of_a_painting_equal_torch() -> None:
    painting = uniform(33, 46, 3)
    net = original.network(EMBEDDED_VGG16).requires_grad_(False)
    net.conv1_1.padding_mode = "replicate"  # type: ignore[assignment]
    expected = stylizer.style_moments(net, to_tensor(painting))
    ours = jax.jit(style_moments)(load_predictor_vgg(), painting)
    assert ours.shape == (MOMENTS,)
    assert relative_error(ours, expected) <= IMAGE_TOLERANCE


def test_pictures_in_the_styles_of_paintings_and_every_gradient_equal_torch() -> None:
    network = random_any_stylizer()
    network.predictor.center[...], network.predictor.spread[...] = standardization(random_moments(8))
    images, masks, moments = uniform(2, *SIZE, 3), random_masks(2, 2, SIZE), random_moments(2, 2)
    images = np.asarray(normalize(jnp.asarray(images)))
    factor = uniform(2, *SIZE, 3, seed=5)
    twin = stylizer.build_any_twin(tensors_of(network))
    expected = twin(*map(to_tensor, (images, masks)), stylizer.to_torch("moments", moments))
    (expected * to_tensor(factor)).sum().backward()
    definition, params, statistics = nnx.split(network, nnx.Param, ...)  # type: ignore[misc]

    @jax.jit
    def pictures(params: Any, images: jax.Array, masks: jax.Array, moments: jax.Array) -> Any:
        def total(params: Any) -> tuple[jax.Array, jax.Array]:
            pixels = nnx.merge(definition, params, statistics)(images, masks, moments)
            return jnp.sum(pixels * factor), pixels

        return jax.value_and_grad(total, has_aux=True)(params)

    (_, pixels), gradients = pictures(params, images, masks, moments)
    assert relative_error(pixels, expected.movedim(1, -1)) <= IMAGE_TOLERANCE
    ours = {
        stylizer.torch_name(name): stylizer.to_torch(name, value) for name, value in state_to_tensors(gradients).items()
    }
    theirs = {name: parameter.grad for name, parameter in twin.named_parameters() if parameter.grad is not None}
    assert set(ours) == set(theirs) == set(dict(twin.named_parameters()))
    errors = gradient_errors(ours, theirs)
    assert max(errors.values()) <= GRADIENT_TOLERANCE, errors


def test_a_painting_unlike_all_of_the_training_is_no_further_away_than_the_limit() -> None:
    predictor = random_any_stylizer().predictor
    moments = random_moments(1)
    center, spread = predictor.center[...], predictor.spread[...]
    predictor.center[...] = style_statistics(jnp.asarray(moments[0])) - (MAX_STATISTIC + 1) * spread
    beyond = predictor(jnp.asarray(moments))
    predictor.center[...] = style_statistics(jnp.asarray(moments[0])) - 1e3 * spread
    np.testing.assert_allclose(predictor(jnp.asarray(moments)), beyond, rtol=1e-5)
    predictor.center[...] = center
    assert float(jnp.abs(predictor(jnp.asarray(moments)) - beyond).max()) > 0.01


def test_a_statistic_that_all_paintings_share_tells_nothing_and_divides_by_no_zero() -> None:
    moments = random_moments(6)
    moments[:, 3] = moments[0, 3]
    moments[:, MOMENTS // 2 + 3] = np.square(moments[0, 3])  # a constant feature, but for rounding
    center, spread = standardization(moments)
    assert float(spread.min()) == pytest.approx(MIN_SPREAD)
    statistics = (style_statistics(jnp.asarray(moments)) - center) / spread
    assert np.isfinite(statistics).all()
    varied = np.asarray(spread) > 2 * MIN_SPREAD
    assert varied.mean() > 0.9
    np.testing.assert_allclose(np.asarray(statistics)[:, varied].std(0), 1, rtol=1e-3)
