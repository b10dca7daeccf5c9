"""Pictures with more than 8 bits per value or floating-point numbers: their values, and how these become 0 to 255.

One range holds for the whole set, because a range per photo would make dark and bright photos alike. The range of the
file itself is used only where its tags state one.
"""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageFile

#: The lowest and the highest value, which become 0 and 255.
Range = tuple[float, float]
INTEGER, FLOAT = "integer", "float"
_BITS = (8, 10, 12, 14, 16)
_FLOAT_TOPS = (1, 255, 65535)
_LARGEST_VALUE = 1e30  # geographic programs write -3.4e38 where a value is missing
# TIFF tags: https://www.loc.gov/preservation/digital/formats/content/tiff_tags.shtml
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE, _SAMPLE_FORMAT, _SMAX_SAMPLE, _GDAL_NODATA = 258, 262, 281, 339, 341, 42113
# Pillow keeps the high byte of 16-bit colours. Read in the other byte order, the same data give the low byte.
_OTHER_ORDER = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B"}


class NoValues(Exception):
    """A picture has no value that is a number."""


@dataclass(frozen=True)
class Depth:
    """The values of one file, without those that are missing."""

    kind: str  #: INTEGER or FLOAT
    lowest: float
    highest: float
    range: Range  #: what was scaled to 0–255
    own: bool  #: the range is stated in the file


def set_ranges(depths: Iterable[Depth]) -> dict[str, Range]:
    """Return the range of a set of files by kind; files that state their own range do not count."""
    ranges: dict[str, Range] = {}
    shared = [depth for depth in depths if not depth.own]
    for kind in sorted({depth.kind for depth in shared}):
        lowest = min(depth.lowest for depth in shared if depth.kind == kind)
        highest = max(depth.highest for depth in shared if depth.kind == kind)
        ranges[kind] = _common_range(kind, lowest, highest)
    return ranges


def describe_depths(depths: Iterable[Depth], photos: int) -> list[str]:
    """Return one sentence per range: how many of `photos` use it, and which values become 0–255."""
    lines = []
    counts = Counter((depth.kind, tuple(depth.range), depth.own) for depth in depths)
    for (kind, (low, high), own), count in sorted(counts.items()):
        verb = "is" if count == 1 else "are"
        stored = "as floating-point numbers" if kind == FLOAT else "with more than 8 bits per value"
        sentence = f"{count:,} of {photos:,} photos {verb} stored {stored}"
        if kind == INTEGER and low == 0 and high + 1 in [2**bits for bits in range(8, 17)]:
            sentence += f"; {'it uses' if count == 1 else 'they use'} {int(high).bit_length()} bits"
        source = " (as the files state)" if own else ""
        lines.append(f"{sentence}: values {low:g} to {high:g} become 0 to 255{source}.")
    return lines


def is_deep(picture: Image.Image) -> bool:
    """Return whether an opened picture that is not loaded yet has values that 8 bits do not hold."""
    return (
        picture.mode in ("I", "F")
        or picture.mode.startswith("I;16")
        or _raw_mode(picture)[-4:] in _OTHER_ORDER
        or _is_signed(picture)
    )


def to_8_bits(picture: ImageFile.ImageFile, data: bytes, ranges: Mapping[str, Range]) -> tuple[Image.Image, Depth]:
    """Load a picture for which `is_deep` holds, and scale its values by the range of its kind or else by its own.

    Parameters
    ----------
    data : bytes
        The file that the picture was opened from.

    Returns
    -------
    picture : Image in "L", "LA", "RGB", "RGBA" or "CMYK"
    depth : Depth

    Raises
    ------
    NoValues
        All values are missing.
    """
    scaled_by_pillow = picture.format == "PPM" and picture.tile[0][0].startswith("ppm")  # from the file's own maximum
    values, alpha, mode = _read_values(picture, data)
    kind = FLOAT if picture.mode == "F" else INTEGER
    values = _without_missing(values, picture)
    if np.isnan(values).all():
        raise NoValues("all its values are missing (NaN)")
    lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
    stated = 65535 if scaled_by_pillow else _stated_top(picture, data, values)
    if stated is not None and lowest >= 0 and highest <= stated:
        depth = Depth(kind, lowest, highest, (0, stated), own=True)
    else:
        depth = Depth(kind, lowest, highest, (0, 0), own=False)
        depth = replace(depth, range=ranges.get(kind) or set_ranges([depth])[kind])
    shallow = _scale(values, depth.range)
    if _tag(picture, _PHOTOMETRIC) == 0 and mode == "L":  # white is 0, as in many radiographs
        shallow = 255 - shallow
    if alpha is not None:
        shallow = np.dstack([shallow, _scale(alpha, _common_range(INTEGER, 0, float(alpha.max())))])
    scaled = Image.fromarray(shallow, mode)
    scaled.info = {"icc_profile": picture.info.get("icc_profile")}
    return scaled, depth


