"""Intervals and tests against formulas, published examples and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototransfer.stats import (
    balanced_interval,
    class_weights,
    format_score,
    format_share,
    holm,
    mcnemar,
    mean_recall,
    newcombe,
    paired_gain,
    paired_test,
    sign_flip_test,
    wilson,
)

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


@given(counts)
def test_the_balanced_interval_of_one_class_is_wilson(counted):
    correct, total = counted
    assert balanced_interval(np.array([correct]), np.array([total])) == pytest.approx(wilson(correct, total))


def test_the_balanced_interval_is_mover_by_hand():
    correct, total = np.array([100, 3, 0]), np.array([110, 6, 0])  # the third class has no photo
    (low, _), (rare_low, _) = wilson(100, 110), wilson(3, 6)
    score = (100 / 110 + 0.5) / 2
    expected = score - math.hypot(100 / 110 - low, 0.5 - rare_low) / 2
    assert balanced_interval(correct, total)[0] == pytest.approx(expected)
    assert balanced_interval(np.array([0]), np.array([0])) is None


@pytest.mark.parametrize("sizes", [(110, 6), tuple(range(2, 18))], ids=["110 and 6", "16 small classes"])
@pytest.mark.parametrize("recall", [0.7, 0.9])
def test_the_balanced_interval_covers_the_balanced_accuracy(sizes, recall):
    rng, total = np.random.default_rng(0), np.array(sizes)
    intervals = [balanced_interval(rng.binomial(total, recall), total) for _ in range(1000)]
    assert np.mean([low <= recall <= high for low, high in intervals]) > 0.93
    assert max(high - low for low, high in intervals) < 0.5


def test_weights_of_photos_are_those_of_the_mean_recall():
    weights = class_weights(np.array(["a", "b", "a", "a"]))
    assert weights == pytest.approx([1 / 6, 1 / 2, 1 / 6, 1 / 6])
    assert mean_recall(np.array([1, 0, 1, 0], bool), np.array(["a", "b", "a", "a"])) == pytest.approx(1 / 3)
    assert mean_recall(np.arange(100) >= 10, np.zeros(100)) == 0.9


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=60).filter(lambda x: len(x) % 2 == 0))
def test_with_even_classes_the_paired_test_is_mcnemar_and_the_gain_that_of_accuracy(answered):
    first, second = np.array(answered).T
    classes = np.arange(len(first)) % 2
    assert paired_test(first, second, classes) == paired_test(first, second) == mcnemar(first, second)
    assert paired_gain(first, second, classes=classes) == pytest.approx(paired_gain(first, second))


def test_the_sign_flip_test_is_exact_for_few_differences():
    assert sign_flip_test(np.array([0.1, 0.2, 0.4, 0.8, 0])) == pytest.approx(2 / 16)
    assert sign_flip_test(np.array([0.1, 0.2, -0.4, 0.8])) == pytest.approx(2 * 5 / 16)  # sums of 0.7 to 1.5
    assert sign_flip_test(np.zeros(3)) == sign_flip_test(np.ones(1)) == 1
    assert sign_flip_test(np.ones(40)) == sign_flip_test(np.ones(40)) <= 0.001


@pytest.mark.parametrize("rare", [0.3, 0.0], ids=["opposite changes", "no change"])
def test_the_paired_test_of_the_balanced_accuracy_rejects_no_more_than_it_claims(rare):
    """The large class loses 0.1 and the rare one gains 0.1, or both stay as good."""
    rng, classes = np.random.default_rng(0), np.repeat([0, 1], [110, 6])
    rejected = covered = 0
    for _ in range(200):
        large, small = rng.random(110), rng.random(6)
        lost, shift = (0.11, 0.1) if rare else (0.05, 0)
        only_first = np.r_[large < lost, small < 0.1]
        only_second = np.r_[(large > lost) & (large < 2 * lost - shift), (small > 0.1) & (small < 0.2 + shift)]
        rejected += paired_test(only_first, only_second, classes) < 0.05
        _, low, high = paired_gain(only_first, only_second, classes=classes)
        covered += low <= 0 <= high
    assert rejected <= 15 and covered >= 185


def test_a_change_of_a_rare_class_counts_as_much_as_one_of_a_large_class():
    classes = np.repeat([0, 1], [100, 20])
    before, after = classes == 0, (classes == 1) | (np.arange(120) % 100 > 9)
    gain, low, _ = paired_gain(before, after, classes=classes)
    assert gain == pytest.approx((1 - 0.1) / 2) and low > 0.2
    assert paired_test(before, after, classes) < 0.001 < mcnemar(before, after)
