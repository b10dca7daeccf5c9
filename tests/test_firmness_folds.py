"""Folds of a cross-validation: near-duplicates together, every class everywhere, small classes named."""

import numpy as np
import pandas as pd
import pytest

from helpers.firmness import folds

NO_PAIRS = pd.DataFrame({"a": [], "b": []}, dtype=int)


def table(sizes, copies=0):
    """Photos of classes of these sizes, split 60/20/20; the first `copies` of each class are there twice."""
    rows = []
    for label, size in sizes.items():
        for number in [*range(size), *range(min(copies, size))]:
            rows.append((label, ("train", "train", "train", "val", "test")[number % 5], f"{label}{number}"))
    photos = pd.DataFrame(rows, columns=["label", "split", "digest"])
    return photos.assign(group=pd.factorize(photos["digest"])[0])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_group_across_folds_and_every_photo_judged_once(count):
    dealt = folds.deal(table({"a": 23, "b": 11}, copies=7), NO_PAIRS, count, 0, repeats=2)
    for repeat in range(2):
        parts = [part for part in dealt.parts if part.repeat == repeat]
        assert sorted(np.concatenate([part.judged for part in parts])) == list(range(len(dealt.rows)))
    for part in dealt.parts:
        train, watched, judged = (set(dealt.groups[at]) for at in (part.train, part.watched, part.judged))
        assert not train & watched and not judged & (train | watched)
        assert set(dealt.labels[part.train]) == set(dealt.labels[part.watched]) == {0, 1}
        assert len(part.train) + len(part.watched) + len(part.judged) == len(dealt.rows)
    assert dealt.counts.sum() == 34


def test_a_pair_found_across_groups_makes_them_one():
    photos = table({"a": 10, "b": 10})
    pairs = pd.DataFrame({"a": [0, 1], "b": [1, 7]})
    dealt = folds.deal(photos, pairs, 5, 0)
    assert len(set(dealt.groups[[0, 1, 7]])) == 1
    assert dealt.counts.sum() == 18
    assert len(set(dealt.folds[0][[0, 1, 7]])) == 1


def test_every_class_evenly_and_validation_in_the_same_share():
    dealt = folds.deal(table({"a": 50, "b": 35}), NO_PAIRS, 5, 3)
    for part in dealt.parts:
        assert list(np.bincount(dealt.labels[part.judged])) == [10, 7]
        assert len(part.watched) / (len(part.train) + len(part.watched)) == pytest.approx(0.25, abs=0.02)


def test_the_photos_that_are_watched_change_from_fold_to_fold():
    dealt = folds.deal(table({"a": 50, "b": 50}), NO_PAIRS, 5, 3)
    times = np.bincount(np.concatenate([part.watched for part in dealt.parts]), minlength=100)
    assert times.max() < 4  # a photo that is watched in all four of its folds is never learnt from


def test_small_classes_are_named_and_left_out():
    photos = table({"a": 9, "few": 4, "b": 9, "copied": 4}, copies=4)
    dealt = folds.deal(photos, NO_PAIRS, 5, 0)
    assert dealt.classes == ["a", "b"]
    assert dealt.left_out == {"copied": 4, "few": 4}  # four photos twice are four
    said = folds.in_words(dealt, photos, 5)
    assert "few (4)" in said and "copied (4)" in said
    assert set(photos["label"].iloc[dealt.rows]) == {"a", "b"}


def test_off_and_impossible_are_told_apart():
    photos = table({"a": 9, "few": 4})
    assert folds.deal(photos, NO_PAIRS, 0, 0) is None
    assert "CV_FOLDS = 0" in folds.in_words(None, photos, 0)
    assert folds.deal(photos, NO_PAIRS, 5, 0) is None
    assert "set CV_FOLDS lower" in folds.in_words(None, photos, 5)
    assert folds.deal(photos, NO_PAIRS, 4, 0) is not None


def test_two_folds_need_photos_to_watch_as_well():
    assert folds.deal(table({"a": 3, "b": 3}), NO_PAIRS, 2, 0) is None
    dealt = folds.deal(table({"a": 4, "b": 4}), NO_PAIRS, 2, 0)
    assert all(len(part.train) and len(part.watched) for part in dealt.parts)


def test_repeats_deal_anew_and_the_seed_decides():
    photos = table({"a": 20, "b": 20})
    one, same, other = (folds.deal(photos, NO_PAIRS, 5, seed, repeats=2) for seed in (0, 0, 1))
    assert (one.folds == same.folds).all()
    assert (one.folds[0] != one.folds[1]).any() and (one.folds != other.folds).any()
