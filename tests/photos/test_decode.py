"""Every kind of file becomes the picture that it shows, or is refused with a reason in plain words."""

import gzip
import hashlib
import io
import json
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from photos.hostile import FINE, PNG_SIGNATURE, STORED, chunk, encoded, zipped
from phototransfer.photos import decode
from phototransfer.photos.decode import SHORTER_SIDE, NotAPhoto, NotReadable, Photo, perceptual_hash, read_photo

ORIENTATION, COMMENT, GPS = 0x0112, 0x9286, 0x8825
# Pillow warns of what is odd in a file that it then reads well; `prepare` hides that in the notebook.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


@pytest.fixture
def read(tmp_path) -> Callable[..., Photo]:
    """read(content, name): the photo in a file of these bytes."""

    def read_bytes(content: bytes, name: str = "photo.jpg") -> Photo:
        path = tmp_path / name
        path.write_bytes(content)
        return read_photo(path)

    return read_bytes


@pytest.fixture
def reason(read) -> Callable[..., str]:
    """reason(content, name): why a file of these bytes is refused."""

    def reason_for(content: bytes, name: str = "photo.jpg") -> str:
        with pytest.raises(NotAPhoto) as caught:
            read(content, name)
        return str(caught.value)

    return reason_for


def tiff(pixels: np.ndarray, **write) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **write)
    return out.getvalue()


def png(pixels: np.ndarray, colour: int, size: tuple[int, int] | None = None) -> bytes:
    """A PNG of any depth and colour type (Pillow writes no 16-bit colour); the header can state another `size`."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", *(size or (width, height)), 8 * pixels.itemsize, colour, 0, 0, 0)
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def array(picture: Image.Image | bytes) -> np.ndarray:
    """RGB pixels as int16, so that they can be subtracted."""
    picture = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    return np.asarray(picture.convert("RGB")).astype(np.int16)


def assert_shows(photo: Photo, intended: Image.Image, mean: float = 1.5, worst: int = 16) -> None:
    """The prepared photo shows the intended picture, pixel by pixel, within the loss of JPEG at quality 95."""
    shown, expected = array(photo.jpeg), array(intended)
    assert shown.shape == expected.shape
    difference = np.abs(shown - expected)
    assert difference.mean() < mean
    assert difference.max() <= worst


def shrunk(picture: Image.Image) -> Image.Image:
    """The prepared size of a picture of `small_and_large`."""
    return picture if max(picture.size) < 500 else picture.resize((533, 320), Image.Resampling.LANCZOS)


small_and_large = pytest.mark.parametrize("size", [(96, 72), (700, 420)], ids=["small", "large"])


# Formats


def swapped_profile() -> bytes:
    """A colour profile whose red and blue have changed places: what is stored as red is shown as blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")


LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "PPM": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"lossless": True},
    "JPEG2000": {},
    "JPEG": FINE,
    "JPEG progressive": FINE | {"progressive": True},
    "MPO": FINE,
    "HEIF": {"quality": 100, "chroma": 444},
    "AVIF": {"quality": 98, "subsampling": "4:4:4"},
}


@small_and_large
@pytest.mark.parametrize("kind", LOSSLESS)
def test_each_format_is_read_whatever_its_name_says(read, picture, kind, size):
    intended = picture(1, size)
    content = encoded(intended, kind.split()[0], **LOSSLESS[kind])
    photo = read(content, "photo.txt")
    assert_shows(photo, shrunk(intended))
    assert (photo.width, photo.height) == size
    assert photo.format == {"MPO": "JPEG"}.get(kind, kind.split()[0])
    assert (photo.bytes, photo.digest) == (len(content), hashlib.sha256(content).hexdigest())
    assert (photo.taken, photo.camera) == (None, None)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "HEIF", "AVIF"])
def test_of_several_pictures_the_first_is_read(read, picture, kind):
    few = [picture(seed).quantize(64).convert("RGB") for seed in (1, 2, 3)]  # colours, for GIF
    first, others = few[0], few[1:]
    content = encoded(first, kind, save_all=True, append_images=others, **LOSSLESS.get(kind, {}))
    assert_shows(read(content), first, mean=5, worst=60)
    assert np.abs(array(read(content).jpeg) - array(others[0])).mean() > 30


