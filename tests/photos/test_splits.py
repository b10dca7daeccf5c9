"""Splits are stratified and reproducible, and near-duplicates stay together."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from phototransfer.photos.splits import SPLIT_ORDER, assign_splits, connected, too_small


def table(labels, groups=None, split=None) -> pd.DataFrame:
    groups = range(len(labels)) if groups is None else groups
    digests = [f"digest {number}" for number in range(len(labels))]
    columns = {"label": list(labels), "group": list(groups), "split": split or [None] * len(labels), "digest": digests}
    return pd.DataFrame(columns)


def usable(photos: pd.DataFrame) -> pd.DataFrame:
    """Without the classes that `too_small` leaves out, as `prepare` does it."""
    photos = photos[~photos["label"].isin(list(too_small(photos)))].reset_index(drop=True)
    assume(len(photos))
    return photos


labels = st.lists(st.sampled_from("abc"), min_size=9, max_size=60)
shares = st.fixed_dictionaries({"val": st.floats(0.05, 0.45), "test": st.floats(0.05, 0.45)})
seeds = st.integers(0, 2**32 - 1)
NO_SPLIT = ((None,),)
GIVEN_SPLITS = (("train", "val", "test"), ("train", "test"), ("train", "val"), ("train",))


@st.composite
def tables(draw, given_splits=NO_SPLIT) -> pd.DataFrame:
    """One to three classes in groups of one to five photos, some of them in several classes, in any order."""
    rows = []
    for label in "abc"[: draw(st.integers(1, 3))]:
        sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=9))
        for number, size in enumerate(sizes):
            rows += [(label, f"{label}{number}")] * size
    rows += draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["shared", "a0", "b1"])), max_size=4))
    rows = draw(st.permutations(rows))
    names = st.sampled_from(draw(st.sampled_from(given_splits)))
    split = draw(st.lists(names, min_size=len(rows), max_size=len(rows)))
    return table([label for label, _ in rows], pd.factorize(np.array([group for _, group in rows]))[0], split)


def assert_valid(split: pd.Series, photos: pd.DataFrame) -> None:
    assert list(split.index) == list(photos.index) and split.isin(SPLIT_ORDER).all()
    assert split.groupby(photos["label"]).agg(set).eq(set(SPLIT_ORDER)).all()


@given(tables(), shares, seeds)
def test_no_group_is_divided_and_every_class_is_in_every_split(photos, shares, seed):
    photos = usable(photos)
    split = assign_splits(photos, shares, seed)
    assert_valid(split, photos)
    assert split.groupby(photos["group"]).nunique().max() == 1


@given(labels, shares, seeds)
def test_shares_hold_within_one_photo_per_class(names, shares, seed):
    photos = usable(table(names))
    split = assign_splits(photos, shares, seed)
    for _, of_class in split.groupby(photos["label"]):
        for name, share in shares.items():
            assert abs((of_class == name).sum() - share * len(of_class)) <= 1


@given(tables(), shares, seeds, st.randoms(use_true_random=False))
def test_order_of_the_rows_does_not_matter(photos, shares, seed, random):
    photos = usable(photos)
    order = list(photos.index)
    random.shuffle(order)
    shuffled = photos.loc[order].reset_index(drop=True)
    assert list(assign_splits(shuffled, shares, seed)) == list(assign_splits(photos, shares, seed).loc[order])
    assert too_small(shuffled) == too_small(photos)


@given(tables(GIVEN_SPLITS), shares, seeds)
def test_given_splits_stay_and_only_missing_ones_are_cut_from_train(photos, shares, seed):
    photos = usable(photos)
    given_splits = set(photos["split"])
    split = assign_splits(photos, shares, seed)
    assert_valid(split, photos)
    assert (split == photos["split"])[photos["split"] != "train"].all()
    new = split[photos["split"] == "train"]
    assert set(new) <= {"train"} | (set(SPLIT_ORDER) - given_splits)
    assert new.groupby(photos["group"]).nunique().max() == 1


@given(tables((*GIVEN_SPLITS, *NO_SPLIT)))
def test_a_class_is_left_out_only_if_no_split_is_possible(photos):
    reasons = too_small(photos)
    assert too_small(usable(photos)) == {}
    for label, reason in reasons.items():
        members = photos[photos["label"] == label]
        assert "needs at least" in reason
        others = photos.loc[photos["label"] != label, "group"]
        few = members["group"].nunique() < 3
        assert few or members["group"].isin(others).any() or members["split"].notna().any()


def test_the_seed_determines_the_splits():
    photos, shares = table("ab" * 50), {"val": 0.2, "test": 0.2}
    split = [list(assign_splits(photos, shares, seed)) for seed in (1, 1, 2)]
    assert split[0] == split[1] != split[2]


def test_split_without_a_share_is_not_cut():
    split = assign_splits(table("ab" * 50), {"val": 0.2}, 1)
    assert split.value_counts().to_dict() == {"train": 80, "val": 20}


@settings(max_examples=150)
@given(labels, shares, seeds, st.sampled_from("abc"))
def test_one_photo_more_moves_at_most_two_others_of_its_class(names, shares, seed, label):
    photos = table(names)
    more = pd.concat([photos, table([label]).assign(group=len(photos), digest="new")], ignore_index=True)
    assume(not too_small(photos) and not too_small(more))
    before, after = assign_splits(photos, shares, seed), assign_splits(more, shares, seed)
    moved = photos["label"][before != after[:-1]]
    assert (moved == label).all() and len(moved) <= 2


def test_near_duplicates_in_two_classes_are_in_train():
    photos = table("aaaaaaaabbbbbbbb", [0, 0, 0, 1, 2, 3, 9, 9, 9, 4, 4, 5, 6, 7, 8, 8])
    for seed in range(30):
        split = assign_splits(photos, {"val": 0.25, "test": 0.25}, seed)
        assert (split[photos["group"] == 9] == "train").all()
        assert split.groupby(photos["group"]).nunique().max() == 1


def test_a_thousand_classes():
    photos = table([f"class {number % 1000}" for number in range(4000)])
    assert too_small(photos) == {}
    split = assign_splits(photos, {"val": 0.2, "test": 0.2}, 1)
    assert split.value_counts().to_dict() == {"train": 2000, "val": 1000, "test": 1000}


def test_group_too_large_for_a_split_stays_in_train():
    photos = table("a" * 20 + "b" * 20, [0] * 15 + [1, 2, 3, 4, 5] + list(range(6, 26)))
    for seed in range(30):
        split = assign_splits(photos, {"val": 0.2, "test": 0.2}, seed)
        assert (split[photos["group"] == 0] == "train").all()


@pytest.mark.parametrize("val, test", [(0, 0.2), (0.2, 0), (0.5, 0.5), (1, 0.1), (-0.1, 0.2), (0.2, float("nan"))])
def test_shares_that_leave_nothing_to_train_on(val, test):
    with pytest.raises(ValueError, match=rf"VALIDATION_SPLIT and TEST_SPLIT .* got {val} and {test}"):
        assign_splits(table("aaaabbbb"), {"val": val, "test": test}, 1)


def test_reasons_of_small_classes():
    needs = "it needs at least 3 different ones to be in train, val and test"
    assert too_small(table("aaaaabbccccd", [1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 5])) == {
        "b": f"has 2 photos; {needs}",
        "c": f"has 4 photos, 2 of them different; {needs}",
        "d": f"has 1 photo, 0 of them different; {needs}",
    }
    assert too_small(table("aaabbc", split=["train", "val", "test", "train", "val", "test"])) == {
        "b": "has no photo in test; it needs at least one in each",
        "c": "has no photo in train or val; it needs at least one in each",
    }
    needs = "it needs at least 2 different ones to be in train and val"
    photos = table("aabb", split=["train", "test", "train", "test"])
    assert too_small(photos) == dict.fromkeys("ab", f"has 1 photo in train; {needs}")


def test_connected_positions_have_one_number():
    pairs = np.array([[4, 0, 2], [1, 3, 5]])
    assert list(connected(pairs, 7)) == [0, 1, 2, 0, 1, 2, 3]
    assert list(connected(np.empty((2, 0), dtype=int), 0)) == []
