"""The scan of a folder: its files, their classes, and the splits that the owner made."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import pandas as pd

from phototransfer.console import plural, shorten_list
from phototransfer.files import safe_name
from phototransfer.photos.labels import Row, read_labels

SPLITS = {
    **dict.fromkeys(("train", "training", "training_set", "train_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val_set", "validation_set"), "val"),
    **dict.fromkeys(("test", "testing", "test_set"), "test"),
}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", ".ds_store", ".directory"}
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
_MAX_DEPTH = 100
_NO_CLASS = "in no class folder"
_Parts = tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """All files of a source folder, each of them once."""

    photos: pd.DataFrame  #: original (POSIX path below the folder), raw_label, split (None where the owner made none)
    skipped: pd.DataFrame  #: original, reason
    unmatched: list[str]  #: names in labels.csv that no file has
    empty_classes: list[str]  #: class folders without a file that may be a photo
    reading: str  #: how the folder was understood


def scan_folder(folder: Path, ignore: Iterable[str] = ()) -> Scan:
    """List the files of a folder in one of three shapes: split folders, labels.csv or class folders.

    Entries directly in `folder` whose names are in `ignore` are not part of it. No file but labels.csv is opened.
    """
    files, folders, skipped = _walk(folder, set(ignore))
    top = _skip_wrappers(files)
    labels_file, split_folders = _labels_file(files, top), _split_folders(files, top)
    unmatched: list[str] = []
    if labels_file and not split_folders:
        rows, unmatched = read_labels(folder, labels_file, files)
    else:
        rows = _from_folders(files, top, split_folders)
    # One class, however the name of its folder is stored: macOS takes é apart into two characters.
    used = [(row.original, normalize("NFC", row.raw_label), row.split) for row in rows if not row.reason]
    skipped += [(row.original, row.reason) for row in rows if row.reason]
    photos = pd.DataFrame(used, columns=["original", "raw_label", "split"]).astype({"original": str})
    class_parents = set(split_folders.values()) or (set() if labels_file else {top})
    subfolders = [path for path in folders if path.parts[:-1] in class_parents and not _is_hidden(path)]
    return Scan(
        photos=photos,
        skipped=pd.DataFrame(skipped, columns=["original", "reason"]),
        unmatched=unmatched,
        empty_classes=sorted({normalize("NFC", path.name) for path in subfolders} - set(photos["raw_label"])),
        reading=_describe(photos, top, split_folders, labels_file),
    )


def label_folders(raw_labels: Iterable[str]) -> dict[str, str]:
    """Return a folder name for each class, distinct even where a file system ignores case or forbids a character."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for raw in sorted(set(raw_labels)):
        base = name = safe_name(raw)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        names[raw] = name
    return names


def made_by_system(name: str) -> bool:
    """Return whether the operating system creates files of this name in folders."""
    return name.lower() in _SYSTEM_FILES or name.startswith("._")


def _walk(folder: Path, ignore: set[str]) -> tuple[list[PurePosixPath], list[PurePosixPath], list[tuple[str, str]]]:
    """Return every file in a fixed order, every folder, and what cannot be read with the reason."""
    files: list[PurePosixPath] = []
    folders: list[PurePosixPath] = []
    skipped: list[tuple[str, str]] = []

    def visit(path: PurePosixPath, parents: tuple[tuple[int, int], ...]) -> None:
        try:
            info = (folder / path).stat()
            entries = sorted(os.scandir(folder / path), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append((str(path), f"folder cannot be read ({error.strerror})"))
            return
        if (info.st_dev, info.st_ino) in parents:
            skipped.append((str(path), "a link to a folder that contains it"))
            return
        if len(path.parts) > _MAX_DEPTH:
            skipped.append((str(path), f"a folder more than {_MAX_DEPTH} folders deep"))
            return
        for entry in entries:
            below = path / entry.name
            if str(below) in ignore:
                continue
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                skipped.append((str(below), f"cannot be read ({error.strerror}): is it a broken link?"))
                continue
            if stat.S_ISDIR(mode):
                folders.append(below)
                visit(below, (*parents, (info.st_dev, info.st_ino)))
            elif not stat.S_ISREG(mode):
                skipped.append((str(below), "not a regular file"))
            elif _is_hidden(below):
                skipped.append((str(below), "hidden file or folder"))
            elif made_by_system(entry.name):
                skipped.append((str(below), "a file of the operating system"))
            else:
                files.append(below)

    visit(PurePosixPath(), ())
    return files, folders, skipped


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part.lower() in _SYSTEM_FOLDERS for part in path.parts)


