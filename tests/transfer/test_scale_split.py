"""The evaluations of a run are shared between any number of scales."""

import pytest

from msst_jax.transfer.scale_split import FINEST_SHARE, default_shares, split_evaluations

COUNTS = pytest.mark.parametrize("scales", range(1, 7))


@COUNTS
def test_the_finest_scale_has_little_and_a_coarser_one_more_than_the_next(scales: int):
    shares = default_shares(scales)
    assert len(shares) == scales
    assert sum(shares) == pytest.approx(1)
    assert shares[-1] == (1 if scales == 1 else FINEST_SHARE)
    assert sorted(shares[:-1], reverse=True) == list(shares[:-1])
    assert len(set(shares[:-1])) == scales - 1


@COUNTS
def test_of_few_evaluations_each_scale_gets_one_and_the_finest_first(scales: int):
    for total in range(1, 40):
        split = split_evaluations(total, scales)
        assert sum(split) == total
        assert [count > 0 for count in split] == [scales - index <= total for index in range(scales)]


def test_given_shares_leave_a_coarse_scale_out_rather_than_change_the_others():
    assert split_evaluations(2, 3, (1.0, 1.0, 1.0)) == (1, 0, 1)
    assert split_evaluations(3, 2, (1000.0, 1.0)) == (2, 1)
    assert split_evaluations(180, 2, (30.0, 150.0)) == (30, 150)
