"""Low-rank factors of VGG kernels are the best approximation of their rank."""

import numpy as np

from msst_jax.models.low_rank_vgg import low_rank_factors


def test_low_rank_factors_are_the_best_approximation_of_their_rank():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 12)).astype(np.float32)
    inner, outer = low_rank_factors(kernel, 12)
    np.testing.assert_allclose(np.einsum("hwir,xyro->hwio", inner, outer), kernel, atol=1e-5)
    inner, outer = low_rank_factors(kernel, 5)
    assert inner.shape == (3, 3, 16, 5)
    assert outer.shape == (1, 1, 5, 12)
    lost = np.linalg.norm(np.einsum("hwir,xyro->hwio", inner, outer) - kernel)
    values = np.linalg.svd(kernel.reshape(-1, 12), compute_uv=False)
    np.testing.assert_allclose(lost, np.linalg.norm(values[5:]), rtol=1e-4)
