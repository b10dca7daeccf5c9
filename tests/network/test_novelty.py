"""Photos unlike the training photos are refused, photos of the same kind only at the stated rate."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from builders import SETTINGS, build_head, features_of, photo_table
from phototransfer.network import novelty
from phototransfer.network.novelty import NEIGHBOURS, RATE, Novelty, TrainingFeatures, measure_novelty, split_model
from phototransfer.report import Skipped


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    image, inner = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    feature_map = keras.layers.Conv2D(40, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inner))
    extractor = keras.Model(inner, keras.layers.GlobalAveragePooling2D()(feature_map))
    return keras.Model(image, build_head(40, 2, SETTINGS)(extractor(image)))


def clouds(count, seed=0, n_features=40, centre=0.0):
    """Features of two classes, normal noise around two directions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, n_features)).astype(np.float32)
    x[:, 0] += np.where(np.arange(count) % 2, 6, -6)
    return x + centre


def table(count, n_test=0, groups=None):
    splits = np.array(["train", "train", "val"])[np.arange(count) % 3].astype(object)
    splits[count - n_test :] = "test"
    return photo_table(np.where(np.arange(count) % 2, "cat", "dog"), splits, groups)


def test_photos_of_the_same_kind_are_refused_at_the_stated_rate_and_others_always(model):
    shares = []
    for seed in range(20):
        result = measure_novelty(model, table(300), features_of(clouds(300, seed)), SETTINGS)
        assert result.training.rate == RATE
        shares.append(result.training.compare(clouds(500, 100 + seed))["unlike"].mean())
        assert result.training.compare(np.eye(40)[10:20])["unlike"].all()
        assert result.training.compare(clouds(50, seed, centre=9.0))["unlike"].all()
    assert np.mean(shares) == pytest.approx(RATE, abs=0.007)


def test_the_length_of_the_features_does_not_matter(model):
    x = clouds(100)
    result = measure_novelty(model, table(100), features_of(x), SETTINGS)
    again = measure_novelty(model, table(100), features_of(x * np.linspace(0.5, 9, 100)[:, None]), SETTINGS)
    assert again.training.threshold == pytest.approx(result.training.threshold, abs=1e-3)
    one, other = result.training.compare(clouds(20, 5)), again.training.compare(clouds(20, 5) * 100)
    np.testing.assert_allclose(one["distance"], other["distance"], atol=1e-3)


def test_near_duplicates_neither_lower_the_threshold_nor_are_kept(model):
    x = clouds(100)
    once = measure_novelty(model, table(100), features_of(x), SETTINGS)
    groups = np.tile(np.arange(100), 5)
    copies = measure_novelty(model, table(500, groups=groups), features_of(np.tile(x, (5, 1))), SETTINGS)
    assert copies.training.threshold == once.training.threshold
    assert len(copies.training.labels) == 100


def test_own_test_photos_are_counted_without_those_that_are_in_training(model):
    count, n_test = 100, 20
    groups = np.arange(count)
    groups[[80, 81]] = [3, 4]  # near-duplicates of training photos
    groups[83] = 82  # and of one another
    x = clouds(count)
    x[85] = np.eye(40)[7]
    result = measure_novelty(model, table(count, n_test, groups), features_of(x), SETTINGS)
    assert result.table["original"].tolist() == table(count)["original"].iloc[[82, *range(84, 100)]].tolist()
    assert result.table.set_index("original").at[table(count)["original"][85], "unlike"]
    refused, total = result.refused
    assert total == 17 and 1 <= refused <= 3
    assert str(total) in result.summary()
    assert result.to_dict()["test_refused"] == refused


def test_the_nearest_class_and_photos_are_those_of_the_nearest_training_photos(model):
    x = clouds(60)
    result = measure_novelty(model, table(60), features_of(x), SETTINGS)
    _, positions = result.training.neighbours(x)
    assert positions.shape == (60, NEIGHBOURS) and (positions[:, 0] == np.arange(60)).all()
    assert result.training.originals[positions[7, 0]] == table(60)["original"][7]
    assert result.training.compare(x)["nearest"].tolist() == table(60)["label"].tolist()


