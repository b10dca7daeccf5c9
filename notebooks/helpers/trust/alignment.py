"""Do two photos show the same picture, whatever was done to one of them? Laid over each other, not only compared.

Every photo is looked at as a small grey square that holds only its structure: what is brighter than its surroundings,
in units of how much its surroundings vary. Brightness, contrast, size and compression are gone from it.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

#: How a photo can be turned: view v is mirrored from 4 on, then rotated v % 4 quarter turns anticlockwise.
VIEWS = ("same", "rotated 90°", "rotated 180°", "rotated 270°")
VIEWS += ("mirrored", "mirrored, rotated 90°", "upside down", "mirrored, rotated 270°")
MIRRORED = 4
#: The view that undoes each view: rotations run backwards, reflections undo themselves.
UNDO = np.array([0, 3, 2, 1, 4, 5, 6, 7])
_FAINT = 8.0  # grey levels of 0–255: structure fainter than this may be noise of the sensor or of JPEG
_MOST_STRETCH = 1.5
_CELLS = 16  # a photo is judged in so many by so many cells
_RIM = 2  # cells at each edge that are not: a rotated photo has black corners, a cropped one lacks its edge
_FEWEST = 10  # with structure in fewer, nothing is said
_ONE_WAY = 0.02  # nor where all edges run one way: any can be laid over any. 2,242 photos had 0.1 or more
_SHADING, _ALIKE = 4.0, 0.98  # blurred photos: how much they must vary, in grey levels, and how alike a copy is


def turned(pictures: np.ndarray, view: int) -> np.ndarray:
    """Pictures (k, s, s) in one of the eight VIEWS."""
    return np.rot90(pictures[..., ::-1] if view >= MIRRORED else pictures, view % 4, axes=(1, 2))


def grey_squares(paths: Sequence[str], side: int) -> np.ndarray:
    """Each photo as uint8 (n, side, side), whatever its shape: all of it, squeezed into a grey square."""

    def read(path: str) -> np.ndarray:
        with Image.open(path) as picture:
            picture.draft("L", (2 * side, 2 * side))  # JPEG decodes a half or a quarter of the size much faster
            return np.asarray(picture.convert("L").resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0))

    squares = np.empty((len(paths), side, side), dtype=np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number, square in enumerate(threads.map(read, paths)):
            squares[number] = square
    return squares


def structure(squares: np.ndarray, side: int) -> np.ndarray:
    """Grey squares (k, s, s), s a multiple of `side`, as float32 (k, side, side) of locally normalised contrast.

    Each pixel less the mean of its surroundings, over their standard deviation (N. Pinto, D. Cox, J. DiCarlo, "Why is
    real-world visual object recognition hard?", PLoS Computational Biology 4, 2008); 0 where there is only noise.
    """
    k, factor = len(squares), squares.shape[1] // side
    small = squares.reshape(k, side, factor, side, factor).mean((2, 4), dtype=np.float32)
    near = 1.0 if side > 32 else 0.7
    detail = gaussian_filter(small, (0, near, near))
    detail -= gaussian_filter(detail, (0, 3, 3))
    return detail / np.sqrt(gaussian_filter(detail * detail, (0, 3, 3)) + _FAINT**2)


def align(left: np.ndarray, right: np.ndarray, steps: int, start: np.ndarray | None = None) -> np.ndarray:
    """The affine maps (k, 2, 3) from places on `left` to places on `right`, both structure (k, s, s).

    Places run from -1 to 1 in both directions. Gauss–Newton on the squared difference, `left` differentiated once
    (S. Baker, I. Matthews, "Lucas-Kanade 20 years on", IJCV 56, 2004: the inverse compositional algorithm). From one
    tenth apart it arrives; `start` is where a coarser level left off.
    """
    k, side, _ = left.shape
    x, y = _places(side)
    inner = (np.maximum(np.abs(x), np.abs(y)) < 0.9).astype(np.float32).ravel()
    down, across = np.gradient(left, 2 / side, axis=(1, 2))
    slopes = np.stack([across * x, across * y, across, down * x, down * y, down], axis=1).reshape(k, 6, -1)
    weighted = slopes * inner
    curvature = weighted @ slopes.transpose(0, 2, 1)
    ridge = 1e-3 * (np.trace(curvature, axis1=1, axis2=2) / 6 + 1)
    curvature += ridge[:, None, None] * np.eye(6, dtype=np.float32)
    solver = np.linalg.inv(curvature)
    maps = np.tile(np.eye(3, dtype=np.float32), (k, 1, 1)) if start is None else _square(start)
    for _ in range(steps):
        moved, inside = warp(right, maps[:, :2])
        change = solver @ (weighted @ ((moved - left.reshape(k, -1)) * inside)[:, :, None])
        maps = maps @ np.linalg.inv(_square(np.eye(2, 3) + np.clip(change, -0.1, 0.1).reshape(k, 2, 3)))
    return maps[:, :2]


def warp(pictures: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`pictures` (k, s, s) read at the places that `maps` gives, bilinear: float32 (k, s²), and which lie inside."""
    k, side, _ = pictures.shape
    x, y = _places(side)
    places = maps @ np.stack([x.ravel(), y.ravel(), np.ones(side * side, dtype=np.float32)])
    pixels = np.clip((places + 1) * (side / 2) - 0.5, 0, side - 1.001)
    corner = pixels.astype(np.int32)
    (right, low), (column, row) = (pixels - corner).transpose(1, 0, 2), corner.transpose(1, 0, 2)
    at = row * side + column + (np.arange(k, dtype=np.int32) * side * side)[:, None]
    flat = pictures.reshape(-1)
    upper, lower = ((a := flat.take(at + down)) + (flat.take(at + down + 1) - a) * right for down in (0, side))
    return upper + (lower - upper) * low, (np.abs(places) <= 1).all(axis=1)


def agreement(left: np.ndarray, right: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Correlation (k,) of `left` with `right` laid over it, where they overlap.

    0 where they overlap in less than a third, or where `maps` stretches more than a crop or a small turn does: any two
    pictures can be made alike by blowing up a corner of one.
    """
    moved, inside = warp(right, maps)
    correlation, _ = _correlation(left.reshape(len(left), -1), moved, inside.astype(np.float32))
    stretch = np.linalg.svd(maps[:, :, :2], compute_uv=False)
    likely = (
        (inside.mean(axis=1) > 1 / 3)
        & (stretch < _MOST_STRETCH).all(axis=1)
        & (stretch > 1 / _MOST_STRETCH).all(axis=1)
    )
    return np.where(likely, correlation, 0)


def part_by_part(left: np.ndarray, right: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Where two photos agree, laid over each other: float32 (k, 3) of poorest, around and parts.

    left, right: grey squares (k, s, s) whose structure `maps` aligns; they are cut into 16 × 16 cells. poorest: how
    well the poorest tenth of the cells within the rim agrees (the 10 % quantile of their correlation); if too few of
    them have structure, how well the shading of a copy agrees; NaN if that does not tell either. around: the share
    of the cells near the edge that agree, 0 if none has structure. parts: the cells within the rim that have. A copy
    agrees everywhere; two exposures of one scene agree around the subject; two photos of one subject may agree in the
    subject alone.
    """
    k, side, _ = left.shape
    # Moved first and its structure found after, so that it is found at the same scale in a photo and a crop of it.
    moved, inside = warp(right.astype(np.float32), maps)
    cells = (structure(left, side), structure(moved.reshape(k, side, side), side), inside.astype(np.float32))
    cells = [_in_cells(part.reshape(k, side, side)) for part in cells]
    correlation, contrast = _correlation(*cells)
    telling = (contrast > 0.2) & (cells[2].mean(axis=-1) > 0.8)
    from_edge = np.minimum(
        *(np.minimum(place, _CELLS - 1 - place) for place in np.divmod(np.arange(_CELLS**2), _CELLS))
    )
    within, edge = telling & (from_edge >= _RIM), telling & (from_edge <= _RIM)
    parts = within.sum(axis=1)
    poorest = np.full(k, np.nan)
    for pair in np.flatnonzero(_evenness(structure(left, side)) >= _ONE_WAY):
        if parts[pair] >= _FEWEST:
            poorest[pair] = np.quantile(correlation[pair, within[pair]], 0.1)
        else:
            poorest[pair] = _shading(left[pair], moved[pair].reshape(side, side), inside[pair].reshape(side, side))
    around = (edge & (correlation > 0.8)).sum(axis=1) / np.maximum(edge.sum(axis=1), 1)
    return np.stack([poorest, around, parts], axis=1).astype(np.float32)


def _shading(left: np.ndarray, moved: np.ndarray, inside: np.ndarray) -> float:
    """How alike two grey squares (s, s) are where they overlap, `inside` (s, s); NaN where there is too little to say.

    All there is to compare by where a blurred photo has no edges: its brightness from place to place, less the smooth
    trend (a quadratic surface, fitted by least squares) that the sky is in any photo. Of 2,602 photos in four sets
    no two unrelated ones reached 0.75, copies had 0.99 or more.
    """
    x, y = (place[inside] for place in _places(len(left)))
    if len(x) < left.size / 3:
        return np.nan
    trend, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))
    shades = np.stack([left[inside], moved[inside]]).astype(np.float32)
    shades -= shades @ trend @ trend.T
    if shades.std(axis=1).min() < _SHADING:
        return np.nan
    likeness = np.corrcoef(shades)[0, 1]
    return likeness if likeness >= _ALIKE else np.nan


