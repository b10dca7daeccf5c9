"""The folder `prepared/`: the index of files that were read, the store of prepared photos, and the trees for Keras.

A tree `{train,val,test}/<class>/*.jpg` consists of hard links to the store `.photos/`, or of copies on disks without
links. Each split has its own tree, so runs with different splits do not move each other's photos.
"""

import errno
import hashlib
import os
import platform
import re
import shutil
import time
import warnings
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from phototransfer.cluster import Nodes, connect
from phototransfer.console import progress
from phototransfer.files import (
    Stamp,
    append_line,
    atomic_write,
    free_space,
    megabytes,
    read_json,
    read_lines,
    safe_name,
    stamp,
    write_json,
)
from phototransfer.photos.careful import ReadBlock
from phototransfer.photos.decode import RECIPE, NotAPhoto, NotReadable, read_photo
from phototransfer.photos.depth import Depth, Range, set_ranges
from phototransfer.photos.walk import made_by_system

COLUMNS = ["size", "mtime_ns", "stored", "jpeg_bytes", "reason", "digest", "width", "height", "bytes", "format"]
COLUMNS += ["taken", "camera", "phash", "blank", "depth"]
_STORE, _INDEX, _CHECKPOINTS = ".photos", "index.json", ".ipynb_checkpoints"
_ADDED, _JOURNALS = ".added.jsonl", ".reading"
_DEFAULT_SPLIT = (0.2, 0.2, 42)
_OTHER_TREE = re.compile(r"val[0-9.e-]+-test[0-9.e-]+-seed[0-9]+")
_SAVE_EVERY_SECONDS = 5
_BLOCK = 128  # photos that a node reads at a time
#: Largest average size of a prepared photo: the mean of four sets was 47, 49, 50 and 72 kB, and one photo in a hundred
#: became larger than three times its original.
_MEAN_BYTES, _TIMES_ORIGINAL = 75_000, 3


