"""Fine-tuning changes what is unfrozen and nothing else, and all weights are restored if it is not kept."""

from contextlib import nullcontext
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from PIL import Image

from builders import SETTINGS, photo_table
from phototransfer.network import fine_tuning
from phototransfer.network.backbones import Backbone
from phototransfer.network.features import extract, read_image
from phototransfer.network.fine_tuning import FineTuning, fine_tune, is_kept, predict
from phototransfer.report import Skipped

SIZE = 16
CLASSES = ["blue", "red"]
HEAD_HISTORY = pd.DataFrame(
    {"loss": [3.0, 2, 1], "accuracy": [0, 0, 1], "val_loss": [3.0, 1, 2], "val_accuracy": [0, 1, 1]}
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes, bluish and reddish noise, 24 photos of each."""
    folder, rng, paths = tmp_path_factory.mktemp("photos ü"), np.random.default_rng(0), []
    for number in range(48):
        picture = rng.integers(0, 150, (20, 24, 3), dtype=np.uint8)
        picture[..., 2 - 2 * (number % 2)] += 100
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(picture).save(paths[-1])
    return photo_table(CLASSES * 24, ["train"] * 32 + ["val"] * 16, path=paths)


class Notebook:
    """Backbone, extractor and model as the notebook builds them, only smaller."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        image = keras.Input((SIZE, SIZE, 3))
        x = layers.Conv2D(4, 3, strides=2, name="first")(layers.Rescaling(1 / 255)(image))
        x = layers.ReLU()(layers.BatchNormalization(name="first_bn")(x))
        x = layers.BatchNormalization(name="last_bn")(layers.Conv2D(6, 3, name="last")(x))
        network = keras.Model(image, layers.ReLU(name="last_relu")(x))
        network.get_layer("last_bn").moving_mean.assign(np.linspace(-0.1, 0.1, 6))
        network.trainable = False
        self.backbone = Backbone("tiny", network, lambda pixels: pixels, SIZE, None)
        pixels = keras.Input((SIZE, SIZE, 3))
        pooled = layers.GlobalAveragePooling2D()(network(pixels, training=False))
        self.extractor = keras.Model(pixels, pooled, name="tiny")
        hidden = [layers.Dense(8, activation="relu"), layers.BatchNormalization(momentum=0.5), layers.Dropout(0.2)]
        head = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(2, activation="softmax")], name="head")
        self.model = keras.Model(pixels, head(self.extractor(pixels)))

    def fine_tune(self, photos, **settings):
        settings = {**SETTINGS, "FINE_TUNE_LAYERS": 3, "LEARNING_RATE": 1.0, "BATCH_SIZE": 8, "SEED": 0, **settings}
        return fine_tune(self.model, self.backbone, photos, CLASSES, settings, head_history=HEAD_HISTORY)

    def weights(self):
        return {weight.path: weight.numpy().tobytes() for weight in self.model.weights}


def mislabelled(photos):
    """Training photos have the label of the other class, so that fine-tuning must make it worse."""
    other = photos["label"].map({"blue": "red", "red": "blue"})
    return photos.assign(label=photos["label"].where(photos["split"] != "train", other))


def test_kept_if_better_and_only_the_unfrozen_layers_change(photos):
    notebook = Notebook()
    before = notebook.weights()
    result = notebook.fine_tune(photos)
    assert result.kept and is_kept(result) and result.advice() == []
    after = notebook.weights()
    changed = {path for path in before if before[path] != after[path]}
    assert not [path for path in changed if path.startswith(("first", "last_bn"))]
    assert {path for path in before if path.startswith("last/")} <= changed
    assert not notebook.backbone.model.trainable_weights and not notebook.extractor.trainable_weights
    assert (result.trained, result.weights) == (3 * 3 * 4 * 6 + 6, notebook.backbone.model.count_params())
    val = photos[photos["split"] == "val"]
    probabilities = predict(notebook.model, val)  # of the best epoch, not of the last
    labels = val["label"].map(CLASSES.index).to_numpy()
    assert result.correct[1] == (probabilities.argmax(axis=1) == labels).sum()
    assert result.loss[1] == pytest.approx(-np.log(probabilities[np.arange(16), labels]).mean(), rel=1e-5)
    assert result.loss[1] == pytest.approx(result.history["val_loss"].min(), rel=1e-4)
    assert result.to_dict()["kept"] is True and result.to_dict()["val_correct"] == result.correct

    # A second fine-tuning that is not kept restores the weights of the first.
    result = notebook.fine_tune(mislabelled(photos), EPOCHS=4)
    assert not result.kept and not is_kept(result)
    assert notebook.weights() == after
    assert not notebook.extractor.trainable_weights
    assert "FINE_TUNE_LAYERS = 0" in result.advice()[0]


