"""Decoding: any image file as an upright RGB JPEG, with what the file says about itself."""

import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from scipy.fft import dctn

#: Shorter side of a prepared photo in pixels: a little more than any backbone here reads (InceptionV3: 299).
SHORTER_SIDE = 320
#: A photo with a shorter side of fewer pixels shows nothing that a network could use.
SMALLEST_SIDE = 16
#: Changes whenever the prepared pixels would, so that photos prepared before are recognized as outdated.
RECIPE = f"rgb-{SHORTER_SIDE}-lanczos-jpeg95-1"
#: JPEG includes MPO, several JPEGs in one file as phones write them. The other formats that Pillow reads are drawings
#: or programs (EPS runs Ghostscript), not photos.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "HEIF", "AVIF")
_MOST_PIXELS = 250 * 10**6
#: Bytes of as many pixels. Larger files are videos or disk images, which would fill the memory.
LARGEST_FILE = 3 * _MOST_PIXELS
_LONGEST_SIDE = 65_500  # pixels: the limit of libjpeg
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations with width and height exchanged
_SIGNATURES = {
    **{b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"II*\x00": "TIFF", b"MM\x00*": "TIFF"},
    **{b"PK\x03\x04": "a zip archive", b"%PDF": "a PDF document", b"8BPS": "a Photoshop drawing"},
    b"\x1a\x45\xdf\xa3": "a video",
}
# Brands in the first box of an ISO media file (ISO/IEC 14496-12).
_BRANDS = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF", b"crx": "a raw photo"}

pillow_heif.register_heif_opener()
# Pillow warns above this number and refuses above twice as many; phones take photos of 200 megapixels.
Image.MAX_IMAGE_PIXELS = _MOST_PIXELS // 2


class NotAPhoto(Exception):
    """The file cannot be used. The message is the reason, for the owner of the photos."""


class NotReadable(NotAPhoto):
    """The file could not be read this time, for a reason outside its content. Trying again later can succeed."""


@dataclass(frozen=True)
class Photo:
    """A prepared photo, `jpeg`, and facts about its original file."""

    jpeg: bytes
    digest: str  #: SHA-256 of the file
    width: int  #: pixels, upright, as the height
    height: int
    bytes: int
    format: str
    taken: str | None  #: ISO 8601 without a time zone, because cameras write none
    camera: str | None
    phash: str


def read_photo(path: Path) -> Photo:
    """Read a photo in any supported format, recognized by its content, or raise NotAPhoto with the reason."""
    try:
        data = _read_bytes(path)
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return _prepare(opened, data)
    except UnidentifiedImageError as error:
        raise NotAPhoto(_why_unidentified(data)) from error
    except Image.DecompressionBombError as error:
        raise NotAPhoto(f"more than {_MOST_PIXELS // 10**6} megapixels") from error
    except MemoryError as error:
        raise NotReadable("too large for the memory of this machine") from error
    except NotAPhoto:
        raise
    except Exception as error:  # each decoder raises other exceptions on damaged files
        truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
        cause = "the file is truncated" if truncated else str(error) or "it cannot be decoded"
        raise NotAPhoto(f"damaged: {cause}") from error


def middle_square(picture: Image.Image, size: int) -> Image.Image:
    """Return the middle square of a picture in RGB, resized with antialiasing to `size` × `size` pixels."""
    return ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BICUBIC)


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


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start, size = file.read(512), os.fstat(file.fileno()).st_size
            if size > LARGEST_FILE or _content_type(start) == "a video":
                raise NotAPhoto(f"not a photo but {_content_type(start) or 'something'} of {size / 10**6:,.0f} MB")
            data = start + file.read()
    except OSError as error:
        raise NotReadable(f"cannot be read ({error.strerror})") from error
    if not data:
        raise NotAPhoto("the file is empty (0 bytes)")
    return data


def _content_type(start: bytes) -> str:
    """Return what the first bytes of a file promise: "JPEG", "a video", or "" if unknown."""
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:11], "a video")
    if start[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "a video"}.get(start[8:12], "")
    return next((content for signature, content in _SIGNATURES.items() if start.startswith(signature)), "")


