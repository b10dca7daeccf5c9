"""Pairs of photos that may be duplicates: those that are nearest by shape, or by the network's features.

Up to 50,000 photos are all compared with each other. Of more, the nearest are searched approximately (faiss, an
inverted file), and pairs that are not similar are left out.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from phototransfer.commands import install_command
from phototransfer.console import progress
from phototransfer.photos import registration

if TYPE_CHECKING:
    from phototransfer.network.feature_rows import Rows

NEAREST = 2  # candidates for each photo in each split, by shape and again by features
MOST_EXACT = 50_000  # photos
_PHOTOS_PER_BLOCK = 512
#: Similarity, by shape or by features, of a pair out of very many photos that is registered. On three sets of 2,242
#: photos, all 22 pairs that registration confirms are above it, and 15 of 100 others.
_SIMILAR = 0.6
_COMPONENTS = 128  # of the features, in an approximate search: 0.87 of their variance (348 photos of one subject)
_SAMPLE = 20_000  # photos that the components are computed from
_QUERIES = 8192  # photos that are searched for at a time
_EXACT_SIMILARITIES = 50_000_000  # computed at a time without faiss: 200 MB
#: Cells of the inverted file that are searched. Turned photos are searched for duplicates only, which are very similar.
_CELLS, _CELLS_TURNED = 16, 4
_FEWEST = 2000  # of which an exact search is as quick
_PER_CELL = 40  # photos that the centre of a cell is computed from

#: search(vectors, number, cells): similarities, float (k, number), and positions, int (k, number), of the nearest.
_Search = Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]


def find_candidates(squares: np.ndarray, features: "Rows", split: np.ndarray) -> np.ndarray:
    """Return each photo's nearest in every split, by shape and by features: int64 (k, 3) of a < b and orientation.

    A network gives a mirrored photo nearly the same features, a rotated one others, and does not say which it is: the
    nearest by features are tried as they are, mirrored, and in the orientation in which their shapes are nearest. Of
    very many photos, they are turned only if their shapes are similar then.

    Parameters
    ----------
    squares : uint8 array of shape (n, s, s)
        From `registration.grey_squares`.
    features : float32 array of shape (n, d)
    split : str array of shape (n,)
    """
    rows_by_split = [np.flatnonzero(split == name) for name in pd.unique(split)]
    shapes = _shapes(squares)
    if len(squares) <= MOST_EXACT:
        values = np.asarray(features)
        by_shape = _nearest([shapes[:, turn] for turn in _turns()], rows_by_split)
        # Minus their mean, features distinguish photos even if a network gives nearly the same ones for all.
        upright = _nearest([unit(values - values.mean(axis=0))], rows_by_split)
        mirrored, turned = upright.copy(), upright.copy()
        mirrored[:, 2], (turned[:, 2], _) = registration.MIRRORED, _best_turns(shapes, upright)
        pairs = np.concatenate([by_shape, upright, mirrored, turned])
    else:
        if not _has_faiss():
            print(f"The search for duplicates takes less time with faiss: {install_command('large')}")
        by_shape = _nearest_approximately(shapes, rows_by_split, _turns(), "Searching similar shapes")
        upright = _nearest_approximately(_reduce(features), rows_by_split, [], "Searching similar features")
        turned = upright.copy()
        turned[:, 2], similarity = _best_turns(shapes, upright)
        pairs = np.concatenate([by_shape, upright, turned[similarity >= _SIMILAR]])
    backwards = pairs[:, 0] > pairs[:, 1]
    a, b, orientation = pairs[backwards].T
    pairs[backwards] = np.stack([b, a, registration.INVERSE[orientation]], axis=1)
    return pairs


def unit(rows: np.ndarray, least: float = 1e-12) -> np.ndarray:
    """Return rows scaled to length 1; rows shorter than `least` stay shorter."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), least)


def _shapes(squares: np.ndarray) -> np.ndarray:
    """Return the coarse shape of each photo: unit vectors (n, 64), near 0 for a plain surface."""
    parts = []
    for start in range(0, len(squares), _QUERIES):
        fine = registration.local_contrast(squares[start : start + _QUERIES], 16)
        coarse = fine.reshape(len(fine), 8, 2, 8, 2).mean((2, 4))
        coarse -= coarse.mean((1, 2), keepdims=True)
        parts.append(unit(coarse.reshape(len(coarse), -1), least=0.1))
    return np.concatenate(parts)


def _turns() -> list[np.ndarray]:
    """Return for each orientation the order of the 64 numbers of a shape in it."""
    places = np.arange(64).reshape(1, 8, 8)
    return [registration.orient(places, number).ravel() for number in range(len(registration.ORIENTATIONS))]


