"""Fixtures that tests of several packages share."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

from builders import draw

# Tests run in two processes already.
os.environ.setdefault("PHOTOTRANSFER_PROCESSES", "0")

# The same cases on every machine, however busy it is.
settings.register_profile("here", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("here")


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Close the figures of each test; importing matplotlib is left to the tests that draw."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """picture(seed, size=(width, height)): a Pillow picture in RGB."""
    return draw


@pytest.fixture(scope="session")
def make_photo() -> Callable[..., Path]:
    """make_photo(path, seed, size, **save): write picture(seed, size) there (a JPEG, or as `format` says)."""

    def make(path: Path, seed: int, size: tuple[int, int] = (96, 72), format: str = "JPEG", **save) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(seed, size).save(path, format, **save)
        return path

    return make


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[Path], dict[str, tuple[str, int]]]:
    """fingerprint(folder): every file's SHA-256 and time of change, which must not change in a folder that is read."""

    def fingerprint_of(folder: Path) -> dict[str, tuple[str, int]]:
        paths = [Path(here, name) for here, _, names in os.walk(folder) for name in names]
        return {
            str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in paths
        }

    return fingerprint_of


@pytest.fixture
def pile(tmp_path: Path, make_photo: Callable[..., Path]):
    """A Source of two classes, cat and dog, of six photos each in class folders, whose home does not exist yet."""
    from phototransfer.photos import Source

    for number in range(12):
        kind = ("cat", "dog")[number % 2]
        make_photo(tmp_path / "photos" / kind / f"{kind}{number}.jpg", number)
    return Source("pile", tmp_path / "photos", tmp_path / "data" / "pile")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """full_disk(folder, after): from the call on, only `after` more files can be written below the folder."""

    def fill(folder: Path, after: int = 0) -> None:
        write_bytes, lock, room = Path.write_bytes, threading.Lock(), [after]

        def write(path: Path, data: bytes) -> int:
            if path.is_relative_to(folder):
                with lock:
                    room[0] -= 1
                if room[0] < 0:
                    raise OSError(28, "No space left on device", str(path))
            return write_bytes(path, data)

        monkeypatch.setattr(Path, "write_bytes", write)

    return fill
