"""Which network, which pixels does it expect, where do its weights come from, and what if they cannot be had?"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import keras
import numpy as np

from helpers import find_path
from helpers.efficientnet_lite import EfficientNetLite0, preprocess_input
from helpers.photos.download import TIMEOUT, socket_timeout

FALLBACK = "EfficientNetLite0"
#: Sides in pixels that keras.applications documents as each network's own; all others use 224.
IMAGE_SIZES = {
    **dict.fromkeys(("InceptionV3", "InceptionResNetV2", "Xception"), 299),
    "NASNetLarge": 331,
    **{f"EfficientNetB{n}": size for n, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))},
    **{f"EfficientNetV2B{n}": size for n, size in enumerate((224, 240, 260, 300))},
    **{"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480},
}


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, what it expects and where its weights come from.

    `network`: float32 (batch, size, size, 3), preprocessed → feature map (batch, h, w, channels).
    `preprocess`: the same photos as raw RGB 0–255 → preprocessed; a Keras tensor stays one, so that it can stand in
    the saved model. `weights` is "imagenet", a file's path or None; `fell_back_from` names the network asked for
    if this one had to take its place, and `why` says why.
    """

    name: str
    network: keras.Model
    preprocess: Callable
    image_size: int
    weights: str | None
    fell_back_from: str | None = None
    why: str | None = None

    def describe(self) -> str:
        """What was loaded, in words for somebody who did not expect a substitute or random weights."""
        source = {"imagenet": "trained on ImageNet", None: "RANDOM weights: the score will be near chance"}
        said = f"{self.name}, {self.image_size} px, {source.get(self.weights, f'weights from {self.weights}')}."
        if self.fell_back_from:
            said = f"{self.fell_back_from} COULD NOT BE HAD, {self.name} TAKES ITS PLACE.\n{self.why}\nLoaded: {said}"
        return said


def names() -> list[str]:
    """Every network that `load_backbone` knows, by the name it has in keras.applications."""
    known = vars(keras.applications)
    return [FALLBACK, *sorted(name for name in known if name[0].isupper() and callable(known[name]))]


def load_backbone(name: str, weights: str | None = "imagenet", seed: int = 0) -> Backbone:
    """Load a network of keras.applications, or EfficientNetLite0, without its classifier.

    weights: "imagenet" (downloaded by Keras, checked by its MD5, kept in ~/.keras/models; packaged for
    EfficientNetLite0), a path to a weights file, or None for random ones drawn from `seed`. A download that fails
    gives EfficientNetLite0 in its place and says so in `describe`. Raises ValueError for an unknown name or a file
    that does not fit, FileNotFoundError for a path without a file.
    """
    if name not in names():
        raise ValueError(f"BACKBONE = {name!r} is not a network known here. Known: {', '.join(names())}.")
    if weights is None:
        keras.utils.set_random_seed(seed)
    elif weights != "imagenet":
        weights = str(find_path(weights))
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise FileNotFoundError(f'WEIGHTS = {weights!r}: no such file. Use "imagenet", a weights file or None.')
    if name == FALLBACK:
        network = EfficientNetLite0(include_top=False, weights=weights)
        return Backbone(name, network, _as_layers(preprocess_input), 224, weights)
    if weights != "imagenet":
        return _from_keras(name, weights)
    try:
        with socket_timeout(TIMEOUT):
            return _from_keras(name, weights)
    except Exception as error:  # keras.utils.get_file raises bare Exceptions
        if not _is_download_error(error):
            raise
        packaged = load_backbone(FALLBACK)
        return Backbone(
            packaged.name, packaged.network, packaged.preprocess, packaged.image_size, "imagenet", name, _way_out(error)
        )


def _from_keras(name: str, weights: str | None) -> Backbone:
    module = _module_of(name)
    size = IMAGE_SIZES.get(name, 224)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that the file does not have
            network = getattr(keras.applications, name)(include_top=False, weights=weights, input_shape=(size, size, 3))
    except (ValueError, OSError, UserWarning) as error:
        if weights in (None, "imagenet"):
            raise
        raise ValueError(f"{weights} does not hold the weights of {name} without its top: {error}") from error
    return Backbone(name, network, _as_layers(module.preprocess_input), size, weights)


def _module_of(name: str) -> ModuleType:
    """The module a network is defined in, beside its `preprocess_input`."""
    return sys.modules[getattr(keras.applications, name).__module__]


def _as_layers(preprocess: Callable) -> Callable:
    """A network's own `preprocess_input` as layers that can be saved and exported.

    All of them are one number per channel times the pixel plus another, some with the channels in BGR order. The
    numbers are read off the function itself, so they can't drift from it; where it divides, so that floats cannot
    tell the order of operations apart, the results agree to a rounding error.
    """
    black, *primaries = (preprocess(np.array([[[rgb]]], dtype="float32"))[0, 0, 0] for rgb in _PROBES)
    slopes = np.stack([(np.asarray(p, dtype="float64") - black) / 255 for p in primaries])
    reverse = bool(abs(slopes[0, 0]) < 1e-9)
    scale = np.diag(slopes[::-1] if reverse else slopes)
    scale = np.where(np.isclose(scale, 1, atol=1e-6), 1.0, scale)
    offset = np.asarray(black, dtype="float64")

    def apply(pixels):  # Keras tensor or array (..., 3), raw RGB 0–255
        pixels = pixels[..., ::-1] if reverse else pixels
        if (scale == 1).all() and (offset == 0).all():
            return pixels
        one_scale = float(scale[0]) if (scale == scale[0]).all() else [float(s) for s in scale]
        return keras.layers.Rescaling(one_scale, offset=[float(o) for o in offset])(pixels)

    return apply


_PROBES = ((0.0, 0.0, 0.0), (255.0, 0.0, 0.0), (0.0, 255.0, 0.0), (0.0, 0.0, 255.0))


def _is_download_error(error: Exception) -> bool:
    said = str(error)
    return isinstance(error, OSError) or "URL fetch failure" in said or "file hash" in said


def _way_out(error: Exception) -> str:
    # Keras names the address in some of its errors only; the call that raised them always knows it.
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    url = next((frame.f_locals["origin"] for frame in frames if "origin" in frame.f_locals), None)
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
    where = f"Get {url} with a browser and put it into {folder}, unchanged" if url else "Check the network"
    return f"Reason: {error}\n{where}; the next run will find it. Or change BACKBONE or WEIGHTS in the settings."
