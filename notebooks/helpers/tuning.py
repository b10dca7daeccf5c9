"""Which head, learning rate, weight decay and number of views would do better than the configured ones?"""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers import MODELS
from helpers.firmness.folds import Folds, deal, least
from helpers.firmness.trainings import FitHead, Trainings, train_each
from helpers.progress import progress
from helpers.search import Search, as_settings
from helpers.study import as_bits, as_text, code, finished, open_study, study_name

if TYPE_CHECKING:
    import keras
    import optuna  # imported where it is used: it takes two seconds that a run without tuning need not wait

FOLDS = 5
SPACE = "2"  # goes into the study's name: change it with `suggest`, and old trials are not mixed with new ones
FEWEST = 4  # trials before importances are worth reading
CONFIGURED = ("HEAD", "DROPOUT", "LEARNING_RATE", "WEIGHT_DECAY")


def tune(
    photos: pd.DataFrame,
    pairs: pd.DataFrame,
    features: np.ndarray,
    build_head: Callable[..., "keras.Model"],
    fit_head: FitHead,
    trials: int,
    settings: dict[str, Any],
    seed: int,
    folder: Path = MODELS,
    folds: int = FOLDS,
) -> Search:
    """Try `trials` heads on cached features, scored by stratified cross-validation grouped by near-duplicates.

    Hand in training and validation photos only: their rows of the table (columns label, split, group, digest), and row
    for row their features, float32 (n, d), or (1 + views, n, d) with the plain photos first: then the number of views
    to learn from is searched too, up to those that are there. pairs: from `trust.leaks.find_leaks`, columns a and b, as
    the index of `photos` has them; those with photos that are not here are ignored. build_head takes (d, classes,
    hidden=, dropout=, learning_rate=, weight_decay=) and returns a compiled head; fit_head takes (head, x, y, watched).
    settings: HEAD, DROPOUT, LEARNING_RATE and WEIGHT_DECAY are the configured head's, scored on the same folds with all
    views; DATASET and BACKBONE name the study; EPOCHS, BATCH_SIZE and BATCH_NORM, which decide a score too, are part of
    its name.

    What was tried is kept in <folder>/tuning.db under a name that changes with photos, features, folds, seed and the
    code of both functions: interrupted, or asked for more heads, the next run goes on, and ends with the same heads as
    one that was not interrupted. A head whose first folds are worse than most others' is not tried to the end. Raises
    ValueError if fewer than two classes have enough different photos, RuntimeError if another run is at it.
    """
    import optuna

    features = features.reshape(-1, *features.shape[-2:])
    dealt = deal(photos.reset_index(drop=True), _of_these(pairs, photos.index), folds, seed)
    if dealt is None:
        raise ValueError(f"TUNE_TRIALS: fewer than two classes have the {least(folds)} different photos it takes.")
    score = Scorer(dealt, features, build_head, fit_head, seed)
    told = [settings.get(name) for name in ("EPOCHS", "BATCH_SIZE", "BATCH_NORM")]
    watched = [part.watched for part in dealt.first()]
    arrays = [features[:, dealt.rows], dealt.labels, dealt.folds, dealt.counts, *watched]
    name = study_name(settings, arrays, [SPACE, seed, told, code(build_head), code(fit_head)])
    with open_study(folder, name) as study:
        configured = _configured(study, settings, score)
        todo = trials - len(finished(study))
        with progress("Tuning", todo * folds, unit="fold") as bar:
            for _ in range(todo):
                study.sampler = optuna.samplers.TPESampler(seed=seed + len(finished(study)), multivariate=True)
                _try(study, score, bar)
        tried = finished(study)[:trials]
        whole = [trial for trial in tried if trial.state == optuna.trial.TrialState.COMPLETE]
        return Search(
            pd.DataFrame([_row(trial) for trial in tried]),
            np.array([as_bits(trial.user_attrs["right"]) for trial in whole]),
            configured,
            _importance(study, whole, seed),
            dealt.left_out,
            folds,
            seed,
        )


