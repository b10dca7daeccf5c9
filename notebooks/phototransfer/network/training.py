"""Repeated training of one head, each time from fresh weights."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

#: Features, float32 (n, d), and labels, int (n,).
Data = tuple[np.ndarray, np.ndarray]
#: build_head(n_features, n_classes, settings): returns a compiled head, from features to probabilities.
BuildHead = Callable[[int, int, Mapping[str, Any]], keras.Model]
#: fit_head(head, train, val, settings): trains it. Every class occurs in the labels of train.
FitHead = Callable[[keras.Model, Data, Data, Mapping[str, Any]], keras.callbacks.History]


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
