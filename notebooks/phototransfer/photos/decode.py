"""Decoding: any image file as an upright RGB JPEG, with what the file says about itself."""

import hashlib
import io
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError
from scipy.fft import dctn

from phototransfer.photos.depth import Depth, NoValues, Range, is_deep, to_8_bits
from phototransfer.photos.file_types import (
    content_type,
    is_video,
    why_unidentified,
    why_unsuitable_tiff,
    why_unsupported,
)

#: Shorter side of a prepared photo in pixels: a little more than any backbone here reads (InceptionV3: 299).
SHORTER_SIDE = 320
#: A photo with a shorter side of fewer pixels shows nothing that a network could use.
SMALLEST_SIDE = 16
#: Changes whenever the prepared pixels would, so that photos prepared before are recognized as outdated.
RECIPE = f"rgb-{SHORTER_SIDE}-lanczos-jpeg95-2"
#: JPEG includes MPO, several JPEGs in one file as phones write them. The other formats that Pillow reads are drawings
#: or programs (EPS runs Ghostscript), not photos.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "HEIF", "AVIF")
_MOST_PIXELS = 250 * 10**6
_LARGE = 50 * 10**6  # pixels
#: Bytes of as many pixels. Larger files are videos or disk images, which would fill the memory.
LARGEST_FILE = 3 * _MOST_PIXELS
_LONGEST_SIDE = 65_500  # pixels: the limit of libjpeg
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations with width and height exchanged
PADDING = (127, 127, 127)
#: A picture with fewer levels between its darkest and its brightest pixels is nearly blank.
_FEWEST_LEVELS = 16
_FEW_PIXELS = 0.001  # fraction of the pixels that may be darker or brighter: dust
#: A transparent picture vanishes on white if fewer of its opaque pixels than this fraction differ visibly from it.
_VISIBLE_LEVELS, _VISIBLE_SHARE = 32, 0.02

pillow_heif.register_heif_opener()
# Pillow warns above this number and refuses above twice as many; phones take photos of 200 megapixels.
Image.MAX_IMAGE_PIXELS = _MOST_PIXELS // 2


_Decoded = TypeVar("_Decoded")


class NotAPhoto(Exception):
    """The file cannot be used. The message is the reason, for the owner of the photos."""


class NotReadable(NotAPhoto):
    """The file could not be read this time, for a reason outside its content. Trying again later can succeed."""


@dataclass(frozen=True)
class Photo:
    """A prepared photo, `jpeg`, and facts about its original file."""

    jpeg: bytes
    digest: str  #: SHA-256 of the file, and of the range of its values if it has more than 8 bits
    width: int  #: pixels, upright, as the height
    height: int
    bytes: int
    format: str
    taken: str | None  #: ISO 8601 without a time zone, because cameras write none
    camera: str | None
    phash: str
    blank: bool  #: nothing, or nearly nothing, is to be seen in it
    depth: Depth | None  #: None for 8 bits


def read_photo(path: Path, ranges: Mapping[str, Range] = MappingProxyType({})) -> Photo:
    """Read a photo in any supported format, recognized by its content, or raise NotAPhoto with the reason.

    Parameters
    ----------
    ranges : mapping
        Which values become 0–255 in pictures of more than 8 bits, by kind, from `set_ranges`. Without an entry the
        values of the file itself decide.
    """
    return _read(path, lambda opened, data: _prepare(opened, data, ranges))


def read_pixels(path: Path, ranges: Mapping[str, Range] = MappingProxyType({})) -> np.ndarray:
    """Read a photo as `read_photo` does, without reducing its size: uint8 (height, width, 3), upright, RGB 0–255.

    Pictures of more than 50 megapixels are reduced by a whole number, because a network would need gigabytes for them.
    """
    return _read(path, lambda opened, data: _decode(opened, data, ranges))


