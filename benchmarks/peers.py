"""Seconds to a score, peak memory and disk of this project and of others that do transfer learning on photos.

    python benchmarks/peers.py --photos lucy-folder             all of them, 15 epochs
    python benchmarks/peers.py --photos lucy-folder --only fastai "Keras guide"

PHOTOS has train/, val/ and test/ with one folder per class. Each project is installed into an environment of its own in
~/.cache/phototransfer-peers and run in a new process: ResNet50, frozen, with random weights, as the pretrained ones
differ, and time does not depend on them. Writes models/peers.json and models/peers.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = Path.home() / ".cache" / "phototransfer-peers"
SIDE, BATCH = 224, 32
OURS = "this notebook"
#: What is installed for each; the rest is what these depend on.
REQUIREMENTS: dict[str, list[str]] = {
    OURS: ["-e", str(PROJECT)],
    "Keras guide": ["tensorflow-cpu==2.21.0", "keras==3.15.1", "pillow==12.3.0"],
    "fastai": ["fastai==2.8.12"],
    "AutoGluon": ["autogluon.multimodal==1.6.3", "torch==2.12.1", "torchvision==0.27.1"],
}


def main() -> None:
    """Install and run each project, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=list(REQUIREMENTS), default=list(REQUIREMENTS))
    arguments = parser.parse_args()
    from benchmark import machine

    from phototransfer.files import MODELS, atomic_write, write_json

    rows: list[dict[str, Any]] = []
    result = {"machine": machine(), "photos": arguments.photos.name, "epochs": arguments.epochs, "rows": rows}
    for name in arguments.only:
        python, installed = install(name)
        rows += [{**row, **installed} for row in measure(name, python, arguments.photos.resolve(), arguments.epochs)]
        write_json(MODELS / "peers.json", result)
    with atomic_write(MODELS / "peers.md") as partial:
        partial.write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


def install(name: str) -> tuple[Path, dict[str, Any]]:
    """Create the environment of a project if there is none; return its Python, and what installing it took."""
    folder = ENVIRONMENTS / name.replace(" ", "-")
    record = folder / "installed.json"
    python = folder / "bin" / "python"
    if not record.exists():
        shutil.rmtree(folder, ignore_errors=True)
        began = time.perf_counter()
        venv.create(folder, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        subprocess.run([*command, *REQUIREMENTS[name]], check=True)
        seconds = round(time.perf_counter() - began)
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        record.write_text(json.dumps({"install_seconds": seconds, "disk_mb": round(size / 1e6)}))
    return python, json.loads(record.read_text())


def measure(name: str, python: Path, photos: Path, epochs: int) -> list[dict[str, Any]]:
    """Run a project in new processes."""
    from benchmark import ANOTHER_HEAD, SCORE_ONLY, timed

    rows = []
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        home = Path(scratch) / "project"
        (home / "data").mkdir(parents=True)
        if name != OURS:
            measured = timed([python, __file__, "--child", name, photos, epochs], home)
            return [{"name": name, **measured, "score": json.loads(measured.pop("last_line"))}]
        base = {"DATASET": str(photos), "BACKBONE": "ResNet50", "WEIGHTS": None, "EPOCHS": epochs}
        for what, settings in (
            ("score only, first run", SCORE_ONLY),
            ("score only, another head", SCORE_ONLY | ANOTHER_HEAD),
            ("all checks, another head", {"HEAD": [256, 32]}),
        ):
            run = what.replace(", ", "-").replace(" ", "-")
            options = ["-y", json.dumps({**base, **settings, "RUN": run})]
            measured = timed([python, "-m", "phototransfer.run", *options], home)
            metrics = json.loads((home / "models" / run / "metrics.json").read_text())
            rows.append({"name": f"{OURS}, {what}", **measured, "score": metrics["accuracy"]["test"]})
            del rows[-1]["last_line"]
    return rows


def as_markdown(result: dict[str, Any]) -> str:
    """Return the table as text."""
    lines = [
        f"{result['machine']}. {result['photos']}, ResNet50 with random weights, {result['epochs']} epochs.",
        "",
        "| | seconds to a score | peak memory, MB | installed, MB | seconds to install |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        figures = f"{row['seconds']:.0f} | {row['peak_mb']:,} | {row['disk_mb']:,} | {row['install_seconds']}"
        lines.append(f"| {row['name']} | {figures} |")
    return "\n".join(lines) + "\n"


# Each of these runs in the environment of its project, and returns the accuracy on the test photos.


def keras_guide(photos: Path, epochs: int) -> float:
    """Do what https://keras.io/guides/transfer_learning does, with ResNet50 and a head of one layer."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    from keras import layers

    def read(split: str) -> Any:
        folder = photos / split
        return keras.utils.image_dataset_from_directory(folder, image_size=(SIDE, SIDE), batch_size=BATCH)

    train, val, test = (read(split).prefetch(2) for split in ("train", "val", "test"))
    classes = sum(path.is_dir() for path in (photos / "train").iterdir())
    augmentation = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    backbone = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    backbone.trainable = False
    image = keras.Input((SIDE, SIDE, 3))
    x = backbone(keras.applications.resnet50.preprocess_input(augmentation(image)), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Dense(classes, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, validation_data=val, epochs=epochs, verbose=0)
    return float(model.evaluate(test, verbose=0)[1])


def fastai(photos: Path, epochs: int) -> float:
    """Train a frozen `vision_learner`, as in https://docs.fast.ai/tutorial.vision.html."""
    from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, get_image_files, vision_learner
    from torchvision.models import resnet50

    loaders = ImageDataLoaders.from_folder(
        photos, train="train", valid="val", item_tfms=Resize(SIDE), batch_tfms=aug_transforms(), bs=BATCH
    )
    learner = vision_learner(loaders, resnet50, pretrained=False, metrics=accuracy)
    learner.freeze()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs)
        test = loaders.test_dl(get_image_files(photos / "test"), with_labels=True)
        return float(learner.validate(dl=test)[1])


def autogluon(photos: Path, epochs: int) -> float:
    """Train a `MultiModalPredictor` as frozen as it can be: biases and the last layer only."""
    import pandas as pd
    from autogluon.multimodal import MultiModalPredictor
    from autogluon.multimodal.models import timm_image

    # `pretrained=False` of the predictor does not reach timm in this version, which would download weights.
    timm_image.create_model = partial(_without_weights, timm_image.create_model)

    def table(split: str) -> pd.DataFrame:
        files = sorted(path for path in (photos / split).rglob("*") if path.is_file())
        return pd.DataFrame({"image": [str(path) for path in files], "label": [path.parent.name for path in files]})

    predictor = MultiModalPredictor(label="label", path="autogluon", verbosity=0)
    settings = {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": "resnet50",
        "optim.max_epochs": epochs,
        "optim.patience": epochs,
        "optim.top_k": 1,
        "optim.peft": "bit_fit",
        "env.per_gpu_batch_size": BATCH,
        "env.batch_size": BATCH,
        "env.num_gpus": 0,
    }
    predictor.fit(table("train"), tuning_data=table("val"), hyperparameters=settings)
    return float(predictor.evaluate(table("test"), metrics=["accuracy"])["accuracy"])


def _without_weights(create_model: Callable[..., Any], name: str, **options: Any) -> Any:
    return create_model(name, **{**options, "pretrained": False})


CHILDREN = {"Keras guide": keras_guide, "fastai": fastai, "AutoGluon": autogluon}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        name, photos, epochs = sys.argv[2:]
        print("\n" + json.dumps(CHILDREN[name](Path(photos), int(epochs))))
    else:
        main()
