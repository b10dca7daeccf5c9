"""What makes one French bulldog look like itself: its coat, painted flat, and the build of its face.

Lengths are in head units: half the width of the skull, the origin between the eyes. The coat is painted on a flat
sheet that is later wrapped over the head, so that markings turn with it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from draw_light import Colour, Points, clouds, curve, paint, smoothstep

SHEET = 416  # pixels along one side of the sheet
REACH = 1.6  # it spans −REACH … REACH head units
PER_UNIT = SHEET / (2 * REACH)
WHITE: Colour = (0.93, 0.90, 0.86)


@dataclass(frozen=True)
class Patch:
    """A blot of colour on the face: centre and radii in head units, angle in degrees."""

    x: float
    y: float
    wide: float
    high: float
    angle: float
    colour: Colour


@dataclass(frozen=True)
class Dog:
    """Everything about a dog that stays the same from picture to picture."""

    coat: Colour
    shade: Colour  # the darker hairs: forehead, cheeks, edges of the ears
    mask: float  # darkness of the mask, 0–1
    mask_outline: tuple[float, ...]  # its radius in 12 directions round (0, 0.42), from the right clockwise
    blaze: tuple[tuple[float, float, float], ...]  # the white stripe: (y, left, right) from the forehead down
    patches: tuple[Patch, ...] = ()
    brindle: float = 0.0  # darkness of tiger stripes, 0–1
    freckles: float = 0.0  # darkness of small spots on forehead, blaze and chest, 0–1
    chest: float = 0.0  # width of the white chest, 0–1
    skull: float = 1.0  # widths and lengths as multiples of the usual
    muzzle: float = 1.0
    jowl: float = 1.0
    eye_gap: float = 0.46  # head units from the middle
    eye_size: float = 0.19
    eyes: Colour = (0.20, 0.10, 0.05)
    ear_high: float = 1.0
    ear_wide: float = 1.0
    ear_splay: tuple[float, float] = (14.0, 14.0)  # degrees outwards, on the picture's left and right
    notch: tuple[int, float, float] | None = None  # (0 left ear or 1 right, height on its outer edge 0–1, size)
    tooth: int = 0  # a lower tooth that shows: −1 left, 1 right, 0 none
    seed: int = 0  # of the wobble of edges and stripes


Strokes = tuple[tuple[Points, float], ...]
WRINKLES: Strokes = (  # drawn on both sides of the face, with a width
    (((0.0, -0.03), (0.18, 0.00), (0.31, 0.12), (0.40, 0.30)), 0.055),  # the roll over the nose
    (((0.0, 0.115), (0.14, 0.125), (0.25, 0.20), (0.30, 0.30)), 0.03),
    (((0.10, -0.13), (0.13, -0.30), (0.10, -0.46)), 0.04),  # between the brows
    (((0.0, -0.10), (0.0, -0.36)), 0.03),
    (((0.26, -0.27), (0.44, -0.27), (0.62, -0.15)), 0.03),  # above the eyes
    (((0.27, 0.20), (0.42, 0.29), (0.60, 0.26)), 0.03),  # under the eyes
    (((0.68, 0.18), (0.77, 0.38), (0.76, 0.62)), 0.04),  # cheeks
    (((0.57, 0.34), (0.70, 0.50), (0.71, 0.70)), 0.05),
    (((0.06, -0.56), (0.24, -0.60), (0.40, -0.54)), 0.035),  # forehead
)
LIPS: Strokes = (
    (((0.0, 0.37), (0.0, 0.60)), 0.022),
    (((0.0, 0.59), (0.09, 0.70), (0.26, 0.78), (0.44, 0.80), (0.60, 0.77)), 0.026),
)
SWELLINGS = (  # on both sides: x, y, width, height, how far it stands out
    (0.36, -0.28, 0.22, 0.11, 0.08),  # brows
    (0.0, 0.055, 0.27, 0.075, 0.095),  # the roll over the nose
    (0.33, 0.17, 0.10, 0.13, 0.05),
    (0.50, 0.31, 0.18, 0.09, 0.06),  # pouches under the eyes
    (0.14, -0.22, 0.06, 0.16, 0.05),
    (0.75, 0.42, 0.08, 0.20, 0.04),
)


@lru_cache(maxsize=2)
def face_sheet(dog: Dog) -> tuple[np.ndarray, np.ndarray]:
    """Linear colour (SHEET, SHEET, 3) and relief in head units (SHEET, SHEET) of a dog's face, seen flat."""
    grid = np.linspace(-REACH, REACH, SHEET, dtype=np.float32)
    x, y = grid[None, :], grid[:, None]
    mottle = clouds(dog.seed, SHEET, SHEET, 6)
    sheet = np.empty((SHEET, SHEET, 3), np.float32)
    sheet[:] = np.square(np.float32(dog.coat))
    dark = 0.35 * smoothstep(-0.15, -0.75, y) + 0.35 * smoothstep(0.55, 1.0, np.abs(x)) + 0.10 * mottle
    paint(sheet, dog.shade, np.clip(dark, 0, 0.8))
    if dog.brindle:
        stripes = np.sin(26 * (y + 0.35 * np.abs(x)) + 3.2 * clouds(dog.seed + 1, SHEET, SHEET, 7, 2))
        paint(sheet, (0.10, 0.08, 0.07), dog.brindle * smoothstep(-0.1, 0.9, stripes + 0.3 * mottle))
    for patch in dog.patches:
        paint(sheet, patch.colour, 0.93 * _blot(patch, dog.seed))
    _paint_mask(sheet, dog, x, y)
    if dog.blaze:
        left, right = tuple((a, v) for v, a, _ in dog.blaze), tuple((b, v) for v, _, b in dog.blaze)
        paint(sheet, WHITE, 0.96 * _stencil(curve(left) + curve(right)[::-1], 0.022))
    if dog.freckles:
        spots = smoothstep(1.15, 1.55, clouds(dog.seed + 2, SHEET, SHEET, 46, 1)) * smoothstep(0.40, 0.05, y)
        paint(sheet, (0.30, 0.19, 0.13), dog.freckles * spots)
    wrinkles, lips = _strokes(WRINKLES, 0.035), _strokes(LIPS, 0.017)
    sheet *= (1 - 0.5 * wrinkles)[..., None]
    paint(sheet, (0.10, 0.06, 0.06), np.clip(1.0 * lips, 0, 0.85))
    paint(sheet, (0.10, 0.08, 0.08), 0.6 * _whisker_dots())
    return sheet, (_bumps() - 0.055 * wrinkles - 0.05 * lips + 0.006 * mottle).astype(np.float32)


