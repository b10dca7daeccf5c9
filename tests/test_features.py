"""Each photo through the frozen network once, and never another network's or another photo's answer."""

import threading
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import engine, features
from helpers.features import embedder, extract, extract_views, fingerprint, read_square
from helpers.views import BACKGROUND, PLAIN, View, augmented

SIZE = 16
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def make_extractor(seed=0, scale=1 / 255, name="tiny"):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((SIZE, SIZE, 3))
    scaled = keras.layers.Rescaling(scale)(pixels)
    seen = keras.layers.Conv2D(5, 3, trainable=False)(scaled)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(seen), name=name)


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    """What is kept is tried here with answers that can be compared closely; the engines have tests of their own."""
    monkeypatch.setattr(features, "_compiled", {})
    monkeypatch.setattr(engine, "candidates", lambda: [engine.F32, engine.KERAS])


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
    """The photos that are decoded to be answered: in threads, unlike the few that the engine is chosen with."""
    paths = []

    def read(path, size):
        if threading.current_thread() is not threading.main_thread():
            paths.append(path)
        return read_square(path, size)

    monkeypatch.setattr(features, "read_square", read)
    return paths


@pytest.fixture
def chosen(monkeypatch):
    """The engines that were compiled, in order."""
    names = []

    def choose(*given):
        ready = choose_really(*given)
        names.append(ready.name)
        return ready

    choose_really = engine.choose
    monkeypatch.setattr(engine, "choose", choose)
    return names


def plain(photos, extractor):
    return extractor.predict(np.stack([read_square(p, SIZE) for p in photos["path"]]).astype("float32"), verbose=0)


def test_rows_are_the_tables(photos, tmp_path):
    extractor = make_extractor()
    answers = extract(photos, extractor, tmp_path / "kept")
    assert answers.dtype == np.float32
    close(answers, plain(photos, extractor))


