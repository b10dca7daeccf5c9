"""Properties of photos that can be measured without looking at the subject."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import laplace

from phototransfer.console import progress
from phototransfer.files import stamp
from phototransfer.photos.decode import middle_square
from phototransfer.stored import stored

_SIZE = 224  # pixels: what most networks read, and enough for all that is measured here
_TILES = 32  # per side, of 7 × 7 pixels: enough for mean colours
_BORDER = 2  # tiles, 6 % of the side: how far the border reaches in from each edge
_IN_BORDER = np.pad(np.zeros((_TILES - 2 * _BORDER,) * 2, dtype=bool), _BORDER, constant_values=True)
#: Properties with their names in sentences and figures.
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
    "red_green": "green–red colour cast",
    "blue_yellow": "blue–yellow colour cast",
    "saturation": "saturation",
    "sharpness": "sharpness",
    "blockiness": "JPEG blockiness",
    "border_brightness": "border brightness",
    "border_red_green": "border green–red cast",
    "border_blue_yellow": "border blue–yellow cast",
}
BACKGROUND = "background"  # one more property: the features of the photos with their middle blanked
NAMES = FILE_PROPERTIES | PICTURE_PROPERTIES | {BACKGROUND: "background (middle blanked)"}


def measure_properties(photos: pd.DataFrame, results: Path | None = None) -> pd.DataFrame:
    """Return FILE_PROPERTIES and PICTURE_PROPERTIES, row for row with `photos`.

    What was measured in an earlier run is read from the folder `results`.

    All are float (hour: 0 to 24, date: days since 1970) but format and camera; NaN or None where a file has no entry.
    """

    def measure() -> np.ndarray:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow and NumPy work outside of the interpreter lock
            rows = list(progress("Measuring", len(photos), threads.map(_measure_path, photos["path"])))
        return pd.DataFrame(rows, columns=list(PICTURE_PROPERTIES), dtype=float).to_numpy()

    depends_on = {"paths": photos["path"].tolist(), "files": [stamp(Path(path)) for path in photos["path"]]}
    rows, _ = stored(results, depends_on, measure)
    pictures = pd.DataFrame(rows, columns=list(PICTURE_PROPERTIES), index=photos.index)
    return pd.concat([file_properties(photos), pictures], axis=1)


def file_properties(photos: pd.DataFrame) -> pd.DataFrame:
    """Return FILE_PROPERTIES."""
    width, height = photos["width"].astype(float), photos["height"].astype(float)
    taken = pd.to_datetime(photos["taken"])
    columns = {
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
    return pd.DataFrame(columns, index=photos.index)


def measure_picture(picture: Image.Image) -> dict[str, float]:
    """Return PICTURE_PROPERTIES of an RGB picture: blockiness of its own pixels, all others of its middle square.

    Notes
    -----
    brightness, contrast: mean (0 to 255) and standard deviation of the grey values. red_green, blue_yellow: R − G and
    (R + G) / 2 − B, the opponent axes of Hasler and Süsstrunk, "Measuring colourfulness in natural images" (2003).
    saturation: S of HSV (0 to 1). sharpness: log10 of the variance of the Laplacian, Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy" (2000). The border is the outer ring of tiles.
    """
    square = middle_square(picture, _SIZE)
    grey = np.asarray(square.convert("L"), dtype=np.float32)
    tiles = np.asarray(square.reduce(_SIZE // _TILES), dtype=np.float32)
    highest, lowest = tiles.max(axis=2), tiles.min(axis=2)
    laplacian = laplace(grey)[1:-1, 1:-1]
    return {
        **_mean_colour(tiles.reshape(-1, 3), ""),
        **_mean_colour(tiles[_IN_BORDER], "border_"),
        "contrast": float(grey.std()),
        "saturation": float(((highest - lowest) / np.maximum(highest, 1)).mean()),
        "sharpness": float(np.log10(laplacian.var() + 1)),
        "blockiness": _blockiness(np.asarray(picture.convert("L"), dtype=np.float32)),
    }


def _measure_path(path: str | Path) -> dict[str, float]:
    with Image.open(path) as picture:
        return measure_picture(picture.convert("RGB"))


def _mean_colour(pixels: np.ndarray, prefix: str) -> dict[str, float]:
    """Return mean brightness (ITU-R BT.601, as Pillow's "L") and colour casts of RGB pixels, float (n, 3)."""
    red, green, blue = (float(mean) for mean in pixels.mean(axis=0))
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    colours = {"brightness": brightness, "red_green": red - green, "blue_yellow": (red + green) / 2 - blue}
    return {prefix + name: value for name, value in colours.items()}


def _blockiness(grey: np.ndarray) -> float:
    """Return how much larger the steps at the edges of JPEG's 8 × 8 blocks are than others: log of the ratio.

    After Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed images" (2002). Blocks
    remain visible only in photos that were not scaled down in preparing.
    """
    steps = [np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis) for axis in (1, 0)]
    edge = np.concatenate([np.arange(len(across)) % 8 == 7 for across in steps])
    size = np.concatenate(steps) + 0.1  # grey levels: on a plain surface there are no steps, so no blocks either
    return float(np.log(size[edge].mean() / size[~edge].mean()))


def _text(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna() & (column.astype(str) != ""), None)
