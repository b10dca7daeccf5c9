"""Classification of new photos with the saved model of a run."""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import keras
import numpy as np
import pandas as pd

from phototransfer.console import plural, shorten_list
from phototransfer.files import read_json
from phototransfer.network.complete_model import complete_model
from phototransfer.network.features import BATCH
from phototransfer.network.graph import as_graph, is_traced
from phototransfer.network.novelty import TrainingFeatures, split_model
from phototransfer.paths import find_path
from phototransfer.photos.decode import NotAPhoto, read_pixels
from phototransfer.photos.depth import Range
from phototransfer.photos.walk import is_hidden, made_by_system, walk
from phototransfer.report import TRAINING_FEATURES

_FEW = 8
_THREADS = 4  # a photo of 50 megapixels takes 600 MB in each
_EMPTY: Mapping[str, Any] = dict.fromkeys(("file", "label", "probability", "unlike", "nearest", "reason"))


@dataclass(frozen=True)
class Preparation:
    """How the photos that a model was trained on became its input: `Report.save_model` writes it."""

    fit: str = "crop"  #: the setting FIT, for models of earlier versions: today's contain it
    ranges: Mapping[str, Range] = field(default_factory=dict)  #: of photos with more than 8 bits, see `set_ranges`


def load_run(folder: Path) -> tuple[keras.Model, list[str]]:
    """Return the saved model of a run and its class names, in the order of the model's outputs.

    The model has the attributes `preparation` and `training_features` (None for runs of earlier versions), which
    `classify` uses.

    Raises
    ------
    FileNotFoundError
        The run stopped before its model was saved.
    ValueError
        The model file is damaged, was saved by a Keras that this one cannot read, or contains code, which Keras' safe
        mode refuses.
    """
    path, classes = folder / "model.keras", read_json(folder / "labels.json")
    if classes is None or not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no model.keras with labels.json: the run stopped before its model was saved. Run it again."
        )
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types for a damaged file
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be loaded: {reason} {_remedy(path)}") from error
    preparation = _read_preparation(folder)
    if model.input_shape[1] is not None:  # saved by an earlier version, which prepared the photos outside of the model
        model = complete_model(model, preparation.fit)
    model.preparation = preparation
    model.training_features = TrainingFeatures.read(folder / TRAINING_FEATURES)
    return model, classes


def classify(model: keras.Model, classes: list[str], *paths: str | Path, announce: bool = True) -> pd.DataFrame:
    """Classify photos: they are turned upright, converted to RGB, and given to the model in their own size.

    Of a folder in `paths`, every file in it and in its subfolders is classified, in the order of names.

    Parameters
    ----------
    model : keras.Model
        A complete model, as `load_run` returns it.
    announce : bool
        Print which files cannot be classified or are unlike the training photos.

    Returns
    -------
    DataFrame
        One row per file: file (path relative to the folder), label, probability, unlike (whether the photo is unlike
        the training photos, so that its label means little), nearest (class of the nearest training photo), and
        reason: why a file is not a photo, or that it is unlike the training photos, or "". Without
        `training_features`, `unlike` and `nearest` are missing values.
    """
    files = [file for path in paths for file in _list_files(find_path(path))]
    if not files:
        print(f"There is no file to classify in {shorten_list([str(path) for path in paths])}.")
    rows = []
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            seen = list(threads.map(lambda file: _read_seen(model, file), batch))
            # For a few photos, tracing the network takes longer than running it layer by layer.
            answers = iter(_examine([photo for photo, _ in seen if photo is not None], model, len(files) > _FEW))
            for (_, name, _), (photo, reason) in zip(batch, seen, strict=True):
                row = {**_EMPTY, "file": name, "reason": reason}
                rows.append(row if photo is None else row | next(answers).to_row(classes))
    if announce:
        _announce(rows)
    return pd.DataFrame(rows, columns=list(_EMPTY)).astype({"unlike": "boolean"})


def _announce(rows: Sequence[Mapping[str, Any]]) -> None:
    not_photos = [f"{row['file']} ({row['reason']})" for row in rows if row["label"] is None]
    if not_photos:
        print(f"{len(not_photos)} of {plural(len(rows), 'file')} cannot be classified: {shorten_list(not_photos)}.")
    unlike = [f"{row['file']} (nearest class: {row['nearest']})" for row in rows if row["unlike"]]
    if unlike:
        print(f"{len(unlike)} of {plural(len(rows), 'file')} unlike the training photos: {shorten_list(unlike)}.")


