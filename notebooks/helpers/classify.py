"""What is on a photo that the model has never seen?"""

import io
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from helpers import find_path
from helpers.features import BATCH, read_square
from helpers.files import read_json
from helpers.photos import read_photo
from helpers.photos.picture import NotAPhoto


def load(run_folder: Path) -> tuple[keras.Model, list[str]]:
    """The saved model of a run and the names of its classes, in the order of its outputs.

    A model file can hold no code that is run (Keras' safe mode). Raises FileNotFoundError for a run that did not come
    to saving, ValueError naming a file that is damaged or holds code.
    """
    file, classes = run_folder / "model.keras", read_json(run_folder / "labels.json")
    if classes is None or not file.is_file():
        raise FileNotFoundError(
            f"{run_folder} has no model.keras with its labels.json: that run did not come to saving. Run it again."
        )
    try:
        return keras.models.load_model(file, safe_mode=True), classes
    except Exception as error:  # Keras raises many kinds for a damaged file
        raise ValueError(f"{file} cannot be used: {str(error).partition(chr(10))[0]} Run it again.") from error


def classify(model: keras.Model, classes: list[str], *where: str | Path) -> pd.DataFrame:
    """Classify photos; of a folder every file in it and in the folders in it.

    Photos go the way the training photos went: upright, RGB, resized, encoded. Returns one row a file, place by place
    in the order of their names: file (path below its place), label, probability, and reason for one that is no photo
    (label None then). Raises FileNotFoundError if there is nothing at a place.
    """
    files = [found for place in where for found in _files(find_path(place))]
    # Compiling takes longer than answering for a few photos.
    answer_all = model.predict_on_batch if len(files) > BATCH else lambda pixels: model(pixels, training=False).numpy()
    rows = []
    for start in range(0, len(files), BATCH):
        read = [(name, *_read(file, model.input_shape[1])) for file, name in files[start : start + BATCH]]
        photos = [pixels for _, pixels, _ in read if pixels is not None]
        answers = iter(answer_all(np.stack(photos).astype(np.float32)) if photos else [])
        for name, pixels, reason in read:
            answer = next(answers) if pixels is not None else None
            label, probability = (None, None) if answer is None else (classes[answer.argmax()], float(answer.max()))
            rows.append((name, label, probability, reason))
    return pd.DataFrame(rows, columns=["file", "label", "probability", "reason"])


def _files(place: Path) -> list[tuple[Path, str]]:
    """The files at a place, each with its path below it."""
    if not place.exists():
        raise FileNotFoundError(
            f"PREDICT = {str(place)!r}: there is no such photo or folder (looked from {Path.cwd()})."
        )
    if place.is_file():
        return [(place, place.name)]
    found = sorted(file for file in place.rglob("*") if file.is_file() and file.name[0] != ".")
    return [(file, str(file.relative_to(place))) for file in found]


def _read(file: Path, size: int) -> tuple[np.ndarray | None, str]:
    try:
        return read_square(io.BytesIO(read_photo(file).jpeg), size), ""
    except NotAPhoto as reason:
        return None, str(reason)
