"""Registration of photos: mapping one onto another, and measuring how well the two then agree.

Photos are compared by the local contrast of small grey squares, which does not depend on brightness, size or
compression. Maps are homogeneous matrices (k, 3, 3) from positions on one square to another, each from -1 to 1.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from phototransfer.console import progress

#: Orientation number v is mirrored from 4 on, then rotated v % 4 quarter turns anticlockwise.
ORIENTATIONS = ["same", "rotated 90°", "rotated 180°", "rotated 270°"]
ORIENTATIONS += ["mirrored", "mirrored, rotated 90°", "upside down", "mirrored, rotated 270°"]
MIRRORED = 4
#: The orientation that reverses each orientation: rotations run backwards, reflections reverse themselves.
INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])
#: Registered photos may show the same scene from this correlation on. Of 2,242 photos in three sets, unrelated ones
#: reached 0.59 (drawn dogs on one painted beach 0.68), near-duplicates began at 0.71, duplicates at 0.92.
SAME_SCENE = 0.70
#: They are duplicates if the tenth of their tiles that agrees least has this correlation. On the same photos, near-
#: duplicates reached 0.87; scaled, compressed, brightened, rotated, mirrored or 10 % cropped duplicates began at 0.97.
DUPLICATE = 0.93
_SCENE_BORDER = 0.4  # near-duplicates agree in this share of the border
_SCENE_TILES = 36  # and have contrast in a quarter of the inner tiles
_MANY = 5000  # photos that take more than some seconds to read
_AT_ONCE = 1024  # photos that are waited for at a time
SIDE = 64  # pixels of the squares that are registered
_LEVELS = ((16, 10, 0.6), (32, 6, 0.6), (SIDE, 6, 0.0))  # pixels per side, steps, correlation needed to go on
_NOISE = 8.0  # grey levels of 0–255: contrast below this may be noise of the sensor or of JPEG
_MAX_STRETCH = 1.5
_TILES = 16  # tiles per side that a photo is compared in
_MARGIN = 2  # tiles at each edge that do not count: a rotated photo has black corners, a cropped one lacks its edge
_MIN_TILES = 10  # tiles with contrast that a comparison by tiles needs
#: Photos whose edges all run in one direction fit onto any other such photo. 2,242 photos had 0.1 or more.
_MIN_ISOTROPY = 0.02
_MIN_SHADING = 4.0  # standard deviation in grey levels that blurred photos need to be compared
_SHADING_CORRELATION = 0.98  # from here on two blurred photos are duplicates


def orient(pictures: np.ndarray, orientation: int) -> np.ndarray:
    """Return pictures (k, h, w) in one of the ORIENTATIONS."""
    mirrored = pictures[..., ::-1] if orientation >= MIRRORED else pictures
    return np.rot90(mirrored, orientation % 4, axes=(1, 2))


def orient_each(squares: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Return squares (k, s, s), each in its own orientation, int (k,)."""
    oriented = np.empty_like(squares)
    for orientation in np.unique(orientations):
        rows = orientations == orientation
        oriented[rows] = orient(squares[rows], orientation)
    return oriented


def grey_squares(paths: Sequence[str], side: int, out: np.ndarray | None = None) -> np.ndarray:
    """Return whole photos resized to grey squares: uint8 (n, side, side), in the array `out` if it is given."""

    def read(path: str) -> np.ndarray:
        with Image.open(path) as picture:
            picture.draft("L", (2 * side, 2 * side))  # JPEG decodes a half or a quarter of the size much faster
            return np.asarray(picture.convert("L").resize((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0))

    squares = np.empty((len(paths), side, side), np.uint8) if out is None else out
    bar = progress("Comparing photos", len(paths) if len(paths) > _MANY else 0)
    with bar, ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(paths), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            squares[rows] = list(threads.map(read, paths[rows]))
            bar.update(len(paths[rows]))
    return squares


def local_contrast(squares: np.ndarray, side: int) -> np.ndarray:
    """Return each pixel of grey squares (k, s, s) minus the mean of its surroundings, divided by their deviation.

    `side` divides s; the result is float32 (k, side, side), about 0 where there is only noise.

    Notes
    -----
    N. Pinto, D. Cox and J. DiCarlo, "Why is real-world visual object recognition hard?", PLoS Comput. Biol. 4 (2008).
    """
    count, factor = len(squares), squares.shape[1] // side
    small = squares.reshape(count, side, factor, side, factor).mean((2, 4), dtype=np.float32)
    smoothing = 1.0 if side > 32 else 0.7
    detail = gaussian_filter(small, (0, smoothing, smoothing))
    detail -= gaussian_filter(detail, (0, 3, 3))
    return detail / np.sqrt(gaussian_filter(detail * detail, (0, 3, 3)) + _NOISE**2)


def compare(squares: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Register pairs of photos from coarse to fine, as long as they agree enough.

    Parameters
    ----------
    squares : uint8 array of shape (n, SIDE, SIDE)
        From `grey_squares`.
    pairs : int array of shape (k, 3)
        Rows a and b of `squares`, and the orientation of b.

    Returns
    -------
    float32 array of shape (k, 4)
        The correlation of the registered local contrast, and lowest, border and tiles of `compare_tiles`; NaN for
        pairs that are ruled out on a coarse level.
    """
    scores = np.full((len(pairs), 4), np.nan, dtype=np.float32)
    rows, maps = np.arange(len(pairs)), identity_maps(len(pairs))
    for side, steps, enough in _LEVELS:
        a, b, orientation = pairs[rows].T
        first, second = squares[a], orient_each(squares[b], orientation)
        fixed, moving = local_contrast(first, side), local_contrast(second, side)
        maps = register(fixed, moving, maps, steps=steps)
        correlation = overlap_correlation(fixed, moving, maps)
        agree = correlation >= enough
        if not agree.any():
            return scores
        rows, maps = rows[agree], maps[agree]
    tiles = compare_tiles(first[agree], second[agree], maps)
    scores[rows] = np.column_stack([correlation[agree], tiles])
    return scores


def kinds(scores: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Return "duplicate", "near-duplicate" or "unrelated" for each row of scores from `compare`."""
    correlation, lowest, border, tiles = scores.T
    same_scene = (correlation >= SAME_SCENE) & ~np.isnan(lowest)
    duplicate = same_scene & (lowest >= DUPLICATE)
    same_scene &= (border >= _SCENE_BORDER) & (tiles >= _SCENE_TILES) & (orientation == 0)
    return np.select([duplicate, same_scene], ["duplicate", "near-duplicate"], "unrelated")


def identity_maps(count: int) -> np.ndarray:
    """Return maps (count, 3, 3) that move nothing, to begin with."""
    return np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))


