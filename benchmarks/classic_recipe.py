"""The usual way to write such a notebook: each epoch decodes, augments and runs every photo through the frozen network.

    python benchmarks/classic_recipe.py PHOTOS EPOCHS      PHOTOS has train/ and val/ with one folder per class

Random weights, because time does not depend on them. The last line it prints is JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow import keras

SIDE, BATCH = 224, 32


def photos_of(folder: Path, **augmentation: float):
    """Return an endless source of batches, decoded in Python each time."""
    preprocess = keras.applications.resnet50.preprocess_input
    generator = tf.keras.preprocessing.image.ImageDataGenerator(preprocessing_function=preprocess, **augmentation)
    return generator.flow_from_directory(folder, target_size=(SIDE, SIDE), batch_size=BATCH, class_mode="sparse")


def build(classes: int) -> keras.Model:
    """ResNet50, frozen, under a head of two Dense layers."""
    backbone = keras.applications.ResNet50(include_top=False, weights=None, pooling="avg")
    backbone.trainable = False
    photo = keras.Input((SIDE, SIDE, 3))
    x = backbone(photo, training=False)
    for units in (512, 256):
        x = keras.layers.Dense(units, activation="relu")(x)
        x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    return keras.Model(photo, keras.layers.Dense(classes, activation="softmax")(x))


def main(folder: Path, epochs: int) -> None:
    train = photos_of(
        folder / "train",
        rotation_range=20,
        width_shift_range=0.2,
        height_shift_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
    )
    val = photos_of(folder / "val")
    model = build(train.num_classes)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    model.fit(train, validation_data=val, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    print(json.dumps({"epochs": epochs, "photos": train.samples + val.samples, "fit_seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
