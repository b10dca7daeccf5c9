"""Networks, their preprocessing inside the model, and weights that cannot be downloaded."""

import http.server
import socket
import threading

import keras
import numpy as np
import pytest

from phototransfer.network import backbones
from phototransfer.network.backbones import IMAGE_SIZES, architectures, load_backbone
from phototransfer.network.inference import openvino

PHOTOS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
# One network per preprocessing: caffe, torch, tf, our own, none at all.
KINDS = ["ResNet50", "DenseNet121", "InceptionV3", "EfficientNetLite0", "MobileNetV3Small"]


def module_of(architecture: str) -> str:
    return (backbones.OWN.get(architecture) or getattr(keras.applications, architecture)).__module__


def own_preprocessing(architecture: str, pixels: np.ndarray) -> np.ndarray:
    return backbones.sys.modules[module_of(architecture)].preprocess_input(pixels.copy())


@pytest.mark.parametrize("architecture", sorted(set(architectures()) - {"EfficientNetLite0"}))
def test_preprocessing_inside_the_model_is_the_networks_own(architecture):
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, backbones._preprocessing(module_of(architecture))(inputs) * 1.0)
    np.testing.assert_allclose(model(PHOTOS), own_preprocessing(architecture, PHOTOS), rtol=1e-5, atol=2e-5)


def test_caffe_preprocessing_is_bit_identical():
    pixels = backbones._preprocessing(module_of("ResNet50"))(keras.ops.convert_to_tensor(PHOTOS))
    np.testing.assert_array_equal(pixels, own_preprocessing("ResNet50", PHOTOS))


@pytest.fixture(scope="module", params=KINDS)
def small_model(request):
    """A small network with the preprocessing of a large one inside, and its output for preprocessed photos."""
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv2D(4, 3)
    image = keras.Input((32, 32, 3), name="image")
    pixels = backbones._preprocessing(module_of(request.param))(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(convolution(pixels)), name=request.param)
    expected = keras.ops.mean(convolution(own_preprocessing(request.param, PHOTOS)), axis=(1, 2))
    return model, np.asarray(expected)


class TestPreprocessingInsideTheModel:
    def close(self, actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    def test_gives_the_output_of_preprocessing_outside(self, small_model):
        model, expected = small_model
        self.close(model(PHOTOS), expected)

    def test_is_saved_and_reloaded(self, small_model, tmp_path):
        model, _ = small_model
        model.save(tmp_path / "model.keras")
        reloaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
        np.testing.assert_array_equal(reloaded(PHOTOS), model(PHOTOS))

    def test_converts_to_openvino(self, small_model, tmp_path):
        model, expected = small_model
        model.export(str(tmp_path / "model.xml"), format="openvino", verbose=False)
        hints = {"INFERENCE_PRECISION_HINT": "f32"}
        self.close(openvino().compile_model(str(tmp_path / "model.xml"), "CPU", hints)(PHOTOS)[0], expected)

    def test_exports_to_onnx_with_one_input(self, small_model, tmp_path):
        self.check_onnx(*small_model, tmp_path)

    def check_onnx(self, model, expected, folder, photos=PHOTOS):
        import onnxruntime

        self.close(model(photos), expected)  # a model can only be exported after it was called
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        assert [entry.name for entry in session.get_inputs()] == ["image"]
        self.close(session.run(None, {"image": photos})[0], expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("architecture", ["ResNet50", "InceptionV3", "EfficientNetLite0"])
    def test_a_whole_network_exports_to_onnx(self, architecture, tmp_path):
        loaded = load_backbone(architecture, None)
        loaded.model.trainable = False
        size = loaded.image_size
        image = keras.Input((size, size, 3), name="image")
        feature_map = loaded.model(loaded.preprocess(image), training=False)
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(feature_map))
        photos = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype("float32")
        outside = loaded.model(own_preprocessing(architecture, photos), training=False)
        self.check_onnx(model, np.mean(outside, axis=(1, 2)), tmp_path, photos)


@pytest.mark.parametrize("architecture", ["ResNet50", "InceptionV3", "EfficientNetLite0"])
def test_input_and_output_shapes(architecture):
    backbone = load_backbone(architecture, weights=None, seed=3)
    size = {"InceptionV3": 299}.get(architecture, 224)
    assert backbone.image_size == size
    assert backbone.model.input_shape[1:] == (size, size, 3)
    assert len(backbone.model.output_shape) == 4
    assert "random weights" in backbone.summary()
    assert backbone.advice() == ['The backbone has random weights: set WEIGHTS = "imagenet".']


def test_random_weights_come_from_the_seed():
    first, again, other = (load_backbone("MobileNetV3Small", None, seed).model.get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sizes_are_the_defaults_of_keras(monkeypatch):
    """Each network is asked for its default size and stopped before it has layers."""
    from keras.src.applications import imagenet_utils

    def stop(input_shape, default_size, **_):
        raise InterruptedError(default_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", stop)
    for architecture in [*IMAGE_SIZES, "ResNet50", "MobileNetV2"]:
        with pytest.raises(InterruptedError, match=str(IMAGE_SIZES.get(architecture, 224))):
            getattr(keras.applications, architecture)(weights=None)


def test_unknown_architecture():
    with pytest.raises(ValueError, match=r"one of EfficientNetLite0, .*ResNet50.*, got 'ResNet5'"):
        load_backbone("ResNet5")


def test_missing_weights_file():
    with pytest.raises(FileNotFoundError, match=r"got '/nowhere/weights\.h5'"):
        load_backbone("ResNet50", "/nowhere/weights.h5")


@pytest.mark.parametrize("architecture", ["MobileNetV3Small", "EfficientNetLite0"])
def test_weights_file_of_another_network(tmp_path, architecture):
    file = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(file)
    with pytest.raises(ValueError, match=rf"other\.weights\.h5 does not contain the {architecture} weights"):
        load_backbone(architecture, str(file))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("architecture", ["MobileNetV3Small", "EfficientNetLite0"])
def test_weights_file(tmp_path, architecture, suffix):
    file = tmp_path / f"own{suffix}"
    model = load_backbone(architecture, None, seed=5).model
    model.save(file) if suffix == ".keras" else model.save_weights(file)
    loaded = load_backbone(architecture, str(file))
    assert loaded.to_dict()["weights"] == str(file)
    for actual, expected in zip(loaded.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


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
    """Keras pointed at an address on this machine from which the weights of ResNet50 cannot be downloaded."""
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
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    yield tmp_path
    server.shutdown()
    server.server_close()
    listener.close()


def test_failed_download_uses_the_packaged_network_and_says_so(no_download, capsys):
    backbone = load_backbone("ResNet50")
    assert backbone.to_dict() == {
        "backbone": "EfficientNetLite0",
        "weights": "imagenet",
        "fell_back_from": "ResNet50",
        "image_size": 224,
    }
    summary = backbone.summary()
    assert "Could not download the ResNet50 weights; using EfficientNetLite0 instead." in summary
    assert backbone.reason in summary and str(no_download / "models") in summary and "WEIGHTS" in summary
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in capsys.readouterr().out  # Keras names the file
    assert 'BACKBONE = "EfficientNetLite0"' in backbone.advice()[0]
    assert not list(no_download.rglob("*.h5"))  # no incomplete file that a later run would trust


def test_another_error_is_not_hidden(monkeypatch):
    def broken(*_, **__):
        raise TypeError("a programming error")

    monkeypatch.setattr(backbones, "_build", broken)
    with pytest.raises(TypeError, match="a programming error"):
        load_backbone("ResNet50")
