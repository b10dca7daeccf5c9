"""Comparison of heads: the simplest that is not worse is chosen, without the test photos."""

import functools

import numpy as np
import pytest

from builders import features_of, photo_table
from phototransfer.evaluate import heads
from phototransfer.evaluate.heads import LOGISTIC, MAJORITY, NEAREST, compare_heads

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
    assert table.loc["1 Dense layer (8)", "correct"] == validator.configured_correct().sum()
    assert table["configured"].sum() == 1 and not table.loc[MAJORITY, "not_worse"]
    assert (table["photos"] == 120).all()
    assert result.to_dict()["simplest"] == NEAREST and len(result.to_dict()["models"]) == 5
    [advice] = result.advice()
    assert NEAREST in advice and "HEAD = [] is similar to it" in advice and "set HEAD" not in advice


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


def test_a_simpler_model_is_preferred_and_a_worse_head_is_named():
    good, bad = np.arange(200) < 190, np.arange(200) < 130
    compare = functools.partial(heads._compare, with_validation=GAIN)
    own, deep = "1 Dense layer (8)", "2 Dense layers (256, 128)"
    result = compare({MAJORITY: bad, LOGISTIC: good, own: bad, deep: np.arange(200) < 191}, head=[8])
    assert (result.best, result.simplest) == (deep, LOGISTIC) and own in result.summary()
    assert result.advice()[0].startswith("HEAD = [8] is significantly worse") and LOGISTIC in result.advice()[0]
    result = compare({LOGISTIC: good, own: np.arange(200) < 191, deep: good}, head=[8])
    assert result.advice()[0].startswith("HEAD = [8] is the best") and "HEAD = [] is similar" in result.advice()[0]
    result = compare({LOGISTIC: good, own: good, deep: np.arange(200) < 191}, head=[8])
    assert result.advice()[0].startswith("HEAD = [8] is not significantly worse")
    result = compare({LOGISTIC: bad, own: good}, head=[8])
    assert result.simplest == result.best == own and result.advice() == []
    result = compare({LOGISTIC: bad, own: bad, deep: good}, head=[8])
    assert "set HEAD = [256, 128]" in result.advice()[0]
    result = compare({MAJORITY: bad, LOGISTIC: bad, own: bad}, head=[8])
    assert "BACKBONE" in result.advice()[0] and "HEAD" not in result.advice()[0]


def test_the_figure_has_a_legend_of_its_own_and_shows_rounded_values():
    correct = {MAJORITY: np.arange(83) < 1, LOGISTIC: np.arange(83) < 53, "1 Dense layer (8)": np.ones(83, bool)}
    figure = heads._compare(correct, [8], GAIN).plot()
    [axis], [legend] = figure.axes, figure.legends
    assert [text.get_text() for text in axis.texts] == ["0.01", "0.64", "1.00"]  # 53 of 83 is 0.6386
    assert len(legend.get_texts()) == 3 and "significant" not in axis.get_xlabel()
    figure.canvas.draw()
    below = axis.get_tightbbox().y0
    assert legend.get_window_extent().y1 <= below


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
