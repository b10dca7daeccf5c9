"""Tables as programs write them: text in any encoding, with any separator, with or without a header."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from phototransfer.photos.labels.names import is_picture_name

_SEPARATORS = ",;\t|"
_SAMPLE = 100_000  # characters that the separator is found from
_TAKEN_FOR_ONE_PER_PHOTO = 20  # text files with the names of photos hold boxes or captions, each of one photo


@dataclass(frozen=True)
class Table:
    """A table of text: the names of its columns ("column 1" without a header), and the cells of each."""

    header: list[str]
    columns: list[Sequence[str]]

    def without_header(self) -> "Table":
        """Return the table whose first line is no header."""
        names = [f"column {number + 1}" for number in range(len(self.header))]
        return Table(names, [(name, *cells) for name, cells in zip(self.header, self.columns, strict=True)])


def read_table(path: Path) -> Table | None:
    """Read a table. Its first line is taken for the header.

    Returns
    -------
    Table or None
        None if the text has fewer than two columns or two lines.

    Raises
    ------
    ValueError
        A quotation mark is not closed.
    """
    text = _decode(path.read_bytes())
    first, _, rest = text.partition("\n")
    if match := re.fullmatch(r"sep=(.)\r?", first):  # Excel's own line
        rows = _rows(rest, match[1], path)
    elif separator := _find_separator(text):
        rows = _rows(text, separator, path)
    elif path.suffix.lower() == ".txt":
        rows = _rows_with_spaces(text)
    else:
        return None
    if not rows:
        return None
    width = Counter(map(len, rows)).most_common(1)[0][0]
    while rows and len(rows[0]) < max(2, width - 1):  # a title above the header
        rows.pop(0)
    if width < 2 or len(rows) < 2:
        return None
    header, *body = rows
    columns: list[Sequence[str]] = list(zip(*(row[:width] + [""] * (width - len(row)) for row in body), strict=True))
    names = [name.strip() for name in header[:width]]
    if len(names) < width:  # R writes no name above the numbers of the lines
        place = len(names) if not any(columns[-1]) else 0
        names.insert(place, "")
    return Table(names, columns)


def per_photo(stems: Sequence[str], photo_stems: set[str]) -> set[str]:
    """Return which names of text files, without their endings, belong to single photos, as boxes for YOLO do."""
    same = {stem for stem in stems if stem in photo_stems}
    return same if len(same) > _TAKEN_FOR_ONE_PER_PHOTO else set()


def _rows(text: str, separator: str, path: Path) -> list[list[str]]:
    known: dict[str, str] = {}
    once = known.setdefault  # each text once in memory: classes are repeated
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
            if any(cell.strip() for cell in row):
                rows.append([once(cell, cell) for cell in row])
    except csv.Error as error:
        raise ValueError(f'{path.name} is not a valid table: {error}. Is there a single " in it?') from error
    return rows


def _rows_with_spaces(text: str) -> list[list[str]]:
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = [_join_name(row) for row in rows]
    rows = joined if all(len(row) > 1 for row in joined) else rows
    return rows if len(set(map(len, rows))) == 1 and len(rows[0]) > 1 else []


def _join_name(row: list[str]) -> list[str]:
    """Return a line in which the name of a picture that has spaces in it is one cell."""
    end = next((number for number, cell in enumerate(row, 1) if is_picture_name(cell)), 1)
    return [" ".join(row[:end]), *row[end:]]


def _find_separator(text: str) -> str:
    """Return the sign that gives most lines the same number of columns, "" if none gives two."""
    scores = {}
    for separator in _SEPARATORS:
        with suppress(csv.Error):
            rows = [row for row in csv.reader(io.StringIO(text[:_SAMPLE], newline=""), delimiter=separator) if row]
            counts = Counter(len(row) for row in rows if len(row) > 1).most_common(1)
            if counts and counts[0][1] >= 0.5 * len(rows):
                scores[separator] = (counts[0][1], counts[0][0])
    return max(scores, key=lambda separator: scores[separator]) if scores else ""


def _decode(data: bytes) -> str:
    """Return the text of a file in UTF-8, or in what Excel writes: UTF-16 with a mark, or the Windows code page."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    with suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    return data.decode("cp1252", "replace")