def fit_square(picture: Image.Image, size: int, fit: str) -> Image.Image:
    """Return what the network sees of a picture: its middle square ("crop"), or all of it, padded ("pad").

    The position of the square, the padding and the interpolation are those of the layer `keras.layers.Resizing`, so
    that a saved model can do the same. The padding is grey, which is nearly 0 after each network's preprocessing.
    """
    if fit != "pad":
        return middle_square(picture, size)
    picture = picture.convert("RGB")
    left, top = ((max(picture.size) - side) // 2 for side in picture.size)
    square = Image.new("RGB", (picture.width + 2 * left, picture.height + 2 * top), PADDING)
    square.paste(picture, (left, top))
    return square.resize((size, size), Image.Resampling.BICUBIC)


def middle_square(picture: Image.Image, size: int) -> Image.Image:
    """Return the middle square of a picture in RGB, resized with antialiasing to `size` × `size` pixels."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    box = (left, top, left + side, top + side)
    return picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=box)


def perceptual_hash(picture: Image.Image) -> str:
    """Return 64 bits of the coarse structure of a picture as 16 hexadecimal digits, or "" for a plain surface.

    The bits compare the lowest 8 × 8 frequencies of a 32 × 32 grey thumbnail with their median (pHash: Zauner,
    "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010).
    """
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float32)
    if grey.std() < 2:
        return ""
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    return np.packbits(low > np.median(low)).tobytes().hex()


def _read(path: Path, decode: Callable[[ImageFile.ImageFile, bytes], _Decoded]) -> _Decoded:
    """Return what `decode` makes of an image file and its bytes, or raise NotAPhoto with the reason."""
    try:
        data = _read_bytes(path)
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return decode(opened, data)
    except UnidentifiedImageError as error:
        raise NotAPhoto(why_unidentified(data)) from error
    except Image.DecompressionBombError as error:
        raise NotAPhoto(f"more than {_MOST_PIXELS // 10**6} megapixels") from error
    except MemoryError as error:
        raise NotReadable("too large for the memory of this machine") from error
    except NotAPhoto:
        raise
    except NoValues as error:
        raise NotAPhoto(f"damaged: {error}") from error
    except Exception as error:  # each decoder raises other exceptions on damaged files
        if reason := why_unsupported(data):
            raise NotAPhoto(reason) from error
        truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
        cause = "the file is truncated" if truncated else str(error) or "it cannot be decoded"
        raise NotAPhoto(f"damaged: {cause}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start, size = file.read(512), os.fstat(file.fileno()).st_size
            if is_video(start):
                raise NotAPhoto(f"not supported: a video of {size / 10**6:,.0f} MB, save its frames as PNG or JPEG")
            if size > LARGEST_FILE:
                content = content_type(start) or "something"
                raise NotAPhoto(f"not a photo but {content} of {size / 10**6:,.0f} MB")
            data = start + file.read()
    except OSError as error:
        raise NotReadable(f"cannot be read ({error.strerror})") from error
    if not data:
        raise NotAPhoto("the file is empty (0 bytes)")
    return data


def _prepare(opened: ImageFile.ImageFile, data: bytes, ranges: Mapping[str, Range]) -> Photo:
    picture, depth = _open_pixels(opened, data, ranges)
    orientation = _orientation(opened)
    width, height = opened.size[::-1] if orientation in _SIDEWAYS else opened.size
    if max(width, height) * min(1, SHORTER_SIDE / min(width, height)) > _LONGEST_SIDE:
        raise NotAPhoto(f"{width} × {height} pixels: a strip too long for a photo")
    # Reading a JPEG at 1/2, 1/4 or 1/8 of its size takes a fraction of the time; twice the target keeps it sharp.
    opened.draft(None, (2 * SHORTER_SIDE, 2 * SHORTER_SIDE))
    picture = _upright(_to_rgb(_shrink(picture)), orientation)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=95, subsampling=0)
    # The features of a photo are cached by its digest, and another range gives other features.
    digest = hashlib.sha256(data if depth is None else data + repr(depth.range).encode())
    camera = [_text(_tag(opened, tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    return Photo(
        jpeg=jpeg.getvalue(),
        digest=digest.hexdigest(),
        width=width,
        height=height,
        bytes=len(data),
        format="JPEG" if opened.format == "MPO" else opened.format or "",
        taken=_taken(opened),
        camera=" ".join(filter(None, camera)) or None,
        phash=perceptual_hash(picture),
        blank=_is_blank(picture),
        depth=depth,
    )


def _decode(opened: ImageFile.ImageFile, data: bytes, ranges: Mapping[str, Range]) -> np.ndarray:
    picture, _ = _open_pixels(opened, data, ranges)
    picture.load()
    factor = math.ceil(math.sqrt(picture.width * picture.height / _LARGE))
    picture = _upright(_to_rgb(picture), _orientation(opened))
    return np.asarray(picture.reduce(factor) if factor > 1 else picture)


def _open_pixels(
    opened: ImageFile.ImageFile, data: bytes, ranges: Mapping[str, Range]
) -> tuple[Image.Image, Depth | None]:
    """Return the picture with 8 bits per channel, and how it came from more; raise NotAPhoto if it is unsuitable."""
    if opened.format == "TIFF" and (reason := why_unsuitable_tiff(data)):
        raise NotAPhoto(reason)
    picture: Image.Image = opened
    depth = None
    if is_deep(opened):  # asked first, because reading the tags of a PNG loads its pixels
        picture, depth = to_8_bits(opened, data, ranges)
    width, height = opened.size[::-1] if _orientation(opened) in _SIDEWAYS else opened.size
    if min(width, height) < SMALLEST_SIDE:
        raise NotAPhoto(f"{width} × {height} pixels: too small, the shorter side needs {SMALLEST_SIDE}")
    return picture, depth


def _orientation(opened: ImageFile.ImageFile) -> Any:
    # Pillow turns a TIFF upright when it loads it, and gives its size upright from the start.
    return 1 if opened.format == "TIFF" else _tag(opened, ExifTags.Base.Orientation)


def _upright(picture: Image.Image, orientation: Any) -> Image.Image:
    picture.info = {}  # Pillow would write the comment that it read
    # The one tag that is needed: exif_transpose writes back all of EXIF, which fails if it is damaged.
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(picture)


def _shrink(picture: Image.Image) -> Image.Image:
    """Reduce the shorter side to SHORTER_SIDE, never enlarge it.

    Palettes and transparent colours are converted before, because resizing would blur them.
    """
    picture.load()
    scale = SHORTER_SIDE / min(picture.size)
    if scale >= 1:
        return picture
    if picture.mode in ("1", "P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if _has_alpha(picture) else "RGB")
    width, height = (max(SHORTER_SIDE, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Return any mode as 8-bit sRGB: transparency laid on a visible background, colour profiles applied."""
    profile = picture.info.get("icc_profile")
    if _has_alpha(picture):
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, _background(rgba)), rgba).convert("RGB")
    elif picture.mode in ("1", "P", "PA"):
        picture = picture.convert("RGB")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        with suppress(ImageCms.PyCMSError, OSError):  # the profile does not fit the picture
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            picture = ImageCms.profileToProfile(picture, source, target, outputMode="RGB") or picture
    return picture.convert("RGB")


