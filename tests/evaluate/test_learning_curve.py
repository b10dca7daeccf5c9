"""Learning curve: nested shares of the training photos, test photos unused."""

import importlib

import numpy as np
import pytest

from builders import features_of
from phototransfer.evaluate import learning_curve

module = importlib.import_module("phototransfer.evaluate.learning_curve")
SHARES = (0.25, 0.5, 0.75, 1.0)
N_TRAIN = {share: 100 * share for share in SHARES}


def test_the_verdict_follows_the_gain_and_its_interval():
    rng = np.random.default_rng(0)
    rising = {share: rng.random(400) < accuracy for share, accuracy in zip(SHARES, (0.5, 0.6, 0.7, 0.8), strict=True)}
    assert module._curve(rising, N_TRAIN).verdict == "yes"
    assert module._curve(dict.fromkeys(SHARES, np.arange(4000) < 3900), N_TRAIN).verdict == "hardly"
    assert module._curve(dict.fromkeys(SHARES, np.arange(30) < 25), N_TRAIN).verdict == "cannot tell"


def test_a_smaller_share_is_part_of_a_larger_one(blobs, class_means):
    trained_on = []

    def record(head, train, val, settings):
        trained_on.append({tuple(row) for row in train[0]})
        assert set(train[1]) == {0, 1}

    validator = blobs(100, 3.0, fit_head=record)
    configured = validator.configured_correct()
    trained_on.clear()
    result = learning_curve(validator)
    folds = validator.folds_without_test
    for number, fold in enumerate(folds.folds):
        quarter, half, most = trained_on[number :: folds.n_folds]
        full = {tuple(row) for row in validator.features.plain[folds.rows[fold.train]]}
        assert quarter < half < most < full
        assert len(half) == pytest.approx(len(fold.train) / 2, abs=2)
    assert list(result.table["share"]) == list(SHARES)
    assert result.table["correct"].iloc[-1] == configured.sum()
    assert (result.table["photos"] == 80).all() and "80 photos" in result.plot().axes[0].get_title(loc="left")
    assert result.to_dict()["verdict"] in result.summary().lower()


def test_test_photos_do_not_change_the_curve(blobs, class_means):
    first, second = blobs(50, 2.0), blobs(50, 2.0)
    plain = second.features.plain.copy()
    plain[second.photos["split"] == "test"] = 1e3
    second.features = features_of(plain)
    assert learning_curve(first).table.equals(learning_curve(second).table)
