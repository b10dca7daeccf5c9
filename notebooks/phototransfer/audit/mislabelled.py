"""Mislabelled photos: labels that a head contradicts with confidence, although it was not trained on the photo."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import chi2, poisson

from phototransfer.console import plural, short_name, shorten_list
from phototransfer.evaluate.cross_validation import CrossValidator
from phototransfer.evaluate.folds import Folds
from phototransfer.finding import BORDERLINE, CANNOT_TELL, DOUBT, FOUND, NOTE, NOTHING_FOUND, Finding
from phototransfer.paths import SUSPECTS
from phototransfer.photos.near_duplicates import NEAR_BITS
from phototransfer.photos.relabel import Corrections, filled_in, keep_corrections, leave_out_word, read_corrections
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share, mean_recall
from phototransfer.style import photo_grid

_COLUMNS = ["original", "label", "suggestion", "probability_of_label", "probability_of_suggestion", "digest"]
_SHOWN = 16
# A wrong label is contradicted as firmly as a right label is supported, so about half of the wrong labels are
# contradicted more firmly than the median photo is supported. Hard photos rarely are: with the default head, 10 seeds:
# 3 to 8 in 100 of the errors on lucy, cats_and_dogs and the sample as they are; 16 in 100 on 117 breeds.
_HARD_SHARE = 0.1
_HARD_MIN = 0.5
#: Probabilities of so many firm contradictions without a wrong label. The gap between FOUND and NOTHING_FOUND is wide,
#: so that another seed does not turn one into the other.
_FOUND_P, _BORDERLINE_P, _NOTHING_P = 0.001, 0.05, 0.5
_TOLERATED = 0.05  # NOTHING_FOUND: a larger share of wrong labels would have shown
_MIN_ACCURACY = 0.8  # with a lower one, many right labels are contradicted firmly
_DOUBT_SHARE = 0.02  # of wrong labels, from which on they move the score noticeably
_PAIRS = 10  # of label and suggestion that are recorded
_TABLE = Path(SUSPECTS).stem


@dataclass(frozen=True)
class Mislabelled(Result):
    """The photos whose label may be wrong, and how many wrong labels there probably are.

    Attributes
    ----------
    suspects : DataFrame
        One row per photo, the most suspicious first: path, original, label, suggestion, probability_of_label,
        probability_of_suggestion, digest.
    conflicts : DataFrame
        Pairs of photos of one picture with different labels: original, label, other, other_label, same_file.
    joint : DataFrame
        The most frequent pairs among the suspects: label, suggestion, photos.
    photos : int
        Different photos whose label was tested: near-duplicates and labels checked by a person do not count.
    contradicted, errors : int
        How many of them are contradicted firmly, and how many are predicted as another class at all.
    accuracy : float
        Balanced accuracy of the predictions.
    classes : list of str
    digests : frozenset of str
        Of all photos of the run.
    corrections : Corrections or None
        The corrections that were in use.

    Notes
    -----
    Suspects: C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset labels",
    Journal of Artificial Intelligence Research 70 (2021). A photo is counted for the most probable of the classes whose
    probability reaches their threshold, the mean over the photos labelled so. The number of photos counted
    for another class, scaled to the class sizes, is the authors' estimate of the number of wrong labels. It includes
    hard photos: 150 of 994 in two arbitrary classes of dogs. So the finding rests on the photos that are contradicted
    firmly: another class is as probable as the label of the median photo.
    """

    name = "mislabelled"
    suspects: pd.DataFrame
    conflicts: pd.DataFrame
    joint: pd.DataFrame
    photos: int
    contradicted: int
    errors: int
    accuracy: float
    classes: list[str]
    digests: frozenset[str]
    corrections: Corrections | None = None
    sample: str = ""  #: that of `Folds`

    @property
    def expected(self) -> float:
        """How many photos would be contradicted firmly if all labels were right."""
        return _HARD_MIN + _HARD_SHARE * max(self.errors - 2 * self.contradicted, 0)

    @property
    def p_value(self) -> float:
        """The probability of so many firm contradictions if all labels were right."""
        return float(poisson.sf(self.contradicted - 1, self.expected))

    @property
    def wrong_labels(self) -> tuple[int, int, int]:
        """The estimated number of wrong labels, and its 90 % interval: the upper end assumes that no photo is hard.

        The interval of the firm contradictions is that of a Poisson variable (F. Garwood, Biometrika 28, 1936).
        """
        count, hard = self.contradicted, 2 * self.expected
        low, high = chi2.ppf(0.05, 2 * count) if count else 0.0, chi2.ppf(0.95, 2 * count + 2)
        return round(max(2 * count - hard, 0)), int(max(low - hard, 0)), min(int(high), self.photos)

    @property
    def state(self) -> str:
        """FOUND if the same file has two labels, or more labels are contradicted firmly than hard photos explain."""
        too_hard, p_value = self.accuracy < _MIN_ACCURACY, self.p_value
        if self.conflicts["same_file"].any() or (p_value < _FOUND_P and not too_hard):
            return FOUND
        few = self.wrong_labels[2] <= _TOLERATED * self.photos
        if len(self.conflicts) or (not too_hard and (p_value < _BORDERLINE_P or (few and p_value < _NOTHING_P))):
            return BORDERLINE
        return NOTHING_FOUND if few and not too_hard else CANNOT_TELL

    def findings(self) -> dict[str, Finding]:
        state, (estimate, low, high) = self.state, self.wrong_labels
        remedy = (
            f"Look at the photos in {SUSPECTS}, write the right class into its column correct_label, and set RELABEL = "
            f'"{SUSPECTS}".'
        )
        pictures = plural(len(self.conflicts), "pair") + " of photos with the same picture and different labels"
        by_head = self.p_value < _FOUND_P and self.accuracy >= _MIN_ACCURACY
        if state == FOUND and by_head:
            text = f"about {estimate} of {self.photos:,} labels seem to be wrong ({low} to {high})"
            severity = DOUBT if estimate >= _DOUBT_SHARE * self.photos else NOTE
            obstacle = f"About {estimate} of the {self.photos:,} labels seem to be wrong, so the score is off as well."
            return {"labels": Finding(state, f"{state}: {text}", severity, obstacle=obstacle, remedy=remedy)}
        if len(self.conflicts):
            obstacle = f"There {'is' if len(self.conflicts) == 1 else 'are'} {pictures}."
            return {"labels": Finding(state, f"{state}: {pictures}", NOTE, obstacle=obstacle, remedy=remedy)}
        if state == BORDERLINE:
            text = (
                f"{self.contradicted} of {self.photos:,} labels are contradicted firmly, which hard photos may explain"
            )
            obstacle = f"Some of the {self.photos:,} labels may be wrong."
            return {"labels": Finding(state, f"{state}: {text}", NOTE, obstacle=obstacle, remedy=remedy)}
        if state == NOTHING_FOUND:
            text = f"up to {high} of {self.photos:,} labels could still be wrong"
        elif self.accuracy < _MIN_ACCURACY:
            text = f"with a balanced accuracy of {format_share(self.accuracy)} wrong labels look like hard photos"
        else:
            text = f"too few photos: up to {high} of {self.photos:,} labels could be wrong"
        return {"labels": Finding(state, f"{state}: {text}")}

    def summary(self) -> str:
        count = len(self.suspects)
        lines = [
            f"{plural(count, 'suspect')}: heads that were not trained on the photo predict another class with "
            "confidence. A suspect can also be a hard photo with the right label."
            if count
            else "No suspects: no photo is predicted with confidence as another class by heads not trained on it."
        ]
        if self.sample:
            lines.append(f"{self.sample} The labels of the others are not checked.")
        lines += [
            f"{row.original} ({row.label}) and {row.other} ({row.other_label}) "
            + ("are the same file." if row.same_file else "show almost the same picture.")
            for row in self.conflicts.head(5).itertuples()
        ]
        if count > 1 and len(self.classes) > 2:
            pairs = [f"{row.label} → {row.suggestion} ({row.photos})" for row in self.joint.itertuples()]
            lines.append(f"Label → suggestion, with the number of suspects: {shorten_list(pairs, 5)}.")
        if self.checked:
            lines.append(f"{plural(self.checked, 'label')} checked before (RELABEL): not suspects again.")
        if count:
            lines.append(
                f"All of them are in {SUSPECTS} in the folder of this run. To correct a label, write the class into "
                f'the column correct_label; "{leave_out_word(self.classes)}" leaves the photo out, an empty cell '
                f'changes nothing. Save it as CSV and set RELABEL = "{SUSPECTS}" for the next run. The photos '
                "themselves are not changed."
            )
        return "\n".join(lines)

    @property
    def checked(self) -> int:
        """How many photos have a label that a person has checked."""
        return sum(label is not None for label in self.corrections.labels.values()) if self.corrections else 0

    def plot(self, columns: int | None = None) -> Figure | None:
        """Return the most suspicious photos, each with its file name, label and suggestion."""
        if self.suspects.empty:
            return None
        shown = self.suspects.head(_SHOWN)
        titles = [
            f"{short_name(Path(row.original).name)}\n{short_name(row.label)}?\n→ {short_name(row.suggestion)} "
            f"{row.probability_of_suggestion:.2f}"
            for row in shown.itertuples()
        ]
        figure = photo_grid(list(shown["path"]), titles, columns=columns or min(8, max(4, len(shown))))
        which = "All" if len(shown) == len(self.suspects) else f"The first {len(shown)} of"
        figure.suptitle(
            f"{which} {plural(len(self.suspects), 'suspect')}: label? → suggestion", x=0.01, ha="left", size=11
        )
        return figure

    def plot_narrow(self) -> Figure | None:
        return self.plot(columns=2)

    def to_dict(self) -> dict[str, Any]:
        estimate, low, high = self.wrong_labels
        return {
            "state": self.state,
            "photos": self.photos,
            "suspects": len(self.suspects),
            "contradicted_firmly": self.contradicted,
            "expected_if_all_right": self.expected,
            "p_value": self.p_value,
            "wrong_labels": estimate,
            "wrong_labels_ci90": [low, high],
            "same_picture_other_label": len(self.conflicts),
            "checked": self.checked,
            "joint": self.joint.to_dict("records"),
        }

    def advice(self) -> list[str]:
        if self.suspects.empty or self.state == NOTHING_FOUND:
            return []
        return [
            f"Some labels may be wrong: look at the photos in {SUSPECTS}, correct what is wrong there, and set "
            f'RELABEL = "{SUSPECTS}".'
        ]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the suspects with an empty column correct_label, and the corrections that were in use."""
        table = self.suspects[_COLUMNS].assign(correct_label="")
        return {_TABLE: keep_corrections(table, self.corrections.table) if self.corrections else table}

    def tables_over(self, folder: Path) -> dict[str, pd.DataFrame]:
        """Return `tables()` with what a person has filled in in the tables that a folder has now.

        Corrections of other photos, if the folder was that of another data set, come as a table of their own. A file
        that cannot be read is renamed.
        """
        table, path = self.tables()[_TABLE], folder / SUSPECTS
        if not path.exists():
            return {_TABLE: table}
        try:
            earlier = filled_in(read_corrections(path))
        except ValueError:
            path.replace(folder / f"{_TABLE}-unreadable.csv")
            return {_TABLE: table}
        if len(earlier) and not set(earlier["digest"]) & self.digests:
            return {_TABLE: table, f"{_TABLE}-of-other-photos": earlier}
        return {_TABLE: keep_corrections(table, earlier)}


