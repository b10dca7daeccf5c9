"""Seconds and memory of the notebook against the classic recipe, and features against the limit of the machine.

    make bench                                        the drawn sample, benchmarks/classic_recipe.py, 15 epochs
    make bench ARGS="--photos lucy-folder --recipe classic_recipe.py"

Everything is timed in new processes, in one run, with ResNet50 and random weights: time does not depend on them. Photos
and runs are kept in a temporary folder, so that nothing is cached at first. Writes models/benchmark.json and
models/benchmark.md.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import papermill
import psutil

from phototransfer.files import MODELS, atomic_write, read_json, write_json
from phototransfer.run import NOTEBOOK

BACKBONE = "ResNet50"
CLASSIC_RECIPE = Path(__file__).with_name("classic_recipe.py")
#: A photo of 224 px through ResNet50 takes 3.86 billion multiplications and as many additions: table 1 of He et al.,
#: "Deep residual learning for image recognition" (https://arxiv.org/abs/1512.03385), there without the additions.
GFLOP_PER_PHOTO = 7.7
#: Off in the row that is compared with the classic recipe, which does none of it.
SCORE_ONLY = {"CHECKS": False, "FIGURES": False, "CV_FOLDS": 0}
ANOTHER_HEAD = {"HEAD": [256, 64]}
MATRIX = 3072
TURNS, SECONDS_OF_A_TURN, PHOTOS_OF_A_TURN = 7, 1.5, 160
FIRST = 16  # photos; with fewer the inference engine would be chosen from fewer candidates


def main(options: list[str]) -> None:
    arguments = parse(options)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        project = Path(scratch) / "project"
        (project / "data").mkdir(parents=True)
        photos = arguments.photos.resolve() if arguments.photos else draw_sample(project)
        result = {"machine": machine(), "epochs": arguments.epochs}
        result["notebook"] = notebook_twice(project, photos, arguments.epochs, "compared", SCORE_ONLY)
        result["notebook, everything on"] = notebook_twice(project, photos, arguments.epochs, "everything", {})
        result["recipe"] = time_recipe(project, arguments.recipe, photos, arguments.epochs)
        result["features"] = child(project, "extract_in_turns", photos)["answer"]
    write_json(MODELS / "benchmark.json", result)
    with atomic_write(MODELS / "benchmark.md") as partial:
        partial.write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


def parse(options: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with train/ and val/; without it the sample is drawn")
    parser.add_argument(
        "--recipe", type=Path, default=Path(__file__).with_name("classic_recipe.py"), help="script to time against"
    )
    parser.add_argument("--epochs", type=int, default=15)
    return parser.parse_args(options)


# Running and measuring


def timed(command: list[Any], project: Path, samples: list[tuple[float, int]] | None = None) -> dict[str, Any]:
    """Run a command: seconds, peak memory of it and its children in MB, and the last line it printed.

    Pairs of the time and the bytes in use are added to `samples`.
    """
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        environment = os.environ | {"PHOTOTRANSFER_HOME": str(project), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [*map(str, command)]
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        samples = [] if samples is None else samples
        while process.poll() is None:
            samples.append((time.time(), memory(process.pid)))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n" + "\n".join(lines[-30:]))
    print(f"{seconds:7.1f} s  {' '.join(command)[:160]}", flush=True)
    peak = max((size for _, size in samples), default=0)
    return {"seconds": round(seconds, 1), "peak_mb": round(peak / 2**20), "last_line": lines[-1] if lines else ""}


def memory(pid: int) -> int:
    """Resident bytes of a process and all its children; what two of them share counts twice."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # ended in the meantime: the next measurement counts the others
        pass
    return total


def child(project: Path, *arguments: Any) -> dict[str, Any]:
    """Run a function of this file in a process of its own; adds what it returned as "answer"."""
    measured = timed([sys.executable, __file__, "--child", *arguments], project)
    return measured | {"answer": json.loads(measured.pop("last_line"))}


# What is timed


