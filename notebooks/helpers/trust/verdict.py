"""What do the three questions add up to, in three lines?"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.trust.shift import Shift
from helpers.trust.shortcuts import Price, Shortcuts
from helpers.trust.shortcuts import metrics as shortcut_metrics
from helpers.trust.words import shift_verdict, shortcut_verdict


def quick_right(features: np.ndarray, photos: pd.DataFrame, learnt_from: pd.Series) -> np.ndarray:
    """Which photos a ridge classifier tells right, bool (n,): a stand-in for the head where none is trained yet.

    features: float32 (n, d), row for row with photos (column label); learnt_from: bool (n,), what it is fitted on.
    """
    rows = learnt_from.to_numpy()
    model = make_pipeline(StandardScaler(), RidgeClassifier(2.0 * rows.sum(), class_weight="balanced"))
    model.fit(features[rows], photos.loc[learnt_from, "label"])
    return model.predict(features) == photos["label"].to_numpy()


def pairs_in_words(photos: pd.DataFrame, pairs: pd.DataFrame, dropped: pd.Series) -> str:
    """How many photos are there twice, where, and whether under one label; pairs: from `leaks.find_leaks`."""
    across, copy = _across(pairs), pairs["kind"] == "copy"
    said = [
        f"{_count((across & copy).sum(), 'pair')} of copies across splits, {(~across & copy).sum()} within a split.",
        f"{_count((across & ~copy).sum(), 'pair')} of one scene taken twice across splits: no copies, but easier than "
        "a new scene.",
    ]
    if (copy & ~pairs["same_label"]).any():
        wrong = pairs[copy & ~pairs["same_label"]].head(3)
        original = photos["original"].to_numpy()
        names = "; ".join(f"{original[a]} and {original[b]}" for a, b in zip(wrong["a"], wrong["b"], strict=True))
        said.append(f"The same picture under two labels, so that one of them is wrong: {names}.")
    if dropped.any():
        said.append(f'LEAKS = "drop": {_count(dropped.sum(), "photo")} left out of training and validation.')
    return "\n".join(said)


def _across(pairs: pd.DataFrame) -> pd.Series:
    return pairs["splits"].astype(str).str.contains("–")  # as text: a table without rows has no type


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def verdicts(leak: dict[str, Any], dropped: int, shortcuts: Shortcuts, price: Price, shift: Shift) -> dict[str, str]:
    """One line a question: "nothing found", "found, costs about …" or "cannot tell, too few photos".

    leak: from `leaks.without`; dropped: how many photos left the training side because of leaks.
    """
    lines = {"shortcuts": shortcut_verdict(shortcuts, price), "shift": shift_verdict(shift)}
    return {"leaks": leak_verdict(leak, dropped)} | lines


def leak_verdict(leak: dict[str, Any], dropped: int) -> str:
    """Whether test photos were in training and what that adds to the score, as short as it goes."""
    if dropped:
        return f"found; {_count(dropped, 'photo')} left out of training for it"
    if not leak["leaked"]:
        return "nothing found"
    found = f"found, {leak['leaked']} of {leak['of']} test photos"
    if leak["too_few"] or not leak["clean_of"]:
        return f"{found}; what they cost cannot be told, too few photos are left"
    return f"{found}; costs about {max(0.0, leak['accuracy'] - leak['clean_accuracy']):.2f}"


def trust_metrics(
    metrics: dict[str, Any],
    pairs: pd.DataFrame,
    leak: dict[str, Any],
    shortcuts: Shortcuts,
    shift: Shift,
    verdict: dict[str, str],
) -> dict[str, Any]:
    """`metrics` with what this section found, under the names of metrics.json; NaN becomes None."""
    across = _across(pairs) & (pairs["kind"] == "copy")
    auc = shift.table.set_index("split")["auc"]
    clean = {"test_without_leaks": leak["clean_accuracy"], "test_without_leaks_ci95": leak["clean_ci95"]}
    return metrics | {
        "leaks": {"pairs": int(across.sum()), "test_photos": leak["leaked"]},
        "shortcuts": shortcut_metrics(shortcuts),
        "shift": {f"{name}_auc": None if np.isnan(value) else float(value) for name, value in auc.items()},
        "accuracy": metrics["accuracy"] | clean,
        "verdict": verdict,
    }


def box(lines: dict[str, str]) -> str:
    """The three verdicts as text to print."""
    questions = {
        "leaks": "Test photos also in training?",
        "shortcuts": "Class given away by something else?",
        "shift": "Splits from different worlds?",
    }
    rows = [f" {questions[name]:<36} {line}" for name, line in lines.items()]
    rule = "─" * (2 + max(map(len, rows)))
    return "\n".join(["Can the score be trusted?", rule, *rows, rule])