@lru_cache
def _bumps() -> np.ndarray:
    x = np.abs(np.linspace(-REACH, REACH, SHEET, dtype=np.float32))[None, :]
    y = np.linspace(-REACH, REACH, SHEET, dtype=np.float32)[:, None]
    return sum(h * np.exp(-(((x - cx) / a) ** 2) - ((y - cy) / b) ** 2) for cx, cy, a, b, h in SWELLINGS)


def _paint_mask(sheet: np.ndarray, dog: Dog, x: np.ndarray, y: np.ndarray) -> None:
    """The dark mask of the muzzle and the dark rims round the eyes."""
    angles = np.radians(np.arange(12) * 30)
    outline = tuple((r * np.cos(a), 0.42 + r * np.sin(a)) for r, a in zip(dog.mask_outline, angles, strict=True))
    paint(sheet, (0.13, 0.105, 0.10), dog.mask * _stencil(curve(outline, True), 0.07))
    far = [np.hypot((x - side * dog.eye_gap) / 0.29, (y - 0.05) / 0.27) for side in (-1, 1)]
    rims = sum(smoothstep(1.05, 0.55, r) for r in far)
    paint(sheet, (0.12, 0.09, 0.08), np.clip(rims, 0, 1) * (0.25 + 0.4 * dog.mask))


