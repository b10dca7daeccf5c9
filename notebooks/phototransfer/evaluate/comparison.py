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

from phototransfer.console import plural, short_name
from phototransfer.files import safe_name
from phototransfer.report import Result
from phototransfer.stats import mcnemar, wilson
from phototransfer.style import BLUE, GREY, accuracy_axis, plot_interval

_MAX_ROWS = 12  # a longer table is not read
_ALPHA = 0.05
_COLUMNS = {"original", "digest", "label", "split", "predicted"}


@dataclass(frozen=True)
class RunComparison(Result):
    """A run and all others that were tested on the same photos.

    `runs` has one row per run, oldest first: run, dataset, backbone, head, correct, total, accuracy, low, high (95 %
    Wilson interval), cross_validation (mean), duplicates (test photos that are in the training set too), seconds.
    """

    name = "runs"
    runs: pd.DataFrame
    this: str
    elsewhere: dict[str, int]  #: data set → number of runs that were tested on other photos
    unusable: list[str]  #: what could not be read, and why
    best: str | None = None  #: the other run with the most correct photos
    won: int = 0  #: photos that this run predicts correctly and `best` does not
    lost: int = 0
    choices: int = 0  #: number of different runs that `best` was chosen from
    p_value: float = 1.0  #: of McNemar's exact test of the two, times `choices` (Bonferroni)

    @property
    def state(self) -> str:
        """Return "better", "worse" or "not significantly different"."""
        if self.p_value >= _ALPHA:
            return "not significantly different"
        return "better" if self.won > self.lost else "worse"

    def table(self) -> pd.DataFrame:
        """Return the newest runs, the best other one among them, as a table to read: the newest last."""
        rows = self._shown().set_index("run")
        columns = {
            "data set": rows["dataset"],
            "backbone": rows["backbone"],
            "head": rows["head"],
            "test": [f"{row.correct}/{row.total}" for row in rows.itertuples()],
            "95 % interval": [f"{row.low:.2f}–{row.high:.2f}" for row in rows.itertuples()],
            "cross-validation": rows["cross_validation"].map("{:.2f}".format, na_action="ignore"),
            "duplicates": rows["duplicates"].map("{:.0f}".format, na_action="ignore"),
            "seconds": rows["seconds"].map("{:.0f}".format, na_action="ignore"),
        }
        return pd.DataFrame(columns).fillna("–")

    def summary(self) -> str:
        runs = self.runs.set_index("run")
        this = runs.loc[self.this]
        lines = [f"{self.this}: {this['correct']} of {this['total']} test photos correct."]
        if self.best is None:
            lines.append("No other run was tested on the same photos.")
        else:
            other = runs.loc[self.best]
            p_value = f"p = {self.p_value:.2g}"
            if self.choices > 1:
                p_value += f", corrected for the choice among {self.choices}"
            which = "The other run" if len(runs) == 2 else f"Best of {len(runs) - 1} other runs"
            lines.append(
                f"{which} on the same photos: {self.best} ({other['backbone']}, "
                f"head {other['head']}), {other['correct']} correct. Only this run is correct on {self.won}, only the "
                f"other on {self.lost}: this run is {self.state} (McNemar's exact test, {p_value})."
            )
        if self.elsewhere:
            counts = [f"{plural(count, 'run')} on {dataset}" for dataset, count in sorted(self.elsewhere.items())]
            lines.append(f"Not compared, because they have other test photos: {', '.join(counts)}.")
        if self.unusable:
            lines.append(f"Not used: {'; '.join(self.unusable)}.")
        return "\n".join(lines)

    def alt(self) -> str:
        rows = [f"{row.run} {row.correct} of {row.total}" for row in self._shown().itertuples()]
        return f"Correct test photos of {plural(len(rows), 'run')} on the same photos: {', '.join(rows)}."

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
        names = rows["run"].replace(self.this, f"{self.this} (this run)").map(lambda name: short_name(name, 46))
        axis.set_yticks(range(len(rows)), names, parse_math=False)
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
    lines, unusable = _read_lines(run_folder.parent / "runs.jsonl")
    name = run_folder.name
    if name not in lines:
        raise ValueError(f"{name} has no line in runs.jsonl yet: call report.finish() first.")
    this = lines[name]
    test_photos = _read_test_photos(run_folder)
    rows, correct_by_run = [], {}
    elsewhere: Counter[str] = Counter()
    for run, line in lines.items():
        correct = None
        if line.get("dataset") == this.get("dataset") and line.get("classes") == this.get("classes"):
            try:
                correct = _align(test_photos, _read_test_photos(run_folder.parent / run))
            except ValueError as error:
                unusable.append(str(error))
                continue
        if correct is None:
            elsewhere[str(line.get("dataset"))] += 1
        else:
            correct_by_run[run] = correct
            rows.append(_row(line, correct))
    runs, mine = pd.DataFrame(rows), correct_by_run.pop(name)
    if not correct_by_run:
        return RunComparison(runs, name, dict(elsewhere), unusable)
    best = max(reversed(correct_by_run), key=lambda run: correct_by_run[run].sum())  # ties: the newest
    other, choices = correct_by_run[best], len({correct.tobytes() for correct in correct_by_run.values()})
    return RunComparison(
        runs,
        name,
        dict(elsewhere),
        unusable=unusable,
        best=best,
        won=int((mine & ~other).sum()),
        lost=int((other & ~mine).sum()),
        choices=choices,
        p_value=min(1.0, choices * mcnemar(mine, other)),
    )


