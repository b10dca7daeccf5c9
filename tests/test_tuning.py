"""The search sees what it is handed and nothing else, goes on where it stopped, and does not sell luck as a gain."""

import keras
import numpy as np
import optuna
import pandas as pd
import pytest

from helpers import result_plots, study, tuning
from helpers.firmness.folds import deal
from helpers.search import Search
from helpers.study import study_name
from helpers.tuning import tune

SETTINGS = {"DATASET": "../photos/pets", "BACKBONE": "ResNet50", "EPOCHS": 3, "BATCH_SIZE": 8}
SETTINGS |= {"HEAD": [100, 7], "DROPOUT": 0.5, "LEARNING_RATE": 1e-3, "WEIGHT_DECAY": 0.0}


class Stub:
    """Stands for build_head and fit_head: class means, blurred the more the further its rate is from 0.001.

    Remembers the rows it was shown and how its heads were built; raises what `fail` says at its `fail_at`-th fit.
    """

    def __init__(self, fail_at=None, fail=KeyboardInterrupt):
        self.seen, self.asked, self.built, self.fits = [], [], [], 0
        self.fail_at, self.fail = fail_at, fail
        self.optimizer, self.variables, self.trainable_variables = self, [], []

    def build(self, variables):
        pass

    def build_head(self, features, classes, hidden, dropout, learning_rate, weight_decay):
        told = {"HEAD": hidden, "DROPOUT": dropout, "LEARNING_RATE": learning_rate, "WEIGHT_DECAY": weight_decay}
        if told not in self.built:  # once a fold
            self.built.append(told)
        self.blur, self.classes = 1 + 3 * abs(np.log10(learning_rate) + 3), classes
        return self

    def fit_head(self, head, x, y, watched):
        self.fits += 1
        if self.fits == self.fail_at:
            raise self.fail
        self.seen += [x, watched[0]]
        self.means = np.stack([x[y == number].mean(axis=0) for number in range(self.classes)])

    def __call__(self, x, training):
        self.asked.append(x)
        noise = np.random.default_rng(len(x)).normal(size=x.shape) * self.blur
        return -((x + noise)[:, None] - self.means[None]).__pow__(2).sum(axis=2)


@pytest.fixture
def photos():
    """The table of 90 photos of two classes, their features, and pairs of near-duplicates."""
    rng = np.random.default_rng(0)
    number = np.arange(90)
    labels = number % 2
    table = pd.DataFrame({"label": np.where(labels, "dog", "cat"), "group": number, "split": "train"})
    table["digest"] = [f"digest-{n}" for n in number]
    table.loc[number % 4 == 1, "split"] = "val"
    table.loc[number % 9 == 8, "split"] = "test"
    table.loc[number % 30 == 4, "group"] -= 2  # copies
    pairs = pd.DataFrame({"a": [10, 17, 20], "b": [12, 19, 22]})  # 17 is a test photo
    return table, (rng.normal(size=(90, 4)) + 1.5 * labels[:, None]).astype(np.float32), pairs


def search(photos, folder, stub=None, trials=3, told=SETTINGS, **more):
    table, features, pairs = photos
    stub = stub or Stub()
    learn = (table["split"] != "test").to_numpy()
    cells = stub.build_head, stub.fit_head
    return tune(table[learn], pairs, features[..., learn, :], *cells, trials, told, 1, folder, **({"folds": 3} | more))


def tried(found):
    return found.trials.drop(columns="seconds")


def test_tries_as_many_heads_as_asked(photos, tmp_path):
    stub = Stub()
    found = search(photos, tmp_path, stub, 4)
    assert len(found.trials) == 4 and len(stub.built) == 5  # and the configured one
    assert stub.built[0] == {name: SETTINGS[name] for name in ("HEAD", "DROPOUT", "LEARNING_RATE", "WEIGHT_DECAY")}
    assert found.settings() in stub.built  # what is to be typed is what was measured
    different = 90 - 10 - 2 - 2  # test photos, copies, pairs
    assert found.right.shape == (len(found.trials) - found.trials["pruned"].sum(), different)
    np.testing.assert_allclose(found.trials.loc[~found.trials["pruned"], "score"], found.right.mean(axis=1))
    assert (tmp_path / "tuning.db").is_file()


