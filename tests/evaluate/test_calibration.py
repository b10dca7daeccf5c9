"""Probabilities are compared with shares of correct photos, and scaled only where that is shown to help."""

import keras
import numpy as np
import pytest
from scipy.special import softmax

from builders import SETTINGS, build_head
from phototransfer.evaluate.calibration import Calibration, Reliability, _calibration, calibrate, scale_temperature
from phototransfer.evaluate.folds import Fold, Folds
from phototransfer.finding import BORDERLINE, CANNOT_TELL, FOUND, NOTHING_FOUND
from phototransfer.report import Skipped

SEED = 3


def calibration_of(logits, true_temperature, *, labels=None, groups=None) -> Calibration:
    """Calibration of a head with these logits, where softmax(logits / true_temperature) gives correct probabilities."""
    rng, count = np.random.default_rng(SEED), len(logits)
    if labels is None:
        shares = softmax(logits / true_temperature, axis=1).cumsum(axis=1)
        labels = (shares > rng.random((count, 1))).argmax(axis=1)
    groups = np.arange(count) if groups is None else groups
    fold_of = groups % 5
    folds = [Fold(n, np.flatnonzero(fold_of != n), np.array([], int), np.flatnonzero(fold_of == n)) for n in range(5)]
    representative = np.isin(np.arange(count), np.unique(groups, return_index=True)[1])
    classes = [f"class {number}" for number in range(logits.shape[1])]
    folds = Folds(5, np.arange(count), labels, groups, representative, classes, folds, {}, requested=5)
    return _calibration(folds, softmax(logits, axis=1).astype(np.float32), SEED)


def noise(count, classes=3, scale=2.5):
    return np.random.default_rng(1).normal(0, scale, (count, classes))


@pytest.mark.parametrize("true_temperature", [0.5, 2.0])
def test_wrong_probabilities_are_found_and_scaled(true_temperature):
    calibration = calibration_of(noise(800), true_temperature)
    assert calibration.state == FOUND
    assert calibration.temperature == pytest.approx(true_temperature, rel=0.2)
    assert calibration.log_loss[1] < calibration.log_loss[0]
    assert calibration.after.error < calibration.before.error / 2
    too = "too high" if true_temperature > 1 else "too low"
    assert too in calibration.summary()


def test_correct_probabilities_are_left_alone():
    calibration = calibration_of(noise(800), 1.0)
    assert calibration.state == NOTHING_FOUND and calibration.temperature == 1
    assert calibration.fitted == pytest.approx(1, abs=0.2)
    assert calibration.before.error < calibration.expected[1]


def test_few_photos_cannot_tell():
    calibration = calibration_of(noise(30), 1.0)
    assert calibration.state in (CANNOT_TELL, BORDERLINE) and calibration.temperature == 1
    assert calibration.expected[1] > 0.1  # what a perfectly calibrated head may show


def test_without_mistakes_no_temperature_makes_probabilities_certain():
    labels = np.arange(400) % 2
    calibration = calibration_of(np.where(np.eye(2)[labels] > 0, 2.0, -2.0), 1.0, labels=labels)
    assert calibration.mistakes == 0 and calibration.fitted < 0.5
    assert calibration.p_value < 0.05 and calibration.temperature == 1


def test_near_duplicates_count_once():
    logits = noise(300)
    once = calibration_of(logits, 2.0)
    labels = (softmax(logits / 2.0, axis=1).cumsum(axis=1) > np.random.default_rng(SEED).random((300, 1))).argmax(
        axis=1
    )
    groups = np.tile(np.arange(300), 4)
    four_times = calibration_of(np.tile(logits, (4, 1)), 2.0, labels=np.tile(labels, 4), groups=groups)
    assert four_times.to_dict() == once.to_dict()


def test_the_gain_is_measured_on_folds_that_the_temperature_was_not_fitted_on():
    """One confident mistake: fitted with it, the temperature gains much; without it, the other folds do not know."""
    labels = np.arange(200) % 2
    logits = np.where(np.eye(2)[labels] > 0, 1.0, -1.0)
    labels[0] = 1 - labels[0]
    logits[0] *= 40
    calibration = calibration_of(logits, 1.0, labels=labels)
    assert calibration.log_loss[1] > calibration.log_loss[0]
    assert calibration.temperature == 1


