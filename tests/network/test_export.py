"""Exported files answer as the saved model does, and what cannot be exported says so."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phototransfer.network import export
from phototransfer.network.classify import load_run
from phototransfer.network.complete_model import complete_model
from phototransfer.network.saved_model import check_saved_model, sample_test_photos
from phototransfer.report import Skipped
from phototransfer.settings import EXPORT_FORMATS

CLASSES = ["cat", "dog"]


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory):
    """A saved run, its photos and its source folder."""
    keras.utils.set_random_seed(2)
    folder = tmp_path_factory.mktemp("run")
    inner, image = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    patches = keras.layers.Conv2D(4, 4, strides=4, activation="relu")(keras.layers.Rescaling(1 / 127.5, -1)(inner))
    extractor = keras.Model(inner, keras.layers.GlobalAveragePooling2D()(patches), name="tiny")
    layers = [keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="softmax")]
    head = keras.Sequential(layers, name="head")
    complete_model(keras.Model(image, head(extractor(image))), "crop").save(folder / "model.keras")
    (folder / "labels.json").write_text(json.dumps(CLASSES))
    source = folder / "photos"
    source.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        picture = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
        picture.resize((60 + number, 45), Image.Resampling.BICUBIC).save(source / f"{number}.png")
    model, _ = load_run(folder)
    originals = [f"{number}.png" for number in range(5)]
    probabilities = [np.asarray(model(np.asarray(Image.open(source / name))[None]))[0] for name in originals]
    photos = pd.DataFrame({"original": originals, "split": ["train", "test", "test", "val", "test"], "label": "cat"})
    photos["format"] = "PNG"
    photos["predicted"] = [CLASSES[p.argmax()] for p in probabilities]
    photos["probability"] = [float(p.max()) for p in probabilities]
    return folder, model, photos, source


def run_export(saved_run, *names):
    folder, model, photos, source = saved_run
    return export.export_model(model, folder, photos, source, {"EXPORT": list(names), "SEED": 1})


def test_every_format_is_loaded_again_and_agrees(saved_run):
    result = run_export(saved_run, *EXPORT_FORMATS)
    assert set(export.FORMATS) == set(EXPORT_FORMATS)
    assert [one.format for one in result.exports] == list(EXPORT_FORMATS) and result.photos == 3
    for one in result.exports:
        assert one.problem == "" and one.same == 3 and one.difference < 1e-3
    left = {path.name for path in (saved_run[0] / "exports").iterdir()}
    assert left == {"model.onnx", "model.tflite", "saved_model", "model.xml", "model.bin"}


def test_an_export_that_differs_is_not_kept(saved_run, monkeypatch):
    name, _, packages, load = export.FORMATS["litert"]

    def load_other(path):
        predict = load(path)
        return lambda photos: predict(photos)[:, ::-1]

    monkeypatch.setitem(export.FORMATS, "litert", (name, "other.tflite", packages, load_other))
    [one] = run_export(saved_run, "litert").exports
    assert one.problem and one.difference is None
    assert not (saved_run[0] / "exports" / "other.tflite").exists()


def test_a_missing_package_or_a_failing_converter_is_said(saved_run, monkeypatch):
    monkeypatch.setitem(export.FORMATS, "onnx", ("onnx", "model.onnx", ("no_such_package",), lambda path: None))
    monkeypatch.setitem(export.FORMATS, "litert", ("no_such_format", "model.tflite", (), lambda path: None))
    missing, failing, fine = run_export(saved_run, "onnx", "litert", "openvino").exports
    assert "no_such_package" in missing.problem and "requirements-export.txt" in missing.problem
    assert "no_such_format" in failing.problem and fine.problem == ""


def test_nothing_is_exported_without_the_setting(saved_run):
    assert isinstance(run_export(saved_run), Skipped)


def test_the_saved_model_is_compared_with_the_table(saved_run):
    _, model, photos, source = saved_run
    settings = {"SEED": 1}
    result = check_saved_model(model, CLASSES, photos, source, settings)
    assert (result.same, len(result.table), result.total) == (3, 3, 3)
    other = photos.assign(predicted=photos["predicted"].map({"cat": "dog", "dog": "cat"}))
    changed = check_saved_model(model, CLASSES, other, source, settings)
    assert changed.same == 0 and "1.png" in changed.summary()
    assert changed.to_dict()["correct"] == 3 - changed.to_dict()["saved_correct"]
    many = pd.concat([photos] * 40, ignore_index=True)
    many["original"] = [f"{number}.png" for number in range(len(many))]
    many["format"] = np.where(np.arange(len(many)) == 71, "TIFF", "JPEG")
    chosen = sample_test_photos(many, 1)
    assert "71.png" in chosen, "a format that few photos have is checked too"
    assert len(chosen) == len(set(chosen)) == 8 and set(chosen) <= set(many.loc[many["split"] == "test", "original"])
