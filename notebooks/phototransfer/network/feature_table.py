"""The cached features of one view of photos: files of rows, which are only ever added to."""

import copy
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from phototransfer.files import atomic_write
from phototransfer.network.views import View

_DIGEST = "S64"  # a SHA-256 as text


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
        self._files: dict[str, np.ndarray] = {}
        self._rows: dict[str, tuple[str, int]] = {}  # by digest: the file and the row in it
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
        for path in sorted(self.folder.glob("[!.]*.npy")):
            if path.name in self._files:
                continue
            try:
                self._add(path)
            except (OSError, ValueError, IndexError, EOFError) as error:
                print(f"{path} is damaged ({error}): its features are computed again.")
                path.unlink(missing_ok=True)

    def _add(self, path: Path) -> None:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        digests, self._files[path.name] = content["digest"].astype(str).tolist(), content["features"]
        for row, digest in enumerate(digests):
            self._rows.setdefault(digest, (path.name, row))

    def features(self, digests: Iterable[str]) -> np.ndarray:
        """Return the features of photos, float32 (n, d); KeyError for an unknown one."""
        digests = list(digests)
        features = np.empty((len(digests), len(self._row(digests[0]))), dtype=np.float32)
        for number, digest in enumerate(digests):
            features[number] = self._row(digest)
        return features

    def _row(self, digest: str) -> np.ndarray:
        if digest in self.new:
            return self.new[digest]
        name, row = self._rows[digest]
        return self._files[name][row]

    def save(self) -> None:
        """Write the new rows to a file of their own."""
        if not self.new:
            return
        size = len(next(iter(self.new.values())))
        content = np.zeros(len(self.new), dtype=[("digest", _DIGEST), ("features", np.float32, (size,))])
        content["digest"] = list(self.new)
        content["features"] = list(self.new.values())
        path = self.folder / f"{uuid.uuid4().hex}.npy"
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.save(file, content, allow_pickle=False)
        self.new = {}
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
