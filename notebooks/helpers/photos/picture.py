"""How does one file become an upright RGB picture, the same way for every class and every camera?"""

import hashlib
import io
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from scipy.fft import dctn

from helpers.photos.kinds import kind_of, why_no_picture

#: Shorter side of a prepared photo in pixels: a little over what any backbone here reads (InceptionV3: 299).
SHORTER_SIDE = 320
#: A photo with a shorter side below this many pixels shows nothing that could be learnt.
SMALLEST_SIDE = 16
#: Changes whenever prepared pixels would: part of what tells a prepared photo from an outdated one.
RECIPE = f"rgb-{SHORTER_SIDE}-lanczos-jpeg95-1"
#: Formats read; JPEG takes in MPO, the phones' several JPEGs in one. The others that Pillow knows are drawings or
#: programs (EPS runs Ghostscript), not photos.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "HEIF", "AVIF")
#: No photo is larger on disk: 250 megapixels of RGB. A video is, and reading it whole would fill the memory.
LARGEST_FILE = 750 * 10**6
#: libjpeg writes no longer side, in pixels.
_LONGEST_SIDE = 65_500
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

pillow_heif.register_heif_opener()
# A 200-megapixel phone photo is real; Pillow refuses at twice this number of pixels.
Image.MAX_IMAGE_PIXELS = 125_000_000


class NotAPhoto(Exception):
    """A file that cannot be used, with a reason in words its owner understands."""


class NotReadable(NotAPhoto):
    """A file that could not be read this time, through no fault of its content: worth another try."""


@dataclass(frozen=True)
class Photo:
    """One prepared photo: its JPEG bytes, and what its file said. Sizes in pixels (upright), `bytes` on disk."""

    jpeg: bytes
    digest: str
    width: int
    height: int
    bytes: int
    format: str
    taken: str | None
    camera: str | None
    phash: str


def middle_square(picture: Image.Image, size: int) -> Image.Image:
    """The middle square of a picture, in RGB, resized with antialiasing to `size` × `size` pixels.

    The one resize of the project: what networks read and what is measured of a photo both go through it.
    """
    return ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BICUBIC)


def read_photo(path: Path) -> Photo:
    """Read any supported file by its content, whatever its name says. Raises NotAPhoto with the reason if it cannot."""
    data = _content(path)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return _prepare(opened, data)
    except UnidentifiedImageError as error:
        raise NotAPhoto(why_no_picture(data)) from error
    except Image.DecompressionBombError as error:
        raise NotAPhoto(f"more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} megapixels") from error
    except MemoryError as error:
        raise NotReadable("too large for this machine's memory") from error
    except NotAPhoto:
        raise
    except Exception as error:
        # Decoders raise anything on damaged files, by format; all of it means the same to the photo's owner.
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise NotAPhoto(_CUT_SHORT if cut else f"damaged: {error or type(error).__name__}") from error


_CUT_SHORT = "damaged: the file is cut short"


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start, size = file.read(512), os.fstat(file.fileno()).st_size
            if size > LARGEST_FILE or kind_of(start) == "a video":
                raise NotAPhoto(f"not a photo but {kind_of(start) or 'something'} of {size / 10**6:,.0f} MB")
            data = start + file.read()
    except OSError as error:
        raise NotReadable(f"cannot be read ({error.strerror})") from error
    except MemoryError as error:
        raise NotReadable("too large for this machine's memory") from error
    if not data:
        raise NotAPhoto("the file is empty (0 bytes)")
    return data


