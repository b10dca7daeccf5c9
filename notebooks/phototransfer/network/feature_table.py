"""The cached features of one view of photos: files of rows, which are only ever added to."""

import copy
import threading
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from phototransfer.files import atomic_write
from phototransfer.network.feature_rows import FeatureRows, Rows
from phototransfer.network.views import View

_DIGEST = "S64"  # a SHA-256 as text
_MOST_ROWS = 10_000  # in one file


class FeatureTable:
    """The features of one view by the digest of the photo, those on disk and those that are not saved yet.

    Each call of `save` adds a file with the new rows, so that a hundred photos more are a hundred rows to write, and
    several processes and computers can save at once. Files are mapped into memory: only rows that are read need space.

    Parameters
    ----------
    view : View
    folder : Path
        The folder of the files. It is created by the first `save`.
    """

    def __init__(self, view: View, folder: Path) -> None:
        self.view, self.folder = view, folder
        self.new: dict[str, np.ndarray] = {}
        self._names: set[str] = set()  # of the files that were read
        self._files: list[np.ndarray] = []  # their features, mapped into memory
        self._starts = [0]  # how many rows the files before each one have
        self._rows: dict[str, int] = {}  # by digest: the row in all files, one after the other
        self._lock = threading.Lock()  # of these four, which copies for other threads share
        self._convert()
        self.update()

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows or digest in self.new

    def __len__(self) -> int:
        return len(self._rows.keys() | self.new.keys())

    def empty_copy(self) -> "FeatureTable":
        """Return this table for another thread that saves: without the rows that are not saved yet."""
        table = copy.copy(self)
        table.new = {}
        return table

    def update(self) -> None:
        """Read files that were added since the last time; one that is damaged is deleted, with a message."""
        damaged = []
        for path in sorted(self.folder.glob("[!.]*.npy")):
            if path.name in self._names:
                continue
            try:
                self._add(path)
            except (OSError, ValueError, IndexError, EOFError) as error:
                print(f"{path} is damaged ({error}): its features are computed again.")
                damaged.append(path)
        for path in damaged:  # not above: Windows deletes no file that is mapped, and the error refers to the map
            path.unlink(missing_ok=True)

    def _add(self, path: Path) -> None:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if content["digest"].ndim > 1:  # files of earlier versions have the digest beside each row
            content = content[0]
        digests, features = content["digest"].astype(str).tolist(), content["features"]
        with self._lock:
            for row, digest in enumerate(digests, self._starts[-1]):
                self._rows.setdefault(digest, row)
            self._names.add(path.name)
            self._files.append(features)
            self._starts.append(self._starts[-1] + len(features))

    def features(self, digests: Iterable[str]) -> Rows:
        """Return the features of photos, float32 (n, d): in memory, or on disk if they are many.

        KeyError for an unknown photo.
        """
        # Rows that are not saved yet follow those in the files.
        unsaved = {digest: row for row, digest in enumerate(self.new, self._starts[-1])}
        files = [*self._files, np.array(list(self.new.values()))] if unsaved else self._files
        rows = [unsaved[digest] if digest in unsaved else self._rows[digest] for digest in digests]
        file = np.searchsorted(self._starts, rows, side="right") - 1
        return FeatureRows(files, file, np.array(rows) - np.array(self._starts)[file])[:]

    def save(self) -> None:
        """Write the new rows to a file of their own."""
        if not self.new:
            return
        digests, features = list(self.new), list(self.new.values())
        for start in range(0, len(digests), _MOST_ROWS):
            self._save(digests[start : start + _MOST_ROWS], features[start : start + _MOST_ROWS])
        self.new = {}

    def _save(self, digests: list[str], features: list[np.ndarray]) -> None:
        count, size = len(digests), len(features[0])
        # All digests first: to read them, the features need not be read.
        content = np.zeros(1, dtype=[("digest", _DIGEST, (count,)), ("features", np.float32, (count, size))])
        content[0]["digest"], content[0]["features"] = digests, features
        path = self.folder / f"{uuid.uuid4().hex}.npy"
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.save(file, content, allow_pickle=False)
        self._add(path)

    def _convert(self) -> None:
        """Take over the single file of earlier versions, which was rewritten for each new photo."""
        earlier = self.folder.with_name(f"{self.folder.name}.npz")
        if not earlier.exists():
            return
        try:
            with np.load(earlier, allow_pickle=False) as content:
                self.new = dict(zip(content["digests"].tolist(), content["features"], strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"{earlier} is damaged ({error}): its features are computed again.")
        self.save()
        earlier.unlink(missing_ok=True)
