"""Fine-tuning of the last layers of the backbone together with the head."""

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

from phototransfer.console import plural, progress
from phototransfer.network.backbones import Backbone
from phototransfer.network.features import BATCH, read_image
from phototransfer.network.views import ROTATION, SHIFT, ZOOM
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share, mcnemar, sign_flip_test
from phototransfer.style import plot_epochs

_PATIENCE = 3  # epochs without a lower validation loss; each is a pass of all photos through the whole network
_ALPHA = 0.05
_LOWER = 0.10  # a loss that is lower by a smaller share is no reason to keep another network
_CACHE_BYTES = 2**30  # decoded photos are kept in memory up to this size: 7,000 photos of 224 × 224 pixels


@dataclass(frozen=True, eq=False)
class FineTuning(Result):
    """What fine-tuning changed, and whether it was kept."""

    name = "fine_tuning"
    head_history: pd.DataFrame
    history: pd.DataFrame
    correct: tuple[int, int]  #: correct validation photos of `total`, before and after (best epoch)
    loss: tuple[float, float]  #: mean cross-entropy of validation photos in nats, before and after
    total: int
    p_value: float  #: of McNemar's exact test of the change of `correct`; near-duplicates count once
    loss_p_value: float  #: of `sign_flip_test` of the change of each photo's loss; near-duplicates count once
    trained: int  #: trained weights of the backbone, of `weights`
    weights: int

    @property
    def kept(self) -> bool:
        """True if validation is better than chance explains.

        Either significantly more photos are correct, or no fewer are correct and the loss is significantly lower and by
        10 % or more. The best epoch is chosen on the same photos, so that a hardly lower loss would be luck.
        """
        return self._more_correct or self._lower_loss

    @property
    def _more_correct(self) -> bool:
        return self.correct[1] > self.correct[0] and self.p_value < _ALPHA and bool(np.isfinite(self.loss[1]))

    @property
    def _lower_loss(self) -> bool:
        before, after = self.loss
        return self.correct[1] >= self.correct[0] and after <= (1 - _LOWER) * before and self.loss_p_value < _ALPHA

    def summary(self) -> str:
        correct = " → ".join(f"{number} of {self.total}" for number in self.correct)
        accuracy = " → ".join(format_share(number / self.total) for number in self.correct)
        loss = " → ".join(f"{loss:.2f}" for loss in self.loss)
        return (
            f"Trained {self.trained:,} of the backbone's {self.weights:,} weights for "
            f"{plural(len(self.history), 'epoch')}; the best is epoch {_best_epoch(self.history)}.\n"
            f"Validation photos: {correct} correct ({accuracy}; McNemar's exact test, p = {self.p_value:.2g}), loss "
            f"{loss} (paired test, p = {self.loss_p_value:.2g}).\n{self._outcome()}"
        )

    def _outcome(self) -> str:
        if self._more_correct:
            return "Kept: significantly more validation photos are correct."
        if self._lower_loss:
            return f"Kept: no fewer are correct, and the loss is significantly lower, by at least {_LOWER:.0%}."
        (before, after), (loss_before, loss_after) = self.correct, self.loss
        if after < before:
            reason = "fewer validation photos are correct"
        elif not loss_after < loss_before:
            reason = "the loss is not lower" + (", and more correct photos may be luck" if after > before else "")
        elif loss_after > (1 - _LOWER) * loss_before:
            reason = f"the loss is lower by less than {_LOWER:.0%}, and not significantly more photos are correct"
        else:
            reason = "what improved may be luck: neither correct photos nor loss are significantly better"
        return f"Not kept: {reason}. All weights are bit-identical to those of before."

    def advice(self) -> list[str]:
        text = "Fine-tuning was not significantly better than the head alone: set FINE_TUNE_LAYERS = 0."
        return [] if self.kept else [text]

    def alt(self) -> str:
        loss = " to ".join(f"{loss:.2f}" for loss in self.loss)
        return (
            f"Loss and accuracy by epoch, of the head and then of {plural(len(self.history), 'epoch')} of fine-tuning. "
            f"The validation loss goes from {loss}. {self._outcome()}"
        )

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
            "loss_p_value": self.loss_p_value,
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
    """Train the last FINE_TUNE_LAYERS layers of the backbone and the head, and keep it if it is significantly better.

    `model` leads from raw RGB, float32 (batch, size, size, 3), through `backbone.model` and the trained head. BatchNorm
    layers of the backbone stay frozen. The learning rate is LEARNING_RATE / 100. Training photos are rotated by up to
    20°, shifted and zoomed by up to 0.2 and mirrored, anew in each epoch. Classes have equal weights. The split val
    decides when to stop, and whether the result is kept. If not kept, or interrupted, all weights are bit-identical to
    those of before. Afterwards the backbone is frozen again.

    Raises
    ------
    ValueError
        None of the layers has weights to train.
    """
    count = settings["FINE_TUNE_LAYERS"]
    if not count:
        return Skipped(FineTuning.name, "Fine-tuning is off (FINE_TUNE_LAYERS = 0).")
    photos = photos.assign(number=photos["label"].map(classes.index))
    train, val = photos[photos["split"] == "train"], photos[photos["split"] == "val"]
    fit = settings["FIT"]
    correct, losses = _score(model, val, fit)
    original, result = model.get_weights(), None
    try:
        backbone.model.trainable = True
        for number, layer in enumerate(reversed(backbone.model.layers)):
            layer.trainable = number < count and not isinstance(layer, keras.layers.BatchNormalization)
        trained = backbone.model.trainable_weights
        if not trained:
            raise ValueError(
                f"FINE_TUNE_LAYERS must include a layer with weights to train (not BatchNorm), got {count}: set a "
                f"larger number for {backbone.architecture}, or 0 for no fine-tuning."
            )
        history = _fit(model, train, val, settings)
        new_correct, new_losses = _score(model, val, fit)
        different = ~val["group"].duplicated().to_numpy()
        result = FineTuning(
            head_history,
            history,
            correct=(int(correct.sum()), int(new_correct.sum())),
            loss=(float(losses.mean()), float(new_losses.mean())),
            total=len(val),
            p_value=mcnemar(correct[different], new_correct[different]),
            loss_p_value=sign_flip_test((new_losses - losses)[different]),
            trained=sum(weight.numpy().size for weight in trained),
            weights=backbone.model.count_params(),
        )
        return result
    finally:
        if not (result and result.kept):  # also after an interruption
            model.set_weights(original)
        backbone.model.trainable = False