def _best_turns(shapes: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the orientation of each b in which its shape is most similar to that of a, and the similarity, (k,)."""
    a, b, _ = pairs.T
    best, highest = np.zeros(len(a), dtype=np.int64), np.full(len(a), -np.inf, dtype=np.float32)
    for number, turn in enumerate(_turns()):
        for start in range(0, len(a), _QUERIES):
            rows = slice(start, start + _QUERIES)
            similarity = np.einsum("kd,kd->k", shapes[a[rows]], shapes[b[rows]][:, turn])
            better = similarity > highest[rows]
            best[rows][better], highest[rows][better] = number, similarity[better]
    return best, highest


def _nearest(vectors: Sequence[np.ndarray], rows_by_split: Sequence[np.ndarray]) -> np.ndarray:
    """Return (k, 3): row, one of the nearest rows in each split, and its orientation.

    `vectors` holds float (n, d) for each orientation, beginning with the photos as they are.
    """
    blocks = []
    for start in range(0, len(vectors[0]), _PHOTOS_PER_BLOCK):
        block = vectors[0][start : start + _PHOTOS_PER_BLOCK]
        similarity = block @ vectors[0].T
        orientation = np.zeros(similarity.shape, dtype=np.int8)
        for number, oriented in enumerate(vectors[1:], 1):
            oriented_similarity = block @ oriented.T
            np.copyto(orientation, number, where=oriented_similarity > similarity)
            np.maximum(similarity, oriented_similarity, out=similarity)
        rows = np.arange(len(block))
        similarity[rows, rows + start] = -np.inf  # a photo is no candidate for itself
        for inside in rows_by_split:
            count = min(NEAREST, len(inside))
            nearest = inside[np.argpartition(-similarity[:, inside], count - 1, axis=1)[:, :count]].ravel()
            row = np.repeat(rows, count)
            pairs = np.stack([row + start, nearest, orientation[row, nearest]], axis=1)
            blocks.append(pairs[pairs[:, 0] != pairs[:, 1]])
    return np.concatenate(blocks)


def _nearest_approximately(
    vectors: np.ndarray, rows_by_split: Sequence[np.ndarray], turns: Sequence[np.ndarray], description: str
) -> np.ndarray:
    """Return (k, 3) as `_nearest`, of pairs that are similar; `turns` are the orders of `_turns`, if there are any."""
    # The similarity with b turned is that of b with a turned back.
    turned_back = [turns[number] for number in registration.INVERSE] if turns else [np.arange(vectors.shape[1])]
    starts = range(0, len(vectors), _QUERIES)
    found = []
    with progress(description, len(rows_by_split) * len(turned_back) * len(starts), unit="block") as bar:
        for inside in rows_by_split:
            search = _create_search(vectors[inside])
            count = min(NEAREST + 1, len(inside))  # one more, because each photo finds itself
            for start in starts:
                block = vectors[start : start + _QUERIES]
                for number, turn in enumerate(turned_back):
                    similarity, places = search(block[:, turn], count, _CELLS_TURNED if number else _CELLS)
                    similarity[inside[places] == np.arange(start, start + len(block))[:, None]] = -np.inf
                    best = np.argsort(-similarity, axis=1)[:, :NEAREST]
                    row, column = np.nonzero(np.take_along_axis(similarity, best, axis=1) >= _SIMILAR)
                    other = inside[places[row, best[row, column]]]
                    found.append(np.stack([row + start, other, np.full_like(row, number)], axis=1))
                    bar.update()
    return np.concatenate(found)


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _create_search(vectors: np.ndarray) -> _Search:
    """Return what finds the nearest of vectors, float32 (n, d): approximately with faiss, exactly without it."""
    if len(vectors) < _FEWEST or not _has_faiss():
        return _exact_search(vectors)
    import faiss

    # J. Johnson, M. Douze and H. Jégou, "Billion-scale similarity search with GPUs", IEEE Transactions on Big Data
    # (2019), for the inverted file; the number of cells as in the guidelines of faiss.
    cells = max(1, int(4 * np.sqrt(len(vectors))))
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    rows = np.random.default_rng(0).permutation(len(vectors))[: _PER_CELL * cells]
    index.train(vectors[np.sort(rows)])
    index.add(vectors)

    def search(block: np.ndarray, number: int, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
        index.nprobe = n_cells
        similarity, places = index.search(np.ascontiguousarray(block, dtype=np.float32), number)
        return similarity, places

    return search


def _exact_search(vectors: np.ndarray) -> _Search:
    def search(block: np.ndarray, number: int, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
        similarities, places = [], []
        step = max(1, _EXACT_SIMILARITIES // len(vectors))
        for start in range(0, len(block), step):
            similarity = block[start : start + step] @ vectors.T
            nearest = np.argpartition(-similarity, number - 1, axis=1)[:, :number]
            similarities.append(np.take_along_axis(similarity, nearest, axis=1))
            places.append(nearest)
        return np.concatenate(similarities), np.concatenate(places)

    return search


def _reduce(features: "Rows") -> np.ndarray:
    """Return the first principal components of features less their mean: unit vectors, float32 (n, components)."""
    rows = np.unique(np.linspace(0, len(features) - 1, _SAMPLE).astype(np.int64))
    some = np.asarray(features[rows])
    mean = some.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((some - mean).T))
    directions = vectors[:, ::-1][:, :_COMPONENTS].astype(np.float32)
    starts = range(0, len(features), _QUERIES)
    return np.concatenate(
        [unit((np.asarray(features[start : start + _QUERIES]) - mean) @ directions) for start in starts]
    )
