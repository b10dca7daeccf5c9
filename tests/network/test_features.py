"""Each photo goes through the frozen network once, and never gets the features of another network or photo."""

import shutil
import threading
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from builders import TINY_SIZE, draw, features_of, tiny_extractor
from phototransfer.network import features, inference
from phototransfer.network.features import Features, extract, read_image
from phototransfer.network.views import BACKGROUND, PLAIN, augmented

close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def other_extractor(change: str) -> keras.Model:
    """Return the tiny network with other weights, another scale, another constant or another name."""
    if change == "weights":
        extractor = tiny_extractor()
        extractor.layers[2].set_weights([weights + 0.1 for weights in extractor.layers[2].get_weights()])
        return extractor
    keras.utils.set_random_seed(1)
    image = keras.Input((TINY_SIZE, TINY_SIZE, 3))
    scaled = image / 127.0 if change == "constant" else keras.layers.Rescaling(1 / 127)(image)
    feature_map = keras.layers.Conv2D(5, 3, trainable=False)(scaled)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(feature_map), name="tiny")


@pytest.fixture(scope="module")
def tiny():
    return tiny_extractor()


@pytest.fixture(scope="module")
def engines():
    return {}


@pytest.fixture(autouse=True)
def in_float32(engines, monkeypatch):
    """Features that can be compared closely, from a network that is converted once for all tests of this file."""

    def select(extractor, probes, names=None):
        key = extractor, *(names or inference.available_engines())
        if key not in engines:
            engines[key] = select_engine(extractor, probes, names)
        return engines[key]

    select_engine = inference.select_engine
    monkeypatch.setattr(features, "_compiled", {})
    monkeypatch.setattr(inference, "available_engines", lambda: [inference.F32, inference.KERAS])
    monkeypatch.setattr(inference, "select_engine", select)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("photos"), []
    for number in range(2 * features.BATCH + 3):  # whole batches and an incomplete one
        path = folder / f"{number}.jpg"
        draw(number, (24, 20 + number % 9)).save(path)
        rows.append((str(path), f"digest-{number}"))
    return pd.DataFrame(rows, columns=["path", "digest"])


@pytest.fixture
def decoded(monkeypatch):
    """The photos that are decoded to compute features: in threads, unlike the probes that select an engine."""
    paths = []

    def read(path, size, fit):
        if threading.current_thread() is not threading.main_thread():
            paths.append(path)
        return read_image(path, size, fit)

    monkeypatch.setattr(features, "read_image", read)
    return paths


@pytest.fixture
def compiled(monkeypatch):
    """The names of the engines that were compiled, in order."""
    names = []

    def select(*args):
        engine = select_engine(*args)
        names.append(engine.name)
        return engine

    select_engine = inference.select_engine
    monkeypatch.setattr(inference, "select_engine", select)
    return names


def expected(photos, extractor, view=PLAIN):
    images = [
        view.change(read_image(path, TINY_SIZE), digest)
        for path, digest in zip(photos["path"], photos["digest"], strict=True)
    ]
    return extractor(np.stack(images).astype("float32"))


@pytest.mark.parametrize("count", [1, features.BATCH - 1, features.BATCH, features.BATCH + 1, None])
def test_rows_are_those_of_the_table(photos, tiny, tmp_path, count):
    batch = photos.head(count or len(photos))
    result = extract(batch, tiny, tmp_path / "cache")
    assert result.plain.dtype == np.float32
    assert result.augmented.shape == (0, len(batch), 5)
    close(result.plain, expected(batch, tiny))


def test_a_second_run_decodes_nothing(photos, tiny, tmp_path, decoded):
    first = extract(photos, tiny, tmp_path / "cache")
    assert len(decoded) == first.computed == len(photos)
    again = extract(photos, tiny, tmp_path / "cache")
    assert (len(decoded), again.computed) == (len(photos), 0)
    np.testing.assert_array_equal(first.plain, again.plain)


def test_only_new_photos_are_computed_and_the_order_does_not_matter(photos, tiny, tmp_path, decoded):
    extract(photos.iloc[10:40], tiny, tmp_path / "cache")
    shuffled = photos.sample(frac=1, random_state=1)
    result = extract(shuffled, tiny, tmp_path / "cache")
    assert len(decoded) == len(photos)
    assert result.computed == len(photos) - 30
    assert result.to_dict() == {
        "photos": len(photos),
        "size": 5,
        "augmentations": 0,
        "engine": inference.F32,
        "computed": len(photos) - 30,
        "fit": "crop",
        "cut_off": None,
    }
    assert f"{len(photos) - 30} computed now, 30 from the cache" in result.summary()
    close(result.plain, expected(shuffled, tiny))


