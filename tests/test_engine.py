"""The fast engine says what Keras says, or is not used, and says so."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

import run
from helpers import engine
from helpers.backbones import load_backbone
from helpers.engine import BF16, F32, KERAS, agreement, candidates, choose

SIZE = 16


def make_extractor(seed=0):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((SIZE, SIZE, 3))
    seen = keras.layers.Conv2D(32, 3, trainable=False)(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(seen), name="tiny")


def photos_like(count, size, picture):
    return np.stack([np.asarray(picture(number, (size, size))) for number in range(count)])


def keras_answers(extractor, pixels):
    return np.asarray(extractor(pixels.astype(np.float32), training=False))


@pytest.fixture
def probes(picture):
    return photos_like(3, SIZE, picture)


@pytest.fixture
def openvino_missing(monkeypatch):
    monkeypatch.setattr(engine, "openvino", lambda: None)


@pytest.fixture(scope="module", params=[("ResNet50", None), ("InceptionV3", None), ("EfficientNetLite0", "imagenet")])
def backbone(request, picture):
    """The engine of a real network at its own size, chosen with some photos; six others; what Keras says of those."""
    loaded = load_backbone(*request.param)
    loaded.network.trainable = False
    pixels = keras.Input((loaded.image_size, loaded.image_size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(loaded.network(loaded.preprocess(pixels), training=False))
    extractor = keras.Model(pixels, pooled, name=loaded.name)
    photos = photos_like(engine.PROBES + 6, loaded.image_size, picture)
    others = photos[engine.PROBES :]
    return choose(extractor, photos[: engine.PROBES]), others, keras_answers(extractor, others)


def test_every_photo_agrees_with_keras_in_float32(backbone):
    chosen, photos, expected = backbone
    assert chosen.name in candidates()[:-1]  # one of the fast ones, none of the three networks is refused
    answers = chosen.answers(photos)
    assert answers.dtype == np.float32
    for row, wanted in zip(answers, expected, strict=True):
        assert agreement(row[None], wanted[None]) >= 0.999


def test_a_head_says_the_same_of_every_photo(backbone):
    """But for ties: where the two best classes are as good as equal."""
    chosen, photos, expected = backbone
    head = np.random.default_rng(0).normal(size=(expected.shape[1], 3))
    scale = expected.mean(axis=0), expected.std(axis=0) + 1e-6
    scores, wanted = (((rows - scale[0]) / scale[1]) @ head for rows in (chosen.answers(photos), expected))
    best = np.sort(wanted, axis=1)
    firm = best[:, -1] - best[:, -2] > 0.05 * np.abs(wanted).max()
    assert firm.sum() >= 3
    np.testing.assert_array_equal(scores.argmax(axis=1)[firm], wanted.argmax(axis=1)[firm])


def test_a_photo_gets_the_same_numbers_alone_in_company_and_in_threads(probes):
    for name in candidates()[:-1]:
        fast = choose(make_extractor(), probes, [name])
        together = fast.answers(probes)
        for number, photo in enumerate(probes):
            np.testing.assert_array_equal(fast.answers(photo[None])[0], together[number])
        with ThreadPoolExecutor(8) as threads:
            many = list(threads.map(fast.answers, probes[np.arange(60) % 3][:, None]))
        np.testing.assert_array_equal(np.concatenate(many), together[np.arange(60) % 3])


def test_keras_takes_any_number_of_photos_from_threads(probes):
    plain = choose(make_extractor(), probes, [KERAS])
    many = probes[np.arange(70) % 3]
    np.testing.assert_allclose(plain.answers(many), keras_answers(make_extractor(), many), rtol=1e-5)
    with ThreadPoolExecutor(8) as threads:
        each = np.stack(list(threads.map(lambda photo: plain.answers(photo[None])[0], many)))
    np.testing.assert_allclose(each, plain.answers(many), rtol=1e-5)


def test_the_fastest_that_agrees_is_taken(probes, monkeypatch):
    many = probes[np.arange(engine.PROBES) % 3]
    assert choose(make_extractor(), many).name == candidates()[0]
    assert choose(make_extractor(), many[1:]).name == F32  # too few to take bf16 at its word
    compile_really = engine._compile

    def wrong_in_bf16(network, name):
        fast = compile_really(network, name)
        return fast if name == F32 else engine.Engine(name, 1, 1, lambda pixels: fast.run(255 - pixels))

    monkeypatch.setattr(engine, "_compile", wrong_in_bf16)
    taken = choose(make_extractor(), probes, [BF16, F32, KERAS])
    assert taken.name == F32
    assert taken.cosine >= engine.AGREEMENT


def test_none_that_agrees_leaves_keras_and_says_why(probes, monkeypatch, capsys):
    wrong = engine.Engine(F32, 1, 1, lambda pixels: np.zeros((len(pixels), 32), np.float32))
    monkeypatch.setattr(engine, "_compile", lambda network, name: wrong)
    assert choose(make_extractor(), probes, [F32, KERAS]).name == KERAS
    said = capsys.readouterr().out
    assert "answers differently (cosine 0.0000)" in said
    assert said.count("\n") == 1


def test_a_network_that_is_refused_runs_on_keras_and_says_why(probes, monkeypatch, capsys):
    def refuse(network):
        raise RuntimeError("No conversion rule found\nfor operations: Strange")

    monkeypatch.setattr(engine.openvino(), "convert_model", refuse)
    plain = choose(make_extractor(), probes)
    np.testing.assert_allclose(plain.answers(probes), keras_answers(make_extractor(), probes), rtol=1e-5)
    said = capsys.readouterr().out
    assert "refuses tiny (No conversion rule found for operations: Strange)" in said
    assert said.count("\n") == 1
    assert choose(make_extractor(), probes, [KERAS]).name == KERAS  # as it is remembered for new photos
    assert "could not take tiny" in capsys.readouterr().out


def test_without_openvino_keras_runs_and_says_why(probes, openvino_missing, capsys):
    assert candidates() == [KERAS]
    assert engine.setup().startswith("keras-")
    plain = choose(make_extractor(), probes)
    np.testing.assert_allclose(plain.answers(probes), keras_answers(make_extractor(), probes), rtol=1e-5)
    said = capsys.readouterr().out
    assert "openvino is not installed" in said
    assert said.count("\n") == 1


def test_on_a_gpu_tensorflow_stays_in_charge(probes, monkeypatch, capsys):
    monkeypatch.setattr(engine.tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    assert candidates() == [KERAS]
    assert engine.setup().endswith("-gpu")
    assert choose(make_extractor(), probes).name == KERAS
    assert capsys.readouterr().out == ""


def test_agreement_is_the_worst_row():
    a = np.array([[1.0, 0], [0, 1]], np.float32)
    assert agreement(a, a) == 1
    assert agreement(2 * a, a) == 1  # the direction counts
    assert agreement(a, a[::-1]) == 0
    assert agreement(np.zeros((1, 2)), np.zeros((1, 2))) == 1
    assert agreement(np.zeros((1, 2)), a[:1]) == 0
    assert agreement(np.full((1, 2), np.nan), a[:1]) == 0


def test_nothing_is_reported_to_anybody_and_nothing_said(tmp_path):
    """OpenVINO reports its use to Google Analytics unless it is kept from it; a process of its own tries that."""
    code = """
import socket, sys
from helpers.quiet import quiet_start
with quiet_start():
    import keras
import numpy as np
def refuse(*given, **named):
    raise AssertionError(f"a connection: {given}")
socket.socket.connect = socket.getaddrinfo = refuse
from helpers.engine import candidates, choose
pixels = keras.Input((8, 8, 3))
network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(pixels)))
network.trainable = False
taken = choose(network, np.full((16, 8, 8, 3), 9, np.uint8))
assert taken.name == candidates()[0] != "Keras"
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(Path(run.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
    assert not (tmp_path / "intel").exists()
