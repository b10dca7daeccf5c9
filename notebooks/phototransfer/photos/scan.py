"""The scan of a folder: its files, their classes, and the splits that the owner made."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

import pandas as pd

from phototransfer.console import plural
from phototransfer.photos.labels import LabelChoice, TableLabel, TableLabels, parse_choice, read_label_tables
from phototransfer.photos.layout import Layout, UnclearFolder
from phototransfer.photos.layout.class_names import describe_merged, map_one_to_one, merge_spellings, name_key
from phototransfer.photos.layout.folders import NO_CLASS, FolderLayout, read_file_names, read_folders, read_level
from phototransfer.photos.layout.left_out import find_copies, find_masks
from phototransfer.photos.layout.tree import Parts, build_tree, outermost
from phototransfer.photos.splits import SPLIT_ORDER
from phototransfer.photos.walk import PICTURE_ENDINGS, is_hidden, walk

_TABLES = (".csv", ".tsv", ".txt")
_OTHER_LABELS = (".json", ".xlsx", ".xls", ".xml", ".parquet", ".mat", ".pkl")  #: may hold labels, and are not read
_LEVEL = re.compile(r"folder (\d+)")
_ANSWERS = 'Write LABELS = "folder 2", LABELS = "file names" or LABELS = "labels.csv: file, class".'
_AGREE = 0.98  # of the photos have the same class in a table and in the folders, which then say the same


@dataclass(frozen=True)
class Scan:
    """All files of a source folder, each of them once."""

    #: original (POSIX path below the folder), raw_label, split (None where the owner made none), owner_group (what the
    #: owner's table says belongs together, such as one patient, or None)
    photos: pd.DataFrame
    skipped: pd.DataFrame  #: original, reason
    unmatched: list[str]  #: names in the table of labels that no file has
    empty_classes: list[str]  #: class folders without a file that may be a photo
    layout: Layout  #: how the folder was understood


class _File(NamedTuple):
    """A file by its name on the disk, and by its path with the backslashes of a Windows archive as folders."""

    original: str
    path: PurePosixPath


def scan_folder(folder: Path, ignore: Iterable[str] = (), labels: str | None = None) -> Scan:
    """List the files of a folder, and find their classes and splits.

    Parameters
    ----------
    folder : Path
        With split folders, class folders, a table of labels, or photos with the class in their names.
    ignore : iterable of str
        Names of entries directly in `folder` that are not part of it.
    labels : str, optional
        The setting LABELS, which says where the classes are: "folder 2", "file names", or a table and its columns.

    Raises
    ------
    UnclearFolder
        The folder can be understood in more than one way.
    """
    names, folders, skipped = walk(folder, set(ignore))
    files = _with_paths(names)
    original_of = {file.path: file.original for file in files}
    pictures = [file.path for file in files if file.path.suffix.lower()[1:] in PICTURE_ENDINGS] or [
        file.path for file in files
    ]

    def path_of(path: PurePosixPath) -> Path:
        return folder / original_of[path]

    tree = build_tree(pictures)
    left_out = find_copies(tree, path_of)
    pictures = [path for path in pictures if not _reason(path, left_out)]
    left_out |= find_masks(build_tree(pictures), path_of)
    pictures = [path for path in pictures if not _reason(path, left_out)]
    by_folder, table = _find_labels(folder, files, pictures, labels)
    left_out |= by_folder.left_out
    rows = []
    for file in files:
        row = _label(file.path, by_folder, table, left_out)
        if isinstance(row, str):
            skipped.append((file.original, row))
        else:
            rows.append((file.original, *row))
    if table and {"train"} < {split for _, _, split, _ in rows}:  # what is in no split was not meant to be trained on
        skipped += [(row[0], "in no split, and others are") for row in rows if row[2] is None]
        rows = [row for row in rows if row[2] is not None]
    used = {row[0] for row in rows}
    photos = pd.DataFrame(rows, columns=["original", "raw_label", "split", "owner_group"]).astype({"original": str})
    merged = merge_spellings(photos["raw_label"])
    photos["raw_label"] = photos["raw_label"].map(merged).astype(str)
    used_paths = {path for path in pictures if original_of[path] in used}
    layout = _describe(photos, by_folder, table, used_paths)
    others = [file.path.name for file in files if file.path.suffix.lower() in _OTHER_LABELS]
    notes = describe_merged(merged)
    if not table and others and len(merged) < 2:
        notes.append(f"Labels in {others[0]} cannot be read: save them as a table, labels.csv.")
    return Scan(
        photos=photos,
        skipped=pd.DataFrame(skipped, columns=["original", "reason"]),
        unmatched=table.unmatched if table else [],
        empty_classes=[] if table else _empty_classes(by_folder, folders, names),
        layout=replace(
            layout,
            notes=layout.notes + notes,
            left_out=_count_left_out([path for path in original_of if original_of[path] not in used], left_out, table),
        ),
    )


def _with_paths(names: list[PurePosixPath]) -> list[_File]:
    taken = set(names)
    files = []
    for name in names:
        path = PurePosixPath(str(name).replace("\\", "/")) if "\\" in str(name) else name
        if path != name and path in taken:
            path = name
        taken.add(path)
        files.append(_File(str(name), path))
    return files


def _find_labels(
    folder: Path, files: list[_File], pictures: list[PurePosixPath], labels: str | None
) -> tuple[FolderLayout, TableLabels | None]:
    """Return what the folders say, and the table of labels if the classes come from it."""
    tree = build_tree(pictures)
    if labels == "file names":
        return read_file_names(tree), None
    if labels and (level := _LEVEL.fullmatch(labels.strip())):
        return read_level(tree, int(level[1])), None
    by_folder = read_folders(tree)
    choice = parse_choice(labels) if labels else None
    table = _read_tables(folder, files, pictures, choice)
    if table is None and choice:
        raise UnclearFolder(folder, f"no table {labels!r} with names of photos is there, as LABELS says. {_ANSWERS}")
    if table is not None and not choice:
        table = _compare(folder, table, by_folder, pictures)
    if table is None:
        if by_folder.question:
            raise UnclearFolder(folder, by_folder.question)
        return by_folder, None
    if table.question:
        raise UnclearFolder(folder, table.question)
    return by_folder, table


def _read_tables(
    folder: Path, files: list[_File], pictures: list[PurePosixPath], choice: LabelChoice | None
) -> TableLabels | None:
    tables = [file.path for file in files if file.path.suffix.lower() in _TABLES and file.original == str(file.path)]
    return read_label_tables(folder, tables, pictures, choice) if tables else None


def _compare(
    folder: Path, table: TableLabels, by_folder: FolderLayout, pictures: list[PurePosixPath]
) -> TableLabels | None:
    """Return the table if the classes come from it, None if they come from folders, or raise the question."""
    in_folders = {path: found[0] for path in pictures if (found := by_folder.find(path))}
    if not by_folder.names_classes() or not in_folders:
        return table
    both = [(in_folders[path], row.label) for path, row in table.labels.items() if path in in_folders]
    pairs = Counter((name_key(in_folder), name_key(in_table)) for in_folder, in_table in both)
    same = sum(count for (one, other), count in pairs.items() if one == other)
    if map_one_to_one(pairs) or same >= _AGREE * pairs.total():
        adds = any(path not in in_folders for path in table.labels)
        if not (adds or table.split_column or table.group_column):
            return None
        names = dict(both)  # of a class in the folders → in the table
        rest = {path: TableLabel(names.get(label, label), None, None) for path, label in in_folders.items()}
        return replace(table, labels=rest | table.labels)
    if len(table.labels) < len(pictures) / 2 and not table.question:
        return None
    if table.named_labels and not by_folder.splits:
        return table
    name = str(table.tables[0])
    one, other = next(pair for pair in both if name_key(pair[0]) != name_key(pair[1]))
    raise UnclearFolder(
        folder,
        f"the names of the folders and {name} give different classes, {one} and {other} for one photo. Set "
        f'LABELS = "{name}" to use the table, or LABELS = "folder N" to use the N-th folder in each path.',
    )


def _label(
    path: PurePosixPath, by_folder: FolderLayout, table: TableLabels | None, left_out: dict[Parts, str]
) -> tuple[str, str | None, str | None] | str:
    """Return the class, split and group of a file, or the reason why it has no class."""
    if table is None:
        found = by_folder.find(path)
        if reason := _reason(path, left_out):
            return reason
        if found is not None:
            return (*found, None)
        in_split = by_folder.split_of(path) or not by_folder.splits
        return NO_CLASS if in_split else by_folder.elsewhere
    if path in table.tables:
        return "the table of labels itself"
    if path in table.labels:  # also where its folder gives no class
        row = table.labels[path]
        return row.label, row.split or by_folder.split_of(path), row.group
    return table.reasons.get(path) or _reason(path, left_out) or f"no line in {table.tables[0].name}"


def _reason(path: PurePosixPath, left_out: dict[Parts, str]) -> str:
    place = outermost(path.parts, left_out) if left_out else None
    return "" if place is None else left_out[place]


def _describe(
    photos: pd.DataFrame, by_folder: FolderLayout, table: TableLabels | None, used_paths: set[PurePosixPath]
) -> Layout:
    classes = sorted(set(photos["raw_label"]))
    used_folders = {path.parts[:length] for path in used_paths for length in range(len(path.parts))}
    without_class = [sub for sub in by_folder.without_class if used_paths.isdisjoint(sub.all_files())]
    splits = sorted(by_folder.splits.items(), key=lambda item: (SPLIT_ORDER.index(item[1]), item[0]))
    layout = Layout(
        shape=by_folder.shape,
        why=by_folder.why,
        classes=classes,
        splits={"/".join(parts): split for parts, split in splits if parts in used_folders},
        without_class=["/".join(sub.parts) for sub in without_class],
        example=_example(photos),
        notes=by_folder.notes,
    )
    if table is None:
        return layout
    names = " and ".join(str(path) for path in table.tables)
    return replace(
        layout,
        shape="a table of labels",
        why=f"{len(photos):,} photos have a line in {names}",
        splits=layout.splits or {split: split for split in SPLIT_ORDER if split in set(photos["split"])},
        table=names,
        file_column=table.file_column,
        class_column=table.class_column,
        group_column=table.group_column,
        split_column=table.split_column,
        matched_by=table.matched_by,
    )


def _example(photos: pd.DataFrame) -> tuple[str, str] | None:
    """Return a photo, of the training split if there is one, and its class."""
    if photos.empty:
        return None
    first = photos.loc[(photos["split"] == "train").idxmax()]
    return first["original"], first["raw_label"]


def _count_left_out(
    files: list[PurePosixPath], left_out: dict[Parts, str], table: TableLabels | None
) -> dict[str, str]:
    """Return what is left out by folder, with the number of files and the reason."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in files:
        place = outermost(path.parts, left_out)
        if place is not None and not (table and path in table.tables):
            folder = path.parent if place == path.parts else PurePosixPath(*place)
            counts[f"{folder}", left_out[place]] += 1
    shown = {folder: f"{plural(count, 'file')}: {reason}" for (folder, reason), count in counts.items()}
    tables = {name: why for name, why in (table.ignored if table else {}).items() if ": " not in name}
    return shown | tables  # what is said of the columns of a table is too much for a summary


def _empty_classes(by_folder: FolderLayout, folders: list[PurePosixPath], files: list[PurePosixPath]) -> list[str]:
    """Return the names of folders beside class folders that no file is in."""
    parents = {parts[:-1] for parts in by_folder.class_folders}
    filled = {path.parts[:length] for path in files for length in range(1, len(path.parts))}
    with_photos = {name_key(label) for label, _ in by_folder.class_folders.values()}
    empty = [
        path for path in folders if path.parts[:-1] in parents and not is_hidden(path) and path.parts not in filled
    ]
    return sorted({normalize("NFC", path.name) for path in empty if name_key(path.name) not in with_photos})
