"""A shift is found, a random split is not called one, and too few photos are reported as too few."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from builders import SETTINGS, features_of, photo_table
from phototransfer.audit import shift
from phototransfer.audit.shift import check_shift, shift_examples
from phototransfer.report import Skipped

WIDTH = 40  # features per photo


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch):
    monkeypatch.setattr(shift, "_PERMUTATIONS", 199)


def check(features, photos, seed=0):
    return check_shift(photos, features_of(features), SETTINGS | {"SEED": seed})


def make_data(seed, train=120, val=60, test=60, classes=2, width=WIDTH):
    """Return features with classes far apart and splits drawn at random: (features, photos)."""
    rng = np.random.default_rng(seed)
    split = rng.permutation(np.repeat(["train", "val", "test"], [train, val, test]))
    labels = rng.choice([f"class {n}" for n in range(classes)], len(split))
    spread = np.linspace(3, 0.5, width)
    features = rng.standard_normal((len(split), width)) * spread
    return features + 4 * pd.factorize(labels, sort=True)[0][:, None], photo_table(labels, split, duplicate_of="")


def line(result):
    return result.findings()["shift"].line


def rows(result):
    return result.table.set_index("split")


def test_random_splits_are_rarely_called_a_shift():
    alarms, aucs = 0, []
    for seed in range(60):
        result = check(*make_data(seed, train=80, val=40, test=40), seed)
        alarms += (result.table["p_corrected"] < 0.05).any()
        aucs += list(result.table["auc"])
    assert alarms <= 7  # 3 expected; more than 7 happen once in 100 times
    assert abs(np.mean(aucs) - 0.5) < 0.02


def test_many_small_classes_give_half_on_average(monkeypatch):
    monkeypatch.setattr(shift, "_PERMUTATIONS", 19)
    aucs = []
    for seed in range(25):
        aucs += list(check(*make_data(seed, train=120, val=40, test=40, classes=40), seed).table["auc"])
    assert abs(np.mean(aucs) - 0.5) < 0.03


def test_a_shift_is_found_in_the_split_that_has_it():
    hits = 0
    for seed in range(8):
        features, photos = make_data(seed)
        features[photos["split"] == "test", :5] += 0.5 * features[:, :5].std(axis=0)
        result = rows(check(features, photos, seed))
        hits += result.loc["test", "state"] == "found"
        assert result.loc["val", "state"] != "found"
    assert hits >= 6


def test_other_proportions_of_the_classes_are_no_shift():
    features, photos = make_data(0, train=200, val=100, test=100)
    rare = (photos["split"] == "val") & (photos["label"] == "class 1") & (np.arange(len(photos)) % 5 > 0)
    common = ~rare.to_numpy()
    result = check(features[common], photos[common].reset_index(drop=True))
    assert set(result.table["state"]) == {"nothing found"} and result.advice() == []


def test_splits_without_a_common_class_cannot_be_compared():
    features, photos = make_data(0)
    photos["split"] = np.where(photos["label"] == "class 0", "train", "val")
    result = check(features, photos)
    assert result.table["auc"].isna().all() and result.table["photos"].eq(0).all()
    assert result.state == "cannot tell" and result.plot() is None
    assert result.to_dict()["val_auc"] is None and result.to_dict()["test_auc"] is None


@pytest.mark.parametrize("labels, splits", [(["a"], ["train"]), (["a", "b"], ["train", "test"]), ([], [])])
def test_the_smallest_tables_cannot_tell(labels, splits):
    result = check(np.zeros((len(labels), 3)), photo_table(labels, splits, duplicate_of=""))
    assert result.state == "cannot tell" and line(result).startswith("cannot tell")
    assert isinstance(shift_examples(result), Skipped)


def test_not_checked_where_checks_are_off():
    features, photos = make_data(0)
    result = check_shift(photos, features_of(features), SETTINGS | {"CHECKS": False})
    assert isinstance(result, Skipped) and isinstance(shift_examples(result), Skipped)


def make_duplicates(seed, grouped):
    """Return data in which every test photo is a duplicate of a training photo."""
    features, photos = make_data(seed, width=300)
    rng = np.random.default_rng(seed)
    for place in np.flatnonzero(photos["split"] == "test"):
        twin = rng.choice(np.flatnonzero((photos["split"] == "train") & (photos["label"] == photos["label"][place])))
        features[place] = features[twin] + 0.01 * rng.standard_normal(features.shape[1])
        if grouped:
            photos.loc[place, "group"] = photos["group"][twin]
    return features, photos


def test_duplicates_in_both_splits_are_set_aside():
    result = check(*make_duplicates(1, grouped=True))
    assert rows(result).loc["test", ["photos", "set_aside"]].tolist() == [0, 60]
    features, photos = make_duplicates(1, grouped=False)
    duplicated = (photos["split"] == "test").to_numpy() & (np.arange(len(photos)) % 2 == 0)
    photos.loc[duplicated, "duplicate_of"] = "another.jpg"
    result = check(features, photos)
    assert rows(result).loc["test", "photos"] == 60 - duplicated.sum()
    assert result.scores.loc[duplicated, "test"].isna().all()


def test_photos_that_are_too_similar_are_reported(monkeypatch):
    monkeypatch.setattr(shift, "_PERMUTATIONS", 249)
    result = check(*make_duplicates(3, grouped=False))
    assert rows(result).loc["test", "auc"] < rows(result).loc["test", "low"]
    assert "duplicates" in result.summary()
    assert "duplicates" not in check(*make_data(3)).summary()


def test_near_duplicates_in_one_split_count_once():
    features, photos = make_data(0)
    same_scene = np.flatnonzero(photos["split"] == "test")[:40]
    features[same_scene] = features[same_scene[0]]
    photos.loc[same_scene, "group"] = photos["group"][same_scene[0]]
    result = rows(check(features, photos))
    assert result.loc["test", "photos"] == 21
    assert result.loc["test", "state"] != "found"


def test_with_ten_photos_the_state_is_cannot_tell():
    result = check(*make_data(2, train=200, val=80, test=10))
    assert rows(result)["state"].to_dict() == {"val": "nothing found", "test": "cannot tell"}
    assert result.state == "cannot tell" and line(result) == "cannot tell, too few photos"
    assert "Only 10" in result.summary()


def test_leave_one_out_is_that_of_a_second_fit():
    """The closed form against ridge regression fitted without the photo, class means included."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [7, 4, 2])
    features, targets = rng.standard_normal((13, 5)), rng.random((13, 3)) < 0.5
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
    result = shift._leave_one_out(features, targets, labels) * members / (members - 1)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-5)


