"""The settings cell of the notebook: its names, what each value may be, and the values in use."""

from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from phototransfer.files import find_path

#: Names that settings had in version 1, and their names today.
RENAMED = {"LEAKS": "DUPLICATES", "AUDIT": "CHECKS", "AUGMENT_VIEWS": "AUGMENTATIONS"}


def _integer(low: int, high: int | None = None) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return whole and value >= low and (high is None or value <= high)

    return check


def _number(low: float, high: float, low_allowed: bool = False) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, Real) or isinstance(value, bool):
            return False
        number = float(value)
        return low < number < high or (low_allowed and number == low)

    return check


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is allowed or value == allowed for allowed in values)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _head(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_integer(1)(units) for units in value)


def _weights(value: Any) -> bool:
    return value in (None, "imagenet") or (_text(value) and find_path(value).is_file())


def _path(value: Any) -> bool:
    return value is None or (_text(value) and find_path(value).exists())


_TRUE_OR_FALSE = (lambda value: isinstance(value, bool), "True or False")
_INTEGER_FROM_0 = (_integer(0), "an integer >= 0")
_INTEGER_FROM_1 = (_integer(1), "an integer >= 1")
_SHARE = (_number(0, 1), "a number between 0 and 1")

#: Each setting with its check and a description of the values that pass it, in the order of the settings cell.
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "DATASET": (_text, "the name of a folder in data/, a path, or a data set's name"),
    "VALIDATION_SPLIT": _SHARE,
    "TEST_SPLIT": _SHARE,
    "DUPLICATES": (_one_of("keep", "drop"), '"keep" or "drop"'),
    "BACKBONE": (_text, 'the name of a network in keras.applications, or "EfficientNetLite0"'),
    "WEIGHTS": (_weights, '"imagenet", the path of an existing weights file, or None'),
    "HEAD": (
        _head,
        "a list of integers >= 1 such as [512, 256], or [] for no hidden layer (on the command line: "
        "-y 'HEAD: [512, 256]')",
    ),
    "BATCH_NORM": _TRUE_OR_FALSE,
    "DROPOUT": (_number(0, 1, low_allowed=True), "a number >= 0 and below 1"),
    "EPOCHS": _INTEGER_FROM_1,
    "BATCH_SIZE": _INTEGER_FROM_1,
    "LEARNING_RATE": (_number(0, 10), "a number above 0 and below 10, such as 0.001"),
    "WEIGHT_DECAY": (_number(0, 100, low_allowed=True), "a number >= 0 and below 100, such as 0.1"),
    "AUGMENTATIONS": _INTEGER_FROM_0,
    "FINE_TUNE_LAYERS": _INTEGER_FROM_0,
    "CHECKS": _TRUE_OR_FALSE,
    "CV_FOLDS": (lambda value: _integer(0, 0)(value) or _integer(2)(value), "0, or an integer >= 2"),
    "TUNE_TRIALS": _INTEGER_FROM_0,
    "FIGURES": _TRUE_OR_FALSE,
    "SEED": (_integer(0, 2**32 - 1), "an integer from 0 to 4294967295"),
    "PREDICT": (_path, "the path of an existing photo or folder, or None"),
    "RUN": (lambda value: value is None or _text(value), "a name for the run's folder in models/, or None"),
}


class Settings(Mapping[str, Any]):
    """The settings as the settings cell has them now.

    Values are read from the notebook when they are asked for. So after a change in the settings cell, any cell below
    uses the new value, whether or not the cells between them are run again.

    Parameters
    ----------
    namespace : dict
        Where the settings are variables: `globals()` in the notebook.

    Raises
    ------
    ValueError
        A setting is missing, has a value that cannot be used, or has its name of version 1. The message says which
        values can be used. Checked at once, and again whenever a value is read.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        for old, new in RENAMED.items():
            if old in namespace:
                raise ValueError(f"The setting {old} is called {new} now: change its name in the settings cell.")
        for name in RULES:
            self[name]

    def __getitem__(self, name: str) -> Any:
        check, description = RULES[name]
        if name not in self._namespace:
            raise ValueError(f"The setting {name} is missing from the settings cell. It must be {description}.")
        value = self._namespace[name]
        if not check(value):
            raise ValueError(f"{name} must be {description}, got {value!r}")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(RULES)

    def __len__(self) -> int:
        return len(RULES)
