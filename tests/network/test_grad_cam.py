"""Grad-CAM shows where the class comes from, and the fraction in the border is what was measured."""

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from builders import SETTINGS, photo_table
from phototransfer.network import grad_cam as module
from phototransfer.network.backbones import Backbone, load_backbone
from phototransfer.network.features import read_image
from phototransfer.network.grad_cam import MIN_PHOTOS_PER_CLASS, grad_cam, grad_cam_examples
from phototransfer.report import Skipped

SIZE, PLACES = 40, 8
CLASSES = ["blue", "red"]


@pytest.fixture(scope="module")
def network():
    """Return a backbone whose feature map is the photo in 8 × 8 places, and a head that goes by red and blue."""
    pixels = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(pixels, keras.layers.AveragePooling2D(SIZE // PLACES)(pixels))
    backbone = Backbone("colours", model, keras.layers.Rescaling(1 / 255), SIZE, None)
    return backbone, colour_head()


def colour_head(scale=1):
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")], name="head")
    weights = np.array([[-9, 9], [0, 0], [9, -9]], np.float32)
    head.set_weights([scale * weights, np.zeros(2, np.float32)])
    return head


def table(folder, pictures, network):
    """Return the table of these test photos, with the predictions of the network."""
    backbone, head = network
    columns = {"path": [], "predicted": [], "probability": []}
    for number, (_, picture) in enumerate(pictures):
        columns["path"].append(str(folder / f"{number}.png"))
        Image.fromarray(picture).save(columns["path"][-1])
        feature_map = backbone.model(backbone.preprocess(picture[None].astype(np.float32)), training=False)
        probabilities = np.asarray(head(keras.ops.mean(feature_map, axis=(1, 2))))[0]
        columns["predicted"].append(CLASSES[probabilities.argmax()])
        columns["probability"].append(probabilities.max())
    photos = photo_table([label for label, _ in pictures], "test", **columns)
    photos["correct"] = photos["predicted"] == photos["label"]
    photos.index += 100  # rows of a larger table
    return photos


def examples_of(folder, pictures, network, **settings):
    """Return the result of these test photos, in a table with a training photo that does not exist."""
    test = table(folder, pictures, network)
    photos = pd.concat([test.head(1).rename({100: 0}).assign(split="train", path="missing.png"), test])
    return grad_cam_examples(photos, *network, CLASSES, {**SETTINGS, **settings})


def patch(rows, columns, colour=(255, 0, 0)):
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[rows, columns] = colour
    return picture


@pytest.mark.parametrize(
    "rows, columns",
    [(slice(0, 10), slice(0, 10)), (slice(30, 40), slice(0, 10)), (slice(0, 10), slice(30, 40))],
    ids=["top left", "bottom left", "top right"],
)
def test_highlights_the_corner_that_the_class_comes_from(tmp_path, network, rows, columns):
    heat = examples_of(tmp_path, [("red", patch(rows, columns))], network).maps[100]
    assert heat.shape == (SIZE, SIZE) and heat.max() == 1
    assert heat[rows, columns].sum() > 0.8 * heat.sum()
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row in range(rows.start, rows.stop) and column in range(columns.start, columns.stop)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_the_maps_belong_to_what_the_network_sees(tmp_path, network, monkeypatch, fit):
    fits = set()

    def read(path, size, fit):
        fits.add(fit)
        return read_image(path, size, fit)

    monkeypatch.setattr(module, "read_image", read)
    examples_of(tmp_path, [("red", patch(slice(0, 9), slice(0, 9)))] * 2, network, FIT=fit)
    assert fits == {fit}


def test_explains_the_predicted_class_not_the_label(tmp_path, network):
    picture = patch(slice(0, 15), slice(0, 15)) + patch(slice(30, 40), slice(30, 40), (0, 0, 255))
    result = examples_of(tmp_path, [("blue", picture)], network)
    assert result.table["predicted"].tolist() == ["red"]
    heat = result.maps[100]
    assert heat[:15, :15].sum() > 0.8 * heat.sum() and heat[32:, 32:].max() == 0


@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_weights_are_the_mean_gradient_of_the_score_before_softmax(hidden):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(units, activation="tanh") for units in hidden]
    head = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3, activation="softmax")])
    feature_map = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    maps, probabilities = grad_cam(feature_map, head, np.array([2, 0]))
    pooled = feature_map.mean(axis=(1, 2))
    np.testing.assert_allclose(probabilities, np.asarray(head(pooled)), rtol=1e-5)
    for photo, class_index in enumerate([2, 0]):
        slopes = [_slope(head, pooled[photo].astype(float), class_index, channel) for channel in range(4)]
        expected = np.maximum(feature_map[photo] @ slopes, 0) / 15  # pooling divides the slope by 3 × 5 places
        np.testing.assert_allclose(maps[photo], expected, atol=1e-5)


