"""Which photos may be copies of which, and how well do they agree when laid over each other?

Two steps: the nearest photos of each photo, by shape and by the network's features, are candidates; then they are laid
over each other. The second step looks at pixels alone, so that it holds for any network, a random one too.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from helpers.progress import progress
from helpers.trust.alignment import (
    MIRRORED,
    UNDO,
    VIEWS,
    agreement,
    align,
    grey_squares,
    part_by_part,
    structure,
    turned,
)

_SCORES = ["agreement", "poorest", "around", "parts"]
_NEAREST = 2  # candidates for each photo in each split, by shape and again by features
_LEVELS = ((16, 10, 0.6), (32, 6, 0.6), (64, 6, 0.0))  # side in pixels, steps of alignment, agreement to go on with
_ROWS, _PAIRS = 512, 256  # photos and pairs looked at together


def compare(photos: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    """Lay every photo over those it may be a copy of, and say how well they agree.

    photos: the table, columns path, split, digest. features: float32 (n, d), row for row. Returns one row a candidate
    pair: a < b (row numbers), view (what turns b into a, its place in VIEWS), cosine (of the features as they are),
    agreement (correlation of the photos laid over each other), and poorest, around and parts as in
    `alignment.part_by_part`; the last four are NaN for pairs that a coarser look had told apart. Files that are the
    same to the last byte agree fully. All photos are compared in blocks: time grows with n² · d, memory with n. Raises
    ValueError if features and table differ in length.
    """
    if len(photos) != len(features):
        raise ValueError(f"{len(photos)} photos and {len(features)} rows of features: one row a photo is needed.")
    if len(photos) < 2:
        return pd.DataFrame({"a": [], "b": [], "view": []}, dtype=np.int64).assign(
            **dict.fromkeys(["cosine", *_SCORES], 0.0)
        )
    squares = grey_squares(list(photos["path"]), _LEVELS[-1][0])
    pairs = _candidates(_shapes(squares), features, photos["split"].to_numpy())
    same_file = _same_file(photos["digest"].to_numpy())
    table = pd.DataFrame(np.concatenate([pairs, same_file]), columns=["a", "b", "view"])
    table[_SCORES] = np.concatenate([_laid_over(squares, pairs), np.ones((len(same_file), len(_SCORES)))])
    table = table.sort_values("agreement", ascending=False, kind="stable").drop_duplicates(["a", "b"])
    table["cosine"] = _cosines(features, table["a"].to_numpy(), table["b"].to_numpy())
    return table.sort_values(["a", "b"]).reset_index(drop=True)


def unit(rows: np.ndarray, least: float = 1e-12) -> np.ndarray:
    """Rows scaled to length 1; rows shorter than `least` stay shorter."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), least)


def _shapes(squares: np.ndarray) -> list[np.ndarray]:
    """What each photo looks like from afar, in each of the VIEWS: unit vectors (n, 64), near 0 for a plain surface."""
    fine = structure(squares, 16)
    coarse = fine.reshape(len(fine), 8, 2, 8, 2).mean((2, 4))
    coarse -= coarse.mean((1, 2), keepdims=True)
    return [unit(turned(coarse, view).reshape(len(coarse), -1), least=0.1) for view in range(len(VIEWS))]


def _candidates(shapes: list[np.ndarray], features: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Each photo's nearest in every split, by shape in any view and by features: int64 (k, 3) of a < b and view.

    A network takes a mirrored photo for much the same and a rotated one for another, and does not say which it is:
    photos near by features are tried as they are, mirrored, and in the view in which their shapes are nearest.
    """
    columns = [np.flatnonzero(splits == split) for split in pd.unique(splits)]
    by_shape = np.concatenate([*_nearest(shapes, columns)])
    # Less their mean, features tell photos apart even where a network gives all of them much the same answer.
    a, b, _ = np.concatenate([*_nearest([unit(features - features.mean(axis=0))], columns)]).T
    view = np.stack([np.einsum("kd,kd->k", shapes[0][a], shape[b]) for shape in shapes]).argmax(axis=0)
    by_features = [np.stack([a, b, v], axis=1) for v in (np.zeros_like(a), np.full_like(a, MIRRORED), view)]
    pairs = np.concatenate([by_shape, *by_features])
    backwards = pairs[:, 0] > pairs[:, 1]
    a, b, view = pairs[backwards].T
    pairs[backwards] = np.stack([b, a, UNDO[view]], axis=1)
    return np.unique(pairs, axis=0)


def _nearest(views: list[np.ndarray], columns: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks (k, 3) of row, one of its nearest among each set of `columns`, and view."""
    for start in range(0, len(views[0]), _ROWS):
        block = views[0][start : start + _ROWS]
        best, view = block @ views[0].T, np.zeros((len(block), len(views[0])), dtype=np.int8)
        for number, other in enumerate(views[1:], 1):
            likeness = block @ other.T
            np.copyto(view, number, where=likeness > best)
            np.maximum(best, likeness, out=best)
        best[np.arange(len(block)), np.arange(start, start + len(block))] = -np.inf
        for inside in columns:
            k = min(_NEAREST, len(inside))
            found = inside[np.argpartition(-best[:, inside], k - 1, axis=1)[:, :k]].ravel()
            row = np.repeat(np.arange(len(block)), k)
            pairs = np.stack([row + start, found, view[row, found]], axis=1)
            yield pairs[pairs[:, 0] != pairs[:, 1]]


def _same_file(digests: np.ndarray) -> np.ndarray:
    """Photos whose files are the same to the last byte, each with the first of them in the table: (k, 3), view 0."""
    rows = pd.Series(np.arange(len(digests)))
    first = rows.groupby(digests, sort=False).transform("first")
    again = rows[(first != rows) & (digests != "")]
    return np.stack([first[again.index], again, np.zeros_like(again)], axis=1)


def _laid_over(squares: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The _SCORES (k, 4) of candidate pairs (k, 3), from coarse to fine while there is hope."""
    scores = np.full((len(pairs), len(_SCORES)), np.nan, dtype=np.float32)
    levels = {side: structure(squares, side) for side, _, _ in _LEVELS[:-1]}  # the finest, 16 KB a photo, as needed
    with progress("Laying photos over each other", len(pairs), unit="pair") as bar:
        for start in range(0, len(pairs), _PAIRS):
            rows, maps = np.arange(start, min(start + _PAIRS, len(pairs))), None
            bar.update(len(rows))
            for side, steps, enough in _LEVELS:
                a, b, view = pairs[rows].T
                left, right = (levels[side][p] if side in levels else structure(squares[p], side) for p in (a, b))
                right = _each_turned(right, view)
                maps = align(left, right, steps, maps)
                agree = agreement(left, right, maps)
                if side == _LEVELS[-1][0]:
                    parts = part_by_part(squares[a], _each_turned(squares[b], view), maps)
                    scores[rows] = np.concatenate([agree[:, None], parts], axis=1)
                rows, maps = rows[agree >= enough], maps[agree >= enough]
                if not len(rows):
                    break
    return scores


def _each_turned(pictures: np.ndarray, views: np.ndarray) -> np.ndarray:
    out = np.empty_like(pictures)
    for view in np.unique(views):
        out[views == view] = turned(pictures[views == view], view)
    return out


def _cosines(features: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    blocks = [slice(start, start + _ROWS) for start in range(0, len(a), _ROWS)]
    found = [np.einsum("kd,kd->k", unit(features[a[block]]), unit(features[b[block]])) for block in blocks]
    return np.concatenate([np.empty(0), *found])