@dataclass(frozen=True, eq=False)
class Examination:
    """What a model makes of one photo.

    Attributes
    ----------
    probabilities : float32 array of shape (n_classes,)
    features : float32 array of shape (d,)
    seen : float32 array of shape (size, size, 3)
        What the network sees of the photo, raw RGB 0–255.
    unlike : bool or None
        Whether the photo is unlike the training photos; None if the run has no training features.
    nearest : list of (str, str)
        Path in the data set, and class, of the nearest training photos, the nearest first.
    """

    probabilities: np.ndarray
    features: np.ndarray
    seen: np.ndarray
    unlike: bool | None
    nearest: list[tuple[str, str]]

    def to_row(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the columns of `classify` that come from the model."""
        best = int(self.probabilities.argmax())
        row: dict[str, Any] = {"label": classes[best], "probability": float(self.probabilities[best])}
        if self.unlike is None:
            return row
        nearest = self.nearest[0][1]
        reason = f"unlike the training photos; nearest class: {nearest}" if self.unlike else ""
        return row | {"unlike": self.unlike, "nearest": nearest, "reason": reason}


def examine(model: keras.Model, pixels: np.ndarray) -> Examination:
    """Classify one photo, uint8 (height, width, 3), upright RGB, with a model from `load_run`."""
    [answer] = _examine([_see(model, pixels)], model, many=False)
    return answer


def _examine(seen: Sequence[np.ndarray], model: keras.Model, many: bool) -> list[Examination]:
    """Return the answers for what the network sees of photos, float32 (size, size, 3) each, from one pass."""
    if not seen:
        return []
    extractor, head = split_model(model)
    run = as_graph(extractor) if many or is_traced(extractor) else extractor
    features = np.asarray(run(np.stack(seen)))
    probabilities = np.asarray(head(features))
    training: TrainingFeatures | None = getattr(model, "training_features", None)
    if training is None:
        return [Examination(*row, unlike=None, nearest=[]) for row in zip(probabilities, features, seen, strict=True)]
    distances, positions = training.neighbours(features)
    unlike = [bool(furthest > training.threshold) for furthest in distances[:, -1]]
    nearest = [[(str(training.originals[n]), str(training.labels[n])) for n in row] for row in positions]
    return [Examination(*row) for row in zip(probabilities, features, seen, unlike, nearest, strict=True)]


def _read_seen(model: keras.Model, file: tuple[Path, str, str]) -> tuple[np.ndarray | None, str]:
    """Return what the network sees of a file from `_list_files`, or None and why it cannot be classified."""
    path, _, reason = file
    if reason:
        return None, reason
    try:
        return _see(model, read_pixels(path, getattr(model, "preparation", Preparation()).ranges)), ""
    except NotAPhoto as error:
        return None, str(error)


def _see(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Return what the network sees of a photo, uint8 (height, width, 3): float32 (size, size, 3)."""
    return np.asarray(model.get_layer("prepare")(pixels[None]))[0]


def _remedy(path: Path) -> str:
    """Return what to do about a model file that cannot be loaded."""
    try:
        with zipfile.ZipFile(path) as content:
            saved_by = json.loads(content.read("metadata.json"))["keras_version"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return "The file is damaged. Run the notebook again."
    if saved_by == keras.__version__:
        return "Run the notebook again."
    return (
        f"It was saved by Keras {saved_by}, and this is Keras {keras.__version__}. Run the notebook again, or use the "
        f"model in an environment with keras=={saved_by}."
    )


def _read_preparation(folder: Path) -> Preparation:
    content = read_json(folder / "preparation.json") or {}  # runs of earlier versions have none
    ranges = {kind: (low, high) for kind, (low, high) in content.get("ranges", {}).items()}
    return Preparation(content.get("fit", "crop"), ranges)


def _list_files(path: Path) -> list[tuple[Path, str, str]]:
    """Return each file with its path relative to the folder, and why it cannot be read, or ""."""
    if not path.exists():
        raise FileNotFoundError(f"There is no photo or folder {str(path)!r} (working directory: {Path.cwd()}).")
    if path.is_file():
        return [(path, path.name, "")]
    files, _, skipped = walk(path, set())
    names = [(str(file), "") for file in files]
    names += [(name, reason) for name, reason in skipped if not _of_the_system(PurePosixPath(name))]
    return [(path / name, name, reason) for name, reason in sorted(names)]


def _of_the_system(name: PurePosixPath) -> bool:
    return is_hidden(name) or made_by_system(name.name)
