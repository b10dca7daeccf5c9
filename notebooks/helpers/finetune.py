"""Does it help to train the backbone's last layers as well?"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight
from tqdm import tqdm

from helpers.features import BATCH, read_square
from helpers.firmness.paired import mcnemar
from helpers.progress import progress
from helpers.views import ROTATION, SHIFT, ZOOM

PATIENCE = 3  # epochs without a better validation loss; each costs a pass of all photos through the whole network
CACHE_BYTES = 2**30  # decoded photos are kept in memory up to this size: 7,000 photos of 224 × 224 pixels
HEAD, TUNED = "head", "fine-tuning"


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning did and whether it was kept.

    `history`: one row an epoch: loss, accuracy, val_loss, val_accuracy; loss and accuracy are of augmented photos.
    `before`, `after`: float32 (n, classes), the probabilities of the validation photos with the head alone and with the
    best epoch's weights; `truth`: int (n,). `weights`: how many of the backbone's weights could change, of `of`.
    """

    history: pd.DataFrame
    before: np.ndarray
    after: np.ndarray
    truth: np.ndarray
    weights: int
    of: int

    @property
    def kept(self) -> bool:
        """Validation photos better in one, right ones or loss, and not worse in the other.

        A few photos more at a clearly higher loss are luck as likely as not: the network is surer of its mistakes.
        """
        (right, loss), (now, new_loss) = self._scores()
        return now >= right and new_loss <= loss and (now, new_loss) != (right, loss)

    def _scores(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Right photos and loss before and after, see `_score`."""
        return _score(self.before, self.truth), _score(self.after, self.truth)

    def chance(self) -> float:
        """How often chance alone moves at least as many photos one way: the p-value of McNemar's exact test."""
        return mcnemar(*(found.argmax(axis=1) == self.truth for found in (self.before, self.after)))

    def in_words(self) -> str:
        """What changed on the validation photos, whether it was kept, and whether chance would do as much."""
        (right, loss), (now, new_loss) = self._scores()
        of = len(self.truth)
        said = (
            f"Fine-tuning {self.weights:,} of the backbone's {self.of:,} weights, best after "
            f"{int(self.history['val_loss'].idxmin()) + 1} of {len(self.history)} epochs. Validation: {right} → {now} "
            f"of {of} right ({right / of:.2f} → {now / of:.2f}), loss {loss:.2f} → {new_loss:.2f}. "
        )
        said += "Kept." if self.kept else "Not kept: backbone and head are again what they were, bit for bit."
        if now != right:
            chance = self.chance()
            said += (
                f" Chance alone would {'seldom' if chance < 0.05 else 'also'} move that many photos (p = {chance:.2g})."
            )
        return said

    def metrics(self) -> dict[str, Any]:
        """What metrics.json says of fine-tuning."""
        (right, loss), (now, new_loss) = self._scores()
        return {
            "kept": self.kept,
            "weights": self.weights,
            "epochs": len(self.history),
            "val_right": [right, now],
            "val_loss": [loss, new_loss],
            "p_value": self.chance(),
        }

    def continued(self, head_history: pd.DataFrame) -> pd.DataFrame:
        """The head's epochs and those of fine-tuning in one table, told apart by the column phase."""
        both = (head_history.assign(phase=HEAD), self.history.assign(phase=TUNED))
        return pd.concat(both, ignore_index=True)


def fine_tune(
    model: keras.Model,
    train: pd.DataFrame,
    train_labels: np.ndarray,
    val: pd.DataFrame,
    val_labels: np.ndarray,
    epochs: int,
    batch_size: int,
    seed: int,
) -> FineTuned:
    """Train what is unfrozen in `model`, and keep it if the validation photos say so.

    model: compiled, raw RGB float32 (batch, size, size, 3) → probabilities; its last layer is the trained head.
    train, val: rows of the table (column path: prepared photos), labels int (n,). Training photos are turned by up to
    20°, shifted and zoomed by up to a fifth and mirrored, anew in each epoch; validation photos are not. Classes weigh
    the same, as for the head. Not kept, or interrupted, all weights are what they were, bit for bit. Raises ValueError
    if nothing but the head can be trained.
    """
    unfrozen = [weight for layer in model.layers[:-1] for weight in layer.trainable_weights]
    if not unfrozen:
        raise ValueError(
            "FINE_TUNE_LAYERS: none of these layers has weights to train (BatchNorm stays as it is). Take more layers, "
            "or 0 for no fine-tuning."
        )
    size = model.input_shape[1]
    balanced = compute_class_weight("balanced", classes=np.unique(train_labels), y=train_labels)
    weights = dict(zip(np.unique(train_labels).tolist(), balanced, strict=True))
    photos = training_photos(train["path"], train_labels, size, batch_size, seed)
    watched = plain_photos(val["path"], size, val_labels)
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=PATIENCE, restore_best_weights=True)
    before = predict(model, val)
    with _restored_unless_kept(model) as keep:
        with progress("Fine-tuning", epochs * len(photos), unit="step") as bar:
            step = _Steps(bar)
            fit = model.fit(
                photos,
                validation_data=watched,
                epochs=epochs,
                class_weight=weights,
                callbacks=[stop, step],
                verbose=0,
                shuffle=False,
            )
        tuned = FineTuned(
            pd.DataFrame(fit.history)[["loss", "accuracy", "val_loss", "val_accuracy"]],
            before,
            predict(model, val),
            np.asarray(val_labels),
            sum(int(np.prod(weight.shape)) for weight in unfrozen),
            sum(layer.count_params() for layer in model.layers[:-1]),
        )
        keep(tuned.kept)
    return tuned


