"""The complete model answers any photo as the network with its prepared photos does, and needs only Keras."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from phototransfer.network.classify import classify, examine, load_run
from phototransfer.network.complete_model import complete_model, inner_model
from phototransfer.photos.decode import fit_square

SIZE = 24
CLASSES = ["cat", "dog", "owl"]
# In a process of its own: what somebody does who has the file, Keras and Pillow only.
ALONE = """
import json, sys
import keras, numpy as np
from PIL import Image, ImageOps
assert not [name for name in sys.modules if name.startswith("phototransfer")]
model = keras.models.load_model(sys.argv[1])
answers = []
for path in sys.argv[2:]:
    photo = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    answers.append(np.asarray(model(photo[None]))[0].tolist())
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def inner():
    """A classifier of two layers for photos of one size, with what real ones have: BatchNorm, Dropout."""
    keras.utils.set_random_seed(4)
    picture = keras.Input((SIZE, SIZE, 3))
    patches = keras.layers.Conv2D(8, 4, strides=4)(keras.layers.Rescaling(1 / 127.5, -1)(picture))
    extractor = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(patches)), name="tiny")
    head = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, activation="softmax"),
        ],
        name="head",
    )
    head.layers[-1].kernel.assign(4 * head.layers[-1].kernel)
    image = keras.Input((SIZE, SIZE, 3))
    return keras.Model(image, head(extractor(image)))


def smooth(seed: int, width: int, height: int) -> np.ndarray:
    """A picture with structures that survive any way of resizing."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


SHAPES = [(24, 24), (25, 24), (301, 200), (200, 301), (90, 17), (17, 90), (1600, 1201), (20, 16)]


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_photo_of_any_size_is_what_the_network_was_trained_on(inner, fit, shape):
    photo = smooth(1, *shape)
    model = complete_model(inner, fit)
    expected = np.asarray(fit_square(Image.fromarray(photo), SIZE, fit)).astype(np.float32)
    seen = np.asarray(model.get_layer("prepare")(photo[None]))[0]
    # Pillow rounds to whole numbers after each direction, and cuts off what is below 0 or above 255. Where a photo is
    # enlarged, the two libraries treat its outermost pixels differently.
    difference = np.abs(np.clip(seen, 0, 255) - expected)
    assert difference[4:-4, 4:-4].max() < 2.5 and difference.mean() < 1.5
    np.testing.assert_allclose(model(photo[None]), inner(expected[None]), atol=0.01)


def test_calls_predictions_and_batches_agree(inner):
    model = complete_model(inner, "crop")
    photos = np.stack([smooth(seed, 80, 60) for seed in range(5)])
    together = model.predict(photos, verbose=0)
    np.testing.assert_allclose(model(photos), together, atol=1e-5)  # Dropout is off in a plain call
    np.testing.assert_allclose([np.asarray(model(photo[None]))[0] for photo in photos], together, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 0.05  # the photos do differ


def test_values_from_0_to_1_get_the_answer_of_0_to_255(inner):
    model = complete_model(inner, "crop")
    photos = np.stack([smooth(2, 50, 40), smooth(3, 50, 40)]).astype(np.float32)
    expected = np.asarray(model(photos))
    np.testing.assert_allclose(model(photos / 255), expected, atol=1e-4)
    mixed = np.stack([photos[0] / 255, photos[1]])
    np.testing.assert_allclose(model(mixed), expected, atol=1e-4)
    assert np.isfinite(np.asarray(model(np.zeros((1, 30, 30, 3))))).all()


def save_run(folder, model, **files):
    folder.mkdir(exist_ok=True)
    model.save(folder / "model.keras")
    for name, content in {"labels": CLASSES, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return load_run(folder)


def test_keras_alone_answers_as_classify_does(inner, tmp_path):
    model, classes = save_run(tmp_path / "run", complete_model(inner, "crop"))
    paths = []
    for number, shape in enumerate([(4000, 3000), (3000, 4000), (60, 40), (33, 47)]):
        paths.append(tmp_path / f"{number}.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 2 else 1  # taken sideways
        Image.fromarray(smooth(10 + number, *shape)).save(paths[-1], quality=92, exif=exif)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "run" / "model.keras", *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    table = classify(model, classes, *paths)
    for row, probabilities in zip(table.itertuples(), json.loads(done.stdout), strict=True):
        assert classes[int(np.argmax(probabilities))] == row.label
        assert max(probabilities) == pytest.approx(row.probability, abs=1e-4)


def test_a_run_of_an_earlier_version_is_completed_when_it_is_loaded(inner, tmp_path):
    old, _ = save_run(tmp_path / "old", inner, preparation={"fit": "pad", "ranges": {}})
    photo = smooth(5, 120, 70)
    new = complete_model(inner, "pad")
    np.testing.assert_allclose(old(photo[None]), new(photo[None]), atol=1e-6)


def test_examine_gives_what_a_page_shows(inner, tmp_path):
    model, classes = save_run(tmp_path / "run", complete_model(inner, "crop"))
    photo = smooth(6, 120, 70)
    answer = examine(model, photo)
    np.testing.assert_allclose(answer.probabilities, np.asarray(model(photo[None]))[0], atol=1e-6)
    assert answer.seen.shape == (SIZE, SIZE, 3) and answer.features.shape == (8,)
    assert answer.unlike is None and answer.nearest == []
    assert answer.to_row(classes)["label"] == classes[int(answer.probabilities.argmax())]


def test_the_inner_model_takes_what_the_first_layer_gives(inner):
    model = complete_model(inner, "crop")
    photo = smooth(7, 64, 48)[None]
    np.testing.assert_allclose(inner_model(model)(model.get_layer("prepare")(photo)), model(photo), atol=1e-6)