@small_and_large
def test_grey_and_black_and_white(read, picture, size):
    grey = picture(1, size).convert("L")
    expected = shrunk(grey)
    assert_shows(read(encoded(grey, "PNG")), expected)
    assert_shows(read(encoded(grey, "JPEG", quality=98)), expected)
    halves = np.zeros(size[::-1], dtype=np.uint8)
    halves[:, size[0] // 2 :] = 255
    photo = read(encoded(Image.fromarray(halves).convert("1"), "PNG"))
    columns = array(photo.jpeg)[:, :, 0].mean(axis=0)
    third = len(columns) // 3
    assert columns[:third].max() < 5 and columns[-third:].min() > 250


@small_and_large
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF big-endian", "TIFF float", "TIFF float to 1", "TIFF 32 bit"])
def test_deep_grey_is_scaled_not_cut(read, picture, size, kind):
    grey = np.asarray(picture(1, size).convert("L"))
    grey = np.clip(grey.astype(int) * 2 - 128, 0, 255).astype(np.uint8)  # large surfaces of pure black and white
    deep = grey.astype(np.uint16) * 257
    content = {
        "PNG": lambda: png(deep, 0),
        "TIFF": lambda: tiff(deep),
        "TIFF big-endian": lambda: tiff(deep, byteorder=">"),
        "TIFF float": lambda: tiff(grey.astype(np.float32)),
        "TIFF float to 1": lambda: tiff(grey.astype(np.float32) / 255),
        "TIFF 32 bit": lambda: tiff(deep.astype(np.int32)),
    }[kind]()
    expected = Image.fromarray(grey)
    assert_shows(read(content), shrunk(expected))


def test_float_pictures_with_missing_values_are_read(read):
    holed = np.full((40, 40), 0.5, dtype=np.float32)
    holed[:20, :20], holed[20:, 20:] = np.nan, np.inf
    shown = array(read(tiff(holed)).jpeg)
    assert abs(int(shown[10, 30, 0]) - 128) < 130


@small_and_large
@pytest.mark.parametrize("kind", ["PNG RGB", "PNG RGBA", "PNG LA", "TIFF RGB"])
def test_deep_colour_is_scaled_not_cut(read, picture, size, kind):
    rgb = np.asarray(picture(1, size)).astype(np.uint16) * 257
    opaque = np.full(size[::-1], 65535, dtype=np.uint16)
    content = {
        "PNG RGB": lambda: png(rgb, 2),
        "PNG RGBA": lambda: png(np.dstack([rgb, opaque]), 6),
        "PNG LA": lambda: png(np.dstack([rgb[..., 0], opaque]), 4),
        "TIFF RGB": lambda: tiff(rgb, photometric="rgb"),
    }[kind]()
    expected = Image.fromarray((rgb // 257).astype(np.uint8))
    expected = expected.getchannel(0) if kind == "PNG LA" else expected
    assert_shows(read(content), shrunk(expected))


@pytest.mark.parametrize("space", ["CMYK", "YCCK"])
@small_and_large
def test_jpegs_in_printing_inks(read, picture, space, size):
    black = 40
    intended = (np.asarray(picture(1, size)) * ((255 - black) / 255)).astype(np.uint8)
    inks = np.clip(255 - intended * (255 / (255 - black)), 0, 255).round().astype(np.uint8)
    black_ink = np.full(size[::-1], black, dtype=np.uint8)
    if space == "CMYK":
        content = encoded(Image.fromarray(np.dstack([inks, black_ink]), "CMYK"), "JPEG", quality=98)
    else:
        # In a YCCK file the inks are stored as a YCbCr picture: store that as if it were ink, then change the mark.
        stored = np.asarray(Image.fromarray(inks).convert("YCbCr"))
        stored = np.dstack([255 - stored, black_ink])
        content = encoded(Image.fromarray(stored, "CMYK"), "JPEG", quality=98)
        mark = content.index(b"Adobe") + 11
        assert content[mark] == 0
        content = content[:mark] + b"\x02" + content[mark + 1 :]
    expected = Image.fromarray(intended)
    assert_shows(read(content), shrunk(expected), mean=2.5)


def test_lab_tiff(read, picture):
    profiles = [ImageCms.createProfile(space) for space in ("sRGB", "LAB")]
    lab = ImageCms.profileToProfile(picture(1), *profiles, outputMode="LAB")
    assert_shows(read(encoded(lab, "TIFF")), picture(1), mean=3, worst=40)


def test_a_large_jpeg_read_at_reduced_scale_is_the_same_picture(read, picture):
    content = encoded(picture(1, (2400, 1800)), "JPEG", quality=90)
    whole = read(encoded(Image.open(io.BytesIO(content)).convert("RGB"), "PNG", compress_level=1))
    photo = read(content)
    assert (photo.width, photo.height) == (whole.width, whole.height) == (2400, 1800)
    assert_shows(photo, Image.open(io.BytesIO(whole.jpeg)), mean=1, worst=8)


@pytest.mark.parametrize(
    ("size", "prepared"),
    [
        ((320, 320), (320, 320)),
        ((321, 900), (320, 897)),
        ((4000, 321), (3988, 320)),
        ((16, 20_000), (16, 20_000)),
        ((16, 16), (16, 16)),
    ],
)
def test_the_shorter_side_is_reduced_and_never_enlarged(read, picture, size, prepared):
    photo = read(encoded(picture(1, size), "PNG", compress_level=1))
    assert Image.open(io.BytesIO(photo.jpeg)).size == prepared
    assert min(prepared) <= SHORTER_SIDE
    assert (photo.width, photo.height) == size


# Transparency


def on_white(picture: Image.Image, alpha: np.ndarray) -> Image.Image:
    share = alpha[..., None] / 255
    return Image.fromarray((np.asarray(picture.convert("RGB")) * share + 255 * (1 - share)).round().astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("LA", "PNG"), ("LA", "TIFF")]
)
@small_and_large
def test_transparency_is_laid_on_white(read, picture, mode, kind, size):
    alpha = np.tile(np.linspace(0, 255, size[0]).astype(np.uint8), (size[1], 1))
    opaque = picture(1, size).convert(mode[:-1])
    transparent = opaque.copy()
    transparent.putalpha(Image.fromarray(alpha))
    content = encoded(transparent, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    expected = on_white(opaque, alpha)
    assert_shows(read(content), shrunk(expected))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@small_and_large
def test_a_transparent_colour_of_a_palette_is_white(read, picture, kind, size):
    few = picture(1, size).quantize(32, dither=Image.Dither.NONE)
    index = few.getpixel((0, 0))
    hole = np.asarray(few) == index
    expected = on_white(few, np.where(hole, 0, 255).astype(np.uint8))
    assert_shows(read(encoded(few, kind, transparency=index)), shrunk(expected), mean=3, worst=60)


def test_a_palette_may_be_partly_transparent(read, picture):
    few = picture(1).quantize(4, dither=Image.Dither.NONE)
    alphas = np.array([0, 80, 160, 255], dtype=np.uint8)
    expected = on_white(few, alphas[np.asarray(few)])
    assert_shows(read(encoded(few, "PNG", transparency=alphas.tobytes())), expected, mean=3, worst=60)


@pytest.mark.parametrize("size", [(96, 96), (700, 700)], ids=["small", "large"])
def test_a_transparent_colour_leaves_no_fringe(read, size):
    y, x = np.ogrid[: size[0], : size[0]]
    disc = (x - size[0] / 2) ** 2 + (y - size[0] / 2) ** 2 < (size[0] / 3) ** 2
    pixels = np.where(disc[..., None], [20, 120, 40], [255, 0, 255]).astype(np.uint8)
    shown = array(read(encoded(Image.fromarray(pixels), "PNG", transparency=(255, 0, 255))).jpeg)
    assert shown[4, 4].min() > 250
    assert np.abs(shown[len(shown) // 2, len(shown) // 2] - [20, 120, 40]).max() < 5
    assert (shown[..., 1] - shown[..., 0]).min() > -25  # magenta has far more red than green


def shapes(colour: tuple[int, int, int], alpha: int = 255) -> Image.Image:
    """A square of one colour on transparency."""
    icon = Image.new("RGBA", (96, 96), (*colour, 0))
    icon.paste((*colour, alpha), (30, 40, 60, 70))
    return icon


@pytest.mark.parametrize("colour", [(255, 255, 255), (248, 250, 246)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_white_on_transparency_is_visible(read, colour, mode):
    icon = shapes(colour)
    photo = read(encoded(icon.convert(mode) if mode != "P" else icon.quantize(4), "PNG"))
    shown = array(photo.jpeg)
    assert shown[50, 45].min() > 240 and shown[5, 5].max() < 10
    assert not photo.blank


@pytest.mark.parametrize("colour", [(0, 0, 0), (120, 120, 120), (255, 240, 100)])
def test_other_drawings_on_transparency_stay_on_white(read, colour):
    photo = read(encoded(shapes(colour), "PNG"))
    shown = array(photo.jpeg)
    assert shown[5, 5].min() > 250 and np.abs(shown[50, 45] - colour).max() < 10
    assert not photo.blank


def test_a_white_logo_with_writing_stays_on_white(read):
    logo = shapes((255, 255, 255))
    logo.paste((0, 0, 160, 255), (35, 50, 50, 55))
    assert array(read(encoded(logo, "PNG")).jpeg)[5, 5].min() > 250


@pytest.mark.parametrize(
    ("picture_of", "blank"),
    [
        (lambda: Image.new("RGB", (200, 100), "white"), True),
        (lambda: Image.new("RGB", (900, 700), (3, 90, 200)), True),
        (lambda: Image.fromarray(np.random.default_rng(1).integers(0, 9, (90, 90), np.uint8)), True),
        (lambda: shapes((255, 0, 0), alpha=0), True),
        (lambda: Image.fromarray(np.random.default_rng(1).integers(0, 90, (400, 400), np.uint8)), False),
        (lambda: shapes((0, 0, 0)), False),
        (lambda: Image.linear_gradient("L"), False),
        (
            lambda: Image.merge(
                "RGB", [Image.linear_gradient("L"), Image.new("L", (256, 256)), Image.new("L", (256, 256))]
            ),
            False,
        ),
    ],
)
def test_blank_pictures_are_marked(read, picture_of, blank):
    assert read(encoded(picture_of(), "PNG")).blank == blank


# Upright


CARRIERS = {
    "JPEG": ("JPEG", "RGB", FINE),
    "JPEG grey": ("JPEG", "L", {"quality": 98}),
    "JPEG with profile": ("JPEG", "RGB", FINE | {"icc_profile": b"sRGB"}),
    "MPO": ("MPO", "RGB", FINE),
    "PNG": ("PNG", "RGB", {}),
    "PNG transparent": ("PNG", "RGBA", {}),
    "PNG palette": ("PNG", "P", {}),
    "WEBP": ("WEBP", "RGB", {"lossless": True}),
    "WEBP transparent": ("WEBP", "RGBA", {"lossless": True}),
    "TIFF": ("TIFF", "RGB", {}),
    "TIFF lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "TIFF 16 bit": ("TIFF", "I;16", {}),
    "AVIF": ("AVIF", "RGB", {"quality": 98, "subsampling": "4:4:4"}),
    "HEIF": ("HEIF", "RGB", {"quality": 100, "chroma": 444}),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_pictures_are_shown_upright(read, picture, carrier, orientation):
    kind, mode, save = CARRIERS[carrier]
    if "icc_profile" in save:
        save = save | {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    upright = picture(1, (96, 64))
    upright = upright.convert("L") if mode in ("L", "I;16") else upright
    upright = upright.quantize(64).convert("RGB") if mode == "P" else upright
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(upright.convert("RGB")))))
    if mode == "I;16":
        stored = Image.fromarray(np.asarray(stored.convert("L")).astype(np.uint16) * 257)
    elif mode == "P":
        stored = stored.quantize(64)
    else:
        stored = stored.convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = read(encoded(stored, kind, exif=exif.tobytes(), **save))
    assert_shows(photo, upright, mean=4, worst=60 if mode == "P" else 16)
    assert (photo.width, photo.height) == (96, 64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_large_pictures_are_shown_upright(read, picture, kind, orientation):
    upright = picture(1, (1500, 1000))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(upright))))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = read(encoded(stored, kind, exif=exif))
    assert_shows(photo, upright.resize((480, 320), Image.Resampling.LANCZOS), mean=3)
    assert (photo.width, photo.height) == (1500, 1000)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(3, b"\0\0"), (3, b"\x09\0"), (3, b"\xff\xff"), (2, b"6\0"), (7, b"\x06"), (5, b"\xff\xff"), (99, b"\x06")],
)
def test_an_invalid_orientation_changes_nothing(read, picture, kind, value):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4sI", ORIENTATION, kind, 1, value, 0)
    photo = read(encoded(picture(1), "JPEG", exif=exif, **FINE))
    assert_shows(photo, picture(1))
    assert (photo.width, photo.height) == (96, 72)


# Colour profiles


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PNG transparent", "PNG palette", "TIFF", "WEBP"])
@small_and_large
def test_a_colour_profile_is_applied(read, picture, kind, size):
    save = {"JPEG": FINE, "WEBP": {"lossless": True}}.get(kind, {})
    stored = picture(1, size)
    mode = {"PNG transparent": "RGBA", "PNG palette": "P"}.get(kind, "RGB")
    content = encoded(stored.convert(mode), kind.split()[0], icc_profile=swapped_profile(), **save)
    expected = stored.convert(mode).convert("RGB")
    expected = Image.merge("RGB", expected.split()[::-1])
    assert_shows(read(content), shrunk(expected), mean=4, worst=40)


@pytest.mark.parametrize("profile", [b"", b"no profile", swapped_profile()[:200], b"\0" * 4000])
def test_a_broken_profile_is_ignored(read, picture, profile):
    content = encoded(picture(1), "PNG", icc_profile=profile)
    assert_shows(read(content), picture(1))
    grey = picture(1).convert("L")
    assert_shows(read(encoded(grey, "PNG", icc_profile=swapped_profile())), grey)


# Metadata


def test_the_time_and_the_camera_are_read(read, picture):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Apple\0 ", " iPhone  12", "2020:01:02 03:04:05"
    photo = read(encoded(picture(1), "JPEG", exif=exif))
    assert (photo.camera, photo.taken) == ("Apple iPhone 12", "2020-01-02T03:04:05")
    exif.get_ifd(0x8769)[0x9003] = "2019:12:31 23:59:59"
    assert read(encoded(picture(1), "JPEG", exif=exif)).taken == "2019-12-31T23:59:59"


@pytest.mark.parametrize("time", ["0000:00:00 00:00:00", "", "yesterday", "2020:13:01 00:00:00", "    :  :     :  :  "])
def test_an_invalid_time_is_none(read, picture, time):
    exif = Image.Exif()
    exif[0x0132] = time
    assert read(encoded(picture(1), "JPEG", exif=exif)).taken is None


def secrets() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[ORIENTATION] = "SECRET title", "SECRET artist", 6
    exif.get_ifd(0x8769)[COMMENT] = b"ASCII\0\0\0SECRET comment"
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 51.0, 29.5), 29: "2020:01:02", 27: b"SECRET place"})
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "GIF", "HEIF", "AVIF"])
@pytest.mark.parametrize("profile", [b"", swapped_profile().replace(b"sRGB", b"SECR")], ids=["plain", "profile"])
def test_no_metadata_is_in_the_prepared_photo(read, picture, kind, profile):
    save = {"exif": secrets()} | ({"icc_profile": profile} if profile else {})
    save |= {} if kind == "MPO" else {"xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>SECRET</x:xmpmeta>"}
    save |= {"comment": b"SECRET comment"} if kind in ("JPEG", "GIF") else {}
    content = encoded(picture(1), kind, **save)
    assert b"SECR" in content
    prepared = read(content).jpeg
    assert b"SECR" not in prepared
    markers, place = [], 2
    while prepared[place + 1] != 0xDA:
        markers.append(prepared[place + 1])
        place += 2 + struct.unpack(">H", prepared[place + 2 : place + 4])[0]
    assert set(markers) == {0xE0, 0xDB, 0xC0, 0xC4}  # JFIF, tables and the frame: no EXIF, XMP, profile or comment
    assert set(Image.open(io.BytesIO(prepared)).info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\xff\xff\xff\0\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0",  # an IFD that is in itself
        b"\xff\xd8\xff" * 20,
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_with_damaged_metadata_is_used(read, picture, kind, exif):
    save = {"PNG": {}, "JPEG": FINE, "WEBP": {"lossless": True}}[kind]
    photo = read(encoded(picture(1), kind, exif=exif, **save))
    assert_shows(photo, picture(1))


@given(st.lists(st.tuples(st.integers(6, 300), st.integers(0, 255)), max_size=8), st.integers(10, 400))
def test_a_jpeg_with_any_metadata_is_used(tmp_path_factory, picture, changes, length):
    exif = bytearray(secrets().tobytes())
    for place, value in changes:
        exif[place % (len(exif) - 6) + 6] = value
    path = tmp_path_factory.getbasetemp() / "metadata.jpg"
    path.write_bytes(encoded(picture(1), "JPEG", exif=bytes(exif[:length])))
    photo = read_photo(path)
    assert {photo.width, photo.height} == {96, 72}


# Files that are refused


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(reason, picture, kind, share):
    content = encoded(picture(1, (400, 300)), kind.split()[0], **LOSSLESS[kind])
    why = reason(content[: int(share * len(content))])
    assert why.startswith("damaged")
    assert "Error" not in why and "object at" not in why


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damaged_pixels_are_refused_or_read(read, picture, kind):
    content = bytearray(encoded(picture(1, (400, 300)), kind))
    content[len(content) // 2 : len(content) // 2 + 200] = b"\x55" * 200
    try:
        assert Image.open(io.BytesIO(read(bytes(content)).jpeg)).size == (400, 300)
    except NotAPhoto as why:
        assert str(why).startswith("damaged")


def test_an_exception_without_a_message_gives_a_reason(reason, picture, monkeypatch):
    def fail(*args: object) -> None:
        raise ValueError

    monkeypatch.setattr(decode, "_shrink", fail)
    assert reason(encoded(picture(1), "JPEG")) == "damaged: it cannot be decoded"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"\0" * 5000, "not a picture (nothing but zero bytes)"),
        (np.random.default_rng(1).bytes(5000), "not a picture (unknown content)"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "not a picture (a web page)"),
        (b"\xef\xbb\xbf \r\n<HTML lang=en>", "not a picture (a web page)"),
        (zipped(), "not a picture (a zip archive)"),
        (b"this is just text", "not a picture (text)"),
        (json.dumps({"title": "IMG_1.jpg"}).encode(), "not a picture (text)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture (text)"),
    ],
)
def test_the_reason_says_what_a_file_is_instead(reason, content, why):
    assert reason(content) == why


