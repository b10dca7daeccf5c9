"""What a file is by its content, and why a file that looks like a picture is not supported."""

import io
import struct
import zlib
from contextlib import suppress

from PIL.TiffImagePlugin import ImageFileDirectory_v2

#: What to do with a file that shows a picture and is in none of the formats that are read.
CONVERT = "convert it to PNG or JPEG"
_PICTURES = {
    **{b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF"},
    **dict.fromkeys((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), "TIFF"),
}
_UNSUPPORTED = {
    **{b"%PDF": "a PDF document", b"8BPS": "a Photoshop drawing", b"gimp xcf": "a GIMP drawing"},
    **{b"v/1\x01": "an OpenEXR picture", b"#?RADIANCE": "a Radiance picture", b"SIMPLE  =": "a FITS picture"},
    **{b"\xff\x0a": "a JPEG XL picture", b"\x00\x00\x00\x0cJXL ": "a JPEG XL picture", b"II\xbc": "a JPEG XR picture"},
    **{b"PF\n": "a PFM picture in colour", b"BPG\xfb": "a BPG picture", b"DDS ": "a DDS texture"},
    **{b"\x93NUMPY": "a NumPy array", b"\x89HDF": "an HDF5 file", b"MATLAB 5": "a MATLAB file"},
    **{b"\xd7\xcd\xc6\x9a": "a WMF drawing", b"CDF\x01": "a NetCDF file", b"CDF\x02": "a NetCDF file"},
    **dict.fromkeys((b"FUJIFILMCCD-RAW", b"IIU\x00", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\x00MRM"), "a raw photo"),
}
_OTHER = {b"PK\x03\x04": "a zip archive", b"\x1a\x45\xdf\xa3": "a video"}
# Brands in the first box of an ISO media file (ISO/IEC 14496-12).
_BRANDS = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF", b"crx": "a raw photo"}
_VIDEO = "a video"
# TIFF tags: https://www.loc.gov/preservation/digital/formats/content/tiff_tags.shtml
_WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _BANDS, _SUB_IFDS, _FORMAT, _DNG = 256, 258, 259, 262, 277, 330, 339, 50706
_PLANES = 284
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # of strips and tiles
_SENSOR_VALUES = (32803, 34892)  # photometric interpretation: colour filter array, linear raw
_VALUES = {1: "integers", 2: "signed integers", 3: "floating-point numbers"}
_MOST_BANDS = 4


def content_type(start: bytes) -> str:
    """Return what the first bytes of a file promise: "JPEG", "a video", or "" if unknown."""
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:11], _VIDEO)
    if start[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": _VIDEO}.get(start[8:12], "")
    if start[128:132] == b"DICM":
        return "a DICOM file"
    if start[344:348] in (b"n+1\x00", b"ni1\x00"):
        return "a NIfTI file"
    if start.startswith((b"II*\x00", b"MM\x00*")) and start[8:10] == b"CR":
        return "a raw photo"
    if start.startswith(b"\x1f\x8b"):
        return "a NIfTI file" if _unzipped(start)[344:348] == b"n+1\x00" else "a gzip archive"
    known = _PICTURES | _UNSUPPORTED | _OTHER
    return next((content for signature, content in known.items() if start.startswith(signature)), "")


def is_video(start: bytes) -> bool:
    """Return whether a file begins like a video."""
    return content_type(start) == _VIDEO


def _unzipped(start: bytes) -> bytes:
    with suppress(zlib.error):
        return zlib.decompressobj(wbits=31).decompress(start)
    return b""


def why_unsupported(data: bytes) -> str:
    """Return why a file that shows a picture is not supported and what to do, "" if this is not the reason."""
    content = content_type(data[:512])
    with suppress(Exception):  # of a damaged header, in as many ways as there are headers
        if content == "TIFF":
            content = _unsupported_tiff(data)
        elif content == "JPEG":
            content = _unsupported_jpeg(data)
        elif content == "PNG":
            content = "a PNG of the iPhone's own kind" if data[12:16] == b"CgBI" else ""
        elif content not in {*_UNSUPPORTED.values(), "a DICOM file", "a NIfTI file", "a raw photo"}:
            content = ""
        return f"not supported: {content}, {CONVERT}" if content else ""
    return ""


def why_unidentified(data: bytes) -> str:
    """Return why Pillow finds no picture in a file."""
    if reason := why_unsupported(data):
        return reason
    content, start = content_type(data[:512]), data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if content and not content.startswith("a "):
        return f"damaged: it begins like a {content} and cannot be decoded"
    if start.startswith((b"<!doctype html", b"<html")):
        content = "a web page"
    elif b"<svg" in start:
        return f"not supported: an SVG drawing, {CONVERT}"
    elif not data.strip(b"\x00"):
        content = "nothing but zero bytes"
    elif not content and b"\x00" not in start and start.isascii():
        content = "text"
    return f"not a picture ({content or 'unknown content'})"


def why_unsuitable_tiff(data: bytes) -> str:
    """Return why a TIFF that Pillow reads is not the picture that it seems to be, "" if it is."""
    with suppress(Exception):
        tags = _tiff_tags(data)
        if _is_raw(tags, data):
            return f"not supported: a raw photo, {CONVERT}"
        # Pillow reads 16 bits in separate planes as 8 bits.
        unread_planes = tags.get(_PLANES) == 2 and 16 in _numbers(tags, _BITS) and tags.get(_COMPRESSION, 1) == 1
        if tags.get(_BANDS, 1) > _MOST_BANDS or unread_planes:
            return f"not supported: {_describe_tiff(tags)}, {CONVERT}"
    return ""


def _tiff_tags(data: bytes, offset: int | None = None) -> ImageFileDirectory_v2:
    big = data[2:4] in (b"+\x00", b"\x00+")
    tags = ImageFileDirectory_v2(data[: 16 if big else 8])
    file = io.BytesIO(data)
    file.seek(tags.next if offset is None else offset)
    tags.load(file)
    return tags


def _is_raw(tags: ImageFileDirectory_v2, data: bytes) -> bool:
    """Return whether a TIFF is the raw photo of a camera, whose first picture is a small preview."""
    if _DNG in tags or tags.get(_PHOTOMETRIC) in _SENSOR_VALUES:
        return True
    offsets = tags.get(_SUB_IFDS, ())
    offsets = offsets if isinstance(offsets, tuple) else (offsets,)
    return any(_tiff_tags(data, offset).get(_PHOTOMETRIC) in _SENSOR_VALUES for offset in offsets)


def _unsupported_tiff(data: bytes) -> str:
    """Return what a TIFF is that cannot be decoded, "" if a part of it is missing."""
    tags = _tiff_tags(data)
    if _is_raw(tags, data):
        return "a raw photo"
    complete = False
    for offsets, counts in _OFFSETS_AND_COUNTS:
        ends = [sum(pair) for pair in zip(_numbers(tags, offsets), _numbers(tags, counts), strict=True)]
        complete = complete or (bool(ends) and max(ends) <= len(data))
    return _describe_tiff(tags) if complete and _WIDTH in tags else ""


def _describe_tiff(tags: ImageFileDirectory_v2) -> str:
    bits, formats = _numbers(tags, _BITS) or [1], _numbers(tags, _FORMAT) or [1]
    bands = tags.get(_BANDS, 1)
    values = _VALUES.get(formats[0], "values")
    return (
        f"a TIFF with {bands} band{'s' if bands > 1 else ''} of {bits[0]}-bit {values} "
        f"{'in separate planes ' if tags.get(_PLANES) == 2 else ''}"
        f"(compression {tags.get(_COMPRESSION, 1)}, colour space {tags.get(_PHOTOMETRIC, 'unknown')})"
    )


def _numbers(tags: ImageFileDirectory_v2, tag: int) -> list[int]:
    value = tags.get(tag, ())
    return list(value) if isinstance(value, tuple) else [value]


def _unsupported_jpeg(data: bytes) -> str:
    """Return "a JPEG with 12 bits", "a lossless JPEG" or "" from the marker of the frame (ITU-T T.81, B.2.2)."""
    place = 2
    while data[place] == 0xFF:
        marker, length = data[place + 1], struct.unpack(">H", data[place + 2 : place + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if data[place + 4] != 8:
                return f"a JPEG with {data[place + 4]} bits"
            return "" if marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA) else "a lossless JPEG"
        if marker == 0xF7:
            return "a JPEG-LS picture"
        place += 2 + length
    return ""