def body_coat(dog: Dog, x: np.ndarray, y: np.ndarray, strands: np.ndarray) -> np.ndarray:
    """Linear colour (…, 3) of the body's fur at body coordinates x and y."""
    row, column = (y * 128).astype(np.intp) % 512, (x * 128 + 256).astype(np.intp) % 512
    mottle = _tile(dog.seed + 11, 6)[row, column]
    albedo = np.empty((*x.shape, 3), np.float32)
    albedo[:] = np.square(np.float32(dog.coat))
    paint(albedo, dog.shade, np.clip(0.3 * smoothstep(0.4, 0.9, np.abs(x)) + 0.08 * mottle, 0, 0.7))
    if dog.brindle:
        stripes = np.sin(22 * (x + 0.3 * y) + 3 * mottle)
        paint(albedo, (0.10, 0.08, 0.07), dog.brindle * smoothstep(-0.1, 0.9, stripes))
    if dog.chest:
        narrowing = 0.10 * np.abs(y - 1.45) + 0.22 * np.clip(y - 2.0, 0, None)
        edge = np.abs(x + 0.06) - 0.62 * dog.chest + narrowing - 0.09 * mottle - 0.05 * strands
        paint(albedo, WHITE, 0.95 * smoothstep(0.08, -0.08, edge))
    if dog.freckles:
        spots = smoothstep(1.2, 1.6, _tile(dog.seed + 12, 50)[row, column]) * smoothstep(0.75, 0.45, np.abs(x))
        paint(albedo, (0.30, 0.19, 0.13), dog.freckles * spots)
    albedo *= (1 + 0.10 * strands)[..., None]
    return albedo


@lru_cache(maxsize=4)
def _tile(seed: int, cells: int) -> np.ndarray:
    """Noise (512, 512) for four head units of the body's fur each way."""
    return clouds(seed, 512, 512, cells, 2 if cells < 20 else 1)


def _at(x: float, y: float) -> tuple[float, float]:
    return (x + REACH) * PER_UNIT, (y + REACH) * PER_UNIT


def _softened(picture: Image.Image, blur: float) -> np.ndarray:
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(blur * PER_UNIT)), np.float32) / 255


def _stencil(polygon: Points, blur: float) -> np.ndarray:
    """A filled polygon on the sheet with soft edges, 0–1."""
    picture = Image.new("L", (SHEET, SHEET))
    ImageDraw.Draw(picture).polygon([_at(x, y) for x, y in polygon], fill=255)
    return _softened(picture, blur)


@lru_cache
def _strokes(strokes: Strokes, blur: float) -> np.ndarray:
    """Curved strokes on both sides of the face, 0–1."""
    picture = Image.new("L", (SHEET, SHEET))
    for points, width in strokes:
        for side in (-1, 1):
            line = [_at(side * x, y) for x, y in curve(points)]
            ImageDraw.Draw(picture).line(line, fill=255, width=max(1, round(width * PER_UNIT)), joint="curve")
    return _softened(picture, blur)


def _blot(patch: Patch, seed: int) -> np.ndarray:
    """Where a patch lies on the sheet, its edge wobbling, 0–1."""
    rng = np.random.default_rng([seed, round(1000 * (patch.x + 9)), round(1000 * (patch.y + 9))])
    round_it = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    wobble = 1 + 0.12 * rng.standard_normal(14)
    u, v = wobble * patch.wide * np.cos(round_it), wobble * patch.high * np.sin(round_it)
    c, s = np.cos(np.radians(patch.angle)), np.sin(np.radians(patch.angle))
    return _stencil(curve(tuple(zip(patch.x + c * u - s * v, patch.y + s * u + c * v, strict=True)), True), 0.022)


@lru_cache
def _whisker_dots() -> np.ndarray:
    picture = Image.new("L", (SHEET, SHEET))
    for side in (-1, 1):
        for row in range(3):
            for k in range(4):
                px, py = _at(side * (0.20 + 0.085 * k + 0.02 * row), 0.47 + 0.075 * row + 0.012 * k * k)
                ImageDraw.Draw(picture).ellipse((px - 1.4, py - 1.4, px + 1.4, py + 1.4), fill=255)
    return _softened(picture, 0.008)
