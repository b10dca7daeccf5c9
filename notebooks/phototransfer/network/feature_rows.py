"""Features of more photos than memory should hold: rows of files on disk, which are read when they are needed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

#: Features of more bytes stay on disk: 100,000 photos of EfficientNetLite0.
IN_MEMORY = 512 * 2**20
BLOCK = 8192  # rows that are read at a time; a multiple of the batch size of `predict`


class FeatureRows:
    """Features that behave as a float32 array (n, d) of which only the rows that are asked for are read.

    Parameters
    ----------
    files : sequence of arrays
        Mapped into memory, float32 (rows, d) each.
    file, row : int arrays of shape (n,)
        Position in `files`, and row in that file, of each row.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, files: Sequence[np.ndarray], file: np.ndarray, row: np.ndarray) -> None:
        self._files, self._file, self._row = list(files), file, row

    def __len__(self) -> int:
        return len(self._row)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of features per row."""
        return len(self), self._files[0].shape[1]

    def __getitem__(self, rows: Any) -> "np.ndarray | FeatureRows":
        """Return the rows of a mask, of numbers or of a slice: in memory, or on disk as before if they are too many."""
        chosen = self.take(rows)
        return chosen if np.prod(chosen.shape) * self.dtype.itemsize > IN_MEMORY else chosen.read()

    def take(self, rows: Any) -> "FeatureRows":
        """Return the rows of a mask, of numbers or of a slice, without reading them."""
        return FeatureRows(self._files, self._file[rows], self._row[rows])

    @classmethod
    def joined(cls, parts: "Sequence[FeatureRows]") -> "FeatureRows":
        """Return the rows of all parts, one after the other, without reading them."""
        files: list[np.ndarray] = []
        numbers = []
        for part in parts:
            numbers.append(part._file + len(files))
            files += part._files
        return cls(files, np.concatenate(numbers), np.concatenate([part._row for part in parts]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows in memory: whatever takes arrays takes these rows, and needs memory for them."""
        return self.read().astype(dtype or self.dtype, copy=False)

    def read(self) -> np.ndarray:
        """Return all rows in memory, float32 (n, d)."""
        features = np.empty(self.shape, self.dtype)
        order = np.argsort(self._file, kind="stable")
        starts = np.flatnonzero(np.diff(self._file[order], prepend=-1))
        for places in np.split(order, starts[1:]):
            if len(places):
                features[places] = self._files[self._file[places[0]]][self._row[places]]
        return features


#: Features of photos, float32 (n, d): all in memory, or on disk.
Rows = np.ndarray | FeatureRows


def concatenate(versions: Sequence[Rows], rows: Any) -> Rows:
    """Return the same rows of several versions of photos, one version after the other."""
    on_disk = [version.take(rows) for version in versions if isinstance(version, FeatureRows)]
    if len(on_disk) == len(versions):
        return FeatureRows.joined(on_disk)[:]
    return np.concatenate([read_rows(version, rows) for version in versions])


def stack(versions: Sequence[Rows], shape: tuple[int, ...]) -> np.ndarray:
    """Return versions of this shape, (n, d), as float32 (versions, n, d); those on disk as an array of FeatureRows."""
    if all(isinstance(version, np.ndarray) for version in versions):
        return np.stack(versions) if versions else np.empty((0, *shape), np.float32)
    stacked = np.empty(len(versions), dtype=object)
    for number, version in enumerate(versions):
        stacked[number] = version
    return stacked


def read_rows(features: Rows, rows: Any) -> np.ndarray:
    """Return rows in memory, float32 (k, d): for a part of the photos whose number is bounded."""
    return np.asarray(features[rows])


def blocks(features: Rows, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Yield all rows in order, at most `size` at a time: float32 (k, d)."""
    for start in range(0, len(features), size):
        yield read_rows(features, slice(start, start + size))
