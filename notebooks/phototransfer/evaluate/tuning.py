"""Search for better settings of the head by cross-validation on the training and validation photos."""

import hashlib
import inspect
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from phototransfer import files
from phototransfer.console import plural, progress
from phototransfer.evaluate.cross_validation import CrossValidator
from phototransfer.evaluate.folds import Folds, make_folds, min_photos_per_class
from phototransfer.report import Result, Skipped
from phototransfer.stats import mcnemar
from phototransfer.style import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    import optuna  # imported where it is used: it takes two seconds, which a run without a search need not wait

_SPACE = "3"  # part of the study's name: change it with `_suggest`, and old trials are not mixed with new ones
_MIN_TRIALS_FOR_IMPORTANCE = 4
_BOOTSTRAPS = 2000
_DEFAULT_FOLDS = 5  # where CV_FOLDS is 0
_SEARCHED = ("HEAD", "DROPOUT", "LEARNING_RATE", "WEIGHT_DECAY")
_AXES = {
    "layers": "Dense layers",
    "units": "units of the first",
    "dropout": "dropout",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "augmentations": "augmentations",
}


@dataclass(frozen=True)
class HeadSearch(Result):
    """The heads that were tried, and what the best of them gains over the configured one.

    Attributes
    ----------
    trials : DataFrame
        One row per head, in the order of the trials: layers, units (of the first layer), dropout, learning_rate,
        weight_decay, augmentations (if there are some to search), score (accuracy out of fold; of the folds that were
        run where pruned), pruned, seconds.
    correct : bool array of shape (heads that were not pruned, n)
        Which photos each head predicts correctly out of fold; near-duplicates count once.
    configured : bool array of shape (n,)
        The same for the configured head.
    importance : dict
        Hyperparameter → its share of the variance of the scores; empty for too few heads.
    left_out : dict
        Classes with too few photos → how many they have.
    """

    name = "tuning"
    trials: pd.DataFrame
    correct: np.ndarray
    configured: np.ndarray
    importance: dict[str, float]
    left_out: dict[str, int]
    n_folds: int
    seed: int

    def best(self) -> pd.Series:
        """Return the row of the head with the highest score, of equals the first."""
        complete = self.trials[~self.trials["pruned"]]
        return complete.loc[complete["score"].idxmax()]

    def best_settings(self) -> dict[str, Any]:
        """Return the settings of the best head."""
        return _as_settings(self.best())

    def p_value(self) -> float:
        """Return the p-value of McNemar's exact test of the best head against the configured one."""
        return mcnemar(self.correct[int(self.correct.sum(axis=1).argmax())], self.configured)

    def gain(self) -> tuple[float, float, float]:
        """Return the gain of the best head over the configured one on other photos: mean, lower and upper bound.

        Notes
        -----
        The best of many heads looks better than it is on the photos that it was chosen by. So photos are drawn with
        replacement, the head that is best on them is taken, and it is compared with the configured one on the photos
        not drawn (bootstrap bias corrected cross-validation: I. Tsamardinos et al., Machine Learning 107, 2018).
        """
        rng = np.random.default_rng(self.seed)
        total = len(self.configured)
        gains = []
        for _ in range(_BOOTSTRAPS):
            times = np.bincount(rng.integers(0, total, total), minlength=total)
            not_drawn = times == 0
            if not_drawn.any():
                chosen = self.correct[(self.correct @ times).argmax()]
                gains.append(chosen[not_drawn].mean() - self.configured[not_drawn].mean())
        low, high = np.quantile(gains, [0.025, 0.975])
        return float(np.mean(gains)), float(low), float(high)

    def summary(self) -> str:
        mean, low, high = self.gain()
        lines = [
            f"Best of {plural(len(self.trials), 'head')}: accuracy {self.best()['score']:.3f}, the configured head "
            f"{self.configured.mean():.3f}, on the same {len(self.configured)} training and validation photos and "
            f"{self.n_folds} folds (McNemar's exact test, p = {self.p_value():.2g}).",
            f"The best of many heads is partly luck. On photos that it was not chosen by, the gain is {mean:+.3f} "
            f"(95 % interval {low:+.3f} to {high:+.3f}).",
        ]
        settings = ", ".join(f"{name} = {value!r}" for name, value in self.best_settings().items())
        if low > 0:
            lines.append(f"Settings of the best head: {settings}.")
        elif self.best()["score"] > self.configured.mean():
            lines.append(f"This is not significantly different from no gain. Settings of the best head: {settings}.")
        else:
            lines.append("No head is better than the configured one.")
        if self.left_out:
            lines.append(
                f"{plural(len(self.left_out), 'class')} with too few photos for {self.n_folds} folds left out."
            )
        return "\n".join(lines)

    def advice(self) -> list[str]:
        if self.gain()[1] <= 0:
            return []
        settings = ", ".join(f"{name} = {value!r}" for name, value in self.best_settings().items())
        return [f"The search found a better head: set {settings}."]

    def plot(self) -> Figure:
        """Return the score of each head by each hyperparameter, those that explain most of it first."""
        names = sorted(_AXES.keys() & set(self.trials), key=lambda name: (-self.importance.get(name, 0), name))
        figure, axes = plt.subplots(1, len(names), figsize=(11, 2.9), sharey=True)
        for axis, name in zip(axes, names, strict=True):
            self._draw(axis, name)
        axes[0].set(ylabel="accuracy, out of fold")
        figure.legend(*axes[0].get_legend_handles_labels(), ncols=4, frameon=False, loc="outside upper center")
        return figure

    def _draw(self, axis: Axes, name: str) -> None:
        pruned, best = self.trials["pruned"], self.best()
        axis.plot(self.trials[pruned][name], self.trials[pruned]["score"], "x", color=GREY, ms=5, label="pruned")
        axis.plot(self.trials[~pruned][name], self.trials[~pruned]["score"], "o", color=BLUE, ms=5, label="complete")
        axis.plot(best[name], best["score"], "o", color=ORANGE, ms=12, fillstyle="none", mew=2, label="best")
        axis.axhline(self.configured.mean(), color=GREY, linestyle="--", linewidth=1, label="configured head")
        if name in ("learning_rate", "weight_decay"):
            axis.set_xscale("log")
        elif name == "units":
            axis.set_xscale("log", base=2)
            axis.set_xticks([64, 256, 1024], ["64", "256", "1024"])
        elif name in ("layers", "augmentations"):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        share = f"\nexplains {self.importance[name]:.0%}" if name in self.importance else ""
        axis.set(xlabel=f"{_AXES[name]}{share}")
        axis.margins(0.12)

    def to_dict(self) -> dict[str, Any]:
        mean, low, high = self.gain()
        return {
            "trials": len(self.trials),
            "pruned": int(self.trials["pruned"].sum()),
            "folds": self.n_folds,
            "photos": len(self.configured),
            "configured": float(self.configured.mean()),
            "best": float(self.best()["score"]),
            "p_value": self.p_value(),
            "gain": mean,
            "gain_ci95": [low, high],
            "settings": self.best_settings(),
            "importance": self.importance,
            "trial_seconds": round(float(self.trials["seconds"].sum()), 1),
        }


