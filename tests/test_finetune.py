"""Fine-tuning changes what is unfrozen and nothing else, and leaves no trace where it is not kept."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from PIL import Image

from helpers import finetune, result_plots
from helpers.features import extract, fingerprint, read_square
from helpers.finetune import FineTuned, augmentation, fine_tune, predict, training_photos

SIZE = 16


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes, reddish and bluish noise, 24 of each."""
    folder, rng, rows = tmp_path_factory.mktemp("photos ü"), np.random.default_rng(0), []
    for number in range(48):
        picture = rng.integers(0, 150, (20, 24, 3), dtype=np.uint8)
        picture[..., 2 * (number % 2)] += 100
        Image.fromarray(picture).save(folder / f"{number}.png")
        split = "val" if number >= 32 else "train"
        rows.append((str(folder / f"{number}.png"), split, number % 2, f"digest-{number}"))
    return pd.DataFrame(rows, columns=["path", "split", "class", "digest"])


class Notebook:
    """Backbone, extractor, head and model as the notebook builds them, only smaller."""

    def __init__(self, seed=0):
        keras.utils.set_random_seed(seed)
        seen = keras.Input((SIZE, SIZE, 3))
        x = layers.Conv2D(4, 3, strides=2, name="first")(layers.Rescaling(1 / 255)(seen))
        x = layers.ReLU()(layers.BatchNormalization(name="first_bn")(x))
        x = layers.BatchNormalization(name="last_bn")(layers.Conv2D(6, 3, name="last")(x))
        self.network = keras.Model(seen, layers.ReLU(name="last_relu")(x))
        self.network.get_layer("last_bn").moving_mean.assign(np.linspace(-0.1, 0.1, 6))
        self.network.trainable = False
        pixels = keras.Input((SIZE, SIZE, 3))
        pooled = layers.GlobalAveragePooling2D()(self.network(pixels, training=False))
        self.extractor = keras.Model(pixels, pooled, name="tiny")
        parts = [layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2)]
        self.head = keras.Sequential([keras.Input((6,)), *parts, layers.Dense(2, activation="softmax")], name="head")
        self.model = keras.Model(pixels, self.head(self.extractor(pixels)))

    def unfreeze(self, count, rate):
        self.network.trainable = True
        for number, layer in enumerate(reversed(self.network.layers)):
            layer.trainable = number < count and not isinstance(layer, layers.BatchNormalization)
        optimizer = keras.optimizers.Adam(rate)
        self.model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])

    def weights(self):
        return {weight.path: weight.numpy() for weight in self.model.weights}

    def tune(self, photos, labels=None, epochs=4):
        train, val = (photos[photos["split"] == name] for name in ("train", "val"))
        labels = train["class"].to_numpy() if labels is None else labels
        return fine_tune(self.model, train, labels, val, val["class"].to_numpy(), epochs, 8, 0)


def same(before, after):
    return {path for path in before if before[path].tobytes() == after[path].tobytes()}


@pytest.fixture(scope="module")
def helped(photos):
    """A notebook that was fine-tuned with success, its weights before, and what came of it."""
    notebook = Notebook()
    before = notebook.weights()
    notebook.unfreeze(3, 1e-2)
    return notebook, before, notebook.tune(photos, epochs=8)


def test_kept_where_it_helps_and_only_what_was_unfrozen_changes(photos, helped):
    notebook, before, tuned = helped
    assert tuned.kept
    unchanged = same(before, notebook.weights())
    assert {path for path in before if path.startswith(("first", "last_bn"))} <= unchanged
    assert not {path for path in before if path.startswith("last/")} & unchanged
    assert tuned.weights == 3 * 3 * 4 * 6 + 6
    assert tuned.of == notebook.network.count_params()
    val = photos[photos["split"] == "val"]
    np.testing.assert_array_equal(predict(notebook.model, val), tuned.after)  # the best epoch's, not the last one's
    assert tuned.metrics()["val_right"][1] == (tuned.after.argmax(axis=1) == val["class"]).sum()
    assert " Kept." in tuned.in_words()


def test_not_kept_all_bits_are_what_they_were(photos, helped):
    notebook = helped[0]
    before, known = notebook.weights(), fingerprint(notebook.extractor)
    train = photos[photos["split"] == "train"]
    tuned = notebook.tune(photos, labels=1 - train["class"].to_numpy())  # taught the opposite
    assert not tuned.kept
    assert same(before, notebook.weights()) == set(before)
    assert fingerprint(notebook.extractor) == known
    assert "bit for bit" in tuned.in_words()


def test_fine_tuned_weights_never_reach_the_frozen_features(photos, helped, tmp_path):
    notebook = helped[0]
    frozen = extract(photos, Notebook().extractor, tmp_path)
    with pytest.raises(ValueError, match="is not frozen"):
        extract(photos, notebook.extractor, tmp_path)
    notebook.network.trainable = False
    changed = extract(photos, notebook.extractor, tmp_path)
    notebook.unfreeze(3, 1e-2)
    assert not np.allclose(changed, frozen)
    assert len(list(tmp_path.glob("*.npz"))) == 2  # each under its own name
    np.testing.assert_array_equal(extract(photos, Notebook().extractor, tmp_path), frozen)