def _evenness(pictures: np.ndarray) -> np.ndarray:
    """From 0, all edges of structure (k, s, s) run one way, to 1, as many each way (k,).

    The ratio of the structure tensor's eigenvalues (C. Harris, M. Stephens, "A combined corner and edge detector",
    Alvey Vision Conference 1988).
    """
    rim = pictures.shape[1] * _RIM // _CELLS
    down, across = (slope[:, rim:-rim, rim:-rim] for slope in np.gradient(pictures, axis=(1, 2)))
    both = [[(one * other).sum(axis=(1, 2)) for other in (down, across)] for one in (down, across)]
    values = np.linalg.eigvalsh(np.array(both).transpose(2, 0, 1))
    return values[:, 0] / np.maximum(values[:, 1], 1e-3)


def _correlation(left: np.ndarray, right: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's correlation along the last axis, and the greater of the two variances."""
    count = np.maximum(weight.sum(axis=-1, keepdims=True), 1)
    left = (left - (left * weight).sum(axis=-1, keepdims=True) / count) * weight
    right = (right - (right * weight).sum(axis=-1, keepdims=True) / count) * weight
    of_left, of_right, of_both = (
        (first * second).sum(axis=-1) / count[..., 0] for first, second in ((left, left), (right, right), (left, right))
    )
    return of_both / np.sqrt(of_left * of_right + 1e-12), np.maximum(of_left, of_right)


def _in_cells(pictures: np.ndarray) -> np.ndarray:
    k, side, _ = pictures.shape
    size = side // _CELLS
    return pictures.reshape(k, _CELLS, size, _CELLS, size).swapaxes(2, 3).reshape(k, _CELLS**2, size * size)


def _places(side: int) -> tuple[np.ndarray, np.ndarray]:
    centres = ((np.arange(side, dtype=np.float32) + 0.5) / side) * 2 - 1
    return tuple(np.meshgrid(centres, centres))


def _square(maps: np.ndarray) -> np.ndarray:
    bottom = np.broadcast_to(np.array([[0, 0, 1]], dtype=np.float32), (len(maps), 1, 3))
    return np.concatenate([maps, bottom], axis=1, dtype=np.float32)
