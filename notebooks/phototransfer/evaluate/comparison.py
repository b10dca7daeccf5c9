"""Comparison of a run with earlier runs on the same test photos."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from phototransfer.console import short_name
from phototransfer.files import safe_name
from phototransfer.report import Result
from phototransfer.stats import mcnemar, wilson
from phototransfer.style import BLUE, GREY, accuracy_axis, plot_interval

_MAX_ROWS = 12  # a longer table is not read
_ALPHA = 0.05
_NEEDED = ["original", "label", "split", "predicted"]


@dataclass(frozen=True)
class RunComparison(Result):
    """A run and all others that were tested on the same photos.

    Attributes
    ----------
    runs : DataFrame
        One row per run, oldest first: run, dataset, backbone, head, correct, total, accuracy, low, high (95 % Wilson
        interval), cross_validation (mean), duplicates (test photos that are in the training set too), seconds.
    this : str
        Name of this run.
    best : str or None
        Name of the other run with the most correct photos, None if there is no other run.
    won, lost : int
        Test photos that only this run, or only the best other run, predicts correctly.
    p_value : float
        McNemar's exact test of the two, times `choices` (Bonferroni).
    choices : int
        Number of different runs that the best other one was chosen from.
    elsewhere : dict
        Data set → number of runs that were tested on other photos.
    unusable : list of str
        What could not be read, and why.
    """

    name = "runs"
    runs: pd.DataFrame
    this: str
    best: str | None
    won: int
    lost: int
    p_value: float
    choices: int
    elsewhere: dict[str, int]
    unusable: list[str]

    @property
    def state(self) -> str:
        """Return "better", "worse" or "not significantly different"."""
        if self.p_value >= _ALPHA:
            return "not significantly different"
        return "better" if self.won > self.lost else "worse"

    def table(self) -> pd.DataFrame:
        """Return the newest runs, the best other one among them, as a table to read: the newest last."""
        rows = self._shown()
        columns = {
            "data set": rows["dataset"],
            "backbone": rows["backbone"],
            "head": rows["head"],
            "test": [f"{row.correct}/{row.total}" for row in rows.itertuples()],
            "95 % interval": [f"{row.low:.2f}–{row.high:.2f}" for row in rows.itertuples()],
            "cross-validation": [_format(value, ".2f") for value in rows["cross_validation"]],
            "duplicates": [_format(value, ".0f") for value in rows["duplicates"]],
            "seconds": [_format(value, ".0f") for value in rows["seconds"]],
        }
        return pd.DataFrame(columns).set_index(rows["run"])

    def summary(self) -> str:
        this = self.runs[self.runs["run"] == self.this].iloc[0]
        lines = [f"{self.this}: {this.correct} of {this.total} test photos correct.", self._difference()]
        if self.elsewhere:
            counts = [f"{count} on {dataset}" for dataset, count in sorted(self.elsewhere.items())]
            lines.append(f"Not compared, because they have other test photos: runs {', '.join(counts)}.")
        if self.unusable:
            lines.append(f"Not used: {'; '.join(self.unusable)}.")
        return "\n".join(lines)

    def _difference(self) -> str:
        if self.best is None:
            return "No other run was tested on the same photos."
        other = self.runs[self.runs["run"] == self.best].iloc[0]
        count = len(self.runs) - 1
        which = "The other run" if count == 1 else f"The best of {count} other runs"
        text = f"{which} on the same photos, {self.best} ({other.backbone}, head {other['head']}): {other.correct}."
        if not self.won + self.lost:
            return f"{text} Both are correct on the same photos."
        corrected = f", corrected for the choice among {self.choices}" if self.choices > 1 else ""
        return (
            f"{text} {self.won} photos are correct only in this run, {self.lost} only in the other: this run is "
            f"{self.state} (McNemar's exact test, p = {self.p_value:.2g}{corrected})."
        )

    def plot(self) -> Figure | None:
        """Return the test accuracy of each run with its interval, this run filled."""
        if self.best is None:
            return None
        rows = self._shown()
        figure, axis = plt.subplots(figsize=(8, 1.2 + 0.42 * len(rows)))
        for place, row in enumerate(rows.itertuples()):
            mine = row.run == self.this
            colour = BLUE if mine else GREY
            plot_interval(axis, place, row.accuracy, (row.low, row.high), colour=colour, filled=mine)
        names = [f"{run} (this run)" if run == self.this else run for run in rows["run"]]
        axis.set_yticks(range(len(rows)), [short_name(name, 46) for name in names], parse_math=False)
        axis.set_ylim(len(rows) - 0.5, -0.7)  # the newest last, as in the table
        axis.set_title("Accuracy of runs on the same test photos")
        accuracy_axis(axis, rows["low"].min())
        return figure

    def to_dict(self) -> dict[str, Any]:
        return {"compared": len(self.runs) - 1, "best_other": self.best, "state": self.state, "p_value": self.p_value}

    def _shown(self) -> pd.DataFrame:
        rows = self.runs.tail(_MAX_ROWS)
        if self.best is not None and self.best not in set(rows["run"]):
            rows = pd.concat([self.runs[self.runs["run"] == self.best], rows.iloc[1:]])
        return rows


def compare_runs(run_folder: Path) -> RunComparison:
    """Compare the run in `run_folder` with those in `models/runs.jsonl` that have the same test photos.

    The same photos: the same data set and classes, and in predictions.csv the same test photos with the same labels.
    Photos are identified by content (column digest), or by name where an old run has no such column. Of several runs
    with one name the last counts, because only its files are there.

    Raises
    ------
    ValueError
        This run has no line in runs.jsonl or no predictions.csv yet.
    """
    lines, unusable = read_lines(run_folder.parent / "runs.jsonl")
    this = next((line for line in lines if line["run"] == run_folder.name), None)
    if this is None:
        raise ValueError(f"{run_folder.name} has no line in runs.jsonl yet: call report.finish() first.")
    test_photos = read_test_photos(run_folder)
    rows, correct_by_run = [], {}
    elsewhere: Counter[str] = Counter()
    for line in lines:
        correct = None
        if all(line.get(key) == this.get(key) for key in ("dataset", "classes")):
            try:
                correct = align(test_photos, read_test_photos(run_folder.parent / line["run"]))
            except ValueError as error:
                unusable.append(str(error))
                continue
        if correct is None:
            elsewhere[str(line.get("dataset"))] += 1
        else:
            correct_by_run[line["run"]] = correct
            rows.append(_row(line, correct))
    runs = pd.DataFrame(rows)
    others = runs[runs["run"] != this["run"]].iloc[::-1]
    best, won, lost, p_value, choices = None, 0, 0, 1.0, 0
    if len(others):
        best = str(others.loc[others["correct"].idxmax(), "run"])  # of equals the newest
        mine, other = correct_by_run[this["run"]], correct_by_run[best]
        won, lost = int((mine & ~other).sum()), int((other & ~mine).sum())
        choices = len({correct_by_run[run].tobytes() for run in others["run"]})
        p_value = min(1.0, choices * mcnemar(mine, other))
    return RunComparison(runs, this["run"], best, won, lost, p_value, choices, dict(elsewhere), unusable)


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the runs in runs.jsonl, of each name the last one, and what could not be read."""
    runs: dict[str, dict[str, Any]] = {}
    unusable = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            run = json.loads(line)
            name = run["run"]
            if not isinstance(name, str) or safe_name(name) != name:
                raise ValueError("not the name of a run")
        except (ValueError, KeyError, TypeError):
            unusable.append(f"line {number} of {path.name} is not a complete line of a run")
            continue
        runs.pop(name, None)  # so that it comes last
        runs[name] = run
    return list(runs.values()), unusable


