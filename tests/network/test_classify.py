"""New photos are classified like the test photos were, and a model file cannot bring code."""

import io
import json
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from phototransfer.network.classify import classify, load_run
from phototransfer.network.features import BATCH, read_image
from phototransfer.photos import Source, prepare, read_photo

CLASSES = ["cat", "dog"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    pooled = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(pooled))


@pytest.mark.parametrize("count", [3, BATCH + 2])
def test_new_photos_get_the_predictions_of_the_prepared_ones(tmp_path, make_photo, model, count):
    for number in range(count):
        make_photo(tmp_path / "photos" / CLASSES[number % 2] / f"{number:02}.jpg", number, (400 - number, 500))
    for number in range(6 if count < 6 else 0):  # enough to be split
        make_photo(tmp_path / "photos" / CLASSES[number % 2] / f"x{number}.jpg", 100 + number)
    source = Source("new", tmp_path / "photos", tmp_path / "home")
    photos = prepare(source, val_split=0.2, test_split=0.2, seed=42).photos
    pixels = np.stack([read_image(path, 16) for path in photos["path"]]).astype(np.float32)
    expected = dict(zip(photos["original"], model.predict(pixels, verbose=0), strict=True))
    result = classify(model, CLASSES, tmp_path / "photos")
    assert result["file"].tolist() == sorted(expected)
    for row in result.itertuples():
        assert row.probability == pytest.approx(expected[row.file].max(), abs=1e-6)
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
    assert list(classify(model, CLASSES, tmp_path)) == ["file", "label", "probability", "reason"]


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
def test_a_loaded_model_prepares_new_photos_as_its_run_did(tmp_path, model, fit):
    model.save(tmp_path / "model.keras")
    (tmp_path / "labels.json").write_text(json.dumps(CLASSES))
    ranges = {"integer": [0, 4095]}
    (tmp_path / "preparation.json").write_text(json.dumps({"fit": fit, "ranges": ranges}))
    grey = np.tile(np.arange(60, dtype=np.uint16) * 4, (40, 1))  # dark: the photo alone would be taken for 8 bits
    Image.fromarray(grey).save(tmp_path / "dark.png")
    loaded, classes = load_run(tmp_path)
    [answer] = classify(loaded, classes, tmp_path / "dark.png").to_dict("records")
    jpeg = io.BytesIO(read_photo(tmp_path / "dark.png", {"integer": (0, 4095)}).jpeg)
    expected = model(read_image(jpeg, 16, fit)[None].astype(np.float32)).numpy()
    assert answer["probability"] == pytest.approx(expected.max(), abs=1e-6)


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
