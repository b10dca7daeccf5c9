"""What do the three questions add up to, in three lines?"""

from typing import Any

import numpy as np
import pandas as pd

from helpers.trust.shift import CANNOT_TELL, NOTHING, Shift
from helpers.trust.shift import metrics as shift_metrics
from helpers.trust.shortcuts import Price, Shortcuts, ridge
from helpers.trust.shortcuts import metrics as shortcut_metrics
from helpers.trust.words import SHORT, shift_verdict, shortcut_verdict

NOT_ASKED = "not looked for (AUDIT = False)"


def quick_right(features: np.ndarray, photos: pd.DataFrame, learnt_from: pd.Series) -> np.ndarray:
    """Which photos a ridge classifier tells right, bool (n,): a stand-in for the head where none is trained yet.

    features: float32 (n, d), row for row with photos (column label); learnt_from: bool (n,), what it is fitted on.
    """
    rows = learnt_from.to_numpy()
    model = ridge(2.0 * rows.sum()).fit(features[rows], photos.loc[learnt_from, "label"])
    return model.predict(features) == photos["label"].to_numpy()


def pairs_in_words(photos: pd.DataFrame, pairs: pd.DataFrame, dropped: pd.Series) -> str:
    """How many photos are there twice, where, and whether under one label; pairs: from `leaks.find_leaks`."""
    across, copy = pairs["across"], pairs["kind"] == "copy"
    said = [
        f"{_count((across & copy).sum(), 'pair')} of copies across splits, {(~across & copy).sum()} within a split.",
    ]
    if (across & ~copy).any():
        pairs_of = _count((across & ~copy).sum(), "pair")
        said.append(f"{pairs_of} of one scene taken twice across splits: no copies, but easier than a new scene.")
    if (copy & ~pairs["same_label"]).any():
        wrong = pairs[copy & ~pairs["same_label"]].head(3)
        original = photos["original"].to_numpy()
        names = "; ".join(f"{original[a]} and {original[b]}" for a, b in zip(wrong["a"], wrong["b"], strict=True))
        said.append(f"The same picture under two labels, so that one of them is wrong: {names}.")
    if dropped.any():
        said.append(f'LEAKS = "drop": {_count(dropped.sum(), "photo")} left out of training and validation.')
    return "\n".join(said)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def verdicts(
    leak: dict[str, Any], dropped: int, shortcuts: Shortcuts | None, price: Price | None, shift: Shift | None
) -> dict[str, str]:
    """One line a question: "nothing found", "found, costs about …" or "cannot tell, too few photos".

    leak: from `leaks.without`; dropped: how many photos left the training side because of leaks. Without `shortcuts`
    nothing was looked for, and that is what all three lines say.
    """
    if shortcuts is None:
        return dict.fromkeys(("leaks", "shortcuts", "shift"), NOT_ASKED)
    lines = {"shortcuts": shortcut_verdict(shortcuts, price), "shift": shift_verdict(shift)}
    return {"leaks": leak_verdict(leak, dropped)} | lines


def leak_verdict(leak: dict[str, Any], dropped: int) -> str:
    """Whether test photos were in training and what that adds to the score, as short as it goes."""
    if dropped:
        return f"found; {_count(dropped, 'photo')} left out of training for it"
    if not leak["of"]:
        return SHORT[CANNOT_TELL]
    if not leak["leaked"]:
        return SHORT[NOTHING]
    found = f"found, {leak['leaked']} of {leak['of']} test photos"
    if leak["too_few"] or not leak["clean_of"]:
        return f"{found}; too few others to tell what that costs"
    cost = leak["accuracy"] - leak["clean_accuracy"]
    return f"{found}; costs about {cost:.2f}" if cost >= 0.005 else f"{found}; without them the score is no lower"


def trust_metrics(
    metrics: dict[str, Any],
    pairs: pd.DataFrame,
    leak: dict[str, Any],
    shortcuts: Shortcuts | None,
    shift: Shift | None,
    verdict: dict[str, str],
) -> dict[str, Any]:
    """`metrics` with what this section found, under the names of metrics.json; None for what was not looked for."""
    if shortcuts is None:
        return metrics | {"verdict": verdict}
    across = pairs["across"] & (pairs["kind"] == "copy")
    clean = {"test_without_leaks": leak["clean_accuracy"], "test_without_leaks_ci95": leak["clean_ci95"]}
    return metrics | {
        "leaks": {"pairs": int(across.sum()), "test_photos": leak["leaked"]},
        "shortcuts": shortcut_metrics(shortcuts),
        "shift": shift_metrics(shift),
        "accuracy": metrics["accuracy"] | clean,
        "verdict": verdict,
    }
