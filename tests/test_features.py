"""Each photo through the frozen network once, and never another network's or another photo's answer."""

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import features
from helpers.features import extract, fingerprint, read_square

SIZE = 16


def make_extractor(seed=0, scale=1 / 255, name="tiny"):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((SIZE, SIZE, 3))
    scaled = keras.layers.Rescaling(scale)(pixels)
    seen = keras.layers.Conv2D(5, 3, trainable=False)(scaled)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(seen), name=name)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(2 * features.BATCH + 3):  # whole batches and an uneven one
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 255, (24, 20 + number % 9, 3), dtype=np.uint8)).save(path)
        rows.append((str(path), f"digest-{number}"))
    return pd.DataFrame(rows, columns=["path", "digest"])


@pytest.fixture
def seen(monkeypatch):
    """Counts the photos that are decoded."""
    count = []
    monkeypatch.setattr(features, "read_square", lambda path, size: count.append(path) or read_square(path, size))
    return count


def plain(photos, extractor):
    return extractor.predict(np.stack([read_square(p, SIZE) for p in photos["path"]]).astype("float32"), verbose=0)


def test_rows_are_the_tables(photos, tmp_path):
    extractor = make_extractor()
    answers = extract(photos, extractor, tmp_path / "kept")
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, plain(photos, extractor), rtol=1e-5)


@pytest.mark.parametrize("count", [1, features.BATCH - 1, features.BATCH, features.BATCH + 1])
def test_any_number_of_photos(photos, tmp_path, count):
    some = photos.head(count)
    np.testing.assert_allclose(
        extract(some, make_extractor(), tmp_path / "k"), plain(some, make_extractor()), rtol=1e-5
    )


def test_a_second_run_decodes_nothing(photos, tmp_path, seen):
    first = extract(photos, make_extractor(), tmp_path / "kept")
    assert len(seen) == len(photos)
    again = extract(photos, make_extractor(), tmp_path / "kept")
    assert len(seen) == len(photos)
    np.testing.assert_array_equal(first, again)


def test_only_new_photos_are_seen_and_order_does_not_matter(photos, tmp_path, seen):
    extract(photos.iloc[10:40], make_extractor(), tmp_path / "kept")
    shuffled = photos.sample(frac=1, random_state=1)
    answers = extract(shuffled, make_extractor(), tmp_path / "kept")
    assert len(seen) == len(photos)
    np.testing.assert_allclose(answers, plain(shuffled, make_extractor()), rtol=1e-5)


def test_copies_of_one_photo_are_seen_once(photos, tmp_path, seen):
    twice = pd.concat([photos.head(3), photos.head(3)], ignore_index=True)
    answers = extract(twice, make_extractor(), tmp_path / "kept")
    assert len(seen) == 3
    np.testing.assert_array_equal(answers[:3], answers[3:])


@pytest.mark.parametrize("other", [{"seed": 1}, {"scale": 1 / 127}, {"name": "another"}])
def test_another_network_never_gets_these_answers(photos, tmp_path, seen, other):
    extract(photos, make_extractor(), tmp_path / "kept")
    answers = extract(photos, make_extractor(**other), tmp_path / "kept")
    assert len(seen) == 2 * len(photos)
    np.testing.assert_allclose(answers, plain(photos, make_extractor(**other)), rtol=1e-5)


def test_fingerprint_is_the_same_when_the_network_is_built_again():
    assert fingerprint(make_extractor()) == fingerprint(make_extractor())


def test_interrupted_it_goes_on_where_it_was(photos, tmp_path, seen, monkeypatch):
    extractor = make_extractor()
    whole, calls = extractor.predict_on_batch, []

    def stopped_at_the_third(pixels):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(pixels)

    monkeypatch.setattr(extractor, "predict_on_batch", stopped_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extract(photos, extractor, tmp_path / "kept")
    decoded = len(seen)
    answers = extract(photos, make_extractor(), tmp_path / "kept")
    assert len(seen) - decoded == len(photos) - 2 * features.BATCH
    np.testing.assert_allclose(answers, plain(photos, make_extractor()), rtol=1e-5)


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_damaged_file_is_made_again_and_said(photos, tmp_path, capsys, damage):
    first = extract(photos, make_extractor(), tmp_path / "kept")
    [store] = (tmp_path / "kept").glob("*.npz")
    store.write_bytes(store.read_bytes()[:-40] if damage is None else damage)
    np.testing.assert_array_equal(extract(photos, make_extractor(), tmp_path / "kept"), first)
    assert f"{store} is damaged" in capsys.readouterr().out


def test_a_network_that_can_still_learn_is_refused(photos, tmp_path):
    extractor = make_extractor()
    extractor.layers[2].trainable = True
    with pytest.raises(ValueError, match="not frozen"):
        extract(photos, extractor, tmp_path / "kept")


def test_answers_that_are_no_numbers_are_refused(photos, tmp_path):
    extractor = make_extractor()
    extractor.layers[2].set_weights([np.full_like(w, np.nan) for w in extractor.layers[2].get_weights()])
    with pytest.raises(ValueError, match="not finite"):
        extract(photos, extractor, tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*.npz"))


def test_square_is_the_middle_and_keeps_0_to_255(tmp_path):
    wide = np.zeros((40, 120, 3), dtype=np.uint8)
    wide[:, 40:80] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    square = read_square(tmp_path / "wide.png", 32)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8
    assert (square[:, 1:-1] == 255).all()
    assert square.min() > 200  # the filter reaches a little beyond the edge