def test_the_error_of_perfect_probabilities_is_simulated():
    rng = np.random.default_rng(0)
    errors, expected = [], []
    for _ in range(60):
        probability = rng.uniform(0.5, 1, 200)
        reliability = Reliability(probability, rng.random(200) < probability)
        errors.append(reliability.error)
        expected.append(reliability.expected_errors(SEED).mean())
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.1)
    assert np.mean(errors) > 0.02


def test_the_error_is_that_of_the_bins():
    probability, correct = np.full(40, 0.75), np.arange(40) % 2 == 0
    assert Reliability(probability, correct).error == pytest.approx(0.25)
    probability = np.repeat([0.6, 0.9], 20)
    correct = np.repeat([True, False], 20)
    assert Reliability(probability, correct).error == pytest.approx((0.4 + 0.9) / 2)


def test_the_rarest_class_is_shown_alone_where_sizes_differ():
    labels = np.repeat([0, 1], [180, 40])
    logits = np.where(np.eye(2)[labels] > 0, 1.5, -1.5) + noise(220, 2, 0.5)
    uneven = calibration_of(logits, 1.0, labels=labels)
    assert uneven.rarest is not None
    name, size, predicted = uneven.rarest
    assert (name, size) == ("class 1", 40)
    assert len(predicted.correct) == (logits.argmax(axis=1) == 1).sum()
    labels = np.arange(220) % 2
    assert calibration_of(np.where(np.eye(2)[labels] > 0, 1.5, -1.5), 1.0, labels=labels).rarest is None


def test_no_test_photo_takes_part(blobs, class_means):
    validator = blobs(100, 2.0, CV_FOLDS=3)
    calibration = calibrate(validator)
    assert isinstance(calibration, Calibration)
    assert len(calibration.before.correct) == (validator.photos["split"] != "test").sum()
    before = calibration.to_dict()
    test = (validator.photos["split"] == "test").to_numpy()
    validator = blobs(100, 2.0, CV_FOLDS=3)
    validator.features.plain[test] = 1e3
    assert calibrate(validator).to_dict() == before


def test_reasons_for_not_calibrating(blobs):
    assert isinstance(calibrate(blobs(100, 2.0, CV_FOLDS=0)), Skipped)
    skipped = calibrate(blobs(100, 2.0), fine_tuned=True)
    assert isinstance(skipped, Skipped) and "fine-tuning" in skipped.reason


@pytest.fixture(scope="module")
def head():
    keras.utils.set_random_seed(0)
    return build_head(6, 3, SETTINGS)


def test_the_head_is_scaled_and_stays_as_it_is(head):
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32) * 3
    original = head.predict(x, verbose=0)
    calibration = calibration_of(noise(800), 2.0)
    for _ in range(2):  # running the cell again must not scale twice
        scaled = scale_temperature(head, calibration)
        logits = np.log(original) / calibration.temperature
        np.testing.assert_allclose(scaled.predict(x, verbose=0), softmax(logits, axis=1), atol=1e-5)
    np.testing.assert_array_equal(head.predict(x, verbose=0), original)
    assert [type(layer) for layer in scaled.layers] == [type(layer) for layer in head.layers]


@pytest.mark.parametrize("calibration", [Skipped("calibration", "Off."), None], ids=["skipped", "temperature 1"])
def test_without_a_temperature_no_bit_changes(head, calibration):
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    copy = scale_temperature(head, calibration or calibration_of(noise(800), 1.0))
    np.testing.assert_array_equal(copy.predict(x, verbose=0), head.predict(x, verbose=0))
    for mine, theirs in zip(copy.get_weights(), head.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_head_without_softmax_at_its_end_is_named():
    other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), keras.layers.Softmax()], name="mine")
    with pytest.raises(ValueError, match="mine has another one"):
        scale_temperature(other, calibration_of(noise(800), 2.0))
