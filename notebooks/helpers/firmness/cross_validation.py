"""What does the configured head score when every photo is judged once, by a head that never saw it?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.firmness.folds import Folds
from helpers.firmness.intervals import difference, wilson
from helpers.firmness.trainings import BuildHead, FitHead, Trainings, out_of_fold
from helpers.progress import progress

#: A test interval wider than this, ten photos in a hundred, cannot tell a good head from a better one.
WIDE = 0.10


@dataclass(frozen=True)
class CrossValidation:
    """Scores of the configured head on photos it was not trained on; near-duplicates count once.

    `table`: one row a fold: repeat, fold, photos, right, accuracy. `right`: bool (repeats, n), whether each photo that
    counts (`Folds.counts`) was told right. `mean`, `std`: of the folds' accuracies, std with n − 1. `accuracy`: share
    of all photos that was told right, over all repeats. `low`, `high`: its 95 % Wilson interval, the photos (not
    photos × repeats) being the evidence.
    """

    table: pd.DataFrame
    right: np.ndarray
    mean: float
    std: float
    accuracy: float
    low: float
    high: float

    @property
    def photos(self) -> int:
        """How many different photos were judged."""
        return self.right.shape[1]


def cross_validate(
    dealt: Folds | None, features: np.ndarray, build_head: BuildHead, fit_head: FitHead, seed: int
) -> CrossValidation | None:
    """Train the configured head once for each fold and judge the photos of that fold; None where it is off.

    features: float32 (N, d) or (views, N, d), as for `out_of_fold`, row for row with the table that was dealt.

    The interval says what other photos like these would have done to the score of this procedure. It takes the photos
    for independent and does not cover that the heads of two folds share most of their training photos: no unbiased
    estimate of that variance exists (Bengio and Grandvalet, "No unbiased estimator of the variance of K-fold
    cross-validation", JMLR 5, 2004). Nor does it cover photos of another kind than these.
    """
    if dealt is None:
        return None
    trainings = Trainings(build_head, fit_head, features.shape[-1], len(dealt.classes))
    with progress("Cross-validation", len(dealt.parts), unit="training") as bar:
        predicted = out_of_fold(dealt, features, trainings, dealt.parts, seed, bar)
    right = dealt.right(predicted)
    rows = []
    for part in dealt.parts:
        judged = right[part.repeat, (dealt.folds[part.repeat] == part.fold)[dealt.counts]]
        rows.append((part.repeat, part.fold, len(judged), int(judged.sum()), float(judged.mean())))
    table = pd.DataFrame(rows, columns=["repeat", "fold", "photos", "right", "accuracy"])
    share, of = float(right.mean()), right.shape[1]
    low, high = wilson(round(share * of), of)
    return CrossValidation(
        table, right, float(table["accuracy"].mean()), float(table["accuracy"].std()), share, low, high
    )


def test_figure(dealt: Folds | None, photos: pd.DataFrame) -> tuple[int, int]:
    """Of the test photos, how many were told right and how many there are: (right, of), like for like.

    photos: the table with columns split, label, correct, leak_of. Counted are those of the classes that were cross-
    validated, without the ones that were also in training. (0, 0) where cross-validation is off.
    """
    if dealt is None:
        return 0, 0
    here = (photos["split"] == "test") & (photos["leak_of"] == "") & photos["label"].isin(dealt.classes)
    return int(photos.loc[here, "correct"].sum()), int(here.sum())


def in_words(found: CrossValidation | None, right: int = 0, of: int = 0) -> str:
    """The score with its spread and interval, and whether the single test figure, `right` of `of`, agrees with it."""
    if found is None:
        return ""
    folds = len(found.table)
    return (
        f"Cross-validated: {found.accuracy:.2f} of {found.photos} photos told right, 95 % interval {found.low:.2f} to "
        f"{found.high:.2f}; the {folds} folds score {found.table['accuracy'].min():.2f} to "
        f"{found.table['accuracy'].max():.2f} (mean {found.mean:.2f}, standard deviation {found.std:.2f}).\n"
        + agreement(found, right, of)
    )


def agreement(found: CrossValidation, right: int, of: int) -> str:
    """One sentence: does the test figure, `right` of `of` photos, agree with the cross-validation?

    It disagrees if the interval of the difference leaves out 0. That interval takes the two for independent; the test
    photos are among the cross-validated ones, so it is on the wide side.
    """
    if not of:
        return "There is no test figure to compare it with."
    low, high = wilson(right, of)
    told = f"{right / of:.2f} of {of} test photos ({low:.2f} to {high:.2f})"
    least, most = difference(right, of, round(found.accuracy * found.photos), found.photos)
    if least > 0 or most < 0:
        how, what = ("better", "easier") if least > 0 else ("worse", "harder")
        return f"The test figure does not agree: {told} is {how} than that; its photos are {what} than the others."
    if high - low > WIDE:
        return f"The test figure, {told}, does not contradict that, but so few photos cannot say more: go by the folds."
    return f"The test figure agrees: {told}."


def metrics(found: CrossValidation | None, dealt: Folds | None) -> dict[str, Any] | None:
    """For metrics.json; None where it is off."""
    if found is None:
        return None
    return {
        "folds": dealt.count,
        "repeats": len(found.right),
        "mean": found.mean,
        "std": found.std,
        "accuracy": found.accuracy,
        "ci95": (found.low, found.high),
        "photos": found.photos,
        "left_out": dealt.left_out,
        "fold_accuracies": found.table["accuracy"].tolist(),
    }