def test_auc_is_that_of_scikit_learn_within_classes():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 20])
    scores, targets = rng.standard_normal((50, 4)), rng.random((50, 4)) < 0.4
    correct = pairs = 0
    for label in (0, 1):
        own = labels == label
        count = targets[own].sum(axis=0) * (~targets[own]).sum(axis=0)
        correct = correct + count * [roc_auc_score(targets[own, n], scores[own, n]) for n in range(4)]
        pairs = pairs + count
    np.testing.assert_allclose(shift._auc(scores, targets, labels), correct / pairs)


def test_the_most_different_photos_are_the_examples():
    features, photos = make_data(4, train=150, val=60, test=60)
    different = np.flatnonzero(photos["split"] == "val")[:20]
    features[different, :6] += 3 * features[:, :6].std(axis=0)
    examples = shift_examples(check(features, photos), "val", 10)
    assert set(examples.from_split.index) <= set(different)
    assert set(examples.from_split["split"]) == {"val"} and set(examples.from_train["split"]) == {"train"}
    assert isinstance(shift_examples(check(*make_data(4)), "val"), Skipped)  # nothing found, nothing to show


def test_the_same_seed_gives_the_same_result():
    pd.testing.assert_frame_equal(check(*make_data(5), 7).table, check(*make_data(5), 7).table)


@pytest.mark.parametrize("moved, marker", [(0.0, "o"), (1.5, "D")])
def test_the_figure_marks_what_was_found(moved, marker):
    features, photos = make_data(6)
    features[photos["split"] == "test", :5] += moved * features[:, :5].std(axis=0)
    result = check(features, photos)
    axis = result.plot().axes[0]
    assert axis.get_xlim() == (0, 1)
    assert next(line.get_marker() for line in axis.lines if len(line.get_xdata()) == 1) == marker
    assert [text.get_text() for text in axis.get_yticklabels()] == ["test (60)", "validation (60)"]
    assert bool(result.advice()) == (marker == "D") and line(result).startswith("found") == (marker == "D")


def test_splits_that_the_notebook_cut_at_random_are_not_tested():
    features, photos = make_data(6)
    features[photos["split"] == "test", :5] += 5
    result = check_shift(photos, features_of(features), SETTINGS, random_splits=["val", "test"])
    assert result.state == "nothing found" and "at random" in line(result) and result.plot() is None
    assert result.to_dict()["test_auc"] is None
    result = check_shift(photos, features_of(features), SETTINGS, random_splits=["val"])
    assert list(result.table["split"]) == ["test"] and result.state == "found"


@pytest.mark.parametrize(
    "p_value, auc, state", [(0.01, 0.7, "found"), (0.03, 0.7, "borderline"), (0.01, 0.61, "borderline")]
)
def test_a_result_near_a_threshold_is_borderline(p_value, auc, state, monkeypatch):
    aucs = np.linspace(0.3, 0.55, 1000)
    aucs[0], aucs[1 : round(1000 * p_value)] = auc, auc + 0.1
    monkeypatch.setattr(shift, "_distinguish", lambda *_: (aucs, 0.0))
    features, photos = make_data(0)
    result = check_shift(photos, features_of(features), SETTINGS, random_splits=["val"])
    assert result.table["p_value"].iloc[0] == pytest.approx(p_value)
    assert result.state == state and line(result).startswith(state)