def test_fine_tuned_weights_never_reach_the_frozen_features(photos, tmp_path):
    notebook = Notebook()
    frozen = extract(photos, notebook.extractor, tmp_path).plain
    assert notebook.fine_tune(photos).kept
    changed = extract(photos, notebook.extractor, tmp_path).plain
    assert not np.allclose(changed, frozen)
    assert len(list(tmp_path.glob("*-plain"))) == 2  # each network has its own
    np.testing.assert_array_equal(extract(photos, Notebook().extractor, tmp_path).plain, frozen)


def test_interrupted_all_weights_are_restored_and_the_backbone_is_frozen(photos, monkeypatch):
    notebook = Notebook()
    before = notebook.weights()

    def progress(description, total, items=None, unit=""):
        return items or nullcontext(SimpleNamespace(update=interrupt))

    def interrupt():
        assert notebook.weights() != before
        raise KeyboardInterrupt

    monkeypatch.setattr(fine_tuning, "progress", progress)
    with pytest.raises(KeyboardInterrupt):
        notebook.fine_tune(photos)
    assert notebook.weights() == before
    assert not notebook.backbone.model.trainable_weights


@pytest.mark.parametrize("count", [1, 2])
def test_layers_without_weights_to_train_are_refused(photos, count):
    notebook = Notebook()
    with pytest.raises(ValueError, match=f"FINE_TUNE_LAYERS must include .* got {count}"):
        notebook.fine_tune(photos, FINE_TUNE_LAYERS=count)
    assert not notebook.backbone.model.trainable_weights


def test_off_nothing_is_done(photos):
    result = Notebook().fine_tune(photos, FINE_TUNE_LAYERS=0)
    assert isinstance(result, Skipped) and result.name == "fine_tuning" and not is_kept(result)


def test_photos_that_were_dropped_are_not_trained_on(photos, monkeypatch):
    trained_on = []
    original = fine_tuning._training_batches

    def training_batches(train, *arguments):
        trained_on.append(set(train["path"]))
        return original(train, *arguments)

    monkeypatch.setattr(fine_tuning, "_training_batches", training_batches)
    dropped = photos.assign(split=photos["split"].where(photos.index != 5, "dropped"))
    Notebook().fine_tune(dropped, EPOCHS=1)
    assert trained_on == [set(photos["path"][:32]) - {photos["path"][5]}]


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_predictions_are_in_the_order_of_the_table(photos, fit):
    model, shuffled = Notebook().model, photos.sample(frac=1, random_state=3)
    pixels = np.stack([read_image(path, SIZE, fit) for path in shuffled["path"]]).astype(np.float32)
    np.testing.assert_allclose(predict(model, shuffled, fit), model.predict(pixels, verbose=0), atol=1e-6)


def test_photos_are_padded_in_training_and_in_the_scores(photos, monkeypatch):
    fits = set()

    def read(path, size, fit):
        fits.add(fit)
        return read_image(path, size, fit)

    monkeypatch.setattr(fine_tuning, "read_image", read)
    Notebook().fine_tune(photos, EPOCHS=1, FIT="pad")
    assert fits == {"pad"}


def numbered(photos):
    return photos.assign(number=photos["label"].map(CLASSES.index))


@pytest.mark.parametrize("limit", [2**30, 0], ids=["in memory", "read again"])
def test_training_photos_keep_their_labels_and_are_new_in_each_epoch(photos, limit, monkeypatch):
    monkeypatch.setattr(fine_tuning, "_CACHE_BYTES", limit)
    batches = fine_tuning._training_batches(numbered(photos), SIZE, {"BATCH_SIZE": 8, "SEED": 0, "FIT": "crop"})
    orders, first_pixels = [], []
    for _ in range(2):
        labels_in_order = []
        for pixels, labels in batches:
            assert pixels.dtype == "float32" and pixels.shape[1:] == (SIZE, SIZE, 3)
            assert pixels.numpy().min() >= 0 and 100 < pixels.numpy().max() <= 255
            colour = pixels.numpy().mean(axis=(1, 2))
            np.testing.assert_array_equal(colour[:, 0] > colour[:, 2], labels.numpy() == 1)
            labels_in_order.append(labels.numpy())
            first_pixels.append(pixels.numpy()[0].tobytes())
        orders.append(np.concatenate(labels_in_order))
        assert len(orders[-1]) == len(photos)
    assert (orders[0] != orders[1]).any()
    assert len(set(first_pixels)) == len(first_pixels)


