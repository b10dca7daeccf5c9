"""Which class does labels.csv give each photo?"""

import csv
import io
from collections import defaultdict
from pathlib import Path, PurePosixPath


def read_labels(
    path: Path, labels_file: PurePosixPath, files: list[PurePosixPath]
) -> tuple[list[tuple[str, str | None, None, str | None]], list[str]]:
    """Match the files beside labels.csv with its lines: first column a photo's name, path or id, second its class.

    Lines only ever pick from `files`; a path in labels.csv is never opened. Returns one row a file (original, label,
    None, reason it is skipped or None) and the ids that no file has. Raises ValueError if the file is not such a table.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for line in _lines(path):
        labels[line[0].strip().replace("\\", "/")].add(line[1].strip())
    rows: list[tuple[str, str | None, None, str | None]] = []
    matched: set[str] = set()
    for file in files:
        if file == labels_file:
            rows.append((str(file), None, None, "the list of labels itself"))
            continue
        inside = file.relative_to(labels_file.parent) if file.is_relative_to(labels_file.parent) else file
        name = next((n for n in (str(inside), file.name, str(inside.with_suffix("")), file.stem) if n in labels), None)
        classes = labels[name] if name is not None else set()
        matched |= {name} if name is not None else set()
        rows.append((str(file), *_label_or_reason(name, classes)))
    # The first line is the header unless a photo has that name.
    return rows, [name for number, name in enumerate(labels) if number and name not in matched]


def _label_or_reason(name: str | None, classes: set[str]) -> tuple[str | None, None, str | None]:
    if name is None:
        return None, None, "no line in labels.csv"
    if len(classes) > 1:
        return None, None, f"labels.csv gives it several classes: {', '.join(sorted(classes))}"
    label = next(iter(classes))
    return (label, None, None) if label else (None, None, "labels.csv gives it an empty class")


def _lines(path: Path) -> list[list[str]]:
    text = path.read_bytes().decode("utf-8-sig", "replace")
    header = text.split("\n", 1)[0]
    separator = max(",;\t|", key=header.count)
    if not header.count(separator):
        raise ValueError(f"{path} needs two columns, a photo's name and its class, with a comma between them.")
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    return [line for line in lines if len(line) >= 2 and line[0].strip()]
