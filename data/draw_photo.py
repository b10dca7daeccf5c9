"""One photograph: a dog, a place, a lamp, a camera.

All that varies from picture to picture and has nothing to do with which dog it is comes as a row of `FACTORS`, each a
number in 0–1; what is left to chance beyond that comes from the picture's own random generator.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from draw_coat import Dog
from draw_frenchie import Outfit, Pose, paint_dog
from draw_light import Colour, Light, Place, smoothstep
from draw_places import CLOTHS, PLACES, Rng, as_array, as_picture, background, noise, picked
from draw_props import PROPS, paint_seat

FACTORS = (
    "frame", "quality", "camera", "taken", "place", "depth", "lamp", "lamp_side", "lamp_high", "wear", "prop", "seat",
    "scale", "x", "y", "yaw", "pitch", "roll", "body", "mouth", "squint", "exposure", "warmth", "blur", "motion",
    "grain",
)  # fmt: skip
SHAPES = ((3, 4), (4, 3), (2, 3), (3, 2), (1, 1), (5, 4))  # width to height
SHORTEST, LONGEST = 256, 1200  # pixels: no side is shorter, none longer
WORKED = 560  # the longer side a picture is drawn at before it is brought to its size
LAMPS: dict[str, tuple[Colour, Colour, tuple[float, float], float]] = {
    # lamp and sky in linear RGB, height above the horizon in degrees, how far to the side in degrees
    "day": ((1.20, 1.12, 0.98), (0.42, 0.48, 0.58), (35, 65), 70.0),
    "golden hour": ((1.45, 1.02, 0.58), (0.36, 0.36, 0.46), (8, 30), 80.0),
    "overcast": ((0.50, 0.51, 0.53), (0.72, 0.75, 0.80), (50, 80), 60.0),
    "indoors": ((1.15, 0.88, 0.58), (0.40, 0.34, 0.27), (30, 70), 70.0),
    "window": ((1.15, 1.17, 1.22), (0.30, 0.31, 0.33), (10, 40), 80.0),
    "flash": ((1.10, 1.08, 1.05), (0.26, 0.25, 0.25), (5, 25), 15.0),
}
Row = dict[str, float]


def picture_size(frame: float) -> tuple[int, int]:
    """Width and height in pixels for a `frame` factor: every shape at sizes from small to large."""
    shape = SHAPES[int(frame * 9973) % len(SHAPES)]
    longer = max(shape) / min(shape)
    short = round(float(np.exp(_between(frame, np.log(SHORTEST), np.log(LONGEST / longer)))))
    long = min(LONGEST, round(short * longer))
    return (long, short) if shape[0] > shape[1] else (short, long)


def photograph(dog: Dog, row: Row, rng: Rng) -> Image.Image:
    """A picture of `dog`, RGB, as the `row` of factors has it; the same arguments give the same picture."""
    size = picture_size(row["frame"])
    small = min(1.0, WORKED / max(size))
    width, height = round(size[0] * small), round(size[1] * small)
    where = _one_of(list(PLACES), row["place"])
    canvas = background(where, rng, width, height, _between(row["depth"], 0.003, 0.02))
    light = _light(row, canvas.mean((0, 1)))
    canvas *= 0.8 * np.float32(light.lamp) + 0.6 * np.float32(light.sky)
    short = min(width, height)
    aside, down = short * 0.20 + (width - short) * 0.15, short * 0.14 + (height - short) * 0.15
    place = Place(
        x=width / 2 + _between(row["x"], -aside, aside),
        y=height / 2 + _between(row["y"], -down, down),
        scale=short * _between(row["scale"], 0.24, 0.36),
    )
    paint_dog(canvas, dog, _pose(row, rng), _outfit(row, rng), light, place, rng)
    paint_seat(canvas, where, rng, light, place, _between(row["seat"], 1.9, 2.9))
    prop = _one_of(["none"] * 5 + list(PROPS), row["prop"])
    if prop != "none":
        PROPS[prop](canvas, rng, light, place)
    canvas *= _shade(width, height, rng)[..., None]
    return _developed(canvas, size, row, rng)


def _between(factor: float, low: float, high: float) -> float:
    return float(low + (high - low) * factor)


def _one_of(things: list[str], factor: float) -> str:
    return things[min(int(factor * len(things)), len(things) - 1)]


def _light(row: Row, around: np.ndarray) -> Light:
    """The picture's light; the linear mean colour `around` of the place is thrown back from below."""
    lamp, above, (low, high), wide = LAMPS[_one_of(list(LAMPS), row["lamp"])]
    aside = np.radians(_between(row["lamp_side"], -wide, wide))
    up = np.radians(_between(row["lamp_high"], low, high))
    towards = (float(np.sin(aside) * np.cos(up)), float(-np.sin(up)), float(np.cos(aside) * np.cos(up)))
    sky = tuple(float(0.75 * s + 0.35 * g) for s, g in zip(above, around, strict=True))
    return Light(towards, lamp, sky, tuple(float(0.12 + 0.55 * g) for g in around))


