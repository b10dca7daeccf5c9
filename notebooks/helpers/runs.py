"""What does a run leave behind, and under which name?"""

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from helpers import MODELS, shorten
from helpers.files import safe_name, write_json, written_beside
from helpers.firmness import accuracies
from helpers.photos import Prepared, Source

if TYPE_CHECKING:  # importing it would import TensorFlow
    from helpers.backbones import Backbone

PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow", "pillow-heif", "matplotlib")


class Run:
    """The folder models/<run>/ and the seconds each stage took, for as long as a run lasts."""

    def __init__(self, name: str | None, dataset: str, backbone: str) -> None:
        """Make the folder. `name` None: from data set, backbone and time. Raises OSError if it cannot be made."""
        self.name = safe_name(name) if name else run_name(dataset, backbone)
        self.folder = MODELS / self.name
        self.stages: dict[str, float] = {}
        self._began = time.perf_counter()
        try:
            (self.folder / "figures").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno, f"{self.folder} cannot be made ({error.strerror}): runs are kept there."
            ) from error

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

    def finish(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Write metrics.json and add the run's line to models/runs.jsonl. Returns what was written."""
        metrics = {"run": self.name, **metrics, "seconds": self.all_seconds(), "versions": versions()}
        write_json(self.folder / "metrics.json", metrics)
        line = json.dumps({"finished": datetime.now().isoformat(timespec="seconds"), **metrics}, ensure_ascii=False)
        with (self.folder.parent / "runs.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")  # one write of one line: what appends at the same time does not mix with it
        return metrics


def run_name(dataset: str, backbone: str) -> str:
    """A name for a run: data set, backbone and local time, as in lucy-ResNet50-20260131-235959."""
    return safe_name(f"{Path(dataset).name}-{backbone}-{datetime.now():%Y%m%d-%H%M%S}")


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
