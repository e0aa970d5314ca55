"""Frame numbers follow from frame times."""

from fractions import Fraction

import numpy as np

from msst_jax.video.io.types import Frame, number_frames
from tests.helpers.videos import UNEVEN


def test_frame_numbers_start_at_the_first_frame_and_count_lost_ones():
    image, period = np.zeros((2, 2, 3), np.uint8), Fraction(1, 25)

    def numbers(*times: Fraction) -> list[int]:
        return [number for number, _ in number_frames([Frame(image, time, period) for time in times], Fraction(25))]

    assert numbers(0 * period, period, 4 * period) == [0, 1, 4]
    late = Fraction(21, 1000)  # the audio starts earlier
    assert numbers(late, late + period, late + 4 * period) == [0, 1, 4]
    assert numbers(*UNEVEN) == list(range(len(UNEVEN)))