@contextmanager
def _restored_unless_kept(model: keras.Model) -> Iterator:
    was = [weight.numpy() for weight in model.weights]
    kept = []
    try:
        yield kept.append
    finally:
        if kept != [True]:
            for weight, value in zip(model.weights, was, strict=True):
                weight.assign(value)


class _Steps(keras.callbacks.Callback):
    def __init__(self, bar: tqdm) -> None:
        super().__init__()
        self.bar = bar

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.bar.update(1)


def _score(probabilities: np.ndarray, truth: np.ndarray) -> tuple[int, float]:
    """How many are right, and the mean cross-entropy in nats."""
    given = probabilities[np.arange(len(truth)), truth].astype(float)
    return int((probabilities.argmax(axis=1) == truth).sum()), float(-np.log(np.maximum(given, 1e-7)).mean())


def predict(model: keras.Model, photos: pd.DataFrame) -> np.ndarray:
    """Run the whole model over the photos of a table (column path); float32 (n, classes), row for row, nothing kept."""
    answers = []
    with progress("Predictions", len(photos)) as bar:
        for batch in plain_photos(photos["path"], model.input_shape[1]):
            answers.append(np.asarray(model.predict_on_batch(batch)))
            bar.update(len(batch))
    return np.concatenate(answers)


def plain_photos(paths: pd.Series, size: int, labels: np.ndarray | None = None) -> tf.data.Dataset:
    """Batches of float32 (≤ BATCH, size, size, 3), raw RGB 0–255, in the given order; with labels, pairs of both."""
    photos = _read(_paths(paths), size).map(lambda pixels: tf.cast(pixels, tf.float32))
    if labels is not None:
        photos = tf.data.Dataset.zip(photos, tf.data.Dataset.from_tensor_slices(np.asarray(labels)))
    return photos.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def training_photos(paths: pd.Series, labels: np.ndarray, size: int, batch_size: int, seed: int) -> tf.data.Dataset:
    """Batches of photos, float32 raw RGB 0–255, and labels; shuffled and augmented anew in each epoch.

    Photos are decoded in parallel, once where all of them fit into CACHE_BYTES, else in each epoch.
    """
    augment = augmentation(seed)
    count = len(paths)
    labels = tf.data.Dataset.from_tensor_slices(np.asarray(labels))
    if count * size * size * 3 <= CACHE_BYTES:
        pairs = tf.data.Dataset.zip(_read(_paths(paths), size), labels).cache().shuffle(count, seed)
    else:
        pairs = tf.data.Dataset.zip(_paths(paths), labels).shuffle(count, seed)
        pairs = pairs.map(lambda path, label: (_read_one(path, size), label), tf.data.AUTOTUNE)
    batches = pairs.batch(batch_size)  # augmented one batch at a time, so that the same seed draws the same
    return batches.map(lambda pixels, label: (augment(tf.cast(pixels, tf.float32), training=True), label)).prefetch(2)


def augmentation(seed: int) -> keras.Sequential:
    """Layers that turn, shift, zoom and mirror photos at random; the edge's pixels fill what is uncovered."""
    layers = [
        keras.layers.RandomFlip("horizontal", seed=seed),
        keras.layers.RandomRotation(ROTATION / 360, fill_mode="nearest", seed=seed),
        keras.layers.RandomTranslation(SHIFT, SHIFT, fill_mode="nearest", seed=seed),
        keras.layers.RandomZoom(ZOOM, fill_mode="nearest", seed=seed),
    ]
    return keras.Sequential(layers, name="augmentation")


def _paths(paths: pd.Series) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths])


def _read(paths: tf.data.Dataset, size: int) -> tf.data.Dataset:
    return paths.map(lambda path: _read_one(path, size), tf.data.AUTOTUNE)


def _read_one(path: tf.Tensor, size: int) -> tf.Tensor:
    pixels = tf.numpy_function(lambda name: read_square(os.fsdecode(name), size), [path], tf.uint8)
    return tf.ensure_shape(pixels, (size, size, 3))