def _below(path: PurePosixPath, folder: _Parts) -> _Parts:
    """Return the parts of a path below a folder, () if it is not in it."""
    return path.parts[len(folder) :] if path.parts[: len(folder)] == folder else ()


def _skip_wrappers(files: list[PurePosixPath]) -> _Parts:
    """Return the folder inside those that only wrap another one (pets/pets/<class>/) and have no labels.csv."""
    top: _Parts = ()
    while _labels_file(files, top) is None:
        paths = [_below(file, top) for file in files]
        folders = {parts[0] for parts in paths if len(parts) > 1}
        if len(folders) != 1 or not any(len(parts) > 2 for parts in paths):
            break
        top = (*top, *folders)
    return top


def _labels_file(files: list[PurePosixPath], top: _Parts) -> PurePosixPath | None:
    return next((file for file in files if file.name.lower() == "labels.csv" and file.parent.parts in ((), top)), None)


def _split_folders(files: list[PurePosixPath], top: _Parts) -> dict[str, _Parts]:
    """Return each split folder with the folder that holds its classes; {} without a train folder with classes."""
    contents: dict[str, list[_Parts]] = defaultdict(list)
    for file in files:
        parts = _below(file, top)
        if len(parts) > 2 and parts[0].lower() in SPLITS:
            contents[parts[0]].append(parts[1:])
    if "train" not in {SPLITS[name.lower()] for name in contents}:
        return {}
    parents = {}
    for name, paths in contents.items():
        # training_set/training_set/<class>/, as a well-known archive of cats and dogs is packed
        doubled = all(parts[0] == name for parts in paths) and any(len(parts) > 2 for parts in paths)
        parents[name] = (*top, name, name) if doubled else (*top, name)
    return parents


def _from_folders(files: list[PurePosixPath], top: _Parts, split_folders: dict[str, _Parts]) -> list[Row]:
    """Take the class from the names of folders, in `top` or in each split folder."""
    split_of: dict[_Parts, str | None]
    split_of = {parent: SPLITS[name.lower()] for name, parent in split_folders.items()} or {top: None}
    elsewhere = f"not in a split folder ({', '.join(sorted(split_folders))})"
    rows = []
    for file in files:
        parent = next((parent for parent in split_of if len(_below(file, parent)) > 1), None)
        name = next(iter(_below(file, top)), "")
        if parent is not None:
            rows.append(Row(str(file), _below(file, parent)[0], split_of[parent]))
        else:
            rows.append(Row(str(file), reason=elsewhere if split_folders and name.lower() not in SPLITS else _NO_CLASS))
    classes = {row.raw_label for row in rows if not row.reason}
    if not split_folders and len(classes) > 1 and all(name.lower() in SPLITS for name in classes):
        return [Row(row.original, reason="in a split folder that has no class folders") for row in rows]
    return rows


def _describe(
    photos: pd.DataFrame, top: _Parts, split_folders: dict[str, _Parts], labels_file: PurePosixPath | None
) -> str:
    """Return which shape was recognized and why, which folders are splits, and what the classes are."""
    if photos.empty:
        return "No photo with a class was found."
    names = sorted(set(photos["raw_label"]))
    classes, inside = f"{plural(len(names), 'class')}: {shorten_list(names)}", f" in {'/'.join(top)}" if top else ""
    if split_folders:
        in_order = sorted(split_folders, key=lambda name: list(SPLITS).index(name.lower()))
        meaning = {name: SPLITS[name.lower()] for name in in_order}
        splits = ", ".join(name if name == split else f"{name} = {split}" for name, split in meaning.items())
        missing = " and ".join(sorted({"val", "test"} - set(meaning.values())))
        text = f"Read as split folders{inside} ({splits}) with class folders ({classes})."
        text += f" A part of train becomes {missing}." if missing else ""
        return text + (f" {labels_file} is ignored." if labels_file else "")
    if labels_file:
        photo = photos.iloc[0]
        return (
            f"Read as photos with a table of labels, {labels_file}: photo and class (for example, {photo.original} is "
            f"{photo.raw_label}; {classes}). Names of folders are ignored."
        )
    return f"Read as class folders{inside} ({classes}): there is no train folder with class folders and no labels.csv."
