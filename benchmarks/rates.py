"""Rates of the verdicts on shortcuts and shifts: false alarms on halves of one class, and power.

    python benchmarks/rates.py cats_and_dogs --halves 200

Each class of the data set is cut at random into two halves, as many times as asked for, with all of its photos and with
60 of them. The halves differ by chance only, so whatever is found is a false alarm. Then one property of 60 photos is
moved by one standard deviation in one half.
"""

import argparse
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from phototransfer.audit import check_shift, check_shortcuts, shortcuts
from phototransfer.audit.properties import measure_properties
from phototransfer.console import progress, quiet_tensorflow
from phototransfer.finding import BORDERLINE, FOUND
from phototransfer.photos import find_source, prepare
from phototransfer.stats import format_score

FEW = 60
SETTINGS = {"CHECKS": True, "SEED": 42}


def main() -> None:
    """Print the rates of each class of the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="as the setting DATASET")
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--halves", type=int, default=200)
    arguments = parser.parse_args()
    photos, plain, background = _features(arguments.dataset, arguments.backbone)
    measured = measure_properties(photos)
    shortcuts._PLANTED = 1  # the power is measured here
    for label, rows in photos.groupby("label").indices.items():
        of_class = SimpleNamespace(
            photos=photos.iloc[rows].reset_index(drop=True),
            measured=measured.iloc[rows].reset_index(drop=True),
            plain=plain[rows],
            background=background[rows],
        )
        for size in sorted({min(FEW, len(rows)), len(rows)}):
            _print_rates(f"{label}, {size} photos", of_class, size, arguments.halves)


def _features(dataset: str, backbone_name: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the table of photos, and the features of the photos and of their backgrounds, float32 (n, d)."""
    with quiet_tensorflow():
        import keras
    from phototransfer import network

    prepared = prepare(find_source(dataset), val_split=0.2, test_split=0.2, seed=SETTINGS["SEED"])
    backbone = network.load_backbone(backbone_name, "imagenet", SETTINGS["SEED"])
    backbone.model.trainable = False
    image = keras.Input((backbone.image_size, backbone.image_size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.model(backbone.preprocess(image), training=False))
    extractor = keras.Model(image, pooled, name=backbone.architecture)
    features = network.extract(prepared.photos, extractor, prepared.cache, background=True)
    return prepared.photos, features.plain, features.background()


def _print_rates(name: str, of_class: Any, size: int, halves: int) -> None:
    """Print how often each check finds something in halves of a class, and how often a planted difference is found."""
    counts = dict.fromkeys(["shortcuts", "shift", "planted, alone", "planted, corrected"], 0)
    for number in progress(name, halves, range(halves), unit="cut"):
        rng = np.random.default_rng([number, 2026])
        rows = np.sort(rng.choice(len(of_class.photos), size, replace=False))
        first = rng.permutation(size) < size // 2
        photos, measured = (table.iloc[rows].reset_index(drop=True) for table in (of_class.photos, of_class.measured))
        background = of_class.background[rows]
        features: Any = SimpleNamespace(plain=of_class.plain[rows], background=lambda chosen=background: chosen)
        halved = photos.assign(label=np.where(first, "a", "b"))
        tests = _shortcuts(halved, features, measured)
        counts["shortcuts"] += bool(tests["flagged"].any())
        split = photos.assign(split=np.where(first, "train", "test"), duplicate_of="", label="a")
        counts["shift"] += check_shift(split, features, SETTINGS).state in (FOUND, BORDERLINE)
        contrast = measured["contrast"] + np.where(first, measured["contrast"].std(), 0)
        planted = _shortcuts(halved, features, measured.assign(contrast=contrast)).loc["contrast"]
        counts["planted, alone"] += planted["p_value"] < 0.05
        counts["planted, corrected"] += planted["flagged"]
    for what, count in counts.items():
        print(f"  {what}: {format_score(int(count), halves).replace(' correct', '')}")


def _shortcuts(photos: pd.DataFrame, features: Any, measured: pd.DataFrame) -> pd.DataFrame:
    """Return the tests of `check_shortcuts` on properties that are measured already, by property."""
    shortcuts.measure_properties = partial(_given, measured)
    return check_shortcuts(photos, features, SETTINGS).tests.set_index("property")


def _given(measured: pd.DataFrame, _photos: pd.DataFrame) -> pd.DataFrame:
    return measured


if __name__ == "__main__":
    main()
