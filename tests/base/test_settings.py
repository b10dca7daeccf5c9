"""A setting that cannot be used is named before anything slow begins, and a changed one takes effect everywhere."""

import ast

import pytest

from builders import SETTINGS, notebook_cell
from phototransfer.settings import RULES, Settings

GOOD = {
    **SETTINGS,
    "VALIDATION_SPLIT": 0.2,
    "TEST_SPLIT": 0.2,
    "WEIGHTS": "imagenet",
    "FIGURES": True,
    "PREDICT": None,
    "RUN": None,
}


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
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_those_that_can(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got "):
        Settings(GOOD | {name: value})


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