def _slope(head, features, class_index, channel, step=1e-4):
    """Return the slope of a score before softmax along one feature, by finite differences."""

    def score(x):
        for layer in head.layers[:-1]:
            x = np.tanh(x @ layer.kernel.numpy() + layer.bias.numpy())
        return x @ head.layers[-1].kernel.numpy()[:, class_index]

    offset = np.eye(4)[channel] * step
    return (score(features + offset) - score(features - offset)) / (2 * step)


def test_a_uniform_photo_gives_a_uniform_map(tmp_path, network):
    result = examples_of(tmp_path, [("red", patch(slice(None), slice(None)))] * 2, network)
    assert result.uniform == pytest.approx(1 - (28 / 40) ** 2)
    assert result.table["border"].to_numpy() == pytest.approx(result.uniform)
    assert result.advice() == []


@pytest.mark.parametrize("where, at_border", [(slice(15, 25), False), (slice(0, 5), True)])
def test_advice_only_if_most_of_the_attention_lies_in_the_border(tmp_path, network, where, at_border):
    pictures = [("red", patch(where, where, (200 + n, 0, 0))) for n in range(MIN_PHOTOS_PER_CLASS)]
    pictures += [("blue", patch(where, where, (0, 0, 200 + n))) for n in range(MIN_PHOTOS_PER_CLASS)]
    result = examples_of(tmp_path, pictures, network)
    mean, low, high = result.border()
    assert (low > result.uniform) is at_border and (high < result.uniform) is not at_border
    assert bool(result.advice()) is at_border
    assert set(result.by_class().index) == {"red", "blue"} and "By class: " in result.summary()
    numbers = result.to_dict()
    assert numbers["photos"] == 2 * MIN_PHOTOS_PER_CLASS
    assert numbers["border"] == mean and numbers["border_ci95"] == [low, high]


def test_empty_maps_are_reported_and_not_counted(tmp_path, network):
    black = patch(slice(0), slice(0))
    result = examples_of(tmp_path, [("red", black), ("blue", patch(slice(0, 40), slice(0, 40)))], network)
    assert result.table["border"].isna().tolist() == [True, False]
    assert result.border() is None and result.advice() == []
    assert "1 of 2 maps are empty" in result.summary()
    uniform = result.uniform
    expected = {"border": None, "border_ci95": None, "uniform": uniform, "photos": 2, "empty_maps": 1}
    assert result.to_dict() == expected
    assert result.maps[100].max() == 0 and result.plot()


