"""The highest rates of accelerators, by the name that JAX gives them."""

# Dense products of bfloat16 with sums in float32, in TFLOP/s, for each device that JAX counts. Sources: Google Cloud's
# pages of the TPU versions, and NVIDIA's datasheets (SXM where there are several).
PEAKS = {
    "TPU v2": 22.5,
    "TPU v3": 61.5,
    "TPU v4": 275,
    "TPU v5 lite": 197,
    "TPU v5e": 197,
    "TPU v5p": 459,
    "TPU v5": 459,
    "TPU v6 lite": 918,
    "TPU v6e": 918,
    "A100": 312,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "H200 NVL": 835,
    "H200": 989,
    "L4": 121,
    "L40S": 362,
    "A10": 125,
}


def peak_flops(kind: str) -> float | None:
    """FLOP/s of bfloat16 products of a device; None if it is not in the table.

    Args:
      kind: `jax.Device.device_kind`, such as "TPU v5 lite" or "NVIDIA H100 80GB HBM3".
    """
    words = f"{kind} ".removeprefix("NVIDIA ").replace("-", " ")
    fitting = [name for name in PEAKS if words.startswith(f"{name} ")]
    return PEAKS[max(fitting, key=len)] * 1e12 if fitting else None