def test_the_same_seed_draws_the_same_photos(photos):
    drawn = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        batches = fine_tuning._training_batches(numbered(photos), SIZE, {"BATCH_SIZE": 8, "SEED": 5, "FIT": "crop"})
        drawn.append(np.concatenate([pixels for pixels, _ in batches]))
    np.testing.assert_array_equal(*drawn)


def test_augmentation_is_for_training_only():
    pixels = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype("float32")
    augment = fine_tuning._augmentation(0)
    np.testing.assert_array_equal(augment(pixels, training=False), pixels)
    assert not np.allclose(augment(pixels, training=True), pixels)


def result_of(correct, loss, p_value=1.0, loss_p_value=1.0):
    history = pd.DataFrame({"loss": [1, 2], "accuracy": [0, 1], "val_loss": [0.5, 0.4], "val_accuracy": [0, 1]})
    p_values = {"p_value": p_value, "loss_p_value": loss_p_value}
    return FineTuning(HEAD_HISTORY, history, correct, loss, total=40, trained=10, weights=1000, **p_values)


@pytest.mark.parametrize(
    "correct, loss, p_value, loss_p_value, kept",
    [
        ((30, 36), (0.6, 0.5), 0.03, 0.2, True),
        ((30, 36), (0.4, 0.6), 0.03, 0.2, True),
        ((30, 36), (0.6, 0.5), 0.07, 0.2, False),
        ((30, 24), (0.6, 0.5), 0.03, 0.2, False),
        ((30, 30), (0.6, 0.5), 1.0, 0.01, True),
        ((30, 30), (0.6, 0.5), 1.0, 0.06, False),
        ((30, 30), (0.6, 0.599), 1.0, 0.0001, False),
        ((30, 32), (0.6, 0.599), 0.5, 0.0001, False),
        ((30, 30), (0.6, 0.7), 1.0, 0.01, False),
        ((30, 29), (0.6, 0.2), 1.0, 0.0001, False),
        ((30, 30), (np.nan, 0.6), 1.0, 0.01, False),
        ((30, 36), (0.6, np.nan), 0.03, 0.01, False),
    ],
)
def test_kept_only_if_better_than_chance(correct, loss, p_value, loss_p_value, kept):
    result = result_of(correct, loss, p_value, loss_p_value)
    assert result.kept is result.to_dict()["kept"] is kept
    assert ("Not kept" in result.summary()) is not kept and bool(result.advice()) is not kept


def test_a_network_that_diverged_is_never_kept(photos):
    notebook = Notebook()
    notebook.model.layers[-1].layers[-1].bias.assign([np.nan, np.nan])
    result = notebook.fine_tune(photos, EPOCHS=1)
    assert not result.kept and np.isfinite(result.loss).all()
    assert result.plot() and result.summary()


def test_summary_has_counts_and_p_values():
    summary = result_of((30, 36), (0.61, 0.4), p_value=0.03, loss_p_value=0.2).summary()
    assert "10 of the backbone's 1,000 weights for 2 epochs; the best is epoch 2." in summary
    assert "30 of 40 → 36 of 40 correct (0.75 → 0.90;" in summary and "loss 0.61 → 0.40" in summary
    assert "p = 0.03" in summary and "p = 0.2" in summary


def test_near_duplicates_count_once_in_the_tests(photos):
    alone = Notebook().fine_tune(photos)
    together = Notebook().fine_tune(photos.assign(group=np.where(photos["split"] == "val", 0, photos["group"])))
    assert alone.loss_p_value < 0.05 and alone.total == together.total == 16
    assert together.loss_p_value == together.p_value == 1 and not together.kept


def test_curves_continue_at_the_best_epoch_of_the_head():
    result = result_of((3, 4), (0.6, 0.4))
    lines = {line.get_label(): line for line in result.plot().axes[0].lines}
    assert list(lines["train"].get_ydata()) == [3, 2, 1, 2]  # two epochs of the head, two of fine-tuning
    assert lines["fine-tuning begins"].get_xdata()[0] == 2.5
    assert result.tables()["history"]["phase"].tolist() == ["head"] * 3 + ["fine-tuning"] * 2
