"""Is this run better than the others on the same test photos?"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.files import safe_name
from helpers.firmness import wilson
from helpers.firmness.paired import mcnemar

MOST_RUNS = 12  # rows that are still read
ALPHA = 0.05
NEEDED = ["original", "label", "split", "predicted"]


@dataclass(frozen=True)
class Compared:
    """This run beside all others that were tested on the same photos.

    `runs`: one row a run, oldest first: run, finished, dataset, backbone, head, right, photos, accuracy, low, high (its
    95 % Wilson interval), cross_validation (mean), leaks (test photos with a copy in training), seconds; None where a
    run did not say. `this`: the name of this run; `best`: of the other with the most right, None without another.
    `won`, `lost`: test photos that only this run, only the best other had right; `p_value`: McNemar's exact test of
    the two, times `choices` (Bonferroni): from so many others, alike ones counted once, the best was taken.
    `elsewhere`: data set → runs on it whose test photos are others; `left_out`: what of runs.jsonl could not be used.
    """

    runs: pd.DataFrame
    this: str
    best: str | None
    won: int
    lost: int
    p_value: float
    choices: int
    elsewhere: dict[str, int]
    left_out: list[str]

    def shown(self) -> pd.DataFrame:
        """The newest MOST_RUNS runs, the best other among them, as a table to read: the newest last."""
        rows = self.runs.tail(MOST_RUNS)
        if self.best is not None and self.best not in set(rows["run"]):
            rows = pd.concat([self.runs[self.runs["run"] == self.best], rows.iloc[1:]])
        blank = {
            "test": [f"{row.right}/{row.photos}" for row in rows.itertuples()],
            "95 % interval": [f"{row.low:.2f}–{row.high:.2f}" for row in rows.itertuples()],
            "cross-validation": [_number(value, ".2f") for value in rows["cross_validation"]],
            "leaks": [_number(value, ".0f") for value in rows["leaks"]],
            "seconds": [_number(value, ".0f") for value in rows["seconds"]],
        }
        table = rows[["run", "dataset", "backbone", "head"]].rename(columns={"dataset": "data set"})
        return table.assign(**blank).set_index("run")

    def in_words(self) -> str:
        """Whether this run can be told from the best other one, and which runs are not compared and why."""
        mine = self.runs[self.runs["run"] == self.this].iloc[0]
        said = f"{self.this}: {mine.right} of {mine.photos} test photos right. "
        if self.best is None:
            said += "No other run was tested on the same photos."
        else:
            other = self.runs[self.runs["run"] == self.best].iloc[0]
            count = len(self.runs) - 1
            which = "The other run" if count == 1 else f"The best of {count} others"
            said += f"{which} on the same photos, {self.best} ({other.backbone}, head {other['head']}): {other.right}. "
            if self.won + self.lost:
                chosen = f", corrected for the choice among {self.choices}" if self.choices > 1 else ""
                said += (
                    f"Only this run has right: {self.won}, only the other: {self.lost}; {self.verdict()} "
                    f"(McNemar's exact test, p = {self.p_value:.2g}{chosen})."
                )
            else:
                said += f"Both have the same ones right: {self.verdict()}."
        if self.elsewhere:
            runs = ", ".join(f"{count} on {name}" for name, count in sorted(self.elsewhere.items()))
            said += f"\nNot compared, because their test photos are others: runs {runs}."
        if self.left_out:
            said += "\nLeft out: " + "; ".join(self.left_out) + "."
        return said

    def verdict(self) -> str:
        """Better, worse or "not distinguishable"."""
        if self.p_value >= ALPHA:
            return "not distinguishable"
        return "this run is better" if self.won > self.lost else "this run is worse"


def compare_runs(run_folder: Path) -> Compared:
    """Compare the run in `run_folder` with those in models/runs.jsonl that were tested on the same photos.

    The same photos: the same data set, classes, and in predictions.csv the same test photos with the same labels; known
    by their content (column digest), or in runs of old by their names. Of a name that was run again the last counts,
    since the folder has only that. Raises ValueError if this run itself has no line or no predictions yet.
    """
    lines, left_out = read_lines(run_folder.parent / "runs.jsonl")
    this = next((line for line in lines if line["run"] == run_folder.name), None)
    if this is None:
        raise ValueError(f"{run_folder.name} has no line in runs.jsonl yet: it is written when the run is finished.")
    mine = read_test(run_folder)
    rows, right = [], {}
    elsewhere: Counter[str] = Counter()
    for line in lines:
        if line is not this and any(line.get(key) != this.get(key) for key in ("dataset", "classes")):
            elsewhere[str(line.get("dataset"))] += 1
            continue
        try:
            test = read_test(run_folder.parent / line["run"])
        except ValueError as error:
            left_out.append(str(error))
            continue
        aligned = align(mine, test)
        if aligned is None:
            elsewhere[str(line.get("dataset"))] += 1
            continue
        right[line["run"]] = aligned
        rows.append(_row(line, int(aligned.sum()), len(aligned)))
    runs = pd.DataFrame(rows)
    others = runs[runs["run"] != this["run"]]
    if others.empty:
        return Compared(runs, this["run"], None, 0, 0, 1.0, 0, dict(elsewhere), left_out)
    best = others.iloc[::-1].loc[others.iloc[::-1]["right"].idxmax(), "run"]  # of equals the newest
    one, other = right[this["run"]], right[best]
    won, lost = int((one & ~other).sum()), int((other & ~one).sum())
    choices = len({right[name].tobytes() for name in others["run"]})
    p_value = min(1.0, choices * mcnemar(one, other))
    return Compared(runs, this["run"], best, won, lost, p_value, choices, dict(elsewhere), left_out)


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The lines of runs.jsonl in order, of each run the last one, and in words what could not be read."""
    runs: dict[str, dict] = {}
    left_out = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            run = json.loads(line)
            name = run["run"]
            if not isinstance(name, str) or safe_name(name) != name:
                raise ValueError("no name of a run")
        except (ValueError, KeyError, TypeError):
            left_out.append(f"line {number} of {path.name} is not a whole line of a run")
            continue
        runs.pop(name, None)  # so that it comes last
        runs[name] = run
    return list(runs.values()), left_out


