"""Training of a small model on rows of numbers, and its predictions: what Keras does, without input pipelines."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from phototransfer.console import progress
from phototransfer.network.feature_rows import BLOCK, FeatureRows, Rows, blocks, read_rows

_PIECE = 256  # batches that are read at once of rows on disk
_BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)
_LOOPS = "_phototransfer_loops"


def fit(
    model: keras.Model,
    x: Rows,
    y: np.ndarray,
    *,
    validation_data: tuple[Rows, np.ndarray],
    epochs: int,
    batch_size: int,
    sample_weight: np.ndarray | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train a model as `model.fit(x, y, ..., verbose=0)` does, two to four times as fast for a small one.

    For a head of a few layers, `model.fit` spends most of its time on the input pipelines that it builds for each epoch
    and on the many passes of Adam over the weights. Here a compiled loop takes the batches from the arrays, and Adam is
    one operation. Steps, loss, metrics and callbacks are those of Keras. The rows are shuffled by NumPy's generator, so
    their order differs from that of `model.fit` with the same seed. Rows on disk (`FeatureRows`) are read in each
    epoch, some batches at a time, with the same result.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    x, y, sample_weight : arrays of shapes (n, d), (n,) and (n,)
        `sample_weight` is 1 for all rows if it is None.
    validation_data : pair of arrays
        x and y, measured after each epoch.
    callbacks : sequence of keras.callbacks.Callback
        With a callback that wants to be called for each batch, `model.fit` does the training.

    Returns
    -------
    keras.callbacks.History
    """
    if any(_wants_batches(callback) for callback in callbacks):
        return model.fit(
            x,
            y,
            sample_weight=sample_weight,
            validation_data=validation_data,
            epochs=epochs,
            batch_size=batch_size,
            callbacks=list(callbacks),
            verbose=0,
        )
    weights = np.ones(len(x), np.float32) if sample_weight is None else sample_weight.astype(np.float32)
    rows, val_rows = _Pieces(x, (y, weights), batch_size), _Pieces(validation_data[0], validation_data[1:], batch_size)
    loops = _compiled_loops(model, rows.first(), val_rows.first())
    steps = -(-len(x) // batch_size)
    called = keras.callbacks.CallbackList(
        list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps, verbose=0
    )
    model.stop_training = False
    logs: dict[str, float] = {}
    called.on_train_begin()
    bar = progress("Training, may end earlier", epochs * rows.number if rows.number > 1 else 0, unit="step")
    with _single_operation(model.optimizer), bar:
        for epoch in range(epochs):
            called.on_epoch_begin(epoch)
            model.reset_metrics()
            for piece, order in rows.shuffled(np.random.permutation(len(x))):
                loops.train(*piece, order, tf.constant(batch_size, tf.int64))
                bar.update()
            logs = _metrics(model)
            model.reset_metrics()
            for piece in val_rows.in_order():
                loops.validate(*piece, tf.constant(batch_size, tf.int64))
            logs |= {f"val_{name}": value for name, value in _metrics(model).items()}
            called.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
    model.optimizer.finalize_variable_values(model.trainable_weights)
    called.on_train_end(logs)
    return model.history


def predict_rows(model: keras.Model, x: Rows) -> np.ndarray:
    """Return `model.predict(x)`, float32 (n, classes); rows on disk are read some at a time."""
    if isinstance(x, np.ndarray):
        return np.asarray(model.predict(x, verbose=0))
    parts = progress("Predictions", -(-len(x) // BLOCK), blocks(x, BLOCK), unit="block")
    return np.concatenate([model.predict(part, verbose=0) for part in parts])


class _Pieces:
    """Rows as tensors: all at once if they are in memory, else a whole number of batches at a time."""

    def __init__(self, x: Rows, others: Sequence[np.ndarray], batch_size: int) -> None:
        self._x, self._others, self._size = x, others, _PIECE * batch_size
        self._all = None if isinstance(x, FeatureRows) else self._read(slice(None))

    @property
    def number(self) -> int:
        """How many pieces there are."""
        return 1 if self._all else -(-len(self._x) // self._size)

    def first(self) -> list[tf.Tensor]:
        """Return some rows, for their types."""
        return self._all or self._read(slice(1))

    def in_order(self) -> Iterator[list[tf.Tensor]]:
        """Yield all rows."""
        if self._all:
            yield self._all
            return
        for start in range(0, len(self._x), self._size):
            yield self._read(slice(start, start + self._size))

    def shuffled(self, order: np.ndarray) -> Iterator[tuple[list[tf.Tensor], tf.Tensor]]:
        """Yield all rows, and in which order they follow each other, so that the whole is in the given order."""
        if self._all:
            yield self._all, tf.constant(order)
            return
        for start in range(0, len(order), self._size):
            piece = self._read(order[start : start + self._size])
            yield piece, tf.range(len(piece[0]), dtype=tf.int64)

    def _read(self, rows: slice | np.ndarray) -> list[tf.Tensor]:
        arrays = [read_rows(self._x, rows), *(each[rows] for each in self._others)]
        return [tf.convert_to_tensor(array) for array in arrays]


def _wants_batches(callback: keras.callbacks.Callback) -> bool:
    default = keras.callbacks.Callback
    return any(getattr(type(callback), hook) is not getattr(default, hook) for hook in _BATCH_HOOKS)


def _metrics(model: keras.Model) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}


@dataclass(frozen=True, eq=False)
class _Loops:
    """The loops over the batches of an epoch and of the validation rows, traced once for each compiled model."""

    optimizer: keras.Optimizer
    signature: list[tf.TensorSpec]
    train: Callable[..., None]
    validate: Callable[..., None]


def _compiled_loops(model: keras.Model, rows: Sequence[tf.Tensor], val_rows: Sequence[tf.Tensor]) -> _Loops:
    # Any number of rows: otherwise each other number would be traced again.
    signature = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in (*rows, *val_rows)]
    loops = getattr(model, _LOOPS, None)
    if isinstance(loops, _Loops) and loops.optimizer is model.optimizer and loops.signature == signature:
        return loops  # otherwise the model has been compiled again, or gets other types

    # The variables of optimizer and metrics: a loop that creates variables is traced twice.
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    model.test_step(tuple(array[:1] for array in val_rows))

    def train(x: tf.Tensor, y: tf.Tensor, weights: tf.Tensor, order: tf.Tensor, batch_size: tf.Tensor) -> None:
        for start in tf.range(0, tf.size(order, tf.int64), batch_size):
            batch = order[start : start + batch_size]
            model.train_step((tf.gather(x, batch), tf.gather(y, batch), tf.gather(weights, batch)))

    def validate(x: tf.Tensor, y: tf.Tensor, batch_size: tf.Tensor) -> None:
        for start in tf.range(0, tf.size(y, tf.int64), batch_size):
            model.test_step((x[start : start + batch_size], y[start : start + batch_size]))

    order, batch_size = tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64)
    loops = _Loops(
        model.optimizer,
        signature,
        tf.function(train, input_signature=[*signature[: len(rows)], order, batch_size]),
        tf.function(validate, input_signature=[*signature[len(rows) :], batch_size]),
    )
    setattr(model, _LOOPS, loops)
    return loops


@contextmanager
def _single_operation(optimizer: keras.Optimizer) -> Iterator[None]:
    """Let Adam update each weight by one operation of TensorFlow; other optimizers stay as they are.

    The formula is that of Keras, which makes a dozen passes over the weights and their moments. These take longer than
    the gradients of a small model.
    """
    if type(optimizer) is not keras.optimizers.Adam or optimizer.amsgrad:
        yield
        return

    def update_step(gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        index = optimizer._get_variable_index(variable)
        moments = optimizer._momentums[index], optimizer._velocities[index]
        step = tf.cast(optimizer.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(moments[0]),
            v=_handle(moments[1]),
            beta1_power=tf.cast(optimizer.beta_1, variable.dtype) ** step,
            beta2_power=tf.cast(optimizer.beta_2, variable.dtype) ** step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            grad=gradient,
        )

    optimizer.update_step = update_step
    try:
        yield
    finally:
        del optimizer.update_step


def _handle(variable: Any) -> tf.Tensor:
    """Return the handle of a variable of TensorFlow, or of the one in a variable of Keras."""
    return getattr(variable, "_value", variable).handle