def _prepare(opened: Image.Image, data: bytes) -> Photo:
    file_format, exif = opened.format or "", _exif(opened)
    # Pillow turns a TIFF by itself while it loads it, and gives its size upright from the start.
    turn = 1 if file_format == "TIFF" else _tag(exif, ExifTags.Base.Orientation)
    width, height = opened.size[::-1] if turn in (5, 6, 7, 8) else opened.size
    if min(width, height) < SMALLEST_SIDE:
        raise NotAPhoto(f"{width} × {height} pixels: too small, the shorter side needs {SMALLEST_SIDE}")
    if max(width, height) * min(1, SHORTER_SIDE / min(width, height)) > _LONGEST_SIDE:
        raise NotAPhoto(f"{width} × {height} pixels: a strip too long for a photo")
    # Reading a JPEG at 1/2, 1/4 or 1/8 of its size takes a fraction of the time; twice the target keeps it sharp.
    opened.draft(None, (2 * SHORTER_SIDE, 2 * SHORTER_SIDE))
    picture = _to_rgb(_shrink(opened))
    if turn in _TURNS:
        picture = picture.transpose(_TURNS[turn])
    picture.info = {}  # Pillow would write the comment it read
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=95, subsampling=0)
    camera = " ".join(filter(None, (_text(_tag(exif, tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))))
    return Photo(
        jpeg=jpeg.getvalue(),
        digest=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        bytes=len(data),
        format="JPEG" if file_format == "MPO" else file_format,
        taken=_taken(exif),
        camera=camera or None,
        phash=perceptual_hash(picture),
    )


def _shrink(picture: Image.Image) -> Image.Image:
    """Bring the shorter side down to SHORTER_SIDE, never up. What resizing would blur gets its plain colours first."""
    picture.load()
    scale = SHORTER_SIDE / min(picture.size)
    if scale >= 1:
        return picture
    if picture.mode in ("1", "P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if _has_alpha(picture) else "RGB")
    elif _is_deep(picture):
        picture = _from_16_bit(picture)
    size = tuple(max(SHORTER_SIDE, round(side * scale)) for side in picture.size)
    small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    small.info = picture.info
    return small


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode as 8-bit sRGB: 16 bits scaled, transparency laid on white, colour profiles applied."""
    profile = picture.info.get("icc_profile")
    if _is_deep(picture):
        picture = _from_16_bit(picture)
    if _has_alpha(picture):
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    elif picture.mode in ("1", "P", "PA"):
        picture = picture.convert("RGB")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a profile that does not fit its picture says nothing about the colours: read them plainly
    return picture.convert("RGB")


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _from_16_bit(picture: Image.Image) -> Image.Image:
    """Grey values of more than 8 bits as 8: 65535 is white (257 = 65535 / 255); floats from 0 to 1 or 0 to 255."""
    grey = np.asarray(picture, dtype=np.float64)
    top = float(np.nanmax(grey, initial=0))
    divisor = 1 / 255 if picture.mode == "F" and top <= 1 else 257 if top > 255 or picture.mode.startswith("I;") else 1
    shallow = Image.fromarray(np.clip(np.nan_to_num(grey) / divisor + 0.5, 0, 255).astype(np.uint8))
    shallow.info = {"icc_profile": picture.info.get("icc_profile")}
    return shallow


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _exif(picture: Image.Image) -> Image.Exif:
    try:
        return picture.getexif()
    except Exception:  # damaged metadata, many kinds of error: the pixels are what counts
        return Image.Exif()


def _tag(exif: Image.Exif, tag: int) -> Any:
    try:
        return exif.get(tag)
    except Exception:  # as in _exif: values are decoded when they are asked for
        return None


def _text(value: Any) -> str:
    return " ".join(str(value).replace("\x00", " ").split()) if isinstance(value, str) else ""


def _taken(exif: Image.Exif) -> str | None:
    """When the photo was taken, as ISO 8601 without a time zone (cameras write none), or None."""
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # as in _exif
        details = {}
    for value in (details.get(ExifTags.Base.DateTimeOriginal), _tag(exif, ExifTags.Base.DateTime)):
        try:
            return datetime.strptime(_text(value)[:19], "%Y:%m:%d %H:%M:%S").isoformat()
        except ValueError:
            continue
    return None


def perceptual_hash(picture: Image.Image) -> str:
    """64 bits of a picture's coarse structure as 16 hex digits, or "" where there is none (a plain surface).

    The signs of the lowest 8×8 frequencies of a 32×32 grey thumbnail against their median (pHash: Zauner,
    "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010).
    """
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float32)
    if grey.std() < 2:
        return ""
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    return np.packbits(low > np.median(low)).tobytes().hex()
