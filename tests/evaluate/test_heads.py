"""Comparison of heads: the simplest that is not worse is chosen, without the test photos."""

import functools
import re

import numpy as np
import pytest

from builders import features_of, photo_table
from phototransfer.evaluate import heads
from phototransfer.evaluate.folds import make_folds
from phototransfer.evaluate.heads import LOGISTIC, MAJORITY, NEAREST, compare_heads
from phototransfer.finding import BORDERLINE
from phototransfer.style import GREY

GAIN = (0.0, -0.01, 0.01)


@pytest.fixture
def few_heads(monkeypatch, class_means):
    monkeypatch.setattr(heads, "DENSE", ((4,), (4, 4)))


def test_the_nearest_mean_is_the_simplest_on_blobs(blobs, few_heads):
    validator = blobs(150, 4.0)
    result = compare_heads(validator)
    assert result.simplest == NEAREST
    assert list(result.table["model"]) == [MAJORITY, NEAREST, LOGISTIC, "1 Dense layer (8)", "2 Dense layers (4, 4)"]
    table = result.table.set_index("model")
    folds = validator.folds_without_test
    correct = folds.correct(validator.configured_probabilities(folds))
    assert table.loc["1 Dense layer (8)", "correct"] == correct.sum()
    assert table["configured"].sum() == 1 and not table.loc[MAJORITY, "not_worse"]
    assert (table["photos"] == 120).all()
    assert result.to_dict()["simplest"] == NEAREST and len(result.to_dict()["models"]) == 5
    [advice] = result.advice()
    assert NEAREST in advice and "set HEAD = []" in advice and "not for a better score" in advice


def test_the_bar_ends_with_the_last_training(blobs, few_heads, capsys):
    compare_heads(blobs(60, 2.0))
    last = capsys.readouterr().out.rsplit("Simpler and deeper heads:", 1)[1]
    steps, total = re.search(r"(\d+)/(\d+) training", last).groups()
    assert "100%" in last and steps == total


def test_test_photos_do_not_change_the_comparison(blobs, few_heads):
    first, second = blobs(60, 2.0), blobs(60, 2.0)
    plain = second.features.plain.copy()
    plain[second.photos["split"] == "test"] = 1e3
    second.features = features_of(plain)
    tables = [compare_heads(validator).table for validator in (first, second)]
    assert tables[0].equals(tables[1])
    assert (tables[0]["photos"] == 48).all()


def test_all_models_are_trained_on_the_same_photos_and_validation_photos_are_an_extra(blobs, few_heads, monkeypatch):
    validator = blobs(75, 8.0)
    folds = validator.folds_without_test.folds
    train, both = {fold.train.size for fold in folds}, {fold.train.size + fold.val.size for fold in folds}
    sizes = {NEAREST: set(), LOGISTIC: set()}

    class Recorder:
        def __init__(self, model, y, groups):
            self.model, self.n = model, len(y)
            sizes[model].add(len(y))

        def fit(self, x, y):
            return self

        def predict(self, x):  # only what is trained on validation photos too is better than a constant
            return (x[:, 0] > 4).astype(int) if self.n in both else np.zeros(len(x), dtype=int)

    for model in sizes:
        monkeypatch.setitem(heads._SIMPLE, model, functools.partial(Recorder, model))
    result = compare_heads(validator)
    assert sizes == {NEAREST: train, LOGISTIC: train | both} and not train & both
    gain, low, _ = result.with_validation
    assert gain == pytest.approx(0.5, abs=0.02) and low > 0.3
    assert result.to_dict()["with_validation_photos"]["gain"] == gain


def test_the_configured_head_stands_for_its_depth():
    dense = [list(units) for units in heads.DENSE]
    assert heads._heads([256]) == [[256], *dense[1:]]
    assert heads._heads([512, 256]) == [dense[0], [512, 256], *dense[2:]]
    assert heads._heads([]) == [[], *dense]
    assert heads._heads([9] * 5) == [*dense, [9] * 5]


OWN, DEEP = "1 Dense layer (8)", "2 Dense layers (256, 128)"
GOOD, BAD = np.arange(200) < 190, np.arange(200) < 130


def compare(correct, head=(8,), labels="ab"):
    count = len(next(iter(correct.values())))
    folds = make_folds(photo_table(np.resize([*labels], count)), 2, 0)
    return heads._compare(correct, list(head), with_validation=GAIN, folds=folds)


def test_a_simpler_model_is_preferred_and_a_worse_head_is_named():
    result = compare({MAJORITY: BAD, LOGISTIC: GOOD, OWN: BAD, DEEP: np.arange(200) < 191})
    assert (result.best, result.simplest) == (DEEP, LOGISTIC) and OWN in result.summary()
    [advice] = result.advice()
    assert "HEAD = [8] (0.65) is significantly worse" in advice and LOGISTIC in advice and "set HEAD = []" in advice
    for own in (np.arange(200) < 191, GOOD):  # the best, or as good
        [advice] = compare({LOGISTIC: GOOD, OWN: own, DEEP: np.arange(200) < 191}).advice()
        assert (
            LOGISTIC in advice and "set HEAD = []" in advice and "significantly worse than the best model" not in advice
        )
    result = compare({LOGISTIC: BAD, OWN: GOOD})
    assert result.simplest == result.best == OWN and result.advice() == []
    result = compare({LOGISTIC: BAD, OWN: BAD, DEEP: GOOD})
    assert "set HEAD = [256, 128]" in result.advice()[0]
    result = compare({LOGISTIC: BAD, "no Dense layer": BAD, DEEP: GOOD}, head=[])
    assert "set HEAD = [256, 128]" in result.advice()[0]
    result = compare({LOGISTIC: GOOD, "no Dense layer": GOOD, DEEP: GOOD}, head=[])
    assert result.advice() == []  # there is no Dense layer to leave out
    result = compare({MAJORITY: BAD, LOGISTIC: BAD, OWN: BAD})
    assert "BACKBONE" in result.advice()[0] and "HEAD" not in result.advice()[0]