def test_photos_with_the_same_digest_are_computed_once(photos, tiny, tmp_path, decoded):
    twice = pd.concat([photos.head(3), photos.head(3)], ignore_index=True)
    result = extract(twice, tiny, tmp_path / "cache").plain
    assert len(decoded) == 3
    np.testing.assert_array_equal(result[:3], result[3:])


@pytest.mark.parametrize("change", ["weights", "scale", "constant"])
def test_features_of_another_network_are_never_used(photos, tiny, tmp_path, decoded, change):
    extract(photos, tiny, tmp_path / "cache")
    result = extract(photos, other_extractor(change), tmp_path / "cache")
    assert len(decoded) == 2 * len(photos)
    close(result.plain, expected(photos, other_extractor(change)))


def test_fingerprint_depends_on_constants_but_not_on_when_a_network_is_built():
    def build(constant: float) -> keras.Model:
        image = keras.Input((TINY_SIZE, TINY_SIZE, 3))
        return keras.Model(image, keras.layers.GlobalAveragePooling2D()(image / constant - 1.0))

    assert features.fingerprint(build(127.5)) == features.fingerprint(build(127.5))
    assert features.fingerprint(build(127.5)) != features.fingerprint(build(128.0))


def test_interrupted_extraction_is_resumed(photos, tiny, tmp_path, decoded, monkeypatch):
    read = features.read_image

    def interrupted_at_40(path, size, fit):
        if path == photos["path"][40] and threading.current_thread() is not threading.main_thread():
            raise KeyboardInterrupt
        return read(path, size, fit)

    monkeypatch.setattr(features, "read_image", interrupted_at_40)
    with pytest.raises(KeyboardInterrupt):
        extract(photos, tiny, tmp_path / "cache")
    monkeypatch.setattr(features, "read_image", read)
    decoded.clear()
    result = extract(photos, tiny, tmp_path / "cache")
    assert sorted(decoded) == sorted(photos["path"][40:])
    close(result.plain, expected(photos, tiny))


