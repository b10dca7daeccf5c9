"""Which files are there, which class is each of, and in which split did its owner put it?"""

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from helpers.files import safe_name
from helpers.photos.labels import read_labels

SPLITS = {
    **dict.fromkeys(("train", "training", "training_set", "train_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val_set", "validation_set"), "val"),
    **dict.fromkeys(("test", "testing", "test_set"), "test"),
}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", ".ds_store", ".directory"}
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
_DEEPEST = 100


@dataclass(frozen=True)
class Listing:
    """All files of a source folder, each of them once: those that may be photos, and those that are not read.

    `photos` has the columns original (POSIX path below the source folder), raw_label and split (None where the owner
    made none); `skipped` has original and reason. `unknown_ids` are names in labels.csv that no file has, `empty` are
    class folders without a file that may be a photo.
    """

    photos: pd.DataFrame
    skipped: pd.DataFrame
    unknown_ids: list[str]
    empty: list[str]


def list_photos(folder: Path, ignore: Iterable[str] = ()) -> Listing:
    """List `folder` in one of three shapes, told apart by looking at it: split folders, labels.csv, class folders.

    `ignore` names entries directly in `folder` that are not part of it at all. Nothing is opened but labels.csv.
    """
    files, folders, skipped = _walk(folder, set(ignore))
    top, labels_file = _descend(files), None
    split_folders = _split_folders(top, files)
    unknown: list[str] = []
    if split_folders:
        rows = _by_split_folder(files, top, split_folders)
    elif labels_file := _labels_file(files, top):
        rows, unknown = read_labels(folder / labels_file, labels_file, files)
    else:
        rows = _by_class_folder(files, top)
    # One class, however its folder's name is stored: a Mac takes é apart into two characters.
    used = [(row[0], unicodedata.normalize("NFC", row[1]), row[2]) for row in rows if row[3] is None]
    skipped += [(row[0], row[3]) for row in rows if row[3] is not None]
    photos = pd.DataFrame(used, columns=["original", "raw_label", "split"]).astype({"original": str})
    empty = [] if labels_file else _empty_classes(top, split_folders, folders, {row[1] for row in rows})
    return Listing(photos, pd.DataFrame(skipped, columns=["original", "reason"]), unknown, empty)


