"""The settings cell of the notebook: its names, what each value may be, and the values in use."""

import ast
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

from phototransfer.cluster import CLIENT, check_cluster
from phototransfer.paths import check_dataset, check_predict, check_relabel, check_weights

#: The value of a setting that is an expression.
COMPUTED = object()
#: The network whose weights need no download.
FALLBACK_BACKBONE = "EfficientNetLite0"
#: Formats of the setting EXPORT.
EXPORT_FORMATS = ("onnx", "litert", "saved_model", "openvino")
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


def _formats(value: Any) -> bool:
    known = isinstance(value, list | tuple) and all(isinstance(name, str) and name in EXPORT_FORMATS for name in value)
    return known and len(set(value)) == len(value)


def _cluster(value: Any) -> bool:
    return value in (None, "local", "auto") or (isinstance(value, str) and value.startswith(CLIENT))


def _text_or_none(value: Any) -> bool:
    return value is None or _text(value)


_TRUE_OR_FALSE = (lambda value: isinstance(value, bool), "True or False")
_INTEGER_FROM_0 = (_integer(0), "an integer >= 0")
_INTEGER_FROM_1 = (_integer(1), "an integer >= 1")
_SHARE = (_number(0, 1), "a number between 0 and 1")

#: Each setting with its check and a description of the values that pass it, in the order of the settings cell.
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "DATASET": (
        _text,
        "the name of a folder in data/, a path, a data set's name, or an address such as s3://bucket/photos",
    ),
    "LABELS": (_text_or_none, '"folder 2", "file names", a table such as "labels.csv: file, class", or None'),
    "RELABEL": (_text_or_none, 'the path of a corrected suspects.csv, "suspects.csv" for the newest one, or None'),
    "VALIDATION_SPLIT": _SHARE,
    "TEST_SPLIT": _SHARE,
    "DUPLICATES": (_one_of("keep", "drop"), '"keep" or "drop"'),
    "FIT": (_one_of("crop", "pad"), '"crop" or "pad"'),
    "BACKBONE": (_text, 'the name of a network in keras.applications, or "EfficientNetLite0"'),
    "WEIGHTS": (_text_or_none, '"imagenet", the path of an existing weights file, or None'),
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
    "PREDICT": (_text_or_none, "the path of an existing photo or folder, or None"),
    "EXPORT": (
        _formats,
        f"a list of different formats among {', '.join(EXPORT_FORMATS)}, or [] for none (on the command line: "
        "-y 'EXPORT: [onnx, litert]')",
    ),
    "RUN": (_text_or_none, "a name for the run's folder in models/, or None"),
    "CLUSTER": (_cluster, 'None, "local", "auto", or the address of a Ray cluster such as "ray://host:10001"'),
}

#: Settings by name, for `make run PRESET=…`: a first answer in seconds, and everything that there is.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"BACKBONE": FALLBACK_BACKBONE, "CV_FOLDS": 0, "FIGURES": False},
    "full": {"AUGMENTATIONS": 2, "FINE_TUNE_LAYERS": 20, "TUNE_TRIALS": 30, "EXPORT": list(EXPORT_FORMATS)},
}

#: The settings whose values are text, however much they look like numbers, and those that may be None as well.
TEXT = [name for name, (check, _) in RULES.items() if check in (_text, _text_or_none)]
TEXT_OR_NONE = [name for name, (check, _) in RULES.items() if check is _text_or_none]
#: What raises an error for a text that passes its rule and leads to no usable file or folder.
_PLACES: dict[str, Callable[[Any], object]] = {
    "DATASET": check_dataset,
    "RELABEL": check_relabel,
    "WEIGHTS": check_weights,
    "PREDICT": check_predict,
    "CLUSTER": check_cluster,
}


def values_in_cell(source: str) -> dict[str, Any]:
    """Return the values that the source of a settings cell assigns, `COMPUTED` for those that are not written out."""
    values: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                values[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                values[node.targets[0].id] = COMPUTED
    return values


def check_setting(name: str, value: Any) -> None:
    """Raise a ValueError that says which values can be used if `value` is none of them; no file is looked at."""
    check, description = RULES[name]
    if not check(value):
        hint = ""
        if name in TEXT and isinstance(value, int | float):
            hint = f' Write it in quotes, {name} = "{value}", or on the command line of papermill: -r {name} {value}'
            hint += " with the digits as they are in the name (-p makes a number of them)."
        raise ValueError(f"{name} must be {description}, got {value!r}.{hint}")


def check_place(name: str, value: Any) -> None:
    """Raise a ValueError if the file or folder that the setting names is missing or cannot be used."""
    if name not in _PLACES:
        return
    try:
        _PLACES[name](value)
    except (OSError, ValueError) as error:
        _, description = RULES[name]
        known = "" if name in str(error) else f"{name} must be {description}, got {value!r}: "
        raise ValueError(f"{known}{error}") from error


def check_together(values: Mapping[str, Any]) -> None:
    """Raise a ValueError if settings that can be used alone cannot be used together."""
    if values.get("BATCH_NORM") is True and values.get("BATCH_SIZE") == 1:
        raise ValueError(
            "BATCH_SIZE = 1 cannot be used with BATCH_NORM = True: BatchNorm subtracts the mean of the batch, which "
            "leaves nothing of one photo. Use BATCH_SIZE = 2 or more, or BATCH_NORM = False."
        )


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
        self._places: dict[str, Any] = {}
        for old, new in RENAMED.items():
            if old in namespace:
                raise ValueError(f"The setting {old} is called {new} now: change its name in the settings cell.")
        for name in RULES:
            self[name]

    def __getitem__(self, name: str) -> Any:
        _, description = RULES[name]
        if name not in self._namespace:
            raise ValueError(f"The setting {name} is missing from the settings cell. It must be {description}.")
        value = self._namespace[name]
        check_setting(name, value)
        if name not in self._places or self._places[name] != value:
            check_place(name, value)
            self._places[name] = value  # a folder that is moved during the run ends it only where it is needed
        if name in ("BATCH_SIZE", "BATCH_NORM"):
            check_together(self._namespace)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(RULES)

    def __len__(self) -> int:
        return len(RULES)