def find_mislabelled(validator: CrossValidator, corrections: Corrections | None = None) -> Mislabelled | Skipped:
    """Rank the photos whose label is contradicted by the heads that were not trained on them.

    Parameters
    ----------
    corrections : Corrections, optional
        `Prepared.corrections`: labels that a person has checked are no suspects again, and stay in the table.

    Raises
    ------
    ValueError
        RELABEL is in use and `corrections` are not given: they would be lost.
    """
    settings = validator.settings
    if settings.get("RELABEL") and corrections is None:
        raise ValueError("RELABEL is set: find_mislabelled(validator, prepared.corrections) keeps the corrections.")
    if not settings["CHECKS"]:
        return Skipped(Mislabelled.name, "Not checked (CHECKS = False).")
    folds = validator.folds
    if folds is None:
        return validator.skipped(Mislabelled.name)
    probabilities = validator.configured_probabilities(folds)
    photos = validator.photos.iloc[folds.rows].reset_index(drop=True)
    unchecked = ~photos["original"].isin(corrections.labels if corrections else []).to_numpy()
    support = probabilities[np.arange(len(photos)), folds.labels]
    suggested = confident_classes(probabilities, folds.labels)
    # Of uneven classes, the threshold of one may be so low that the label is still more probable.
    suggested[probabilities[np.arange(len(photos)), suggested] <= support] = -1
    conflicts = _conflicts(photos, unchecked)
    for row, suggestion in _contradicting(photos, folds, probabilities, conflicts).items():
        suggested[row] = suggestion
    rows = np.flatnonzero((suggested >= 0) & (suggested != folds.labels) & unchecked)
    of_label, of_suggestion = probabilities[rows, folds.labels[rows]], probabilities[rows, suggested[rows]]
    tiny = np.finfo(np.float32).tiny
    in_conflict = photos["original"].isin([*conflicts["original"], *conflicts["other"]]).to_numpy()[rows]
    # The ratio finds more than the difference if there are many classes, and the same if there are two.
    order = np.lexsort((np.log(of_label + tiny) - np.log(of_suggestion + tiny), ~in_conflict))
    rows, of_label, of_suggestion = rows[order], of_label[order], of_suggestion[order]
    suspects = photos.loc[rows, ["path", "original", "label", "digest"]].assign(
        suggestion=[folds.classes[number] for number in suggested[rows]],
        probability_of_label=of_label.astype(float).round(4),
        probability_of_suggestion=of_suggestion.astype(float).round(4),
    )
    tested = folds.representative & unchecked
    wrong = (probabilities.argmax(axis=1) != folds.labels) & tested
    firm = wrong & (probabilities.max(axis=1) >= np.median(support[tested])) if tested.any() else wrong
    return Mislabelled(
        suspects=suspects.reset_index(drop=True),
        conflicts=conflicts,
        joint=_count_pairs(suspects),
        photos=int(tested.sum()),
        contradicted=int(firm.sum()),
        errors=int(wrong.sum()),
        accuracy=mean_recall(~wrong[tested], folds.labels[tested]) if tested.any() else 0.0,
        classes=folds.classes,
        digests=frozenset(validator.all_photos["digest"]),
        corrections=corrections,
        sample=folds.sample,
    )


