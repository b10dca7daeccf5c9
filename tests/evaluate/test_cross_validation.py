"""Cross-validation of a small head on two blobs of features."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from builders import features_of, photo_table
from phototransfer.evaluate import compare_heads, learning_curve
from phototransfer.evaluate.cross_validation import CrossValidation, comparable_test_score, cross_validate
from phototransfer.evaluate.folds import make_folds
from phototransfer.evaluate.results import ClassCounts
from phototransfer.finding import BORDERLINE, CANNOT_TELL, DOUBT, FOUND, NOTE, NOTHING_FOUND
from phototransfer.report import Skipped


def counts(*pairs):
    """Return the counts of classes a, b, …: pairs of correct and total photos."""
    correct, total = np.array(pairs, dtype=int).reshape(-1, 2).T
    return ClassCounts([*"abcdefgh"[: len(pairs)]], correct, total, total)


def cross_validate_all(validator):
    return cross_validate(validator, validator.photos)


def result(correct, total, test, **changes):
    """Return a cross-validation of so many photos of each class, all as in the first of two folds."""
    folds = make_folds(photo_table(["a", "b"] * 5), 2, 0)
    if changes.pop("uneven", False):
        folds = replace(folds, measure="balanced accuracy")
    all_photos = counts(*zip(correct, total, strict=True))
    score = all_photos.score(folds.measure)
    table = pd.DataFrame({"fold": [0, 1], "photos": 10, "correct": 8, "accuracy": 0.8, "score": [score, score]})
    return CrossValidation(folds, table, all_photos, counts(*test), **{"fine_tuned": False, **changes})


@pytest.mark.parametrize(
    "correct_in_test, state", [(99_900, "nothing found"), (98_500, "nothing found"), (99_990, "nothing found")]
)
def test_scores_of_a_sample_agree_although_a_tiny_difference_is_significant(correct_in_test, state):
    scores = result([4975, 4975], [5000, 5000], [(correct_in_test, 100_000)] * 2)
    assert scores.findings()["reliability"].state == "found"
    sampled = replace(scores, folds=replace(scores.folds, sample="On a random sample."))
    assert sampled.findings()["reliability"].state == state


@pytest.mark.parametrize("correct_in_test", [96_000, 90_000])
def test_scores_of_a_sample_that_differ_cannot_be_told_apart_from_less_training(correct_in_test):
    scores = result([4975, 4975], [5000, 5000], [(correct_in_test, 100_000)] * 2)
    sampled = replace(scores, folds=replace(scores.folds, sample="On a random sample."))
    assert sampled.findings()["reliability"].state == "cannot tell"


def test_noise_scores_at_chance_level_and_a_group_of_duplicates_does_not_raise_it(blobs):
    noise = blobs(60, 0.0, n_features=100)
    plain = np.tile(noise.features.plain, (2, 1))

    def score(groups):
        validator = blobs(120, 0.0, groups=groups, EPOCHS=15)
        validator.features = features_of(plain)
        return cross_validate_all(validator)

    honest, fooled = score([*range(60)] * 2), score(None)
    assert honest.counts.n_photos == 60 and len(honest.folds.rows) == 120
    low, high = honest.to_dict()["ci95"]
    assert low < 0.5 < high
    assert fooled.to_dict()["accuracy"] > honest.to_dict()["accuracy"] + 0.1  # so duplicates would be remembered


def test_the_numbers_add_up_and_test_photos_take_part(blobs):
    validator = blobs(60, 3.0)
    scores = cross_validate_all(validator)
    numbers = scores.to_dict()
    assert numbers["folds"] == len(scores.table) == len(numbers["fold_accuracies"]) == 3
    assert numbers["photos"] == scores.table["photos"].sum() == 60
    assert numbers["accuracy"] == scores.score == scores.counts.n_correct / 60 > 0.8
    assert numbers["mean"] == pytest.approx(scores.table["accuracy"].mean())
    assert numbers["std"] == pytest.approx(scores.table["accuracy"].std(ddof=1))
    assert set(scores.folds.rows) == set(range(60))
    assert (scores.test.n_correct, scores.test.n_photos) == (12, 12)
    assert numbers["measure"] == "accuracy" and numbers["ci95"] == pytest.approx(scores.interval)
    assert scores.plot().axes and "60 different photos" in scores.summary()
    assert not re.search(r"\([^)]*\(", scores.summary())  # no parentheses in parentheses


def test_augmented_features_are_trained_on_and_never_tested(blobs, class_means):
    calls = []

    def record(head, train, val, settings):
        calls.append((train, val))

    validator = blobs(40, 3.0, fit_head=record, AUGMENTATIONS=1)
    plain = validator.features.plain
    validator.features = features_of(plain, np.stack([plain + 100, plain + 200]))
    scores = cross_validate_all(validator)
    for fold, ((x, y), (val, _)) in zip(scores.folds.folds, calls, strict=True):
        assert len(x) == len(y) == 2 * len(fold.train)  # the second view is not asked for
        assert val.max() < 50 < x[len(fold.train) :].min() and x.max() < 150
        assert (y[: len(fold.train)] == y[len(fold.train) :]).all()


def test_a_changed_setting_trains_the_new_head(blobs, class_means):
    heads = []

    def record(head, train, val, settings):
        heads.append((settings["HEAD"], settings["EPOCHS"]))

    validator = blobs(30, 3.0, fit_head=record, CV_FOLDS=2, EPOCHS=1)
    first = validator.configured_probabilities(validator.folds)
    assert validator.configured_probabilities(validator.folds) is first and len(heads) == 2
    validator.settings.update(HEAD=[8, 8], EPOCHS=2, CV_FOLDS=3)
    validator.configured_probabilities(validator.folds)
    assert heads == [([8], 1)] * 2 + [([8, 8], 2)] * 3


def reliability(*arguments, **changes):
    return result(*arguments, **changes).findings()["reliability"]


EVEN = (160, 160), (200, 200)


def test_only_a_clear_difference_is_found_and_few_photos_cannot_tell():
    tests = (
        [(99, 100), (99, 100)],
        [(50, 100), (50, 100)],
        [(399, 500), (401, 500)],
        [(5, 5), (4, 5)],
        [(0, 0), (0, 0)],
    )
    found = [reliability(*EVEN, test) for test in tests]
    assert [finding.state for finding in found] == [FOUND, FOUND, NOTHING_FOUND, CANNOT_TELL, CANNOT_TELL]
    assert [finding.severity for finding in found] == [DOUBT, DOUBT, 0, 0, 0]
    assert "easier" in found[0].obstacle and "harder" in found[1].obstacle
    assert "0.80" in found[0].remedy  # what to expect instead


def test_between_95_and_99_percent_it_is_borderline():
    states = [reliability(*EVEN, [(correct // 2, 100), (correct - correct // 2, 100)]) for correct in range(160, 196)]
    names = [finding.state for finding in states]
    assert names == sorted(names, key=[NOTHING_FOUND, CANNOT_TELL, BORDERLINE, FOUND].index)
    borderline = [finding for finding in states if finding.state == BORDERLINE]
    assert 2 <= len(borderline) <= 6 and {finding.severity for finding in borderline} == {NOTE}
    assert all("may be easier" in finding.obstacle for finding in borderline)


def test_a_fine_tuned_head_is_not_compared_with_heads_that_are_not():
    fine_tuned = result(*EVEN, [(99, 100), (99, 100)], fine_tuned=True)
    assert fine_tuned.findings()["reliability"].state == CANNOT_TELL and "fine-tuning" in fine_tuned.summary()


def test_uneven_classes_are_compared_by_balanced_accuracy_of_the_tested_classes():
    # 110 and 6 photos: the accuracies are 0.97 and 0.83, only because the test photos are even
    uneven = result((110, 3), (110, 6), [(20, 20), (12, 20)], uneven=True)
    assert uneven.score == 0.75 and uneven.to_dict()["accuracy"] == pytest.approx(113 / 116)
    assert uneven.findings()["reliability"].state == CANNOT_TELL
    low, high = uneven.interval
    assert low < 0.6 and high > 0.85 and uneven.to_dict()["balanced_accuracy_ci95"] == uneven.interval
    assert uneven.to_dict()["rarest_class"]["classes"] == ["b"] and "3 of 6 correct" in uneven.summary()
    figure = uneven.plot()
    assert "balanced accuracy" in figure.axes[0].get_xlabel() and "0.75" in {t.get_text() for t in figure.axes[0].texts}
    # without a test photo of b, only a is compared
    low, high = result((110, 3), (110, 6), [(100, 100), (0, 0)], uneven=True).difference()
    assert low <= 0 <= high and high - low < 0.1


def test_each_fold_has_the_score_of_the_measure(blobs, class_means):
    validator = blobs(60, 1.0)
    validator.photos = photo_table(
        ["a"] * 48 + ["b"] * 12, ["train", "val", "train"] * 20, correct=True, duplicate_of=""
    )
    scores = cross_validate_all(validator)
    assert scores.measure == "balanced accuracy"
    folds, correct = scores.folds, scores.folds.correct(validator.configured_probabilities(scores.folds))
    for fold, row in zip(folds.folds, scores.table.itertuples(), strict=True):
        labels, right = folds.labels[fold.test], correct[fold.test]
        assert row.accuracy == pytest.approx(right.mean())
        assert row.score == pytest.approx((right[labels == 0].mean() + right[labels == 1].mean()) / 2)
    assert scores.to_dict()["mean"] == pytest.approx(scores.table["accuracy"].mean())


def test_the_comparable_test_score_leaves_out_duplicates_and_small_classes():
    photos = photo_table(["a", "b"] * 15 + ["few"] * 2, "test", correct=True, duplicate_of="")
    photos.loc[:3, "duplicate_of"] = "somewhere.jpg"
    photos.loc[5, "correct"] = False
    folds = make_folds(photos.assign(split=np.resize(["train", "val"], 32)), 5, 0)
    score = comparable_test_score(folds, photos)
    assert (score.n_correct, score.n_photos, score.classes) == (25, 26, ["a", "b"])


def test_markers_and_intervals_at_1_are_not_cut_at_the_axis():
    figure = result((200, 200), (200, 200), [(10, 10), (10, 10)]).plot()
    [axis] = figure.axes
    assert all(not line.get_clip_on() for line in axis.lines)
    assert [text.get_text() for text in axis.texts] == ["1.00", "1.00"]


@pytest.mark.parametrize("n_folds, count, reason", [(0, 20, "CV_FOLDS = 0"), (2, 6, "too few"), (5, 4, "too few")])
@pytest.mark.parametrize("analysis", [cross_validate_all, compare_heads, learning_curve])
def test_no_folds_or_too_few_photos_are_skipped(blobs, analysis, n_folds, count, reason):
    result = analysis(blobs(count, 1.0, CV_FOLDS=n_folds))
    assert isinstance(result, Skipped) and result.to_dict() is None
    finding = result.findings().get("reliability")
    assert reason in (finding.line if finding else result.summary())


@pytest.mark.parametrize("analysis", [cross_validate_all, learning_curve])
def test_more_folds_than_photos_are_fewer_folds_and_it_is_said(blobs, class_means, analysis):
    result = analysis(blobs(20, 3.0, CV_FOLDS=50))
    assert "instead of 50" in result.summary()
