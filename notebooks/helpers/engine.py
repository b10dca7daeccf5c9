"""On what does the frozen network run fastest here, and does it still say the same there?"""

import importlib.metadata
import importlib.util
import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType

import keras
import numpy as np
import tensorflow as tf

KERAS = "Keras"
BF16, F32 = "OpenVINO bf16", "OpenVINO f32"
#: An engine has to answer like Keras in float32: least cosine over the probes. Twice as strict as the 0.999 that is
#: promised for every photo, because only some are tried. EfficientNetLite0 in bf16 has 0.9997 on its best photos and
#: 0.9971 on the worst of 300, ResNet50 (random weights) 0.99999 on all: fewer probes say too little to take bf16.
AGREEMENT = 0.9995
PROBES = 16
_KERAS_BATCH = 32


@dataclass(frozen=True)
class Engine:
    """A frozen network made ready to run.

    `run`: uint8 (b, size, size, 3), raw RGB, b ≤ `batch` → float32 (b, d); may be called from several threads.
    `answers` takes any number of photos. `workers`: how many threads, each decoding and then asking, keep the machine
    busy. `cosine`: the least agreement with Keras in float32 on the probes, None for what was not tried.
    """

    name: str
    batch: int
    workers: int
    run: Callable[[np.ndarray], np.ndarray]
    cosine: float | None = None

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (n, size, size, 3), raw RGB → float32 (n, d)."""
        parts = (pixels[start : start + self.batch] for start in range(0, len(pixels), self.batch))
        return np.concatenate([self.run(part) for part in parts])


def setup() -> str:
    """What there is to choose from here, so that a choice is not taken over by another machine: "keras-3.15.1-gpu"."""
    if tf.config.list_physical_devices("GPU"):
        return f"keras-{keras.__version__}-gpu"
    if openvino() is None:
        return f"keras-{keras.__version__}-cpu"
    return f"openvino-{importlib.metadata.version('openvino')}-{'bf16' if BF16 in candidates() else 'f32'}"


def candidates() -> list[str]:
    """The engines of this machine, the fastest first. The last one, Keras itself, is always there.

    OpenVINO (https://docs.openvino.ai) is for processors: on the 2-core AMD EPYC it was measured on, ResNet50 at 224 px
    runs at more than twice the photos a second of Keras. On a GPU TensorFlow is left as it is, which nobody has
    measured here.
    """
    if tf.config.list_physical_devices("GPU") or openvino() is None:
        return [KERAS]
    capable = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [*([BF16] if "BF16" in capable else []), F32, KERAS]


def choose(extractor: keras.Model, probes: np.ndarray, names: list[str] | None = None) -> Engine:
    """The first of `names` (by default: every candidate) that takes the network and agrees with Keras in float32.

    extractor: frozen, raw RGB float32 (b, size, size, 3) → (b, d). probes: uint8 (n ≥ 1, size, size, 3), photos to
    compare the answers on (cosine of at least AGREEMENT for each); with fewer than PROBES, bf16 is no candidate. If
    Keras itself is what is left, a line says why.
    """
    if names is None:
        names = [name for name in candidates() if name != BF16 or len(probes) >= PROBES]
    why = f"OpenVINO could not take {extractor.name} when its first photos came"
    if openvino() is None:
        why = "the package openvino is not installed (pip install -r requirements.txt)"
    elif names != [KERAS]:
        traced = _trace(extractor)
        try:
            with ThreadPoolExecutor(1) as other:  # converting keeps one processor busy, and takes as long
                asked = other.submit(lambda: np.concatenate([traced(tf.constant(photo[None])) for photo in probes]))
                network = openvino().convert_model(traced)
                expected = asked.result()
            for name in (name for name in names if name != KERAS):
                engine = _compile(network, name)
                cosine = agreement(engine.answers(probes), expected)
                if cosine >= AGREEMENT:
                    return replace(engine, cosine=cosine)
                why = f"{name} answers differently (cosine {cosine:.4f})"
        except Exception as error:  # a converter for every network there is fails in every way there is
            why = f"OpenVINO refuses {extractor.name} ({' '.join(str(error).split())[:200]})"
    if not tf.config.list_physical_devices("GPU"):
        print(f"Plain Keras computes the features, which takes longer: {why}.")
    return _keras(extractor)


def agreement(answers: np.ndarray, expected: np.ndarray) -> float:
    """The least cosine between rows of two arrays (n, d): 1 where both are all 0, 0 where one is or is no number."""
    a, b = answers.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(lengths > 0, (a * b).sum(axis=1) / lengths, (a == b).all(axis=1))
    return float(np.nan_to_num(cosines, nan=0.0).min())


@cache
def openvino() -> ModuleType | None:
    """OpenVINO, or None where it is not installed.

    Merely importing it reports the import to Google Analytics unless the user has opted out. It does without where
    openvino_telemetry cannot be imported, so it is told that it cannot.
    """
    if importlib.util.find_spec("openvino") is None:
        return None
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)
    return importlib.import_module("openvino")


def _trace(extractor: keras.Model) -> Callable:
    """What Keras computes for one photo, uint8 (1, size, size, 3) → float32 (1, d), as a TensorFlow graph.

    Called without one, a network keeps every layer's output until the end: 140 MB a photo for ResNet50.
    """
    photo = tf.TensorSpec((1, *extractor.input_shape[1:]), tf.uint8, name="photo")
    run = tf.function(lambda photo: extractor(tf.cast(photo, tf.float32), training=False), input_signature=[photo])
    return run.get_concrete_function()


def _compile(network: object, name: str) -> Engine:
    """One photo a request, as many requests at a time as OpenVINO asks for: as fast as batches, and never uneven."""
    precision = {BF16: "bf16", F32: "f32"}[name]
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino().compile_model(network, "CPU", hints)
    count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    idle: queue.SimpleQueue = queue.SimpleQueue()
    for _ in range(count):
        idle.put(compiled.create_infer_request())

    def run(pixels: np.ndarray) -> np.ndarray:
        request = idle.get()
        try:
            return request.infer({0: pixels})[0].astype(np.float32)  # a copy: the request writes there again
        finally:
            idle.put(request)

    return Engine(name, 1, count + (os.cpu_count() or 1), run)


def _keras(extractor: keras.Model) -> Engine:
    one_at_a_time = threading.Lock()

    def run(pixels: np.ndarray) -> np.ndarray:
        with one_at_a_time:
            return np.asarray(extractor.predict_on_batch(pixels.astype(np.float32)), dtype=np.float32)

    return Engine(KERAS, _KERAS_BATCH, 1 + (os.cpu_count() or 1), run)