def test_most_confident_examples_and_a_sample_for_the_mean(tmp_path, network, monkeypatch):
    monkeypatch.setattr(module, "MAX_PHOTOS", 6)
    pictures = [("blue" if n % 2 else "red", patch(slice(0, 8 + n), slice(0, 20))) for n in range(24)]
    result = examples_of(tmp_path, pictures, network)
    assert len(result.table) == 6 and result.total == 24
    assert "On 6 of 24 test photos, chosen at random: " in result.summary()
    test = table(tmp_path, pictures, network)
    ranked = test.sort_values("probability", ascending=False, kind="stable")
    correct, incorrect = (ranked[ranked["correct"] == value].index[:8] for value in (True, False))
    assert list(result.examples.index) == [*correct, *incorrect]
    assert set(result.images) == set(result.maps) == set(result.examples.index)
    assert len(result.plot().axes) == 16


def test_predictions_of_another_model_are_refused(tmp_path, network):
    photos = table(tmp_path, [("red", patch(slice(0, 10), slice(0, 10)))], network)
    with pytest.raises(ValueError, match=r"red/0\.jpg: "):
        grad_cam_examples(photos, network[0], colour_head(0.5), CLASSES, SETTINGS)


def test_a_head_without_softmax_is_refused():
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="sigmoid")], name="odd")
    with pytest.raises(ValueError, match="softmax; odd has another one"):
        grad_cam(np.zeros((1, 2, 2, 3), np.float32), head, np.array([0]))


def test_skipped_without_checks_and_without_test_photos(tmp_path, network):
    pictures = [("red", patch(slice(0, 10), slice(0, 10)))]
    assert isinstance(examples_of(tmp_path, pictures, network, CHECKS=False), Skipped)
    photos = table(tmp_path, pictures, network)
    result = grad_cam_examples(photos.assign(split="train"), *network, CLASSES, SETTINGS)
    assert isinstance(result, Skipped) and result.name == "grad_cam"


@pytest.mark.parametrize(
    "name, weights", [("ResNet50", None), ("InceptionV3", None), ("EfficientNetLite0", "imagenet")]
)
def test_every_backbone_has_maps(tmp_path, picture, name, weights):
    backbone = load_backbone(name, weights, 0)
    size = backbone.image_size
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(8, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    channels = backbone.model.output_shape[-1]
    head = keras.Sequential([keras.Input((channels,)), *hidden, keras.layers.Dense(2, activation="softmax")])
    pictures = [(CLASSES[n], np.asarray(picture(n, (size, size)))) for n in range(2)]
    result = examples_of(tmp_path, pictures, (backbone, head))
    assert set(result.maps) == {100, 101}
    for heat in result.maps.values():
        assert heat.shape == (size, size)
        assert heat.max() == pytest.approx(1) and heat.min() >= 0
        assert heat.std() > 0.01  # not uniform
    assert result.table["border"].between(0, 1).all()


def test_feature_maps_of_an_earlier_run_are_used_only_for_the_same_network_and_photos(tmp_path, monkeypatch):
    computed, original = [], module.as_graph
    monkeypatch.setattr(module, "as_graph", lambda model: lambda x: computed.append(1) or original(model)(x))
    pixels = keras.Input((SIZE, SIZE, 3))
    layer = keras.layers.Conv2D(3, SIZE // PLACES, strides=SIZE // PLACES, name="colours")
    backbone = Backbone("colours", keras.Model(pixels, layer(pixels)), keras.layers.Rescaling(1 / 255), SIZE, None)
    network = backbone, colour_head()
    (tmp_path / "photos").mkdir()

    def maps(colour):
        photos = table(tmp_path / "photos", [("red", patch(slice(0, 20), slice(0, 20), colour))], network)
        return grad_cam_examples(photos, *network, CLASSES, SETTINGS, results=tmp_path / "results")

    first = maps((255, 0, 0))
    again = maps((255, 0, 0))
    assert len(computed) == 1
    assert again.table.equals(first.table)
    for row, heat in first.maps.items():
        np.testing.assert_array_equal(again.maps[row], heat)
    maps((255, 9, 0))
    assert len(computed) == 2
    layer.set_weights([weights + 0.1 for weights in layer.get_weights()])
    maps((255, 0, 0))
    assert len(computed) == 3
