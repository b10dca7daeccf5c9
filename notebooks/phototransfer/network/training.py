"""Repeated training of one head, each time from fresh weights, here or in another process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from phototransfer.network.feature_rows import Rows
from phototransfer.network.features import training_rows
from phototransfer.processes import unpack

#: Features, float32 (n, d), and labels, int (n,).
Data = tuple[Rows, np.ndarray]
#: build_head(n_features, n_classes, settings): returns a compiled head, from features to probabilities.
BuildHead = Callable[[int, int, Mapping[str, Any]], keras.Model]
#: fit_head(head, train, val, settings): trains it. Every class occurs in the labels of train.
FitHead = Callable[[keras.Model, Data, Data, Mapping[str, Any]], keras.callbacks.History]

_latest: "dict[str, HeadTrainer]" = {}  # in another process: the trainer of the latest head


class HeadTrainer:
    """Trains the head of the notebook with the functions of the notebook, which both get `settings`.

    Notes
    -----
    Tracing a training step takes a second, building a head milliseconds. So only the first head is traced. Before each
    training it gets the weights, the optimizer state and the dropout generators of a head that is built with the seed
    of that training. The result is bit-identical to that of a new head.
    """

    def __init__(
        self, build_head: BuildHead, fit_head: FitHead, n_features: int, n_classes: int, settings: Mapping[str, Any]
    ) -> None:
        self._settings = dict(settings)  # later changes must not change the layers
        self._build = partial(build_head, n_features, n_classes, self._settings)
        self._fit = fit_head
        self._head: keras.Model | None = None

    def predict(self, *, train: Data, val: Data, x: np.ndarray, seed: int) -> np.ndarray:
        """Train a head from fresh weights and return its probabilities for `x`, float32 (len(x), n_classes)."""
        if not len(val[1]):
            raise ValueError("A head cannot be trained without validation photos: they decide when training stops.")
        head = self._fresh_head(seed)
        self._fit(head, train, val, self._settings)
        return np.asarray(head(x, training=False))

    def _fresh_head(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        fresh = self._build()
        fresh.optimizer.build(fresh.trainable_variables)
        if self._head is None:
            self._head = fresh
        else:
            for variable, value in zip(_state(self._head), _state(fresh), strict=True):
                variable.assign(value)
        keras.utils.set_random_seed(seed)  # building has drawn from the generator, for the first head more than later
        return self._head


def _state(head: keras.Model) -> list[keras.Variable]:
    return [*head.variables, *head.optimizer.variables]


@dataclass(frozen=True, eq=False)
class Training:
    """One training of a head on features, and the photos to predict then: all that the result depends on.

    Attributes
    ----------
    settings : Mapping
        Those of the head.
    plain, augmented : float32 arrays of shapes (n, d) and (views, n, d)
    labels : int array of shape (n,)
        -1 for photos that take no part.
    train, val, test : int arrays
        Rows of the features to train on, to stop by and to predict.
    """

    settings: Mapping[str, Any]
    n_classes: int
    plain: np.ndarray
    augmented: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    seed: int

    def run(self, trainer: HeadTrainer) -> np.ndarray:
        """Return the probabilities of the photos of `test`, float32 (k, n_classes)."""
        train = training_rows(self.plain, self.augmented, self.train, self.labels)
        val = self.plain[self.val], self.labels[self.val]
        return trainer.predict(train=train, val=val, x=self.plain[self.test], seed=self.seed)


def run_in_process(functions: bytes, numbers: tuple[str, str], training: Training) -> np.ndarray:
    """Do a training in a process that was started for it.

    Parameters
    ----------
    functions : bytes
        build_head and fit_head of the notebook, by `pack`.
    numbers : tuple of str
        `keras.config.floatx()` and the name of the dtype policy.
    """
    floatx, policy = numbers
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    key = repr((functions, numbers, training.n_classes, training.plain.shape[1], sorted(training.settings.items())))
    if key not in _latest:
        _latest.clear()
        size, settings = training.plain.shape[1], training.settings
        build_head, fit_head = unpack(functions)
        _latest[key] = HeadTrainer(build_head, fit_head, size, training.n_classes, settings)
    return training.run(_latest[key])