def notebook_twice(project: Path, photos: Path, epochs: int, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run the notebook on new photos, and again with another head."""
    valid = papermill.inspect_notebook(str(NOTEBOOK))
    settings = {key: value for key, value in settings.items() if key in valid}
    dataset = project / "photos" / f"{photos.name}-{name}"
    shutil.copytree(photos, dataset)
    base = {"DATASET": str(dataset), "BACKBONE": BACKBONE, "WEIGHTS": None, "EPOCHS": epochs, **settings}
    return {
        "settings": settings,
        "first": notebook_once(project, f"{name}-first", base),
        "again": notebook_once(project, f"{name}-again", base | ANOTHER_HEAD),
    }


def notebook_once(project: Path, run: str, settings: dict[str, Any]) -> dict[str, Any]:
    # JSON is YAML, and with -y a None stays one
    options = ["-y", json.dumps(settings | {"RUN": run})]
    began = time.time()
    measured = timed([sys.executable, "-m", "phototransfer.run", *options], project)
    measured["saved"] = round((project / "models" / run / "model.keras").stat().st_mtime - began, 1)
    metrics = read_json(project / "models" / run / "metrics.json")
    epochs = len((project / "models" / run / "history.csv").read_text().splitlines()) - 1
    return measured | {"stages": metrics["seconds"], "photos": metrics["photos"]["used"], "epochs": epochs}


def time_recipe(project: Path, recipe: Path, photos: Path, epochs: int) -> dict[str, Any]:
    """Run the recipe on the photos; of the sample, which has broken files, on the prepared ones."""
    if photos.is_relative_to(project):
        photos = project / "data" / f"{photos.name}-compared" / "prepared"
    measured = timed([sys.executable, recipe.resolve(), photos, epochs], project)
    return measured | {"script": recipe.name, "printed": json.loads(measured.pop("last_line"))}


def machine() -> str:
    name = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        models = [line.split(":")[1].strip() for line in described.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB, {platform.system()}"


def _fastest_product(precision: str) -> Callable[[], Any]:
    """Return the product of two square matrices, by TensorFlow or by OpenVINO, whichever is faster."""
    import tensorflow as tf

    from phototransfer.network.inference import openvino

    values = np.random.default_rng(0).normal(size=(MATRIX, MATRIX)).astype(np.float32)
    a = tf.constant(values, tf.bfloat16 if precision == "bf16" else tf.float32)
    products = [lambda: tf.matmul(a, a)[0, 0].numpy()]
    if openvino() is not None:
        products.append(_openvino_product(openvino(), values, precision))
    return max(products, key=lambda product: _rate(product, SECONDS_OF_A_TURN))


def _openvino_product(ov: ModuleType, values: np.ndarray, precision: str) -> Callable[[], Any]:
    x = ov.opset13.parameter(values.shape, ov.Type.f32)
    product = ov.opset13.matmul(x, ov.opset13.constant(values), False, False)
    compiled = ov.compile_model(ov.Model([product], [x]), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()
    return lambda: request.infer({0: values}, share_inputs=True, share_outputs=True)


def _rate(product: Callable[[], Any], seconds: float) -> float:
    """Return the GFLOP/s of a product, the fastest within some seconds, the first one left out."""
    product()
    fastest, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        product()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * MATRIX**3 / fastest / 1e9


# How much of the machine the extraction of features uses


def extract_in_turns(folder: str) -> dict[str, Any]:
    """Return photos per second, decoded and through the network, and the share of the limit, by turns."""
    from phototransfer.console import quiet_tensorflow

    with quiet_tensorflow():
        from phototransfer.network import extract, features
    from phototransfer.network.feature_table import FeatureTable
    from phototransfer.network.views import PLAIN
    from phototransfer.photos import find_source, prepare

    prepared = prepare(find_source(folder), val_split=0.2, test_split=0.2, seed=42)
    extractor = frozen_network(BACKBONE, None)
    extract(prepared.photos[:FIRST], extractor, prepared.cache)
    [engine] = features._compiled.values()
    product = _fastest_product("bf16" if "bf16" in engine.name else "f32")
    turns = []
    for turn in range(TURNS):
        limit = _rate(product, SECONDS_OF_A_TURN)
        table = FeatureTable(PLAIN, prepared.cache / f"turn-{turn}")
        batch = prepared.photos.sample(PHOTOS_OF_A_TURN, random_state=turn, replace=True)
        batch = batch.assign(digest=[str(number) for number in range(len(batch))])
        began = time.perf_counter()
        features._compute(batch, engine, extractor, tables=[table], fit="crop")
        turns.append((len(batch) / (time.perf_counter() - began), limit))
    rates, limits = np.array(turns).T
    return {
        "engine": engine.name,
        "photos_per_second": round(float(np.median(rates)), 1),
        "limit_gflops": round(float(np.median(limits)), 1),
        "share_of_limit": round(float(np.median(rates * GFLOP_PER_PHOTO / limits)), 3),
        "shares": np.round(rates * GFLOP_PER_PHOTO / limits, 2).tolist(),
    }


def frozen_network(architecture: str, weights: str | None) -> Any:
    """Return a frozen network from photos to features, as the notebook makes it."""
    import keras

    from phototransfer.network import load_backbone

    backbone = load_backbone(architecture, weights)
    backbone.model.trainable = False
    pixels = keras.Input((backbone.image_size, backbone.image_size, 3))
    feature_map = backbone.model(backbone.preprocess(pixels), training=False)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(feature_map), name=backbone.architecture)


def draw_sample(project: Path) -> Path:
    """Draw the sample as the notebook does, and return its folder."""
    code = "from phototransfer.photos import find_source; print(find_source('sample').folder)"
    drawn = timed([sys.executable, "-c", code], project)
    return Path(drawn["last_line"])


def as_markdown(result: dict[str, Any]) -> str:
    recipe = result["recipe"]
    fit = recipe["printed"]["fit_seconds"]
    features = result["features"]
    lines = [
        f"{result['machine']}. {BACKBONE}, {result['epochs']} epochs, {result['notebook']['first']['photos']} photos.",
        "",
        f"Features ({features['engine']}): {features['photos_per_second']} photos per second, "
        f"{features['share_of_limit']:.0%} of what a product of matrices reaches in the same minute "
        f"({features['limit_gflops']:.0f} GFLOP/s), decoding included.",
        "",
        "| | seconds | model saved after | times as fast | peak memory, MB | by stage |",
        "|---|---:|---:|---:|---:|---|",
        f"| {recipe['script']} | {recipe['seconds']} | | 1 | {recipe['peak_mb']} | fit {fit} |",
    ]
    for row in ("notebook", "notebook, everything on"):
        for which, words in (("first", "first run"), ("again", "again, another head")):
            run = result[row][which]
            stages = ", ".join(f"{stage} {seconds}" for stage, seconds in run["stages"].items())
            times = f"{recipe['seconds'] / run['seconds']:.1f}"
            figures = f"{run['seconds']} | {run['saved']} | {times} | {run['peak_mb']}"
            lines.append(f"| {row}, {words} | {figures} | {stages} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print("\n" + json.dumps({"extract_in_turns": extract_in_turns}[sys.argv[2]](*sys.argv[3:])))
    else:
        main(sys.argv[1:])
