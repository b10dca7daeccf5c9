"""The table of labels, labels.csv: a class for each photo."""

import codecs
import csv
import io
import unicodedata
from collections import defaultdict
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_SEPARATORS = ",;\t|"


class Row(NamedTuple):
    """A file of a source folder, and the reason why it is skipped ("" if it may be a photo)."""

    original: str
    raw_label: str = ""
    split: str | None = None
    reason: str = ""


def read_labels(folder: Path, labels_file: PurePosixPath, files: list[PurePosixPath]) -> tuple[list[Row], list[str]]:
    """Match files with lines of labels.csv (name, path or id of a photo, and its class). No path in it is opened.

    Returns
    -------
    rows, unmatched : list of Row, list of str
        One row per file, and the names that no file has.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for line in _lines(folder / labels_file):
        labels[_normalized_path(line[0])].add(unicodedata.normalize("NFC", line[1].strip()))
    names = {file: _find_name(file, labels_file.parent, labels) for file in files if file != labels_file}
    folders: dict[str, set[PurePosixPath]] = defaultdict(set)
    for file, (name, _) in names.items():
        folders[name].add(file.parent)
    rows = [Row(str(labels_file), reason="the list of labels itself")]
    for file, (name, is_path) in names.items():
        classes = sorted(label or "(none)" for label in labels.get(name, ()))
        reason = ""
        if not name:
            reason = "no line in labels.csv"
        elif len(folders[name]) > 1 and not is_path:
            reason = "labels.csv names it without its folder, and several folders have a file of that name"
        elif len(classes) > 1:
            reason = f"labels.csv gives it several classes: {', '.join(classes)}"
        elif labels[name] == {""}:
            reason = "labels.csv gives it an empty class"
        rows.append(Row(str(file), "" if reason else classes[0], reason=reason))
    header = list(labels)[:1]  # unless a photo has that name
    return rows, [name for name in labels if name not in folders and name not in header]


def _normalized_path(name: str) -> str:
    """Return a path with composed characters (macOS stores é as two) and slashes."""
    return unicodedata.normalize("NFC", name.strip()).replace("\\", "/").removeprefix("./")


def _find_name(file: PurePosixPath, folder: PurePosixPath, labels: dict[str, set[str]]) -> tuple[str, bool]:
    """Return the name that labels.csv has for a file, "" for none, and whether it is a path below `folder`."""
    inside = file.relative_to(folder) if file.is_relative_to(folder) else file
    candidates = [_normalized_path(str(path)) for path in (inside, file.name, inside.with_suffix(""), file.stem)]
    match = next((name for name in candidates if name in labels), "")
    return match, match in candidates[::2]


def _lines(path: Path) -> list[list[str]]:
    text = _decode(path.read_bytes())
    header = next((line for line in text.splitlines() if any(sign in line for sign in _SEPARATORS)), "")
    separator = max(_SEPARATORS, key=header.count)
    if not header:
        raise ValueError(f"{path} needs two columns, the name of a photo and its class, separated by a comma.")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise ValueError(f'{path} is not a valid table: {error}. Is there a single " in it?') from error
    return [line for line in lines if len(line) >= 2 and line[0].strip()]


def _decode(data: bytes) -> str:
    """Return the text of a file in UTF-8, or in what Excel writes: UTF-16 with a mark, or the Windows code page."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    with suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    return data.decode("cp1252", "replace")
