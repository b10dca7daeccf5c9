"""`network.fit` takes the steps of `model.fit`."""

import keras
import numpy as np
import pytest
from keras import layers

from builders import SETTINGS, build_head
from phototransfer.network.fitting import fit


def data(count: int = 70):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    x = rng.standard_normal((count, 6)).astype(np.float32)
    x[:, 0] += labels
    weights = rng.uniform(0.5, 2, 50)
    return x[:50], labels[:50], weights, (x[50:], labels[50:])


def model(optimizer: keras.Optimizer, dropout: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(3)
    built = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, use_bias=False),  # before BatchNorm its gradient would be rounding errors only
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(dropout),
            layers.Dense(3, activation="softmax"),
        ]
    )
    built.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return built


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "adam with weight decay": lambda: keras.optimizers.Adam(0.01, weight_decay=0.1),
    "adam with other moments": lambda: keras.optimizers.Adam(0.01, beta_1=0.8, beta_2=0.9, epsilon=1e-3),
    "adam with clipping": lambda: keras.optimizers.Adam(0.01, clipnorm=0.1),
    "adam with a schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 40)),
    "adam that averages weights": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=3),
    "amsgrad": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_result_is_that_of_keras(name, monkeypatch):
    """Batches of 16 from 50 rows: the last one has 2. Without shuffling, because the order is not that of Keras."""
    monkeypatch.setattr(np.random, "permutation", np.arange)
    x, y, weights, val = data()
    ours, theirs = model(OPTIMIZERS[name]()), model(OPTIMIZERS[name]())
    arguments = {"sample_weight": weights, "validation_data": val, "epochs": 6, "batch_size": 16}
    history = fit(ours, x, y, **arguments)
    expected = theirs.fit(x, y, **arguments, shuffle=False, verbose=0)
    assert history.epoch == expected.epoch
    assert set(history.history) == set(expected.history)
    for metric in expected.history:
        np.testing.assert_allclose(history.history[metric], expected.history[metric], atol=1e-4)
    for one, another in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, another, atol=1e-4)


class Counting(layers.Layer):
    """Counts how often its Python code runs: for each step, or once for each graph that is traced."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


def test_another_number_of_rows_is_not_traced_again():
    """Each fold of a cross-validation has its own number of rows, and tracing takes longer than training."""
    counting = Counting()
    counted = keras.Sequential([keras.Input((6,)), counting, layers.Dense(3, activation="softmax")])
    counted.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y, _, val = data()
    arguments = {"epochs": 2, "batch_size": 16}
    fit(counted, x, y, validation_data=val, **arguments)
    calls = counting.calls
    for rows in (49, 37):
        fit(counted, x[:rows], y[:rows], validation_data=(val[0][: rows - 30], val[1][: rows - 30]), **arguments)
    assert counting.calls == calls
    fit(counted, x, y, validation_data=val, epochs=1, batch_size=16, sample_weight=np.ones(50))
    assert counting.calls == calls, "weights of another type are converted"
    fit(counted, x.astype(np.float64), y, validation_data=val, **arguments)
    assert counting.calls > calls, "another type is another graph"


def test_two_calls_train_on():
    """Moments and steps of Adam go on, with Keras' own `fit` too."""
    x, y, _, val = data()
    arguments = {"validation_data": val, "batch_size": 50}
    ours, theirs = model(keras.optimizers.Adam(0.01)), model(keras.optimizers.Adam(0.01))
    fit(ours, x, y, epochs=3, **arguments)
    ours.fit(x, y, epochs=2, verbose=0, **arguments)
    fit(ours, x, y, epochs=2, **arguments)
    theirs.fit(x, y, epochs=7, verbose=0, **arguments)  # one batch an epoch: its order does not matter
    for one, another in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, another, atol=1e-4)


def test_rows_are_shuffled_and_dropout_is_on():
    x, y, _, val = data()
    arguments = {"validation_data": val, "epochs": 1, "batch_size": 10}
    results = []
    for seed, dropout in ((1, 0.0), (2, 0.0), (1, 0.5), (1, 0.0)):
        built = model(keras.optimizers.Adam(0.01), dropout)
        keras.utils.set_random_seed(seed)
        fit(built, x, y, **arguments)
        results.append(built.get_weights()[0])
    np.testing.assert_array_equal(results[0], results[3])
    assert not np.allclose(results[0], results[1])
    assert not np.allclose(results[0], results[2])


def test_early_stopping_stops_and_restores_the_best_weights():
    x, y, _, val = data()
    built = model(keras.optimizers.Adam(0.05))
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    losses = fit(built, x, y, validation_data=val, epochs=200, batch_size=16, callbacks=[stopping]).history["val_loss"]
    assert len(losses) < 200 and losses.index(min(losses)) == len(losses) - 3
    assert built.evaluate(*val, verbose=0)[0] == pytest.approx(min(losses), abs=1e-5)


def test_a_callback_for_batches_is_called_for_each():
    class Count(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

    x, y, _, val = data()
    count = Count()
    fit(model(keras.optimizers.Adam(0.01)), x, y, validation_data=val, epochs=2, batch_size=10, callbacks=[count])
    assert count.batches == 10


def test_a_model_that_is_compiled_again_uses_its_new_optimizer():
    x, y, _, val = data()
    built = model(keras.optimizers.Adam(0.01))
    fit(built, x, y, validation_data=val, epochs=1, batch_size=10)
    before = built.get_weights()[0]
    built.compile(optimizer=keras.optimizers.SGD(0.0), loss="sparse_categorical_crossentropy")
    fit(built, x, y, validation_data=val, epochs=1, batch_size=10)
    np.testing.assert_array_equal(built.get_weights()[0], before)


def test_a_trained_head_is_saved_as_keras_saves_it(tmp_path):
    """Nothing of the training is in the file, and it is loaded without this package's code."""
    x, y, _, val = data()
    head = build_head(6, 3, SETTINGS)
    fit(head, x, y, validation_data=val, epochs=1, batch_size=10)
    head.save(tmp_path / "head.keras")
    loaded = keras.models.load_model(tmp_path / "head.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), head.predict(x, verbose=0), atol=1e-6)
    assert type(loaded.optimizer) is keras.optimizers.Adam
