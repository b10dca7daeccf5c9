"""Fine-tuning: the last layers of the backbone are trained together with the head."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.figure import Figure
from sklearn.utils.class_weight import compute_class_weight

from phototransfer.console import plural, progress
from phototransfer.network.backbones import Backbone
from phototransfer.network.features import BATCH, read_image
from phototransfer.network.views import ROTATION, SHIFT, ZOOM
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share, mcnemar
from phototransfer.style import plot_epochs

_PATIENCE = 3  # epochs without a lower validation loss; each is a pass of all photos through the whole network
_CACHE_BYTES = 2**30  # decoded photos are kept in memory up to this size: 7,000 photos of 224 × 224 pixels


@dataclass(frozen=True, eq=False)
class FineTuning(Result):
    """What fine-tuning changed, and whether it was kept.

    Attributes
    ----------
    head_history, history : DataFrame
        One row per epoch of the head and of fine-tuning: loss, accuracy (in fine-tuning of augmented photos), val_loss
        and val_accuracy.
    correct, loss : tuple
        Number of correct validation photos and mean cross-entropy in nats, before and after (best epoch).
    total, p_value
        Number of validation photos, and p-value of McNemar's exact test of the change of `correct`.
    trained, weights : int
        Number of weights of the backbone that were trained, and of all its weights.
    """

    name = "fine_tuning"
    head_history: pd.DataFrame
    history: pd.DataFrame
    correct: tuple[int, int]
    loss: tuple[float, float]
    total: int
    p_value: float
    trained: int
    weights: int

    @property
    def kept(self) -> bool:
        """True if accuracy or loss on the validation photos is better than before, and neither is worse."""
        # A few more correct photos at a clearly higher loss may be chance: the network is surer of its mistakes.
        more_correct, lower_loss = self.correct[1] - self.correct[0], self.loss[0] - self.loss[1]
        return min(more_correct, lower_loss) >= 0 and max(more_correct, lower_loss) > 0

    def summary(self) -> str:
        correct = " → ".join(f"{number} of {self.total}" for number in self.correct)
        accuracy = " → ".join(format_share(number / self.total) for number in self.correct)
        loss = " → ".join(f"{loss:.2f}" for loss in self.loss)
        outcome = "Kept." if self.kept else "Not kept: all weights are bit-identical to those of before."
        lines = [
            f"Trained {self.trained:,} of the backbone's {self.weights:,} weights for "
            f"{plural(len(self.history), 'epoch')}; the best is epoch {_best_epoch(self.history)}.",
            f"Validation photos: {correct} correct ({accuracy}), loss {loss}. {outcome}",
        ]
        if self.correct[0] != self.correct[1]:
            verb = "is unlikely to be" if self.p_value < 0.05 else "may be"
            lines.append(f"The change in accuracy {verb} chance (McNemar's test, p = {self.p_value:.2g}).")
        return "\n".join(lines)

    def advice(self) -> list[str]:
        return [] if self.kept else ["Fine-tuning did not improve on the head alone: set FINE_TUNE_LAYERS = 0."]

    def plot(self) -> Figure:
        """Return loss and accuracy up to the best epoch of the head, where fine-tuning begins, and after it."""
        start = _best_epoch(self.head_history)
        both = pd.concat([self.head_history.head(start), self.history], ignore_index=True)
        return plot_epochs(both, start + 0.5, "fine-tuning begins")

    def tables(self) -> dict[str, pd.DataFrame]:
        phases = [self.head_history.assign(phase="head"), self.history.assign(phase="fine-tuning")]
        return {"history": pd.concat(phases, ignore_index=True)}

    def to_dict(self) -> dict[str, Any]:
        return {
            "kept": self.kept,
            "weights": self.trained,
            "epochs": len(self.history),
            "val_correct": self.correct,
            "val_loss": self.loss,
            "p_value": self.p_value,
        }


def is_kept(result: Result) -> bool:
    """Return whether fine-tuning was done and kept."""
    return isinstance(result, FineTuning) and result.kept


def fine_tune(
    model: keras.Model,
    backbone: Backbone,
    photos: pd.DataFrame,
    classes: Sequence[str],
    settings: Mapping[str, Any],
    *,
    head_history: pd.DataFrame,
) -> FineTuning | Skipped:
    """Train the last FINE_TUNE_LAYERS layers of the backbone and the head, and keep the result if it is better.

    BatchNorm layers of the backbone stay frozen. The learning rate is LEARNING_RATE / 100. Training photos are rotated
    by up to 20°, shifted and zoomed by up to 0.2 and mirrored, anew in each epoch. Classes have equal weights. If not
    kept, or interrupted, all weights are bit-identical to those of before. Afterwards the backbone is frozen again.

    Parameters
    ----------
    model : keras.Model
        From raw RGB, float32 (batch, size, size, 3), to probabilities, through `backbone.model` and the trained head.
    photos : DataFrame
        Trains on the split train; the split val decides when to stop, and whether the result is kept.

    Raises
    ------
    ValueError
        None of the layers has weights to train.
    """
    if not settings["FINE_TUNE_LAYERS"]:
        return Skipped(FineTuning.name, "Fine-tuning is off (FINE_TUNE_LAYERS = 0).")
    photos = photos.assign(number=photos["label"].map(classes.index))
    train, val = photos[photos["split"] == "train"], photos[photos["split"] == "val"]
    correct, loss = _score(model, val)
    original, result = model.get_weights(), None
    try:
        _unfreeze(backbone, settings["FINE_TUNE_LAYERS"])
        history = _fit(model, train, val, settings)
        new_correct, new_loss = _score(model, val)
        result = FineTuning(
            head_history,
            history,
            correct=(int(correct.sum()), int(new_correct.sum())),
            loss=(loss, new_loss),
            total=len(val),
            p_value=mcnemar(correct, new_correct),
            trained=sum(int(np.prod(weight.shape)) for weight in backbone.model.trainable_weights),
            weights=backbone.model.count_params(),
        )
        return result
    finally:
        if not (result and result.kept):  # also after an interruption
            model.set_weights(original)
        backbone.model.trainable = False


def _unfreeze(backbone: Backbone, count: int) -> None:
    backbone.model.trainable = True
    for number, layer in enumerate(reversed(backbone.model.layers)):
        layer.trainable = number < count and not isinstance(layer, keras.layers.BatchNormalization)
    if not backbone.model.trainable_weights:
        raise ValueError(
            f"FINE_TUNE_LAYERS must include a layer with weights to train, got {count}: the last layers of "
            f"{backbone.architecture} have none (BatchNorm stays frozen). Set a larger number, or 0 for no fine-tuning."
        )


def _fit(model: keras.Model, train: pd.DataFrame, val: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Train what is not frozen, return to the weights of the best epoch, and return the epochs."""
    model.compile(
        keras.optimizers.Adam(settings["LEARNING_RATE"] / 100), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    batches = _training_batches(train, model.input_shape[1], settings["BATCH_SIZE"], settings["SEED"])
    present = np.unique(train["number"])
    balanced = compute_class_weight("balanced", classes=present, y=train["number"])
    stop = keras.callbacks.EarlyStopping("val_loss", patience=_PATIENCE, restore_best_weights=True)
    with progress("Fine-tuning", settings["EPOCHS"] * len(batches), unit="step") as bar:
        step = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: bar.update())
        fitted = model.fit(
            batches,
            validation_data=_plain_batches(val, model.input_shape[1]),
            epochs=settings["EPOCHS"],
            class_weight=dict(zip(present.tolist(), balanced, strict=True)),
            callbacks=[stop, step],
            verbose=0,
            shuffle=False,
        )
    return pd.DataFrame(fitted.history)[["loss", "accuracy", "val_loss", "val_accuracy"]]


