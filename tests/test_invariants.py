"""What holds for any folder of photos and any count of right answers: the table's order, the split, the interval."""

import math
import random
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from helpers.firmness import in_words, wilson
from helpers.photos import Source, prepare

SPLITS = ["train", "val", "test"]


@given(st.integers(1, 3000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_is_wilsons(counts):
    right, of = counts
    low, high = wilson(right, of)
    interval = binomtest(right, of).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    # Independently of both: the ends are the shares p for which |right/of − p| is 1.96 standard errors of p itself.
    for end in (low, high):
        if 0 < end < 1:
            assert abs(right / of - end) == pytest.approx(1.959963985 * math.sqrt(end * (1 - end) / of), rel=1e-6)
    assert low <= right / of <= high and 0 <= low < high <= 1


@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_is_the_same_seen_from_the_mistakes_and_narrows_with_more_photos(counts):
    right, of = counts
    low, high = wilson(right, of)
    assert wilson(of - right, of) == pytest.approx((1 - high, 1 - low))
    more_low, more_high = wilson(4 * right, 4 * of)
    assert more_high - more_low < high - low
    assert f"{right} of {of} right" in in_words(right, of)


names = st.sampled_from(["ant", "Bee", "cow", "été", "10", "9", "_x"])
photo_lists = st.lists(st.tuples(names, st.integers(0, 10**6)), min_size=9, max_size=30, unique=True)


@settings(max_examples=20)
@given(photo_lists, st.integers(0, 2**32 - 1), st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)), st.randoms())
def test_table_order_and_split_of_any_folder(tmp_path_factory, make_photo, listed, seed, shares, chance):
    base = tmp_path_factory.mktemp("any")
    for label, number in listed:
        make_photo(base / "photos" / label / f"{number}.jpg", number, (20, 18))
    try:
        photos = prepare(Source("any", base / "photos", base / "home"), *shares, seed).photos
    except ValueError:
        assume(False)
    order = photos.assign(split=photos["split"].map(SPLITS.index)).sort_values(["split", "label", "path"])
    assert list(order.index) == list(range(len(photos))) == list(photos.index)
    assert photos["original"].is_unique and photos["path"].is_unique
    assert photos.groupby("group")["split"].nunique().max() == 1
    assert photos["group"].drop_duplicates().tolist() == list(range(photos["group"].nunique()))
    alone = photos.groupby("group")["path"].transform("size") == 1
    for _, of_class in photos.groupby("label"):
        if alone[of_class.index].all():
            for split, share in zip(("val", "test"), shares, strict=True):
                assert abs((of_class["split"] == split).sum() - share * len(of_class)) <= 1
    again = list(listed)
    random.Random(chance.random()).shuffle(again)
    for label, number in again:
        make_photo(base / "again" / label / f"{number}.jpg", number, (20, 18))
    copied = prepare(Source("any", base / "again", base / "home2"), *shares, seed).photos
    pd.testing.assert_frame_equal(photos.drop(columns="path"), copied.drop(columns="path"))


def test_another_seed_is_another_split_and_the_same_seed_the_same(pile):
    def split(seed: int, home: str) -> dict[str, str]:
        photos = prepare(Source("pile", pile.folder, Path(pile.home, home)), 0.2, 0.2, seed).photos
        return dict(zip(photos["original"], photos["split"], strict=True))

    assert split(1, "a") == split(1, "b")
    assert len({tuple(split(seed, "c").items()) for seed in range(8)}) > 5
