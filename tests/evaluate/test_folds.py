"""Folds: near-duplicates together, every class in each fold, small classes named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import photo_table
from phototransfer.evaluate.folds import assign_folds, choose_measure, make_folds, min_photos_per_class


def table(sizes, duplicates=0):
    """Photos of classes of these sizes, split 60/20/20; the first `duplicates` of each class occur twice."""
    labels, digests, splits = [], [], []
    for label, size in sizes.items():
        numbers = [*range(size), *range(min(duplicates, size))]
        labels += [label] * len(numbers)
        digests += [f"{label}{number}" for number in numbers]
        splits += [("train", "train", "train", "val", "test")[number % 5] for number in numbers]
    return photo_table(labels, splits, groups=pd.factorize(np.array(digests))[0], digest=digests)


def check(folds):
    assert sorted(np.concatenate([fold.test for fold in folds.folds])) == list(range(len(folds.rows)))
    for fold in folds.folds:
        train, val, test = (set(folds.groups[rows]) for rows in (fold.train, fold.val, fold.test))
        assert not train & val and not test & (train | val)
        assert len(fold.train) + len(fold.val) + len(fold.test) == len(folds.rows)


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_no_group_is_on_both_sides_and_every_photo_is_tested_once(n_folds):
    folds = make_folds(table({"a": 23, "b": 11}, duplicates=7), n_folds, 0)
    check(folds)
    for fold in folds.folds:
        assert set(folds.labels[fold.train]) == set(folds.labels[fold.val]) == {0, 1}
    assert folds.representative.sum() == 34


sizes = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 25), min_size=2)


@given(sizes, st.integers(2, 6), st.integers(0, 2**32 - 1), st.integers(0, 9), st.booleans())
def test_any_class_sizes_have_valid_folds_or_none(sizes, n_folds, seed, duplicates, without_test):
    photos = table(sizes, duplicates)
    folds = make_folds(photos, n_folds, seed, without_test=without_test)
    used = photos[photos["split"] != "test"] if without_test else photos
    different = used.groupby("label")["group"].nunique()

    def enough_for(number):
        return set(different.index[different >= min_photos_per_class(number)])

    possible = [number for number in range(2, n_folds + 1) if len(enough_for(number)) > 1]
    if not possible:
        assert folds is None
        return
    assert folds.n_folds == max(possible) and ("instead of" in " ".join(folds.notes())) == (n_folds > max(possible))
    enough = enough_for(folds.n_folds)
    check(folds)
    assert set(folds.classes) == enough and set(folds.left_out) == set(used["label"]) - enough
    assert set(folds.rows) == set(used.index[used["label"].isin(enough)])
    for number in range(len(folds.classes)):  # stratified: the folds' shares of a class differ by one photo at most
        counted = [(folds.labels[fold.test] == number) & folds.representative[fold.test] for fold in folds.folds]
        counts = [values.sum() for values in counted]
        assert max(counts) - min(counts) <= 1


def test_a_merged_group_counts_once_and_stays_in_one_fold():
    photos = table({"a": 10, "b": 10})
    photos.loc[[0, 1, 7], "group"] = 0
    folds = make_folds(photos, 5, 0)
    assert folds.representative.sum() == 18
    assert sum(bool({0, 1, 7} & set(fold.test)) for fold in folds.folds) == 1


def test_folds_are_stratified_with_equal_validation_shares():
    folds = make_folds(table({"a": 50, "b": 35}), 5, 3)
    for fold in folds.folds:
        assert list(np.bincount(folds.labels[fold.test])) == [10, 7]
        assert len(fold.val) / (len(fold.train) + len(fold.val)) == pytest.approx(0.25, abs=0.02)


def test_the_validation_photos_change_from_fold_to_fold():
    folds = make_folds(table({"a": 50, "b": 50}), 5, 3)
    times = np.bincount(np.concatenate([fold.val for fold in folds.folds]), minlength=100)
    assert times.max() < 4  # a validation photo in all four of its folds is never trained on


def test_small_classes_are_named_and_left_out():
    photos = table({"a": 9, "few": 4, "b": 9, "twice": 4}, duplicates=4)
    folds = make_folds(photos, 5, 0)
    assert folds.classes == ["a", "b"]
    assert folds.left_out == {"few": 4, "twice": 4}  # four photos twice are four
    assert set(photos["label"].iloc[folds.rows]) == {"a", "b"}


def test_too_few_photos_or_zero_folds_give_none():
    assert make_folds(table({"a": 9, "few": 4}), 0, 0) is None
    assert make_folds(table({"a": 9, "few": 2}), 5, 0) is None


def test_more_folds_than_the_second_largest_class_has_photos_are_fewer_folds():
    folds = make_folds(table({"a": 9, "few": 4}), 5, 0)
    assert folds.n_folds == len(folds.folds) == 4 and folds.requested == 5


@pytest.mark.parametrize("seed", range(5))
def test_no_fold_is_without_validation_photos_if_groups_span_classes(seed):
    spanning = [*range(8)] * 2
    assert make_folds(photo_table(["a", "b"] * 8, groups=np.sort(spanning)), 3, seed) is None
    photos = photo_table(["a", "b"] * 11, groups=[*np.sort(spanning), *range(8, 14)])
    folds = make_folds(photos, 3, seed)
    assert folds is None or all(len(fold.val) and len(fold.train) for fold in folds.folds)


def test_two_folds_need_validation_photos_as_well():
    assert make_folds(table({"a": 3, "b": 3}), 2, 0) is None
    folds = make_folds(table({"a": 4, "b": 4}), 2, 0)
    assert all(len(fold.train) and len(fold.val) for fold in folds.folds)


def test_the_seed_determines_the_folds():
    first, same, other = (make_folds(table({"a": 20, "b": 20}), 5, seed).folds[0].test for seed in (0, 0, 1))
    assert list(first) == list(same) != list(other)


def test_without_test_neither_test_nor_dropped_photos_take_part():
    photos = table({"a": 20, "b": 20})
    photos.loc[0, "split"] = "dropped"
    folds = make_folds(photos, 3, 0, without_test=True)
    assert set(folds.rows) == set(photos.index[photos["split"].isin(["train", "val"])])
    assert len(make_folds(photos, 3, 0).rows) == 40


def test_groups_of_a_part_stay_together():
    groups = np.array([7, 3, 7, 9, 3, 9, 12, 12])
    labels = np.array([0, 1, 0, 0, 1, 0, 1, 1])
    fold_of = assign_folds(labels, groups, 2, 0)
    assert all(len(set(fold_of[groups == group])) == 1 for group in groups)
    assert {tuple(sorted(set(labels[fold_of == fold]))) for fold in (0, 1)} == {(0, 1)}


@pytest.mark.parametrize(
    "sizes, measure", [((20, 10), "accuracy"), ((21, 10), "balanced accuracy"), ((50, 50, 20), "balanced accuracy")]
)
def test_the_measure_is_balanced_accuracy_if_the_classes_are_uneven(sizes, measure):
    photos = photo_table(np.repeat([*"abc"[: len(sizes)]], sizes))
    assert choose_measure(photos) == measure
    folds = make_folds(photos, 3, 0)
    assert folds.measure == measure
    correct = folds.labels == 0  # only class a
    assert folds.score(correct) == pytest.approx(correct.mean() if measure == "accuracy" else 1 / len(sizes))
    low, high = folds.interval(correct)
    assert low < folds.score(correct) < high
    assert folds.gain(correct, ~correct)[0] == pytest.approx(folds.score(~correct) - folds.score(correct))


def test_near_duplicates_count_once_and_dropped_photos_not_for_the_measure():
    photos = photo_table(["a"] * 30 + ["b"] * 10, groups=[*range(15), *range(15), *range(15, 25)])
    assert choose_measure(photos) == "accuracy"
    photos = photo_table(["a"] * 30 + ["b"] * 10, ["dropped"] * 15 + ["train"] * 25)
    assert choose_measure(photos) == "accuracy"


def test_folds_with_and_without_test_photos_have_one_measure():
    """Without the test photos the classes have 20 and 10 photos, with them 24 and 11."""
    photos = photo_table(
        ["a"] * 24 + ["b"] * 11, ["train", "val"] * 10 + ["test"] * 4 + ["train", "val"] * 5 + ["test"]
    )
    measures = {make_folds(photos, 3, 0, without_test=without).measure for without in (True, False)}
    assert measures == {choose_measure(photos)} == {"balanced accuracy"}
