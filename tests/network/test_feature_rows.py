"""Features on disk behave as the same features in memory."""

import keras
import numpy as np
import pytest

from phototransfer.network import feature_rows, feature_table
from phototransfer.network.feature_rows import FeatureRows, blocks, concatenate, stack
from phototransfer.network.feature_table import FeatureTable
from phototransfer.network.features import Features
from phototransfer.network.fitting import fit, predict_rows
from phototransfer.network.views import PLAIN

DIGESTS = [f"digest{number}" for number in range(40)]


@pytest.fixture
def saved(tmp_path):
    """Return features (40, 3) in memory, and the table that has them in four files."""
    features = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    table = FeatureTable(PLAIN, tmp_path / "plain")
    for number, (digest, row) in enumerate(zip(DIGESTS, features, strict=True)):
        table.new[digest] = row
        if number % 10 == 9:
            table.save()
    return features, table


@pytest.fixture
def on_disk(saved, monkeypatch):
    """Return features in memory, and the same features on disk, shuffled."""
    features, table = saved
    order = np.random.default_rng(1).permutation(40)
    with monkeypatch.context() as patch:
        patch.setattr(feature_rows, "IN_MEMORY", 0)
        rows = table.features([DIGESTS[number] for number in order])
    assert isinstance(rows, FeatureRows)
    return features[order], rows


@pytest.mark.parametrize("limit", [0, feature_rows.IN_MEMORY])
@pytest.mark.parametrize(
    "rows",
    [slice(None), slice(3, 9), slice(0, 0), np.array([7, 2, 2, 39]), np.arange(40) % 3 == 0, np.zeros(40, bool)],
    ids=["all", "slice", "no rows", "numbers", "mask", "empty mask"],
)
def test_rows_on_disk_are_those_in_memory(on_disk, monkeypatch, rows, limit):
    expected, features = on_disk
    monkeypatch.setattr(feature_rows, "IN_MEMORY", limit)
    chosen = features[rows]
    assert chosen.shape == expected[rows].shape and len(chosen) == len(expected[rows])
    np.testing.assert_array_equal(np.asarray(chosen), expected[rows])


def test_few_rows_are_read_and_many_stay_on_disk(on_disk, monkeypatch):
    _, features = on_disk
    monkeypatch.setattr(feature_rows, "IN_MEMORY", 10 * 3 * 4)
    assert isinstance(features[:10], np.ndarray) and isinstance(features[:11], FeatureRows)


@pytest.mark.parametrize("limit", [0, feature_rows.IN_MEMORY])
def test_features_that_are_not_saved_yet_are_given_too(saved, monkeypatch, limit):
    features, table = saved
    monkeypatch.setattr(feature_rows, "IN_MEMORY", limit)
    table.new["other"] = np.ones(3, np.float32)
    rows = table.features(["digest1", "other"])
    np.testing.assert_array_equal(rows, [features[1], np.ones(3)])


def test_files_of_earlier_versions_are_read(tmp_path):
    features = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    content = np.zeros(4, dtype=[("digest", "S64"), ("features", np.float32, (3,))])
    content["digest"], content["features"] = DIGESTS[:4], features
    (tmp_path / "plain").mkdir()
    np.save(tmp_path / "plain" / "earlier.npy", content)
    table = FeatureTable(PLAIN, tmp_path / "plain")
    table.new["other"] = np.ones(3, np.float32)
    table.save()
    rows = FeatureTable(PLAIN, tmp_path / "plain").features([*DIGESTS[:4], "other"])
    np.testing.assert_array_equal(rows, [*features, np.ones(3)])


def test_many_rows_are_saved_in_several_files(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_table, "_MOST_ROWS", 7)
    table = FeatureTable(PLAIN, tmp_path / "other")
    table.new = dict(zip(DIGESTS, saved[0], strict=True))
    table.save()
    assert len(list((tmp_path / "other").glob("*.npy"))) == 6 and not table.new
    np.testing.assert_array_equal(FeatureTable(PLAIN, tmp_path / "other").features(DIGESTS), saved[0])


def test_blocks_are_all_rows_in_order(on_disk):
    expected, features = on_disk
    parts = list(blocks(features, 16))
    assert [len(part) for part in parts] == [16, 16, 8]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_versions_follow_each_other(on_disk):
    expected, features = on_disk
    rows = np.array([5, 1])
    joined = concatenate([features, features[:], features], rows)
    np.testing.assert_array_equal(np.asarray(joined), np.tile(expected[rows], (3, 1)))


@pytest.fixture
def features_on_disk(on_disk):
    expected, rows = on_disk
    return expected, Features(rows, stack([rows, rows], rows.shape), lambda: rows, embed=lambda _: np.empty((0, 3)))


def test_features_of_some_photos(features_on_disk):
    expected, features = features_on_disk
    rows = np.array([3, 30, 12])
    part = features.take(rows)
    assert part.augmented.shape == (2, 3, 3)
    for values in (part.plain, part.augmented[1], part.background()):
        assert isinstance(values, np.ndarray)
        np.testing.assert_array_equal(values, expected[rows])


def build_model() -> keras.Model:
    keras.utils.set_random_seed(2)
    stack = [keras.Input((3,)), keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.5)]
    model = keras.Sequential([*stack, keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    keras.utils.set_random_seed(3)
    return model


def test_training_on_rows_on_disk_is_that_in_memory(on_disk, monkeypatch):
    monkeypatch.setattr("phototransfer.network.fitting._PIECE", 2)  # batches: pieces of 8 of the 28 rows
    monkeypatch.setattr(feature_rows, "IN_MEMORY", 0)
    in_memory, disk = on_disk
    labels, weights = np.arange(40) % 2, np.linspace(0.5, 1.5, 28)
    results = []
    for x in (in_memory, disk):
        model = build_model()
        options = {"validation_data": (x[28:], labels[28:]), "epochs": 3, "batch_size": 4, "sample_weight": weights}
        history = fit(model, x[:28], labels[:28], **options)
        results.append((history.history, model.get_weights(), predict_rows(model, x)))
    (one, weights_of_one, predicted), (other, weights_of_other, also_predicted) = results
    assert one == other and len(one["val_loss"]) == 3
    for mine, its in zip([*weights_of_one, predicted], [*weights_of_other, also_predicted], strict=True):
        np.testing.assert_array_equal(mine, its)


def test_keras_takes_rows_on_disk(on_disk):
    in_memory, disk = on_disk
    np.testing.assert_array_equal(build_model().predict(disk, verbose=0), build_model().predict(in_memory, verbose=0))
