"""Can the notebook run with these settings?"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any


def _whole(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Integral) and not isinstance(value, bool) and value >= low


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Real) and not isinstance(value, bool) and low < value < high


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "HEAD": (
        lambda value: isinstance(value, list | tuple) and all(_whole(1)(units) for units in value),
        "a list of whole numbers such as [256, 64], or [] for none (on the command line: -y 'HEAD: [256, 64]')",
    ),
    "DROPOUT": (lambda value: value == 0 or _between(0, 1)(value), "a number from 0 to below 1"),
    "EPOCHS": (_whole(1), "a whole number of at least 1"),
    "BATCH_SIZE": (_whole(1), "a whole number of at least 1"),
    "LEARNING_RATE": (_between(0, 10), "a number above 0, such as 0.001"),
    "WEIGHT_DECAY": (lambda value: value == 0 or _between(0, 100)(value), "0, or a number above it such as 0.1"),
    **dict.fromkeys(("AUGMENT_VIEWS", "FINE_TUNE_LAYERS", "TUNE_TRIALS"), (_whole(0), "a whole number, 0 for none")),
    "VALIDATION_SPLIT": (_between(0, 1), "a number between 0 and 1"),
    "TEST_SPLIT": (_between(0, 1), "a number between 0 and 1"),
    "LEAKS": (lambda value: value in ("report", "drop"), '"report" or "drop"'),
    "CV_FOLDS": (lambda value: value == 0 or _whole(2)(value), "0 for none, or a whole number of at least 2"),
    **dict.fromkeys(("BATCH_NORM", "AUDIT", "FIGURES"), (lambda value: isinstance(value, bool), "True or False")),
    "SEED": (lambda value: _whole(0)(value) and value < 2**32, "a whole number from 0 to 4294967295"),
}


def check(settings: dict[str, Any]) -> dict[str, Any]:
    """Return `settings` as they are. Raises ValueError naming the setting, its value and what it has to be."""
    for name, (fits, wanted) in _RULES.items():
        if not fits(settings[name]):
            raise ValueError(f"{name} = {settings[name]!r} will not do: it has to be {wanted}.")
    return settings
