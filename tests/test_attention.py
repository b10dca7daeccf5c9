"""Grad-CAM: the map is where the class comes from, and the share in the border is counted, not guessed."""

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import result_plots
from helpers.attention import FEWEST, grad_cam, look
from helpers.backbones import Backbone, load_backbone

SIZE, CELLS = 40, 8
CLASSES = ["blue", "red"]


def colours():
    """A network whose feature map is the photo in 8 × 8 coarse cells, and a head for which red and blue speak."""
    pixels = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(pixels, keras.layers.AveragePooling2D(SIZE // CELLS)(pixels))
    backbone = Backbone("colours", network, lambda x: keras.layers.Rescaling(1 / 255)(x), SIZE, None)
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")], name="head")
    head.set_weights([np.array([[-9, 9], [0, 0], [9, -9]], np.float32), np.zeros(2, np.float32)])
    return backbone, head


def table(tmp_path, pictures, backbone, head, classes=CLASSES):
    """The notebook's table of these test photos, with what the model says of them."""
    rows = []
    for number, (label, picture) in enumerate(pictures):
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture).save(path)
        seen = backbone.network(backbone.preprocess(picture[None].astype(np.float32)), training=False)
        answer = np.asarray(head(keras.ops.mean(seen, axis=(1, 2))))[0]
        predicted = classes[answer.argmax()]
        rows.append((str(path), path.name, label, predicted, answer.max(), predicted == label))
    columns = ["path", "original", "label", "predicted", "probability", "correct"]
    return pd.DataFrame(rows, columns=columns, index=range(100, 100 + len(rows)))  # rows of a larger table


def patch(rows, columns, colour=(255, 0, 0)):
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[rows, columns] = colour
    return picture


@pytest.mark.parametrize(
    "rows, columns",
    [(slice(0, 10), slice(0, 10)), (slice(30, 40), slice(0, 10)), (slice(0, 10), slice(30, 40))],
    ids=["top left", "bottom left", "top right"],
)
def test_lights_up_the_corner_that_the_class_comes_from(tmp_path, rows, columns):
    backbone, head = colours()
    test = table(tmp_path, [("red", patch(rows, columns))], backbone, head)
    heat = look(test, backbone, head, CLASSES, 0).maps[100]
    assert heat.shape == (SIZE, SIZE)
    assert heat.max() == 1
    assert heat[rows, columns].sum() > 0.8 * heat.sum()
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row in range(rows.start, rows.stop) and column in range(columns.start, columns.stop)


def test_explains_the_predicted_class_not_what_speaks_against_it(tmp_path):
    backbone, head = colours()
    picture = patch(slice(0, 15), slice(0, 15)) + patch(slice(30, 40), slice(30, 40), (0, 0, 255))
    heat = look(table(tmp_path, [("blue", picture)], backbone, head), backbone, head, CLASSES, 0).maps[100]
    assert heat[:15, :15].sum() > 0.8 * heat.sum()  # red, though the photo's label is blue
    assert heat[32:, 32:].max() == 0


@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_weights_are_the_mean_gradient_of_the_score_before_softmax(hidden):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(units, activation="tanh") for units in hidden]
    head = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3, activation="softmax")])
    seen = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    wanted = np.array([2, 0])
    maps, probabilities = grad_cam(seen, head, wanted)
    pooled = seen.mean(axis=(1, 2))
    np.testing.assert_allclose(probabilities, np.asarray(head(pooled)), rtol=1e-5)
    for photo, number in enumerate(wanted):
        slopes = np.array([_slope(head, pooled[photo].astype(float), number, channel) for channel in range(4)])
        expected = np.maximum(seen[photo] @ slopes, 0) / 15  # pooling shares the slope among 3 × 5 places
        np.testing.assert_allclose(maps[photo], expected, atol=1e-5)


def _slope(head, features, number, channel, step=1e-4):
    """The slope of one class' score before softmax along one feature, by going a step either way."""

    def score(at):
        for layer in head.layers[:-1]:
            at = np.tanh(at @ layer.kernel.numpy() + layer.bias.numpy())
        return at @ head.layers[-1].kernel.numpy()[:, number]

    there = np.eye(4)[channel] * step
    return (score(features + there) - score(features - there)) / (2 * step)


