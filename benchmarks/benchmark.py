"""Seconds and memory of the notebook against the classic recipe, the machine's limit, and the number of photos.

    make bench                                        the drawn sample, benchmarks/classic_recipe.py, 15 epochs
    make bench ARGS="--photos lucy-folder --recipe classic_recipe.py --sizes 100 1000"

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import papermill
import psutil
from PIL import Image

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
MATRIX, SECONDS_OF_MATRICES = 3072, 3.0
FIRST = 16  # photos; with fewer the inference engine would be chosen from fewer candidates


def main(options: list[str]) -> None:
    arguments = parse(options)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        project = Path(scratch) / "project"
        (project / "data").mkdir(parents=True)
        photos = arguments.photos.resolve() if arguments.photos else draw_sample(project)
        result = {"machine": machine(), "epochs": arguments.epochs, "limit_gflops": child(project, "limit")["answer"]}
        result["notebook"] = notebook_twice(project, photos, arguments.epochs, "compared", SCORE_ONLY)
        result["notebook, everything on"] = notebook_twice(project, photos, arguments.epochs, "everything", {})
        result["recipe"] = time_recipe(project, arguments.recipe, photos, arguments.epochs)
        result["growth"] = [grow(project, Path(scratch), number) for number in arguments.sizes]
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
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[100, 1000, 10_000], help="numbers of photos to measure growth with"
    )
    return parser.parse_args(options)


# Running and measuring


def timed(command: list[Any], project: Path) -> dict[str, Any]:
    """Run a command: seconds, peak memory of it and its children in MB, and the last line it printed."""
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        environment = os.environ | {"PHOTOTRANSFER_HOME": str(project), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [*map(str, command)]
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n" + "\n".join(lines[-30:]))
    print(f"{seconds:7.1f} s  {' '.join(command)[:160]}", flush=True)
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


def limit() -> dict[str, float]:
    """Return the GFLOP/s of a product of two square matrices by precision, the faster of TensorFlow and OpenVINO."""
    import tensorflow as tf

    from phototransfer.network.inference import openvino

    rates = {"f32": 0.0, "bf16": 0.0}
    values = np.random.default_rng(0).normal(size=(MATRIX, MATRIX)).astype(np.float32)
    for precision, dtype in (("f32", tf.float32), ("bf16", tf.bfloat16)):
        a = tf.constant(values, dtype)
        rates[precision] = max(rates[precision], _rate(lambda a=a: tf.matmul(a, a)[0, 0].numpy()))
        if openvino() is not None:
            rates[precision] = max(rates[precision], _rate(_openvino_product(openvino(), values, precision)))
    return {precision: round(rate, 1) for precision, rate in rates.items()}


def _openvino_product(ov: ModuleType, values: np.ndarray, precision: str) -> Callable[[], Any]:
    x = ov.opset13.parameter(values.shape, ov.Type.f32)
    product = ov.opset13.matmul(x, ov.opset13.constant(values), False, False)
    compiled = ov.compile_model(ov.Model([product], [x]), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()
    return lambda: request.infer({0: values}, share_inputs=True, share_outputs=True)


def _rate(product: Callable[[], Any]) -> float:
    """Return the GFLOP/s of the fastest product within some seconds, the first one left out."""
    product()
    fastest, end = np.inf, time.perf_counter() + SECONDS_OF_MATRICES
    while time.perf_counter() < end:
        began = time.perf_counter()
        product()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * MATRIX**3 / fastest / 1e9


# How cost grows


def grow(project: Path, scratch: Path, number: int) -> dict[str, Any]:
    """Prepare `number` photos and extract their features: seconds of each and peak memory."""
    folder = scratch / f"grown-{number}"
    draw_photos(project, folder, number)
    measured = child(project, "prepare_and_extract", folder)
    shutil.rmtree(folder)
    shutil.rmtree(project / "data" / folder.name)
    return {"photos": number, **measured}


def draw_photos(project: Path, folder: Path, number: int) -> None:
    """Write different photos of 640 × 480 pixels in two classes: means of two crops of prepared photos, with noise.

    Photos with noise alone would be near-duplicates, and left out where one is in both classes.
    """
    originals = sorted((project / "data").glob("*-compared/prepared/train/*/*.jpg"))

    def crop(rng: np.random.Generator) -> np.ndarray:
        with Image.open(originals[rng.integers(len(originals))]) as picture:
            width, height = picture.size
            left, top = rng.uniform(0, 0.5, 2) * picture.size
            right, bottom = left + width * rng.uniform(0.3, 0.5), top + height * rng.uniform(0.3, 0.5)
            return np.asarray(picture.convert("RGB").resize((640, 480), box=(left, top, right, bottom)), np.float32)

    def write(place: int) -> None:
        rng = np.random.default_rng(place)
        pixels = (crop(rng) + crop(rng)) / 2 + rng.integers(-12, 13, (480, 640, 1))
        target = folder / ("one", "other")[place % 2] / f"{place}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target, quality=90)

    for label in ("one", "other"):
        (folder / label).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write, range(number)))


def prepare_and_extract(folder: str) -> dict[str, Any]:
    """Measure preparing, getting the network ready, and extracting the features of the other photos."""
    from phototransfer.console import quiet_tensorflow

    with quiet_tensorflow():
        import keras
    from phototransfer.network import extract, load_backbone
    from phototransfer.photos import find_source, prepare

    seconds, began = {}, time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal began
        seconds[stage] = round(time.perf_counter() - began, 2)
        began = time.perf_counter()

    source = find_source(folder)
    photos = prepare(source, val_split=0.2, test_split=0.2, seed=42).photos
    lap("prepare")
    prepare(source, val_split=0.2, test_split=0.2, seed=42)
    lap("prepare again")
    backbone = load_backbone(BACKBONE, None)
    backbone.model.trainable = False
    pixels = keras.Input((backbone.image_size, backbone.image_size, 3))
    feature_map = backbone.model(backbone.preprocess(pixels), training=False)
    extractor = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(feature_map), name=backbone.architecture)
    lap("build the network")
    before = psutil.Process().memory_info().rss
    extract(photos[:FIRST], extractor, source.home / "features")
    lap("make it ready")
    ready = psutil.Process().memory_info().rss
    extract(photos, extractor, source.home / "features")
    lap("extract the rest")
    after = psutil.Process().memory_info().rss
    [chosen] = (read_json(file) for file in (source.home / "features").glob("*.json"))
    [engine] = (choice["engine"] for choice in chosen.values())
    rate = (len(photos) - FIRST) / seconds["extract the rest"]
    memory_mb = {"before": before, "network ready": ready, "after": after}
    memory_mb = {when: round(value / 2**20) for when, value in memory_mb.items()}
    return {
        "used": len(photos),
        "engine": engine,
        "photos_per_second": rate,
        "seconds": seconds,
        "memory_mb": memory_mb,
    }


def draw_sample(project: Path) -> Path:
    """Draw the sample as the notebook does, and return its folder."""
    code = "from phototransfer.photos import find_source; print(find_source('sample').folder)"
    drawn = timed([sys.executable, "-c", code], project)
    return Path(drawn["last_line"])


def as_markdown(result: dict[str, Any]) -> str:
    recipe = result["recipe"]
    fit = recipe["printed"]["fit_seconds"]
    lines = [
        f"{result['machine']}. {BACKBONE}, {result['epochs']} epochs, "
        f"{result['notebook']['first']['photos']} photos. Matrix product: "
        + ", ".join(f"{rate:.0f} GFLOP/s in {precision}" for precision, rate in result["limit_gflops"].items())
        + ".",
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
    lines += [
        "",
        "| photos | prepare, s | again, s | network ready, s | photos per second | of the limit | peak memory, MB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ] * bool(result["growth"])
    for row in result["growth"]:
        answer, seconds = row["answer"], row["answer"]["seconds"]
        allowed = result["limit_gflops"]["bf16" if "bf16" in answer["engine"] else "f32"] / GFLOP_PER_PHOTO
        lines.append(
            f"| {row['photos']:,} | {seconds['prepare']} | {seconds['prepare again']} | {seconds['make it ready']} "
            f"| {answer['photos_per_second']:.1f} ({answer['engine']}) | {answer['photos_per_second'] / allowed:.0%} "
            f"| {row['peak_mb']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(
            "\n" + json.dumps({"limit": limit, "prepare_and_extract": prepare_and_extract}[sys.argv[2]](*sys.argv[3:]))
        )
    else:
        main(sys.argv[1:])