def _why_unidentified(data: bytes) -> str:
    content, start = _content_type(data), data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if content and not content.startswith("a "):
        return f"damaged: it begins like a {content} and cannot be decoded"
    if start.startswith((b"<!doctype html", b"<html")):
        content = "a web page"
    elif b"<svg" in start:
        content = "an SVG drawing"
    elif not data.strip(b"\x00"):
        content = "nothing but zero bytes"
    elif not content and b"\x00" not in start and start.isascii():
        content = "text"
    return f"not a picture ({content or 'unknown content'})"


def _prepare(opened: Image.Image, data: bytes) -> Photo:
    # Pillow turns a TIFF upright when it loads it, and gives its size upright from the start.
    orientation = 1 if opened.format == "TIFF" else _tag(opened, ExifTags.Base.Orientation)
    width, height = opened.size[::-1] if orientation in _SIDEWAYS else opened.size
    if min(width, height) < SMALLEST_SIDE:
        raise NotAPhoto(f"{width} × {height} pixels: too small, the shorter side needs {SMALLEST_SIDE}")
    if max(width, height) * min(1, SHORTER_SIDE / min(width, height)) > _LONGEST_SIDE:
        raise NotAPhoto(f"{width} × {height} pixels: a strip too long for a photo")
    # Reading a JPEG at 1/2, 1/4 or 1/8 of its size takes a fraction of the time; twice the target keeps it sharp.
    opened.draft(None, (2 * SHORTER_SIDE, 2 * SHORTER_SIDE))
    picture = _to_rgb(_shrink(opened))
    picture.info = {}  # Pillow would write the comment that it read
    # The one tag that is needed: exif_transpose writes back all of EXIF, which fails if it is damaged.
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    picture = ImageOps.exif_transpose(picture)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=95, subsampling=0)
    camera = [_text(_tag(opened, tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    return Photo(
        jpeg=jpeg.getvalue(),
        digest=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        bytes=len(data),
        format="JPEG" if opened.format == "MPO" else opened.format or "",
        taken=_taken(opened),
        camera=" ".join(filter(None, camera)) or None,
        phash=perceptual_hash(picture),
    )


def _shrink(picture: Image.Image) -> Image.Image:
    """Reduce the shorter side to SHORTER_SIDE, never enlarge it.

    Palettes, transparent colours and 16 bits are converted before, because resizing would blur or clip them.
    """
    picture.load()
    scale = SHORTER_SIDE / min(picture.size)
    if scale >= 1:
        return picture
    if picture.mode in ("1", "P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if _has_alpha(picture) else "RGB")
    elif _is_deep(picture):
        picture = _from_16_bit(picture)
    width, height = (max(SHORTER_SIDE, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Return any mode as 8-bit sRGB: 16 bits scaled, transparency laid on white, colour profiles applied."""
    profile = picture.info.get("icc_profile")
    if _is_deep(picture):
        picture = _from_16_bit(picture)
    if _has_alpha(picture):
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    elif picture.mode in ("1", "P", "PA"):
        picture = picture.convert("RGB")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        with suppress(ImageCms.PyCMSError, OSError):  # the profile does not fit the picture
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            picture = ImageCms.profileToProfile(picture, source, target, outputMode="RGB") or picture
    return picture.convert("RGB")


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _from_16_bit(picture: Image.Image) -> Image.Image:
    """Return grey values of more than 8 bits as 8 bits. Floats are from 0 to 1 or from 0 to 255."""
    grey = np.asarray(picture, dtype=np.float64)
    largest = np.nanmax(grey, initial=0)
    divisor = 1.0
    if picture.mode == "F" and largest <= 1:
        divisor = 1 / 255
    elif largest > 255 or picture.mode.startswith("I;"):
        divisor = 65535 / 255
    shallow = Image.fromarray(np.clip(np.nan_to_num(grey) / divisor + 0.5, 0, 255).astype(np.uint8))
    shallow.info = {"icc_profile": picture.info.get("icc_profile")}
    return shallow


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
