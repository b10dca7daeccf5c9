"""Right pixels, right weights, and a way on when the weights cannot be had."""

import http.server
import socket
import threading

import keras
import numpy as np
import pytest

from helpers import backbones
from helpers.backbones import IMAGE_SIZES, load_backbone, names

PHOTOS = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
# One network of each way to preprocess: BGR minus a mean, -1 to 1, by mean and deviation, none at all.
WAYS = ["ResNet50", "InceptionV3", "DenseNet121", "ResNet50V2", "MobileNetV3Small", "EfficientNetV2B0"]


@pytest.mark.parametrize("name", WAYS)
def test_preprocessing_is_the_networks_own(name):
    module = backbones._module_of(name)
    expected = module.preprocess_input(PHOTOS.copy())
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, backbones._as_layers(module.preprocess_input)(inputs) * 1.0)
    np.testing.assert_allclose(model(PHOTOS), expected, rtol=1e-5, atol=1e-5)


def test_resnet_preprocessing_agrees_to_the_bit():
    module = keras.applications.resnet
    ours = backbones._as_layers(module.preprocess_input)(keras.ops.convert_to_tensor(PHOTOS))
    np.testing.assert_array_equal(ours, module.preprocess_input(PHOTOS.copy()))


@pytest.mark.parametrize("name", ["ResNet50", "InceptionV3", "EfficientNetLite0"])
def test_the_networks_of_the_three_published_projects(name):
    backbone = load_backbone(name, weights=None, seed=3)
    size = {"InceptionV3": 299}.get(name, 224)
    assert backbone.image_size == size
    assert backbone.network.input_shape[1:] == (size, size, 3)
    assert len(backbone.network.output_shape) == 4
    assert "RANDOM" in backbone.describe()


def test_random_weights_come_from_the_seed():
    first, again, other = (load_backbone("MobileNetV3Small", None, seed).network.get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_default_sizes_are_those_keras_builds():
    for name in ("InceptionV3", "Xception", "EfficientNetB1", "EfficientNetV2B2", "MobileNetV2"):
        whole = getattr(backbones._module_of(name), name)(weights=None)
        assert whole.input_shape[1] == IMAGE_SIZES.get(name, 224), name


def test_every_listed_network_has_a_module_with_its_preprocessing():
    for name in set(names()) - {"EfficientNetLite0"}:
        assert backbones._as_layers(backbones._module_of(name).preprocess_input)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'ResNet5' is not a network.*EfficientNetLite0.*ResNet50"):
        load_backbone("ResNet5")


def test_weights_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_backbone("ResNet50", "/nowhere/weights.h5")


def test_weights_file_of_another_network(tmp_path):
    file = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(file)
    with pytest.raises(ValueError, match=r"other\.weights\.h5 does not hold the weights of MobileNetV3Small"):
        load_backbone("MobileNetV3Small", str(file))


def test_weights_file_is_loaded(tmp_path):
    file = tmp_path / "own.weights.h5"
    kept = load_backbone("MobileNetV3Small", None, seed=5).network
    kept.save_weights(file)
    loaded = load_backbone("MobileNetV3Small", str(file))
    for ours, theirs in zip(loaded.network.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class _CutShort(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"half a file")

    def log_message(self, *_):
        pass


@pytest.fixture(params=["refused", "cut short", "not found", "silent"])
def no_download(request, tmp_path, monkeypatch):
    """keras.applications pointed at an address on this machine where ResNet50's weights cannot be had."""
    from keras.src.applications import resnet
    from keras.src.utils import file_utils

    handler = http.server.SimpleHTTPRequestHandler if request.param == "not found" else _CutShort
    listener = socket.create_server(("127.0.0.1", 0))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = {"silent": listener.getsockname()[1], "refused": 9}.get(request.param, server.server_port)
    monkeypatch.setattr(backbones, "TIMEOUT", 0.5)
    monkeypatch.setattr(resnet, "BASE_WEIGHTS_PATH", f"http://127.0.0.1:{port}/nowhere/")
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    yield tmp_path
    server.shutdown()
    server.server_close()
    listener.close()


def test_weights_that_cannot_be_had_are_replaced_out_loud(no_download):
    backbone = load_backbone("ResNet50")
    assert (backbone.name, backbone.fell_back_from, backbone.weights) == ("EfficientNetLite0", "ResNet50", "imagenet")
    said = backbone.describe()
    assert "ResNet50 COULD NOT BE HAD" in said
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 with a browser" in said
    assert not list(no_download.rglob("*.h5"))  # no half file that a later run would trust


def test_a_fault_that_is_no_download_is_not_covered_up(monkeypatch):
    def broken(*_, **__):
        raise TypeError("a programming error")

    monkeypatch.setattr(backbones, "_from_keras", broken)
    with pytest.raises(TypeError, match="a programming error"):
        load_backbone("ResNet50")
