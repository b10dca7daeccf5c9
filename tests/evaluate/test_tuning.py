"""The search uses training and validation photos only, is resumable, and does not present luck as a gain."""

from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest

from builders import SETTINGS, features_of, photo_table
from phototransfer.evaluate import tuning
from phototransfer.evaluate.cross_validation import CrossValidator
from phototransfer.evaluate.tuning import HeadSearch, search_heads
from phototransfer.report import Skipped
from phototransfer.stats import class_weights, mean_recall

BASE = SETTINGS | {"HEAD": [100, 7], "DROPOUT": 0.5, "LEARNING_RATE": 1e-3, "DATASET": "../photos/pets", "SEED": 1}
SEARCHED = ("HEAD", "DROPOUT", "LEARNING_RATE", "WEIGHT_DECAY")


class ClassMeans:
    """Stands for build_head and fit_head: nearest class mean, noisier the further the learning rate is from 0.001.

    Remembers the rows it was trained and tested on; raises `error` at its `fail_at`-th fit.
    """

    def __init__(self, fail_at=None, error=KeyboardInterrupt):
        self.trained_on, self.validated_on, self.tested_on, self.built, self.fits = [], [], [], [], 0
        self.fail_at, self.error = fail_at, error
        self.optimizer = SimpleNamespace(build=lambda variables: None, variables=[])
        self.variables, self.trainable_variables = [], []

    def build_head(self, n_features, n_classes, settings):
        head = {name: settings[name] for name in SEARCHED}
        if head not in self.built:
            self.built.append(head)
        self.noise, self.n_classes = 1 + 3 * abs(np.log10(settings["LEARNING_RATE"]) + 3), n_classes
        return self

    def fit_head(self, head, train, val, settings):
        self.fits += 1
        if self.fits == self.fail_at:
            raise self.error
        x, y = train
        self.trained_on.append(x)
        self.validated_on.append(val[0])
        self.means = np.stack([x[y == number].mean(axis=0) for number in range(self.n_classes)])

    def __call__(self, x, training):
        self.tested_on.append(x)
        noise = np.random.default_rng(len(x)).normal(size=x.shape) * self.noise
        return -(((x + noise)[:, None] - self.means[None]) ** 2).sum(axis=2)

    def rows(self):
        return {row.tobytes() for x in self.trained_on + self.validated_on + self.tested_on for row in x}


@pytest.fixture
def photos():
    """90 photos of two classes with their features; some are near-duplicates, ten are test photos."""
    number = np.arange(90)
    labels = number % 2
    splits = np.where(number % 4 == 1, "val", "train").astype(object)
    splits[number % 9 == 8] = "test"
    groups = number - 2 * (number % 30 == 4)
    table = photo_table(np.where(labels, "dog", "cat"), splits, groups)
    rng = np.random.default_rng(0)
    return table, (rng.normal(size=(90, 4)) + 1.5 * labels[:, None]).astype(np.float32)


def search(photos, folder, head=None, trials=3, augmented=None, **settings):
    table, plain = photos
    head = head or ClassMeans()
    validator = CrossValidator(
        table,
        features_of(plain, augmented),
        build_head=head.build_head,
        fit_head=head.fit_head,
        settings=BASE | {"TUNE_TRIALS": trials} | settings,
    )
    return search_heads(validator, folder)


def without_seconds(result):
    return result.trials.drop(columns="seconds")


def test_tries_the_requested_number_of_heads(photos, tmp_path):
    head = ClassMeans()
    result = search(photos, tmp_path, head, 4)
    assert len(result.trials) == 4 and len(head.built) == 5  # and the configured one
    assert head.built[0] == {name: BASE[name] for name in SEARCHED}
    assert result.best_settings() in head.built  # the settings to type are those that were measured
    table = photos[0]
    different = table.loc[table["split"] != "test", "group"].nunique()  # near-duplicates count once
    assert result.correct.shape == (len(result.trials) - result.trials["pruned"].sum(), different)
    complete = result.trials[~result.trials["pruned"]]
    np.testing.assert_allclose(complete["score"], result.correct.mean(axis=1))


def test_off_by_default(photos, tmp_path):
    assert isinstance(search(photos, tmp_path, trials=0), Skipped)
    assert list(tmp_path.iterdir()) == []


