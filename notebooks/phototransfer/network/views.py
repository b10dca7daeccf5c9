"""Views of a photo for the network: as it is, without its middle, or augmented."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageOps

from phototransfer.photos.decode import PADDING

#: Ranges of the augmentation: degrees, fraction of the side (both directions), fraction of the scale.
ROTATION, SHIFT, ZOOM = 20, 0.2, 0.2
#: The middle square that BACKGROUND blanks, as a fraction of the side: half of the area, where most subjects are.
BLANK = 0.7


@dataclass(frozen=True)
class View:
    """A change of the pixels before they go to the network.

    `change`, from uint8 (size, size, 3) and the photo's digest to uint8 (size, size, 3), is deterministic and
    thread-safe. The features are cached under `name`: another change needs another name.
    """

    name: str
    change: Callable[[np.ndarray, str], np.ndarray]


def augmented(count: int, seed: int) -> list[View]:
    """Return views that rotate, shift, zoom and mirror each photo.

    The change depends only on the photo's digest, the number of the view and `seed`, not on `count`.
    """
    name = f"augmented{{}}-seed{seed}-rotation{ROTATION}-shift{SHIFT}-zoom{ZOOM}-flip"
    return [View(name.format(n), partial(_augment, seed=seed, number=n)) for n in range(1, count + 1)]


def _blank(pixels: np.ndarray, digest: str) -> np.ndarray:
    edge = round(len(pixels) * (1 - BLANK) / 2)
    blanked = pixels.copy()
    blanked[edge : len(pixels) - edge, edge : len(pixels) - edge] = PADDING
    return blanked


def _augment(pixels: np.ndarray, digest: str, seed: int, number: int) -> np.ndarray:
    """Rotate, zoom (width and height independently), shift and mirror; edges are repeated.

    As Keras' ImageDataGenerator does, which takes 2.5 times as long and draws from NumPy's global generator.
    """
    rng = np.random.default_rng([seed, number, *digest.encode()])
    side, pad = len(pixels), len(pixels) // 2 + 1  # as far as the corners can reach
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation * rng.uniform(1 - ZOOM, 1 + ZOOM, 2)  # from target to source coordinates
    centre = side / 2
    offset = centre + pad + rng.uniform(-SHIFT, SHIFT, 2) * side - matrix @ (centre, centre)
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    padded = Image.fromarray(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    moved = padded.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(ImageOps.mirror(moved) if rng.random() < 0.5 else moved)


PLAIN = View("plain", lambda pixels, digest: pixels)
BACKGROUND = View(f"background{BLANK}", _blank)