def _fit(model: keras.Model, train: pd.DataFrame, val: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Train what is not frozen, return to the weights of the best epoch, and return the epochs."""
    optimizer = keras.optimizers.Adam(settings["LEARNING_RATE"] / 100)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = _training_batches(train, model.input_shape[1], settings)
    photos_per_class = train["number"].value_counts()
    stop = keras.callbacks.EarlyStopping("val_loss", patience=_PATIENCE, restore_best_weights=True)
    with progress("Fine-tuning", settings["EPOCHS"] * len(batches), unit="step") as bar:
        step = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: bar.update())
        fitted = model.fit(
            batches,
            validation_data=_plain_batches(val, model.input_shape[1], settings["FIT"]),
            epochs=settings["EPOCHS"],
            class_weight=(photos_per_class.mean() / photos_per_class).to_dict(),
            callbacks=[stop, step],
            verbose=0,
            shuffle=False,
        )
    return pd.DataFrame(fitted.history)[["loss", "accuracy", "val_loss", "val_accuracy"]]


def _score(model: keras.Model, photos: pd.DataFrame, fit: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which photos are correct, bool (n,), and their cross-entropy, float (n,); NaN counts as probability 0."""
    probabilities, labels = predict(model, photos, fit), photos["number"].to_numpy()
    of_label = np.nan_to_num(probabilities[np.arange(len(labels)), labels].astype(float))
    return probabilities.argmax(axis=1) == labels, -np.log(np.maximum(of_label, 1e-7))


def _best_epoch(history: pd.DataFrame) -> int:
    return int(history["val_loss"].fillna(np.inf).argmin()) + 1


def predict(model: keras.Model, photos: pd.DataFrame, fit: str = "crop") -> np.ndarray:
    """Return the probabilities of photos (column path), float32 (n_photos, n_classes), from the whole model.

    `fit` is the setting FIT.
    """
    batches = _plain_batches(photos.assign(number=0), model.input_shape[1], fit)
    bar = progress("Predictions", len(batches), batches, unit="step")
    return np.concatenate([model.predict_on_batch(images) for images, _ in bar])


def _plain_batches(photos: pd.DataFrame, size: int, fit: str) -> tf.data.Dataset:
    """Return batches of raw RGB, float32 (<= BATCH, size, size, 3), and labels, in the order of the table."""
    batches = _examples(photos).map(partial(_read, size=size, fit=fit), tf.data.AUTOTUNE).batch(BATCH)
    return batches.map(lambda images, labels: (tf.cast(images, tf.float32), labels)).prefetch(tf.data.AUTOTUNE)


def _training_batches(photos: pd.DataFrame, size: int, settings: Mapping[str, Any]) -> tf.data.Dataset:
    """Return batches as `_plain_batches`, shuffled and augmented anew in each epoch."""
    examples, seed = _examples(photos), settings["SEED"]
    read = partial(_read, size=size, fit=settings["FIT"])
    if len(photos) * size * size * 3 <= _CACHE_BYTES:
        examples = examples.map(read, tf.data.AUTOTUNE).cache().shuffle(len(photos), seed)
    else:
        examples = examples.shuffle(len(photos), seed).map(read, tf.data.AUTOTUNE)
    augment = _augmentation(seed)
    # Augmented one batch at a time: in parallel, the same seed would not draw the same.
    batches = examples.batch(settings["BATCH_SIZE"])
    return batches.map(lambda images, labels: (augment(tf.cast(images, tf.float32), training=True), labels)).prefetch(2)


def _augmentation(seed: int) -> keras.Sequential:
    options = {"fill_mode": "nearest", "seed": seed}
    rotation = keras.layers.RandomRotation(ROTATION / 360, **options)
    shift, zoom = keras.layers.RandomTranslation(SHIFT, SHIFT, **options), keras.layers.RandomZoom(ZOOM, **options)
    return keras.Sequential([keras.layers.RandomFlip("horizontal", seed=seed), rotation, shift, zoom])


def _examples(photos: pd.DataFrame) -> tf.data.Dataset:
    paths = [os.fsencode(path) for path in photos["path"]]
    return tf.data.Dataset.from_tensor_slices((paths, photos["number"].to_numpy()))


def _read(path: tf.Tensor, label: tf.Tensor, size: int, fit: str) -> tuple[tf.Tensor, tf.Tensor]:
    image = tf.numpy_function(lambda name: read_image(os.fsdecode(name), size, fit), [path], tf.uint8)
    return tf.ensure_shape(image, (size, size, 3)), label