class Store:
    """The prepared photos of one source folder."""

    def __init__(self, source: Path, folder: Path, cluster: str | None = None) -> None:
        self._source, self._folder, self._cluster = source, folder, cluster
        content = read_json(folder / _INDEX) or {}
        #: For each original that was read, its row: a dict with the keys COLUMNS.
        self.index: dict[str, dict[str, Any]] = content.get("files", {})
        self._outdated = content.get("recipe") != RECIPE
        if not self._outdated:
            for rows in read_lines(folder / _ADDED):
                self.index |= rows
        self._added: dict[str, dict[str, Any]] = {}  # rows that are in no file yet
        # Names of photos that are gone from the store, and may still be in a tree that is not in use now.
        self._removed = set(content.get("removed", []))

    def update(self, originals: list[str]) -> int:
        """Read the originals that are new or changed, forget those that are gone, and return how many were read."""
        stale = self._stored_names()
        self.index = {original: self.index[original] for original in originals if self._is_current(original)}
        stale -= self._stored_names()
        self._removed |= stale
        new = [original for original in originals if original not in self.index]
        if new or stale or self._outside_ranges():
            try:
                if free_space(self._folder) < self._space_needed(new):
                    raise OSError(errno.ENOSPC, "Not enough space on the disk, nothing was written.")
                self._save()  # before photos are removed: what is in a tree always has its name in the index
                for name in stale:
                    self.stored_path(name).unlink(missing_ok=True)
                self._read(new)
                # A range is known when all files are read: those that were scaled by another one are prepared again.
                if outside := self._outside_ranges():
                    self._read(outside, self.ranges())
            except OSError as error:
                raise self._space_error(error, [original for original in new if original not in self.index]) from error
        names = self._stored_names()
        unfinished = [path for path in (self._folder / _STORE).glob("*") if path.name not in names]
        for path in [*unfinished, *self._folder.glob(f".{_INDEX}.*.partial")]:  # of a process that was killed
            path.unlink()
        shutil.rmtree(self._folder / _JOURNALS, ignore_errors=True)  # all is read
        return len(new)

    def ranges(self) -> dict[str, Range]:
        """Return which values become 0–255 in files of more than 8 bits, by kind."""
        return set_ranges(self.depths().values())

    def depths(self) -> dict[str, Depth]:
        """Return the values of each original that has more than 8 bits."""
        return {original: as_depth(row["depth"]) for original, row in self.index.items() if row["depth"]}

    def stored_path(self, name: str) -> Path:
        """Return where the prepared photo of this name is, the `stored` of its row."""
        return self._folder / _STORE / name

    def lay_out(self, photos: pd.DataFrame, root: Path) -> list[str]:
        """Make a tree contain exactly the given photos, touching only what changed, and return the path of each.

        `photos` has the columns split, label and original; `root` is from `tree_root`. ValueError names a file that
        is not from this package.
        """
        stored = {}
        for split, label, original in photos[["split", "label", "original"]].itertuples(index=False):
            name = self.index[original]["stored"]
            stored[root / split / label / name] = self.stored_path(name)
        for path, source in stored.items():
            if stamp(path) != stamp(source):
                with atomic_write(path) as partial_file:
                    try:
                        os.link(source, partial_file)
                    except OSError:  # exFAT, some network drives, or a file of another user
                        shutil.copy2(source, partial_file)
        self._remove_others(root, set(stored))
        return [str(path) for path in stored]

    def _remove_others(self, root: Path, photos: set[Path]) -> None:
        """Remove what does not belong in a tree, and raise ValueError for a file that is not from this package."""
        removable = self._removed | self._stored_names()
        for top in list(root.iterdir()):
            hidden_folder = top.is_dir() and top.name.startswith(".") and top.name != _CHECKPOINTS
            if hidden_folder or top.name == _INDEX or _OTHER_TREE.fullmatch(top.name):
                continue
            for path in sorted([top, *top.rglob("*")], reverse=True):  # the content of a folder before the folder
                hidden = path.name.startswith(".")
                by_system = made_by_system(path.name) or _CHECKPOINTS in path.relative_to(root).parts
                if path.is_dir():
                    with suppress(OSError):  # not empty
                        path.rmdir()
                elif path in photos:
                    continue
                elif path.name in removable or by_system or (hidden and path.suffix == ".partial"):
                    path.unlink()
                elif not hidden:
                    raise ValueError(
                        f"{path} was not put there by this notebook, and {root} is only for prepared photos. Move the "
                        f"file to the folder of your own photos, or delete {root}, which is made again."
                    )

    def _stored_names(self) -> set[str]:
        return {row["stored"] for row in self.index.values()} - {""}

    def _is_current(self, original: str) -> bool:
        row = self.index.get(original)
        if self._outdated or row is None or Stamp(row["size"], row["mtime_ns"]) != stamp(self._source / original):
            return False
        return bool(row["reason"]) or stamp(self.stored_path(row["stored"])).size == row["jpeg_bytes"]

    def _outside_ranges(self) -> list[str]:
        ranges = self.ranges()
        return [
            original for original, depth in self.depths().items() if not depth.own and depth.range != ranges[depth.kind]
        ]

    def _save(self) -> None:
        rows = dict(sorted(self.index.items()))
        removed = sorted(self._removed - self._stored_names())
        write_json(self._folder / _INDEX, {"recipe": RECIPE, "files": rows, "removed": removed})
        self._added = {}
        (self._folder / _ADDED).unlink(missing_ok=True)

    def _save_added(self) -> None:
        """Add the new rows to a file beside the index, which is not rewritten for each of a million photos."""
        added, self._added = self._added, {}
        append_line(self._folder / _ADDED, added)

    def _read(self, new: list[str], ranges: Mapping[str, Range] | None = None) -> None:
        """Read originals, here or on the nodes of a cluster, and save their rows regularly."""
        saved, nodes = time.monotonic(), connect(self._cluster)
        rows = self._rows_here(new, ranges) if nodes is None else self._rows_of_nodes(nodes, new, ranges)
        try:
            with closing(rows):
                for original, row in progress("Preparing", len(new), rows):
                    self.index[original] = self._added[original] = row
                    if time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                        self._save_added()
                        saved = time.monotonic()
        finally:
            self._save()

    def _rows_here(self, new: list[str], ranges: Mapping[str, Range] | None) -> "Generator[tuple[str, dict[str, Any]]]":
        """Read originals in threads: Pillow works outside of the interpreter lock."""
        read = partial(read_one, source=self._source, folder=self._folder, ranges=ranges)
        # Pillow warns of odd metadata in files that it reads well. Filters hold for the process, not for one thread.
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as threads:
            try:
                yield from zip(new, threads.map(read, new), strict=True)
            finally:
                threads.shutdown(cancel_futures=True)

    def _rows_of_nodes(
        self, nodes: Nodes, new: list[str], ranges: Mapping[str, Range] | None
    ) -> "Generator[tuple[str, dict[str, Any]]]":
        blocks = [new[start : start + _BLOCK] for start in range(0, len(new), _BLOCK)]
        create = partial(_create_reader, self._source, self._folder, ranges)
        for _, rows in nodes.map(create, blocks):
            yield from rows.items()

    def _space_needed(self, originals: list[str]) -> int:
        sizes = (max(0, stamp(self._source / original).size) for original in originals)
        return sum(min(_MEAN_BYTES, _TIMES_ORIGINAL * size) for size in sizes)

    def _space_error(self, error: OSError, remaining: list[str]) -> OSError:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return error
        needed, free = megabytes(self._space_needed(remaining)), megabytes(free_space(self._folder))
        return OSError(
            error.errno,
            f"{error.strerror} {len(remaining)} photos are still to be prepared in {self._folder}: they take about "
            f"{needed}, and {free} are free. Make space and run this again, it continues where it stopped; or move the "
            "folder data/ to another disk and put a link to it here.",
        )


