"""Learning curve: nested shares of the training photos, test photos unused."""

import importlib

import numpy as np
import pytest

from builders import features_of, photo_table
from phototransfer.evaluate import learning_curve
from phototransfer.evaluate.folds import make_folds

module = importlib.import_module("phototransfer.evaluate.learning_curve")
SHARES = (0.25, 0.5, 0.75, 1.0)
N_TRAIN = {share: 100 * share for share in SHARES}


def curve(before, after, count, lost=0):
    """Return the curve of `count` photos, so many correct with half and all of the photos, `lost` only with half."""
    number = np.arange(count)
    half, full = number < before, (number >= lost) & (number < after + lost)
    folds = make_folds(photo_table(["a", "b"] * (count // 2)), 2, 0)
    return module._curve({0.25: half, 0.5: half, 0.75: half, 1.0: full}, N_TRAIN, folds)


@pytest.mark.parametrize(
    "before, after, count, lost, verdict",
    [
        (240, 280, 400, 0, "yes"),
        (3900, 3900, 4000, 0, "hardly"),
        (3860, 3900, 4000, 0, "hardly"),  # a gain that is certain, and as certainly too small to matter
        (25, 25, 30, 0, "cannot tell"),
        (580, 589, 600, 0, "borderline"),  # a gain of 0.015, which is significant
        (
            500,
            503,
            600,
            5,
            "borderline",
        ),  # the interval of 95 % ends below 0.02, that of three standard errors does not
        (240, 250, 300, 5, "borderline"),  # the interval of 95 % begins above 0, that of three standard errors does not
    ],
)
def test_the_verdict_follows_the_gain_and_its_interval(before, after, count, lost, verdict):
    result = curve(before, after, count, lost)
    assert result.verdict == result.to_dict()["verdict"] == verdict
    assert f"more photos help? {verdict}" in result.summary().replace("Would ", "").lower()


def test_noise_does_not_turn_yes_into_hardly():
    """Between the smallest gain that is "yes" and the largest that is "hardly" are more than 2.5 standard errors."""
    for count in (300, 1000, 4000):
        start, lost = count * 8 // 10, count // 25
        results = {gain: curve(start, start + gain, count, lost) for gain in range(-lost, count // 10)}
        first_yes = min(gain for gain, result in results.items() if result.verdict == "yes")
        hardly = [gain for gain, result in results.items() if result.verdict == "hardly"]
        _, low, high = results[first_yes].gain
        standard_error = (high - low) / 2 / 1.96
        assert (first_yes - max(hardly, default=-lost)) / count > 2.5 * standard_error


def test_a_smaller_share_is_part_of_a_larger_one(blobs, class_means):
    trained_on = []

    def record(head, train, val, settings):
        trained_on.append({tuple(row) for row in train[0]})
        assert set(train[1]) == {0, 1}

    validator = blobs(100, 3.0, fit_head=record)
    configured = validator.folds_without_test.correct(validator.configured_probabilities(validator.folds_without_test))
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
