"""Pictures of more than 8 bits or with floating-point values become 0 to 255 by one range for the whole set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from builders import draw
from photos.hostile import chunk, encoded
from photos.test_decode import array, png, tiff
from phototransfer.photos import Source, prepare, store
from phototransfer.photos.decode import NotAPhoto, read_photo
from phototransfer.photos.depth import Depth, describe_depths, set_ranges

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
GREY = np.asarray(draw(1).convert("L")).astype(np.uint16)
RGB = np.asarray(draw(1)).astype(np.uint16)
HEADER = 8 + 25  # bytes of a PNG before its other chunks


def shown(content: bytes, folder: Path, ranges: dict | None = None) -> np.ndarray:
    (folder / "photo").write_bytes(content)
    return array(read_photo(folder / "photo", ranges or {}).jpeg)


def twelve(values: np.ndarray) -> np.ndarray:
    """8-bit values as a camera of 12 bits has them, in 16-bit numbers."""
    return values * 16


FILES = {
    "PNG grey": lambda: png(twelve(GREY), 0),
    "PNG colour": lambda: png(twelve(RGB), 2),
    "PNG colour alpha": lambda: png(np.dstack([twelve(RGB), np.full_like(GREY, 65535)]), 6),
    "PNG grey alpha": lambda: png(np.dstack([twelve(GREY), np.full_like(GREY, 4095)]), 4),
    "TIFF grey": lambda: tiff(twelve(GREY)),
    "TIFF big-endian": lambda: tiff(twelve(GREY), byteorder=">"),
    "TIFF white is 0": lambda: tiff(4095 - twelve(GREY), photometric="miniswhite"),
    "TIFF colour": lambda: tiff(twelve(RGB), photometric="rgb"),
    "TIFF colour big-endian": lambda: tiff(twelve(RGB), photometric="rgb", byteorder=">"),
    "TIFF colour deflate": lambda: tiff(twelve(RGB), photometric="rgb", compression="zlib"),
    "TIFF 32 bit": lambda: tiff(twelve(GREY).astype(np.int32)),
    "TIFF signed": lambda: tiff(twelve(GREY).astype(np.int16)),
}


@pytest.mark.parametrize("kind", FILES)
def test_twelve_bits_in_16_bit_files_look_like_8_bits(tmp_path, kind):
    expected = array(draw(1).convert("RGB" if "colour" in kind else "L"))
    assert np.abs(shown(FILES[kind](), tmp_path) - expected).mean() < 2.5
    of_16_bits = shown(FILES[kind](), tmp_path, {"integer": (0, 65535)})
    assert np.ptp(of_16_bits) < 20  # the range of the set is used


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (GREY.astype(np.float32) / 255, 0, 1),
        (GREY.astype(np.float32), 0, 255),
        (GREY.astype(np.float32) * 257, 0, 65535),
        (GREY.astype(np.float32) / 10 + 280, None, None),
        (GREY.astype(np.float32) * 10 - 1000, None, None),
        (GREY.astype(np.int16) * 10 - 1000, None, None),
        (GREY.astype(np.int32) * 1000, None, None),
        ((GREY // 2).astype(np.int8) - 60, None, None),
    ],
)
def test_the_range_of_other_numbers_follows_from_their_values(tmp_path, values, low, high):
    (tmp_path / "photo").write_bytes(tiff(values))
    photo = read_photo(tmp_path / "photo")
    low, high = (low, high) if high else (values.min(), values.max())
    assert photo.depth.range == pytest.approx((low, high))
    expected = (values.astype(float) - low) * 255 / (float(high) - low)
    assert np.abs(array(photo.jpeg)[..., 0] - expected).mean() < 2.5


@pytest.mark.parametrize("missing", [np.nan, np.inf, -3.4e38, -9999])
def test_missing_values_do_not_stretch_the_range(tmp_path, missing):
    values = GREY.astype(np.float32) / 255
    values[:20, :20] = missing
    tag = [(42113, "s", 0, "-9999", False)] if missing == -9999 else []
    pixels = shown(tiff(values, extratags=tag), tmp_path)
    assert np.abs(pixels[30:, 30:, 0] - GREY.astype(int)[30:, 30:]).mean() < 2.5


def test_a_picture_without_any_value_is_refused(tmp_path):
    with pytest.raises(NotAPhoto, match="missing"):
        shown(tiff(np.full((40, 40), np.nan, np.float32)), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        tiff(GREY, extratags=[(281, "H", 1, 4095, False)]),
        tiff(GREY, extratags=[(341, "H", 1, 4095, False)]),
        png(GREY, 0)[:HEADER] + chunk(b"sBIT", b"\x0c") + png(GREY, 0)[HEADER:],
    ],
    ids=["MaxSampleValue", "SMaxSampleValue", "sBIT"],
)
def test_the_range_that_a_file_states_is_used(tmp_path, content):
    (tmp_path / "photo").write_bytes(content)  # dark: of 12 bits it uses the lowest 8
    photo = read_photo(tmp_path / "photo", {"integer": (0, 255)})
    assert photo.depth.range == (0, 4095) and photo.depth.own
    assert array(photo.jpeg).max() < 20


def test_a_highest_value_that_occurs_by_chance_is_not_a_stated_range(tmp_path):
    shown_pixels = shown(tiff(twelve(GREY), extratags=[(281, "H", 1, 4000, False)]), tmp_path, {"integer": (0, 65535)})
    assert shown_pixels.max() < 20


def depth(kind: str, lowest: float, highest: float, own: bool = False) -> Depth:
    return Depth(kind, lowest, highest, (0, 0), own)


@pytest.mark.parametrize(
    ("depths", "ranges"),
    [
        ([], {}),
        ([depth("integer", 0, 200)], {"integer": (0, 255)}),
        ([depth("integer", 0, 200), depth("integer", 5, 1024)], {"integer": (0, 4095)}),
        ([depth("integer", 0, 4095), depth("integer", 0, 4096)], {"integer": (0, 16383)}),
        ([depth("integer", 0, 4095), depth("integer", 0, 60_000, own=True)], {"integer": (0, 4095)}),
        ([depth("integer", -1000, 3000), depth("integer", 0, 9000)], {"integer": (-1000, 9000)}),
        ([depth("float", 0, 0.2), depth("float", 0, 1)], {"float": (0, 1)}),
        ([depth("float", 15, 40)], {"float": (15, 40)}),
        ([depth("integer", 0, 900), depth("float", 0, 0.9)], {"integer": (0, 1023), "float": (0, 1)}),
    ],
)
def test_one_range_holds_for_the_set(depths, ranges):
    assert set_ranges(depths) == ranges


def test_the_sentence_counts_photos_and_names_the_bits():
    twelve_bits = Depth("integer", 0, 4000, (0, 4095), False)
    [line] = describe_depths([twelve_bits] * 40, 400)
    assert "40 of 400" in line and "12 bits" in line and "4095" in line
    assert len(describe_depths([twelve_bits] * 1000 + [Depth("float", 0, 1, (0, 1), False)] * 1000, 2000)) == 2


# The set


@pytest.fixture
def deep_pile(tmp_path) -> Source:
    """Six 12-bit photos of each of two classes; those of the class "dark" have a quarter of the light."""
    source = Source("deep", tmp_path / "photos", tmp_path / "home")
    for number in range(12):
        grey = np.asarray(draw(number).convert("L")).astype(np.uint16)
        label = ("bright", "dark")[number % 2]
        add(source, f"{label}/{number}.png", twelve(grey) // (1 if label == "bright" else 4))
    return source


def add(source: Source, original: str, values: np.ndarray) -> None:
    path = source.folder / original
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(values, 0))


def brightness(source: Source) -> dict[str, float]:
    photos = prepare(source, val_split=0.2, test_split=0.2, seed=42).photos
    return {row.original: np.asarray(Image.open(row.path)).mean() for row in photos.itertuples()}


def test_dark_photos_stay_dark(deep_pile):
    means = brightness(deep_pile)
    for number in range(12):
        original = f"{('bright', 'dark')[number % 2]}/{number}.png"
        expected = np.asarray(draw(number).convert("L")).mean() / (1 if number % 2 == 0 else 4)
        assert means[original] == pytest.approx(expected, abs=2)


def test_a_brighter_file_changes_the_range_of_all_and_without_it_all_is_as_before(deep_pile, monkeypatch):
    first = prepare(deep_pile, val_split=0.2, test_split=0.2, seed=42).photos.set_index("original")
    before = brightness(deep_pile)
    add(deep_pile, "bright/sun.png", np.asarray(draw(99).convert("L")).astype(np.uint16) * 257)
    after = brightness(deep_pile)
    assert all(after[original] == pytest.approx(before[original] / 16, abs=1) for original in before)
    second = prepare(deep_pile, val_split=0.2, test_split=0.2, seed=42).photos.set_index("original")
    assert (second["digest"][first.index] != first["digest"]).all()  # features of other pixels are not used
    with monkeypatch.context() as patched:
        patched.setattr(store, "read_photo", lambda *args: pytest.fail("read again"))
        assert brightness(deep_pile) == after
    (deep_pile.folder / "bright" / "sun.png").unlink()
    assert brightness(deep_pile) == before


def test_an_interrupted_change_of_the_range_is_completed(deep_pile, monkeypatch):
    before = brightness(deep_pile)
    add(deep_pile, "bright/sun.png", np.asarray(draw(99).convert("L")).astype(np.uint16) * 257)
    original, reads = store.read_photo, []

    def interrupted(*args):
        reads.append(args)
        if len(reads) == 5:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store, "read_photo", interrupted)
        brightness(deep_pile)
    after = brightness(deep_pile)
    assert all(after[original] == pytest.approx(before[original] / 16, abs=1) for original in before)


def test_photos_of_8_bits_are_not_touched_by_the_range_of_others(deep_pile):
    (deep_pile.folder / "bright" / "plain.jpg").write_bytes(encoded(draw(50), "JPEG"))
    before = brightness(deep_pile)["bright/plain.jpg"]
    add(deep_pile, "bright/sun.png", np.full((40, 40), 65535, np.uint16))
    assert brightness(deep_pile)["bright/plain.jpg"] == before
