"""Paired tests against values worked out by hand."""

import numpy as np
import pytest

from helpers.firmness.intervals import difference
from helpers.firmness.paired import gain, holm, mcnemar


def answers(both, only_one, only_other, neither):
    one = np.repeat([True, True, False, False], [both, only_one, only_other, neither])
    return one, np.repeat([True, False, True, False], [both, only_one, only_other, neither])


def test_mcnemar_by_hand():
    one, other = answers(50, 9, 1, 4)
    # ten photos differ, at most one to the weaker side: (1 + 10) / 2¹⁰, and the same on the other side
    assert mcnemar(one, other) == mcnemar(other, one) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(one, one) == 1


def test_gain_by_hand():
    less, more = answers(60, 5, 15, 20)
    brought, low, high = gain(less, more)
    middle, spread = 10 / 102, (21 / 102 - (10 / 102) ** 2) ** 0.5 / 102**0.5
    assert brought == pytest.approx(0.10)
    assert (low, high) == (pytest.approx(middle - 1.959964 * spread), pytest.approx(middle + 1.959964 * spread))


def test_gain_covers_the_truth():
    chance = np.random.default_rng(0)
    truth = 0.05  # 0.25 of the photos only with more, 0.2 only with less
    hits = 0
    for _ in range(400):
        kind = chance.choice(4, 120, p=[0.4, 0.2, 0.25, 0.15])
        _, low, high = gain(np.isin(kind, [0, 1]), np.isin(kind, [0, 2]))
        hits += low <= truth <= high
    assert hits / 400 > 0.92


def test_holm_by_hand():
    assert holm(np.array([0.03, 0.01, 0.04, 0.9])) == pytest.approx([0.09, 0.04, 0.09, 0.9])


def test_difference_is_the_example_of_newcombe():
    # Newcombe 1998, table II: 56/70 − 48/80, method 10: 0.0524 to 0.3339
    assert difference(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
