"""Exports of the saved model to other formats, each loaded again and compared with it on the test photos."""

import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from phototransfer import files
from phototransfer.commands import install_command
from phototransfer.console import TEXT_WIDTH, redirected_stderr
from phototransfer.network.complete_model import inner_model
from phototransfer.network.inference import openvino
from phototransfer.network.saved_model import sample_test_photos
from phototransfer.photos.decode import NotAPhoto, read_pixels
from phototransfer.report import Result, Skipped

#: Largest difference in a probability between the exported and the saved model that rounding explains.
TOLERANCE = 1e-3
_Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Export:
    """One exported file or folder.

    Attributes
    ----------
    format, path : str
        One of `FORMATS`; file or folder, relative to the project.
    any_size : bool
        Photos of any size are its input. Otherwise its input are photos that were resized as the layer `prepare` does.
    megabytes : float or None
        Its size; None if there is no file.
    difference : float or None
        Largest difference in a probability from the saved model on the test photos; None if there is no file.
    same : int or None
        Test photos with the same predicted class.
    problem : str
        Why the model cannot be exported or the file not be used, or "".
    """

    format: str
    path: str = ""
    any_size: bool = False
    megabytes: float | None = None
    difference: float | None = None
    same: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class Exports(Result):
    """The exported files, compared with the saved model on `photos` test photos."""

    name = "exports"
    exports: tuple[Export, ...]
    photos: int
    image_size: int

    def summary(self) -> str:
        return "\n".join(f"- {export.format}: {self._line(export)}" for export in self.exports)

    def _line(self, export: Export) -> str:
        if export.problem:
            return f"not exported. {export.problem}"
        size = f"{self.image_size} × {self.image_size} pixels"
        takes = "photos of any size" if export.any_size else f"photos already resized to {size}"
        return (
            f"{export.path} ({export.megabytes:.1f} MB) takes {takes}, RGB 0–255. Loaded again, it gives the same "
            f"class as model.keras for {export.same} of {self.photos} test photos; largest difference in a "
            f"probability: {export.difference:.1g}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"photos": self.photos, "formats": {export.format: asdict(export) for export in self.exports}}


def export_model(
    model: keras.Model, folder: Path, photos: pd.DataFrame, source: Path, settings: Mapping[str, Any]
) -> Exports | Skipped:
    """Export a complete model to the formats in `EXPORT`, and compare each with it on `sample_test_photos`.

    Parameters
    ----------
    model : keras.Model
        From `load_run`.
    folder : Path
        The run's folder. The files are written there.
    photos : DataFrame
        With columns original and split.
    source : Path
        The folder of the original photos.
    settings : Mapping
        EXPORT and SEED are read here.
    """
    if not settings["EXPORT"]:
        return Skipped(Exports.name, "No other formats are exported (EXPORT = []).")
    paths = [source / original for original in sample_test_photos(photos, settings["SEED"])]
    exports = tuple(_export(name, model, folder, paths) for name in settings["EXPORT"])
    return Exports(exports, len(paths), inner_model(model).input_shape[1])


def _export(name: str, model: keras.Model, folder: Path, paths: Sequence[Path]) -> Export:
    """Write one format beside its place, load it, compare it, and move it into place."""
    keras_format, file_name, packages, load = FORMATS[name]
    if missing := [package for package in packages if find_spec(package) is None]:
        return Export(name, problem=f"It needs {' and '.join(missing)}: {install_command('export')}")
    any_size = name == "saved_model"  # the others have no resizing with antialiasing
    exported = model if any_size else inner_model(model)
    target = folder / "exports" / file_name
    difference, same = 0.0, 0
    with files.temporary_folder(target) as temporary:
        try:
            with _without_notices():
                size = inner_model(model).input_shape[1]
                exported(np.zeros((1, size, size, 3), np.float32))  # a model that was never called cannot be exported
                exported.export(str(temporary / file_name), format=keras_format, verbose=False)
                predict = load(temporary / file_name)
                for path in paths:
                    photo = read_pixels(path, model.preparation.ranges)[None].astype(np.float32)
                    photo = photo if any_size else np.asarray(model.get_layer("prepare")(photo))
                    answer, expected = predict(photo)[0], np.asarray(exported(photo))[0]
                    difference = max(difference, float(np.abs(answer - expected).max()))
                    same += int(answer.argmax() == expected.argmax())
        except NotAPhoto as error:
            return Export(name, problem=f"A test photo cannot be read any more: {error}.")
        except OSError as error:
            raise files.write_error(target, temporary / file_name, error) from error
        except Exception as error:  # each converter and runtime raises its own types
            reason = " ".join(str(error).split())
            return Export(name, problem=f"{type(error).__name__}: {reason[: 2 * TEXT_WIDTH]}")
        if difference > TOLERANCE:
            return Export(
                name, problem=f"Its probabilities differ by up to {difference:.2g} from those of model.keras."
            )
        megabytes = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file()) / 1e6
        _move(temporary, target)
    return Export(name, files.relative_to_project(target), any_size, megabytes, difference, same)


@contextmanager
def _without_notices() -> Iterator[None]:
    """Hold back what converters and runtimes write about their own code; errors are raised as ever."""
    with (
        tempfile.TemporaryFile() as held,
        redirected_stderr(held.fileno()),
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _move(temporary: Path, target: Path) -> None:
    """Move what was exported beside `target` (OpenVINO writes two files); a folder replaces the earlier one."""
    for path in sorted(temporary.iterdir()):
        place = target.parent / path.name
        if place.is_dir():
            shutil.rmtree(place)
        files.move_into_place(path, place)


def _load_saved_model(path: Path) -> _Predict:
    loaded = tf.saved_model.load(str(path))  # its variables live as long as this name
    return lambda photos: np.asarray(loaded.serve(photos))


def _load_onnx(path: Path) -> _Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [entry] = session.get_inputs()
    return lambda photos: session.run(None, {entry.name: photos})[0]


def _load_openvino(path: Path) -> _Predict:
    compiled = openvino().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda photos: compiled(photos)[0]


def _load_litert(path: Path) -> _Predict:
    interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    [entry], [result] = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(photos: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(entry["index"], photos)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return predict


#: By the names in EXPORT: Keras' name, the file or folder, the packages that are needed, and how to load it.
FORMATS: dict[str, tuple[str, str, tuple[str, ...], Callable[[Path], _Predict]]] = {
    "onnx": ("onnx", "model.onnx", ("onnx", "tf2onnx", "onnxruntime"), _load_onnx),
    "litert": ("litert", "model.tflite", (), _load_litert),
    "saved_model": ("tf_saved_model", "saved_model", (), _load_saved_model),
    "openvino": ("openvino", "model.xml", ("openvino",), _load_openvino),
}