def _background(picture: Image.Image) -> str:
    """Return "white", or "black" for a picture in RGBA that would vanish on white, as white icons do."""
    pixels = np.asarray(picture)
    alpha = pixels[..., 3].astype(np.float32) / 255
    difference = (255 - pixels[..., :3].min(axis=2)) * alpha  # from white, where it is laid on white
    vanishes = (difference >= _VISIBLE_LEVELS).sum() < _VISIBLE_SHARE * alpha.sum()
    return "black" if vanishes and alpha.min() < 0.5 else "white"


def _is_blank(picture: Image.Image) -> bool:
    """Return whether all but a few pixels of a picture in RGB have nearly one colour."""
    sample = picture.resize((128, 128), Image.Resampling.NEAREST)  # of its pixels, for speed
    shares = np.cumsum(np.reshape(sample.histogram(), (3, 256)), axis=1) / (sample.width * sample.height)
    darkest, brightest = (shares < _FEW_PIXELS).sum(axis=1), (shares < 1 - _FEW_PIXELS).sum(axis=1)
    return bool((brightest - darkest).max() < _FEWEST_LEVELS)


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _tag(picture: Image.Image, tag: int, ifd: int | None = None) -> Any:
    try:
        exif = picture.getexif()
        return (exif.get_ifd(ifd) if ifd else exif).get(tag)
    except Exception:  # damaged metadata raises many types of exceptions, and only the pixels matter
        return None


def _text(value: Any) -> str:
    return " ".join(str(value).replace("\x00", " ").split()) if isinstance(value, str) else ""


def _taken(picture: Image.Image) -> str | None:
    original = _tag(picture, ExifTags.Base.DateTimeOriginal, ExifTags.IFD.Exif)
    for value in (original, _tag(picture, ExifTags.Base.DateTime)):
        with suppress(ValueError):
            return datetime.strptime(_text(value)[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    return None
