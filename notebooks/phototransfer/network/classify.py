"""Classification of new photos with the saved model of a run."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import keras
import numpy as np
import pandas as pd

from phototransfer.console import plural, shorten_list
from phototransfer.files import read_json
from phototransfer.network.features import BATCH, read_image
from phototransfer.network.novelty import TrainingFeatures, split_model
from phototransfer.paths import find_path
from phototransfer.photos.decode import NotAPhoto, read_photo
from phototransfer.photos.depth import Range
from phototransfer.photos.walk import is_hidden, made_by_system, walk
from phototransfer.report import TRAINING_FEATURES

_EMPTY: Mapping[str, Any] = dict.fromkeys(("file", "label", "probability", "unlike", "nearest", "reason"))


@dataclass(frozen=True)
class Preparation:
    """How the photos that a model was trained on became its input: `Report.save_model` writes it."""

    fit: str = "crop"  #: the setting FIT
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
    model.preparation = _read_preparation(folder)
    model.training_features = TrainingFeatures.read(folder / TRAINING_FEATURES)
    return model, classes


def classify(model: keras.Model, classes: list[str], *paths: str | Path) -> pd.DataFrame:
    """Classify photos, prepared like the training photos: upright, RGB, resized, encoded, cropped or padded.

    Of a folder in `paths`, every file in it and in its subfolders is classified, in the order of names.

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
    preparation = getattr(model, "preparation", Preparation())
    rows = []
    for start in range(0, len(files), BATCH):
        images, readable = [], []
        for path, name, reason in files[start : start + BATCH]:
            row = {**_EMPTY, "file": name, "reason": reason}
            rows.append(row)
            if reason:
                continue
            try:
                photo = read_photo(path, preparation.ranges)
                images.append(read_image(io.BytesIO(photo.jpeg), model.input_shape[1], preparation.fit))
                readable.append(row)
            except NotAPhoto as error:
                row["reason"] = str(error)
        if images:
            # For a few photos, compiling the model takes longer than running it without.
            answers = _predict(model, np.stack(images).astype(np.float32), compiled=len(files) > BATCH)
            for row, (probabilities, answer) in zip(readable, answers, strict=True):
                row.update(label=classes[probabilities.argmax()], probability=float(probabilities.max()), **answer)
    not_photos = [f"{row['file']} ({row['reason']})" for row in rows if row["label"] is None]
    if not_photos:
        print(f"{len(not_photos)} of {plural(len(rows), 'file')} cannot be classified: {shorten_list(not_photos)}.")
    unlike = [f"{row['file']} (nearest class: {row['nearest']})" for row in rows if row["unlike"]]
    if unlike:
        print(f"{len(unlike)} of {plural(len(rows), 'file')} unlike the training photos: {shorten_list(unlike)}.")
    return pd.DataFrame(rows, columns=list(_EMPTY)).astype({"unlike": "boolean"})


def _predict(model: keras.Model, pixels: np.ndarray, *, compiled: bool) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yield for each photo its probabilities, float32 (classes,), and unlike, nearest and reason, if these are known.

    Both come from one pass through the network.
    """

    def run(part: keras.Model, x: np.ndarray) -> np.ndarray:
        return np.asarray(part.predict_on_batch(x) if compiled else part(x))

    training: TrainingFeatures | None = getattr(model, "training_features", None)
    if training is None:
        yield from ((probabilities, {}) for probabilities in run(model, pixels))
        return
    extractor, head = split_model(model)
    features = run(extractor, pixels)
    for probabilities, photo in zip(run(head, features), training.compare(features).itertuples(), strict=True):
        reason = f"unlike the training photos; nearest class: {photo.nearest}" if photo.unlike else ""
        yield probabilities, {"unlike": photo.unlike, "nearest": photo.nearest, "reason": reason}


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