def _of_these(pairs: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """The pairs whose both photos are in `index`, by their places in it."""
    places = pd.DataFrame({side: index.get_indexer(pairs[side]) for side in ("a", "b")})
    return places[(places >= 0).all(axis=1)]


class Scorer:
    """Trains a head on each fold; every head sees the same folds and the same random numbers."""

    def __init__(
        self, dealt: Folds, features: np.ndarray, build_head: Callable[..., "keras.Model"], fit_head: FitHead, seed: int
    ) -> None:
        self.dealt, self.features, self.seed = dealt, features, seed
        self.build_head, self.fit_head = build_head, fit_head
        self.photos, self.views = int(dealt.counts.sum()), len(features) - 1

    def folds(self, settings: dict[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each fold: places of the different photos judged, and whether each was told right, bool."""
        seen = self.features[: 1 + settings.get("AUGMENT_VIEWS", self.views)]
        options = {name.lower(): settings[name] for name in CONFIGURED[1:]} | {"hidden": settings["HEAD"]}

        def build_head(features: int, classes: int) -> "keras.Model":
            return self.build_head(features, classes, **options)

        dealt = self.dealt
        trainings = Trainings(build_head, self.fit_head, seen.shape[-1], len(dealt.classes))
        place = np.cumsum(dealt.counts) - 1
        for part, predicted in train_each(dealt, seen, trainings, dealt.first(), self.seed):
            counts = dealt.counts[part.judged]
            yield place[part.judged[counts]], (predicted == dealt.labels[part.judged])[counts]


def suggest(trial: "optuna.Trial", views: int) -> dict[str, Any]:
    """One head of the search space, in numbers that can be typed; at most so many views."""
    layers = trial.suggest_int("layers", 0, 3)
    units = 2 ** trial.suggest_int("log2_units", 6, 10)
    numbers = {
        "dropout": trial.suggest_float("dropout", 0.0, 0.7, step=0.1),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 3.0, log=True),
    }
    if views:
        numbers["views"] = trial.suggest_int("views", 0, views)
    return as_settings({"layers": layers, "units": units, **numbers})


def _configured(study: "optuna.Study", settings: dict[str, Any], score: Scorer) -> np.ndarray:
    """The configured head on the same folds, bool (n,); kept in the study."""
    mine = {name: settings[name] for name in CONFIGURED}
    key = "configured " + hashlib.blake2b(repr(mine).encode(), digest_size=8).hexdigest()
    if key not in study.user_attrs:
        right = np.zeros(score.photos, dtype=bool)
        for rows, found in progress("Configured head", score.dealt.count, score.folds(mine), unit="fold"):
            right[rows] = found
        study.set_user_attr(key, as_text(right))
    return as_bits(study.user_attrs[key])


def _try(study: "optuna.Study", score: Scorer, bar: Any) -> None:
    """Ask for one head, score it fold by fold, give up early where it is worse than most; tell the study."""
    import optuna

    trial = study.ask()
    settings = suggest(trial, score.views)
    began, right, seen = time.perf_counter(), np.zeros(score.photos, dtype=bool), 0
    pruned, step = False, 0
    try:
        for step, (rows, found) in enumerate(score.folds(settings), 1):
            right[rows] = found
            seen += len(rows)
            bar.update(1)
            trial.report(right.sum() / seen, step)
            pruned = step < score.dealt.count and trial.should_prune()
            if pruned:
                break
    except BaseException:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    bar.update(score.dealt.count - step)
    trial.set_user_attr("seconds", time.perf_counter() - began)
    if pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        trial.set_user_attr("right", as_text(right))
        study.tell(trial, right.mean())


def _row(trial: Any) -> dict[str, Any]:
    numbers = {name: value for name, value in trial.params.items() if name != "log2_units"}
    last = trial.intermediate_values[max(trial.intermediate_values)]
    return {
        **numbers,
        "units": 2 ** trial.params["log2_units"],
        "score": trial.value if trial.value is not None and "right" in trial.user_attrs else last,
        "pruned": "right" not in trial.user_attrs,
        "seconds": trial.user_attrs["seconds"],
    }


def _importance(study: "optuna.Study", whole: list, seed: int) -> dict[str, float]:
    """fANOVA's share of the score's variance by hyper-parameter (F. Hutter et al., ICML 2014), the largest first."""
    import optuna

    if len(whole) < FEWEST or len({trial.value for trial in whole}) < 2:
        return {}
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed)
    )
    return {name.replace("log2_", ""): float(share) for name, share in found.items()}
