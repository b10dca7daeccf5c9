"""New photos are classified like the test photos were, and a model file cannot bring code."""

import json
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from phototransfer.network.classify import classify, load_run
from phototransfer.network.complete_model import complete_model
from phototransfer.network.features import BATCH
from phototransfer.network.novelty import TrainingFeatures, split_model
from phototransfer.photos import Source, prepare
from phototransfer.photos.decode import read_pixels
from phototransfer.report import TRAINING_FEATURES

CLASSES = ["cat", "dog"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return complete_model(two_layers(), "crop")


def two_layers(offset=0.0):
    """A classifier of an extractor and a head for pictures of 16 × 16 pixels."""
    image, inner = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    extractor = keras.Model(inner, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255, offset)(inner)), name="tiny")
    head = keras.Sequential([keras.Input((768,)), keras.layers.Dense(2, activation="softmax")], name="head")
    return keras.Model(image, head(extractor(image)))


@pytest.mark.parametrize("count", [3, BATCH + 2])
def test_new_photos_get_the_predictions_of_the_prepared_ones(tmp_path, make_photo, model, count):
    for number in range(count):
        make_photo(tmp_path / "photos" / CLASSES[number % 2] / f"{number:02}.jpg", number, (400 - number, 500))
    for number in range(6 if count < 6 else 0):  # enough to be split
        make_photo(tmp_path / "photos" / CLASSES[number % 2] / f"x{number}.jpg", 100 + number)
    source = Source("new", tmp_path / "photos", tmp_path / "home")
    photos = prepare(source, val_split=0.2, test_split=0.2, seed=42).photos
    expected = {}
    for photo in photos.itertuples():
        with Image.open(photo.path) as prepared:
            expected[photo.original] = np.asarray(model(np.asarray(prepared)[None]))[0]
    result = classify(model, CLASSES, tmp_path / "photos")
    assert result["file"].tolist() == sorted(expected)
    for row in result.itertuples():
        assert row.probability == pytest.approx(expected[row.file].max(), abs=0.01)  # it is read without a JPEG between
        assert row.label == CLASSES[expected[row.file].argmax()] and row.reason == ""


def test_names_order_and_reasons(tmp_path, make_photo, model):
    make_photo(tmp_path / "b" / "ü ✓.jpg", 1)
    make_photo(tmp_path / "b" / "deep" / "2.png", 2, format="PNG")
    (tmp_path / "b" / "notes.txt").write_text("no photo")
    (tmp_path / "b" / ".hidden.jpg").write_bytes(b"")
    single = make_photo(tmp_path / "a" / "1.jpg", 3)
    result = classify(model, CLASSES, single, str(tmp_path / "b"))
    assert result["file"].tolist() == ["1.jpg", "deep/2.png", "notes.txt", "ü ✓.jpg"]
    assert result["label"].isna().tolist() == result["probability"].isna().tolist() == [False, False, True, False]
    assert [bool(reason) for reason in result["reason"]] == [False, False, True, False]


def test_files_of_the_system_are_skipped_as_in_a_data_set(tmp_path, make_photo, model, capsys):
    for name in (".ipynb_checkpoints/1.jpg", "__MACOSX/1.jpg", "._1.jpg", "Thumbs.db", "@eaDir/1.jpg", "cat/1.jpg"):
        make_photo(tmp_path / name, 1)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path)
    result = classify(model, CLASSES, tmp_path)
    assert result["file"].tolist() == ["cat/1.jpg", "circle", "gone.jpg", "notes.txt"]
    assert [bool(reason) for reason in result["reason"]] == [False, True, True, True]
    assert "3 of 4 files" in capsys.readouterr().out


def test_only_files_that_are_no_photos(tmp_path, model):
    (tmp_path / "notes.txt").write_text("no photo")
    result = classify(model, CLASSES, tmp_path)
    assert result["label"].tolist() == [None] and result["reason"][0]
    (tmp_path / "notes.txt").unlink()
    columns = ["file", "label", "probability", "unlike", "nearest", "reason"]
    assert list(result) == list(classify(model, CLASSES, tmp_path)) == columns


def test_a_missing_path_is_named(tmp_path, model):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        classify(model, CLASSES, tmp_path / "nowhere")


def test_a_saved_run_is_loaded_unchanged(tmp_path, model):
    model.save(tmp_path / "model.keras")
    with pytest.raises(FileNotFoundError, match="stopped before its model was saved"):
        load_run(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps(CLASSES))
    loaded, classes = load_run(tmp_path)
    assert classes == CLASSES
    for loaded_weights, weights in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded_weights, weights)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_loaded_model_prepares_new_photos_as_its_run_did(tmp_path, fit):
    complete_model(two_layers(), fit).save(tmp_path / "model.keras")
    (tmp_path / "labels.json").write_text(json.dumps(CLASSES))
    ranges = {"integer": [0, 4095]}
    (tmp_path / "preparation.json").write_text(json.dumps({"fit": fit, "ranges": ranges}))
    grey = np.tile(np.arange(60, dtype=np.uint16) * 4, (40, 1))  # dark: the photo alone would be taken for 8 bits
    Image.fromarray(grey).save(tmp_path / "dark.png")
    loaded, classes = load_run(tmp_path)
    [answer] = classify(loaded, classes, tmp_path / "dark.png").to_dict("records")
    pixels = read_pixels(tmp_path / "dark.png", {"integer": (0, 4095)})
    assert pixels.max() < 16  # nearly black, as the photos of its run
    assert answer["probability"] == pytest.approx(np.asarray(loaded(pixels[None])).max(), abs=1e-6)