def other_compression(number: int) -> bytes:
    content = bytearray(tiff(np.zeros((40, 40, 3), np.uint8), photometric="rgb"))
    place = content.index(struct.pack("<HHI", 259, 3, 1)) + 8
    content[place : place + 2] = struct.pack("<H", number)
    return bytes(content)


def other_frame(marker: int, bits: int) -> bytes:
    """A JPEG whose frame states another process or depth."""
    content = bytearray(encoded(Image.new("L", (40, 40)), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 1], content[place + 4] = marker, bits
    return bytes(content)


def raw_with_preview() -> bytes:
    """A raw photo as cameras write it: a TIFF whose first picture is a small preview."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(np.zeros((40, 60, 3), np.uint8), photometric="rgb", subifds=1)
        writer.write(np.zeros((400, 600), np.uint16), photometric="cfa")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\0" * 128 + b"DICM" + b"\2\0\0\0UL" + b"\0" * 500, "DICOM"),
        (b"SIMPLE  =                    T" + b" " * 2000, "FITS"),
        (b"\\\x01\0\0" + b"\0" * 340 + b"n+1\0" + b"\0" * 900, "NIfTI"),
        (gzip.compress(b"\\\x01\0\0" + b"\0" * 340 + b"n+1\0" + b"\0" * 900, mtime=0), "NIfTI"),
        (b"v/1\x01" + b"\0" * 60, "EXR"),
        (b"8BPS\0\x01" + b"\0" * 40, "Photoshop"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg width='9' height='9'/>", "SVG"),
        (b"\0\0\0\x20ftypcrx \0\0\0\x01crx isom", "raw photo"),
        (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 200, "raw photo"),
        (tiff(np.zeros((40, 40, 3), np.uint8), extratags=[(50706, "B", 4, b"\1\4\0\0", True)]), "raw photo"),
        (raw_with_preview(), "raw photo"),
        (tiff(np.zeros((40, 40, 7), np.uint16), photometric="minisblack", planarconfig="contig"), "7 bands"),
        (tiff(np.zeros((40, 40, 5), np.uint8), photometric="rgb"), "5 bands"),
        (tiff(np.zeros((40, 40, 3), np.float32), photometric="rgb"), "floating-point"),
        (tiff(np.zeros((40, 40), np.float64)), "64-bit"),
        (tiff(np.zeros((3, 40, 40), np.uint16), photometric="rgb", planarconfig="separate"), "planes"),
        (other_compression(34712), "34712"),
        (other_compression(34887), "34887"),
        (other_frame(0xC0, 12), "12 bits"),
        (other_frame(0xC3, 8), "lossless"),
    ],
)
def test_a_picture_of_an_unsupported_kind_is_not_called_damaged(reason, content, what):
    why = reason(content)
    assert why.startswith("not supported") and what in why and "convert it to PNG or JPEG" in why


@pytest.mark.parametrize(
    "start", [b"\0\0\0\x14ftypqt  ", b"\0\0\0\x18ftypmp42", b"RIFF\xff\xff\xff\x7fAVI LIST", b"\x1a\x45\xdf\xa3\x01"]
)
def test_a_video_is_not_read_to_its_end(tmp_path, start):
    with (tmp_path / "IMG_1.mov").open("wb") as file:
        file.write(start)
        file.truncate(3 * 2**40)  # a sparse file: reading it would take all memory
    with pytest.raises(NotAPhoto, match=r"^not supported: a video of 3,298,535 MB"):
        read_photo(tmp_path / "IMG_1.mov")


def test_a_file_larger_than_any_photo_is_not_read_to_its_end(tmp_path):
    with (tmp_path / "disk.img").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(NotAPhoto, match=r"^not a photo but something of 1,099,512 MB$"):
        read_photo(tmp_path / "disk.img")


def bomb(kind: str) -> bytes:
    """A header that states 30,000 × 30,000 pixels, with almost no data after it."""
    dot = np.zeros((1, 1), dtype=np.uint8)
    if kind == "PNG":
        return png(dot, 0, size=(30_000, 30_000))
    content = bytearray(encoded(Image.fromarray(dot), kind))
    if kind == "JPEG":
        frame = content.index(b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", 30_000, 30_000)
        image = content.index(b"\x2c")
        content[image + 5 : image + 9] = struct.pack("<HH", 30_000, 30_000)
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", 30_000, 30_000)
    elif kind == "TIFF":
        for tag in (256, 257):  # width, height: as a 32-bit number
            place = content.index(struct.pack("<HHII", tag, 4, 1, 1))
            content[place + 8 : place + 12] = struct.pack("<I", 30_000)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
def test_a_decompression_bomb_is_refused_unread(reason, kind):
    assert reason(bomb(kind)) == "more than 250 megapixels"


def test_a_picture_of_250_megapixels_is_not_refused_for_its_size(reason):
    assert "megapixels" not in reason(png(np.zeros((1, 1), dtype=np.uint8), 0, size=(15_000, 15_000)))


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((1, 1), "1 × 1 pixels: too small, the shorter side needs 16"),
        ((1, 10_000), "1 × 10000 pixels: too small, the shorter side needs 16"),
        ((15, 15), "15 × 15 pixels: too small, the shorter side needs 16"),
        ((20, 70_000), "20 × 70000 pixels: a strip too long for a photo"),
    ],
)
def test_pictures_of_impossible_sizes_are_refused(reason, size, why):
    assert reason(encoded(Image.new("L", size), "PNG")) == why


def test_what_cannot_be_read_can_be_tried_again(tmp_path, monkeypatch, make_photo):
    with pytest.raises(NotReadable, match=r"^cannot be read \(No such file or directory\)$"):
        read_photo(tmp_path / "gone.jpg")
    with pytest.raises(NotReadable, match=r"^cannot be read \(Is a directory\)$"):
        read_photo(tmp_path)
    photo = make_photo(tmp_path / "a.jpg", 1)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched, pytest.raises(NotReadable, match="Permission denied"):
        patched.setattr(Path, "open", denied)
        read_photo(photo)

    def too_much(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(NotReadable, match="memory"):
        patched.setattr(decode, "_shrink", too_much)
        read_photo(photo)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0\x08\0\0\0"])
)
def test_any_bytes_are_a_photo_or_have_a_reason(tmp_path_factory, content, start):
    path = tmp_path_factory.getbasetemp() / "any.jpg"
    path.write_bytes(start + content)
    with pytest.raises(
        NotAPhoto, match=r"^(damaged|not a picture|not supported|the file is empty|.* pixels: |more than)"
    ):
        read_photo(path)


def test_reading_in_two_threads_leaves_the_warnings_of_others_alone(tmp_path, monkeypatch, make_photo):
    """Warning filters belong to the whole process: two threads that each set and restore them leave them set."""
    photos = [make_photo(tmp_path / f"{number}.jpg", number) for number in range(2)]
    second_in, first_out = threading.Event(), threading.Event()
    prepare = decode._prepare

    def staged(opened, data):
        if threading.current_thread().name == "first":
            assert second_in.wait(10)
        else:
            second_in.set()
            assert first_out.wait(10)
        return prepare(opened, data)

    monkeypatch.setattr(decode, "_prepare", staged)
    before = list(warnings.filters)
    first = threading.Thread(target=read_photo, args=photos[:1], name="first")
    second = threading.Thread(target=read_photo, args=photos[1:], name="second")
    first.start(), second.start()
    first.join(), first_out.set(), second.join()
    assert list(warnings.filters) == before


# Near-duplicates


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_duplicates_have_near_hashes(picture):
    original = picture(1, (400, 300))
    hashed = perceptual_hash(original)
    assert len(hashed) == 16
    for duplicate in (
        Image.open(io.BytesIO(encoded(original, "JPEG", quality=30))),
        original.resize((150, 120)),
        original.resize((1600, 1200)),
        original.convert("L"),
        original.point(lambda value: value * 0.8 + 20),
        original.crop((4, 3, 396, 297)),
    ):
        assert distance(hashed, perceptual_hash(duplicate)) <= 6


def test_different_pictures_have_far_hashes(picture):
    hashes = [perceptual_hash(picture(seed)) for seed in range(60)]
    assert min(distance(a, b) for number, a in enumerate(hashes) for b in hashes[:number]) > 10


@pytest.mark.parametrize("colour", ["black", "white", (120, 30, 200)])
def test_a_plain_surface_has_no_hash(read, colour):
    plain = Image.new("RGB", (200, 100), colour)
    assert perceptual_hash(plain) == ""
    assert read(encoded(plain, "JPEG")).phash == ""
    plain.putpixel((5, 5), (90, 90, 90))
    assert perceptual_hash(plain) == ""