def test_the_test_photos_are_never_looked_at(photos, tmp_path):
    table, features, pairs = photos
    test = (table["split"] == "test").to_numpy()
    stub = Stub()
    clean = search(photos, tmp_path / "clean", stub, 6)
    shown = {row.tobytes() for rows in stub.seen + stub.asked for row in rows}
    assert shown == {row.tobytes() for row in features[~test]}
    poisoned, changed = features.copy(), table.copy()
    poisoned[test] = np.nan
    changed.loc[test, ["label", "group"]] = ["cow", 0]
    again = search((changed, poisoned, pairs), tmp_path / "poisoned", trials=6)
    pd.testing.assert_frame_equal(tried(clean), tried(again))
    assert clean.in_words() == again.in_words()


def test_the_number_of_views_is_searched_where_there_are_some(photos, tmp_path):
    table, plain, pairs = photos
    test = (table["split"] == "test").to_numpy()
    features = np.stack([plain, plain + 100, plain + 200])
    sizes = []

    class Counts(Stub):
        def fit_head(self, head, x, y, watched):
            sizes.append({int(view) for view in x[:, 0] // 50})
            super().fit_head(head, x, y, watched)
            assert (watched[0][:, 0] < 50).all()  # watched and judged is the photo as it is

    stub = Counts()
    found = search((table, features, pairs), tmp_path, stub, 5)  # none is given up this early
    assert set(found.trials["views"]) <= {0, 1, 2} and found.trials["views"].nunique() > 1
    learnt = [max(size) // 2 for size in sizes]
    assert learnt[:3] == [2, 2, 2]  # the configured head
    assert learnt[3:] == [views for views in found.trials["views"] for _ in range(3)]
    assert found.settings()["AUGMENT_VIEWS"] == found.best()["views"]
    assert result_plots.tuning(found).axes[-1].get_xlabel()
    shown = {row.tobytes() for rows in stub.seen + stub.asked for row in rows}
    assert not shown & {row.tobytes() for row in features[:, test].reshape(-1, 4)}


def test_copies_are_never_on_both_sides(photos, tmp_path):
    table, features, _ = photos
    alike = table["group"].to_numpy().copy()
    alike[[12, 22]] = alike[[10, 20]]
    of = dict(zip((row.tobytes() for row in features), alike, strict=True))
    stub = Stub()
    search(photos, tmp_path, stub, 2)
    for number, judged in enumerate(stub.asked):
        learnt = {of[row.tobytes()] for rows in stub.seen[2 * number : 2 * number + 2] for row in rows}
        assert not learnt & {of[row.tobytes()] for row in judged}


@pytest.mark.parametrize("fail_at, fail", [(2, KeyboardInterrupt), (5, MemoryError), (12, KeyboardInterrupt)])
def test_interrupted_it_goes_on_and_ends_the_same(photos, tmp_path, fail, fail_at):
    whole = search(photos, tmp_path / "whole", trials=5)
    with pytest.raises(fail):
        search(photos, tmp_path / "cut", Stub(fail_at, fail), 5)
    stub = Stub()
    pd.testing.assert_frame_equal(tried(search(photos, tmp_path / "cut", stub, 5)), tried(whole))
    assert stub.fits <= 18 - (fail_at - 1) // 3 * 3  # folds of heads that were finished are not trained again


def test_a_killed_run_leaves_a_trial_that_is_not_waited_for(photos, tmp_path):
    search(photos, tmp_path, trials=2)
    name = optuna.get_all_study_names(f"sqlite:///{tmp_path}/tuning.db")[0]
    optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/tuning.db").ask()
    found = search(photos, tmp_path, trials=4)
    assert len(found.trials) == 4
    pd.testing.assert_frame_equal(tried(found), tried(search(photos, tmp_path / "whole", trials=4)))


def test_done_is_done_and_more_can_be_asked_for(photos, tmp_path):
    first = search(photos, tmp_path, trials=3)
    stub = Stub()
    pd.testing.assert_frame_equal(search(photos, tmp_path, stub, 3).trials, first.trials)
    assert stub.fits == 0
    more = search(photos, tmp_path, stub, 5)
    pd.testing.assert_frame_equal(more.trials.head(3), first.trials)
    assert len(search(photos, tmp_path, stub, 2).trials) == 2


def test_another_configured_head_is_the_same_search(photos, tmp_path):
    first = search(photos, tmp_path)
    stub = Stub()
    other = search(photos, tmp_path, stub, told=SETTINGS | {"LEARNING_RATE": 1e-1})
    pd.testing.assert_frame_equal(first.trials, other.trials)
    assert stub.fits == 3
    assert other.configured.mean() < first.configured.mean()


def test_other_photos_or_another_training_never_mix(photos, tmp_path):
    table, features, pairs = photos
    search(photos, tmp_path, trials=1)
    other = table.assign(label=table["label"].replace({"cat": "dog", "dog": "cat"}))
    changes = [
        ((table, features + 1, pairs), SETTINGS, {}),
        ((other, features, pairs), SETTINGS, {}),
        ((table, features, pairs.head(0)), SETTINGS, {}),
        (photos, SETTINGS | {"EPOCHS": 4}, {}),
        (photos, SETTINGS | {"BATCH_NORM": True}, {}),
        (photos, SETTINGS | {"BACKBONE": "InceptionV3"}, {}),
        (photos, SETTINGS | {"DATASET": "cars"}, {}),
        (photos, SETTINGS, {"folds": 4}),
    ]
    for data, told, more in changes:
        stub = Stub()
        search(data, tmp_path, stub, 1, told=told, **more)
        assert stub.fits == 2 * more.get("folds", 3)
    names = optuna.get_all_study_names(f"sqlite:///{tmp_path}/tuning.db")
    assert len(names) == 1 + len(changes)
    assert sum(name.startswith("pets-ResNet50-") for name in names) == 7


def test_the_code_of_the_cells_is_part_of_the_name(photos):
    def one():
        return 1

    def other():
        return 2

    assert study.code(one) != study.code(other)
    names = {study_name(SETTINGS, [photos[1]], [study.code(function)]) for function in (one, other)}
    assert len(names) == 2


def test_two_runs_at_the_same_search_do_not_mix(photos, tmp_path):
    class Second(Stub):
        def fit_head(self, head, x, y, watched):
            search(photos, tmp_path, Second())  # while the first holds the study

    with pytest.raises(RuntimeError, match="Another run is at the same search"):
        search(photos, tmp_path, Second())
    assert len(search(photos, tmp_path).trials) == 3  # the lock is gone


def test_hopeless_heads_are_given_up(photos, tmp_path):
    class Brittle(Stub):
        def build_head(self, features, classes, **told):
            super().build_head(features, classes, **told)
            self.blur = 1 if told["learning_rate"] < 1e-3 else 1000
            return self

    found = search(photos, tmp_path, Brittle(), 11)
    pruned = found.trials["pruned"]
    assert 0 < pruned.sum() < 11
    assert (found.trials.loc[pruned, "learning_rate"] >= 1e-3).all()
    assert len(found.right) == 11 - pruned.sum()
    assert not found.best()["pruned"]


def test_no_noise(photos, tmp_path, capfd):
    search(photos, tmp_path)
    printed = capfd.readouterr()
    assert printed.err == ""
    for line in printed.out.replace("\r", "\n").splitlines():
        assert not line or line.startswith(("Tuning:", "Configured head:"))


def test_small_classes_are_left_out_and_counted(photos, tmp_path):
    table = photos[0]
    table.loc[:3, "label"] = ["cow", "cow", "hen", "hen"]
    found = search(photos, tmp_path)
    assert found.left_out == {"cow": 2, "hen": 2}
    assert len(found.configured) == 90 - 10 - 4 - 1 - 2
    assert "2 classes with too few different photos for 3 folds were left out." in found.in_words()


def test_too_few_photos_are_told(photos, tmp_path):
    table, features, pairs = photos
    with pytest.raises(ValueError, match="fewer than two classes have the 3 different photos"):
        search((table.head(4), features[:4], pairs.head(0)), tmp_path)


def test_the_same_head_scores_the_same_and_each_photo_once():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 2

    def build_head(features, classes, hidden, dropout, learning_rate, weight_decay):
        head = keras.Sequential([keras.Input((features,))])
        for units in hidden:
            head.add(keras.layers.Dense(units, activation="relu"))
            head.add(keras.layers.BatchNormalization())
            head.add(keras.layers.Dropout(dropout))
        head.add(keras.layers.Dense(classes, activation="softmax"))
        head.compile(keras.optimizers.Adam(learning_rate, weight_decay=weight_decay), "sparse_categorical_crossentropy")
        return head

    answers = []

    def fit_head(head, x, y, watched):
        head.fit(x, y, batch_size=8, epochs=2, verbose=0)
        answers.append(np.concatenate([np.ravel(weight) for weight in head.get_weights()]))

    table = pd.DataFrame({"label": np.where(y, "a", "b"), "group": np.arange(30), "split": "train"})
    table.loc[25:, "split"] = "val"
    table["digest"] = [f"digest-{number}" for number in range(30)]
    dealt = deal(table, pd.DataFrame({"a": [], "b": []}, dtype=int), 3, 0)
    score = tuning.Scorer(dealt, x, build_head, fit_head, 3)
    told = {"HEAD": [5], "DROPOUT": 0.3, "LEARNING_RATE": 1e-2, "WEIGHT_DECAY": 0.1}
    first = list(score.folds(told))
    second = list(score.folds(told))
    assert len(first) == 3
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
    for one, other in zip(answers[:3], answers[3:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(np.concatenate([places for places, _ in first])) == list(range(30))


def made(right, configured, importance=None, pruned=()):
    """A search whose heads had these photos right."""
    right = np.asarray(right, dtype=bool)
    row = {"layers": 2, "units": 256, "dropout": 0.30000000000000004, "learning_rate": 0.0012345, "weight_decay": 0.05}
    rows = [row | {"score": one.mean(), "pruned": False, "seconds": 1.0} for one in right]
    rows += [row | {"score": score, "pruned": True, "seconds": 1.0} for score in pruned]
    configured = np.asarray(configured, dtype=bool)
    return Search(pd.DataFrame(rows), right, configured, importance or {}, {}, 5, 0)


def test_luck_is_not_sold_as_a_gain():
    rng = np.random.default_rng(0)
    found = made(rng.random((30, 100)) < 0.8, np.arange(100) < 80)  # thirty heads, none better than another
    mean, low, high = found.gain()
    assert found.best()["score"] - found.configured.mean() > 0.05
    assert low < 0 < high
    assert mean < found.best()["score"] - found.configured.mean()
    assert "not distinguishable from none, the configured head may stay" in found.in_words()


def test_luck_is_rarely_significant():
    lucky = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lucky += made(rng.random((20, 80)) < 0.7, rng.random(80) < 0.7).gain()[1] > 0
    assert lucky <= 2


def test_a_real_gain_is_found_and_can_be_typed_in():
    rng = np.random.default_rng(0)
    configured = rng.random(200) < 0.6
    better = configured | (rng.random(200) < 0.5)
    found = made([configured, better, configured & (rng.random(200) < 0.9)], configured)
    mean, low, _ = found.gain()
    assert low > 0
    assert mean == pytest.approx(better.mean() - configured.mean(), abs=0.02)
    assert found.settings() == {
        "HEAD": [256, 128],
        "DROPOUT": 0.3,
        "LEARNING_RATE": 0.0012,
        "WEIGHT_DECAY": 0.05,
    }
    typed = "HEAD = [256, 128], DROPOUT = 0.3, LEARNING_RATE = 0.0012, WEIGHT_DECAY = 0.05"
    assert f"To have it, type into the settings: {typed}." in found.in_words()
    assert found.metrics()["gain"] == mean and found.metrics()["p_value"] < 1e-6


def test_nothing_better_says_so():
    configured = np.arange(100) < 90
    said = made([np.arange(100) < 80, np.arange(100) < 90], configured).in_words()
    assert "none of them is better, keep the configured head" in said


def test_plot_has_the_most_important_first():
    importance = {"dropout": 0.1, "learning_rate": 0.7, "units": 0.2}
    found = made(np.random.default_rng(0).random((6, 50)) < 0.7, np.arange(50) < 30, importance, [0.2, 0.3])
    figure = result_plots.tuning(found)
    labels = [axis.get_xlabel() for axis in figure.axes]
    assert labels[:3] == ["learning rate\nexplains 70%", "units of the first\nexplains 20%", "dropout\nexplains 10%"]
    assert [len(line.get_xdata()) for line in figure.axes[0].lines[:3]] == [2, 6, 1]