def label_folders(raw_labels: Iterable[str]) -> dict[str, str]:
    """A folder name for every class, distinct even where the file system ignores case or forbids a character."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for raw in sorted(set(raw_labels)):
        base = name = safe_name(raw)
        number = 2
        while name.casefold() in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name.casefold())
        names[raw] = name
    return names


def made_by_system(name: str) -> bool:
    """Whether the operating system puts files of this name into folders that somebody looks at."""
    return name.lower() in _SYSTEM_FILES or name.startswith("._")


def _walk(folder: Path, ignore: set[str]) -> tuple[list[PurePosixPath], list[PurePosixPath], list[tuple[str, str]]]:
    """Every file below `folder` in a fixed order, every folder, and what cannot be read, with the reason."""
    files: list[PurePosixPath] = []
    folders: list[PurePosixPath] = []
    skipped: list[tuple[str, str]] = []

    def visit(here: Path, path: PurePosixPath, above: tuple[tuple[int, int], ...]) -> None:
        try:
            info = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append((str(path), f"folder cannot be read ({error.strerror})"))
            return
        if (info.st_dev, info.st_ino) in above:
            skipped.append((str(path), "a link to a folder that it lies in"))
            return
        if len(path.parts) > _DEEPEST:
            skipped.append((str(path), f"a folder more than {_DEEPEST} folders deep"))
            return
        for entry in entries:
            below = path / entry.name
            if not path.parts and entry.name in ignore:
                continue
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                skipped.append((str(below), f"cannot be read ({error.strerror}): a link that leads nowhere?"))
                continue
            if stat.S_ISDIR(mode):
                folders.append(below)
                visit(here / entry.name, below, (*above, (info.st_dev, info.st_ino)))
            elif reason := _not_a_photo(below, mode):
                skipped.append((str(below), reason))
            else:
                files.append(below)

    visit(folder, PurePosixPath(), ())
    return files, folders, skipped


def _not_a_photo(path: PurePosixPath, mode: int) -> str | None:
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if _is_hidden(path):
        return "hidden file or folder"
    return "a file of the operating system" if made_by_system(path.name) else None


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part.lower() in _SYSTEM_FOLDERS for part in path.parts)


def _descend(files: list[PurePosixPath]) -> tuple[str, ...]:
    """Step into folders that only wrap one other folder, as unpacked archives do (pets/pets/<class>/).

    A readme beside that folder does not keep from it, labels.csv does.
    """
    top: tuple[str, ...] = ()
    while True:
        below = {f.parts[len(top)] for f in files if len(f.parts) > len(top) + 1 and f.parts[: len(top)] == top}
        if len(below) != 1 or _labels_file(files, top) is not None:
            return top
        inner = (*top, next(iter(below)))
        if not any(len(f.parts) > len(inner) + 1 and f.parts[: len(inner)] == inner for f in files):
            return top
        top = inner


def _split_folders(top: tuple[str, ...], files: list[PurePosixPath]) -> dict[str, tuple[str, ...]]:
    """The folder below `top` → where its class folders begin; empty unless there is a train folder with classes."""
    found: dict[str, list[PurePosixPath]] = defaultdict(list)
    for file in files:
        rest = file.parts[len(top) :]
        if file.parts[: len(top)] == top and len(rest) > 2 and rest[0].lower() in SPLITS:
            found[rest[0]].append(PurePosixPath(*rest[1:]))
    if "train" not in {SPLITS[name.lower()] for name in found}:
        return {}
    return {name: (*top, name, *_wrapper(name, inside)) for name, inside in found.items()}


def _wrapper(name: str, inside: list[PurePosixPath]) -> tuple[str, ...]:
    """("training_set",) for training_set/training_set/<class>/, the way one well-known archive is packed."""
    doubled = all(path.parts[0] == name for path in inside) and any(len(path.parts) > 2 for path in inside)
    return (name,) if doubled else ()


def _empty_classes(
    top: tuple[str, ...],
    split_folders: dict[str, tuple[str, ...]],
    folders: list[PurePosixPath],
    classes: set[str | None],
) -> list[str]:
    """Folders where class folders are, that no photo is in."""
    starts = set(split_folders.values()) or {top}
    names = {path.name for path in folders if path.parts[:-1] in starts and not _is_hidden(path)}
    return sorted(names - classes)


Row = tuple[str, str | None, str | None, str | None]
_UNCLASSED = "in no class folder"


def _by_split_folder(files: list[PurePosixPath], top: tuple[str, ...], starts: dict[str, tuple[str, ...]]) -> list[Row]:
    rows: list[Row] = []
    for file in files:
        name = file.parts[len(top)] if len(file.parts) > len(top) else ""
        start = starts.get(name)
        if start is None or file.parts[: len(start)] != start or len(file.parts) < len(start) + 2:
            known = name.lower() in SPLITS
            where = _UNCLASSED if known else f"not in a split folder ({', '.join(sorted(starts))})"
            rows.append((str(file), None, None, where))
        else:
            rows.append((str(file), file.parts[len(start)], SPLITS[name.lower()], None))
    return rows


def _by_class_folder(files: list[PurePosixPath], top: tuple[str, ...]) -> list[Row]:
    inside = {f: f.parts[: len(top)] == top and len(f.parts) > len(top) + 1 for f in files}
    classes = {file.parts[len(top)] for file in files if inside[file]}
    if len(classes) > 1 and all(name.lower() in SPLITS for name in classes):
        return [(str(file), None, None, "in a split folder that has no class folders") for file in files]
    return [
        (str(file), file.parts[len(top)], None, None) if inside[file] else (str(file), None, None, _UNCLASSED)
        for file in files
    ]


def _labels_file(files: list[PurePosixPath], top: tuple[str, ...]) -> PurePosixPath | None:
    found = [f for f in files if f.name.lower() == "labels.csv" and f.parent.parts in ((), top)]
    return found[0] if found else None