@pytest.mark.parametrize("lost, state", [(4, heads.NOT_WORSE), (6, BORDERLINE), (7, heads.WORSE), (12, heads.WORSE)])
def test_a_borderline_head_is_neither_worse_nor_as_good_and_no_advice_follows(lost, state):
    """With three pairs to compare, a head that loses n photos and wins none has a p-value of up to 3 · 2 / 2ⁿ."""
    result = compare({LOGISTIC: BAD, OWN: np.arange(200) < 190 - lost, DEEP: GOOD})
    own = result.table.iloc[1]
    assert own["state"] == state and own["not_worse"] == (state == heads.NOT_WORSE)
    assert ("Borderline" in result.summary()) == (state == BORDERLINE)
    assert bool(result.advice()) == (state == heads.WORSE)
    filled = {line.get_markerfacecolor() for line in result.plot().axes[0].lines if len(line.get_xdata()) == 1}
    assert (GREY in filled) == (state == BORDERLINE) and "white" in filled


def test_uneven_classes_are_compared_by_balanced_accuracy():
    """A model that never predicts the rare class is not as good as one that does, although its accuracy is higher."""
    labels = "a" * 9 + "b"
    is_rare = np.arange(300) % 10 == 9
    always, fair = ~is_rare, np.where(is_rare, True, np.arange(300) % 8 > 0)
    result = compare({MAJORITY: always, LOGISTIC: always, OWN: fair}, labels=labels)
    assert result.measure == result.to_dict()["measure"] == "balanced accuracy"
    assert result.best == result.simplest == OWN and fair.mean() < always.mean()
    table = result.table.set_index("model")
    assert table.at[MAJORITY, "score"] == pytest.approx(0.5) and table.at[MAJORITY, "state"] == heads.WORSE
    assert "balanced accuracy" in result.plot().axes[0].get_xlabel() and "balanced accuracy" in result.summary()


def test_the_figure_has_a_legend_of_its_own_and_shows_rounded_values():
    correct = {MAJORITY: np.arange(83) < 1, LOGISTIC: np.arange(83) < 53, OWN: np.ones(83, bool)}
    figure = compare(correct).plot()
    [axis], [legend] = figure.axes, figure.legends
    assert [text.get_text() for text in axis.texts] == ["0.01", "0.64", "1.00"]  # 53 of 83 is 0.6386
    assert len(legend.get_texts()) == 4 and "significant" not in axis.get_xlabel()
    figure.canvas.draw()
    below = axis.get_tightbbox().y0
    assert legend.get_window_extent().y1 <= below
    assert legend.get_window_extent().x0 >= 0 and legend.get_window_extent().x1 <= figure.bbox.width


def test_logistic_regression_is_not_changed_by_the_rotation(blobs, monkeypatch):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    validator = blobs(40, 2.0, n_features=80)
    x, y = validator.features.plain, validator.photos["label"].to_numpy()
    monkeypatch.setattr(heads, "_STRENGTHS", (0.01,))
    model = heads._logistic_regression(y, np.arange(40)).fit(x, y)
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    assert model.predict_proba(x) == pytest.approx(plain.fit(x, y).predict_proba(x), abs=1e-3)


def test_near_duplicates_stay_together_in_the_inner_folds():
    groups = np.repeat(np.arange(12), 3)
    labels = np.repeat([0, 1], 18)
    folds = heads._logistic_regression(labels, groups)[-1].cv
    assert len(folds) == 3
    assert all(not set(groups[train]) & set(groups[val]) for train, val in folds)


def test_classes_with_a_single_training_photo_do_not_stop_the_comparison(blobs, few_heads):
    validator = blobs(30, 4.0)
    validator.photos = photo_table(["a"] * 24 + ["b"] * 3 + ["c"] * 3, ["train", "train", "val"] * 10)
    assert (compare_heads(validator).table["photos"] == 30).all()


def test_where_all_folds_would_take_too_long_some_are_compared_and_said_so(blobs, few_heads, monkeypatch):
    everything = compare_heads(blobs(150, 2.0))
    monkeypatch.setattr(heads, "_MOST_SECONDS", 0.01)
    validator = blobs(150, 2.0)
    some = compare_heads(validator)
    tested = validator.folds_without_test.folds[0].test
    assert (some.table["photos"] == len(tested)).all() and len(tested) < everything.table["photos"].iloc[0]
    assert "1 of the 3 folds" in some.summary()
    assert "of the 3 folds" not in everything.summary()
    labels = validator.folds_without_test.labels[tested]
    majority = some.table.set_index("model").at[MAJORITY, "correct"]
    assert majority in [(labels == label).sum() for label in np.unique(labels)]
