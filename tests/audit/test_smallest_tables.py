"""Every analysis of sections 6 to 8 on the smallest tables: a result or "cannot tell", never an error or a NaN."""

import json
import re
import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from builders import SETTINGS, TINY_SIZE, ClassMeans, build_head, draw, fit_head, photo_table
from phototransfer import audit, evaluate, network
from phototransfer.audit import shift, shortcuts
from phototransfer.network.backbones import Backbone
from phototransfer.report import Result, Skipped

SPLITS = ("train", "val", "test")


def of_three(classes: int = 2) -> pd.DataFrame:
    """Return classes of three photos, one in each split."""
    return photo_table(np.repeat([f"class {number:03}" for number in range(classes)], 3), SPLITS * classes)


def of_size(size: int, **columns) -> pd.DataFrame:
    """Return two classes of `size` photos, three fifths of them in train."""
    splits = np.resize(["train", "val", "train", "test", "train"], size)
    return photo_table(np.repeat(["cat", "dog"], size), [*splits, *splits], **columns)


def without(split: str, label: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the photos of a class in a split."""
    return table[(table["split"] != split) | (table["label"] != label)].reset_index(drop=True)


DATES = pd.Series(pd.date_range("2024-05-12", periods=40, freq="h"))
TABLES = {
    "three photos a class": of_three(),
    "200 classes of three photos": of_three(200),
    "a class is one group": of_three().assign(group=[0, 0, 0, 3, 4, 5]),
    "each class is one group": of_size(20, groups=[0] * 20 + [1] * 20),
    "all photos are one group": of_size(20, groups=[0] * 40),
    "every group spans the classes": of_size(20, groups=[*range(20)] * 2),
    "one class has one group": of_size(20, groups=[0] * 20 + list(range(1, 21))),
    "two groups a class": of_size(20, groups=np.repeat([0, 1, 2, 3], 10)),
    "a rare class": pd.concat([of_size(60).head(60), of_three().tail(3)], ignore_index=True).assign(group=range(63)),
    "no test photos": of_size(20).query("split != 'test'").reset_index(drop=True),
    "one class in test": without("test", "dog", of_size(20)),
    "one class in val": without("val", "dog", of_size(20)),
    "one test photo": of_size(20).drop(index=[3, 8, 13, 18, 23, 28, 33]).reset_index(drop=True),
    "date and camera of some": of_size(20, camera=["X1", None] * 20, taken=DATES.where(DATES.index > 36)),
    "date and camera of the class": of_size(20, camera=["X1"] * 20 + ["X2"] * 20, taken=DATES),
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    keras.utils.set_random_seed(1)
    pixels = keras.Input((TINY_SIZE, TINY_SIZE, 3))
    model = keras.Model(pixels, keras.layers.Conv2D(5, 3, trainable=False)(pixels))
    return Backbone("tiny", model, keras.layers.Rescaling(1 / 255), TINY_SIZE, None)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(folder / f"{number}.jpg") for number in range(600)]
    for number, path in enumerate(paths):
        draw(number, (48, 36)).save(path)
    return paths


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr("phototransfer.network.training.HeadTrainer", ClassMeans)
    monkeypatch.setattr(shortcuts, "_PERMUTATIONS", 59)
    monkeypatch.setattr(shortcuts, "_PLANTED", 10)
    monkeypatch.setattr(shift, "_PERMUTATIONS", 59)


def analyses(photos: pd.DataFrame, backbone: Backbone, folder, settings: dict):
    """Yield the result of each analysis in the order of the notebook."""
    classes = sorted(photos["label"].unique())
    image = keras.Input((TINY_SIZE, TINY_SIZE, 3))
    feature_map = backbone.model(backbone.preprocess(image), training=False)
    extractor = keras.Model(image, keras.layers.GlobalAveragePooling2D()(feature_map), name="tiny")
    features = network.extract(photos, extractor, folder / "features", background=True)
    duplicates = audit.find_duplicates(photos, features, settings)
    photos = audit.mark_duplicates(photos, duplicates, settings)
    yield duplicates
    head = build_head(features.size, len(classes), settings)
    probabilities = head.predict(features.plain, verbose=0)
    photos = evaluate.add_predictions(photos, probabilities, classes)
    accuracy = evaluate.measure_accuracy(photos)
    yield accuracy
    yield evaluate.measure_per_class(photos)
    yield evaluate.confusion(photos, classes)
    yield evaluate.ranking(photos, probabilities, classes)
    yield evaluate.example_predictions(photos, 0)
    yield evaluate.worst_mistakes(photos)
    clean_score = audit.score_without_duplicates(photos, duplicates)
    yield clean_score
    found = audit.check_shortcuts(photos, features, settings)
    yield found
    yield audit.distributions(found)
    yield network.grad_cam_examples(photos, backbone, head, classes, settings)
    differences = audit.check_shift(photos, features, settings)
    yield differences
    yield audit.shift_examples(differences)
    validator = evaluate.CrossValidator(photos, features, build_head=build_head, fit_head=fit_head, settings=settings)
    cross_validation = evaluate.cross_validate(validator, photos)
    yield cross_validation
    mislabelled = audit.find_mislabelled(validator)
    yield mislabelled
    findings = {}
    for result in (clean_score, found, differences, cross_validation, mislabelled):
        findings |= result.findings()
    yield audit.conclude(findings, accuracy, cross_validation)
    yield evaluate.calibrate(validator)
    yield evaluate.compare_heads(validator)
    yield evaluate.learning_curve(validator)
    yield evaluate.search_heads(validator, folder / "tuning")


def texts_of(result: Result) -> list[str]:
    """Return everything that a reader sees of a result: its words, numbers and the text of its figure."""
    texts = [result.summary(), *result.advice(), json.dumps(result.to_dict(), allow_nan=False)]
    if figure := result.plot():
        texts += [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
        plt.close(figure)
    return texts


def check(result: Result) -> None:
    texts = texts_of(result)
    assert not [text for text in texts if re.search(r"\b(nan|inf|NaN)\b", text)]
    if isinstance(result, Skipped):
        assert result.reason or result.name in ("distributions", "shift_examples")


def run(photos: pd.DataFrame, backbone: Backbone, folder, **settings) -> dict[str, Result]:
    results = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a mean of nothing, a division by 0
        warnings.simplefilter("error", UserWarning)
        for result in analyses(photos, backbone, folder, SETTINGS | {"EPOCHS": 1, "TUNE_TRIALS": 1} | settings):
            check(result)
            results[result.name] = result
    return results


@pytest.mark.parametrize("name", TABLES)
def test_every_analysis_ends_with_a_result_or_the_reason_why_there_is_none(name, backbone, pictures, tmp_path):
    photos = TABLES[name]
    run(photos.assign(path=pictures[: len(photos)]), backbone, tmp_path)


@pytest.mark.parametrize("of_each", [2, 40], ids=["pairs of the same picture", "one picture"])
def test_the_same_pictures_are_never_reported_as_nothing_found(of_each, backbone, pictures, tmp_path):
    photos = of_size(20)
    results = run(photos.assign(path=[pictures[number // of_each] for number in range(40)]), backbone, tmp_path)
    lines = results["verdict"].to_dict()["lines"]
    assert "nothing found" not in [
        lines[question] for question in ("leaks", "shortcuts", "background", "files", "shift")
    ]


def test_all_settings_that_may_leave_something_out(backbone, pictures, tmp_path):
    photos = of_size(20).assign(path=pictures[:40])
    off = run(photos, backbone, tmp_path, CHECKS=False, CV_FOLDS=0, TUNE_TRIALS=0)
    skipped = {name for name, result in off.items() if isinstance(result, Skipped)}
    assert {"shortcuts", "shift", "grad_cam", "cross_validation", "comparison_of_heads", "tuning"} <= skipped


@pytest.mark.parametrize("size", [3, 5])
def test_few_photos_have_no_power(size, backbone, pictures, tmp_path):
    results = run(of_size(size).assign(path=pictures[: 2 * size]), backbone, tmp_path)
    verdicts = results["verdict"].to_dict()["lines"]
    assert "nothing found" not in (verdicts["shortcuts"], verdicts["shift"])
    assert not results["comparison_of_heads"].advice() and not results["learning_curve"].advice()
