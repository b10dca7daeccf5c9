"""Cross-validation, ladder and learning curve of a small head on features whose answer is known."""

import functools

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from sklearn.utils.class_weight import compute_class_weight

from helpers.firmness import cross_validation, folds, ladder, learning, metrics
from helpers.firmness import plots as firm_plots
from helpers.firmness.trainings import Trainings

NO_PAIRS = pd.DataFrame({"a": [], "b": []}, dtype=int)


def build_head(features, classes, hidden=(8,), dropout=0.3):
    head = keras.Sequential([keras.Input((features,))])
    for units in hidden:
        head.add(layers.Dense(units))
        head.add(layers.BatchNormalization(momentum=0.9))
        head.add(layers.ReLU())
        head.add(layers.Dropout(dropout))
    head.add(layers.Dense(classes, activation="softmax"))
    head.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return head


def fit_head(head, x, y, watched, epochs=6):
    weights = compute_class_weight("balanced", classes=np.unique(y), y=y)[y]
    batches = tf.data.Dataset.from_tensor_slices((x, y, weights)).shuffle(len(y)).batch(16)
    stop = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    validation = tf.data.Dataset.from_tensors(watched)
    return head.fit(batches, epochs=epochs, validation_data=validation, callbacks=[stop], shuffle=False, verbose=0)


def table(labels):
    photos = pd.DataFrame({"label": labels, "digest": [str(number) for number in range(len(labels))]})
    return photos.assign(
        group=np.arange(len(labels)),
        split=np.resize(["train", "train", "val", "train", "test"], len(labels)),
        leak_of="",
    )


def blobs(count, distance, features=6, seed=0):
    """Two classes of normal noise whose means lie `distance` apart."""
    chance = np.random.default_rng(seed)
    labels = np.resize(["a", "b"], count)
    x = chance.standard_normal((count, features)).astype(np.float32)
    x[:, 0] += distance * (labels == "b")
    return table(labels), x


def validate(photos, features, pairs=NO_PAIRS, count=3, fit=fit_head, repeats=1):
    dealt = folds.deal(photos, pairs, count, 0, repeats)
    return dealt, cross_validation.cross_validate(dealt, features, build_head, fit, 0)


def test_a_restored_head_is_bit_for_bit_a_freshly_built_one():
    photos, x = blobs(80, 1.5)
    y = (photos["label"] == "b").to_numpy().astype(int)
    kept = []

    def keep(head, *data):
        fit_head(head, *data)
        kept.append(head.get_weights())

    trainings = Trainings(build_head, keep, 6, 2)
    data = (x[:50], y[:50]), (x[50:], y[50:]), x
    for seed in (7, 8, 7):  # the third comes after others, the first before any
        trainings.predict(seed, *data)
    keras.utils.set_random_seed(7)
    fresh = build_head(6, 2)
    keras.utils.set_random_seed(7)
    fit_head(fresh, *data[0], data[1])
    first, between, last = kept
    for one, other, built in zip(first, last, fresh.get_weights(), strict=True):
        assert (one == other).all() and (one == built).all()
    assert any((one != other).any() for one, other in zip(first, between, strict=True))


def test_noise_scores_at_chance_and_a_planted_copy_does_not_lift_it():
    photos, x = blobs(60, 0.0, features=100)
    twice = pd.concat([photos, photos], ignore_index=True).assign(group=np.arange(120))
    grown = functools.partial(fit_head, epochs=15)
    pairs = pd.DataFrame({"a": range(60), "b": range(60, 120)})
    dealt, honest = validate(twice, np.tile(x, (2, 1)), pairs, fit=grown)
    assert honest.photos == 60 and len(dealt.rows) == 120
    assert honest.low < 0.5 < honest.high
    _, fooled = validate(twice, np.tile(x, (2, 1)), fit=grown)
    assert fooled.accuracy > honest.accuracy + 0.1  # so the copies would have been remembered


