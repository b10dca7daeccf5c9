"""Cross-validation of a small head on two blobs of features."""

import re

import numpy as np
import pandas as pd
import pytest

from builders import features_of, photo_table
from phototransfer.evaluate import compare_heads, learning_curve
from phototransfer.evaluate.cross_validation import CrossValidation, comparable_test_score, cross_validate
from phototransfer.evaluate.folds import make_folds
from phototransfer.report import Skipped


def result(correct, total, test_score, **changes):
    """A cross-validation of two folds with so many correct photos."""
    folds = make_folds(photo_table(["a", "b"] * 5), 2, 0)
    table = pd.DataFrame({"fold": [0, 1], "photos": [total - 10, 10], "correct": [correct - 8, 8]})
    table["accuracy"] = table["correct"] / table["photos"]
    return CrossValidation(folds, table, test_score, **{"fine_tuned": False, **changes})


def test_noise_scores_at_chance_level_and_a_group_of_duplicates_does_not_raise_it(blobs):
    noise = blobs(60, 0.0, n_features=100)
    plain = np.tile(noise.features.plain, (2, 1))

    def score(groups):
        validator = blobs(120, 0.0, groups=groups, EPOCHS=15)
        validator.features = features_of(plain)
        return cross_validate(validator)

    honest, fooled = score([*range(60)] * 2), score(None)
    assert honest.score[1] == 60 and len(honest.folds.rows) == 120
    low, high = honest.to_dict()["ci95"]
    assert low < 0.5 < high
    assert fooled.to_dict()["accuracy"] > honest.to_dict()["accuracy"] + 0.1  # so duplicates would be remembered


def test_the_numbers_add_up_and_test_photos_take_part(blobs):
    validator = blobs(60, 3.0)
    scores = cross_validate(validator)
    numbers = scores.to_dict()
    assert numbers["folds"] == len(scores.table) == len(numbers["fold_accuracies"]) == 3
    assert numbers["photos"] == scores.table["photos"].sum() == 60
    assert numbers["accuracy"] == scores.score[0] / 60 > 0.8
    assert numbers["mean"] == pytest.approx(scores.table["accuracy"].mean())
    assert numbers["std"] == pytest.approx(scores.table["accuracy"].std(ddof=1))
    assert set(scores.folds.rows) == set(range(60))
    assert scores.test_score == (12, 12)
    assert scores.plot().axes and "60 different photos" in scores.summary()
    assert not re.search(r"\([^)]*\(", scores.summary())  # no parentheses in parentheses


def test_augmented_features_are_trained_on_and_never_tested(blobs, class_means):
    calls = []

    def record(head, train, val, settings):
        calls.append((train, val))

    validator = blobs(40, 3.0, fit_head=record, AUGMENTATIONS=1)
    plain = validator.features.plain
    validator.features = features_of(plain, np.stack([plain + 100, plain + 200]))
    scores = cross_validate(validator)
    for fold, ((x, y), (val, _)) in zip(scores.folds.folds, calls, strict=True):
        assert len(x) == len(y) == 2 * len(fold.train)  # the second view is not asked for
        assert val.max() < 50 < x[len(fold.train) :].min() and x.max() < 150
        assert (y[: len(fold.train)] == y[len(fold.train) :]).all()


def test_a_changed_setting_trains_the_new_head(blobs, class_means):
    heads = []

    def record(head, train, val, settings):
        heads.append((settings["HEAD"], settings["EPOCHS"]))

    validator = blobs(30, 3.0, fit_head=record, CV_FOLDS=2, EPOCHS=1)
    first = validator.configured_correct()
    assert validator.configured_correct() is first and len(heads) == 2
    validator.settings.update(HEAD=[8, 8], EPOCHS=2, CV_FOLDS=3)
    validator.configured_correct()
    assert heads == [([8], 1)] * 2 + [([8, 8], 2)] * 3


def test_agreement_considers_both_intervals():
    results = [result(320, 400, score) for score in ((198, 200), (100, 200), (9, 10), (800, 1000), (0, 0))]
    assert [scores.agreement for scores in results] == ["better", "worse", "too few", "agrees", "none"]
    assert len({scores.summary().split(". ")[-1] for scores in results}) == 5
    assert "fine-tuning" in result(320, 400, (9, 10), fine_tuned=True).summary()


def test_the_comparable_test_score_leaves_out_duplicates_and_small_classes():
    photos = photo_table(["a", "b"] * 15 + ["few"] * 2, "test", correct=True, duplicate_of="")
    photos.loc[:3, "duplicate_of"] = "somewhere.jpg"
    photos.loc[5, "correct"] = False
    folds = make_folds(photos.assign(split=np.resize(["train", "val"], 32)), 5, 0)
    assert comparable_test_score(folds, photos) == (25, 26)


def test_markers_and_intervals_at_1_are_not_cut_at_the_axis():
    scores = result(400, 400, (20, 20))
    scores.table["accuracy"] = 1.0
    scores.table["correct"] = scores.table["photos"]
    figure = scores.plot()
    [axis] = figure.axes
    assert all(not line.get_clip_on() for line in axis.lines)
    assert [text.get_text() for text in axis.texts] == ["1.00", "1.00"]


@pytest.mark.parametrize("n_folds, count, reason", [(0, 20, "CV_FOLDS = 0"), (2, 6, "too few"), (5, 4, "too few")])
@pytest.mark.parametrize("analysis", [cross_validate, compare_heads, learning_curve])
def test_no_folds_or_too_few_photos_are_skipped(blobs, analysis, n_folds, count, reason):
    result = analysis(blobs(count, 1.0, CV_FOLDS=n_folds))
    assert isinstance(result, Skipped) and result.to_dict() is None
    assert reason in result.summary()


@pytest.mark.parametrize("analysis", [cross_validate, learning_curve])
def test_more_folds_than_photos_are_fewer_folds_and_it_is_said(blobs, class_means, analysis):
    result = analysis(blobs(20, 3.0, CV_FOLDS=50))
    assert "instead of 50" in result.summary()