def confident_classes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the class that confident learning counts each photo for, int (n,), -1 for none.

    Parameters
    ----------
    probabilities : float array of shape (n, classes)
        Out of fold.
    labels : int array of shape (n,)
        Every class occurs.

    Notes
    -----
    Northcutt, Jiang and Chuang (2021), equation 1: of the classes whose probability is at least the mean over the
    photos labelled so, the most probable one.
    """
    classes = np.arange(probabilities.shape[1])
    thresholds = np.array([probabilities[labels == number, number].mean() for number in classes])
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    return np.where(confident.max(axis=1) >= 0, confident.argmax(axis=1), -1)


def _count_pairs(suspects: pd.DataFrame) -> pd.DataFrame:
    counts = suspects.groupby(["label", "suggestion"]).size().reset_index(name="photos")
    return counts.sort_values("photos", ascending=False, kind="stable", ignore_index=True).head(_PAIRS)


def _conflicts(photos: pd.DataFrame, unchecked: np.ndarray) -> pd.DataFrame:
    """Return the table `Mislabelled.conflicts`; pairs of which a person has checked both labels are left out."""
    several = photos[photos.groupby("group")["label"].transform("nunique") > 1]
    pairs = []
    for _, same in several.groupby("group"):
        rows = list(same.itertuples())
        for number, one in enumerate(rows):
            for other in rows[number + 1 :]:
                if one.label == other.label or not (unchecked[one.Index] or unchecked[other.Index]):
                    continue
                # A group can also be what belongs together by the owner's table, such as the photos of one patient.
                if one.digest == other.digest or _different_bits(one.phash, other.phash) <= NEAR_BITS:
                    same_file = one.digest == other.digest
                    pairs.append((one.original, one.label, other.original, other.label, same_file))
    return pd.DataFrame(pairs, columns=["original", "label", "other", "other_label", "same_file"])


def _different_bits(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def _contradicting(
    photos: pd.DataFrame, folds: Folds, probabilities: np.ndarray, conflicts: pd.DataFrame
) -> dict[int, int]:
    """Return the photos of conflicts with the less probable of the labels, and the class that is suggested for each."""
    row_of = {original: row for row, original in enumerate(photos["original"])}
    suggestions = {}
    for pair in conflicts.itertuples():
        one, other = row_of[pair.original], row_of[pair.other]
        both = probabilities[one] + probabilities[other]
        wrong, right = (one, other) if both[folds.labels[one]] < both[folds.labels[other]] else (other, one)
        suggestions[wrong] = int(folds.labels[right])
    return suggestions
