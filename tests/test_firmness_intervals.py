"""Intervals that say how firm a figure is."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.firmness import accuracies, in_words, wilson


@given(st.integers(1, 5000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_wilson_is_the_formula_of_the_paper(counted):
    right, of = counted
    z, share = 1.959963984540054, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    low, high = wilson(right, of)
    assert low == pytest.approx(max(0, middle - half), abs=1e-9)
    assert high == pytest.approx(min(1, middle + half), abs=1e-9)
    assert low <= share <= high


def test_18_of_20_is_not_90_percent():
    low, high = wilson(18, 20)
    assert (round(low, 2), round(high, 2)) == (0.70, 0.97)


def test_nothing_counted_has_no_interval():
    assert wilson(0, 0) is None
    assert in_words(0, 0) == "no photos: nothing can be said"


def test_in_words():
    assert in_words(18, 20) == "18 of 20 right: 0.90, 95 % interval 0.70 to 0.97"


def test_accuracies_by_split_beside_the_majority():
    photos = pd.DataFrame(
        {
            "split": ["train"] * 4 + ["val"] * 2 + ["test"] * 5,
            "label": ["a", "b"] * 3 + ["a", "a", "a", "b", "b"],
            "correct": [True, True, True, False, True, False, True, True, True, True, False],
        }
    )
    found = accuracies(photos)
    assert (found["train"], found["val"], found["test"]) == (0.75, 0.5, 0.8)
    assert (found["test_right"], found["majority"]) == (4, 0.6)
    assert found["test_ci95"] == wilson(4, 5)
