"""One table of labels: which column names the photos, which gives the class, and what each line says."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from phototransfer.console import shorten_list
from phototransfer.photos.labels.columns import (
    CERTAIN,
    POSSIBLE,
    Classes,
    find_classes,
    find_group,
    find_split,
    header_rank,
    is_empty,
    read_classes,
    read_one_hot,
    words_in,
)
from phototransfer.photos.labels.files import Table, read_table
from phototransfer.photos.labels.names import NO_MATCH, Match, PhotoNames, is_picture_name
from phototransfer.photos.layout.class_names import name_key
from phototransfer.photos.layout.tree import words_of

_FILE_HEADERS = [  # the earlier, the more a column of this name is the photo
    {"path", "filepath", "imagepath", "imgpath", "file", "filename", "imagefile", "imgfile", "fname"},
    {"image", "images", "imagename", "img", "imgname", "photo", "photoname", "picture", "pic"},
    {"imageid", "imgid", "photoid", "fileid", "pictureid", "imageindex", "id", "key", "uid", "uuid"},
    {"name", "url", "imageurl", "link", "title", "slide", "asset"},
]
_LABEL_NAMES = {"label", "labels", "annotation", "annotations", "truth", "groundtruth", "gt", "targets"}
_TABLE_NAMES = _LABEL_NAMES | {"train", "training", "metadata", "meta", "classes", "data"}
_CHOICE = re.compile(r"(.+?\.(?:csv|tsv|txt))\s*(?::(.*))?", re.I | re.S)
_SAME = 0.9  # of the matches of the best column that another name of the photos must have
_SHARE = 0.5  # of the matches of the best column that another must have to be chosen for its name


@dataclass(frozen=True)
class _FileColumn:
    name: str
    match: Match
    rank: tuple[int, ...]  #: the higher, the better


@dataclass(frozen=True)
class Reading:
    """One table: its column of photos, and for each line that names one what the other columns say."""

    path: PurePosixPath
    question: str = ""  #: what cannot be decided, and how to answer
    file_column: str = ""
    match: Match = NO_MATCH
    names: list[str] = field(default_factory=list)  #: of the lines that name a photo
    lines: int = 0  #: lines with a name
    unmatched: list[str] = field(default_factory=list)
    classes: Classes | None = None
    group_column: str | None = None
    groups: Sequence[str] = ()  #: of each line in `names`
    split_column: str | None = None
    splits: Sequence[str] = ()  #: of each line in `names`, "" for none
    not_used: dict[str, str] = field(default_factory=dict)  #: column → why

    @property
    def named_labels(self) -> bool:
        """Whether the name of the table says that it has labels."""
        return bool(_LABEL_NAMES & set(words_of(self.path.stem)))

    @property
    def rank(self) -> tuple[int, bool, bool, int]:
        """The higher, the better: how certain the class column is, several classes, the table's name, photos."""
        certain = self.classes.certain if self.classes else -1
        several = self.classes is not None and len({tuple(labels) for labels in self.classes.labels}) > 1
        return certain, several, self.named_labels, len(self.match.files)


@dataclass(frozen=True)
class LabelChoice:
    """The owner's answer to which table and which columns to use."""

    table: str
    file_column: str | None = None
    class_column: str | None = None  #: with commas between one-hot columns

    @property
    def columns(self) -> list[str]:
        return [column for column in (self.file_column, self.class_column) if column]


def parse_choice(text: str) -> LabelChoice:
    """Read the setting LABELS: "train.csv", or with columns, "train.csv: image_id, dx"."""
    match = _CHOICE.fullmatch(text.strip())
    table, columns = (match[1], match[2] or "") if match else (text.strip(), "")
    names = [name.strip() for name in next(csv.reader([columns], skipinitialspace=True), [])]
    classes = ", ".join(names[1:])
    return LabelChoice(table, (names[0] if names else None) or None, classes or None)


