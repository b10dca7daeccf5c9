"""Classification of new photos with the saved model of a run."""

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from phototransfer.files import find_path, read_json
from phototransfer.network.features import BATCH, read_image
from phototransfer.photos.decode import NotAPhoto, read_photo


def load_run(folder: Path) -> tuple[keras.Model, list[str]]:
    """Return the saved model of a run and its class names, in the order of the model's outputs.

    Raises
    ------
    FileNotFoundError
        The run stopped before its model was saved.
    ValueError
        The model file is damaged, or contains code, which Keras' safe mode refuses.
    """
    path, classes = folder / "model.keras", read_json(folder / "labels.json")
    if classes is None or not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no model.keras with labels.json: the run stopped before its model was saved. Run it again."
        )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True), classes
    except Exception as error:  # Keras raises many types for a damaged file
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be loaded: {reason} Run the notebook again.") from error


def classify(model: keras.Model, classes: list[str], *paths: str | Path) -> pd.DataFrame:
    """Classify photos, prepared like the training photos: upright, RGB, resized, encoded.

    Of a folder in `paths`, every file in it and in its subfolders is classified, in the order of names.

    Returns
    -------
    DataFrame
        One row per file: file (path relative to the folder), label, probability, and reason: why a file is not a photo,
        or "".
    """
    files = [file for path in paths for file in _list_files(find_path(path))]
    rows = []
    for start in range(0, len(files), BATCH):
        images, readable = [], []
        for path, name in files[start : start + BATCH]:
            row: dict[str, Any] = {"file": name, "label": None, "probability": None, "reason": ""}
            rows.append(row)
            try:
                images.append(read_image(io.BytesIO(read_photo(path).jpeg), model.input_shape[1]))
                readable.append(row)
            except NotAPhoto as error:
                row["reason"] = str(error)
        if images:
            pixels = np.stack(images).astype(np.float32)
            # For a few photos, compiling the model takes longer than running it without.
            run = model.predict_on_batch if len(files) > BATCH else model
            for row, values in zip(readable, np.asarray(run(pixels)), strict=True):
                row.update(label=classes[values.argmax()], probability=float(values.max()))
    return pd.DataFrame(rows, columns=["file", "label", "probability", "reason"])


def _list_files(path: Path) -> list[tuple[Path, str]]:
    """Return each file with its path relative to the folder."""
    if not path.exists():
        raise FileNotFoundError(f"There is no photo or folder {str(path)!r} (working directory: {Path.cwd()}).")
    if path.is_file():
        return [(path, path.name)]
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return [(file, str(file.relative_to(path))) for file in files]