def test_features_are_saved_every_minute(photos, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_SAVE_EVERY_SECONDS", 0)
    sizes, save = [], features.FeatureTable.save
    monkeypatch.setattr(features.FeatureTable, "save", lambda table: sizes.append(len(table.new)) or save(table))
    extract(photos, tiny, tmp_path / "cache")
    assert sizes[0] < len(photos)
    assert sum(sizes) == len(photos)


@pytest.mark.parametrize("damage", [b"", b"no rows", None])
def test_a_damaged_file_is_computed_again(photos, tiny, tmp_path, capsys, damage):
    first = extract(photos, tiny, tmp_path / "cache")
    [file] = (tmp_path / "cache").glob("*/*.npy")
    file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    again = extract(photos, tiny, tmp_path / "cache")
    assert again.computed == len(photos)
    np.testing.assert_array_equal(again.plain, first.plain)
    assert f"{file} is damaged" in capsys.readouterr().out


def test_more_photos_are_more_files_and_the_others_stay_as_they_are(photos, tiny, tmp_path):
    extract(photos[:40], tiny, tmp_path / "cache")
    files = {path: path.read_bytes() for path in (tmp_path / "cache").glob("*/*.npy")}
    result = extract(photos, tiny, tmp_path / "cache")
    assert result.computed == len(photos) - 40
    assert all(path.read_bytes() == content for path, content in files.items())
    close(result.plain, expected(photos, tiny))


def test_the_single_file_of_earlier_versions_is_taken_over(photos, tiny, tmp_path, decoded):
    first = extract(photos, tiny, tmp_path / "cache")
    [folder] = (tmp_path / "cache").glob("*-plain")
    shutil.rmtree(folder)
    np.savez(folder.with_name(f"{folder.name}.npz"), digests=photos["digest"].to_numpy(str), features=first.plain)
    again = extract(photos, tiny, tmp_path / "cache")
    assert again.computed == 0 and not list((tmp_path / "cache").glob("*.npz"))
    np.testing.assert_array_equal(again.plain, first.plain)


def test_each_view_has_features_of_its_own_and_each_photo_is_decoded_once(photos, tiny, tmp_path, decoded):
    result = extract(photos, tiny, tmp_path / "cache", augmentations=2, seed=7)
    assert result.augmented.shape == (2, len(photos), 5)
    assert len(decoded) == len(photos)
    close(result.plain, expected(photos, tiny))
    for view, rows in zip(augmented(2, 7), result.augmented, strict=True):
        close(rows, expected(photos, tiny, view))


def test_only_a_new_view_is_computed(photos, tiny, tmp_path, monkeypatch):
    first = extract(photos, tiny, tmp_path / "cache", augmentations=1)
    sizes, save = [], features.FeatureTable.save
    monkeypatch.setattr(features.FeatureTable, "save", lambda table: sizes.append(len(table.new)) or save(table))
    second = extract(photos, tiny, tmp_path / "cache", augmentations=2)
    assert sizes == [0, 0, len(photos)]
    np.testing.assert_array_equal(first.plain, second.plain)
    np.testing.assert_array_equal(first.augmented[0], second.augmented[0])


def test_background_is_computed_when_asked_for_and_cached(photos, tiny, tmp_path, decoded):
    result = extract(photos, tiny, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*background"))
    background = result.background()
    close(background, expected(photos, tiny, BACKGROUND))
    assert result.background() is background
    assert len(decoded) == 2 * len(photos)
    again = extract(photos, tiny, tmp_path / "cache").background()
    np.testing.assert_array_equal(again, background)
    assert len(decoded) == 2 * len(photos)


def test_embed_gives_pictures_outside_the_table_the_features_of_photos_in_it(photos, tiny, tmp_path):
    result = extract(photos.head(3), tiny, tmp_path / "cache")
    pictures = [np.asarray(Image.open(path)) for path in photos["path"].head(3)]
    close(result.embed(pictures), result.plain)


def test_training_has_the_plain_rows_first_and_then_each_augmented_version():
    plain = np.arange(8, dtype=np.float32).reshape(4, 2)
    labels = np.array([0, 1, 0, 1])
    result = features_of(plain, np.stack([plain + 100, plain + 200]))
    assert isinstance(result, Features)
    assert result.size == 2
    for rows in (np.array([True, False, False, True]), np.array([0, 3])):
        x, y = result.training(rows, labels)
        np.testing.assert_array_equal(x, np.concatenate([plain[[0, 3]] + offset for offset in (0, 100, 200)]))
        np.testing.assert_array_equal(y, [0, 1, 0, 1, 0, 1])
    x, y = features_of(plain).training(np.array([1]), labels)
    np.testing.assert_array_equal(x, plain[1:2])
    np.testing.assert_array_equal(y, [1])


def test_nothing_is_compiled_when_nothing_is_new(photos, tiny, tmp_path, compiled):
    extract(photos, tiny, tmp_path / "cache")
    assert compiled == [inference.F32]
    features._compiled.clear()  # as in a new process
    extract(photos, tiny, tmp_path / "cache")
    assert compiled == [inference.F32]


def test_one_process_compiles_a_network_once(photos, tiny, tmp_path, compiled):
    extract(photos[:20], tiny, tmp_path / "cache")
    extract(photos, tiny, tmp_path / "cache").background()
    assert compiled == [inference.F32]


def test_new_photos_use_the_engine_of_the_first_ones(photos, tiny, tmp_path, compiled, monkeypatch):
    first = extract(photos[:40], tiny, tmp_path / "cache")
    features._compiled.clear()
    monkeypatch.setattr(inference, "available_engines", lambda: [inference.KERAS])
    result = extract(photos, tiny, tmp_path / "cache")
    assert compiled == [inference.F32, inference.F32]
    np.testing.assert_array_equal(result.plain[:40], first.plain)


def test_features_of_another_environment_are_not_mixed_in(photos, tiny, tmp_path, decoded, monkeypatch):
    extract(photos[:40], tiny, tmp_path / "cache")
    features._compiled.clear()
    monkeypatch.setattr(inference, "environment_key", lambda: "another-machine")
    monkeypatch.setattr(inference, "available_engines", lambda: [inference.KERAS])
    result = extract(photos, tiny, tmp_path / "cache")
    assert (result.engine, result.computed) == (inference.KERAS, len(photos))
    assert len(decoded) == 40 + len(photos)
    assert len(list((tmp_path / "cache").glob("*-plain"))) == 2


def test_an_engine_that_no_longer_runs_is_replaced_and_nothing_mixed(photos, tmp_path, decoded, compiled, monkeypatch):
    extract(photos[:40], tiny_extractor(), tmp_path / "cache")
    features._compiled.clear()

    def fail(network, name):
        raise RuntimeError("no memory")

    monkeypatch.setattr(inference, "_compile", fail)
    result = extract(photos, tiny_extractor(), tmp_path / "cache")
    assert compiled == [inference.F32, inference.KERAS]
    assert len(decoded) == 40 + len(photos)
    close(result.plain, expected(photos, tiny_extractor()))


def test_an_empty_table_is_an_error(photos, tiny, tmp_path):
    with pytest.raises(ValueError, match="no photos"):
        extract(photos[:0], tiny, tmp_path / "cache")


def test_a_network_that_is_not_frozen_is_an_error(photos, tmp_path):
    extractor = tiny_extractor()
    extractor.layers[2].trainable = True
    with pytest.raises(ValueError, match="not frozen"):
        extract(photos, extractor, tmp_path / "cache")


def test_features_that_are_not_finite_are_an_error(photos, tmp_path):
    extractor = tiny_extractor()
    extractor.layers[2].set_weights([np.full_like(w, np.nan) for w in extractor.layers[2].get_weights()])
    with pytest.raises(ValueError, match="not finite"):
        extract(photos, extractor, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_read_image_returns_the_middle_square_in_0_to_255(tmp_path):
    wide = np.zeros((40, 120, 3), dtype=np.uint8)
    wide[:, 40:80] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    square = read_image(tmp_path / "wide.png", 32)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8
    assert (square[:, 1:-1] == 255).all()
    assert square.min() > 200  # the filter reaches a little beyond the edge


@pytest.mark.parametrize("size", [(120, 40), (40, 120), (32, 32), (300, 16)])
def test_padded_photos_are_seen_whole_and_in_proportion(tmp_path, size):
    Image.new("RGB", size, "white").save(tmp_path / "photo.png")
    padded = read_image(tmp_path / "photo.png", 30, "pad")
    white = (padded > (127 + 255) / 2).all(axis=2)  # the photo; at its edge, both are mixed
    assert padded.shape == (30, 30, 3) and padded.dtype == np.uint8
    expected = [round(30 * side / max(size)) for side in size]
    assert [int(white.any(axis=0).sum()), int(white.any(axis=1).sum())] == expected
    near = binary_dilation(white, iterations=2)
    assert (padded[~near] == 127).all() and (padded[binary_erosion(white, iterations=2)] == 255).all()
    assert abs(int(white[:15].sum()) - int(white[15:].sum())) <= 30  # in the middle


def test_features_of_padded_photos_are_kept_apart(photos, tiny, tmp_path, decoded):
    cropped = extract(photos, tiny, tmp_path / "cache", augmentations=1, background=True)
    padded = extract(photos, tiny, tmp_path / "cache", augmentations=1, background=True, fit="pad")
    assert padded.computed == len(photos)
    for one, other in ((cropped.plain, padded.plain), (cropped.augmented, padded.augmented)):
        assert not np.allclose(one, other)
    assert not np.allclose(cropped.background(), padded.background())
    pictures = [np.asarray(Image.open(path)) for path in photos["path"]]
    close(padded.embed(pictures), padded.plain)
    again = [extract(photos, tiny, tmp_path / "cache", fit=fit) for fit in ("crop", "pad")]
    assert [result.computed for result in again] == [0, 0]
    np.testing.assert_array_equal(again[0].plain, cropped.plain)
    np.testing.assert_array_equal(again[1].plain, padded.plain)


@pytest.mark.parametrize(
    ("width", "height", "fit", "said"),
    [(1200, 300, "crop", True), (300, 1200, "crop", True), (1200, 300, "pad", False), (400, 300, "crop", False)],
)
def test_it_is_said_how_much_is_cut_off(photos, tiny, tmp_path, width, height, fit, said):
    result = extract(photos.assign(width=width, height=height), tiny, tmp_path / "cache", fit=fit)
    assert result.to_dict()["cut_off"] == pytest.approx(1 - min(width, height) / max(width, height))
    assert result.to_dict()["fit"] == fit
    assert ("cut off" in result.summary()) == said == any('FIT = "pad"' in sentence for sentence in result.advice())


def test_the_background_is_that_of_the_network_before_fine_tuning(photos, tmp_path):
    network = tiny_extractor()
    eager = extract(photos, network, tmp_path / "eager", augmentations=1, background=True, seed=1)
    expected = extract(photos, network, tmp_path / "lazy").background()
    for weight in network.weights:
        weight.assign(weight * 2)  # what fine-tuning does
    np.testing.assert_array_equal(eager.background(), expected)
    assert len(eager.augmented) == 1