def search_heads(validator: CrossValidator, folder: Path | None = None) -> HeadSearch | Skipped:
    """Try TUNE_TRIALS heads, each scored by cross-validation on the training and validation photos.

    The configured head is scored on the same folds. What was tried is kept in `folder` (`models/tuning/`) under a name
    that changes with everything that decides a score. An interrupted search goes on where it stopped and ends with the
    same heads as one that was not interrupted; so does a search for more heads. A head that is worse on its first
    folds than most others is not tried to the end.
    """
    settings = validator.settings
    if not settings["TUNE_TRIALS"]:
        return Skipped("tuning", "The search is off (TUNE_TRIALS = 0).")
    n_folds = settings["CV_FOLDS"] or _DEFAULT_FOLDS
    folds = make_folds(validator.photos, n_folds, settings["SEED"], without_test=True)
    if folds is None:
        needed = min_photos_per_class(n_folds)
        return Skipped("tuning", f"No search: fewer than two classes have the {needed} different photos it needs.")
    scorer = _Scorer(validator, folds)
    folder = files.MODELS / "tuning" if folder is None else folder
    with files.locked(folder, "searching heads"), _opened_study(folder / f"{scorer.study_name()}.log") as study:
        return _search(study, scorer, settings)


def _search(study: "optuna.Study", scorer: "_Scorer", settings: Mapping[str, Any]) -> HeadSearch:
    import optuna

    n_trials, seed = settings["TUNE_TRIALS"], settings["SEED"]
    configured = _score_configured(study, scorer)

    def reseed(study: "optuna.Study", _: Any = None) -> None:
        # By the number of trials, so that a search that was interrupted draws the same heads as one that was not.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(_finished(study)), multivariate=True)

    remaining = n_trials - len(_finished(study))
    with progress("Search", max(0, remaining) * scorer.folds.n_folds, unit="fold") as bar:
        reseed(study)
        if remaining > 0:
            study.optimize(_objective(scorer, bar), n_trials=remaining, callbacks=[reseed])
    trials = _finished(study)[:n_trials]
    complete = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return HeadSearch(
        trials=pd.DataFrame([_row(trial) for trial in trials]),
        correct=np.array([_from_text(trial.user_attrs["correct"]) for trial in complete]),
        configured=configured,
        importance=_importance(study, complete, seed),
        left_out=scorer.folds.left_out,
        n_folds=scorer.folds.n_folds,
        seed=seed,
    )


