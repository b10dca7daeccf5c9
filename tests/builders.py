"""Builders that tests share: pictures, tables of photos, a tiny network, the notebook's own head."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "transfer_learning.ipynb"
TINY_SIZE = 16
#: The settings that a head is trained with, small and quick.
SETTINGS: dict[str, Any] = {
    "DATASET": "pets",
    "FIT": "crop",
    "BACKBONE": "tiny",
    "HEAD": [16],
    "BATCH_NORM": True,
    "DROPOUT": 0.2,
    "EPOCHS": 8,
    "VALIDATION_SPLIT": 0.2,
    "BATCH_SIZE": 16,
    "LEARNING_RATE": 1e-2,
    "WEIGHT_DECAY": 0.0,
    "AUGMENTATIONS": 0,
    "FINE_TUNE_LAYERS": 0,
    "DUPLICATES": "keep",
    "CHECKS": True,
    "CV_FOLDS": 3,
    "TUNE_TRIALS": 0,
    "SEED": 42,
}


def draw(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Return a picture of soft coloured shapes: the same for the same seed, unlike that of any other seed."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def photo_table(
    labels: Sequence[str], splits: Sequence[str] | str = "train", groups: Sequence[int] | None = None, **columns: Any
) -> pd.DataFrame:
    """Return a table of photos without files, with all columns that `prepare` gives; `columns` replace them."""
    count = len(labels)
    table = pd.DataFrame(
        {
            "path": [f"/prepared/{number}.jpg" for number in range(count)],
            "original": [f"{label}/{number}.jpg" for number, label in enumerate(labels)],
            "label": list(labels),
            "split": [splits] * count if isinstance(splits, str) else list(splits),
            "width": 640,
            "height": 480,
            "bytes": 40_000,
            "format": "JPEG",
            "taken": pd.NaT,
            "camera": None,
            "phash": [f"{number:016x}" for number in range(count)],
            "digest": [f"digest{number}" for number in range(count)],
            "group": list(range(count)) if groups is None else list(groups),
        }
    )
    return table.assign(**columns)


def tiny_extractor() -> Any:
    """Return a frozen network small enough to be made for every test: 16 × 16 pixels, 5 features."""
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((TINY_SIZE, TINY_SIZE, 3))
    feature_map = keras.layers.Conv2D(5, 3, trainable=False)(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(feature_map), name="tiny")


def save_tiny_run(folder: Path, pictures: Sequence[Image.Image], labels: Sequence[str]) -> None:
    """Save a run that knows a few photos: its model, its classes, and what new photos are compared with."""
    import json

    import keras

    from phototransfer.network.complete_model import complete_model
    from phototransfer.network.novelty import TrainingFeatures
    from phototransfer.report import TRAINING_FEATURES

    keras.utils.set_random_seed(3)
    classes = sorted(set(labels))
    image, inner = keras.Input((TINY_SIZE, TINY_SIZE, 3)), keras.Input((TINY_SIZE, TINY_SIZE, 3))
    extractor = keras.Model(inner, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255, -0.5)(inner)), name="tiny")
    output = keras.layers.Dense(len(classes), activation="softmax")
    head = keras.Sequential([keras.Input((3 * TINY_SIZE**2,)), output], name="head")
    model = complete_model(keras.Model(image, head(extractor(image))), "crop")
    seen = [np.asarray(model.get_layer("prepare")(np.asarray(picture)[None]))[0] for picture in pictures]
    features = np.asarray(extractor(np.stack(seen)))
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    threshold = float((1 - features @ features.T).max()) + 0.01
    originals = np.array([f"{number}.jpg" for number in range(len(pictures))])
    training = TrainingFeatures(features.astype(np.float16), np.array(labels), originals, threshold, 0.02)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    (folder / "labels.json").write_text(json.dumps(classes))
    np.savez(folder / TRAINING_FEATURES, **training.arrays())


@cache
def head_functions() -> dict[str, Any]:
    """Run the cells of the notebook that define `build_head` and `fit_head`, and those that import what they use."""
    import keras
    from keras import layers
    from sklearn.utils.class_weight import compute_sample_weight

    from phototransfer import network

    namespace: dict[str, Any] = {
        "keras": keras,
        "layers": layers,
        "network": network,
        "np": np,
        "compute_sample_weight": compute_sample_weight,
    }
    for name in ("build_head", "fit_head"):
        exec(notebook_cell(f"def {name}("), namespace)
    return namespace


def notebook_cell(text: str) -> str:
    """Return the source of the one code cell of the notebook that contains `text`."""
    import nbformat  # here, because it takes seconds that processes without a notebook need not wait

    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    found = [cell.source for cell in cells if cell.cell_type == "code" and text in cell.source]
    assert len(found) == 1, f"{len(found)} cells of the notebook contain {text!r}"
    return found[0]


def build_head(n_features: int, n_classes: int, settings: Any) -> Any:
    """Call the notebook's own `build_head`."""
    return head_functions()["build_head"](n_features, n_classes, settings)


def fit_head(head: Any, train: Any, val: Any, settings: Any) -> Any:
    """Call the notebook's own `fit_head`."""
    return head_functions()["fit_head"](head, train, val, settings)


def features_of(plain: np.ndarray, augmented: np.ndarray | None = None, background: Callable | None = None) -> Any:
    """Return arrays as the object that `extract` returns; plain float (n, d), augmented float (views, n, d)."""
    from phototransfer.network.features import Features

    plain = np.asarray(plain, dtype=np.float32)
    views = np.empty((0, *plain.shape), np.float32) if augmented is None else np.asarray(augmented, np.float32)
    return Features(plain, views, background, embed=None)  # there is no network to embed other pictures


class ClassMeans:
    """Stands for HeadTrainer and trains in no time: the nearer a class mean, the likelier. Still calls `fit_head`."""

    def __init__(self, build_head, fit_head, n_features, n_classes, settings):
        self.fit_head, self.n_classes, self.settings = fit_head, n_classes, settings

    def predict(self, *, train, val, x, seed):
        if self.fit_head is not fit_head:
            self.fit_head(None, train, val, self.settings)
        means = np.stack([train[0][train[1] == number].mean(axis=0) for number in range(self.n_classes)])
        closeness = -np.square(x[:, None] - means).sum(axis=2)
        likelihood = np.exp(closeness - closeness.max(axis=1, keepdims=True))
        return likelihood / likelihood.sum(axis=1, keepdims=True)
