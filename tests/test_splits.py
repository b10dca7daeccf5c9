"""Is every photo in exactly one split, with its near-copies, in fair shares, and in the same one next time?"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers.photos.splits import NEAR_BITS, SPLIT_ORDER, assign_splits, group_near_duplicates, too_small


def table(labels: list[str], groups: list[int] | None = None, splits: list[str | None] | None = None) -> pd.DataFrame:
    groups = list(range(len(labels))) if groups is None else groups
    digests = [f"digest {number}" for number in range(len(labels))]
    return pd.DataFrame({"label": labels, "group": groups, "split": splits or [None] * len(labels), "digest": digests})


def usable(photos: pd.DataFrame) -> pd.DataFrame:
    """Without the classes that `too_small` leaves out, as `prepare` does it."""
    return photos[~photos["label"].isin(list(too_small(photos)))].reset_index(drop=True)


labels = st.lists(st.sampled_from("abc"), min_size=9, max_size=60)
shares = st.tuples(st.floats(0.05, 0.45), st.floats(0.05, 0.45))
seeds = st.integers(0, 2**32 - 1)
OWNERS = (("train", "val", "test"), ("train", "test"), ("train", "val"), ("train",))


@st.composite
def piles(draw, owners: tuple[tuple[str | None, ...], ...] = ((None,),)) -> pd.DataFrame:
    """Photos of one to three classes: groups of one to five photos, some of them across classes, in any order."""
    rows = []
    for label in "abc"[: draw(st.integers(1, 3))]:
        sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=9))
        rows += [(label, f"{label}{number}") for number, size in enumerate(sizes) for _ in range(size)]
    rows += draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["shared", "a0", "b1"])), max_size=4))
    rows = draw(st.permutations(rows))
    owner = draw(st.sampled_from(owners))
    splits = draw(st.lists(st.sampled_from(owner), min_size=len(rows), max_size=len(rows)))
    return table([label for label, _ in rows], list(pd.factorize(np.array([group for _, group in rows]))[0]), splits)


@given(piles(), shares, seeds)
def test_no_group_is_divided_and_every_class_stands_in_every_split(photos, share, seed):
    photos = usable(photos)
    assume(len(photos))
    split = assign_splits(photos, *share, seed)
    assert list(split.index) == list(photos.index)
    assert split.isin(SPLIT_ORDER).all()
    assert split.groupby(photos["group"]).nunique().max() == 1
    for _, of_class in split.groupby(photos["label"]):
        assert set(of_class) == set(SPLIT_ORDER)


@given(labels, shares, seeds)
def test_shares_are_kept_within_one_photo_a_class(names, share, seed):
    photos = usable(table(names))
    assume(len(photos))
    split = assign_splits(photos, *share, seed)
    for _, of_class in split.groupby(photos["label"]):
        for name, wanted in zip(("val", "test"), share, strict=True):
            assert abs((of_class == name).sum() - wanted * len(of_class)) <= 1


@given(piles(), shares, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(photos, share, seed, random):
    photos = usable(photos)
    assume(len(photos))
    order = list(photos.index)
    random.shuffle(order)
    shuffled = assign_splits(photos.loc[order].reset_index(drop=True), *share, seed)
    assert list(shuffled) == list(assign_splits(photos, *share, seed).loc[order])
    assert too_small(photos.loc[order]) == too_small(photos)


@given(piles(OWNERS), shares, seeds)
def test_the_owners_split_is_kept_and_only_what_is_missing_is_cut_from_train(photos, share, seed):
    photos = usable(photos)
    assume(len(photos))
    there = set(photos["split"])
    split = assign_splits(photos, *share, seed)
    assert (split == photos["split"])[photos["split"] != "train"].all()
    new = split[photos["split"] == "train"]
    assert set(new) <= {"train"} | (set(SPLIT_ORDER) - there)
    assert new.groupby(photos["group"]).nunique().max() == 1
    for _, of_class in split.groupby(photos["label"]):
        assert set(of_class) == set(SPLIT_ORDER)


@given(piles((*OWNERS, (None,))))
def test_a_class_is_left_out_only_where_no_split_would_do(photos):
    reasons = too_small(photos)
    rest = usable(photos)
    assert too_small(rest) == {}
    for label, reason in reasons.items():
        members = photos[photos["label"] == label]
        assert "needs at least" in reason
        own = members.groupby("group").ngroups
        others = photos.loc[photos["label"] != label, "group"]
        assert own < 3 or members["group"].isin(others).any() or members["split"].notna().any()


def test_the_seed_decides_and_nothing_else():
    photos = table(list("ab") * 50)
    splits = [list(assign_splits(photos, 0.2, 0.2, seed)) for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]


@settings(max_examples=150)
@given(labels, shares, seeds, st.sampled_from("abc"))
def test_a_photo_more_or_less_moves_two_others_of_its_class_at_most(names, share, seed, label):
    photos = table(names)
    more = pd.concat([photos, table([label]).assign(group=len(photos), digest="new")], ignore_index=True)
    assume(not too_small(photos) and not too_small(more))
    before, after = assign_splits(photos, *share, seed), assign_splits(more, *share, seed)
    moved = photos["label"][before != after[:-1]]
    assert (moved == label).all() and len(moved) <= 2


def test_near_copies_stay_together_and_those_across_classes_in_train():
    photos = table(list("aaaaaaaabbbbbbbb"), [0, 0, 0, 1, 2, 3, 9, 9, 9, 4, 4, 5, 6, 7, 8, 8])
    for seed in range(30):
        split = assign_splits(photos, 0.25, 0.25, seed)
        assert (split[photos["group"] == 9] == "train").all()
        assert split.groupby(photos["group"]).nunique().max() == 1


def test_a_thousand_classes():
    photos = table([f"class {number % 1000}" for number in range(4000)])
    assert too_small(photos) == {}
    assert assign_splits(photos, 0.2, 0.2, 1).value_counts().to_dict() == {"train": 2000, "val": 1000, "test": 1000}


def test_a_group_too_large_for_a_split_does_not_overfill_it():
    photos = table(list("a" * 20 + "b" * 20), [0] * 15 + [1, 2, 3, 4, 5] + list(range(6, 26)))
    for seed in range(30):
        split = assign_splits(photos, 0.2, 0.2, seed)
        assert (split[photos["group"] == 0] == "train").all()


@pytest.mark.parametrize("share", [(0, 0.2), (0.2, 0), (0.5, 0.5), (1, 0.1), (-0.1, 0.2), (0.2, float("nan"))])
def test_shares_that_leave_nothing_are_named(share):
    with pytest.raises(ValueError, match=r"VALIDATION_SPLIT = .* TEST_SPLIT"):
        assign_splits(table(list("aaaabbbb")), *share, 1)


def test_classes_too_small_are_told_what_they_have_and_need():
    photos = table(list("aaaaabbccccd"), [1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 5])
    assert too_small(photos) == {
        "b": "has 2 photos; it needs at least 3 different ones to stand in train, val and test",
        "c": "has 4 photos, 2 of them different; it needs at least 3 different ones to stand in train, val and test",
        "d": "has 1 photo, 0 of them different; it needs at least 3 different ones to stand in train, val and test",
    }


def test_classes_missing_from_the_owners_splits_are_told():
    photos = table(list("aaabbc"), splits=["train", "val", "test", "train", "val", "test"])
    assert too_small(photos) == {
        "b": "has no photo in test; it needs at least one in each",
        "c": "has no photo in train or val; it needs at least one in each",
    }
    photos = table(list("aabb"), splits=["train", "test", "train", "test"])
    needs = "it needs at least 2 different ones to stand in train and val"
    assert too_small(photos) == dict.fromkeys("ab", f"has 1 photo in train; {needs}")


# Near-duplicates


def as_hash(bits: int) -> str:
    return f"{bits:016x}"


def test_copies_share_a_number_however_they_are_known():
    far = 0xFFFF_0000_0000_0000
    near = 0b1111111111  # ten bits away from 0
    hashes = [as_hash(0), as_hash(far), as_hash(near), "", "", "", as_hash(far | 0xFFFF)]
    digests = ["d0", "d1", "d2", "d3", "d4", "d3", "d6"]
    assert list(group_near_duplicates(hashes, digests)) == [0, 1, 0, 2, 3, 2, 4]
    assert near.bit_count() == NEAR_BITS


def test_copies_of_copies_are_together():
    chain = [as_hash((1 << bits) - 1) for bits in (0, 10, 20, 30, 41)]
    assert list(group_near_duplicates(chain, list("abcde"))) == [0, 0, 0, 0, 1]


def test_equal_files_are_together_though_their_hash_is_far():
    assert list(group_near_duplicates([as_hash(0), as_hash(2**64 - 1)], ["same", "same"])) == [0, 0]


def test_no_photos_make_no_groups():
    assert list(group_near_duplicates([], [])) == []


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 15)) | st.none(), max_size=30),
    st.integers(0, 2**32),
)
def test_groups_are_the_same_as_comparing_each_with_each(numbers, seed):
    chance = np.random.default_rng(seed)
    flips = [0 if n is None else sum(1 << int(b) for b in chance.choice(64, n[1], False)) for n in numbers]
    hashes = ["" if n is None else as_hash(n[0] ^ flip) for n, flip in zip(numbers, flips, strict=True)]
    hashes += [as_hash(int(h, 16) ^ 1) for h in hashes if h][:5]
    digests = [f"d{int(chance.integers(0, len(hashes) * 2))}" for _ in hashes]
    groups = group_near_duplicates(hashes, digests)
    expected = list(range(len(hashes)))
    for i in range(len(hashes)):
        for j in range(i):
            near = hashes[i] and hashes[j] and (int(hashes[i], 16) ^ int(hashes[j], 16)).bit_count() <= NEAR_BITS
            if near or digests[i] == digests[j]:
                expected = [expected[j] if e == expected[i] else e for e in expected]
    assert (pd.factorize(np.array(expected, dtype=int))[0] == groups).all()


def test_blocks_of_comparison_miss_no_pair(monkeypatch):
    from helpers.photos import splits

    chance = np.random.default_rng(0)
    bits = chance.integers(0, 2**63, 50, dtype=np.uint64)
    hashes = [as_hash(int(b)) for b in [*bits, *bits]]
    digests = [str(number) for number in range(100)]
    whole = group_near_duplicates(hashes, digests)
    monkeypatch.setattr(splits, "_BLOCK", 7)
    assert list(group_near_duplicates(hashes, digests)) == list(whole) == [*range(50), *range(50)]