def test_cross_validation_adds_up():
    photos, x = blobs(60, 3.0)
    dealt, found = validate(photos, x, repeats=2)
    assert found.accuracy > 0.8
    assert found.table["photos"].sum() == 120 and len(found.table) == 6
    assert found.right.shape == (2, 60) and found.right.sum() == found.table["right"].sum()
    assert found.mean == pytest.approx(found.table["accuracy"].mean())
    assert found.high - found.low > 0.05  # of 60 photos, not of 120
    told = metrics(dealt, found, None, None)
    assert told["cross_validation"]["folds"] == 3 and told["ladder"] is None
    assert len(told["cross_validation"]["fold_accuracies"]) == 6


def test_views_are_learnt_from_and_never_judged():
    photos, x = blobs(40, 3.0)
    seen = []
    dealt = folds.deal(photos, NO_PAIRS, 4, 0)
    cross_validation.cross_validate(dealt, np.stack([x, x + 100]), build_head, lambda head, *data: seen.append(data), 0)
    for part, (learnt, labels, (watched, _)) in zip(dealt.parts, seen, strict=True):
        assert len(learnt) == len(labels) == 2 * len(part.train)
        assert watched.max() < 50 < learnt[len(part.train) :].min()


def counted(right, of, accuracy=0.8, photos=400):
    hits = np.arange(photos) < accuracy * photos
    table = pd.DataFrame({"accuracy": [accuracy]})
    return cross_validation.agreement(
        cross_validation.CrossValidation(table, hits[None], accuracy, 0.0, accuracy, 0.76, 0.84), right, of
    )


def test_agreement_weighs_both_intervals():
    assert "does not agree" in counted(198, 200) and "better" in counted(198, 200)
    assert "worse" in counted(100, 200)
    assert "go by the folds" in counted(9, 10)
    assert counted(800, 1000).startswith("The test figure agrees")
    assert "no test figure" in counted(0, 0)


def test_test_figure_is_like_for_like():
    photos = table(["a", "b"] * 15 + ["few"] * 2).assign(correct=True)
    photos["split"] = "test"
    photos.loc[:3, "leak_of"] = "somewhere.jpg"
    photos.loc[5, "correct"] = False
    dealt = folds.deal(photos.assign(split=np.resize(["train", "val"], 32)), NO_PAIRS, 5, 0)
    assert cross_validation.test_figure(dealt, photos) == (25, 26)
    assert cross_validation.test_figure(None, photos) == (0, 0)


def test_the_nearest_mean_is_the_simplest_on_blobs():
    photos, x = blobs(120, 4.0)
    dealt, configured = validate(photos, x)
    small = functools.partial(ladder.climb, dealt, x, build_head, fit_head, [8], configured, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "DENSE", ((4,), (4, 4)))
        found = small()
    assert found.simplest == ladder.NEAREST
    assert list(found.table["rung"]) == [
        ladder.MAJORITY,
        ladder.NEAREST,
        ladder.LOGISTIC,
        "1 Dense layer: 8",
        "2 Dense layers: 4, 4",
    ]
    rungs = found.table.set_index("rung")
    assert rungs.loc["1 Dense layer: 8", "right"] == configured.right[0].sum()
    assert rungs["configured"].sum() == 1 and not rungs.loc[ladder.MAJORITY, "alike"]
    assert (rungs["photos"] == 120).all()
    assert "nearest class mean" in ladder.in_words(found)
    assert firm_plots.ladder(found).axes


def test_all_rungs_learn_from_the_same_photos_and_the_watched_ones_are_priced_apart(monkeypatch):
    photos, x = blobs(60, 8.0)
    dealt, configured = validate(photos, x)
    learnt = (
        {part.train.size for part in dealt.first()},
        {part.train.size + part.watched.size for part in dealt.first()},
    )
    seen = {"nearest": set(), "logistic": set()}

    def nearest(features, y, groups, judged):
        seen["nearest"].add(len(features))
        return np.zeros(len(judged), dtype=int)

    def logistic(features, y, groups, judged):
        seen["logistic"].add(len(features))
        return (judged[:, 0] > 4).astype(int) if len(features) in learnt[1] else np.zeros(len(judged), dtype=int)

    monkeypatch.setattr(ladder, "_nearest", nearest)
    monkeypatch.setattr(ladder, "_logistic", logistic)
    monkeypatch.setattr(ladder, "DENSE", ())
    found = ladder.climb(dealt, x, build_head, fit_head, [8], configured, 0)
    assert seen == {"nearest": learnt[0], "logistic": learnt[0] | learnt[1]} and not learnt[0] & learnt[1]
    assert found.watched_too[0] == pytest.approx(0.5, abs=0.02)
    assert "learning from those too it tells 1.00 right (+0.500" in ladder.in_words(found)
    told = metrics(dealt, configured, found, None)["ladder"]["validation_photos_too"]
    assert told["low"] < told["gain"] == found.watched_too[0]