def test_interrupted_all_bits_are_what_they_were(photos, monkeypatch):
    notebook = Notebook()
    notebook.unfreeze(3, 1e-2)
    before = notebook.weights()

    def stop(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune._Steps, "on_train_batch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        notebook.tune(photos)
    assert same(before, notebook.weights()) == set(before)


@pytest.mark.parametrize("count", [1, 2])
def test_layers_without_weights_to_train_are_refused(photos, count):
    notebook = Notebook()
    notebook.unfreeze(count, 1e-2)
    with pytest.raises(ValueError, match="FINE_TUNE_LAYERS: none of these layers has weights"):
        notebook.tune(photos)


def test_predict_is_row_for_row(photos):
    notebook = Notebook()
    mixed = photos.sample(frac=1, random_state=3)
    pixels = np.stack([read_square(path, SIZE) for path in mixed["path"]]).astype("float32")
    np.testing.assert_allclose(predict(notebook.model, mixed), notebook.model.predict(pixels, verbose=0), atol=1e-6)


@pytest.mark.parametrize("limit", [2**30, 0], ids=["in memory", "read again"])
def test_training_photos_keep_their_labels_and_are_new_in_each_epoch(photos, limit, monkeypatch):
    monkeypatch.setattr(finetune, "CACHE_BYTES", limit)
    train = training_photos(photos["path"], photos["class"].to_numpy(), SIZE, 8, 0)
    epochs = [list(train), list(train)]
    for epoch in epochs:
        assert sum(len(labels) for _, labels in epoch) == len(photos)
        for pixels, labels in epoch:
            assert pixels.dtype == "float32" and pixels.shape[1:] == (SIZE, SIZE, 3)
            assert pixels.numpy().min() >= 0 and 100 < pixels.numpy().max() <= 255
            colour = pixels.numpy().mean(axis=(1, 2))
            np.testing.assert_array_equal(colour[:, 2] > colour[:, 0], labels.numpy() == 1)
    order = [np.concatenate([labels.numpy() for _, labels in epoch]) for epoch in epochs]
    assert (order[0] != order[1]).any()


def test_the_same_seed_draws_the_same_photos(photos):
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        data = training_photos(photos["path"], photos["class"].to_numpy(), SIZE, 8, 5)
        drawn.append(np.concatenate([pixels.numpy() for pixels, _ in data]))
    np.testing.assert_array_equal(*drawn)


def test_augmentation_is_for_training_only():
    pixels = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype("float32")
    augment = augmentation(0)
    np.testing.assert_array_equal(augment(pixels, training=False), pixels)
    assert not np.allclose(augment(pixels, training=True), pixels)


def tuned(before, after, truth=(0, 0, 1, 1)):
    """FineTuned with the probability of the true class of each photo before and after."""
    truth = np.array(truth)
    both = []
    for given in (before, after):
        probabilities = np.stack([1 - np.array(given), np.array(given)], axis=1).astype("float32")
        both.append(np.where(truth[:, None] == 1, probabilities, probabilities[:, ::-1]))
    history = pd.DataFrame({"loss": [1, 2], "accuracy": [0, 1], "val_loss": [0.5, 0.4], "val_accuracy": [0, 1]})
    return FineTuned(history, *both, truth, 10, 1000)


@pytest.mark.parametrize(
    "before, after, kept",
    [
        ([0.6, 0.6, 0.6, 0.4], [0.7, 0.7, 0.7, 0.6], True),
        ([0.6, 0.6, 0.6, 0.4], [0.7, 0.7, 0.7, 0.45], True),
        ([0.6, 0.6, 0.6, 0.4], [0.6, 0.6, 0.6, 0.4], False),
        ([0.6, 0.6, 0.6, 0.4], [0.6, 0.6, 0.55, 0.4], False),
        ([0.6, 0.6, 0.6, 0.6], [0.99, 0.99, 0.99, 0.45], False),
        ([0.9, 0.9, 0.9, 0.4], [0.55, 0.55, 0.55, 0.51], False),
    ],
    ids=["more right", "lower loss", "the same", "higher loss", "fewer right", "more right, higher loss"],
)
def test_kept_only_if_better_and_in_nothing_worse(before, after, kept):
    assert tuned(before, after).kept is kept
    assert tuned(before, after).metrics()["kept"] is kept


def test_in_words_counts_and_weighs():
    said = tuned([0.6, 0.6, 0.6, 0.4], [0.7, 0.7, 0.7, 0.6]).in_words()
    assert "10 of the backbone's 1,000 weights, best after 2 of 2 epochs" in said
    assert "3 → 4 of 4 right (0.75 → 1.00), loss 0.61 → 0.40. Kept." in said
    assert "Chance alone would also move that many photos (p = 1)" in said


def test_curves_go_on_where_the_head_ended():
    head = pd.DataFrame({"loss": [3, 2, 1], "accuracy": [0, 0, 1], "val_loss": [3, 1, 2], "val_accuracy": [0, 1, 1]})
    result = tuned([0.6] * 4, [0.7] * 4)
    figure = result_plots.curves_continued(head, result.history)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["train"].get_ydata()) == [3, 2, 1, 2]  # up to the head's best epoch, then fine-tuning
    assert lines["fine-tuning begins"].get_xdata()[0] == 2.5
    both = result.continued(head)
    assert both["phase"].tolist() == ["head"] * 3 + ["fine-tuning"] * 2
