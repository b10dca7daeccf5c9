"""Reads the tensors of a PyTorch weights file without PyTorch, and without letting the file run code.

A `.pth` file is a pickle, and an ordinary pickle may call any function when it is read. The reader here
answers to four names only, those a dict of tensors is made of, and refuses the file at any other name.
"""

import hashlib
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

# The first two pickles of every file in the format torch.save wrote before 1.6 (torch/serialization.py).
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001


class _Refused(pickle.UnpicklingError):
    """A reason of ours, to be told from pickle's own complaints about damaged bytes."""


class _Storage(NamedTuple):
    """One run of numbers in the file, named but not yet read."""

    dtype: str
    key: str
    length: int


class _Tensor(NamedTuple):
    """Which part of a storage a tensor is."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """Stands for torch._utils._rebuild_tensor_v2. It only takes notes; arrays are made afterwards."""

    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, requires_grad, hooks) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise _Refused("a tensor is made from something other than a storage of the file")
        return _Tensor(storage, offset, shape, strides)


# What a pickle gets for a name, it can also try to change (opcode BUILD). Hence nothing here has attributes
# that can be set: a built-in type, an object without slots, and plain strings (numpy's dtype codes).
_ALLOWED_NAMES = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that can only make tensors, and containers, strings and numbers around them."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED_NAMES:
            raise _Refused(
                f"it asks for {module}.{name}, which a file of plain tensors does not need. It was not "
                "run. Use a state dict of float32 tensors from a source you trust"
            )
        return _ALLOWED_NAMES[module, name]

    def persistent_load(self, pid: object) -> _Storage:
        kind, dtype, key, _device, length, view = pid
        if kind != "storage" or dtype not in ("<f4", "<i8") or view is not None:
            raise _Refused(f"it holds a storage of an unknown kind: {pid!r}")
        return self.storages.setdefault(key, _Storage(dtype, key, length))


def read_tensors(path: str | Path, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict that `torch.save` wrote in its older format (not the zip one).

    Arrays are float32 or int64, read-only, in PyTorch's own axis order, by their names in the file. With
    `sha256` (hex digest) the file's bytes are checked before anything in them is interpreted. The reader
    keeps a hostile file from running code, not from asking for more memory than there is.

    Raises FileNotFoundError when there is no such file, ValueError when its SHA-256 is another, and
    pickle.UnpicklingError when it is damaged, cut short, of another format or asks for anything but tensors.

    Format: `_legacy_load` in https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
    """
    data = Path(path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"{path} is not the expected file: its SHA-256 is {found}, expected {sha256}.")
    if data.startswith(b"PK"):
        raise pickle.UnpicklingError(
            f"{path} is in torch's zip format, which is not read here. Save it again with "
            "torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)."
        )
    try:
        return _read_legacy(io.BytesIO(data))
    except _Refused as error:
        raise pickle.UnpicklingError(f"{path} was refused: {error}.") from error
    except Exception as error:  # damaged pickles raise nearly anything, says the documentation of pickle
        raise pickle.UnpicklingError(
            f"{path} is damaged, cut short or no PyTorch weights file ({type(error).__name__}: {error}). "
            "Fetch it again."
        ) from error


def _read_legacy(stream: io.BytesIO) -> dict[str, np.ndarray]:
    if _TensorUnpickler(stream).load() != _MAGIC_NUMBER or _TensorUnpickler(stream).load() != _PROTOCOL_VERSION:
        raise _Refused("it does not begin like a file that torch.save wrote")
    if not _TensorUnpickler(stream).load()["little_endian"]:
        raise _Refused("it was written on a big-endian machine, which is not supported")
    unpickler = _TensorUnpickler(stream)
    tensors = unpickler.load()
    keys = _TensorUnpickler(stream).load()
    if not isinstance(tensors, dict) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise _Refused("it is not a dict of tensors; save model.state_dict(), not the model")
    data = {key: _read_storage(stream, unpickler.storages[key]) for key in keys}
    return {name: _as_array(tensor, data[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_storage(stream: io.BytesIO, storage: _Storage) -> bytes:
    length = int.from_bytes(stream.read(8), "little")
    wanted = storage.length * np.dtype(storage.dtype).itemsize
    data = stream.read(wanted)
    if length != storage.length or len(data) != wanted:
        raise _Refused(
            f"it is damaged or cut short: storage {storage.key} should have {wanted} bytes, {len(data)} are "
            "left. Fetch the file again"
        )
    return data


def _as_array(tensor: _Tensor, data: bytes) -> np.ndarray:
    """A view of the storage's bytes; numpy itself raises ValueError where it would reach outside of them."""
    dtype = np.dtype(tensor.storage.dtype)
    strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
    return np.ndarray(tensor.shape, dtype, data, tensor.offset * dtype.itemsize, strides)