def register(fixed: np.ndarray, moving: np.ndarray, maps: np.ndarray, *, steps: int) -> np.ndarray:
    """Improve affine maps from positions on `fixed` to those on `moving`, both local contrast (k, s, s).

    Gauss–Newton steps minimise the squared difference. They converge for photos shifted by up to a tenth.

    Notes
    -----
    The inverse compositional algorithm: S. Baker and I. Matthews, "Lucas-Kanade 20 years on", International Journal of
    Computer Vision 56 (2004).
    """
    count, side, _ = fixed.shape
    x, y = _positions(side)
    weight = (np.maximum(np.abs(x), np.abs(y)) < 0.9).astype(np.float32).ravel()
    dy, dx = np.gradient(fixed, 2 / side, axis=(1, 2))
    # How each pixel changes with the six parameters of a map: x' = p0 x + p1 y + p2, y' = p3 x + p4 y + p5.
    jacobian = np.stack([dx * x, dx * y, dx, dy * x, dy * y, dy], axis=1).reshape(count, 6, -1)
    weighted = jacobian * weight
    hessian = weighted @ jacobian.transpose(0, 2, 1)
    damping = 1e-3 * (np.trace(hessian, axis1=1, axis2=2) / 6 + 1)
    inverse_hessian = np.linalg.inv(hessian + damping[:, None, None] * np.eye(6, dtype=np.float32))
    for _ in range(steps):
        warped, inside = warp(moving, maps)
        residual = (warped - fixed.reshape(count, -1)) * inside
        step = inverse_hessian @ (weighted @ residual[:, :, None])
        increment = identity_maps(count)
        increment[:, :2] += np.clip(step, -0.1, 0.1).reshape(count, 2, 3)
        maps = maps @ np.linalg.inv(increment)
    return maps