def test_the_configured_head_stands_for_its_depth():
    assert ladder.rungs([256]) == [(256,), *ladder.DENSE[1:]]
    assert ladder.rungs([]) == [(), *ladder.DENSE]
    assert ladder.rungs([9] * 5) == [*ladder.DENSE, (9,) * 5]


GAIN = (0.0, -0.01, 0.01)


def test_the_ladder_prefers_what_is_truly_better_and_says_which_head_is_worse():
    good, bad = np.arange(200) < 190, np.arange(200) < 130
    rungs = {ladder.LOGISTIC: bad, "middling": good, "deep": np.arange(200) < 191, "yours": bad}
    found = ladder.compare(rungs, "yours", GAIN)
    assert (found.best, found.simplest) == ("deep", "middling")
    assert "yours, does worse" in ladder.in_words(found)
    alone = ladder.compare({"simple": bad, "deep": good}, "deep", GAIN)
    assert alone.simplest == alone.best == "deep"


def test_logistic_regression_is_not_changed_by_the_rotation():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    photos, x = blobs(40, 2.0, features=80)
    [model] = ladder._regressions(x, photos["label"].to_numpy(), (0.01,))
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000))
    expected = plain.fit(x, photos["label"]).predict_proba(x)
    assert model.predict_proba(x) == pytest.approx(expected, abs=1e-3)


def test_more_photos_help_where_they_do():
    chance = np.random.default_rng(0)
    right = {
        share: chance.random(400) < accuracy
        for share, accuracy in zip((0.25, 0.5, 0.75, 1.0), (0.5, 0.6, 0.7, 0.8), strict=True)
    }
    train = {share: 100 * share for share in right}
    assert learning.judge(right, train).verdict == learning.YES
    flat = np.arange(4000) < 3900
    assert learning.judge(dict.fromkeys(right, flat), train).verdict == learning.HARDLY
    few = np.arange(30) < 25
    assert learning.judge(dict.fromkeys(right, few), train).verdict == learning.CANNOT_TELL


def test_learning_curve_learns_from_nested_shares():
    photos, x = blobs(80, 3.0)
    dealt, configured = validate(photos, x)
    seen = []

    def fit(head, learnt, labels, watched):
        seen.append({tuple(row) for row in learnt})
        assert set(labels) == {0, 1}

    found = learning.learning_curve(dealt, x, build_head, fit, configured, 0)
    for fold, part in enumerate(dealt.parts):
        quarter, half, most = seen[fold :: len(dealt.parts)]
        assert quarter < half < most < {tuple(row) for row in x[part.train]}
        assert len(half) == pytest.approx(len(part.train) / 2, abs=2)
    assert list(found.table["share"]) == [0.25, 0.5, 0.75, 1.0]
    assert found.table["right"].iloc[-1] == configured.right[0].sum()
    assert firm_plots.learning(found).axes
    assert "Would more photos help?" in learning.in_words(found)


def test_everything_copes_with_off():
    photos, x = blobs(20, 1.0)
    dealt, found = validate(photos, x, count=0)
    rungs = ladder.climb(dealt, x, build_head, fit_head, [8], found, 0)
    curve = learning.learning_curve(dealt, x, build_head, fit_head, found, 0)
    assert dealt is found is rungs is curve is None
    assert metrics(dealt, found, rungs, curve) == {"cross_validation": None, "ladder": None, "learning_curve": None}
    assert firm_plots.folds(found, 1, 2) is firm_plots.ladder(rungs) is firm_plots.learning(curve) is None
    assert cross_validation.in_words(found) == ladder.in_words(rungs) == learning.in_words(curve) == ""