def _common_range(kind: str, lowest: float, highest: float) -> Range:
    tops = [2**bits - 1 for bits in _BITS] if kind == INTEGER else _FLOAT_TOPS
    top = next((top for top in tops if highest <= top), None)
    # Floats from 15 to 40 are not values of 0 to 255, but degrees or the like.
    if lowest < 0 or top is None or (kind == FLOAT and highest <= top / 2):
        return lowest, highest
    return 0, top


def _scale(values: np.ndarray, scale: Range) -> np.ndarray:
    low, high = scale
    scaled = (values - low) * (255 / ((high - low) or 1)) + 0.5
    return np.clip(np.nan_to_num(scaled, nan=0), 0, 255).astype(np.uint8)


def _read_values(picture: Image.Image, data: bytes) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return the values, float32 (h, w) or (h, w, bands), alpha if there is one, and Pillow's mode for 8 bits."""
    raw_mode = _raw_mode(picture)
    if raw_mode[-4:] not in _OTHER_ORDER or len(picture.getbands()) == 1:
        picture.load()
        values = np.asarray(picture)
        return (values.view(np.int8) if _is_signed(picture) else values).astype(np.float32), None, "L"
    if raw_mode.startswith("LA"):  # four bytes per pixel, which Pillow can return as they are
        high_and_low = _load_as(data, picture.format, "RGBA").astype(np.float32)
        values = high_and_low[..., ::2] * 256 + high_and_low[..., 1::2]
        picture.load()
        return values[..., 0], values[..., 1], "LA"
    low = _load_as(data, picture.format, raw_mode[:-4] + _OTHER_ORDER[raw_mode[-4:]])
    picture.load()
    values = np.asarray(picture).astype(np.float32) * 256 + low
    mode = {"RGBX": "RGB"}.get(picture.mode, picture.mode)
    if mode == "RGBA":
        return values[..., :3], values[..., 3], mode
    return values[..., : len(mode)], None, mode


def _load_as(data: bytes, file_format: str | None, raw_mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=[file_format or ""]) as picture:
        tiles = []
        for tile in picture.tile:
            args = (raw_mode, *tile[3][1:]) if isinstance(tile[3], tuple) else raw_mode
            tiles.append(tile._replace(args=args))
        picture.tile = tiles
        return np.asarray(picture)


def _raw_mode(picture: Image.Image) -> str:
    tiles = getattr(picture, "tile", None)
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _is_signed(picture: Image.Image) -> bool:
    """Return whether an 8-bit TIFF has values from -128 to 127, which Pillow takes for 0 to 255."""
    signed = picture.format == "TIFF" and picture.mode == "L" and _tag(picture, _SAMPLE_FORMAT) in (2, (2,))
    return bool(signed)


def _without_missing(values: np.ndarray, picture: Image.Image) -> np.ndarray:
    missing = ~np.isfinite(values) | (np.abs(values) > _LARGEST_VALUE)
    with suppress(TypeError, ValueError):
        missing |= values == np.float32(str(_tag(picture, _GDAL_NODATA)).strip("\0 "))
    return np.where(missing, np.float32("nan"), values)


def _stated_top(picture: Image.Image, data: bytes, values: np.ndarray) -> float | None:
    """Return the highest possible value that the tags of a file state, None if they state none below 16 bits.

    Notes
    -----
    TIFF's MaxSampleValue is by the standard the highest value that occurs. Only a power of two less one is the limit
    of a camera. PNG's sBIT gives the bits of the camera. By the standard the values are scaled to 16 bits all the
    same, with zeros or copies of the high bits in the low ones; many programs leave them as they are.
    """
    if picture.format == "TIFF":
        if _tag(picture, _BITS_PER_SAMPLE) in (12, (12,)):
            return 4095
        for tag in (_MAX_SAMPLE, _SMAX_SAMPLE):
            value = _tag(picture, tag)
            top = float(np.max(value)) if value is not None else 0.0
            if top in (_FLOAT_TOPS if picture.mode == "F" else [2**bits - 1 for bits in range(9, 16)]):
                return top
    elif picture.format == "PNG":
        bits = _significant_bits(data)
        low_bits = 2 ** (16 - bits) - 1
        if 8 <= bits < 16 and (np.nan_to_num(values).astype(np.int64) & low_bits).any():
            return 2**bits - 1
    return None


def _significant_bits(data: bytes) -> int:
    """Return the largest number in the sBIT chunk of a PNG, 16 without one."""
    place = data.find(b"sBIT", 33, data.find(b"IDAT"))
    if place < 0:
        return 16
    return max(data[place + 4 : place + 4 + data[place - 1]], default=16)


def _tag(picture: Image.Image, tag: int) -> Any:
    return getattr(picture, "tag_v2", {}).get(tag)
