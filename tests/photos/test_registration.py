"""Tests of phototransfer.photos.registration."""

import numpy as np
import pytest
from PIL import Image

from builders import draw
from phototransfer.photos import registration

SIDE = 64


def grey_square(seed: int) -> np.ndarray:
    """Return a random pattern with edges everywhere as uint8 (1, 64, 64)."""
    pattern = np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)
    return np.asarray(Image.fromarray(pattern).resize((SIDE, SIDE), Image.Resampling.BICUBIC))[None]


def shift_map(x: float, y: float, scale: float = 1.0) -> np.ndarray:
    return np.array([[[scale, 0, x], [0, scale, y], [0, 0, 1]]], dtype=np.float32)


@pytest.mark.parametrize("orientation", range(len(registration.ORIENTATIONS)))
def test_every_orientation_is_reversed_by_its_inverse(orientation):
    picture = np.arange(12).reshape(1, 3, 4)
    oriented = registration.orient(picture, orientation)
    assert (registration.orient(oriented, int(registration.INVERSE[orientation])) == picture).all()


def test_each_picture_gets_its_own_orientation():
    squares = np.arange(3 * 16).reshape(3, 4, 4)
    oriented = registration.orient_each(squares, np.array([5, 0, 5]))
    assert (oriented[1] == squares[1]).all()
    assert (oriented[[0, 2]] == registration.orient(squares[[0, 2]], 5)).all()


def test_grey_squares_contain_the_whole_photo(tmp_path):
    draw(3, (200, 120)).save(tmp_path / "wide.jpg")
    draw(3, (120, 200)).save(tmp_path / "high.png")
    squares = registration.grey_squares([str(tmp_path / "wide.jpg"), str(tmp_path / "high.png")], SIDE)
    assert squares.shape == (2, SIDE, SIDE) and squares.dtype == np.uint8
    assert np.abs(squares[0].astype(int) - squares[1]).mean() < 4


def test_local_contrast_has_no_brightness_and_no_scale():
    square = grey_square(1)
    contrast = registration.local_contrast(square, SIDE)
    brighter = registration.local_contrast(square * 0.7 + 60, SIDE)
    assert np.corrcoef(contrast.ravel(), brighter.ravel())[0, 1] > 0.99
    assert (registration.local_contrast(np.full((1, SIDE, SIDE), 90, np.uint8), SIDE) == 0).all()


def test_warp_interpolates_and_tells_what_lies_inside():
    ramp = np.tile(np.arange(SIDE, dtype=np.float32), (1, SIDE, 1))
    same, inside = registration.warp(ramp, shift_map(0, 0))
    assert same == pytest.approx(ramp.reshape(1, -1), abs=1e-2) and inside.all()
    half_a_pixel, inside = registration.warp(ramp, shift_map(1 / SIDE, 0))
    expected = (ramp + 0.5)[0, :, :-1]
    assert half_a_pixel.reshape(SIDE, SIDE)[:, :-1] == pytest.approx(expected, abs=1e-2)
    _, inside = registration.warp(ramp, shift_map(0, 1))
    assert (inside.reshape(SIDE, SIDE).sum(axis=0) == SIDE // 2).all()


@pytest.mark.parametrize(("x", "y", "scale"), [(0.08, -0.05, 1.0), (0.0, 0.0, 0.9), (-0.05, 0.02, 1.05)])
def test_registering_recovers_the_map(x, y, scale):
    fixed = registration.local_contrast(grey_square(2), SIDE)
    true_map = shift_map(x, y, scale)
    moved, _ = registration.warp(fixed, true_map)
    maps = registration.register(moved.reshape(fixed.shape), fixed, registration.identity_maps(1), steps=30)
    assert maps == pytest.approx(true_map, abs=0.02)
    assert registration.overlap_correlation(moved.reshape(fixed.shape), fixed, maps) > 0.95


@pytest.mark.parametrize("maps", [shift_map(1.5, 0), shift_map(0, 0, 0.5), shift_map(0, 0, 1.6)])
def test_little_overlap_and_strong_stretching_have_no_correlation(maps):
    fixed = registration.local_contrast(grey_square(4), SIDE)
    assert registration.overlap_correlation(fixed, fixed, shift_map(0, 0)) > 0.99
    assert registration.overlap_correlation(fixed, fixed, maps) == 0


def test_tiles_agree_for_the_same_picture_only():
    first, second, identity = grey_square(5), grey_square(6), shift_map(0, 0)
    lowest, border, tiles = registration.compare_tiles(first, first, identity)[0]
    assert lowest > 0.99 and border > 0.99 and tiles >= 36
    lowest, border, _ = registration.compare_tiles(first, second, identity)[0]
    assert lowest < 0 and border < 0.2


def test_tiles_say_nothing_where_all_edges_run_in_one_direction():
    stripes = np.tile(np.where(np.arange(SIDE) % 16 < 8, 40, 200).astype(np.uint8), (1, SIDE, 1))
    assert np.isnan(registration.compare_tiles(stripes, stripes, shift_map(0, 0))[0, 0])