def test_few_photos_have_a_higher_stated_rate_or_none(model):
    small = measure_novelty(model, table(16), features_of(clouds(16)), SETTINGS)
    assert small.training.rate == pytest.approx(1 / 17)
    assert small.training.threshold == small.training_distances.max()
    for count in (8, 3, 1):
        skipped = measure_novelty(model, table(count), features_of(clouds(count)), SETTINGS)
        assert isinstance(skipped, Skipped) and str(count) in skipped.reason


def test_of_many_photos_a_sample_is_kept(model, monkeypatch):
    monkeypatch.setattr("phototransfer.network.novelty._MAX_PHOTOS", 50)
    results = [measure_novelty(model, table(200), features_of(clouds(200)), SETTINGS) for _ in range(2)]
    assert [len(result.training.labels) for result in results] == [50, 50]
    assert results[0].training.originals.tolist() == results[1].training.originals.tolist()


def test_what_is_saved_is_what_is_read(model, tmp_path):
    training = measure_novelty(model, table(60), features_of(clouds(60)), SETTINGS).training
    np.savez(tmp_path / "saved.npz", **training.arrays())
    read = TrainingFeatures.read(tmp_path / "saved.npz")
    assert (read.threshold, read.rate, read.features.dtype) == (training.threshold, training.rate, np.float16)
    np.testing.assert_array_equal(read.features, training.features)
    assert read.compare(clouds(30, 3)).equals(training.compare(clouds(30, 3)))
    assert TrainingFeatures.read(tmp_path / "missing.npz") is None


def test_after_fine_tuning_the_features_are_those_of_the_model(model, tmp_path, make_photo):
    paths = [str(make_photo(tmp_path / f"{number}.jpg", number)) for number in range(24)]
    photos = table(24, 4).assign(path=paths)
    stale = features_of(clouds(24))
    result = measure_novelty(model, photos, stale, SETTINGS, fine_tuned=True)
    extractor, _ = split_model(model)
    from phototransfer.network.features import read_image

    fresh = extractor(np.stack([read_image(path, 16) for path in paths]).astype(np.float32)).numpy()
    distances, positions = result.training.neighbours(fresh[:20])
    assert (positions[:, 0] == np.arange(20)).all()
    assert distances[:, 0].max() < 1e-3  # float16


def test_a_figure_with_and_without_test_photos(model, tmp_path, make_photo):
    paths = [str(make_photo(tmp_path / f"{number}.jpg", number)) for number in range(30)]
    for n_test in (0, 1, 10):
        result = measure_novelty(model, table(30, n_test).assign(path=paths), features_of(clouds(30)), SETTINGS)
        assert isinstance(result, Novelty)
        figure = result.plot()
        assert len(figure.axes) == 1 + min(n_test, 6)
        assert result.summary()


def test_features_that_are_all_the_same(model):
    result = measure_novelty(model, table(40, 5), features_of(np.ones((40, 40))), SETTINGS)
    assert result.refused == (0, 5)
    assert result.training.compare(np.eye(40))["unlike"].all()


def test_the_control_pictures_go_through_the_network(model):
    """Features of clouds have nothing to do with those of pictures; photos of nothing but noise are no novelty."""
    from phototransfer.network.novelty import _control_pictures

    extractor, _ = split_model(model)
    assert measure_novelty(model, table(60), features_of(clouds(60)), SETTINGS).control == (32, 32)
    x = np.concatenate([extractor(_control_pictures(16, seed)).numpy() for seed in range(50, 54)])
    refused, total = measure_novelty(model, table(len(x)), features_of(x), SETTINGS).control
    assert total == 32 and refused < 8


def test_another_model_is_refused_with_the_names_of_its_layers():
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(2, name="only")(image))
    with pytest.raises(ValueError, match="layers only"):
        split_model(model)


def test_control_pictures_are_computed_again_only_for_another_network(model, tmp_path, monkeypatch):
    computed, original = [], novelty.as_graph
    monkeypatch.setattr(novelty, "as_graph", lambda model: lambda x: computed.append(1) or original(model)(x))
    features = replace(features_of(clouds(100)), results=tmp_path)
    first = measure_novelty(model, table(100), features, SETTINGS)
    assert measure_novelty(model, table(100), features, SETTINGS).control == first.control
    assert len(computed) == 1
    changed = keras.models.clone_model(model)
    changed.set_weights([weights + 0.1 for weights in model.get_weights()])
    measure_novelty(changed, table(100), features, SETTINGS)
    assert len(computed) == 2
