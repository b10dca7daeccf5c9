"""Names of photos in a table, and the files that they mean."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

from phototransfer.photos.layout.tree import split_word
from phototransfer.photos.walk import PICTURE_ENDINGS

_PICTURE = re.compile(rf"\.({'|'.join(PICTURE_ENDINGS)})$", re.IGNORECASE)
_ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.\-]+://")
_DRIVE = re.compile(r"^[a-zA-Z]:/")
_WHOLE_NUMBER = re.compile(r"(\d+)\.0+")
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_MANY = 100  # files of one name, none of which is in the folder that the table says
_DIFFERENT = 0.95  # of the names must differ without their folders for a file to be found in another folder
_IN_SPLIT = 0.98  # of the names must have a file in a split for a name in two splits to mean the file there

#: How alike a name and a file are, from the best on. What differs is ignored.
_LEVELS = ("", " without extension", ", ignoring case", " without extension, ignoring case", ", ignoring leading zeros")
_PLACES = ("path", "end of the path", "name", "end of the path, in other folders", "name, in other folders")
_OTHER_FOLDERS = 3  # the first of the places at which a file lies in other folders than the name says


class Match(NamedTuple):
    """What the names in one column mean."""

    files: dict[str, list[PurePosixPath]]  #: name → its file (or files that differ only in their extension)
    ambiguous: dict[str, list[PurePosixPath]]  #: name → the files that it may mean
    rank: tuple[int, int]  #: place and level of the weakest match that is needed: the lower, the more specific
    how: str  #: in words


NO_MATCH = Match({}, {}, (9, 9), "")


class PhotoNames:
    """The files that may be photos, found by the end of their paths."""

    def __init__(self, files: Sequence[PurePosixPath]) -> None:
        self.splits = {split_of_folder(file.parent) for file in files}
        self.stems = {file.stem.casefold() for file in files}
        self._ends: dict[str, list[PurePosixPath]] = defaultdict(list)
        for file in files:
            for spelling in {_loose("/".join(file.parts)), _loose("/".join(file.with_suffix("").parts))}:
                for end in _ends(spelling):
                    self._ends[end].append(file)

    def may_mean_photo(self, name: str) -> bool:
        """Return whether a file has this name, however loosely read and in whichever folder."""
        return _loose(_clean(name)).rsplit("/", 1)[-1] in self._ends

    def match(self, names: Iterable[str], table: PurePosixPath) -> Match:
        """Find the files of names in a table: the longest common end of the paths, then the closest spelling."""
        found = {name: self._closest(name, table) for name in names}
        known = {name: hit for name, hit in found.items() if hit}
        if any(hit[0][0] < _OTHER_FOLDERS and "/" in _clean(name) for name, hit in known.items()):
            known = {name: hit for name, hit in known.items() if hit[0][0] < _OTHER_FOLDERS}
        elif len({name.rsplit("/", 1)[-1] for name in map(_clean, known)}) < _DIFFERENT * len(known):
            known = {name: hit for name, hit in known.items() if hit[0][0] != len(_PLACES) - 1}
        known = _prefer_covering_split(known)
        best: dict[PurePosixPath, tuple[int, int]] = {}
        for rank, files in known.values():
            for file in files:
                best[file] = min(rank, best.get(file, rank))
        sure: dict[str, list[PurePosixPath]] = {}
        ambiguous: dict[str, list[PurePosixPath]] = {}
        ranks = set()
        for name, (rank, files) in known.items():
            files = [file for file in files if not _is_weaker(rank, best[file])]
            if len({file.with_suffix("") for file in files}) > 1:
                ambiguous[name] = files
            elif files:
                sure[name] = files
                ranks.add(rank)
        places = sorted({place for place, _ in ranks})
        how = " or ".join(_PLACES[place] for place in places)
        ignored = dict.fromkeys(_LEVELS[level] for _, level in sorted(ranks, key=lambda rank: rank[1]))
        return Match(sure, ambiguous, max(ranks, default=NO_MATCH.rank), how + "".join(ignored))

    def _closest(self, name: str, table: PurePosixPath) -> tuple[tuple[int, int], list[PurePosixPath]] | None:
        written = _clean(name)
        whole = _join(table.parent, written)
        length = whole.count("/") + 1
        for end in _ends(_loose(whole), longest_first=True):
            files = self._ends.get(end, [])
            if len(files) > _MANY and "/" in written:
                return None
            files = self._in_same_split(files, written, table) if files else files
            if files:
                below = [file for file in files if file.is_relative_to(table.parent)] or files
                place = _place(end.count("/") + 1, written, length, below[0])
                levels = {file: _level(written, file) for file in below}
                level = min(levels.values())
                return (place, level), [file for file in below if levels[file] == level]
        return None

    def _in_same_split(self, files: list[PurePosixPath], written: str, table: PurePosixPath) -> list[PurePosixPath]:
        """Leave out files in a split folder if the name, or else the table, says another split."""
        split = split_of_folder(PurePosixPath(written).parent) or split_of_table(table)
        if split is None:
            return files
        others = {None, split} if split in self.splits or split == "test" else {None, split, "train", "val"}
        return [file for file in files if split_of_folder(file.parent) in others]


@cache
def split_of_folder(folder: PurePosixPath) -> str | None:
    """Return the split that the innermost of the folders with such a word says."""
    return next((split for name in reversed(folder.parts) if (split := split_word(name))), None)


def split_of_table(table: PurePosixPath) -> str | None:
    """Return the split that the name of a table says, or else the folder it is in."""
    return split_word(table.stem) or split_of_folder(table.parent)


def is_picture_name(text: str) -> bool:
    """Return whether a text ends like the name of a picture."""
    return bool(_PICTURE.search(text.strip()))


def _clean(name: str) -> str:
    """Return a name as a path with slashes and composed characters, without the root of a disk or an address."""
    name = normalize("NFC", name.strip()).replace("\\", "/")
    if address := _ADDRESS.match(name):
        name = unquote(name[address.end() :].split("?")[0].split("#")[0])
    name = _DRIVE.sub("", name)
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def _join(folder: PurePosixPath, name: str) -> str:
    return "/".join((*folder.parts, name))


def _loose(path: str) -> str:
    """Return a path without what may differ: case, extension, leading zeros, the .0 of a number."""
    path = normalize("NFC", path).casefold()
    path = _PICTURE.sub("", path)
    folders, slash, last = path.rpartition("/")
    if number := _WHOLE_NUMBER.fullmatch(last):
        last = number[1]
    return folders + slash + _LEADING_ZEROS.sub("", last)


def _ends(path: str, *, longest_first: bool = False) -> list[str]:
    parts = path.split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return ends if longest_first else ends[::-1]


def _place(common: int, written: str, length: int, file: PurePosixPath) -> int:
    """Return the place in _PLACES; `common` is the number of names at the end that both paths share."""
    own, parts = written.count("/") + 1, len(file.parts)
    if common == parts and common in (own, length):
        return 0
    if common == parts or common >= own:
        return 1 if min(common, own) > 1 else 2
    return 3 if common > 1 else 4


def _is_weaker(rank: tuple[int, int], best: tuple[int, int]) -> bool:
    """Return whether a name means a file less than another name does: "A.jpg" beside "a.jpg", but not "a"."""
    return rank != best and (rank[0] != best[0] or rank[1] > 1)


def _level(written: str, file: PurePosixPath) -> int:
    """Return the level in _LEVELS that a name and the name of a file have in common."""
    name, own = written.rsplit("/", 1)[-1], normalize("NFC", file.name)
    stem = own.removesuffix(file.suffix)
    if name == own:
        return 0
    if name == stem:
        return 1
    if name.casefold() == own.casefold():
        return 2
    return 3 if _PICTURE.sub("", name).casefold() == _PICTURE.sub("", own).casefold() else 4


def _prefer_covering_split(
    found: dict[str, tuple[tuple[int, int], list[PurePosixPath]]],
) -> dict[str, tuple[tuple[int, int], list[PurePosixPath]]]:
    """Where names have files in several splits, keep those of the one split that has a file for (nearly) each name."""
    unclear = {name for name, (_, files) in found.items() if len(files) > 1}
    if not unclear:
        return found
    counts: dict[str | None, int] = defaultdict(int)
    for _, files in found.values():
        for split in {split_of_folder(file.parent) for file in files}:
            counts[split] += 1
    covering = [split for split, count in counts.items() if split and count >= _IN_SPLIT * len(found)]
    if len(covering) != 1:
        return found
    kept = dict(found)
    for name in unclear:
        rank, files = found[name]
        kept[name] = (rank, [file for file in files if split_of_folder(file.parent) == covering[0]] or files)
    return kept