def read_one(original: str, *, source: Path, folder: Path, ranges: Mapping[str, Range] | None) -> dict[str, Any]:
    """Prepare an original of the folder `source`, write it to the store in `folder`, and return its row."""
    row = _empty_row(original, source)
    try:
        path = source / original
        photo = read_photo(path, ranges) if ranges else read_photo(path)
    except NotReadable as error:
        row |= {"reason": str(error), "mtime_ns": -2}  # never current, so it is tried again next time
    except NotAPhoto as error:
        row["reason"] = str(error)
    else:
        row |= asdict(photo) | {"stored": _stored_name(original), "jpeg_bytes": len(photo.jpeg)}
        del row["jpeg"]
        with atomic_write(folder / _STORE / row["stored"]) as partial_file:
            partial_file.write_bytes(photo.jpeg)
    return row


def _empty_row(original: str, source: Path) -> dict[str, Any]:
    size, mtime = stamp(source / original)
    return dict.fromkeys(COLUMNS, "") | {"size": size, "mtime_ns": mtime}


def _create_reader(source: Path, folder: Path, ranges: Mapping[str, Range] | None) -> ReadBlock:
    """Return what reads blocks of originals on a node.

    Raises
    ------
    OSError
        The node does not see the photos, or the folder that they are written to.
    """
    for needed in (source, folder):
        if not needed.is_dir():
            raise OSError(
                errno.ENOENT,
                f"The node {platform.node()} of the cluster has no folder {needed}. Photos and data/ must be on a disk "
                "that all nodes have, under the same path. Or set CLUSTER = None.",
            )

    def skip(original: str, reason: str) -> dict[str, Any]:
        return _empty_row(original, source) | {"reason": reason}

    return ReadBlock(partial(read_one, source=source, folder=folder, ranges=ranges), skip, folder / _JOURNALS)


def as_depth(entry: dict[str, Any]) -> Depth:
    """Return the entry `depth` of a row, which was a tuple before it was JSON."""
    return Depth(**(entry | {"range": tuple(entry["range"])}))


def _stored_name(original: str) -> str:
    """Return a name that no other original gets: a.jpg, a.png and sub/a.jpg of one class stay three photos."""
    unique = hashlib.sha256(original.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe_name(Path(original).stem, 60)}-{unique}.jpg"


def tree_root(folder: Path, *, val_split: float, test_split: float, seed: int) -> Path:
    """Return the root of a tree: `folder` for the default split, `val0.1-test0.2-seed7` in it for another one."""
    if (val_split, test_split, seed) == _DEFAULT_SPLIT:
        return folder
    return folder / f"val{float(val_split)}-test{float(test_split)}-seed{seed}"