def read_labels_of(file: Path, path: PurePosixPath, index: PhotoNames, choice: LabelChoice | None) -> Reading | None:
    """Read the table in `file`, which messages call `path`.

    Returns
    -------
    Reading or None
        None if it names no photos and its name does not say that it should, or if it has no other column.
    """
    named = bool(_TABLE_NAMES & set(words_of(path.stem))) or choice is not None
    try:
        table = read_table(file)
    except (ValueError, OSError) as error:
        return Reading(path, f"{error}") if named else None
    if table is None:
        return None
    columns = _columns(table)
    possible = _names_of_photos(columns, index)
    if _first_line_is_data(table, possible, index):
        columns = _columns(table.without_header())
        possible = _names_of_photos(columns, index)
    for column in choice.columns if choice else ():
        if not _find_columns(column, columns):
            return Reading(path, f'{path} has no column "{column}". It has {shorten_list(list(columns), 12)}.')
    file_columns = _find_file_columns(path, columns, possible, index)
    if choice and choice.file_column:
        file_columns = [found for found in file_columns if [found.name] == _find_columns(choice.file_column, columns)]
    if not file_columns:
        return _read_without_photos(path, columns, index, choice) if named else None
    return _read_columns(path, columns, file_columns, choice)


def _read_columns(
    path: PurePosixPath,
    columns: Mapping[str, Sequence[str]],
    file_columns: list[_FileColumn],
    choice: LabelChoice | None,
) -> Reading | None:
    """Read the class, group and split of each line."""
    match = file_columns[0].match
    all_names = columns[file_columns[0].name]
    used = [number for number, name in enumerate(all_names) if name in match.files]
    names = [all_names[number] for number in used]
    most = file_columns[0].rank[-1]
    same = {
        found.name for found in file_columns if found.rank[-1] >= _SAME * most and header_rank(found.name) < CERTAIN
    }
    not_others = same | {file_columns[0].name} | {name for name in columns if _is_index(name, columns[name])}
    others = {name: [columns[name][number] for number in used] for name in columns if name not in not_others}
    split = find_split(others)
    splits = [split[1].get(cell, "") for cell in others.pop(split[0])] if split else []
    if not others:
        return None  # a list of photos
    question = "" if choice and choice.file_column else _question_of_files(path, file_columns)
    chosen_columns = _find_columns(choice.class_column, columns) if choice and choice.class_column else []
    if chosen_columns:
        cells = {name: [columns[name][number] for number in used] for name in chosen_columns}
        classes: Classes | None = read_one_hot(cells) if len(cells) > 1 else read_classes(*cells.popitem())
        not_used = {}
    else:
        found = find_classes(others, names)
        classes, not_used = found.chosen, found.not_used
        if classes is None:
            question = question or _question_of_classes(path, file_columns[0].name, found.several, not_used)
    group = None
    if classes:
        rest = {name: cells for name, cells in others.items() if name not in classes.columns}
        group, why_not = find_group(rest, names, classes)
        not_used = {name: why for name, why in (not_used | why_not).items() if name != group}
    return Reading(
        path=path,
        question=question,
        file_column=file_columns[0].name,
        match=match,
        names=names,
        lines=sum(not is_empty(name) for name in all_names),
        unmatched=_without(all_names, match),
        classes=classes,
        group_column=group,
        groups=others[group] if group else (),
        split_column=split[0] if split else None,
        splits=splits,
        not_used=not_used,
    )


def _names_of_photos(columns: Mapping[str, Sequence[str]], index: PhotoNames) -> dict[str, set[str]]:
    return {name: {cell for cell in set(cells) if index.may_mean_photo(cell)} for name, cells in columns.items()}


def _without(names: Sequence[str], match: Match) -> list[str]:
    """Return the names that no photo has."""
    rest = (name for name in names if name not in match.files and name not in match.ambiguous)
    return list(dict.fromkeys(name.strip() for name in rest if not is_empty(name)))


def _columns(table: Table) -> dict[str, Sequence[str]]:
    """Return the columns by their names, each name once."""
    columns: dict[str, Sequence[str]] = {}
    for number, (name, cells) in enumerate(zip(table.header, table.columns, strict=True), 1):
        name = name or f"column {number}"
        columns[name if name not in columns else f"{name} (column {number})"] = cells
    return columns


def _first_line_is_data(table: Table, possible: Mapping[str, set[str]], index: PhotoNames) -> bool:
    """Return whether the first line of a table is not a header but names a photo."""
    if any(is_picture_name(name) for name in table.header):
        return True
    if any("".join(words_in(name)) in names for name in table.header for names in _FILE_HEADERS):
        return False
    number, found = max(enumerate(possible.values()), key=lambda numbered: len(numbered[1]))
    first = table.header[number]
    if found and (index.may_mean_photo(first) or (first.isdigit() and all(name.strip().isdigit() for name in found))):
        return True
    if any(header_rank(name) == CERTAIN for name in table.header):
        return False
    columns = zip(table.header, table.columns, strict=True)
    return any(name and not name.isdigit() and cells.count(name) > 1 for name, cells in columns)


