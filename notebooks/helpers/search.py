"""What did the search for a better head find, and is it more than luck?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.firmness.paired import mcnemar

BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Search:
    """The heads that were tried, and what the best of them gains.

    `trials`: one row a head, in the order they were tried: layers, units (of the first layer), dropout, learning_rate,
    weight_decay, views (if there were some to search), score (share of right photos, out of fold; of the folds that
    were run where pruned), pruned, seconds.
    `right`: bool (heads not pruned, n), which photos each had right, in the order of the rows not pruned.
    `configured`: bool (n,), the same for the configured head. `importance`: hyper-parameter → share of the differences
    it explains, empty for too few heads. n: different photos; near-duplicates count once. `left_out`: classes with too
    few photos → how many.
    """

    trials: pd.DataFrame
    right: np.ndarray
    configured: np.ndarray
    importance: dict[str, float]
    left_out: dict[str, int]
    folds: int
    seed: int

    def best(self) -> pd.Series:
        """The head with the most photos right; of equals the first."""
        whole = self.trials[~self.trials["pruned"]]
        return whole.loc[whole["score"].idxmax()]

    def settings(self) -> dict[str, Any]:
        """What to type into the settings cell to have the best head."""
        return as_settings(self.best())

    def p_value(self) -> float:
        """McNemar's exact test of the best head against the configured one on the same photos and folds."""
        return mcnemar(self.right[int(self.right.sum(axis=1).argmax())], self.configured)

    def gain(self) -> tuple[float, float, float]:
        """What choosing the best head gains on photos that it was not chosen by: mean and 95 % interval.

        The best of many looks better than it is, on the photos it was chosen by. So photos are drawn with
        replacement, the head that is best on those drawn is taken, and compared with the configured one on those not
        drawn (bootstrap bias corrected cross-validation: I. Tsamardinos et al., Machine Learning 107, 2018).
        """
        rng = np.random.default_rng(self.seed)
        photos = len(self.configured)
        gains = []
        for _ in range(BOOTSTRAPS):
            times = np.bincount(rng.integers(0, photos, photos), minlength=photos)
            out = times == 0
            if out.any():
                chosen = self.right[(self.right @ times).argmax()]
                gains.append(chosen[out].mean() - self.configured[out].mean())
        low, high = np.quantile(gains, [0.025, 0.975])
        return float(np.mean(gains)), float(low), float(high)

    def in_words(self) -> str:
        """Best and configured head on the same photos and folds, what the choice gains, and what to type in."""
        best, count, of = self.best(), len(self.trials), len(self.configured)
        mine = self.configured.mean()
        said = (
            f"Best of {count} heads: {best['score']:.3f} right against {mine:.3f} of the configured one, on the same "
            f"{of} different training and validation photos and {self.folds} folds (McNemar's exact test, "
            f"p = {self.p_value():.2g}). "
        )
        mean, low, high = self.gain()
        said += (
            f"The best of {count} is partly luck; chosen and measured on different photos, the gain is {mean:+.3f} "
            f"(95 % interval {low:+.3f} to {high:+.3f})"
        )
        typed = ", ".join(f"{name} = {value!r}" for name, value in self.settings().items())
        if low > 0:
            said += f". To have it, type into the settings: {typed}"
        elif best["score"] > mine:
            said += f": not distinguishable from none, the configured head may stay. The best one was: {typed}"
        else:
            said += ": none of them is better, keep the configured head"
        if self.left_out:
            said += f". {len(self.left_out)} classes with too few different photos for {self.folds} folds were left out"
        return said + "."

    def metrics(self) -> dict[str, Any]:
        """What metrics.json says of the search."""
        mean, low, high = self.gain()
        return {
            "trials": len(self.trials),
            "pruned": int(self.trials["pruned"].sum()),
            "folds": self.folds,
            "photos": len(self.configured),
            "configured": float(self.configured.mean()),
            "best": float(self.best()["score"]),
            "p_value": self.p_value(),
            "gain": mean,
            "gain_ci95": [low, high],
            "settings": self.settings(),
            "importance": self.importance,
            "trial_seconds": round(float(self.trials["seconds"].sum()), 1),
        }


def as_settings(row: "dict[str, Any] | pd.Series") -> dict[str, Any]:
    """The settings of a row of `Search.trials`: each layer has half the units of the one before."""
    views = {"AUGMENT_VIEWS": int(row["views"])} if "views" in row else {}
    return {
        "HEAD": [int(row["units"]) >> number for number in range(int(row["layers"]))],
        "DROPOUT": round(float(row["dropout"]), 1),
        "LEARNING_RATE": float(f"{row['learning_rate']:.2g}"),
        "WEIGHT_DECAY": float(f"{row['weight_decay']:.2g}"),
        **views,
    }
