"""The peak of a device is that of its own kind, and no other's."""

import pytest

from msst_jax.runtime.device_peaks import peak_flops


@pytest.mark.parametrize(
    ("kind", "tera"),
    [
        ("TPU v5 lite", 197),
        ("TPU v5", 459),
        ("TPU v4", 275),
        ("TPU v6 lite", 918),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", None),
        ("NVIDIA A1000", None),
        ("cpu", None),
    ],
)
def test_the_peak_is_that_of_the_longest_name_that_fits(kind: str, tera: float | None):
    assert peak_flops(kind) == (None if tera is None else tera * 1e12)
