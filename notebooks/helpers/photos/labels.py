"""Which class does labels.csv give each photo?"""

import codecs
import csv
import io
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath

_SEPARATORS = ",;\t|"


def read_labels(
    path: Path, labels_file: PurePosixPath, files: list[PurePosixPath]
) -> tuple[list[tuple[str, str | None, None, str | None]], list[str]]:
    """Match the files beside labels.csv with its lines: first column a photo's name, path or id, second its class.

    Lines only ever pick from `files`; a path in labels.csv is never opened. Returns one row a file (original, label,
    None, reason it is skipped or None) and the ids that no file has. Raises ValueError if the file is not such a table.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for line in _lines(path):
        labels[_plain(line[0])].add(_plain(line[1], keep=True))
    named = {file: _named(file, labels_file.parent, labels) for file in files if file != labels_file}
    folders: dict[str, set[PurePosixPath]] = defaultdict(set)
    for file, (name, _) in named.items():
        folders[name].add(file.parent)
    rows: list[tuple[str, str | None, None, str | None]] = [
        (str(labels_file), None, None, "the list of labels itself"),
        *((str(file), *_label_or_reason(file, *named[file], labels, folders)) for file in named),
    ]
    matched = {name for name, _ in named.values()}
    # The first line is the header unless a photo has that name.
    return rows, [name for number, name in enumerate(labels) if number and name not in matched]


def _plain(name: str, keep: bool = False) -> str:
    """A name as it is compared: composed (a Mac stores é as two characters), with the path as POSIX writes it."""
    name = unicodedata.normalize("NFC", name.strip())
    return name if keep else name.replace("\\", "/").removeprefix("./")


def _named(file: PurePosixPath, beside: PurePosixPath, labels: dict[str, set[str]]) -> tuple[str, bool]:
    """By which name labels.csv has this file, "" for none, and whether that is its path and not its name alone."""
    inside = file.relative_to(beside) if file.is_relative_to(beside) else file
    paths = [_plain(str(inside)), _plain(str(inside.with_suffix("")))]
    names = [_plain(file.name), _plain(file.stem)]
    found = next((name for name in (paths[0], names[0], paths[1], names[1]) if name in labels), "")
    return found, found in paths


def _label_or_reason(
    file: PurePosixPath, name: str, by_path: bool, labels: dict[str, set[str]], folders: dict[str, set[PurePosixPath]]
) -> tuple[str | None, None, str | None]:
    if not name:
        return None, None, "no line in labels.csv"
    if len(folders[name]) > 1 and not by_path:
        return None, None, "labels.csv has its name without the folder, and several folders have a file of that name"
    classes = labels[name]
    if len(classes) > 1:
        return None, None, f"labels.csv gives it several classes: {', '.join(sorted(c or '(none)' for c in classes))}"
    label = next(iter(classes))
    return (label, None, None) if label else (None, None, "labels.csv gives it an empty class")


def _lines(path: Path) -> list[list[str]]:
    text = _text(path.read_bytes())
    header = next((line for line in text.splitlines() if any(sign in line for sign in _SEPARATORS)), "")
    separator = max(_SEPARATORS, key=header.count)
    if not header:
        raise ValueError(f"{path} needs two columns, a photo's name and its class, with a comma between them.")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise ValueError(f'{path} is no table that can be read: {error}. Is there a single " in it?') from error
    return [line for line in lines if len(line) >= 2 and line[0].strip()]


def _text(data: bytes) -> str:
    """UTF-8, or what Excel makes of a table: UTF-16 with its mark, or the Windows code page."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