def test_test_photos_take_no_part(photos, tmp_path):
    table, plain = photos
    test = (table["split"] == "test").to_numpy()
    head = ClassMeans()
    clean = search(photos, tmp_path / "clean", head, 6)
    assert head.rows() == {row.tobytes() for row in plain[~test]}
    changed, other = table.copy(), plain.copy()
    other[test] = np.nan
    changed.loc[test, "label"] = "cow"
    again = search((changed, other), tmp_path / "other", trials=6)
    pd.testing.assert_frame_equal(without_seconds(clean), without_seconds(again))
    assert clean.summary() == again.summary()


def test_the_number_of_augmentations_is_searched(photos, tmp_path):
    plain = photos[1]
    views = []

    class Counting(ClassMeans):
        def fit_head(self, head, train, val, settings):
            views.append(len(train[0]) // np.sum(train[0][:, 0] < 50) - 1)
            super().fit_head(head, train, val, settings)
            assert (val[0][:, 0] < 50).all()  # validation and test use the photo as it is

    augmented = np.stack([plain + 100, plain + 200])
    result = search(photos, tmp_path, Counting(), 5, augmented, AUGMENTATIONS=2)
    assert set(result.trials["augmentations"]) <= {0, 1, 2} and result.trials["augmentations"].nunique() > 1
    assert views[:3] == [2, 2, 2]  # the configured head
    assert views[3:] == [count for count in result.trials["augmentations"] for _ in range(3)]
    assert result.best_settings()["AUGMENTATIONS"] == result.best()["augmentations"]
    assert result.plot().axes[-1].get_xlabel()


def test_near_duplicates_are_never_on_both_sides(photos, tmp_path):
    table, plain = photos
    group_of = dict(zip((row.tobytes() for row in plain), table["group"], strict=True))
    head = ClassMeans()
    search(photos, tmp_path, head, 2)
    for tested, *training in zip(head.tested_on, head.trained_on, head.validated_on, strict=True):
        groups = {group_of[row.tobytes()] for x in training for row in x}
        assert not groups & {group_of[row.tobytes()] for row in tested}


@pytest.mark.parametrize("fail_at, error", [(2, KeyboardInterrupt), (5, MemoryError), (12, KeyboardInterrupt)])
def test_an_interrupted_search_goes_on_and_ends_with_the_same_heads(photos, tmp_path, fail_at, error):
    whole = search(photos, tmp_path / "whole", trials=5)
    with pytest.raises(error):
        search(photos, tmp_path / "cut", ClassMeans(fail_at, error), 5)
    head = ClassMeans()
    pd.testing.assert_frame_equal(without_seconds(search(photos, tmp_path / "cut", head, 5)), without_seconds(whole))
    assert head.fits <= 18 - (fail_at - 1) // 3 * 3  # the folds of finished heads are not trained again


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_journal_that_a_killed_run_left_incomplete_is_used(photos, tmp_path, cut):
    whole = search(photos, tmp_path / "whole", trials=4)
    search(photos, tmp_path / "cut", trials=2)
    [journal] = (tmp_path / "cut").glob("*.log")
    journal.write_bytes(journal.read_bytes()[:-cut])
    (tmp_path / "cut" / f"{journal.name}.lock").touch()
    pd.testing.assert_frame_equal(without_seconds(search(photos, tmp_path / "cut", trials=4)), without_seconds(whole))


def test_more_trials_go_on_and_fewer_are_read(photos, tmp_path):
    first = search(photos, tmp_path, trials=3)
    head = ClassMeans()
    pd.testing.assert_frame_equal(search(photos, tmp_path, head, 3).trials, first.trials)
    assert head.fits == 0
    more = search(photos, tmp_path, head, 5)
    pd.testing.assert_frame_equal(more.trials.head(3), first.trials)
    assert len(search(photos, tmp_path, head, 2).trials) == 2


def test_another_configured_head_is_the_same_search(photos, tmp_path):
    first = search(photos, tmp_path)
    head = ClassMeans()
    other = search(photos, tmp_path, head, LEARNING_RATE=1e-1)
    pd.testing.assert_frame_equal(first.trials, other.trials)
    assert head.fits == 3
    assert other.configured.mean() < first.configured.mean()


def test_other_photos_or_another_training_are_another_study(photos, tmp_path):
    table, plain = photos
    search(photos, tmp_path, trials=1)
    swapped = table.assign(label=table["label"].replace({"cat": "dog", "dog": "cat"}))
    grouped = table.assign(group=table["group"].replace(6, 0))
    changes = [
        ((table, plain + 1), {}),
        ((swapped, plain), {}),
        ((grouped, plain), {}),
        (photos, {"EPOCHS": 4}),
        (photos, {"BATCH_NORM": False}),
        (photos, {"BACKBONE": "InceptionV3"}),
        (photos, {"DATASET": "cars"}),
        (photos, {"CV_FOLDS": 4}),
    ]
    for data, settings in changes:
        head = ClassMeans()
        search(data, tmp_path, head, 1, **settings)
        assert head.fits == 2 * settings.get("CV_FOLDS", 3)
    assert len(list(tmp_path.glob("*.log"))) == 1 + len(changes)


def test_the_code_of_the_functions_is_part_of_the_study():
    def one():
        return 1

    def other():
        return 2

    assert tuning._source(one) != tuning._source(other)


def test_hopeless_heads_are_pruned(photos, tmp_path):
    class Brittle(ClassMeans):
        def build_head(self, n_features, n_classes, settings):
            super().build_head(n_features, n_classes, settings)
            self.noise = 1 if settings["LEARNING_RATE"] < 1e-3 else 1000
            return self

    result = search(photos, tmp_path, Brittle(), 11)
    pruned = result.trials["pruned"]
    assert 0 < pruned.sum() < 11
    assert (result.trials.loc[pruned, "learning_rate"] >= 1e-3).all()
    assert len(result.correct) == 11 - pruned.sum()
    assert not result.best()["pruned"]


def test_nothing_but_progress_is_printed(photos, tmp_path, capfd):
    search(photos, tmp_path)
    printed = capfd.readouterr()
    assert printed.err == ""
    for line in printed.out.replace("\r", "\n").splitlines():
        assert not line or line.startswith(("Search:", "Configured head:"))


def test_small_classes_are_left_out_and_counted(photos, tmp_path):
    table = photos[0]
    table.loc[:3, "label"] = ["cow", "cow", "hen", "hen"]
    result = search(photos, tmp_path)
    assert result.left_out == {"cow": 2, "hen": 2}
    assert "cow (2)" in result.summary()


def test_too_few_photos_are_skipped_with_the_reason(photos, tmp_path):
    table, plain = photos
    result = search((table.head(4), plain[:4]), tmp_path)
    assert isinstance(result, Skipped) and "3 different photos" in result.reason


def made(correct, configured, importance=None, pruned=(), labels=None):
    """Return a search whose heads had these photos correct; with labels, by balanced accuracy."""
    correct, configured = np.asarray(correct, dtype=bool), np.asarray(configured, dtype=bool)
    strata = np.zeros(len(configured), dtype=int) if labels is None else np.asarray(labels)
    row = {"layers": 2, "units": 256, "dropout": 0.30000000000000004, "learning_rate": 0.0012345, "weight_decay": 0.05}
    scores = [mean_recall(one, strata) for one in correct]
    rows = [row | {"score": score, "pruned": False, "seconds": 1.0} for score in scores]
    rows += [row | {"score": score, "pruned": True, "seconds": 1.0} for score in pruned]
    measure = "accuracy" if labels is None else "balanced accuracy"
    options = {"left_out": {}, "n_folds": 5, "seed": 0, "strata": strata, "measure": measure}
    return HeadSearch(pd.DataFrame(rows), correct, configured, importance=importance or {}, **options)


def test_uneven_classes_are_searched_by_balanced_accuracy():
    """Of 200 photos 20 are rare: a head that finds them is better, although fewer photos are correct."""
    labels = np.repeat([0, 1], [180, 20])
    rng = np.random.default_rng(0)
    configured = labels == 0
    fair = np.where(labels == 1, rng.random(200) < 0.8, rng.random(200) < 0.88)
    result = made([configured, fair], configured, labels=labels)
    assert fair.mean() < configured.mean() and result.configured_score == 0.5
    mean, low, _ = result.gain()
    assert low > 0 and mean == pytest.approx(result.best()["score"] - 0.5, abs=0.02)
    assert result.is_better and result.advice() and "balanced accuracy" in result.summary()
    assert "balanced accuracy" in result.plot().axes[0].get_ylabel()
    assert not made([configured, fair], configured).is_better  # by accuracy


def test_a_gain_needs_the_interval_and_the_paired_test(monkeypatch):
    for low, p_value, better in ((0.01, 0.01, True), (0.01, 0.2, False), (-0.01, 0.01, False)):
        result = made([np.arange(100) < 90], np.arange(100) < 80)
        monkeypatch.setattr(HeadSearch, "gain", lambda self, low=low: (0.05, low, 0.1))
        monkeypatch.setattr(HeadSearch, "p_value", lambda self, p_value=p_value: p_value)
        assert result.is_better is result.to_dict()["better"] is bool(result.advice()) is better
        assert ("not significantly different" in result.summary()) is not better


def test_uneven_classes_are_pruned_and_scored_by_balanced_accuracy(photos, tmp_path):
    table, plain = photos
    table = table.assign(label=np.where(np.arange(90) % 5 == 0, "dog", "cat"), group=np.arange(90))
    result = search((table, plain), tmp_path)
    assert result.measure == result.to_dict()["measure"] == "balanced accuracy"
    complete = result.trials[~result.trials["pruned"]]
    np.testing.assert_allclose(complete["score"], result.correct @ class_weights(result.strata))


def test_luck_is_not_presented_as_a_gain():
    rng = np.random.default_rng(0)
    result = made(rng.random((30, 100)) < 0.8, np.arange(100) < 80)  # thirty heads, none better than another
    mean, low, high = result.gain()
    assert result.best()["score"] - result.configured.mean() > 0.05
    assert low < 0 < high
    assert mean < result.best()["score"] - result.configured.mean()
    assert "not significantly different" in result.summary() and result.advice() == []


def test_luck_is_rarely_significant():
    lucky = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lucky += made(rng.random((20, 80)) < 0.7, rng.random(80) < 0.7).gain()[1] > 0
    assert lucky <= 2


def test_a_real_gain_is_found_with_the_settings_to_type():
    rng = np.random.default_rng(0)
    configured = rng.random(200) < 0.6
    better = configured | (rng.random(200) < 0.5)
    result = made([configured, better, configured & (rng.random(200) < 0.9)], configured)
    mean, low, _ = result.gain()
    assert low > 0
    assert mean == pytest.approx(better.mean() - configured.mean(), abs=0.02)
    expected = {"HEAD": [256, 128], "DROPOUT": 0.3, "LEARNING_RATE": 0.0012, "WEIGHT_DECAY": 0.05}
    assert result.best_settings() == expected
    typed = "HEAD = [256, 128], DROPOUT = 0.3, LEARNING_RATE = 0.0012, WEIGHT_DECAY = 0.05"
    assert typed in result.summary() and typed in result.advice()[0]
    assert result.to_dict()["gain"] == mean and result.to_dict()["p_value"] < 1e-6


def test_a_search_without_a_better_head_advises_nothing():
    result = made([np.arange(100) < 80, np.arange(100) < 90], np.arange(100) < 90)
    assert "No head is better" in result.summary() and result.advice() == []


def test_the_plot_has_the_most_important_hyperparameter_first():
    importance = {"dropout": 0.1, "learning_rate": 0.7, "units": 0.2}
    result = made(np.random.default_rng(0).random((6, 50)) < 0.7, np.arange(50) < 30, importance, [0.2, 0.3])
    figure = result.plot()
    labels = [axis.get_xlabel().split("\n")[0] for axis in figure.axes]
    assert labels[:3] == ["learning rate", "units of the first", "dropout"]
    assert [len(line.get_xdata()) for line in figure.axes[0].lines[:3]] == [2, 6, 1]


def test_a_study_is_kept_by_optuna(photos, tmp_path):
    search(photos, tmp_path, trials=2)
    [journal] = tmp_path.glob("*.log")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    assert len(optuna.load_study(study_name=journal.stem, storage=storage).trials) == 2
