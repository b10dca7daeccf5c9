"""Would more photos help?"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from helpers.firmness.cross_validation import CrossValidation
from helpers.firmness.folds import Folds, Part
from helpers.firmness.intervals import wilson
from helpers.firmness.paired import gain
from helpers.firmness.trainings import BuildHead, FitHead, Trainings, out_of_fold
from helpers.progress import progress

SHARES = (0.25, 0.5, 0.75)
#: A gain that somebody would take more photos for: two more photos in a hundred told right.
WORTH = 0.02
YES, HARDLY, CANNOT_TELL = "yes", "hardly", "cannot tell"


@dataclass(frozen=True)
class LearningCurve:
    """The configured head with fewer training photos, judged on the same photos; near-duplicates count once.

    `table`: one row a share of the training photos: share, train (how many photos that is, mean of the folds), photos
    (judged), right, accuracy, its 95 % Wilson interval low, high. `gain`, `low`, `high`: what the step from half of
    the training photos to all of them brought on the same judged photos, with its 95 % interval. `verdict`: YES,
    HARDLY or CANNOT_TELL.
    """

    table: pd.DataFrame
    gain: float
    low: float
    high: float
    verdict: str


def learning_curve(
    dealt: Folds | None,
    features: np.ndarray,
    build_head: BuildHead,
    fit_head: FitHead,
    configured: CrossValidation | None,
    seed: int,
) -> LearningCurve | None:
    """Cross-validate with 25, 50 and 75 % of each fold's training photos; None where cross-validation is off.

    features: float32 (N, d) or (views, N, d), as for `out_of_fold`. configured: the cross-validation with all photos.
    A smaller share lies within every larger one, each class in its proportion; the photos that training watches stay
    the same.
    """
    if dealt is None or configured is None:
        return None
    trainings = Trainings(build_head, fit_head, features.shape[-1], len(dealt.classes))
    right, train = {}, {}
    with progress("Fewer photos", len(SHARES) * dealt.count, unit="training") as bar:
        for share in SHARES:
            parts = [replace(part, train=_some(dealt, part, share, seed)) for part in dealt.first()]
            predicted = out_of_fold(dealt, features, trainings, parts, seed, bar)[0]
            right[share] = dealt.right(predicted)
            train[share] = np.mean([len(part.train) for part in parts])
    right[1.0] = configured.right[0]
    train[1.0] = np.mean([len(part.train) for part in dealt.first()])
    return judge(right, train)


def judge(right: dict[float, np.ndarray], train: dict[float, float]) -> LearningCurve:
    """The curve from share → bool (n,), whether each photo was told right, and share → training photos."""
    rows = []
    for share, told in right.items():
        hits, of = int(told.sum()), len(told)
        rows.append((share, float(train[share]), of, hits, hits / of, *wilson(hits, of)))
    table = pd.DataFrame(rows, columns=["share", "train", "photos", "right", "accuracy", "low", "high"])
    brought, low, high = gain(right[0.5], right[1.0])
    verdict = YES if low > 0 else HARDLY if high < WORTH else CANNOT_TELL
    return LearningCurve(table, brought, low, high, verdict)


def _some(dealt: Folds, part: Part, share: float, seed: int) -> np.ndarray:
    """Places of `share` of the fold's training photos, int: whole groups, at least one of each class."""
    mixed = np.random.default_rng(seed).permutation(dealt.groups.max() + 1)[dealt.groups[part.train]]
    order = np.lexsort((mixed, dealt.labels[part.train]))
    labels, groups = dealt.labels[part.train][order], mixed[order]
    chosen = np.zeros(len(order), dtype=bool)
    for label in np.unique(labels):
        own = groups[labels == label]
        chosen[labels == label] = own <= own[max(0, round(share * len(own)) - 1)]
    return np.sort(part.train[order[chosen]])


def in_words(found: LearningCurve | None) -> str:
    """The answer to: would more photos help?"""
    if found is None:
        return ""
    half, whole = (found.table.loc[found.table["share"] == share].iloc[0] for share in (0.5, 1.0))
    step = (
        f"from {half['train']:.0f} to {whole['train']:.0f} training photos the share told right went from "
        f"{half['accuracy']:.2f} to {whole['accuracy']:.2f} (change {found.gain:+.3f}, 95 % interval {found.low:+.3f} "
        f"to {found.high:+.3f})"
    )
    return (
        "Would more photos help? "
        + {
            YES: f"Yes: {step}. It still rises; another doubling should bring something too.",
            HARDLY: f"Hardly: {step}. Photos of the kind that is there already are enough for this backbone and head.",
            CANNOT_TELL: f"Cannot tell: {step}; that may be nothing or may be worth having.",
        }[found.verdict]
    )