def warp(pictures: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bilinear values (k, s²) of `pictures` (k, s, s) where `maps` lead to, and which lie inside (k, s²)."""
    count, side, _ = pictures.shape
    x, y = _positions(side)
    positions = maps[:, :2] @ np.stack([x.ravel(), y.ravel(), np.ones(side * side, dtype=np.float32)])
    pixels = np.clip((positions + 1) * (side / 2) - 0.5, 0, side - 1.001)
    corner = pixels.astype(np.int32)
    x_fraction, y_fraction = (pixels - corner).transpose(1, 0, 2)
    column, row = corner.transpose(1, 0, 2)
    first_pixel = np.arange(count, dtype=np.int32) * side * side
    index = row * side + column + first_pixel[:, None]
    values = pictures.ravel()
    upper = _interpolate(values.take(index), values.take(index + 1), x_fraction)
    lower = _interpolate(values.take(index + side), values.take(index + side + 1), x_fraction)
    return _interpolate(upper, lower, y_fraction), (np.abs(positions) <= 1).all(axis=1)


def overlap_correlation(fixed: np.ndarray, moving: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return the correlation (k,) of registered local contrast (k, s, s) where the two overlap.

    It is 0 for an overlap of less than a third, and for maps that stretch more than a crop or a small rotation does:
    any two pictures agree once a corner of one is enlarged enough.
    """
    warped, inside = warp(moving, maps)
    correlation, _ = _correlation(fixed.reshape(len(fixed), -1), warped, inside.astype(np.float32))
    stretch = np.linalg.svd(maps[:, :2, :2], compute_uv=False)
    plausible = (stretch < _MAX_STRETCH).all(axis=1) & (stretch > 1 / _MAX_STRETCH).all(axis=1)
    return np.where(plausible & (inside.mean(axis=1) > 1 / 3), correlation, 0)


def compare_tiles(fixed: np.ndarray, moving: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Return how well registered grey squares (k, s, s) agree tile by tile: float32 (k, 3) of lowest, border, tiles.

    lowest: the 10 % quantile of the correlation of the inner tiles; if too few have contrast, that of the shading.
    border: the share of the tiles near the edge that agree. tiles: the number of inner tiles with contrast.
    Duplicates agree everywhere, photos of the same scene around the subject, others perhaps in the subject only.
    """
    count, side, _ = fixed.shape
    contrast = local_contrast(fixed, side)
    # Contrast is computed after warping, so that it has the same scale in a photo and in a crop of it.
    warped, inside = (pixels.reshape(fixed.shape) for pixels in warp(moving.astype(np.float32), maps))
    tile_weight = _cut_into_tiles(inside.astype(np.float32))
    warped_tiles = _cut_into_tiles(local_contrast(warped, side))
    correlation, variance = _correlation(_cut_into_tiles(contrast), warped_tiles, tile_weight)
    usable = (variance > 0.2) & (tile_weight.mean(axis=-1) > 0.8)
    along_side = np.minimum(np.arange(_TILES), np.arange(_TILES)[::-1])
    from_edge = np.minimum.outer(along_side, along_side).ravel()
    inner, near_edge = usable & (from_edge >= _MARGIN), usable & (from_edge <= _MARGIN)
    tiles = inner.sum(axis=1)
    lowest = np.full(count, np.nan)
    for pair in np.flatnonzero(_isotropy(contrast) >= _MIN_ISOTROPY):
        if tiles[pair] >= _MIN_TILES:
            lowest[pair] = np.quantile(correlation[pair, inner[pair]], 0.1)
        else:
            lowest[pair] = _shading_correlation(fixed[pair], warped[pair], inside[pair])
    border = (near_edge & (correlation > 0.8)).sum(axis=1) / np.maximum(near_edge.sum(axis=1), 1)
    return np.stack([lowest, border, tiles], axis=1).astype(np.float32)


def _shading_correlation(fixed: np.ndarray, warped: np.ndarray, inside: np.ndarray) -> float:
    """Return the correlation of blurred grey squares (s, s) minus their quadratic trend, which any sky has.

    NaN if they are no duplicates. Of 2,602 photos no two unrelated ones reached 0.75, duplicates had 0.99 or more.
    """
    x, y = (coordinate[inside] for coordinate in _positions(len(fixed)))
    if len(x) < fixed.size / 3:
        return np.nan
    trend, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))
    shading = np.stack([fixed[inside], warped[inside]]).astype(np.float32)
    shading -= shading @ trend @ trend.T
    if shading.std(axis=1).min() < _MIN_SHADING:
        return np.nan
    correlation = float(np.corrcoef(*shading)[0, 1])
    return correlation if correlation >= _SHADING_CORRELATION else np.nan


def _isotropy(contrast: np.ndarray) -> np.ndarray:
    """Return (k,) from 0, all edges of local contrast (k, s, s) run in one direction, to 1, as many in each.

    The ratio of the structure tensor's eigenvalues: C. Harris and M. Stephens, "A combined corner and edge detector",
    Alvey Vision Conference (1988).
    """
    margin = contrast.shape[1] * _MARGIN // _TILES
    dy, dx = (slope[:, margin:-margin, margin:-margin] for slope in np.gradient(contrast, axis=(1, 2)))
    yy, xy, xx = ((one * other).sum(axis=(1, 2)) for one, other in ((dy, dy), (dy, dx), (dx, dx)))
    eigenvalues = np.linalg.eigvalsh(np.array([[yy, xy], [xy, xx]]).transpose(2, 0, 1))
    return eigenvalues[:, 0] / np.maximum(eigenvalues[:, 1], 1e-3)


def _correlation(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Pearson's weighted correlation along the last axis, and the greater of the two variances."""
    weight = weight / np.maximum(weight.sum(axis=-1, keepdims=True), 1)
    both = np.stack([first, second])
    both -= (both * weight).sum(axis=-1, keepdims=True)
    variances = (both**2 * weight).sum(axis=-1)
    covariance = (both.prod(axis=0) * weight).sum(axis=-1)
    return covariance / np.sqrt(variances.prod(axis=0) + 1e-12), variances.max(axis=0)


def _cut_into_tiles(squares: np.ndarray) -> np.ndarray:
    count, side, _ = squares.shape
    size = side // _TILES
    return squares.reshape(count, _TILES, size, _TILES, size).swapaxes(2, 3).reshape(count, _TILES**2, size * size)


def _interpolate(start: np.ndarray, end: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    return start + (end - start) * fraction


def _positions(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the pixel centres of a square, from -1 to 1."""
    centres = ((np.arange(side, dtype=np.float32) + 0.5) / side) * 2 - 1
    x, y = np.meshgrid(centres, centres)
    return x, y