def _read_lines(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the last line of runs.jsonl for each run name, and what could not be read."""
    runs: dict[str, dict[str, Any]] = {}
    unusable = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            name = content["run"]
            if safe_name(name) != name:
                raise ValueError("not the name of a run")
            runs.pop(name, None)  # so that it comes last
            runs[name] = content
        except (ValueError, KeyError, TypeError):
            unusable.append(f"line {number} of {path.name} is not a complete line of a run")
    return runs, unusable


def _read_test_photos(run_folder: Path) -> pd.DataFrame:
    """Return the test photos in a run's predictions.csv, or raise a ValueError that says why there are none."""
    name = f"{run_folder.name}/predictions.csv"
    try:
        table = pd.read_csv(
            run_folder / "predictions.csv", dtype=str, keep_default_na=False, usecols=lambda column: column in _COLUMNS
        )
    except FileNotFoundError:
        raise ValueError(f"{name} does not exist") from None
    except (ValueError, OSError) as error:  # the errors of pandas are ValueErrors
        raise ValueError(f"{name} cannot be read ({error})") from error
    if missing := {"original", "label", "split", "predicted"} - set(table):
        raise ValueError(f"{name} has no column {', '.join(sorted(missing))}")
    return table[table["split"] == "test"]


def _align(test_photos: pd.DataFrame, other: pd.DataFrame) -> np.ndarray | None:
    """Return which of `test_photos` another run predicts correctly, bool (n,), None if it has other test photos."""
    photo = "digest" if "digest" in test_photos and "digest" in other else "original"
    keys = [photo, "label", "occurrence"]  # a photo that occurs twice is counted twice
    mine, others = (table.assign(occurrence=table.groupby(keys[:2]).cumcount()) for table in (test_photos, other))
    both = mine[keys].merge(others[[*keys, "predicted"]], how="left")
    if len(mine) != len(others) or both["predicted"].isna().any():
        return None
    return (both["predicted"] == both["label"]).to_numpy()


def _row(line: dict[str, Any], correct: np.ndarray) -> dict[str, Any]:
    count, total = int(correct.sum()), len(correct)
    low, high = wilson(count, total) or (np.nan, np.nan)
    return {
        "run": line["run"],
        "dataset": line.get("dataset"),
        "backbone": line.get("backbone") or "?",
        "head": _head(line),
        "correct": count,
        "total": total,
        "accuracy": count / total if total else np.nan,
        "low": low,
        "high": high,
        "cross_validation": _inner(line, "cross_validation", "mean"),
        "duplicates": _inner(line, "leaks", "test_photos"),
        "seconds": _inner(line, "seconds", "total"),
    }


def _head(line: dict[str, Any]) -> str:
    units = _inner(line, "settings", "HEAD")
    if units is None:
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
