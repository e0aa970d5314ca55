import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msst_jax.ops import weighted_gram
from msst_jax.ops.weighted_gram import weighted_gram_products


def arrays(pixels: int, channels: int = 6, regions: int = 3) -> tuple[jax.Array, jax.Array, jax.Array]:
    random = np.random.default_rng(pixels)
    shapes = ((pixels, channels), (pixels, regions), (regions, channels, channels))
    features, weights, target = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes)
    return features, weights, target


def plain(features: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.einsum("pk,pc,pd->kcd", weights, features, features, precision="highest")


@pytest.fixture(params=[1, 7, 1 << 18])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pixels of a chunk."""
    monkeypatch.setattr(weighted_gram, "CPU_CHUNK", 6 * request.param)
    return request.param


@pytest.mark.parametrize("pixels", [1, 7, 20, 21])
def test_products_are_those_of_all_pixels_whatever_the_chunks(pixels: int, chunk: int) -> None:
    features, weights, _ = arrays(pixels)
    np.testing.assert_allclose(
        weighted_gram_products(features, weights), plain(features, weights), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("argument", [0, 1])
def test_gradients_are_those_of_the_plain_product(argument: int, chunk: int) -> None:
    features, weights, target = arrays(20)

    def gradient(products):
        return jax.grad(lambda *args: jnp.sum(products(*args) * target), argument)(features, weights)

    np.testing.assert_allclose(gradient(weighted_gram_products), gradient(plain), rtol=1e-4, atol=1e-5)


def test_bfloat16_features_are_summed_in_float32() -> None:
    features, weights, target = arrays(20)
    half = features.astype(jnp.bfloat16)
    products = weighted_gram_products(half, weights)
    assert products.dtype == jnp.float32
    assert jax.grad(lambda x: jnp.sum(weighted_gram_products(x, weights) * target))(half).dtype == jnp.bfloat16
    np.testing.assert_allclose(products, plain(half.astype(jnp.float32), weights), rtol=0.02, atol=0.1)


def test_float64_features_are_summed_in_float64_at_any_precision() -> None:
    with jax.enable_x64(True), jax.default_matmul_precision(None):
        features, weights = (array.astype(jnp.float64) for array in arrays(20)[:2])
        products = weighted_gram_products(features, weights)
        assert products.dtype == jnp.float64
        np.testing.assert_allclose(products, plain(features, weights), rtol=1e-13, atol=1e-13)


def test_runs_of_a_batch_give_what_each_alone_gives() -> None:
    features, weights, _ = arrays(20)
    batch = jnp.stack([features, 2 * features])
    together = jax.vmap(weighted_gram_products, (0, None))(batch, weights)
    np.testing.assert_allclose(together[1], weighted_gram_products(batch[1], weights), rtol=1e-6)


def test_more_regions_take_no_further_copies_of_the_features() -> None:
    pixels, channels = 128 * 128, 64

    def temporary(regions: int) -> int:
        shapes = [(pixels, channels), (pixels, regions), (regions, channels, channels)]
        arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        value = jax.value_and_grad(
            lambda flat, weights, target: jnp.sum(weighted_gram_products(flat, weights) * target)
        )
        return jax.jit(value).lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    assert temporary(4) - temporary(1) < 2 * pixels * channels * 4


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_it_lowers_for_accelerators(platform: str) -> None:
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4096, 64), (4096, 2))]
    lowered = jax.jit(weighted_gram_products).trace(*shapes).lower(lowering_platforms=(platform,))
    assert "dot_general" in lowered.as_text()