def test_a_model_of_another_keras_is_named_with_both_versions(tmp_path, model):
    model.save(tmp_path / "saved.keras")
    (tmp_path / "labels.json").write_text(json.dumps(CLASSES))

    def save_again(config: bytes | None) -> None:
        with zipfile.ZipFile(tmp_path / "saved.keras") as saved, zipfile.ZipFile(tmp_path / "model.keras", "w") as copy:
            for name in saved.namelist():
                content = saved.read(name)
                if name == "metadata.json":
                    content = json.dumps(json.loads(content) | {"keras_version": "9.8.7"}).encode()
                copy.writestr(name, config if config and name == "config.json" else content)

    save_again(None)
    assert load_run(tmp_path)[1] == CLASSES  # it works when it can be read
    save_again(json.dumps({"class_name": "New", "module": "keras.new", "config": {}}).encode())
    with pytest.raises(ValueError, match=r"Keras 9\.8\.7") as caught:
        load_run(tmp_path)
    assert f"Keras {keras.__version__}" in str(caught.value)


def test_a_model_file_that_is_damaged_or_brings_code_is_refused(tmp_path):
    hostile = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda values: values * 2)])
    hostile.save(tmp_path / "model.keras")
    (tmp_path / "labels.json").write_text(json.dumps(CLASSES))
    with pytest.raises(ValueError, match=r"model\.keras cannot be loaded: .*[Ll]ambda"):
        load_run(tmp_path)
    (tmp_path / "model.keras").write_bytes((tmp_path / "model.keras").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"model\.keras cannot be loaded"):
        load_run(tmp_path)


@pytest.fixture
def run_folder(tmp_path, make_photo):
    """A saved run that knows three photos: two cats of their own class, and a dog."""
    keras.utils.set_random_seed(3)
    model = complete_model(two_layers(-0.5), "crop")
    extractor, _ = split_model(model)
    folder = tmp_path / "run"
    folder.mkdir()
    model.save(folder / "model.keras")
    (folder / "labels.json").write_text(json.dumps(CLASSES))
    pixels = []
    for number in range(3):
        path = make_photo(tmp_path / "known" / f"{number}.jpg", number)
        pixels.append(np.asarray(model.get_layer("prepare")(read_pixels(path)[None]))[0])
    features = np.asarray(extractor(np.stack(pixels)))
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    labels, originals = np.array(["cat", "cat", "dog"]), np.array(["0.jpg", "1.jpg", "2.jpg"])
    distances = 1 - features @ features.T
    training = TrainingFeatures(features.astype(np.float16), labels, originals, float(distances.max()) + 0.01, 0.02)
    np.savez(folder / TRAINING_FEATURES, **training.arrays())
    return folder


@pytest.mark.parametrize("extra", [0, BATCH + 1], ids=["few", "many"])
def test_a_photo_unlike_the_training_photos_is_named_and_still_classified(run_folder, tmp_path, make_photo, extra):
    Image.fromarray(255 - np.asarray(Image.open(tmp_path / "known" / "2.jpg"))).save(
        tmp_path / "known" / "negative.png"
    )
    (tmp_path / "known" / "notes.txt").write_text("no photo")
    for number in range(extra):
        make_photo(tmp_path / "known" / f"x{number:02}.jpg", 50 + number)
    loaded, classes = load_run(run_folder)
    with_novelty = classify(loaded, classes, tmp_path / "known").set_index("file")
    loaded.training_features = None
    without = classify(loaded, classes, tmp_path / "known").set_index("file")
    assert without["unlike"].isna().all() and without["nearest"].isna().all()
    assert with_novelty["label"].equals(without["label"])
    np.testing.assert_allclose(
        with_novelty["probability"].astype(float), without["probability"].astype(float), atol=1e-6
    )
    known = with_novelty.loc[["0.jpg", "1.jpg", "2.jpg"]]
    assert known["nearest"].tolist() == ["cat", "cat", "dog"]
    assert not known["unlike"].any() and (known["reason"] == "").all()
    negative = with_novelty.loc["negative.png"]
    assert negative["unlike"] and negative["nearest"] in negative["reason"]
    assert with_novelty["unlike"].isna().tolist() == (with_novelty.index == "notes.txt").tolist()
    assert with_novelty[with_novelty["unlike"]].index[0] == "negative.png"  # usable as a mask


def test_only_the_photos_that_are_unlike_are_printed_as_such(run_folder, tmp_path, capsys):
    loaded, classes = load_run(run_folder)
    classify(loaded, classes, tmp_path / "known")
    assert capsys.readouterr().out == ""
    Image.fromarray(255 - np.asarray(Image.open(tmp_path / "known" / "2.jpg"))).save(tmp_path / "negative.png")
    classify(loaded, classes, tmp_path / "negative.png")
    printed = capsys.readouterr().out
    assert "negative.png" in printed and "cannot be classified" not in printed


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 damaged"], ids=["missing", "empty", "damaged"])
def test_a_run_without_usable_training_features_still_classifies(run_folder, tmp_path, capsys, content):
    (run_folder / TRAINING_FEATURES).unlink()
    if content is not None:
        (run_folder / TRAINING_FEATURES).write_bytes(content)
    loaded, classes = load_run(run_folder)
    assert (TRAINING_FEATURES in capsys.readouterr().out) == (content is not None)
    result = classify(loaded, classes, tmp_path / "known")
    assert result["label"].notna().all() and result["unlike"].isna().all()