class _Scorer:
    """Trains a head on each fold; every head gets the same folds and the same random numbers."""

    def __init__(self, validator: CrossValidator, folds: Folds) -> None:
        self.validator, self.folds = validator, folds
        self.settings = dict(validator.settings)
        self.views = len(validator.features.augmented)
        self.photos = int(folds.representative.sum())

    def correct_by_fold(self, settings: Mapping[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield for each fold the places of its photos that count, and which of them are correct, bool."""
        place = np.cumsum(self.folds.representative) - 1
        for fold, predicted in self.validator.predict_folds(self.folds, settings=settings):
            counts = self.folds.representative[fold.test]
            yield place[fold.test[counts]], (predicted == self.folds.labels[fold.test])[counts]

    def study_name(self) -> str:
        """Return data set, network, and a hash of everything else that decides a score."""
        digest = hashlib.blake2b(digest_size=8)
        code = [_source(self.validator.build_head), _source(self.validator.fit_head)]
        training = [self.settings[name] for name in ("SEED", "EPOCHS", "BATCH_SIZE", "BATCH_NORM")]
        digest.update(repr([_SPACE, training, code]).encode())
        features, folds = self.validator.features, self.folds
        arrays = [features.plain[folds.rows], *features.augmented[:, folds.rows], folds.labels, folds.representative]
        for fold in folds.folds:
            arrays += [fold.train, fold.val, fold.test]
        for array in arrays:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(array.tobytes())
        dataset = files.safe_name(Path(self.settings["DATASET"]).name)
        return f"{dataset}-{self.settings['BACKBONE']}-{digest.hexdigest()}"


def _source(function: Callable[..., Any]) -> str:
    """Return the code of a function, so that another study begins when its cell is edited."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt
        return function.__qualname__


@contextmanager
def _opened_study(path: Path) -> Iterator["optuna.Study"]:
    """Open the study in a journal file, or start one; trials that a killed run left unfinished count as failed."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(logging.WARNING)
    Path(f"{path}.lock").unlink(missing_ok=True)  # of a killed run: no other run is here
    with path.open("a+b") as journal:
        files.remove_incomplete_line(journal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
        study = optuna.create_study(
            storage=storage,
            study_name=path.stem,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        )
        for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        yield study


def _finished(study: "optuna.Study") -> list[Any]:
    """Return the complete and pruned trials in order."""
    import optuna

    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED))


def _objective(scorer: _Scorer, bar: Any) -> Callable[["optuna.Trial"], float]:
    def objective(trial: "optuna.Trial") -> float:
        import optuna

        began, n_folds = time.perf_counter(), scorer.folds.n_folds
        correct, total = np.zeros(scorer.photos, dtype=bool), 0
        settings = scorer.settings | _suggest(trial, scorer.views)
        for step, (places, fold_correct) in enumerate(scorer.correct_by_fold(settings), 1):
            correct[places] = fold_correct
            total += len(places)
            bar.update(1)
            trial.report(correct.sum() / total, step)
            trial.set_user_attr("seconds", time.perf_counter() - began)
            if step < n_folds and trial.should_prune():
                bar.update(n_folds - step)
                raise optuna.TrialPruned
        trial.set_user_attr("correct", _as_text(correct))
        return float(correct.mean())

    return objective


def _suggest(trial: "optuna.Trial", views: int) -> dict[str, Any]:
    """Return the settings of one head of the search space, in numbers that can be typed."""
    numbers = {
        "layers": trial.suggest_int("layers", 0, 3),
        "units": 2 ** trial.suggest_int("log2_units", 6, 10),
        "dropout": trial.suggest_float("dropout", 0.0, 0.7, step=0.1),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 3.0, log=True),
    }
    if views:
        numbers["augmentations"] = trial.suggest_int("augmentations", 0, views)
    return _as_settings(numbers)


def _as_settings(row: "Mapping[str, Any] | pd.Series") -> dict[str, Any]:
    """Return the settings of a row of trials: each layer has half the units of the one before."""
    settings = {
        "HEAD": [int(row["units"]) >> number for number in range(int(row["layers"]))],
        "DROPOUT": round(float(row["dropout"]), 1),
        "LEARNING_RATE": float(f"{row['learning_rate']:.2g}"),
        "WEIGHT_DECAY": float(f"{row['weight_decay']:.2g}"),
    }
    if "augmentations" in row:
        settings["AUGMENTATIONS"] = int(row["augmentations"])
    return settings


def _score_configured(study: "optuna.Study", scorer: _Scorer) -> np.ndarray:
    """Return which photos the configured head predicts correctly, bool (n,); kept in the study."""
    head = repr([scorer.settings[name] for name in _SEARCHED])
    key = f"configured {hashlib.blake2b(head.encode(), digest_size=8).hexdigest()}"
    if key not in study.user_attrs:
        correct = np.zeros(scorer.photos, dtype=bool)
        settings = scorer.settings | {"AUGMENTATIONS": scorer.views}
        folds = scorer.correct_by_fold(settings)
        for places, fold_correct in progress("Configured head", scorer.folds.n_folds, folds, unit="fold"):
            correct[places] = fold_correct
        study.set_user_attr(key, _as_text(correct))
    return _from_text(study.user_attrs[key])


def _row(trial: Any) -> dict[str, Any]:
    pruned = "correct" not in trial.user_attrs
    last = trial.intermediate_values[max(trial.intermediate_values)]
    parameters = {name: value for name, value in trial.params.items() if name != "log2_units"}
    return {
        **parameters,
        "units": 2 ** trial.params["log2_units"],
        "score": last if pruned else trial.value,
        "pruned": pruned,
        "seconds": trial.user_attrs["seconds"],
    }


def _importance(study: "optuna.Study", complete: list[Any], seed: int) -> dict[str, float]:
    """Return each hyperparameter's share of the variance of the scores (fANOVA: F. Hutter et al., ICML 2014)."""
    import optuna

    if len(complete) < _MIN_TRIALS_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name.replace("log2_", ""): float(share) for name, share in shares.items()}


def _as_text(correct: np.ndarray) -> str:
    """Return bool (n,) as a study can keep it: one 0 or 1 per photo."""
    return "".join("01"[int(one)] for one in correct)


def _from_text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8) == ord("1")
