"""As what does the network see a photo: as it is, without its middle, or turned and shifted a little?"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageOps

#: What the augmented views are drawn from: degrees, shares of the side (both directions), share of the scale.
ROTATION, SHIFT, ZOOM = 20, 0.2, 0.2
#: The middle square that BACKGROUND blanks, as a share of the side: half of the area, where most subjects are.
BLANK = 0.7
_GREY = 127


@dataclass(frozen=True)
class View:
    """A change of the square pixels before they go to the network.

    `name` is part of the name of the file its features are kept in: another change needs another name.
    `change`: uint8 (size, size, 3) and the photo's digest → uint8 (size, size, 3), always the same for the same two;
    may be called from several threads.
    """

    name: str
    change: Callable[[np.ndarray, str], np.ndarray]


def augmented(count: int, seed: int) -> list[View]:
    """`count` views, each of which turns, shifts, zooms and mirrors every photo in a way of its own.

    Rotation up to 20°, shift and zoom up to 0.2, horizontal flip. What a photo gets depends on its digest, the number
    of the view and `seed` alone: view 3 is the same whether 4 or 8 are asked for. Raises ValueError for count < 0.
    """
    if count < 0:
        raise ValueError(f"{count} augmented views: it has to be 0 or more.")
    recipe = f"rotation{ROTATION}-shift{SHIFT}-zoom{ZOOM}-flip"
    return [
        View(f"augmented{number}-seed{seed}-{recipe}", partial(_augment, seed=seed, number=number))
        for number in range(1, count + 1)
    ]


def without_middle(share: float = BLANK) -> View:
    """The photo with its middle square, of `share` of the side, painted grey: what is left is the background.

    Raises ValueError for a share that leaves nothing or blanks nothing.
    """
    if not 0 < share < 1:
        raise ValueError(f"share = {share}: the blanked square must lie inside the photo, so between 0 and 1.")
    return View(f"background{share}", partial(_blank, share=share))


def _blank(pixels: np.ndarray, digest: str, share: float) -> np.ndarray:
    edge = round(len(pixels) * (1 - share) / 2)
    blanked = pixels.copy()
    blanked[edge : len(pixels) - edge, edge : len(pixels) - edge] = _GREY
    return blanked


def _augment(pixels: np.ndarray, digest: str, seed: int, number: int) -> np.ndarray:
    """Turned, zoomed (width and height apart) and shifted as Keras' ImageDataGenerator does; edges go on as they end.

    Pillow, because random_transform of Keras takes 2.5 times as long, draws from the one generator of NumPy that all
    threads share, and calls a part of SciPy that SciPy 2 will not have.
    """
    chance = np.random.default_rng([seed, number, *digest.encode()])
    side, pad = len(pixels), len(pixels) // 2 + 1  # as far as the corners can reach
    angle = np.deg2rad(chance.uniform(-ROTATION, ROTATION))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn * chance.uniform(1 - ZOOM, 1 + ZOOM, 2)  # from where a pixel will be to where it is taken from
    centre = side / 2
    offset = centre + pad + chance.uniform(-SHIFT, SHIFT, 2) * side - matrix @ (centre, centre)
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    wide = Image.fromarray(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    moved = wide.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(ImageOps.mirror(moved) if chance.random() < 0.5 else moved)


PLAIN = View("plain", lambda pixels, digest: pixels)
BACKGROUND = without_middle()
