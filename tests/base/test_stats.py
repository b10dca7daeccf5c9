"""Intervals and tests against formulas, published examples and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototransfer.stats import format_score, format_share, holm, mcnemar, newcombe, paired_gain, wilson

counts = st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(counts)
def test_wilson_is_the_formula_of_the_paper(counted):
    correct, total = counted
    z, share = 1.959963984540054, correct / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    low, high = wilson(correct, total)
    assert low == pytest.approx(max(0, middle - half), abs=1e-9)
    assert high == pytest.approx(min(1, middle + half), abs=1e-9)
    assert low <= share <= high


@given(counts)
def test_the_ends_of_wilson_are_1_96_standard_errors_away(counted):
    correct, total = counted
    for end in wilson(correct, total):
        if 0 < end < 1:
            standard_error = math.sqrt(end * (1 - end) / total)
            assert abs(correct / total - end) == pytest.approx(1.959963985 * standard_error, rel=1e-6)


@given(counts)
def test_wilson_is_symmetric_and_narrows_with_more_photos(counted):
    correct, total = counted
    low, high = wilson(correct, total)
    assert wilson(total - correct, total) == pytest.approx((1 - high, 1 - low))
    more_low, more_high = wilson(4 * correct, 4 * total)
    assert more_high - more_low < high - low


def test_18_of_20_is_not_90_percent():
    low, high = wilson(18, 20)
    assert (round(low, 2), round(high, 2)) == (0.70, 0.97)


def test_no_photos_have_no_interval():
    assert wilson(0, 0) is None
    assert "no score" in format_score(0, 0)


def test_a_score_has_its_counts_and_interval():
    assert format_score(18, 20) == "18 of 20 correct: 0.90 (95 % interval 0.70 to 0.97)"


@pytest.mark.parametrize(
    "share, text", [(0.6386, "0.64"), (0.5, "0.50"), (0.9949, "0.99"), (0.997, "0.997"), (1.0, "1.00"), (0, "0.00")]
)
def test_shares_are_rounded_and_only_all_is_1_00(share, text):
    assert format_share(share) == text


def answers(both, only_first, only_second, neither):
    counts = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_by_hand():
    first, second = answers(50, 9, 1, 4)
    # ten photos differ, at most one to the weaker side: (1 + 10) / 2¹⁰, and the same on the other side
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(first, first) == 1


def test_paired_gain_by_hand():
    before, after = answers(60, 5, 15, 20)
    gain, low, high = paired_gain(before, after)
    middle, spread = 10 / 102, (21 / 102 - (10 / 102) ** 2) ** 0.5 / 102**0.5
    assert gain == pytest.approx(0.10)
    assert (low, high) == (pytest.approx(middle - 1.959964 * spread), pytest.approx(middle + 1.959964 * spread))


def test_paired_gain_covers_the_true_gain():
    rng = np.random.default_rng(0)
    true_gain, covered = 0.05, 0  # 0.25 of the photos only after, 0.2 only before
    for _ in range(400):
        kind = rng.choice(4, 120, p=[0.4, 0.2, 0.25, 0.15])
        _, low, high = paired_gain(np.isin(kind, [0, 1]), np.isin(kind, [0, 2]))
        covered += low <= true_gain <= high
    assert covered / 400 > 0.92


def test_holm_by_hand():
    assert holm(np.array([0.03, 0.01, 0.04, 0.9])) == pytest.approx([0.09, 0.04, 0.09, 0.9])


def test_newcombe_is_the_published_example():
    # Newcombe 1998, table II: 56/70 − 48/80, method 10: 0.0524 to 0.3339
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
