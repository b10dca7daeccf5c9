"""A setting that will not do is named before anything takes time."""

import pytest

from helpers.settings import check

GOOD = {
    "HEAD": [512, 64],
    "BATCH_NORM": False,
    "DROPOUT": 0.3,
    "EPOCHS": 15,
    "BATCH_SIZE": 32,
    "LEARNING_RATE": 1e-3,
    "VALIDATION_SPLIT": 0.2,
    "TEST_SPLIT": 0.2,
    "LEAKS": "report",
    "WEIGHT_DECAY": 0.0,
    "AUGMENT_VIEWS": 0,
    "FINE_TUNE_LAYERS": 0,
    "CV_FOLDS": 5,
    "TUNE_TRIALS": 0,
    "AUDIT": True,
    "FIGURES": True,
    "SEED": 42,
}


def test_good_settings_pass_unchanged():
    assert check(GOOD | {"HEAD": [], "DROPOUT": 0}) == GOOD | {"HEAD": [], "DROPOUT": 0}


@pytest.mark.parametrize(
    "name, value",
    [
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
        ("LEAKS", "delete"),
        ("WEIGHT_DECAY", -0.1),
        ("AUGMENT_VIEWS", -1),
        ("FINE_TUNE_LAYERS", 2.5),
        ("CV_FOLDS", 1),
        ("CV_FOLDS", -2),
        ("TUNE_TRIALS", "10"),
        ("AUDIT", 1),
        ("FIGURES", "False"),
        ("SEED", -1),
        ("SEED", 2**32),
    ],
)
def test_what_will_not_do_is_named_with_what_would(name, value):
    with pytest.raises(ValueError, match=rf"^{name} = .* will not do: it has to be "):
        check(GOOD | {name: value})