def _shade(width: int, height: int, rng: Rng) -> np.ndarray:
    """Light that falls off to one side, and soft shadows of what is outside the picture, (height, width)."""
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None, :], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle, fall, dapple = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.45), rng.uniform(0.0, 0.28)
    slope = float(fall * np.cos(angle)) * x + float(fall * np.sin(angle)) * y
    spots = noise(rng, width, height, int(rng.integers(2, 5)), 2)
    return np.clip((1 + slope) * (1 - dapple * smoothstep(-0.2, 0.9, spots)), 0.3, 1.5)


def _pose(row: Row, rng: Rng) -> Pose:
    return Pose(
        yaw=_between(row["yaw"], -30, 30), pitch=_between(row["pitch"], -14, 14), roll=_between(row["roll"], -19, 19),
        body=_between(row["body"], -25, 25), mouth=max(0.0, _between(row["mouth"], -1, 1)),
        squint=max(0.0, _between(row["squint"], -0.8, 0.7)), gaze=tuple(rng.uniform(-0.7, 0.7, 2).tolist()),
        perk=tuple(rng.uniform(-6, 6, 2).tolist()),
    )  # fmt: skip


def _outfit(row: Row, rng: Rng) -> Outfit:
    colour, second = picked(rng, *CLOTHS, (0.12, 0.13, 0.16)), picked(rng, (0.95, 0.93, 0.9), (0.95, 0.8, 0.3), *CLOTHS)
    pattern = ("plain", "dots", "checks", "stripes")[rng.integers(4)]
    kind = _one_of(["none", "collar", "bandana"], row["wear"])
    return Outfit(kind, tuple(colour.tolist()), tuple(second.tolist()), pattern, bool(rng.random() < 0.5))


def _developed(canvas: np.ndarray, size: tuple[int, int], row: Row, rng: Rng) -> Image.Image:
    """What the camera makes of the light: white balance, vignette, film curve, blur, grain, at `size` pixels."""
    height, width = canvas.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None, :], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    warmth = _between(row["warmth"], -1, 1)
    gain = np.float32([1 + 0.15 * warmth, 1, 1 - 0.17 * warmth]) * np.float32(_between(row["exposure"], 0.70, 1.32))
    vignette = 1 - float(rng.uniform(0.05, 0.22)) * (x * x + y * y)
    shown = np.sqrt(1 - np.exp(-1.35 * np.clip(canvas * vignette[..., None] * gain, 0, None)))
    picture = as_picture(shown + 0.30 * (shown * shown * (3 - 2 * shown) - shown))
    motion = max(0.0, _between(row["motion"], -0.03, 0.012)) * width
    if motion:
        picture = _shaken(picture, motion, float(rng.uniform(0, np.pi)))
    blur = max(0.0, _between(row["blur"], -0.002, 0.003)) * width
    if size[0] > 1.2 * width and not blur:
        picture = picture.filter(ImageFilter.UnsharpMask(1.0, 80, 0))
    picture = picture.filter(ImageFilter.GaussianBlur(blur)).resize(size, Image.Resampling.BICUBIC)
    top, left = rng.integers(0, 256, 2)
    grain = _grain()[top : top + size[1], left : left + size[0]] * np.float32(_between(row["grain"], 0.8, 3.6))
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def _shaken(picture: Image.Image, length: float, angle: float) -> Image.Image:
    """Blur along a line `length` pixels long, as a hand that moved would leave it."""
    steps = max(2, round(length))
    total = np.zeros((picture.height, picture.width, 3), np.float32)
    for t in np.linspace(-0.5, 0.5, steps):
        move = (1, 0, t * length * np.cos(angle), 0, 1, t * length * np.sin(angle))
        total += as_array(picture.transform(picture.size, Image.Transform.AFFINE, move, Image.Resampling.BILINEAR))
    return as_picture(total / steps)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """A sensor's noise, spread near 1: mostly in brightness, a little in colour and coarser there."""
    side = LONGEST + 256
    rng = np.random.default_rng(11)
    colour = rng.standard_normal((side // 3, side // 3, 3), np.float32)
    layers = [Image.fromarray(colour[..., k]).resize((side, side), Image.Resampling.BILINEAR) for k in range(3)]
    return rng.standard_normal((side, side, 1), np.float32) + 0.7 * np.stack([np.asarray(c) for c in layers], -1)
