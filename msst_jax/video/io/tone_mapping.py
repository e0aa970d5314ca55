"""HDR to SDR: PQ and HLG signals in BT.2020 to 8-bit BT.709, for displays of any brightness.

Sources: ITU-R BT.2100-2 (PQ, HLG), BT.2408-5 (HDR reference white), BT.2390-9 section 5.4.1 (EETF: the curve that
compresses highlights), BT.2087-0 (BT.2020 to BT.709), BT.1886 (SDR displays).
"""

from functools import cache

import numpy as np

PQ, HLG = 16, 18  # code points of ITU-T H.273
HDR_TRANSFERS = {PQ: "PQ", HLG: "HLG"}
PEAK = 1000.0  # cd/m2, of the source; the usual mastering display, and the nominal one of HLG
SDR_WHITE = 203.0  # cd/m2, which becomes white
SDR_GAMMA = 2.4
_CODES = 1 << 16
_NODES = 4096  # of the tabulated curve
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A = 0.17883277
_B, _C = 1 - 4 * _A, 0.5 - _A * np.log(4 * _A)
_HLG_GAMMA = 1.2  # at PEAK


def tone_map(image: np.ndarray, transfer: int) -> np.ndarray:
    """uint16 (H, W, 3), full-range BT.2020 RGB with the transfer PQ or HLG, as 8-bit BT.709."""
    light = np.take(_code_to_light(transfer), image)
    if transfer == HLG:
        light *= PEAK * np.maximum(light @ _BT2020_LUMA, 1e-6)[..., None] ** np.float32(_HLG_GAMMA - 1)
    brightest = light.max(-1)
    nodes, gains = _gain_curve()
    light *= np.interp(brightest, nodes, gains).astype(np.float32)[..., None]
    sdr = np.clip(light @ _BT2020_TO_BT709.T / np.float32(SDR_WHITE), 0, 1)
    return np.round(255 * sdr ** np.float32(1 / SDR_GAMMA)).astype(np.uint8)


@cache
def _code_to_light(transfer: int) -> np.ndarray:
    """Of every 16-bit code: light of the display in cd/m2 (PQ), of the scene from 0 to 1 (HLG)."""
    signal = np.arange(_CODES) / (_CODES - 1)
    return np.asarray(pq_to_light(signal) if transfer == PQ else hlg_to_scene(signal), np.float32)


@cache
def _gain_curve() -> tuple[np.ndarray, np.ndarray]:
    """Light in cd/m2, and the factors that compress it; the factor depends on the brightest channel, to keep hues."""
    nodes = pq_to_light(np.linspace(0, 1, _NODES))
    return nodes, np.concatenate([[1.0], compress_highlights(nodes[1:]) / nodes[1:]])


def pq_to_light(signal: np.ndarray) -> np.ndarray:
    """PQ signal in [0, 1] to light in cd/m2 (EOTF)."""
    root = signal ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def light_to_pq(light: np.ndarray) -> np.ndarray:
    """Light in cd/m2 to PQ signal in [0, 1] (inverse EOTF)."""
    power = (light / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def hlg_to_scene(signal: np.ndarray) -> np.ndarray:
    """HLG signal in [0, 1] to light of the scene in [0, 1] (inverse OETF)."""
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)


def compress_highlights(light: np.ndarray) -> np.ndarray:
    """Light up to PEAK to light up to SDR_WHITE, in cd/m2; dark tones stay as they are (BT.2390 EETF)."""
    peak = light_to_pq(np.array(PEAK))
    source = np.minimum(light_to_pq(light) / peak, 1)
    most = float(light_to_pq(np.array(SDR_WHITE)) / peak)
    knee = 1.5 * most - 0.5
    t = np.maximum(source - knee, 0) / (1 - knee)
    hermite = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return pq_to_light(np.where(source < knee, source, hermite) * peak)
