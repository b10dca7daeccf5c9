"""A shift is found, a fair split is not called one, and too few photos are said to be too few."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from helpers.trust import plots, shift
from helpers.trust.words import shift_in_words, shift_state, shift_verdict

WIDTH = 40  # features a photo


def table_of(labels, split):
    return pd.DataFrame({"label": labels, "split": split, "group": np.arange(len(labels))})


def world(seed, train=120, val=60, test=60, classes=2, width=WIDTH):
    """Features with classes far apart and splits drawn at random: (features, photos)."""
    chance = np.random.default_rng(seed)
    split = chance.permutation(np.repeat(["train", "val", "test"], [train, val, test]))
    labels = chance.choice([f"class {n}" for n in range(classes)], len(split))
    spread = np.linspace(3, 0.5, width)
    features = chance.standard_normal((len(split), width)) * spread
    return features + 4 * pd.factorize(labels, sort=True)[0][:, None], table_of(labels, split)


def rows(found):
    return found.table.set_index("split")


def test_random_splits_are_seldom_called_a_shift():
    alarms, aucs = 0, []
    for seed in range(60):
        found = shift.test_shift(*world(seed, train=80, val=40, test=40), seed, permutations=99)
        alarms += (found.table["p_corrected"] < 0.05).any()
        aucs += list(found.table["auc"])
    assert alarms <= 7  # 3 expected; more than 7 happen once in 100 times
    assert abs(np.mean(aucs) - 0.5) < 0.02


def test_many_small_classes_give_half_on_average():
    aucs = []
    for seed in range(25):
        features, photos = world(seed, train=120, val=40, test=40, classes=40)
        aucs += list(shift.test_shift(features, photos, seed, permutations=19).table["auc"])
    assert abs(np.mean(aucs) - 0.5) < 0.03


def test_a_shift_is_found_in_the_split_that_has_it():
    hits = 0
    for seed in range(8):
        features, photos = world(seed)
        features[photos["split"] == "test", :5] += 0.5 * features[:, :5].std(axis=0)
        found = rows(shift.test_shift(features, photos, seed, permutations=99))
        hits += found.loc["test", "state"] == "found"
        assert found.loc["val", "state"] != "found"
    assert hits >= 6


def test_other_shares_of_the_classes_are_no_shift():
    features, photos = world(0, train=200, val=100, test=100)
    rare = (photos["split"] == "val") & (photos["label"] == "class 1") & (np.arange(len(photos)) % 5 > 0)
    kept = ~rare.to_numpy()
    found = shift.test_shift(features[kept], photos[kept].reset_index(drop=True), 0)
    assert set(found.table["state"]) == {"nothing found"}


def test_classes_that_are_split_by_class_cannot_be_compared():
    features, photos = world(0)
    photos["split"] = np.where(photos["label"] == "class 0", "train", "val")
    found = shift.test_shift(features, photos, 0)
    assert found.table["auc"].isna().all()
    assert found.table["photos"].eq(0).all()
    assert shift_state(found) == "cannot tell"
    assert shift.metrics(found) == {"val_auc": None, "test_auc": None}


def with_copies(seed, grouped):
    """Every test photo is a copy of a training photo, all else is random."""
    features, photos = world(seed, width=300)
    chance = np.random.default_rng(seed)
    for place in np.flatnonzero(photos["split"] == "test"):
        twins = np.flatnonzero((photos["split"] == "train") & (photos["label"] == photos["label"][place]))
        twin = chance.choice(twins)
        features[place] = features[twin] + 0.01 * chance.standard_normal(features.shape[1])
        if grouped:
            photos.loc[place, "group"] = photos["group"][twin]
    return features, photos


def test_copies_in_both_splits_are_set_aside():
    features, photos = with_copies(1, grouped=True)
    found = shift.test_shift(features, photos, 0, permutations=19)
    assert rows(found).loc["test", ["photos", "set_aside"]].tolist() == [0, 60]
    leaked = (photos["split"] == "test").to_numpy() & (np.arange(len(photos)) % 2 == 0)
    features, photos = with_copies(1, grouped=False)
    found = shift.test_shift(features, photos, 0, leaked, permutations=19)
    assert rows(found).loc["test", "photos"] == 60 - leaked.sum()
    assert found.scores.loc[leaked, "test"].isna().all()


def test_unknown_copies_are_said_to_be_likely():
    found = shift.test_shift(*with_copies(3, grouped=False), 0, permutations=249)
    assert rows(found).loc["test", "auc"] < rows(found).loc["test", "low"]
    assert "copies" in shift_in_words(found)
    assert "copies" not in shift_in_words(shift.test_shift(*world(3), 0, permutations=249))


def test_a_burst_in_one_split_counts_once():
    features, photos = world(0)
    burst = np.flatnonzero(photos["split"] == "test")[:40]
    features[burst] = features[burst[0]]
    photos.loc[burst, "group"] = photos["group"][burst[0]]
    found = rows(shift.test_shift(features, photos, 0))
    assert found.loc["test", "photos"] == 21
    assert found.loc["test", "state"] != "found"


def test_ten_photos_cannot_tell():
    found = shift.test_shift(*world(2, train=200, val=80, test=10), 0)
    assert rows(found)["state"].to_dict() == {"val": "nothing found", "test": "cannot tell"}
    assert shift_state(found) == "cannot tell"
    assert shift_verdict(found) == "cannot tell, too few photos"
    assert "10 test" in shift_in_words(found)


def test_leaving_one_out_needs_no_second_fit():
    """The closed form against ridge regression really fitted without the photo, class means and all."""
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [7, 4, 2])
    features, targets = chance.standard_normal((13, 5)), chance.random((13, 3)) < 0.5
    ridge = (np.linalg.svd(shift._less_class_mean(features, labels), compute_uv=False) ** 2).mean()
    expected = np.empty((13, 3))
    for out in range(13):
        rest = np.arange(13) != out
        own = rest & (labels == labels[out])
        x, y = features[rest].copy(), targets[rest].astype(float)
        for label in range(3):
            x[labels[rest] == label] -= x[labels[rest] == label].mean(axis=0)
            y[labels[rest] == label] -= y[labels[rest] == label].mean(axis=0)
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(5), x.T @ y)
        expected[out] = (features[out] - features[own].mean(axis=0)) @ weights
    members = np.bincount(labels)[labels][:, None]
    found = shift._left_out(features, targets, labels) * members / (members - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_auc_is_that_of_scikit_learn_within_classes():
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 20])
    scores, targets = chance.standard_normal((50, 4)), chance.random((50, 4)) < 0.4
    right = pairs = 0
    for label in (0, 1):
        own = labels == label
        count = targets[own].sum(axis=0) * (~targets[own]).sum(axis=0)
        right = right + count * [roc_auc_score(targets[own, n], scores[own, n]) for n in range(4)]
        pairs = pairs + count
    np.testing.assert_allclose(shift._auc(scores, targets, labels), right / pairs)


def test_the_odd_ones_are_named_first():
    features, photos = world(4, train=150, val=60, test=60)
    odd = np.flatnonzero(photos["split"] == "val")[:20]
    features[odd, :6] += 3 * features[:, :6].std(axis=0)
    photos["path"] = [f"{n}.jpg" for n in range(len(photos))]
    least, most = shift.extremes(shift.test_shift(features, photos, 0), photos, "val", 10)
    assert set(least.index) <= set(odd)
    assert set(least["split"]) == {"val"} and set(most["split"]) == {"train"}


def test_the_same_seed_gives_the_same():
    one, two = (shift.test_shift(*world(5), 7).table for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize("moved, marker", [(0.0, "o"), (1.5, "D")])
def test_figure_marks_what_was_found(moved, marker):
    features, photos = world(6)
    features[photos["split"] == "test", :5] += moved * features[:, :5].std(axis=0)
    found = shift.test_shift(features, photos, 0)
    axis = plots.shift(found).axes[0]
    assert next(line.get_marker() for line in axis.lines if len(line.get_xdata()) == 1) == marker
    assert [text.get_text().split(", ")[0] for text in axis.get_yticklabels()] == ["test", "val"]
