"""Views of a photo: deterministic, and changed no more than documented."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from phototransfer.network import views
from phototransfer.network.views import BACKGROUND, PLAIN, augmented

SIZE = 64


@pytest.fixture
def pixels(picture):
    return np.asarray(picture(0, (SIZE, SIZE)))


def test_plain_is_the_photo_itself(pixels):
    np.testing.assert_array_equal(PLAIN.change(pixels, "any"), pixels)


def test_background_is_all_but_the_middle(pixels):
    before = pixels.copy()
    blanked = BACKGROUND.change(pixels, "any")
    np.testing.assert_array_equal(pixels, before)  # the photo itself is not changed
    same = (blanked == pixels).all(axis=2)
    edge = round(SIZE * 0.15)
    assert same[:edge].all() and same[-edge:].all() and same[:, :edge].all() and same[:, -edge:].all()
    assert len(np.unique(blanked[edge:-edge, edge:-edge])) == 1
    assert 0.4 < (~same).mean() <= 0.5


def test_augmented_is_the_same_each_time_and_in_threads(pixels):
    view = augmented(3, 42)[2]
    once = [view.change(pixels, str(number)) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        again = list(threads.map(lambda number: view.change(pixels, str(number)), range(40)))
    np.testing.assert_array_equal(once, again)


def test_photo_number_and_seed_each_change_the_picture(pixels):
    base = augmented(2, 42)[0].change(pixels, "a")
    assert base.shape == pixels.shape
    assert base.dtype == np.uint8
    for other in (augmented(2, 42)[0].change(pixels, "b"), augmented(2, 42)[1].change(pixels, "a")):
        assert (other != base).any()
    assert (augmented(2, 43)[0].change(pixels, "a") != base).any()


def test_more_views_do_not_change_the_first_ones():
    assert augmented(0, 42) == []
    assert [view.name for view in augmented(2, 0)] == [view.name for view in augmented(8, 0)][:2]
    assert len({view.name for view in [PLAIN, BACKGROUND, *augmented(8, 0), *augmented(8, 1)]}) == 18


def test_edges_are_repeated():
    """However far a photo is rotated, shifted and zoomed, there are no black corners."""
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    for number in range(200):
        assert (augmented(1, 0)[0].change(white, str(number)) == 255).all()


@pytest.mark.parametrize("change", ["ROTATION", "SHIFT", "ZOOM"])
def test_each_change_has_its_documented_range(monkeypatch, change):
    """With the other two off, a bright rectangle moves, turns or grows as far as it may and no further."""
    for name in {"ROTATION", "SHIFT", "ZOOM"} - {change}:
        monkeypatch.setattr(views, name, 0)
    photo = np.zeros((101, 101, 3), np.uint8)
    photo[40:61, 30:71] = 255  # 21 high, 41 wide, so that a rotation shows
    measured = []
    for number in range(300):
        bright = np.argwhere(augmented(1, 0)[0].change(photo, str(number))[..., 0] > 127)
        spread = np.cov(bright.T)
        angle = np.rad2deg(0.5 * np.arctan2(2 * spread[0, 1], spread[1, 1] - spread[0, 0]))
        shift = (bright.mean(axis=0) - 50) / 101
        scale = np.sqrt(np.diag(spread) / np.cov(np.argwhere(photo[..., 0]).T).diagonal())
        measured.append((angle, *shift, *scale))
    low, high = np.min(measured, axis=0), np.max(measured, axis=0)
    assert np.allclose([-low[0], high[0]], 20 if change == "ROTATION" else 0, atol=1.5)
    assert np.allclose([-low[1:3], high[1:3]], 0.2 if change == "SHIFT" else 0, atol=0.02)
    if change == "ZOOM":  # what is taken from 0.8 of the side is shown 1 / 0.8 as large
        assert np.allclose(low[3:], 1 / 1.2, atol=0.06)
        assert np.allclose(high[3:], 1 / 0.8, atol=0.06)


def test_half_of_them_are_mirrored(monkeypatch):
    for name in ("ROTATION", "SHIFT", "ZOOM"):
        monkeypatch.setattr(views, name, 0)
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    photo[:, : SIZE // 2] = 255
    changed = [augmented(1, 0)[0].change(photo, str(number)) for number in range(400)]
    mirrored = [bool((pixels == photo[:, ::-1]).all()) for pixels in changed]
    assert all((pixels == photo).all() for pixels, mirror in zip(changed, mirrored, strict=True) if not mirror)
    assert 150 < sum(mirrored) < 250