def test_even_light_is_even(tmp_path):
    backbone, head = colours()
    test = table(tmp_path, [("red", patch(slice(None), slice(None)))] * 2, backbone, head)
    looked = look(test, backbone, head, CLASSES, 0)
    assert looked.even == pytest.approx(1 - (28 / 40) ** 2)
    assert looked.table["border"].to_numpy() == pytest.approx(looked.even)
    assert "as an even spread would" in looked.in_words()


@pytest.mark.parametrize("where, said", [(slice(15, 25), "more at the middle"), (slice(0, 5), "more at the border")])
def test_says_where_it_looks(tmp_path, where, said):
    backbone, head = colours()
    pictures = [("red", patch(where, where, (200 + n, 0, 0))) for n in range(FEWEST)]
    pictures += [("blue", patch(where, where, (0, 0, 200 + n))) for n in range(FEWEST)]
    looked = look(table(tmp_path, pictures, backbone, head), backbone, head, CLASSES, 0)
    assert said in looked.in_words()
    assert "By class: " in looked.in_words()
    assert set(looked.by_class().index) == {"red", "blue"}
    assert looked.metrics()["photos"] == 2 * FEWEST


def test_empty_maps_are_said_and_not_counted(tmp_path):
    backbone, head = colours()
    black = patch(slice(0), slice(0))
    test = table(tmp_path, [("red", black), ("blue", patch(slice(0, 40), slice(0, 40)))], backbone, head)
    looked = look(test, backbone, head, CLASSES, 0)
    assert looked.table["border"].isna().tolist() == [True, False]
    assert looked.border() is None
    assert "1 of 2 maps are empty" in looked.in_words()
    assert looked.metrics() == {"border": None, "border_ci95": None, "even": looked.even, "photos": 2, "empty_maps": 1}
    assert looked.maps[100].max() == 0
    result_plots.attention(looked)


def test_surest_right_and_wrong_and_a_sample_for_the_number(tmp_path):
    backbone, head = colours()
    pictures = [("blue" if n % 2 else "red", patch(slice(0, 8 + n), slice(0, 20))) for n in range(24)]
    test = table(tmp_path, pictures, backbone, head)
    looked = look(test, backbone, head, CLASSES, 0, most=6)
    assert len(looked.table) == 6
    assert "On 6 test photos (of 24, drawn at random)" in looked.in_words()
    for shown, right in ((looked.right, True), (looked.wrong, False)):
        mine = test[test["correct"] == right].sort_values("probability", ascending=False, kind="stable")
        assert list(shown.index) == list(mine.index[:8])
        assert set(shown.index) <= set(looked.maps) == set(looked.squares)
    figure = result_plots.attention(looked)
    assert len(figure.axes) == 16


def test_a_table_of_another_model_is_refused(tmp_path):
    backbone, head = colours()
    test = table(tmp_path, [("red", patch(slice(0, 10), slice(0, 10)))], backbone, head)
    head.set_weights([weight * 0.5 for weight in head.get_weights()])
    with pytest.raises(ValueError, match=r"0\.png: this backbone and head"):
        look(test, backbone, head, CLASSES, 0)


def test_a_head_without_softmax_is_refused():
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="sigmoid")], name="odd")
    with pytest.raises(ValueError, match="odd has to be Dense with softmax"):
        grad_cam(np.zeros((1, 2, 2, 3), np.float32), head, np.array([0]))


@pytest.mark.parametrize(
    "name, weights", [("ResNet50", None), ("InceptionV3", None), ("EfficientNetLite0", "imagenet")]
)
def test_every_backbone(tmp_path, picture, name, weights):
    backbone = load_backbone(name, weights, 0)
    size = backbone.image_size
    channels = backbone.network.output_shape[-1]
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    head = keras.Sequential([keras.Input((channels,)), *layers, keras.layers.Dense(2, activation="softmax")])
    pictures = [(CLASSES[n], np.asarray(picture(n, (size, size)))) for n in range(2)]
    looked = look(table(tmp_path, pictures, backbone, head), backbone, head, CLASSES, 0)
    assert set(looked.maps) == {100, 101}
    for heat in looked.maps.values():
        assert heat.shape == (size, size)
        assert heat.max() == pytest.approx(1) and heat.min() >= 0
        assert heat.std() > 0.01  # some places more than others
    assert looked.table["border"].between(0, 1).all()