def read_test(run_folder: Path) -> pd.DataFrame:
    """The test photos in a run's predictions.csv: original, label, predicted (text), and digest where it has one.

    Raises ValueError in words if there is none to be had.
    """
    file = run_folder / "predictions.csv"
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{run_folder.name} has no predictions.csv any more") from None
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise ValueError(f"{file.parent.name}/{file.name} cannot be read ({error})") from error
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise ValueError(f"{file.parent.name}/{file.name} has no column {', '.join(missing)}")
    test = table[table["split"] == "test"]
    return test[[name for name in ("original", "digest", "label", "predicted") if name in test]]


def align(mine: pd.DataFrame, other: pd.DataFrame) -> np.ndarray | None:
    """Which of the photos of `mine` the other run had right, bool (n,) in the order of `mine`.

    None if the photos or their labels are not the same. Photos are known by digest where both tables have it, else by
    the name of the original.
    """
    name = "digest" if "digest" in mine and "digest" in other else "original"
    keyed = []
    for table in (mine, other):  # a photo that is there twice is counted twice
        twice = table.groupby([name, "label"]).cumcount()
        keyed.append(table.set_index([table[name], table["label"], twice]))
    if len(mine) != len(other) or set(keyed[0].index) != set(keyed[1].index):
        return None
    found = keyed[1].loc[keyed[0].index]
    return (found["predicted"] == found["label"]).to_numpy()


def _row(line: dict[str, Any], right: int, of: int) -> dict[str, Any]:
    low, high = wilson(right, of) or (float("nan"),) * 2
    return {
        "run": line["run"],
        "finished": line.get("finished"),
        "dataset": line.get("dataset"),
        "backbone": line.get("backbone") or "?",
        "head": _head(line),
        "right": right,
        "photos": of,
        "accuracy": right / of if of else float("nan"),
        "low": low,
        "high": high,
        "cross_validation": _within(line, "cross_validation", "mean"),
        "leaks": _within(line, "leaks", "test_photos"),
        "seconds": _within(line, "seconds", "total"),
    }


def _head(line: dict[str, Any]) -> str:
    units = _within(line, "settings", "HEAD")
    if not isinstance(units, list):
        return "?"
    said = ("-".join(map(str, units)) or "none") + " with BatchNorm" * bool(_within(line, "settings", "BATCH_NORM"))
    layers = _within(line, "settings", "FINE_TUNE_LAYERS")
    return f"{said}, {layers} layers fine-tuned" if _within(line, "fine_tuning", "kept") else said


def _within(line: dict[str, Any], key: str, inner: str) -> Any:
    part = line.get(key)
    return part.get(inner) if isinstance(part, dict) else None


def _number(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) and value == value else "–"
