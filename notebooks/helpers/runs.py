"""What does a run leave behind, and under which name?"""

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from helpers import shorten
from helpers.files import (
    folder_beside,
    move_into_place,
    not_written,
    one_at_a_time,
    write_json,
    written_beside,
)
from helpers.firmness import accuracies
from helpers.photos import Prepared, Source
from helpers.run_folders import run_folder

if TYPE_CHECKING:  # importing it would import TensorFlow
    import keras

    from helpers.backbones import Backbone

PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow", "pillow-heif", "matplotlib")


class Run:
    """The folder models/<run>/ and the seconds each stage took, for as long as a run lasts."""

    def __init__(self, name: str | None, dataset: str, backbone: str) -> None:
        """Make the folder. `name` None: from data set, backbone and time. Raises OSError if it cannot be made."""
        self.folder = run_folder(name, dataset, backbone)
        self.name = self.folder.name
        self.stages: dict[str, float] = {}
        self._began = time.perf_counter()
        # Written last of all: a folder without it is of a run that did not come to its end.
        (self.folder / "metrics.json").unlink(missing_ok=True)

    @contextmanager
    def seconds(self, stage: str) -> Iterator[None]:
        """Count what the block takes as `stage`; several blocks of one stage add up."""
        began = time.perf_counter()
        yield
        self.stages[stage] = round(self.stages.get(stage, 0) + time.perf_counter() - began, 2)

    def all_seconds(self) -> dict[str, float]:
        """The stages so far and the total since the run began."""
        return self.stages | {"total": round(time.perf_counter() - self._began, 2)}

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as <name>.csv, paths inside the project relative to it. Digits enough to read back exactly."""
        if "path" in table:
            table = table.assign(path=[shorten(path) for path in table["path"]])
        with written_beside(self.folder / f"{name}.csv") as partial:
            table.to_csv(partial, index=False, encoding="utf-8", errors="backslashreplace")

    def save_model(self, model: "keras.Model") -> Path:
        """Write model.keras, whole or not at all, and return its path. Raises OSError naming it and the space free."""
        path = self.folder / "model.keras"
        with folder_beside(self.folder / "model") as fresh:
            try:
                model.save(fresh / path.name)
                move_into_place(fresh / path.name, path)
            except OSError as error:
                raise not_written(path, fresh / path.name, error) from error
        return path

    def finish(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Write metrics.json and add the run's line to models/runs.jsonl. Returns what was written."""
        metrics = {"run": self.name, **metrics, "seconds": self.all_seconds(), "versions": versions()}
        write_json(self.folder / "metrics.json", metrics)
        append_line(
            self.folder.parent / "runs.jsonl", {"finished": datetime.now().isoformat(timespec="seconds"), **metrics}
        )
        return metrics


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Add a line of JSON to a file that other runs add to as well; a line that a killed run left half goes."""
    line = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    with one_at_a_time(path.parent, f"writing {path.name}"), path.open("a+b") as file:
        whole = _whole_lines(file)
        file.truncate(whole)
        try:
            file.write(line)
            file.flush()
        except OSError as error:
            with suppress(OSError):
                file.close()
            os.truncate(path, whole)
            raise OSError(error.errno, f"{path} could not be written: {error.strerror}.") from error


def _whole_lines(file: BinaryIO) -> int:
    """How many bytes of a file are whole lines."""
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def device() -> str:
    """What TensorFlow computes on, in words."""
    import tensorflow as tf  # here, so that the rest of this module works in a process that needs no TensorFlow

    gpus = tf.config.list_physical_devices("GPU")
    return f"{len(gpus)} GPU ({gpus[0].name})" if gpus else f"CPU, {os.cpu_count()} cores; no GPU was found"


def collect(
    source: Source, prepared: Prepared, backbone: "Backbone", classes: list[str], photos: pd.DataFrame, settings: dict
) -> dict[str, Any]:
    """Everything metrics.json says of a run but its seconds: where the figures came from and what they are.

    photos: the table with predictions (columns label, split, predicted, correct). Precision, recall and F1 are
    scikit-learn's macro averages over the classes of the test photos. What this run did not compute is None.
    """
    test = photos[photos["split"] == "test"]
    macro = precision_recall_fscore_support(test["label"], test["predicted"], average="macro", zero_division=0)[:3]
    counts = {"found": prepared.found, "used": len(photos), "skipped": len(prepared.skipped)}
    return {
        "dataset": source.name,
        "classes": classes,
        "left_out": prepared.left_out,
        "backbone": backbone.name,
        "weights": backbone.weights,
        "fell_back_from": backbone.fell_back_from,
        "image_size": backbone.image_size,
        "photos": counts | {name: int((photos["split"] == name).sum()) for name in ("train", "val", "test")},
        "leaks": None,
        "shortcuts": None,
        "shift": None,
        "accuracy": accuracies(photos) | {"test_without_leaks": None, "test_without_leaks_ci95": None},
        "macro": dict(zip(("precision", "recall", "f1"), map(float, macro), strict=True)),
        "cross_validation": None,
        "settings": settings,
    }
