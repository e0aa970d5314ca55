"""The options of the encoders."""

import numpy as np
import pytest

from msst_jax.video.io.formats import CONTAINER_FORMATS, encoder_options


@pytest.mark.parametrize(("found", "limited"), [(["X86_V3", "X86_V4"], True), (["AVX512F"], True), (["X86_V3"], False)])
@pytest.mark.parametrize("suffix", CONTAINER_FORMATS)
def test_x264_is_kept_from_avx512_whose_results_vary(
    monkeypatch: pytest.MonkeyPatch, suffix: str, found: list[str], limited: bool
) -> None:
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"found": found}})
    container_format = CONTAINER_FORMATS[suffix]
    options = encoder_options(container_format, None, "yuv420p")
    assert ("x264-params" in options) == (limited and container_format.encoder == "libx264")
