"""Trainings of earlier runs: used if nothing has changed that they depend on, and the same as trained now."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from tqdm import tqdm

from builders import head_functions
from phototransfer import network
from phototransfer.evaluate import compare_heads, learning_curve
from phototransfer.network.training import HeadTrainer


def other_fit_head(head, train, val, settings):
    x, y = train
    return network.fit(head, x, y, validation_data=val, epochs=1, batch_size=4)


def other_build_head(n_features, n_classes, settings):
    head = keras.Sequential([keras.Input((n_features,)), layers.Dense(n_classes, activation="softmax")])
    head.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return head


@pytest.fixture
def count_trainings(monkeypatch):
    """Count the trainings of heads."""
    original, trained = HeadTrainer.predict, []

    def predict(self, **arguments):
        trained.append(1)
        return original(self, **arguments)

    monkeypatch.setattr(HeadTrainer, "predict", predict)
    return trained


def probabilities(validator) -> np.ndarray:
    return validator.out_of_fold(validator.folds, bar=tqdm(disable=True))


def storing(validator, folder):
    """Return a validator that stores, with the functions of the notebook themselves."""
    validator.features = replace(validator.features, results=folder)
    validator.build_head, validator.fit_head = head_functions()["build_head"], head_functions()["fit_head"]
    return validator


def moved(validator):
    validator.features.plain[0] += 0.001


def relabelled(validator):
    validator.photos.loc[0, "label"] = "b"


def other_group(validator):
    validator.photos.loc[1, "group"] = validator.photos.loc[0, "group"]


CHANGES = {
    "a setting of the head": {"HEAD": [7]},
    "a setting of the training": {"EPOCHS": 2},
    "the seed": {"SEED": 1},
    "the number of folds": {"CV_FOLDS": 4},
    "the photos": {"count": 31},
    "their features": moved,
    "their labels": relabelled,
    "their groups": other_group,
}


@pytest.mark.parametrize("change", CHANGES)
def test_trained_again_after_a_change_of(change, blobs, tmp_path, count_trainings):
    def make(changed: bool):
        options = {"count": 30, "EPOCHS": 3}
        difference = CHANGES[change] if changed else {}
        validator = blobs(distance=1.0, **options | (difference if isinstance(difference, dict) else {}))
        if callable(difference):
            difference(validator)
        return validator

    before = probabilities(storing(make(False), tmp_path))
    count_trainings.clear()
    after = probabilities(storing(make(True), tmp_path))
    assert count_trainings
    np.testing.assert_array_equal(after, probabilities(make(True)))
    assert before.shape != after.shape or (before != after).any()
    count_trainings.clear()
    np.testing.assert_array_equal(probabilities(storing(make(False), tmp_path)), before)
    assert not count_trainings


@pytest.mark.parametrize("name", ["build_head", "fit_head"])
def test_trained_again_after_a_change_of_the_cell_that_defines(name, blobs, tmp_path, count_trainings):
    first = probabilities(storing(blobs(30, 1.0, EPOCHS=3), tmp_path))
    changed = storing(blobs(30, 1.0, EPOCHS=3), tmp_path)
    setattr(changed, name, {"build_head": other_build_head, "fit_head": other_fit_head}[name])
    count_trainings.clear()
    assert (probabilities(changed) != first).any()
    assert count_trainings
    count_trainings.clear()
    probabilities(changed)
    assert not count_trainings


@pytest.mark.parametrize("setting", [{"RUN": "other"}, {"FIGURES": False}, {"PREDICT": "photo.jpg"}])
def test_not_trained_again_after_a_change_of_a_setting_that_training_does_not_read(
    setting, blobs, tmp_path, count_trainings
):
    first = probabilities(storing(blobs(30, 1.0, EPOCHS=3), tmp_path))
    count_trainings.clear()
    np.testing.assert_array_equal(probabilities(storing(blobs(30, 1.0, EPOCHS=3, **setting), tmp_path)), first)
    assert not count_trainings


def test_other_heads_are_not_trained_again_after_a_change_of_head(blobs, tmp_path, count_trainings):
    """The configured head of two layers stands in the place of the other one of two layers."""
    first = compare_heads(storing(blobs(60, 1.0, EPOCHS=2, HEAD=[4, 4]), tmp_path))
    trainings = len(count_trainings)
    count_trainings.clear()
    again = compare_heads(storing(blobs(60, 1.0, EPOCHS=2, HEAD=[5, 5]), tmp_path))
    assert len(count_trainings) == 3 < trainings == 12
    plain = compare_heads(blobs(60, 1.0, EPOCHS=2, HEAD=[5, 5]))
    assert again.table.equals(plain.table) and again.with_validation == plain.with_validation
    assert not again.table.equals(first.table)


def test_the_learning_curve_is_the_same_from_earlier_trainings(blobs, tmp_path, count_trainings):
    first = learning_curve(storing(blobs(60, 1.0, EPOCHS=2), tmp_path))
    count_trainings.clear()
    again = learning_curve(storing(blobs(60, 1.0, EPOCHS=2), tmp_path))
    assert not count_trainings
    assert again.table.equals(first.table) and again.gain == first.gain
