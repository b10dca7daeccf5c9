"""A setting that cannot be used is named before anything slow begins, and a changed one takes effect everywhere."""

import ast
import io
import zipfile

import pytest

from builders import SETTINGS, notebook_cell
from phototransfer.settings import RULES, Settings

GOOD = {
    **SETTINGS,
    "DATASET": "sample",
    "LABELS": None,
    "RELABEL": None,
    "VALIDATION_SPLIT": 0.2,
    "TEST_SPLIT": 0.2,
    "WEIGHTS": "imagenet",
    "FIGURES": True,
    "PREDICT": None,
    "EXPORT": [],
    "RUN": None,
    "CLUSTER": None,
}


def zipped(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, b"x")
    return content.getvalue()


def test_good_settings_are_read_unchanged():
    assert dict(Settings(GOOD | {"HEAD": [], "DROPOUT": 0, "other": 1})) == GOOD | {"HEAD": [], "DROPOUT": 0}


@pytest.mark.parametrize(
    "name, value",
    [
        ("DATASET", ""),
        ("DATASET", 7),
        ("BACKBONE", None),
        ("WEIGHTS", "no/such/file.h5"),
        ("PREDICT", "no/such/photo.jpg"),
        ("RELABEL", "no/such/suspects.csv"),
        ("RELABEL", 7),
        ("EXPORT", None),
        ("EXPORT", "onnx"),
        ("EXPORT", ["onnx", "onnx"]),
        ("EXPORT", ["tflite"]),
        ("HEAD", 256),
        ("HEAD", [256, 0]),
        ("HEAD", "[256]"),
        ("HEAD", [0.5]),
        ("BATCH_NORM", 1),
        ("DROPOUT", 1),
        ("DROPOUT", -0.1),
        ("EPOCHS", 0),
        ("EPOCHS", 2.5),
        ("EPOCHS", True),
        ("BATCH_SIZE", "32"),
        ("LEARNING_RATE", 0),
        ("LEARNING_RATE", float("nan")),
        ("VALIDATION_SPLIT", 0),
        ("TEST_SPLIT", 1.0),
        ("DUPLICATES", "delete"),
        ("FIT", "squash"),
        ("WEIGHT_DECAY", -0.1),
        ("AUGMENTATIONS", -1),
        ("FINE_TUNE_LAYERS", 2.5),
        ("CV_FOLDS", 1),
        ("CV_FOLDS", -2),
        ("CV_FOLDS", False),
        ("TUNE_TRIALS", "10"),
        ("CHECKS", 1),
        ("FIGURES", "False"),
        ("SEED", -1),
        ("SEED", 2**32),
        ("RUN", ""),
        ("CLUSTER", ""),
        ("CLUSTER", "10.0.0.1:6379"),
        ("CLUSTER", 2),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_those_that_can(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got "):
        Settings(GOOD | {name: value})


@pytest.mark.parametrize("name", ["DATASET", "BACKBONE", "RUN", "WEIGHTS", "PREDICT", "RELABEL"])
@pytest.mark.parametrize("value", [7, 20240512, 1000.0, True])
def test_a_number_where_text_is_meant_is_refused_with_the_way_out(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {value}.*quotes.*-r {name}"):
        Settings(GOOD | {name: value})


def test_a_place_is_looked_at_once_for_each_value(tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "1.jpg").touch()
    namespace = GOOD | {"PREDICT": str(tmp_path / "pets")}
    settings = Settings(namespace)
    (tmp_path / "pets").rename(tmp_path / "moved")
    assert settings["PREDICT"] == namespace["PREDICT"]
    namespace["PREDICT"] = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        settings["PREDICT"]


def hdf5(end: int) -> bytes:
    """The start of an HDF5 file of `end` bytes."""
    return b"\x89HDF\r\n\x1a\n" + bytes(32) + end.to_bytes(8, "little") + bytes(52)


@pytest.mark.parametrize(
    "name, content, word",
    [
        ("a.h5", b"<!DOCTYPE html>", "web page"),
        ("a.h5", b"", "empty"),
        ("a.h5", hdf5(5000), "cut short"),
        ("a.weights", hdf5(100), "its name"),
        ("a.pt", zipped("archive/data.pkl"), "PyTorch"),
        ("a.keras", zipped("cat/1.jpg"), "zip archive"),
        ("a.onnx", b"\x08\x07", "not a weights file"),
    ],
)
def test_a_file_that_has_no_weights_is_named(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        Settings(GOOD | {"WEIGHTS": str(tmp_path / name)})
    assert name in str(caught.value)


def test_weights_files_of_keras_are_accepted(tmp_path):
    (tmp_path / "a.weights.h5").write_bytes(hdf5(100))
    (tmp_path / "a.keras").write_bytes(zipped("model.weights.h5"))
    for name in ("a.weights.h5", "a.keras"):
        Settings(GOOD | {"WEIGHTS": str(tmp_path / name)})


@pytest.mark.parametrize("content, word", [(None, "no files"), (zipped("cat/1.jpg"), "unpack it first")])
def test_predict_without_a_photo_is_refused(tmp_path, content, word):
    if content:
        (tmp_path / "new.zip").write_bytes(content)
    with pytest.raises(ValueError, match=f"PREDICT must be .*{word}"):
        Settings(GOOD | {"PREDICT": str(tmp_path / "new.zip" if content else tmp_path)})


def test_batchnorm_needs_more_than_one_photo_in_a_batch():
    Settings(GOOD | {"BATCH_SIZE": 1, "BATCH_NORM": False})
    with pytest.raises(ValueError, match="BATCH_SIZE = 1"):
        Settings(GOOD | {"BATCH_SIZE": 1})


@pytest.mark.parametrize("old, new", [("LEAKS", "DUPLICATES"), ("AUDIT", "CHECKS"), ("AUGMENT_VIEWS", "AUGMENTATIONS")])
def test_an_old_name_is_answered_with_the_new_one(old, new):
    with pytest.raises(ValueError, match=f"{old} is called {new} now"):
        Settings(GOOD | {old: 1})


def test_a_missing_setting_is_named():
    with pytest.raises(ValueError, match="EPOCHS is missing"):
        Settings({name: value for name, value in GOOD.items() if name != "EPOCHS"})


def test_a_change_in_the_settings_cell_takes_effect_at_once():
    namespace = dict(GOOD)
    settings = Settings(namespace)
    namespace["HEAD"] = [8, 4]
    assert settings["HEAD"] == [8, 4]
    namespace["EPOCHS"] = 0
    with pytest.raises(ValueError, match="EPOCHS must be"):
        settings["EPOCHS"]


def test_the_settings_cell_has_all_settings_and_its_defaults_can_be_used():
    namespace: dict = {}
    exec(notebook_cell("DATASET = "), namespace)
    names = [node.targets[0].id for node in ast.parse(notebook_cell("DATASET = ")).body]
    assert sorted(names) == sorted(RULES)
    Settings(namespace)
