"""Networks of keras.applications and EfficientNetLite0 without their classifiers, with their preprocessing."""

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from phototransfer.network.efficientnet_lite import EfficientNetLite0
from phototransfer.paths import find_path
from phototransfer.photos.sources import TIMEOUT, socket_timeout
from phototransfer.report import Result
from phototransfer.settings import FALLBACK_BACKBONE as FALLBACK

#: Sides in pixels that keras.applications documents as each network's own; all others use 224.
IMAGE_SIZES = {
    **dict.fromkeys(("InceptionV3", "InceptionResNetV2", "Xception"), 299),
    "NASNetLarge": 331,
    **{f"EfficientNetB{n}": size for n, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))},
    **{f"EfficientNetV2B{n}": size for n, size in enumerate((224, 240, 260, 300))},
    **{"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480},
}
#: Networks that keras.applications does not have. Their functions take the arguments of those there, and the modules of
#: the functions have a `preprocess_input`.
OWN: dict[str, Callable[..., keras.Model]] = {FALLBACK: EfficientNetLite0}


@dataclass(frozen=True)
class Backbone(Result):
    """A network without its classifier.

    Attributes
    ----------
    model : keras.Model
        From preprocessed photos, float32 (batch, image_size, image_size, 3), to a feature map (batch, h, w, channels).
    preprocess : callable
        From a Keras tensor (Keras' own functions change NumPy arrays in place) of raw RGB values 0–255 to what `model`
        takes, in operations that are saved with it.
    fell_back_from, reason : str or None
        The network whose weights could not be downloaded, and why.
    """

    name = "backbone"
    architecture: str
    model: keras.Model
    preprocess: Callable[[Any], Any]
    image_size: int
    weights: str | None
    fell_back_from: str | None = None
    reason: str | None = None

    def summary(self) -> str:
        origins = {"imagenet": "trained on ImageNet", None: "with random weights: expect a score near chance level"}
        size = f"{self.image_size} × {self.image_size} pixels, {self.model.count_params():,} parameters"
        loaded = f"{self.architecture}, {size}, {origins.get(self.weights, f'with the weights in {self.weights}')}."
        if self.fell_back_from is None:
            return loaded
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        return (
            f"Could not download the {self.fell_back_from} weights; using {self.architecture} instead.\n"
            f"Reason: {self.reason}\n"
            f"To use {self.fell_back_from}, put the file named above in {folder} or set WEIGHTS to its path.\n{loaded}"
        )

    def to_dict(self) -> dict[str, Any]:
        names = ("weights", "fell_back_from", "image_size")
        return {"backbone": self.architecture, **{name: getattr(self, name) for name in names}}

    def advice(self) -> list[str]:
        if self.fell_back_from:
            return [f'Add the weights file of {self.fell_back_from}, or set BACKBONE = "{self.architecture}".']
        return [] if self.weights else ['The backbone has random weights: set WEIGHTS = "imagenet".']


def architectures() -> list[str]:
    """Return the names that `load_backbone` accepts."""
    public = vars(keras.applications)
    return [*OWN, *sorted(name for name in public if name[0].isupper() and callable(public[name]))]


def load_backbone(architecture: str, weights: str | None = "imagenet", seed: int = 0) -> Backbone:
    """Load one of `architectures()` without its classifier.

    Parameters
    ----------
    weights : str or None
        "imagenet" (downloaded by Keras, checked by its hash, kept in ~/.keras/models; EfficientNetLite0 has a package
        and replaces a network that cannot be downloaded), the path of a .weights.h5, .h5 or .keras file, or None for
        random weights drawn with `seed`.
    """
    if architecture not in architectures():
        raise ValueError(f"BACKBONE must be one of {', '.join(architectures())}, got {architecture!r}")
    if weights is None:
        keras.utils.set_random_seed(seed)
    elif weights != "imagenet":
        weights = str(find_path(weights))
        if not Path(weights).is_file():
            raise FileNotFoundError(f'WEIGHTS must be "imagenet", an existing weights file or None, got {weights!r}')
    try:
        with socket_timeout(TIMEOUT):
            return _build(architecture, weights)
    except Exception as error:  # keras.utils.get_file raises bare Exceptions
        not_downloaded = isinstance(error, OSError) or "URL fetch failure" in str(error) or "file hash" in str(error)
        if weights != "imagenet" or architecture == FALLBACK or not not_downloaded:
            raise
        return replace(_build(FALLBACK, "imagenet"), fell_back_from=architecture, reason=str(error))


def _build(architecture: str, weights: str | None) -> Backbone:
    builder = OWN.get(architecture) or getattr(keras.applications, architecture)
    size = IMAGE_SIZES.get(architecture, 224)
    imagenet = "imagenet" if weights == "imagenet" else None
    model = builder(include_top=False, weights=imagenet, input_shape=(size, size, 3))
    if weights != imagenet:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that the file does not have
                model.load_weights(weights)
        except (ValueError, OSError, UserWarning) as error:
            raise ValueError(f"{weights} does not contain the {architecture} weights without top: {error}") from error
    return Backbone(architecture, model, _preprocessing(builder.__module__), size, weights)


def _preprocessing(module: str) -> Callable[[Any], Any]:
    """Return `preprocess_input`, or a layer for those whose constant tensors an ONNX export makes further inputs."""
    family = module.rpartition(".")[2]
    if family in ("resnet", "vgg16", "vgg19"):
        return lambda x: keras.layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68])(x[..., ::-1])
    if family == "densenet":
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        scale = [1 / (255 * s) for s in std]
        return keras.layers.Rescaling(scale, offset=[-m / s for m, s in zip(mean, std, strict=True)])
    return sys.modules[module].preprocess_input
