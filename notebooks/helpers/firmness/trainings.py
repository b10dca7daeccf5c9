"""How is one head trained again and again, from the same beginning each time, without building it again?"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from helpers.firmness.folds import Folds, Part

if TYPE_CHECKING:  # importing it would import TensorFlow
    import keras

#: build_head(features, classes, hidden) → a compiled head: features float32 (n, features) in, probabilities out.
BuildHead = Callable[..., "keras.Model"]
#: fit_head(head, x, y, (x, y) to watch) trains it; y: int (n,), every class in it.
FitHead = Callable[..., Any]


class Trainings:
    """The head that the notebook shows, trained by the function that the notebook shows, as often as needed.

    Building a head takes milliseconds, tracing its training step a second. So one head is traced, and before each
    training it gets the weights, optimiser state and dropout generators of a head freshly built with the seed of that
    training: the result is bit for bit that of the fresh head, and does not depend on what was trained before.
    """

    def __init__(
        self, build_head: BuildHead, fit_head: FitHead, features: int, classes: int, hidden: list[int] | None = None
    ) -> None:
        """hidden: units of each Dense layer; None for what build_head does by itself."""
        shape = (features, classes) if hidden is None else (features, classes, hidden)
        self._build, self._fit = lambda: build_head(*shape), fit_head
        self._head: keras.Model | None = None

    def predict(
        self,
        seed: int,
        learnt: tuple[np.ndarray, np.ndarray],
        watched: tuple[np.ndarray, np.ndarray],
        judged: np.ndarray,
    ) -> np.ndarray:
        """Train from the beginning and predict. learnt, watched: (x float32 (n, d), y int (n,)). Returns int (k,)."""
        head = self._fresh(seed)
        self._fit(head, *learnt, watched)
        return np.asarray(head(judged, training=False)).argmax(axis=1)

    def _fresh(self, seed: int) -> "keras.Model":
        import keras  # here, so that what only reads results needs no TensorFlow

        keras.utils.set_random_seed(seed)
        fresh = self._build()
        fresh.optimizer.build(fresh.trainable_variables)
        if self._head is None:
            self._head = fresh
        else:
            for kept, new in zip(_state(self._head), _state(fresh), strict=True):
                kept.assign(new)
        keras.utils.set_random_seed(seed)  # building used up some of it, differently for the first head
        return self._head


def _state(head: "keras.Model") -> list[Any]:
    return [*head.variables, *head.optimizer.variables]


def train_each(
    dealt: Folds, features: np.ndarray, trainings: Trainings, parts: Iterable[Part], seed: int
) -> Iterator[tuple[Part, np.ndarray]]:
    """Train without each fold in turn; the fold, and what is predicted for the photos it judges, int (k,).

    features: float32 (N, d), row for row with the table of photos, or (views, N, d): learnt from are all views,
    watched and judged is the first, the photo as it is. Predicted are places in `dealt.classes`.
    """
    views, y = features.reshape(-1, *features.shape[-2:])[:, dealt.rows], dealt.labels
    x = views[0]
    for part in parts:
        at = (seed + part.repeat * dealt.count + part.fold) % 2**32
        learnt = views[:, part.train].reshape(-1, x.shape[1]), np.tile(y[part.train], len(views))
        watched = x[part.watched], y[part.watched]
        yield part, trainings.predict(at, learnt, watched, x[part.judged])


def out_of_fold(
    dealt: Folds, features: np.ndarray, trainings: Trainings, parts: Sequence[Part], seed: int, bar: tqdm
) -> np.ndarray:
    """What is predicted for each photo by the head that was trained without its fold, see `train_each`.

    parts: the trainings to do; their repeats decide the rows of what is returned, int (repeats, n). `bar` goes on by
    one for each training.
    """
    predicted = np.full((1 + max(part.repeat for part in parts), len(dealt.labels)), -1)
    for part, judged in train_each(dealt, features, trainings, parts, seed):
        predicted[part.repeat, part.judged] = judged
        bar.update()
    return predicted
