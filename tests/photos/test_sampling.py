"""A random sample of very many photos."""

import numpy as np
import pandas as pd
import pytest

from builders import photo_table
from phototransfer.photos import sampling
from phototransfer.photos.sampling import describe_sample, sample_photos, sample_rows


@pytest.fixture
def photos(monkeypatch) -> pd.DataFrame:
    monkeypatch.setattr(sampling, "MOST_PHOTOS", 1000)
    return photo_table(["a"] * 6000 + ["b"] * 3500 + ["rare"] * 30 + ["single"])


def test_each_class_has_its_share_and_a_rare_one_enough(photos):
    rows = sample_photos(photos, 0)
    assert (np.diff(rows) > 0).all()
    counts = photos["label"].iloc[rows].value_counts()
    assert counts["a"] == round(6000 * 1000 / 9531) and counts["b"] == round(3500 * 1000 / 9531)
    assert counts["rare"] == 20 and counts["single"] == 1


def test_the_sample_is_random_and_that_of_its_seed(photos):
    first, again, other = sample_photos(photos, 0), sample_photos(photos, 0), sample_photos(photos, 1)
    np.testing.assert_array_equal(first, again)
    assert len(np.intersect1d(first, other)) < len(first) / 2
    of_a = first[first < 6000]
    assert 2700 < of_a.mean() < 3300 and of_a.min() < 100 and of_a.max() > 5900


def test_no_sample_of_few_photos(photos):
    assert sample_photos(photos.head(1000), 0) is None
    assert describe_sample(1000, 1000) == ""
    assert "1,000 of 9,531" in describe_sample(1000, 9531)


def test_a_small_split_is_kept_whole():
    split = pd.Series(["train"] * 5000 + ["test"] * 40)
    rows = sample_rows(split, most=0, fewest=100, seed=0)
    assert split.iloc[rows].value_counts().to_dict() == {"train": 100, "test": 40}
