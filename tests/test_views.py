"""As what the network sees a photo: the same for the same photo, number and seed, and changed no more than said."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers import views
from helpers.views import BACKGROUND, PLAIN, augmented, without_middle

SIZE = 64


@pytest.fixture
def pixels(picture):
    return np.asarray(picture(0, (SIZE, SIZE)))


def test_plain_is_the_photo_itself(pixels):
    np.testing.assert_array_equal(PLAIN.change(pixels, "any"), pixels)


def test_background_is_all_but_the_middle(pixels):
    before = pixels.copy()
    seen = BACKGROUND.change(pixels, "any")
    np.testing.assert_array_equal(pixels, before)  # the photo itself stays
    same = (seen == pixels).all(axis=2)
    edge = round(SIZE * 0.15)
    assert same[:edge].all() and same[-edge:].all() and same[:, :edge].all() and same[:, -edge:].all()
    assert len(np.unique(seen[edge:-edge, edge:-edge])) == 1
    assert 0.4 < (~same).mean() <= 0.5


def test_more_or_less_of_the_middle_is_another_view(pixels):
    assert without_middle(0.5).name != BACKGROUND.name
    assert (without_middle(0.5).change(pixels, "") != BACKGROUND.change(pixels, "")).any()


@pytest.mark.parametrize("share", [0, 1, -0.2, 1.5])
def test_a_share_that_blanks_nothing_or_everything_is_refused(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        without_middle(share)


def test_augmented_is_the_same_each_time_and_in_threads(pixels):
    view = augmented(3, 42)[2]
    once = [view.change(pixels, str(number)) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        again = list(threads.map(lambda number: view.change(pixels, str(number)), range(40)))
    np.testing.assert_array_equal(once, again)


def test_photo_number_and_seed_each_make_another_picture(pixels):
    base = augmented(2, 42)[0].change(pixels, "a")
    assert base.shape == pixels.shape
    assert base.dtype == np.uint8
    for other in (augmented(2, 42)[0].change(pixels, "b"), augmented(2, 42)[1].change(pixels, "a")):
        assert (other != base).any()
    assert (augmented(2, 43)[0].change(pixels, "a") != base).any()


def test_asking_for_more_views_leaves_the_first_ones_as_they_are():
    assert [view.name for view in augmented(2, 0)] == [view.name for view in augmented(8, 0)][:2]
    assert len({view.name for view in [PLAIN, BACKGROUND, *augmented(8, 0), *augmented(8, 1)]}) == 18


def test_none_and_fewer_than_none():
    assert augmented(0, 42) == []
    with pytest.raises(ValueError, match="0 or more"):
        augmented(-1, 42)


def test_nothing_but_the_photo_is_in_the_picture():
    """The edge goes on as it ends, however far it is turned, shifted and zoomed: no black wedges."""
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    for number in range(200):
        assert (augmented(1, 0)[0].change(white, str(number)) == 255).all()


@pytest.mark.parametrize("kept", ["ROTATION", "SHIFT", "ZOOM"])
def test_each_change_has_the_range_it_says(monkeypatch, kept):
    """With the other two off, a bright square in the middle moves, turns or grows as far as it may and no further."""
    for name in {"ROTATION", "SHIFT", "ZOOM"} - {kept}:
        monkeypatch.setattr(views, name, 0)
    photo = np.zeros((101, 101, 3), np.uint8)
    photo[40:61, 30:71] = 255  # 21 high, 41 wide, so that a turn shows
    measured = []
    for number in range(300):
        bright = np.argwhere(augmented(1, 0)[0].change(photo, str(number))[..., 0] > 127)
        spread = np.cov(bright.T)
        angle = np.rad2deg(0.5 * np.arctan2(2 * spread[0, 1], spread[1, 1] - spread[0, 0]))
        shift = (bright.mean(axis=0) - 50) / 101
        scale = np.sqrt(np.diag(spread) / np.cov(np.argwhere(photo[..., 0]).T).diagonal())
        measured.append((angle, *shift, *scale))
    low, high = np.min(measured, axis=0), np.max(measured, axis=0)
    limits = {"ROTATION": 20 * (kept == "ROTATION"), "SHIFT": 0.2 * (kept == "SHIFT")}
    assert np.allclose([-low[0], high[0]], limits["ROTATION"], atol=1.5)
    assert np.allclose([-low[1:3], high[1:3]], limits["SHIFT"], atol=0.02)
    if kept == "ZOOM":  # what is taken from 0.8 of the side is shown 1 / 0.8 as large
        assert np.allclose(low[3:], 1 / 1.2, atol=0.06)
        assert np.allclose(high[3:], 1 / 0.8, atol=0.06)


def test_half_of_them_are_mirrored(monkeypatch):
    for name in ("ROTATION", "SHIFT", "ZOOM"):
        monkeypatch.setattr(views, name, 0)
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    photo[:, : SIZE // 2] = 255
    seen = [augmented(1, 0)[0].change(photo, str(number)) for number in range(400)]
    mirrored = [bool((change == photo[:, ::-1]).all()) for change in seen]
    assert all((change == photo).all() for change, other in zip(seen, mirrored, strict=True) if not other)
    assert 150 < sum(mirrored) < 250
