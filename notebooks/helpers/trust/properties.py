"""What can be measured of a photo without looking at its subject?"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from helpers.photos.picture import middle_square
from helpers.progress import progress

SIZE = 224  # pixels: what most networks read, and enough for all that is measured here
COARSE = 32  # tiles a side, of 7 × 7 pixels: enough for means of colour
BORDER = 2  # tiles, 6 % of the side: how far "border" reaches in from each edge
_RING = np.pad(np.zeros((COARSE - 2 * BORDER,) * 2, dtype=bool), BORDER, constant_values=True)
#: Column → its name in tables and figures, in the order of the two tables.
FILE_PROPERTIES = {
    "width": "width (pixels)",
    "height": "height (pixels)",
    "megapixels": "megapixels",
    "aspect": "width ÷ height",
    "bytes_per_pixel": "bytes per pixel",
    "format": "file format",
    "camera": "camera",
    "hour": "hour of day",
    "date": "date taken",
}
PICTURE_PROPERTIES = {
    "brightness": "brightness",
    "contrast": "contrast",
    "red_green": "colour cast, green to red",
    "blue_yellow": "colour cast, blue to yellow",
    "saturation": "saturation",
    "sharpness": "sharpness",
    "blockiness": "JPEG blockiness",
    "border_brightness": "border, brightness",
    "border_red_green": "border, green to red",
    "border_blue_yellow": "border, blue to yellow",
}
BACKGROUND = "background"
NAMES = FILE_PROPERTIES | PICTURE_PROPERTIES | {BACKGROUND: "background (centre blanked)"}


def measure_all(photos: pd.DataFrame) -> pd.DataFrame:
    """Both tables beside each other: `file_properties` and `picture_properties`."""
    return pd.concat([file_properties(photos), picture_properties(photos)], axis=1)


def file_properties(photos: pd.DataFrame) -> pd.DataFrame:
    """What the files say before anybody looks at them, row for row with the table of photos.

    photos: columns width, height (pixels, upright), bytes, format, camera, taken. Returns the columns of
    FILE_PROPERTIES: float64 (hour: 0–24; date: days since 1970), NaN where the file says nothing; format and camera
    are text, None where it says nothing. Saying nothing can give a class away like any other value.
    """
    width, height = photos["width"].astype(float), photos["height"].astype(float)
    taken = pd.to_datetime(photos["taken"])
    table = {
        "width": width,
        "height": height,
        "megapixels": width * height / 1e6,
        "aspect": width / height,
        "bytes_per_pixel": photos["bytes"] / (width * height),
        "format": _text(photos["format"]),
        "camera": _text(photos["camera"]),
        "hour": taken.dt.hour + taken.dt.minute / 60,
        "date": (taken - pd.Timestamp(0)) / pd.Timedelta(days=1),
    }
    return pd.DataFrame(table, index=photos.index)


def picture_properties(photos: pd.DataFrame) -> pd.DataFrame:
    """What of a photo's looks reaches the network without being its subject, row for row with the table of photos.

    photos: column path (prepared photo), each decoded once, on every core. Returns float64 columns, those of
    PICTURE_PROPERTIES: see `measure`. Raises OSError naming a prepared photo that cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow and NumPy work outside the interpreter lock
        rows = list(progress("Measuring", len(photos), threads.map(_measure_file, photos["path"])))
    return pd.DataFrame(rows, columns=list(PICTURE_PROPERTIES), index=photos.index, dtype=float)


def measure(picture: Image.Image) -> dict[str, float]:
    """The properties of one RGB picture: blockiness in its own pixels, all others on the square the network reads.

    Means are taken over COARSE × COARSE tiles of the square; "border" is its outermost ring, BORDER tiles wide.
    brightness: mean of 0–255; contrast: standard deviation of the grey values; red_green, blue_yellow: R − G and
    (R + G) / 2 − B, the opponent axes of Hasler and Süsstrunk ("Measuring colourfulness in natural images", 2003);
    saturation: HSV's S, 0–1; sharpness: log10 of the variance of the Laplacian (Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", 2000).
    """
    square = middle_square(picture, SIZE)
    grey = np.asarray(square.convert("L"), dtype=np.float32)
    tiles = np.asarray(square.reduce(SIZE // COARSE), dtype=np.float32)
    highest, lowest = tiles.max(axis=2), tiles.min(axis=2)
    whole, border = _colour(tiles.reshape(-1, 3)), _colour(tiles[_RING])
    return {
        "brightness": whole[0],
        "contrast": float(grey.std()),
        "red_green": whole[1],
        "blue_yellow": whole[2],
        "saturation": float(((highest - lowest) / np.maximum(highest, 1)).mean()),
        "sharpness": float(np.log10(_laplacian(grey).var() + 1)),
        "blockiness": blockiness(np.asarray(picture.convert("L"), dtype=np.float32)),
        "border_brightness": border[0],
        "border_red_green": border[1],
        "border_blue_yellow": border[2],
    }


def blockiness(grey: np.ndarray) -> float:
    """How much sharper the steps at JPEG's 8-pixel block edges are than all others: log of their ratio, 0 is none.

    grey: float (height, width). After Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG
    compressed images" (2002). It sees the grid of a photo that preparing did not have to scale down.
    """
    at_edges, elsewhere = [], []
    for steps in (np.abs(np.diff(grey, axis=1)).mean(axis=0), np.abs(np.diff(grey, axis=0)).mean(axis=1)):
        edge = np.arange(len(steps)) % 8 == 7
        at_edges.append(steps[edge])
        elsewhere.append(steps[~edge])
    # 0.1 grey levels: on a plain surface, where nothing steps, there are no blocks either
    return float(np.log((np.concatenate(at_edges).mean() + 0.1) / (np.concatenate(elsewhere).mean() + 0.1)))


def _measure_file(path: str | Path) -> dict[str, float]:
    with Image.open(path) as picture:
        return measure(picture.convert("RGB"))


def _colour(pixels: np.ndarray) -> tuple[float, float, float]:
    """Mean brightness (ITU-R BT.601, as Pillow's "L"), red less green, and yellow less blue of RGB (n, 3)."""
    red, green, blue = (float(mean) for mean in pixels.mean(axis=0))
    return 0.299 * red + 0.587 * green + 0.114 * blue, red - green, (red + green) / 2 - blue


def _laplacian(grey: np.ndarray) -> np.ndarray:
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return around - 4 * grey[1:-1, 1:-1]


def _text(column: pd.Series) -> pd.Series:
    """Text as objects, None for what is missing or empty."""
    return column.astype(object).where(column.notna() & (column.astype(str) != ""), None)
