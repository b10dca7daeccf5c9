"""Corrections of labels: the table in which a person has filled in `correct_label`, applied to the photos of a run."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from phototransfer import files
from phototransfer.console import plural, shorten_list
from phototransfer.paths import CORRECTION_COLUMNS, find_corrections
from phototransfer.photos.labels.files import read_table
from phototransfer.photos.layout.class_names import name_key

_LEAVE_OUT = ("none", "leave out")
_LEADING_ZEROS = re.compile(r"^0+(?=\d)|\.0+$")


@dataclass(frozen=True)
class Corrections:
    """What a table of corrections has changed.

    Attributes
    ----------
    path : Path
        The table.
    table : DataFrame
        Its rows as text, with at least the columns `paths.CORRECTION_COLUMNS`. Empty cells are "".
    labels : dict
        original → its corrected class, None for a photo that is left out; also where the label was right already.
    changed, left_out : int
        How many photos have another label, and how many are not used.
    """

    path: Path
    table: pd.DataFrame
    labels: dict[str, str | None]
    changed: int
    left_out: int

    @property
    def tree(self) -> str:
        """A name for the prepared photos with these labels; "" if they are as they were."""
        if not self.changed and not self.left_out:
            return ""
        # Hidden, because whatever else is in the folder prepared/ is taken for photos by a run without corrections.
        content = json.dumps(sorted(self.labels.items()))
        return f".relabelled-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def summary(self) -> str:
        where = f"{files.relative_to_project(self.path)} (RELABEL)"
        if not self.labels:
            return f"No label changed: no cell of the column correct_label is filled in in {where}."
        confirmed = len(self.labels) - self.changed - self.left_out
        parts = [f"{plural(self.changed, 'label')} changed", f"{plural(confirmed, 'label')} confirmed"]
        return f"{', '.join(parts)}, {plural(self.left_out, 'photo')} left out by {where}."

    def to_dict(self) -> dict[str, Any]:
        path = files.relative_to_project(self.path)
        return {"table": path, "changed": self.changed, "left_out": self.left_out, "checked": len(self.labels)}


def find_correction_table(text: str, dataset: str) -> Path:
    """Return the table that the setting RELABEL means for the data set of this name.

    A bare "suspects.csv" that is not there means that of a run of this data set: the newest in which a person has
    filled in something, or else the newest.

    Raises
    ------
    FileNotFoundError
        There is none. The message says what to do.
    """
    found, several = find_corrections(text)
    if not several:
        return found[0]
    finished = _datasets_of_runs()
    own = [path for path in found if _dataset_of_run(path.parent, finished) == dataset]
    if not own:
        raise FileNotFoundError(
            f"RELABEL = {text!r}: no run of {dataset} in {files.MODELS} has a {found[0].name}. Give the path of the "
            "table, or run once with RELABEL = None and CHECKS = True, which writes one."
        )
    for path in own:
        with suppress(OSError, ValueError):  # a table that is no longer one does not hide the others
            if len(filled_in(read_corrections(path))):
                return path
    return own[0]


def read_corrections(path: Path) -> pd.DataFrame:
    """Return a table of corrections as text, with the row numbers of a spreadsheet as the index.

    Raises
    ------
    ValueError
        It is no table, or lacks one of `paths.CORRECTION_COLUMNS`.
    """
    table = read_table(path)
    if table is None:  # no line below the header, because there were no suspects
        header = path.read_bytes().decode("utf-8", "replace").lstrip("\ufeff").strip().split("\n")[0]
        names, columns = [name.strip('" \r') for name in re.split("[,;\t]", header)], None
    else:
        names, columns = table.header, table.columns
    names = [name.strip().lower() for name in names]
    if missing := [name for name in CORRECTION_COLUMNS if name not in names]:
        raise ValueError(
            f"RELABEL: {path} has no column {' and no column '.join(missing)}, but {shorten_list(names, 8)}. Use a "
            "suspects.csv of this notebook, with its first line, saved as CSV."
        )
    rows = pd.DataFrame(dict(zip(names, columns or [[] for _ in names], strict=True)), dtype=object)
    rows = rows.apply(lambda column: column.astype(str).str.strip())
    return rows.set_axis(range(2, len(rows) + 2))


def filled_in(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a correction."""
    return table[table["correct_label"].astype(str).str.strip() != ""]


def leave_out_word(classes: Collection[str]) -> str:
    """Return what to write into correct_label for a photo to be left out: "none" unless a class has that name."""
    keys = {name_key(label) for label in classes}
    return next(word for word in (*_LEAVE_OUT, "") if name_key(word) not in keys)