def _find_file_columns(
    path: PurePosixPath, columns: Mapping[str, Sequence[str]], possible: Mapping[str, set[str]], index: PhotoNames
) -> list[_FileColumn]:
    """Return the columns whose values name photos, the best one first."""
    most = max(map(len, possible.values()))
    found = []
    for name, values in possible.items():
        if not values or len(values) < _SHARE * most:
            continue
        match = index.match(values, path)
        hits = len(match.files) + len(match.ambiguous)
        distinct = sum(not is_empty(cell) for cell in set(columns[name]))
        numbers = all(value.strip().isdigit() for value in match.files)  # an age of 20 is not 20.jpg
        if hits and not (numbers and hits < _SHARE * min(distinct, len(index.stems))):
            by_place, by_level = match.rank
            rank = (not _is_index(name, columns[name]), -_file_header_rank(name), -by_place, -by_level, hits)
            found.append(_FileColumn(name, match, rank))
    most = max((column.rank[-1] for column in found), default=0)
    found = [column for column in found if column.rank[-1] >= _SHARE * most]
    return sorted(found, key=lambda column: column.rank, reverse=True)


def _file_header_rank(name: str) -> int:
    joined = "".join(words_in(name))
    return next((rank for rank, words in enumerate(_FILE_HEADERS) if joined in words), len(_FILE_HEADERS))


def _is_index(name: str, cells: Sequence[str]) -> bool:
    """Return whether a column numbers the lines and has no name that says that the numbers are photos."""
    if not (name.startswith("column ") or name.startswith("Unnamed") or name.lower() in ("index", "nr", "no", "#")):
        return False
    return len(set(cells)) == len(cells) and all(cell.strip().isdigit() for cell in cells)


def _question_of_files(path: PurePosixPath, found: list[_FileColumn]) -> str:
    """Ask for the column of photos if two are equally good and mean different ones."""
    if len(found) < 2 or found[0].rank[:2] != found[1].rank[:2] or found[0].match.rank != found[1].match.rank:
        return ""
    one, other = ({file for files in column.match.files.values() for file in files} for column in found[:2])
    if len(one & other) > _SHARE * len(one):
        return ""
    names = f'"{found[0].name}" and "{found[1].name}"'
    return f'{path}: the columns {names} both name photos. Set LABELS = "{path}: {found[0].name}, <class column>".'


def _question_of_classes(
    path: PurePosixPath, file_column: str, several: list[Classes], not_used: Mapping[str, str]
) -> str:
    column = ", ".join(several[0].columns) if several else "<class column>"
    answer = f'Set LABELS = "{path}: {file_column}, {column}".'
    if several and several[0].certain >= POSSIBLE:
        columns = shorten_list([found.describe() for found in several], 4)
        return f"{path}: several columns may be the class: {columns}. {answer}"
    seen = [f'"{name}": {reason}' for name, reason in not_used.items()]
    seen += [f"{found.describe()}: it seldom is the class" for found in several]
    return f"{path}: no column seems to be the class ({shorten_list(seen, 4)}). {answer}"


def _read_without_photos(
    path: PurePosixPath, columns: Mapping[str, Sequence[str]], index: PhotoNames, choice: LabelChoice | None
) -> Reading | None:
    """Ask about a table that looks like one of labels but names none of the photos."""
    chosen = _find_columns(choice.file_column, columns) if choice and choice.file_column else []
    names = chosen or [name for name in columns if _file_header_rank(name) < len(_FILE_HEADERS)]
    labels = choice or any(header_rank(name) == CERTAIN for name in columns)
    unmatched = _without(columns[names[0]], NO_MATCH) if names else []
    if not (labels and unmatched and index.stems):
        return None
    question = (
        f'No photo has a name from column "{names[0]}" of {path}, such as "{unmatched[0]}"; one of the photos is '
        f'"{min(index.stems)}". Correct the names, or set LABELS = "{path}: <column of photos>, <class column>".'
    )
    return Reading(path, question, names[0], lines=len(unmatched), unmatched=unmatched)


def _find_columns(names: str, columns: Iterable[str]) -> list[str]:
    """Return the column of this name, or the columns of several names with commas; none if one is missing."""
    by_key = {name_key(column): column for column in columns}
    if name_key(names) in by_key:
        return [by_key[name_key(names)]]
    keys = [name_key(name) for name in names.removesuffix("(one-hot)").split(",")]
    return [by_key[key] for key in keys] if all(key in by_key for key in keys) else []
