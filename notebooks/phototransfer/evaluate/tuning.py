"""Search for better settings of the head by cross-validation on the training and validation photos."""

import hashlib
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from phototransfer.evaluate.folds import Folds, make_folds, too_few_photos
from phototransfer.report import Result, Skipped
from phototransfer.stats import class_weights, mean_recall, paired_test
from phototransfer.style import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    import optuna  # imported where it is used: it takes two seconds, which a run without a search need not wait

#: Part of the study's name: change it with `_suggest` or what trials keep, and old trials are not mixed with new ones.
_SPACE = "4"
_MIN_TRIALS_FOR_IMPORTANCE = 4
_BOOTSTRAPS = 2000
_ALPHA = 0.05
_DEFAULT_FOLDS = 5  # where CV_FOLDS is 0
_SEARCHED = ("HEAD", "DROPOUT", "LEARNING_RATE", "WEIGHT_DECAY", "AUGMENTATIONS")
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

    `trials` has one row per head, in the order of the trials: layers, units (of the first layer), dropout,
    learning_rate, weight_decay, augmentations (if there are some to search), score (out of fold; of the folds that were
    run where pruned), pruned, seconds.
    """

    name = "tuning"
    trials: pd.DataFrame
    correct: np.ndarray  #: which photos each head that was not pruned predicts correctly out of fold, bool (heads, n)
    configured: np.ndarray  #: the same for the configured head, bool (n,); near-duplicates count once
    importance: dict[str, float]  #: share of the variance of the scores; empty for too few heads
    left_out: dict[str, int]
    n_folds: int
    seed: int
    strata: np.ndarray  #: those of Folds, int (n,)
    measure: str  #: what the scores are: "accuracy" or "balanced accuracy"
    notes: Sequence[str] = ()  #: what differs from the folds and classes that were asked for

    def best(self) -> pd.Series:
        """Return the row of the head with the highest score; ties: the first."""
        return self.trials.loc[self.trials["score"].mask(self.trials["pruned"]).idxmax()]

    def best_settings(self) -> dict[str, Any]:
        """Return the settings of the best head."""
        return _as_settings(self.best())

    @property
    def configured_score(self) -> float:
        """The score of the configured head."""
        return mean_recall(self.configured, self.strata)

    def p_value(self) -> float:
        """Return the p-value of `paired_test` of the best head against the configured one."""
        best = np.argmax([mean_recall(one, self.strata) for one in self.correct])  # ties: the first
        return paired_test(self.correct[best], self.configured, self.strata)

    def gain(self) -> tuple[float, float, float]:
        """Return the gain of the best head over the configured one on other photos: mean, lower and upper bound.

        Notes
        -----
        The best of many heads looks better than it is on the photos that it was chosen by. So photos are drawn with
        replacement, the head that is best on them is taken, and it is compared with the configured one on the photos
        not drawn (bootstrap bias corrected cross-validation: I. Tsamardinos et al., Machine Learning 107, 2018). If the
        measure is balanced accuracy, each class is drawn from by itself.
        """
        return self._gain

    @cached_property
    def _gain(self) -> tuple[float, float, float]:  # 2,000 draws, asked for several times
        rng = np.random.default_rng(self.seed)
        sizes, weights = np.bincount(self.strata), class_weights(self.strata)
        members = [np.flatnonzero(self.strata == number) for number in np.flatnonzero(sizes)]
        gains = []
        for _ in range(_BOOTSTRAPS):
            drawn = np.concatenate([of_class[rng.integers(0, len(of_class), len(of_class))] for of_class in members])
            times = np.bincount(drawn, minlength=len(self.strata))
            not_drawn = np.flatnonzero(times == 0)
            if len(not_drawn):
                chosen = self.correct[(self.correct @ (times * weights)).round(12).argmax()]
                differences = chosen[not_drawn].astype(float) - self.configured[not_drawn]
                gains.append(float(class_weights(self.strata[not_drawn]) @ differences))
        low, high = np.quantile(gains, [0.025, 0.975])
        return float(np.mean(gains)), float(low), float(high)

    @property
    def is_better(self) -> bool:
        """Whether the best head is better: the interval of `gain` lies above 0, and the paired test agrees."""
        return self.gain()[1] > 0 and self.p_value() < _ALPHA

    def summary(self) -> str:
        mean, low, high = self.gain()
        best = self.best()["score"]
        lines = [
            f"Best of {plural(len(self.trials), 'head')}: {self.measure} {best:.3f}, the configured head "
            f"{self.configured_score:.3f}, on the same {len(self.configured)} training and validation photos in "
            f"{self.n_folds} folds (paired test, p = {self.p_value():.2g}).",
            f"The best of many heads is partly luck. On photos that it was not chosen by, the gain is {mean:+.3f} "
            f"(95 % interval {low:+.3f} to {high:+.3f}).",
        ]
        if self.is_better:
            lines.append(
                f"This is a gain: the interval lies above 0 and p < {_ALPHA}. Settings of the best head: "
                f"{self._typed_settings()}."
            )
        elif best <= self.configured_score:
            lines.append("No head is better than the configured one.")
        else:
            lines.append(
                "This is not significantly different from no gain: that takes an interval above 0 and p < "
                f"{_ALPHA}. The configured head can stay. Settings of the best head: {self._typed_settings()}."
            )
        return "\n".join([*lines, *self.notes])

    def advice(self) -> list[str]:
        if not self.is_better:
            return []
        mean, low, high = self.gain()
        return [
            f"The search found a better head, by {mean:+.3f} of {self.measure} (95 % interval {low:+.3f} to "
            f"{high:+.3f}): set {self._typed_settings()}."
        ]

    def _typed_settings(self) -> str:
        return ", ".join(f"{name} = {value!r}" for name, value in self.best_settings().items())

    def alt(self) -> str:
        return (
            f"{self.measure.capitalize()} of {plural(len(self.trials), 'head')} by each of their settings, from "
            f"{self.trials['score'].min():.3f} to {self.trials['score'].max():.3f}. The best has "
            f"{self._typed_settings()}; the configured head scores {self.configured_score:.3f}."
        )

    def plot(self) -> Figure:
        """Return the score of each head by each hyperparameter, those that explain most of it first."""
        names = sorted(_AXES.keys() & set(self.trials), key=lambda name: (-self.importance.get(name, 0), name))
        figure, axes = plt.subplots(1, len(names), figsize=(11, 2.9), sharey=True)
        for axis, name in zip(axes, names, strict=True):
            self._draw(axis, name)
        axes[0].set(ylabel=f"{self.measure}, out of fold")
        figure.legend(*axes[0].get_legend_handles_labels(), ncols=4, frameon=False, loc="outside upper center")
        return figure

    def _draw(self, axis: Axes, name: str) -> None:
        is_pruned, best = self.trials["pruned"], self.best()
        pruned, complete = self.trials[is_pruned], self.trials[~is_pruned]
        axis.plot(pruned[name], pruned["score"], "x", color=GREY, ms=5, label="pruned")
        axis.plot(complete[name], complete["score"], "o", color=BLUE, ms=5, label="complete")
        axis.plot(best[name], best["score"], "o", color=ORANGE, ms=12, fillstyle="none", mew=2, label="best")
        axis.axhline(self.configured_score, color=GREY, linestyle="--", linewidth=1, label="configured head")
        if name in ("learning_rate", "weight_decay"):
            axis.set_xscale("log")
        elif name == "units":
            axis.set_xscale("log", base=2)
            axis.set_xticks([64, 256, 1024], ["64", "256", "1024"])
        elif name in ("layers", "augmentations"):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        share = f"\nexplains {self.importance[name]:.0%}" if name in self.importance else ""
        axis.set_xlabel(f"{_AXES[name]}{share}")
        axis.margins(0.12)

    def to_dict(self) -> dict[str, Any]:
        mean, low, high = self.gain()
        return {
            "trials": len(self.trials),
            "pruned": int(self.trials["pruned"].sum()),
            "folds": self.n_folds,
            "photos": len(self.configured),
            "measure": self.measure,
            "configured": self.configured_score,
            "best": float(self.best()["score"]),
            "p_value": self.p_value(),
            "gain": mean,
            "gain_ci95": [low, high],
            "better": self.is_better,
            "settings": self.best_settings(),
            "importance": self.importance,
            "trial_seconds": round(float(self.trials["seconds"].sum()), 1),
        }


def search_heads(validator: CrossValidator, folder: Path | None = None) -> HeadSearch | Skipped:
    """Try TUNE_TRIALS heads, each scored by cross-validation on the training and validation photos.

    The configured head is scored on the same folds. What was tried is kept in `folder` (`models/tuning/`) under a name
    that changes with everything that decides a score. A search that was interrupted, or that is to try more heads, goes
    on where it stopped and ends with the same heads as one that was not interrupted. A head that is worse on its first
    folds than most others is not tried to the end.
    """
    settings = validator.settings
    if not settings["TUNE_TRIALS"]:
        return Skipped("tuning", "The search is off (TUNE_TRIALS = 0).")
    n_folds = settings["CV_FOLDS"] or _DEFAULT_FOLDS
    folds = make_folds(validator.photos, n_folds, settings["SEED"], without_test=True)
    if folds is None:
        return Skipped("tuning", too_few_photos(n_folds))
    folder = folder or files.MODELS / "tuning"
    with files.locked(folder, "searching heads"):
        study = _open_study(folder / f"{_study_name(validator, folds)}.log")
        return _search(study, validator, folds)


def _search(study: "optuna.Study", validator: CrossValidator, folds: Folds) -> HeadSearch:
    import optuna
    from optuna.trial import TrialState

    n_trials, seed = validator.settings["TUNE_TRIALS"], validator.settings["SEED"]
    configured = _score_configured(study, validator, folds)

    def finished() -> list[Any]:
        return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))

    def reseed(*_: Any) -> None:
        # By the number of trials, so that a search that was interrupted draws the same heads as one that was not.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(finished()), multivariate=True)

    def score(trial: "optuna.Trial") -> float:
        head = dict(validator.settings) | _suggest(trial, len(validator.features.augmented))
        probabilities = np.zeros((len(folds.labels), len(folds.classes)))
        for step, (fold, of_test) in enumerate(validator.predict_folds(folds, settings=head), 1):
            probabilities[fold.test] = of_test
            bar.update()
            tested = probabilities[folds.representative].any(axis=1)
            correct = folds.correct(probabilities)[tested]
            trial.report(mean_recall(correct, folds.strata[tested]), step)
            if step < folds.n_folds and trial.should_prune():
                bar.update(folds.n_folds - step)
                raise optuna.TrialPruned
        trial.set_user_attr("correct", folds.correct(probabilities).tolist())
        return folds.score(folds.correct(probabilities))

    remaining = max(0, n_trials - len(finished()))
    with progress("Search", remaining * folds.n_folds, unit="fold") as bar:
        reseed()
        study.optimize(score, n_trials=remaining, callbacks=[reseed])
    trials = finished()[:n_trials]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    importance = {}
    if len(complete) >= _MIN_TRIALS_FOR_IMPORTANCE and len({trial.value for trial in complete}) > 1:
        # Shares of the variance of the scores: fANOVA, F. Hutter et al., ICML 2014.
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        importance = {name.replace("log2_", ""): float(share) for name, share in shares.items()}
    table = pd.DataFrame([trial.params for trial in trials]).rename(columns={"log2_units": "units"})
    table["units"] = 2 ** table["units"]
    table["score"] = [trial.value for trial in trials]  # Optuna gives a pruned trial the value it reported last
    table["pruned"] = [trial.state == TrialState.PRUNED for trial in trials]
    table["seconds"] = [trial.duration.total_seconds() for trial in trials]
    correct = np.array([trial.user_attrs["correct"] for trial in complete])
    return HeadSearch(
        table,
        correct,
        configured,
        importance=importance,
        left_out=folds.left_out,
        n_folds=folds.n_folds,
        seed=seed,
        strata=folds.strata,
        measure=folds.measure,
        notes=folds.notes(),
    )


def _score_configured(study: "optuna.Study", validator: CrossValidator, folds: Folds) -> np.ndarray:
    """Return which photos the configured head predicts correctly, bool (n,); kept in the study."""
    key = f"configured {[validator.settings[name] for name in _SEARCHED]}"
    if key not in study.user_attrs:
        with progress("Configured head", folds.n_folds, unit="fold") as bar:
            correct = folds.correct(validator.out_of_fold(folds, bar=bar))
        study.set_user_attr(key, correct.tolist())
    return np.array(study.user_attrs[key])


def _study_name(validator: CrossValidator, folds: Folds) -> str:
    """Return data set, network, and a hash of everything else that decides a score."""
    settings, features = validator.settings, validator.features
    training = [settings[name] for name in ("SEED", "EPOCHS", "BATCH_SIZE", "BATCH_NORM")]
    code = [_source(validator.build_head), _source(validator.fit_head)]
    digest = hashlib.blake2b(repr([_SPACE, folds.measure, training, code]).encode(), digest_size=8)
    arrays = [np.asarray(features.plain[folds.rows]), features.augmented[:, folds.rows]]
    arrays += [folds.labels, folds.representative]
    for fold in folds.folds:
        arrays += [fold.train, fold.val, fold.test]
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(array.tobytes())
    return f"{files.safe_name(Path(settings['DATASET']).name)}-{settings['BACKBONE']}-{digest.hexdigest()}"


def _source(function: Callable[..., Any]) -> str:
    """Return the code of a function, so that another study begins when its cell is edited."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt
        return function.__qualname__


def _open_study(path: Path) -> "optuna.Study":
    """Open the study in a journal file, or start one; trials that a killed run left unfinished count as failed."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(logging.WARNING)
    Path(f"{path}.lock").unlink(missing_ok=True)  # of a killed run: no other run is here
    with path.open("a+b") as journal:
        files.remove_incomplete_line(journal)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    study = optuna.create_study(
        storage=storage,
        study_name=path.stem,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
    )
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


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