def _score(model: keras.Model, photos: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Return which photos are correct, bool (n,), and the mean cross-entropy; NaN counts as probability 0."""
    probabilities, labels = predict(model, photos), photos["number"].to_numpy()
    of_label = np.nan_to_num(probabilities[np.arange(len(labels)), labels].astype(float))
    return probabilities.argmax(axis=1) == labels, float(-np.log(np.maximum(of_label, 1e-7)).mean())


def _best_epoch(history: pd.DataFrame) -> int:
    return int(np.nan_to_num(history["val_loss"], nan=np.inf).argmin()) + 1


def predict(model: keras.Model, photos: pd.DataFrame) -> np.ndarray:
    """Return the probabilities of photos (column path), float32 (n_photos, n_classes), from the whole model."""
    probabilities = []
    with progress("Predictions", len(photos)) as bar:
        for images, _ in _plain_batches(photos.assign(number=0), model.input_shape[1]):
            probabilities.append(np.asarray(model.predict_on_batch(images)))
            bar.update(len(images))
    return np.concatenate(probabilities)


def _plain_batches(photos: pd.DataFrame, size: int) -> tf.data.Dataset:
    """Return batches of raw RGB, float32 (<= BATCH, size, size, 3), and labels, in the order of the table."""
    batches = _examples(photos).map(partial(_read, size=size), tf.data.AUTOTUNE).batch(BATCH)
    return batches.map(lambda images, labels: (tf.cast(images, tf.float32), labels)).prefetch(tf.data.AUTOTUNE)


def _training_batches(photos: pd.DataFrame, size: int, batch_size: int, seed: int) -> tf.data.Dataset:
    """Return batches of raw RGB, float32, and labels, shuffled and augmented anew in each epoch.

    Photos are decoded once if all of them fit into _CACHE_BYTES, else in each epoch.
    """
    examples, read = _examples(photos), partial(_read, size=size)
    if len(photos) * size * size * 3 <= _CACHE_BYTES:
        examples = examples.map(read, tf.data.AUTOTUNE).cache().shuffle(len(photos), seed)
    else:
        examples = examples.shuffle(len(photos), seed).map(read, tf.data.AUTOTUNE)
    augment = _augmentation(seed)
    # Augmented one batch at a time: in parallel, the same seed would not draw the same.
    batches = examples.batch(batch_size)
    return batches.map(lambda images, labels: (augment(tf.cast(images, tf.float32), training=True), labels)).prefetch(2)


def _augmentation(seed: int) -> keras.Sequential:
    """Return layers that mirror, rotate, shift and zoom at random; pixels of the edge fill what is uncovered."""
    options = {"fill_mode": "nearest", "seed": seed}
    rotation = keras.layers.RandomRotation(ROTATION / 360, **options)
    shift, zoom = keras.layers.RandomTranslation(SHIFT, SHIFT, **options), keras.layers.RandomZoom(ZOOM, **options)
    return keras.Sequential([keras.layers.RandomFlip("horizontal", seed=seed), rotation, shift, zoom])


def _examples(photos: pd.DataFrame) -> tf.data.Dataset:
    paths = [os.fsencode(path) for path in photos["path"]]
    return tf.data.Dataset.from_tensor_slices((paths, photos["number"].to_numpy()))


def _read(path: tf.Tensor, label: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.numpy_function(lambda name: read_image(os.fsdecode(name), size), [path], tf.uint8)
    return tf.ensure_shape(image, (size, size, 3)), label
