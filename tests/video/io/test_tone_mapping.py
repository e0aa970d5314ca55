"""Tone mapping: the formulas of the ITU at the values that it names, and what must hold of any picture."""

import numpy as np
import pytest

from msst_jax.video.io.tone_mapping import (
    HLG,
    PEAK,
    PQ,
    SDR_WHITE,
    compress_highlights,
    hlg_to_scene,
    light_to_pq,
    pq_to_light,
    tone_map,
)


def codes(*signal: float) -> np.ndarray:
    """A pixel (1, 1, 3) of a signal in [0, 1]; one value = gray."""
    return np.round(65535 * np.broadcast_to(signal, (1, 1, 3))).astype(np.uint16)


@pytest.mark.parametrize(
    ("percent", "light"), [(0, 0), (15, 1), (30, 10), (51, 100), (58, 203), (75, 1000), (100, 10000)]
)
def test_pq_has_the_signal_that_bt2408_lists(percent: int, light: float):
    signal = light_to_pq(np.array(float(light)))
    assert round(100 * float(signal)) == percent
    assert pq_to_light(signal) == pytest.approx(light, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("signal", "light"), [(0.0, 0.0), (0.5, 1 / 12), (0.75, 0.26496), (1.0, 1.0)])
def test_hlg_has_the_light_that_bt2100_lists(signal: float, light: float):
    assert hlg_to_scene(np.array(signal)) == pytest.approx(light, rel=1e-3, abs=1e-6)


def test_dark_tones_stay_and_highlights_are_compressed_below_white():
    light = np.array([0.1, 1, 10, 50, 90])
    np.testing.assert_allclose(compress_highlights(light), light, rtol=1e-3)
    bright = compress_highlights(np.array([150.0, 203, 400, 700, 1000]))
    assert (np.diff(bright) > 0).all()
    assert bright[-1] == pytest.approx(SDR_WHITE, rel=1e-6)
    assert bright[1] < SDR_WHITE
    assert compress_highlights(np.array(4000.0)) == pytest.approx(SDR_WHITE, rel=1e-6)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_grays_stay_gray_and_in_order_from_black_to_white(transfer: int):
    peak = float(light_to_pq(np.array(PEAK))) if transfer == PQ else 1.0
    grays = np.concatenate([tone_map(codes(signal), transfer)[0] for signal in np.linspace(0, peak, 40)])
    assert (np.ptp(grays.astype(int), axis=1) <= 1).all()
    assert (np.diff(grays[:, 0].astype(int)) >= 0).all()
    assert grays[0].tolist() == [0, 0, 0]
    assert grays[-1].min() >= 254


def test_both_transfer_functions_show_the_same_light_alike():
    scene = 0.05
    light = PEAK * scene**1.2  # the OOTF of HLG
    hlg = np.sqrt(3 * scene)
    one, two = tone_map(codes(float(light_to_pq(np.array(light)))), PQ), tone_map(codes(hlg), HLG)
    np.testing.assert_allclose(one.astype(int), two, atol=1)


def test_a_known_gray_has_the_level_of_an_sdr_display():
    level = tone_map(codes(float(light_to_pq(np.array(50.0)))), PQ)[0, 0, 0]
    assert abs(int(level) - 255 * (50 / SDR_WHITE) ** (1 / 2.4)) <= 1


def test_bt709_red_in_bt2020_becomes_pure_red():
    red = np.array([0.6274, 0.0691, 0.0164]) * 50  # BT.2087: BT.709 red in BT.2020, at 50 cd/m2
    level = tone_map(codes(*light_to_pq(red)), PQ)[0, 0]
    assert abs(int(level[0]) - 255 * (50 / SDR_WHITE) ** (1 / 2.4)) <= 2
    assert level[1:].max() <= 12