@pytest.mark.parametrize("count", [1, features.BATCH - 1, features.BATCH, features.BATCH + 1])
def test_any_number_of_photos(photos, tmp_path, count):
    some = photos.head(count)
    close(
        extract(some, make_extractor(), tmp_path / "k"),
        plain(some, make_extractor()),
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
    close(answers, plain(shuffled, make_extractor()))


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
    close(answers, plain(photos, make_extractor(**other)))


def test_fingerprint_is_the_same_when_the_network_is_built_again():
    assert fingerprint(make_extractor()) == fingerprint(make_extractor())


def test_interrupted_it_goes_on_where_it_was(photos, tmp_path, seen, monkeypatch):
    read = features.read_square

    def stopped_at_40(path, size):
        if path == photos["path"][40] and threading.current_thread() is not threading.main_thread():
            raise KeyboardInterrupt
        return read(path, size)

    monkeypatch.setattr(features, "read_square", stopped_at_40)
    with pytest.raises(KeyboardInterrupt):
        extract(photos, make_extractor(), tmp_path / "kept")
    monkeypatch.setattr(features, "read_square", read)
    seen.clear()
    answers = extract(photos, make_extractor(), tmp_path / "kept")
    assert sorted(seen) == sorted(photos["path"][40:])
    close(answers, plain(photos, make_extractor()))


def test_what_is_done_is_saved_every_minute(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_SAVE_EVERY_SECONDS", 0)
    sizes, save = [], features._save
    monkeypatch.setattr(features, "_save", lambda store, fresh: sizes.append(len(fresh)) or save(store, fresh))
    extract(photos, make_extractor(), tmp_path / "kept")
    assert sizes[0] < len(photos)
    assert sizes[-1] == len(photos)


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_damaged_file_is_made_again_and_said(photos, tmp_path, capsys, damage):
    first = extract(photos, make_extractor(), tmp_path / "kept")
    [store] = (tmp_path / "kept").glob("*.npz")
    store.write_bytes(store.read_bytes()[:-40] if damage is None else damage)
    np.testing.assert_array_equal(extract(photos, make_extractor(), tmp_path / "kept"), first)
    assert f"{store} is damaged" in capsys.readouterr().out


def test_views_have_answers_of_their_own_and_each_photo_is_decoded_once(photos, tmp_path, seen):
    views = [PLAIN, BACKGROUND, *augmented(2, 0)]
    answers = extract_views(photos, make_extractor(), tmp_path / "kept", views)
    assert answers.shape == (4, len(photos), 5)
    assert len(seen) == len(photos)
    for view, rows in zip(views, answers, strict=True):
        changed = [
            view.change(read_square(path, SIZE), digest)
            for path, digest in zip(photos["path"], photos["digest"], strict=True)
        ]
        expected = make_extractor().predict(np.stack(changed).astype("float32"), verbose=0)
        close(rows, expected)


def test_only_the_view_that_is_new_is_asked(photos, tmp_path, seen):
    extract(photos, make_extractor(), tmp_path / "kept")
    changed = []
    dark = View("dark", lambda pixels, digest: changed.append(digest) or pixels // 2)
    first, _ = extract_views(photos, make_extractor(), tmp_path / "kept", [PLAIN, dark])
    assert sorted(changed) == sorted(photos["digest"])
    np.testing.assert_array_equal(first, extract(photos, make_extractor(), tmp_path / "kept"))
    assert len(seen) == 2 * len(photos)


def test_nothing_is_compiled_when_nothing_is_new(photos, tmp_path, chosen):
    extract(photos, make_extractor(), tmp_path / "kept")
    assert chosen == [engine.F32]
    features._compiled.clear()  # as in a new process
    extract(photos, make_extractor(), tmp_path / "kept")
    assert chosen == [engine.F32]


def test_one_process_compiles_a_network_once(photos, tmp_path, chosen):
    extractor = make_extractor()
    extract(photos[:20], extractor, tmp_path / "kept")
    extract(photos, extractor, tmp_path / "kept", BACKGROUND)
    assert chosen == [engine.F32]


def test_new_photos_get_the_engine_of_the_first(photos, tmp_path, chosen, monkeypatch):
    first = extract(photos[:40], make_extractor(), tmp_path / "kept")
    features._compiled.clear()
    monkeypatch.setattr(engine, "candidates", lambda: [engine.KERAS])
    answers = extract(photos, make_extractor(), tmp_path / "kept")
    assert chosen == [engine.F32, engine.F32]
    np.testing.assert_array_equal(answers[:40], first)


def test_answers_of_another_setup_are_not_mixed_in(photos, tmp_path, seen, monkeypatch):
    extract(photos[:40], make_extractor(), tmp_path / "kept")
    features._compiled.clear()
    monkeypatch.setattr(engine, "setup", lambda: "another-machine")
    monkeypatch.setattr(engine, "candidates", lambda: [engine.KERAS])
    extract(photos, make_extractor(), tmp_path / "kept")
    assert len(seen) == 40 + len(photos)
    assert len(list((tmp_path / "kept").glob("*.npz"))) == 2


def test_an_engine_that_no_longer_runs_is_replaced_and_nothing_mixed(photos, tmp_path, seen, chosen, monkeypatch):
    extract(photos[:40], make_extractor(), tmp_path / "kept")
    features._compiled.clear()

    def gone(network, name):
        raise RuntimeError("no memory")

    monkeypatch.setattr(engine, "_compile", gone)
    answers = extract(photos, make_extractor(), tmp_path / "kept")
    assert chosen == [engine.F32, engine.KERAS]
    assert len(seen) == 40 + len(photos)
    close(answers, plain(photos, make_extractor()))


def test_no_photos_are_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="no photo"):
        extract(photos[:0], make_extractor(), tmp_path / "kept")


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


def test_pictures_outside_the_table_are_answered_like_photos_in_it(photos, tmp_path):
    extractor = make_extractor()
    kept = extract(photos.head(3), extractor, tmp_path / "features")
    pictures = [np.asarray(Image.open(path)) for path in photos["path"].head(3)]
    close(embedder(extractor)(pictures), kept)