def read_test_photos(run_folder: Path) -> pd.DataFrame:
    """Return the test photos in a run's predictions.csv: original, label, predicted, and digest where it has one.

    Raises
    ------
    ValueError
        There is no such table. The message says why.
    """
    path = run_folder / "predictions.csv"
    name = f"{path.parent.name}/{path.name}"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{name} does not exist") from None
    except (ValueError, OSError) as error:  # the errors of pandas are ValueErrors
        raise ValueError(f"{name} cannot be read ({error})") from error
    if missing := [column for column in _NEEDED if column not in table]:
        raise ValueError(f"{name} has no column {', '.join(missing)}")
    columns = [column for column in ("original", "digest", "label", "predicted") if column in table]
    return table.loc[table["split"] == "test", columns]


def align(test_photos: pd.DataFrame, other: pd.DataFrame) -> np.ndarray | None:
    """Return which of `test_photos` another run predicts correctly, bool (n,), None if it has other test photos."""
    key = "digest" if "digest" in test_photos and "digest" in other else "original"
    indexed = []
    for table in (test_photos, other):  # a photo that occurs twice is counted twice
        occurrence = table.groupby([key, "label"]).cumcount()
        indexed.append(table.set_index([table[key], table["label"], occurrence]))
    mine, others = indexed
    if len(mine) != len(others) or set(mine.index) != set(others.index):
        return None
    ordered = others.loc[mine.index]
    return (ordered["predicted"] == ordered["label"]).to_numpy()


def _row(line: dict[str, Any], correct: np.ndarray) -> dict[str, Any]:
    count, total = int(correct.sum()), len(correct)
    low, high = wilson(count, total) or (float("nan"), float("nan"))
    return {
        "run": line["run"],
        "dataset": line.get("dataset"),
        "backbone": line.get("backbone") or "?",
        "head": _head(line),
        "correct": count,
        "total": total,
        "accuracy": count / total if total else float("nan"),
        "low": low,
        "high": high,
        "cross_validation": _inner(line, "cross_validation", "mean"),
        "duplicates": _inner(line, "leaks", "test_photos"),
        "seconds": _inner(line, "seconds", "total"),
    }


def _head(line: dict[str, Any]) -> str:
    units = _inner(line, "settings", "HEAD")
    if not isinstance(units, list):
        return "?"
    text = "-".join(map(str, units)) or "none"
    if _inner(line, "settings", "BATCH_NORM"):
        text += " with BatchNorm"
    if _inner(line, "fine_tuning", "kept"):
        text += f", {_inner(line, 'settings', 'FINE_TUNE_LAYERS')} layers fine-tuned"
    return text


def _inner(line: dict[str, Any], key: str, inner: str) -> Any:
    part = line.get(key)
    return part.get(inner) if isinstance(part, dict) else None


def _format(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) and value == value else "–"
