"""Tables of labels: which tables in a folder give the classes of its photos, and what they say."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from phototransfer.console import shorten_list
from phototransfer.photos.labels.columns import is_empty
from phototransfer.photos.labels.files import per_photo
from phototransfer.photos.labels.names import PhotoNames, split_of_table
from phototransfer.photos.labels.one_table import LabelChoice, Reading, parse_choice, read_labels_of
from phototransfer.photos.layout.class_names import map_one_to_one, name_key
from phototransfer.photos.layout.tree import split_word, words_of

__all__ = ["LabelChoice", "TableLabel", "TableLabels", "parse_choice", "read_label_tables"]

_OVERLAP = 0.5  # of the photos of a table are in another one
_SUBMISSION = "an example of a submission"


class TableLabel(NamedTuple):
    """What a table says about one photo."""

    label: str
    group: str | None
    split: str | None


@dataclass(frozen=True)
class TableLabels:
    """The classes that tables give to photos, and how they were read."""

    tables: list[PurePosixPath]
    file_column: str = ""
    class_column: str = ""
    group_column: str | None = None
    split_column: str | None = None
    matched_by: str = ""  #: how names in the table were found among the files, in words
    labels: dict[PurePosixPath, TableLabel] = field(default_factory=dict)  #: photos with exactly one class
    reasons: dict[PurePosixPath, str] = field(default_factory=dict)  #: photos in the table that cannot be used, and why
    unmatched: list[str] = field(default_factory=list)  #: names in the table that no photo has
    lines: int = 0  #: lines with a name
    ignored: dict[str, str] = field(default_factory=dict)  #: other tables and columns, and why they are not used
    question: str = ""  #: what cannot be decided, and how to answer
    named_labels: bool = False  #: whether the name of the table says that it has labels


def read_label_tables(
    folder: Path,
    tables: Sequence[PurePosixPath],
    photos: Sequence[PurePosixPath],
    choice: LabelChoice | None = None,
) -> TableLabels | None:
    """Find the tables that give the classes of photos, and read them. No path in a table is opened.

    Parameters
    ----------
    folder : Path
        The folder that all paths are below.
    tables : sequence of PurePosixPath
        Text files that may be tables.
    photos : sequence of PurePosixPath
        Files that may be photos.
    choice : LabelChoice, optional
        The table and the columns that the owner chose.

    Returns
    -------
    TableLabels or None
        None if no table has a column with names of photos. With `question` if it cannot be decided.
    """
    index = PhotoNames(photos)
    one_per_photo = per_photo([path.stem.casefold() for path in tables], index.stems)
    ignored: dict[str, str] = {}
    readings = []
    for path in tables:
        if choice and not _is_chosen(path, choice):
            continue
        if not choice and path.stem.casefold() in one_per_photo:
            ignored["text files named like photos"] = "one per photo"
        elif not choice and (
            {"submission", "submit"} & set(words_of(path.stem)) or split_word(path.stem) == "unlabelled"
        ):
            ignored[str(path)] = _SUBMISSION
        elif reading := read_labels_of(folder / path, path, index, choice):
            readings.append(reading)
    return _combine(readings, ignored) if readings else None


def _is_chosen(path: PurePosixPath, choice: LabelChoice) -> bool:
    """Return whether a table is the chosen one, or the same for another split (val.csv beside train.csv)."""
    chosen = PurePosixPath(choice.table.replace("\\", "/").removeprefix("./").casefold())
    other = PurePosixPath(str(path).casefold())
    if other == chosen or (len(chosen.parts) == 1 and other.name == chosen.name):
        return True
    return split_word(chosen.stem) is not None and split_word(other.stem) not in (None, split_word(chosen.stem))


def _combine(readings: list[Reading], ignored: dict[str, str]) -> TableLabels:
    """Take the best table, and those with the same columns."""
    readings = sorted(readings, key=lambda reading: reading.rank, reverse=True)
    best = readings[0]
    used = [best]
    question = best.question
    for other in readings[1:]:
        reason = _why_not_with(best, other)
        if not reason:
            used.append(other)
            continue
        ignored[str(other.path)] = reason
        if best.classes and not question and other.rank[:3] == best.rank[:3] and _disagree(best, other):
            question = (
                f"{best.path} and {other.path} give the same photos different classes. "
                f'Set LABELS = "{best.path}" or LABELS = "{other.path}".'
            )
    splits = {reading.path: split_of_table(reading.path) for reading in used}
    if len(set(splits.values())) < 2 or "train" not in splits.values():
        splits = {}
    if not question:
        pairs = [(one, other) for number, one in enumerate(used) for other in used[number + 1 :]]
        clash = next((pair for pair in pairs if _disagree(*pair)), None)
        if clash:
            question = f'{clash[0].path} and {clash[1].path} disagree. Set LABELS = "{clash[0].path}".'
    for reading in used:
        ignored |= {f"{reading.path.name}: {name}": reason for name, reason in reading.not_used.items()}
    labels, reasons = ({}, {}) if question else _labels_of(used, splits)
    return TableLabels(
        tables=[reading.path for reading in used],
        file_column=best.file_column,
        class_column=best.classes.title if best.classes else "",
        group_column=best.group_column,
        split_column=best.split_column,
        matched_by=best.match.how,
        labels=labels,
        reasons=reasons,
        unmatched=[name for reading in used for name in reading.unmatched],
        lines=sum(reading.lines for reading in used),
        ignored=ignored,
        question=question,
        named_labels=best.named_labels,
    )


def _labels_of(
    used: list[Reading], splits: Mapping[PurePosixPath, str | None]
) -> tuple[dict[PurePosixPath, TableLabel], dict[PurePosixPath, str]]:
    """Return the label of each photo that has one class in all lines, and the reason for each other one."""
    classes: dict[PurePosixPath, dict[str, str]] = defaultdict(dict)
    groups: dict[PurePosixPath, set[str]] = defaultdict(set)
    parts: dict[PurePosixPath, set[str | None]] = defaultdict(set)
    reasons: dict[PurePosixPath, str] = {}
    table = used[0].path.name
    for reading in used:
        found = reading.classes.labels if reading.classes else []
        for number, name in enumerate(reading.names):
            for file in reading.match.files[name]:
                for label in found[number] or [""]:
                    classes[file].setdefault(name_key(label), label)
                if reading.groups and not is_empty(reading.groups[number]):
                    groups[file].add(reading.groups[number].strip())
                parts[file].add(reading.splits[number] if reading.split_column else splits.get(reading.path))
        for files in reading.match.ambiguous.values():
            for file in files:
                reasons[file] = (
                    f"{reading.path.name} names it without its folder, and several folders have a file of that name"
                )
    labels = {}
    for file, given in classes.items():
        reasons.pop(file, None)
        several = parts[file] - {None} if len(parts[file]) > 1 else parts[file]
        if len(given) > 1:
            names = shorten_list(sorted(label or "(none)" for label in given.values()), 8)
            reasons[file] = f"{table} gives it several classes: {names}"
        elif "" in given:
            reasons[file] = f"{table} gives it an empty class"
        elif len(several) > 1:
            reasons[file] = f"{table} puts it into several splits: {', '.join(sorted(map(str, several)))}"
        elif "" in several:
            reasons[file] = f"{table} gives it no split"
        else:
            group = min(groups[file]) if groups[file] else None
            labels[file] = TableLabel(next(iter(given.values())), group, next(iter(several)))
    return labels, reasons


def _why_not_with(best: Reading, other: Reading) -> str:
    """Return why a table is not used beside the best one, "" if it goes on from it."""
    if other.classes is None:
        return "no column seems to be the class"
    same = best.classes is not None and (best.file_column, best.classes.columns) == (
        other.file_column,
        other.classes.columns,
    )
    if not same:
        return "other columns" if best.classes is None else f"{best.path.name} is used"
    given = {name_key(label) for labels in other.classes.labels for label in labels}
    known = {name_key(label) for labels in best.classes.labels for label in labels} if best.classes else set()
    if len(given) < 2 < len(other.names) and len(known) > 1 and split_of_table(other.path) == "test":
        return "it gives all photos the same class"
    one_each = 1 < len(given) == len(set(other.names)) and len(known) < len(set(best.names))
    if one_each and split_of_table(other.path) is None:
        return "it has one photo per class"
    return ""


def _disagree(one: Reading, other: Reading) -> bool:
    """Return whether two tables give most of their common photos classes that do not map one to one."""
    first, second = _class_of_files(one), _class_of_files(other)
    common = first.keys() & second.keys()
    pairs = {(first[file], second[file]) for file in common}
    if not common or (one.classes and other.classes and one.classes.columns != other.classes.columns):
        return bool(common) and not map_one_to_one(pairs) and len(common) > _OVERLAP * min(len(first), len(second))
    return any(a != b for a, b in pairs)


def _class_of_files(reading: Reading) -> dict[PurePosixPath, str]:
    classes = reading.classes.labels if reading.classes else []
    rows = zip(reading.names, classes, strict=True) if classes else []
    return {file: name_key("|".join(labels)) for name, labels in rows for file in reading.match.files[name]}
