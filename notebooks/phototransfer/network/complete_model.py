"""The complete classifier: a photo of any size in, class probabilities out, made of Keras' own layers only."""

import keras

from phototransfer.network.novelty import split_model
from phototransfer.photos.decode import PADDING


def complete_model(model: keras.Model, fit: str) -> keras.Model:
    """Return a classifier with the resizing of the photos inside, so that the saved file needs nothing else.

    Parameters
    ----------
    model : keras.Model
        From what the network sees, float32 (batch, size, size, 3), raw RGB, through two layers, the extractor and the
        head, to probabilities.
    fit : str
        The setting FIT: "crop" for the middle square of each photo, "pad" for all of it.

    Returns
    -------
    keras.Model
        From photos of any size, RGB 0–255, (batch, height, width, 3), to probabilities. Its layers are `prepare`, the
        extractor and the head.
    """
    extractor, head = split_model(model)
    photo = keras.Input((None, None, 3), name="photo")
    prepare = _preparation(model.input_shape[1], fit)
    return keras.Model(photo, head(extractor(prepare(photo))), name="classifier")


def inner_model(model: keras.Model) -> keras.Model:
    """Return a complete model without its first layer, `prepare`: its input are photos of the network's size."""
    extractor, head = split_model(model)
    image = keras.Input(extractor.input_shape[1:], name="image")
    # Without `training=False`, an export to ONNX would contain the random numbers of Dropout.
    return keras.Model(image, head(extractor(image, training=False), training=False), name="classifier")


def _preparation(size: int, fit: str) -> keras.Model:
    """Return the layers that do what `fit_square` does to a photo, and multiply one with values from 0 to 1 by 255."""
    photo = keras.Input((None, None, 3), name="photo")
    largest = keras.ops.amax(photo, axis=(1, 2, 3), keepdims=True)
    pixels = photo * keras.ops.where(largest <= 1, 255.0, 1.0)
    resizing = keras.layers.Resizing(
        size,
        size,
        interpolation="bicubic",
        antialias=True,
        crop_to_aspect_ratio=fit == "crop",
        pad_to_aspect_ratio=fit == "pad",
        fill_value=float(PADDING[0]),
    )
    # Resizing is a layer for augmentation too: it assumes training=True, which would turn on Dropout in later layers.
    return keras.Model(photo, resizing(pixels, training=False), name="prepare")
