"""Tests of the samples, classifiers and corrected p-values behind the check for shortcuts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from builders import photo_table
from phototransfer.audit.permutation import (
    CentroidClassifier,
    HistogramClassifier,
    make_sample,
    shuffled_orders,
    westfall_young,
)

UNBALANCED = np.repeat(["a", "b"], [180, 20])


def sample_of(labels, groups=None):
    return make_sample(photo_table(labels, groups=groups))


def test_the_first_photo_of_each_group_counts():
    """Also if the index of the table is not its row number."""
    photos = photo_table(list("aabbab"), groups=[3, 3, 1, 1, 0, 2]).set_index(pd.Index([9, 4, 7, 1, 0, 5]))
    sample = make_sample(photos)
    assert sample.rows.tolist() == [0, 2, 4, 5] and sample.labels.tolist() == [0, 1, 0, 1]


def test_classes_with_fewer_than_two_different_photos_are_left_out():
    labels = [*"aabbb", "single", "twins", "twins"]
    sample = sample_of(labels, groups=[0, 1, 2, 3, 4, 5, 6, 6])
    assert sample.left_out == {"single": 1, "twins": 1}
    assert sample.classes == ["a", "b"] and len(sample.rows) == 5 and sample.chance_level == 0.5
    assert sample_of(list("aaab")) is None and sample_of(list("aaaa")) is None


def test_no_photo_is_scored_by_a_classifier_that_was_fitted_on_it():
    """A property with another value for each photo says nothing; fitted on the photo itself it would say everything."""
    labels = np.repeat(["a", "b"], 100)
    sample = sample_of(labels)
    numbers = pd.Series(np.random.default_rng(0).permutation(200).astype(float))
    assert sample.balanced_accuracy(HistogramClassifier(numbers, sample).credit()) < 0.62


def without(photo, points, labels, label):
    """Return the points of a class without one photo."""
    return points[(np.arange(len(labels)) != photo) & (labels == label)]


def test_each_photo_is_scored_by_a_histogram_of_all_others():
    rng = np.random.default_rng(0)
    sample = sample_of(np.repeat(list("abc"), [9, 5, 2]))
    classifier = HistogramClassifier(pd.Series(rng.standard_normal(16)), sample)
    [scores] = classifier._scores(np.arange(16)[None])
    for photo in range(16):
        for label in range(3):
            others = without(photo, classifier._bins, sample.labels, label)
            expected = classifier._kernel[classifier._bins[photo], others].mean()
            assert scores[photo, label] == pytest.approx(expected, abs=1e-5)


def test_each_photo_is_scored_by_class_means_of_all_others():
    sample = sample_of(np.repeat(list("abc"), [9, 5, 2]))
    classifier = CentroidClassifier(np.random.default_rng(0).standard_normal((16, 8)), sample)
    points, order = classifier._points, np.random.default_rng(1).permutation(16)
    [scores] = classifier._scores(order[None])
    for photo in range(16):
        for label in range(3):
            others = without(photo, points[order], sample.labels, label)
            mean, dimensions = others.mean(axis=0), points.shape[1]
            expected = points[order][photo] @ mean - (mean @ mean - dimensions / len(others)) / 2
            assert scores[photo, label] == pytest.approx(expected, abs=1e-4)


def test_balanced_accuracy_is_that_of_scikit_learn():
    sample = sample_of(np.repeat(["a", "b"], [30, 60]))
    credit = HistogramClassifier(pd.Series(np.repeat([0.0, 1.0, 0.0], 30)), sample).credit()
    predicted = np.where(credit == 1, sample.labels, 1 - sample.labels)
    expected = balanced_accuracy_score(sample.labels, predicted)
    assert sample.balanced_accuracy(credit) == pytest.approx(expected) == pytest.approx(0.75)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_property_in_equal_shares_is_as_good_as_guessing(classes):
    """Without the photo itself its class has one fewer: that alone must not point to another class."""
    labels = np.repeat(list("abc")[:classes], 40)
    sample = sample_of(labels)
    values = pd.Series(np.tile(["Phone 1", "Phone 2"], 20 * classes), dtype=object)
    credit = HistogramClassifier(values, sample).credit()
    assert sample.balanced_accuracy(credit) == pytest.approx(1 / classes)


def test_a_constant_property_has_nothing_to_test():
    sample = sample_of(list("aaabbb"))
    assert HistogramClassifier(pd.Series([1.0] * 6), sample).constant
    assert HistogramClassifier(pd.Series([None] * 6, dtype=object), sample).constant
    assert not HistogramClassifier(pd.Series([1.0] * 5 + [np.nan]), sample).constant


def test_background_noise_of_unequal_classes_scores_the_chance_level():
    rng = np.random.default_rng(1)
    sample = sample_of(UNBALANCED)
    classifiers = [CentroidClassifier(rng.standard_normal((200, 60)), sample) for _ in range(20)]
    scores = [sample.balanced_accuracy(classifier.credit()) for classifier in classifiers]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.04)
    assert classifiers[0].statistics(shuffled_orders(200, 30, 0)).shape == (31,)


@pytest.mark.parametrize("kind", [HistogramClassifier, CentroidClassifier])
def test_statistics_do_not_depend_on_the_blocks(kind, monkeypatch):
    sample = sample_of(UNBALANCED)
    values = np.random.default_rng(0).standard_normal((200, 8))
    data = pd.Series(values[:, 0]) if kind is HistogramClassifier else values
    orders = shuffled_orders(200, 20, 0)
    together = kind(data, sample).statistics(orders)
    monkeypatch.setattr("phototransfer.audit.permutation._BLOCK", 1)
    np.testing.assert_allclose(kind(data, sample).statistics(orders), together, rtol=1e-5)


def test_correction_counts_equal_tests_once():
    rng = np.random.default_rng(0)
    one = np.r_[2.6, rng.standard_normal(1999)]
    single, corrected = westfall_young(np.stack([one] * 5))
    assert corrected == pytest.approx(single)
    others = np.c_[np.zeros(9), rng.standard_normal((9, 1999))]
    single, corrected = westfall_young(np.vstack([one, others]))
    assert corrected[0] == pytest.approx(1 - (1 - single[0]) ** 10, rel=0.4)
    assert (corrected >= single).all()
