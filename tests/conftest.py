"""What several test files need: photos that look like photos and differ, and a folder of them."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from helpers.photos import Source

# The same cases on every machine, however busy it is.
settings.register_profile("here", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("here")


def draw(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture of soft coloured shapes: the same for the same seed, and unlike that of any other seed."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def fingerprint_of(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file below a folder: its name → SHA-256 of its content and its time of change in nanoseconds."""
    files = [Path(here, name) for here, _, names in os.walk(folder) for name in names]
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in files
    }


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
    """fingerprint(folder): what must not change in a folder that is only read."""
    return fingerprint_of


@pytest.fixture
def pile(tmp_path: Path, make_photo: Callable[..., Path]) -> Source:
    """Two classes, cat and dog, of six photos each in class folders, and a home that does not exist yet."""
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