def apply_corrections(rows: pd.DataFrame, path: Path) -> Corrections:
    """Write the corrected labels of a table, and the reason for each photo that is left out, into the rows of photos.

    Photos are found by the digest of their file, or by their name where the cell of the digest is empty.

    Parameters
    ----------
    rows : DataFrame
        One per file, changed in place, with the columns original, digest, label and reason ("" for photos).
    path : Path
        The table. Rows with an empty `correct_label` change nothing.

    Raises
    ------
    ValueError
        A label is no class, a photo is not there or not the same any more, or two rows contradict each other. The
        message names the row.
    """
    table = read_corrections(path)
    photos = rows[rows["reason"] == ""]
    classes = sorted(set(photos["label"]))
    by_digest = photos.groupby("digest").groups
    by_original = {_as_written(original): index for index, original in photos["original"].items()}
    row_of: dict[Any, int] = {}
    new: dict[Any, str | None] = {}
    for number, row in filled_in(table).iterrows():
        place = f"RELABEL: row {number} of {path}"
        label = _class_of(row["correct_label"], classes, f"{place} ({row['original']})")
        same_name = by_original.get(row["original"])
        found = list(by_digest.get(row["digest"], [])) if row["digest"] else [same_name]
        if same_name in found:
            found = [same_name]
        if found in ([], [None]):
            if label is None:
                continue  # it was to be left out, and is gone
            raise ValueError(_not_there(place, row, same_name is not None))
        for index in found:
            if index in new and new[index] != label:
                raise ValueError(
                    f"{place} gives {row['original']} the correct_label {row['correct_label']!r}, and row "
                    f"{row_of[index]} gives it {new[index] or _LEAVE_OUT[0]!r}. Empty one of the two cells."
                )
            new[index], row_of[index] = label, int(number)
    labels = {rows.at[index, "original"]: label for index, label in new.items()}
    changed = [index for index, label in new.items() if label is not None and label != rows.at[index, "label"]]
    left_out = [index for index, label in new.items() if label is None]
    for index in changed:
        rows.at[index, "label"] = new[index]
    rows.loc[left_out, "reason"] = f"left out by {path.name} (RELABEL)"
    return Corrections(path, table, labels, changed=len(changed), left_out=len(left_out))


def keep_corrections(table: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """Return a new table of suspects with the corrections of an earlier one, so that no filled-in cell is lost.

    They are written into the rows of the same photos; rows of photos that are no longer suspects are added below. Where
    the two tables contradict each other, both rows are kept, and `apply_corrections` asks.
    """
    merged = table.astype({"correct_label": object})
    places: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for index, row in merged.iterrows():
        places[_as_written(row["original"]), row["digest"]].append(index)
    added = []
    for _, row in filled_in(earlier).iterrows():
        same = places[row["original"], row["digest"]]
        given = [name_key(str(merged.at[index, "correct_label"])) for index in same]
        if name_key(row["correct_label"]) in given:
            continue
        if "" in given:
            merged.at[same[given.index("")], "correct_label"] = row["correct_label"]
        else:
            added.append(row.reindex(merged.columns).fillna(""))
    if not added:
        return merged
    return pd.concat([merged.astype(object), pd.DataFrame(added)], ignore_index=True)


def _class_of(written: str, classes: list[str], place: str) -> str | None:
    """Return the class that a person means, None for a photo to be left out."""
    for key in (name_key, lambda name: name_key(files.safe_name(name)), lambda name: _LEADING_ZEROS.sub("", name)):
        same = [label for label in classes if key(label) == key(written)]
        if len(same) == 1:
            return same[0]
    if name_key(written) in map(name_key, _LEAVE_OUT):
        return None
    raise ValueError(
        f"{place} has the correct_label {written!r}, which is no class. Write one of {shorten_list(classes, 12)}; "
        f'"{leave_out_word(classes)}" to leave the photo out; or nothing to change nothing.'
    )


def _not_there(place: str, row: "pd.Series[str]", has_name: bool) -> str:
    what = "another photo than the one that was looked at (its digest differs)" if has_name else "not there"
    way = "Look at it again, and empty the cell digest if the correction still holds, or" if has_name else "Put it back"
    way += "" if has_name else " under its name or another one, or"
    return f"{place} corrects {row['original']}, which is {what}. {way} delete the row."


def _as_written(original: str) -> str:
    """Return a name as `files.write_table` writes it, spaces at its ends removed."""
    return original.encode("utf-8", "backslashreplace").decode("utf-8").strip()


def _datasets_of_runs() -> dict[str, str]:
    """Return the data set of each finished run: metrics.json is not there while a run of the same name is going on."""
    finished = files.read_lines(files.MODELS / "runs.jsonl")
    return {run["run"]: run["dataset"] for run in finished if "run" in run and "dataset" in run}


def _dataset_of_run(folder: Path, finished: dict[str, str]) -> str | None:
    with suppress(ValueError, AttributeError):
        if metrics := files.read_json(folder / "metrics.json"):
            return metrics.get("dataset")
    return finished.get(folder.name)
