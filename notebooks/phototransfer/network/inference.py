"""The fastest way to run a frozen network on this machine that gives the same features as Keras."""

import importlib.metadata
import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf

KERAS = "Keras"
BF16, F32 = "OpenVINO bf16", "OpenVINO f32"
#: Lowest cosine similarity with Keras in float32 on the probes: twice as strict as the 0.999 promised for every photo.
#: bf16 needs this many probes: EfficientNetLite0 has 0.9997 on its best photos and 0.9971 on the worst of 300.
MIN_COSINE = 0.9995
PROBES = 16


@dataclass(frozen=True)
class Engine:
    """A frozen network, compiled.

    `run` is thread-safe: from uint8 (b, size, size, 3), raw RGB, b <= `batch`, to float32 (b, d). `workers` threads
    that decode photos and call it keep the machine busy. `cosine` is the lowest on the probes, None if not measured.
    """

    name: str
    batch: int
    workers: int
    run: Callable[[np.ndarray], np.ndarray]
    cosine: float | None = None

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return features, float32 (n, d), of raw RGB pixels, uint8 (n, size, size, 3)."""
        batches = (pixels[start : start + self.batch] for start in range(0, len(pixels), self.batch))
        return np.concatenate([self.run(batch) for batch in batches])


def environment_key() -> str:
    """Return what the choice of an engine depends on, such as "openvino-2026.4.1-bf16"."""
    if tf.config.list_physical_devices("GPU"):
        return f"keras-{keras.__version__}-gpu"
    if openvino() is None:
        return f"keras-{keras.__version__}-cpu"
    return f"openvino-{importlib.metadata.version('openvino')}-{'bf16' if BF16 in available_engines() else 'f32'}"


def available_engines() -> list[str]:
    """Return the engines of this machine, the fastest first. The last one is always Keras.

    OpenVINO (https://docs.openvino.ai) runs ResNet50 more than twice as fast as Keras on two cores of an AMD EPYC.
    """
    if tf.config.list_physical_devices("GPU") or openvino() is None:
        return [KERAS]
    precisions = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [*([BF16] if "BF16" in precisions else []), F32, KERAS]


def select_engine(extractor: keras.Model, probes: np.ndarray, names: list[str] | None = None) -> Engine:
    """Return the first engine, by default of all, that agrees with Keras in float32. If only Keras does, say why.

    Parameters
    ----------
    probes : uint8 array of shape (n, size, size, 3)
        Photos on which the features are compared, n >= 1. With fewer than PROBES, bf16 is not tried.
    """
    if names is None:
        names = [name for name in available_engines() if name != BF16 or len(probes) >= PROBES]
    reason = f"OpenVINO could not run {extractor.name} when its first features were computed"
    if openvino() is None:
        reason = "the package openvino is not installed (python -m pip install openvino)"
    elif names != [KERAS]:
        traced = _trace(extractor)
        try:
            with ThreadPoolExecutor(1) as thread:  # converting keeps one processor busy, and takes as long
                features = thread.submit(lambda: np.concatenate([traced(tf.constant(probe[None])) for probe in probes]))
                network = openvino().convert_model(traced)
                expected = features.result()
            for name in (name for name in names if name != KERAS):
                engine = _compile(network, name)
                cosine = min_cosine(engine.predict(probes), expected)
                if cosine >= MIN_COSINE:
                    return replace(engine, cosine=cosine)
                reason = f"{name} gives different features (cosine similarity {cosine:.4f})"
        except Exception as error:  # the converter fails in as many ways as there are networks
            reason = f"OpenVINO cannot run {extractor.name} ({' '.join(str(error).split())[:200]})"
    if not tf.config.list_physical_devices("GPU"):
        print(f"Extracting features with Keras instead of OpenVINO (slower): {reason}.")
    return _keras_engine(extractor)


def min_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the lowest cosine similarity of rows of two arrays (n, d): 1 if both are 0, 0 if only one is or is NaN."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(lengths > 0, (a * b).sum(axis=1) / lengths, (a == b).all(axis=1))
    return float(np.nan_to_num(cosines, nan=0.0).min())


@cache
def openvino() -> Any:
    """Return the module openvino, None if it is not installed."""
    # Importing it sends a report to Google Analytics through openvino_telemetry, which it can do without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError:
        return None


def _trace(extractor: keras.Model) -> Callable[..., Any]:
    """Return a graph, uint8 (1, size, size, 3) → float32 (1, d): without one, all layers' outputs stay in memory."""
    photo = tf.TensorSpec((1, *extractor.input_shape[1:]), tf.uint8, name="photo")
    run = tf.function(lambda photo: extractor(tf.cast(photo, tf.float32), training=False), input_signature=[photo])
    return run.get_concrete_function()


def _compile(network: Any, name: str) -> Engine:
    """Compile for one photo per request and as many requests as OpenVINO suggests, which is as fast as batches."""
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": name.removeprefix("OpenVINO ")}
    compiled = openvino().compile_model(network, "CPU", hints)
    count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(count):
        idle.put(compiled.create_infer_request())

    def run(pixels: np.ndarray) -> np.ndarray:
        request = idle.get()
        try:
            return request.infer({0: pixels})[0].astype(np.float32)  # copied: the request writes there again
        finally:
            idle.put(request)

    return Engine(name, 1, count + (os.cpu_count() or 1), run)


def _keras_engine(extractor: keras.Model) -> Engine:
    lock = threading.Lock()

    def run(pixels: np.ndarray) -> np.ndarray:
        with lock:
            return np.asarray(extractor.predict_on_batch(pixels.astype(np.float32)), dtype=np.float32)

    return Engine(KERAS, 32, 1 + (os.cpu_count() or 1), run)
