"""The fast engine gives the features of Keras, or it is not used and a line says why."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from builders import TINY_SIZE, tiny_extractor
from phototransfer.network import inference
from phototransfer.network.backbones import load_backbone
from phototransfer.network.inference import BF16, F32, KERAS, available_engines, min_cosine, select_engine


def draw_photos(count, size, picture):
    return np.stack([np.asarray(picture(number, (size, size))) for number in range(count)])


def keras_features(extractor, pixels):
    return np.asarray(extractor(pixels.astype(np.float32), training=False))


@pytest.fixture(scope="module")
def probes(picture):
    return draw_photos(3, TINY_SIZE, picture)


@pytest.fixture(scope="module")
def tiny():
    return tiny_extractor()


SLOW_NETWORK = pytest.param(("InceptionV3", None), marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[("ResNet50", None), SLOW_NETWORK, ("EfficientNetLite0", "imagenet")])
def backbone(request, picture):
    """The engine selected for a real network at its own size; six other photos; their features by Keras."""
    loaded = load_backbone(*request.param)
    loaded.model.trainable = False
    image = keras.Input((loaded.image_size, loaded.image_size, 3))
    feature_map = loaded.model(loaded.preprocess(image), training=False)
    extractor = keras.Model(image, keras.layers.GlobalAveragePooling2D()(feature_map), name=loaded.architecture)
    photos = draw_photos(inference.PROBES + 6, loaded.image_size, picture)
    others = photos[inference.PROBES :]
    return select_engine(extractor, photos[: inference.PROBES]), others, keras_features(extractor, others)


def test_every_photo_agrees_with_keras_in_float32(backbone):
    engine, photos, expected = backbone
    assert engine.name in available_engines()[:-1]  # one of the fast ones, for each of the three networks
    features = engine.predict(photos)
    assert features.dtype == np.float32
    for row, expected_row in zip(features, expected, strict=True):
        assert min_cosine(row[None], expected_row[None]) >= 0.999


def test_a_head_predicts_the_same_class(backbone):
    """Except for ties, where the two best classes are almost equal."""
    engine, photos, expected = backbone
    head = np.random.default_rng(0).normal(size=(expected.shape[1], 3))
    mean, std = expected.mean(axis=0), expected.std(axis=0) + 1e-6
    scores, expected_scores = (((rows - mean) / std) @ head for rows in (engine.predict(photos), expected))
    best = np.sort(expected_scores, axis=1)
    clear = best[:, -1] - best[:, -2] > 0.05 * np.abs(expected_scores).max()
    assert clear.sum() >= 3
    np.testing.assert_array_equal(scores.argmax(axis=1)[clear], expected_scores.argmax(axis=1)[clear])


def test_the_features_of_a_photo_do_not_depend_on_the_others_or_on_threads(tiny, probes):
    for name in available_engines()[:-1]:
        engine = select_engine(tiny, probes, [name])
        together = engine.predict(probes)
        for number, photo in enumerate(probes):
            np.testing.assert_array_equal(engine.predict(photo[None])[0], together[number])
        with ThreadPoolExecutor(8) as threads:
            many = list(threads.map(engine.predict, probes[np.arange(60) % 3][:, None]))
        np.testing.assert_array_equal(np.concatenate(many), together[np.arange(60) % 3])


def test_keras_takes_any_number_of_photos_from_threads(tiny, probes):
    engine = select_engine(tiny, probes, [KERAS])
    many = probes[np.arange(70) % 3]
    np.testing.assert_allclose(engine.predict(many), keras_features(tiny, many), rtol=1e-4)
    with ThreadPoolExecutor(8) as threads:
        each = np.stack(list(threads.map(lambda photo: engine.predict(photo[None])[0], many)))
    np.testing.assert_allclose(each, engine.predict(many), rtol=1e-4)


def test_the_fastest_that_agrees_is_selected(tiny, probes, monkeypatch):
    many = probes[np.arange(inference.PROBES) % 3]
    assert select_engine(tiny, many).name == available_engines()[0]
    assert select_engine(tiny, many[1:]).name == F32  # too few probes for bf16
    compile_engine = inference._compile

    def wrong_in_bf16(network, name):
        engine = compile_engine(network, name)
        return engine if name == F32 else inference.Engine(name, 1, 1, lambda pixels: engine.run(255 - pixels))

    monkeypatch.setattr(inference, "_compile", wrong_in_bf16)
    selected = select_engine(tiny, probes, [BF16, F32, KERAS])
    assert selected.name == F32
    assert selected.cosine >= inference.MIN_COSINE


def test_keras_is_selected_if_none_agrees(tiny, probes, monkeypatch, capsys):
    wrong = inference.Engine(F32, 1, 1, lambda pixels: np.zeros((len(pixels), 5), np.float32))
    monkeypatch.setattr(inference, "_compile", lambda network, name: wrong)
    assert select_engine(tiny, probes, [F32, KERAS]).name == KERAS
    line = capsys.readouterr().out
    assert "cosine similarity 0.0000" in line
    assert line.count("\n") == 1


def test_keras_is_selected_if_the_network_cannot_be_converted(tiny, probes, monkeypatch, capsys):
    def fail(network):
        raise RuntimeError("No conversion rule found\nfor operations: Strange")

    monkeypatch.setattr(inference.openvino(), "convert_model", fail)
    engine = select_engine(tiny, probes)
    np.testing.assert_allclose(engine.predict(probes), keras_features(tiny, probes), rtol=1e-4)
    line = capsys.readouterr().out
    assert "cannot run tiny (No conversion rule found for operations: Strange)" in line
    assert line.count("\n") == 1
    assert select_engine(tiny, probes, [KERAS]).name == KERAS  # as is remembered for new photos
    assert "could not run tiny" in capsys.readouterr().out


def test_keras_is_selected_without_openvino(tiny, probes, monkeypatch, capsys):
    monkeypatch.setattr(inference, "openvino", lambda: None)
    assert available_engines() == [KERAS]
    assert inference.environment_key().startswith("keras-")
    engine = select_engine(tiny, probes)
    np.testing.assert_allclose(engine.predict(probes), keras_features(tiny, probes), rtol=1e-4)
    line = capsys.readouterr().out
    assert "openvino is not installed" in line
    assert line.count("\n") == 1


def test_keras_is_selected_on_a_gpu(tiny, probes, monkeypatch, capsys):
    monkeypatch.setattr(inference.tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    assert available_engines() == [KERAS]
    assert inference.environment_key().endswith("-gpu")
    assert select_engine(tiny, probes).name == KERAS
    assert capsys.readouterr().out == ""


def test_min_cosine_is_that_of_the_worst_row():
    a = np.array([[1.0, 0], [0, 1]], np.float32)
    assert min_cosine(a, a) == 1
    assert min_cosine(2 * a, a) == 1  # only the direction counts
    assert min_cosine(a, a[::-1]) == 0
    assert min_cosine(np.zeros((1, 2)), np.zeros((1, 2))) == 1
    assert min_cosine(np.zeros((1, 2)), a[:1]) == 0
    assert min_cosine(np.full((1, 2), np.nan), a[:1]) == 0


def test_no_connection_is_made_and_nothing_is_printed(tmp_path):
    """OpenVINO reports its use to Google Analytics unless that is prevented; tried in a process of its own."""
    code = """
import socket, sys
from phototransfer.console import quiet_tensorflow
with quiet_tensorflow():
    import keras
import numpy as np
def refuse(*args, **options):
    raise AssertionError(f"a connection: {args}")
socket.socket.connect = socket.getaddrinfo = refuse
from phototransfer.network.inference import available_engines, select_engine
image = keras.Input((8, 8, 3))
network = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image)))
network.trainable = False
engine = select_engine(network, np.full((16, 8, 8, 3), 9, np.uint8))
assert engine.name == available_engines()[0] != "Keras"
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    environment = os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout == ""
    assert process.stderr == ""
    assert not (tmp_path / "intel").exists()
