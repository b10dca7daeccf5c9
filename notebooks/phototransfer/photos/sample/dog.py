"""Drawings of French bulldogs: outlines on a head that turns, light on inflated shapes, fur made of noise."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter, map_coordinates

Array = NDArray[np.floating[Any]]
Colour = tuple[int, int, int]
Outlines = Array | list[Array]  # as an array: (outlines, points, 2)
Shapes = list[tuple[Outlines, float, float]]  # outlines, blur and height of each bulge

CLOTHS: tuple[Colour, ...] = ((150, 62, 54), (60, 84, 122), (88, 104, 72), (190, 150, 84), (112, 92, 124), (84, 82, 86))
TEXTURE = 100  # pixels of a texture per unit
COARSE = 4  # light and wide shadows are computed at a quarter of the size: they are smooth


def smooth(points: ArrayLike, closed: bool = True) -> Array:
    """Return points (n, 2) with the corners cut off three times (Chaikin's algorithm)."""
    curve: Array = np.asarray(points, dtype=np.float64)
    for _ in range(3):
        following = np.roll(curve, -1, axis=0)
        cut = np.stack([0.75 * curve + 0.25 * following, 0.25 * curve + 0.75 * following], axis=1).reshape(-1, 2)
        curve = cut if closed else np.concatenate([curve[:1], cut[:-2], curve[-1:]])
    return curve


def ellipse(x: float, y: float, width: float, height: float) -> Array:
    """Return the 24 points of an ellipse with the given centre and half axes."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], axis=1)


def _whole(*half: tuple[float, float]) -> Array:
    """Return the smooth outline of which the right half is given, from top to bottom."""
    return smooth([*half, *((-x, y) for x, y in reversed(half))])


def _both(points: ArrayLike) -> Array:
    return np.stack([np.asarray(points) * (-1, 1), points])


# Lengths are in units of half the width of the head, relative to its centre: x to the right, y downwards.
TORSO = _whole((0, 0.2), (0.7, 0.5), (1.02, 0.95), (1.2, 1.6), (1.12, 2.3), (0.9, 2.9), (0.4, 3.15), (0, 3.15))
THIGHS, FEET = _both(ellipse(1.02, 2.7, 0.48, 0.62)), _both(ellipse(1.15, 3.22, 0.36, 0.15))
LEGS = _both(smooth([(0.14, 1.75), (0.62, 1.65), (0.76, 2.2), (0.68, 2.9), (0.72, 3.3), (0.26, 3.3), (0.28, 2.6)]))
PAWS, CHEST = _both(ellipse(0.46, 3.27, 0.29, 0.17)), ellipse(0, 1.35, 0.5, 0.55)
COLLAR = smooth([(-0.85, 0.85), (0, 1.3), (0.85, 0.85), (0.85, 1.02), (0, 1.5), (-0.85, 1.02)])
SCARF = smooth([(-0.95, 0.95), (0, 1.15), (0.95, 0.95), (0.35, 1.75), (0, 2.1), (-0.35, 1.75)])
HEAD = _whole((0, -0.74), (0.45, -0.76), (0.84, -0.62), (1.04, -0.26), (1.1, 0.3), (0.98, 0.88), (0.6, 1.08), (0, 1.12))
EARS = _both(smooth([(0.22, -0.5), (0.3, -1), (0.46, -1.44), (0.68, -1.72), (0.94, -1.68), (1.1, -1.3), (1.1, -0.4)]))
INNER_EARS = _both(
    smooth([(0.42, -0.6), (0.45, -1), (0.58, -1.36), (0.75, -1.56), (0.92, -1.48), (1, -1.15), (0.96, -0.6)])
)
NICKS = _both(smooth([(1.2, -1.52), (0.8, -1.36), (1.2, -1.16)]))
MUZZLE = _whole((0, 0.08), (0.26, 0.08), (0.56, 0.24), (0.76, 0.5), (0.8, 0.82), (0.62, 1), (0.3, 0.86), (0, 0.62))
CHIN = _whole((0, 0.6), (0.36, 0.74), (0.44, 0.94), (0.26, 1.1), (0, 1.13))
CHEEKS, BROWS = _both(ellipse(0.7, 0.5, 0.28, 0.34)), _both(ellipse(0.44, -0.36, 0.3, 0.13))
SOCKETS, PADS = _both(ellipse(0.53, -0.1, 0.24, 0.21)), _both(ellipse(0.33, 0.55, 0.3, 0.27))
NOSE = _whole((0, -0.03), (0.16, -0.05), (0.29, 0.04), (0.28, 0.16), (0.14, 0.24), (0, 0.28))
NOSTRILS = _both(smooth([(0.07, 0.15), (0.13, 0.1), (0.22, 0.11), (0.18, 0.17)]))
FACE: list[tuple[Array, float, float]] = [
    (CHEEKS, 0.12, 0.2),
    (BROWS, 0.07, 0.2),
    (SOCKETS, 0.06, -0.16),
    (ellipse(0, -0.12, 0.2, 0.14)[None], 0.07, -0.2),
]
FACE += [(MUZZLE[None], 0.09, 0.4), (PADS, 0.1, 0.28), (CHIN[None], 0.07, 0.16), (NOSE[None], 0.05, 0.1)]
LIPS = _both(smooth([(0, 0.28), (0, 0.5), (0.12, 0.62), (0.32, 0.8), (0.5, 0.95), (0.7, 0.96)], closed=False))
MOUTH = smooth([(-0.34, 0.7), (0, 0.52), (0.34, 0.7), (0.24, 0.92), (-0.24, 0.92)])
CREASES = _both(smooth([(0, -0.2), (0.24, -0.15), (0.44, 0.02)], closed=False))
FOLDS = _both(smooth([(0.32, -0.1), (0.56, 0.1), (0.8, 0.38), (0.9, 0.66)], closed=False))
EYES = np.array([[(-0.53, -0.1)], [(0.53, -0.1)]])  # their middles
EYE = 0.165 * smooth([(-1.22, 0.18), (-0.7, -1), (0.7, -1), (1.22, 0.18), (0.7, 1.05), (-0.7, 1.05)])
LID = 0.165 * smooth([(-1.5, 0.1), (-0.8, -1), (0, -1.16), (0.8, -1), (1.5, 0.1), (1, -0.62), (0, -0.78), (-1, -0.62)])


class Dog(NamedTuple):
    """What does not change from photo to photo. Patches: on the head, an ear or the body; colour; outline."""

    coat: Colour
    mask: float  # how dark the muzzle is, 0–1
    stripes: float  # how strong the brindle is, 0–1
    patches: list[tuple[str, Colour, Array]]
    nick: int  # the ear that lacks a piece: -1 left, 1 right, 0 none
    ears: float = 1.0  # length
    number: int = 7  # places the stripes


class Pose:
    """Where the dog is on a canvas of a size (width, height), and how it holds itself: at random."""

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.unit = float(min(size) * np.exp(rng.uniform(np.log(0.18), np.log(0.33))))  # pixels
        below = np.clip((size[1] / self.unit - 2.9) / 2.5, 0, 1) - 0.2  # a small dog shows more of its body
        x, y = rng.uniform(-0.4, 0.4, 2)
        self.centre = np.array([size[0] * (0.5 + x) - 2.2 * self.unit * x, size[1] / 2 + self.unit * (y - below)])
        self.yaw, self.pitch, self.roll = rng.uniform((-0.5, -0.28, -0.3), (0.5, 0.2, 0.3))  # radians
        self.lean = rng.uniform(-0.14, 0.14)  # of the body, sideways per unit of height
        self.offset = rng.uniform((-0.3, -0.1), (0.3, 0.25))  # of the head from its place above the body
        self.build = rng.uniform((0.92, 0.72), (1.2, 1.05))  # of the body: width and height
        self.ears = rng.uniform(0.88, 1.08, 2)  # their lengths as they appear
        self.tongue = rng.uniform(0.15, 0.5) if rng.random() < 0.45 else 0.0  # length
        self.cloth = CLOTHS[rng.integers(len(CLOTHS))] if rng.random() < 0.5 else None
        self.scarf = rng.random() < 0.4  # instead of a collar
        light = rng.uniform((-0.7, -0.75, 0.6), (0.7, -0.25, 0.6))
        self.light = light / np.linalg.norm(light)  # direction towards it

    def body(self, points: Array) -> Array:
        """Return points (…, 2) of the body in pixels."""
        x, y = points[..., 0], points[..., 1]
        shape = np.stack([x * self.build[0] + self.lean * (y - 0.5), 0.4 + (y - 0.4) * self.build[1]], axis=-1)
        return (shape - self.offset) * self.unit + self.centre

    def head(self, points: Array, depth: float | None = None) -> Array:
        """Return points (…, 2) of the head in pixels: at a depth, or else on the surface of skull and muzzle."""
        x, y = points[..., 0], points[..., 1]
        skull = 0.75 * np.sqrt(np.maximum(0, 1 - (x * x + y * y) / 1.8))
        z = skull + 0.35 * np.exp(-((x / 0.5) ** 2) - ((y - 0.4) / 0.4) ** 2) if depth is None else depth
        x, z = x * np.cos(self.yaw) + z * np.sin(self.yaw), z * np.cos(self.yaw) - x * np.sin(self.yaw)
        y = y * np.cos(self.pitch) + z * np.sin(self.pitch)
        turned = (x * np.cos(self.roll) - y * np.sin(self.roll), x * np.sin(self.roll) + y * np.cos(self.roll))
        return np.stack(turned, axis=-1) * self.unit + self.centre


def scaled(colour: Colour, factor: float) -> Colour:
    """Return a colour with its brightness multiplied."""
    red, green, blue = np.minimum(255, np.multiply(colour, factor)).astype(int).tolist()
    return red, green, blue


def to_bytes(values: ArrayLike) -> NDArray[np.uint8]:
    """Return values as bytes, limited to 0–255."""
    return np.clip(values, 0, 255).astype(np.uint8)


@cache
def _textures() -> list[Image.Image]:
    """Return two grey textures: hair that points away from the nose, and stripes."""
    rng = np.random.default_rng(5)
    side = 7 * TEXTURE
    y, x = np.mgrid[:side, :side] - side / 2
    wave = 85 * gaussian_filter(rng.standard_normal((side, side)), 24)
    polar = gaussian_filter(rng.standard_normal((700, 360)), (0.7, 3), mode="wrap")
    rows = ((np.arctan2(y, x) + 0.05 * wave) / (2 * np.pi) * 700) % 700
    hair = map_coordinates(polar, [rows, 0.5 * np.hypot(x, y)], order=1, mode="wrap")
    stripes = np.sin(0.13 * y + 0.03 * np.abs(x) + 2.2 * wave) + 0.45 * hair / hair.std()
    return [Image.fromarray(to_bytes(128 + 50 * values / values.std())) for values in (hair, stripes)]


class _Painter:
    """A dog while it is drawn: its colours without light, its light, its mask, and hair around 0."""

    def __init__(self, size: tuple[int, int], dog: Dog, pose: Pose) -> None:
        self.size, self.dog, self.pose, self.unit = size, dog, pose, pose.unit
        self.colours = Image.new("RGB", size)
        self.light: Array = np.ones(size[::-1], np.float32)
        self.alpha: Array = np.zeros(size[::-1], np.float32)
        self.hair = self.texture(0, pose.head(np.array([0, 0.1])))

    def texture(self, number: int, centre: Array) -> Array:
        """Return one of the textures turned with the head around a point, float (height, width), -1 to 1."""
        (x, y), middle = centre, 3.5 * TEXTURE
        a, b = np.array([np.cos(self.pose.roll), np.sin(self.pose.roll)]) * TEXTURE / self.unit
        affine = (a, b, middle - a * x - b * y, -b, a, middle + b * x - a * y)
        placed = _textures()[number].transform(self.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        return np.asarray(placed, np.float32) / 128 - 1

    def area(self, outlines: Outlines, blur: float, scale: int = 1, width: float = 0.0) -> Array:
        """Return the inside of outlines (pixels) or lines of a width, 0–1, blurred, at a `scale`-th of the size."""
        picture = Image.new("L", (-(-self.size[0] // scale), -(-self.size[1] // scale)))
        draw = ImageDraw.Draw(picture)
        for outline in outlines:
            points = (outline / scale).ravel().tolist()
            if width:
                draw.line(points, 255, max(1, round(width * self.unit)), "curve")
            else:
                draw.polygon(points, 255)
        if scale > 1:
            return gaussian_filter(np.asarray(picture, np.float32) / 255, blur * self.unit / scale, truncate=2.5)
        return np.asarray(picture.filter(ImageFilter.BoxBlur(max(0.5, blur * self.unit))), np.float32) / 255

    def enlarged(self, coarse: Array) -> Array:
        size = (coarse.shape[1] * COARSE, coarse.shape[0] * COARSE)
        return np.asarray(Image.fromarray(coarse).resize(size))[: self.size[1], : self.size[0]]

    def wide(self, outlines: Outlines, blur: float) -> Array:
        return self.enlarged(self.area(outlines, blur, COARSE))

    def furry(self, outlines: Outlines, blur: float = 0.02, fur: float = 0.3) -> Array:
        """Return the inside of outlines (pixels), 0–1, with hair at its edge."""
        soft = self.area(outlines, blur)
        return np.clip(2.2 * (soft + 4 * fur * soft * (1 - soft) * self.hair - 0.5) + 0.5, 0, 1)

    def paint(self, colour: Colour, mask: Array, light: Array | float | None = None) -> None:
        stencil = Image.fromarray(to_bytes(255 * mask))
        box = stencil.getbbox()
        if box:
            self.colours.paste(colour, box, stencil.crop(box))
        if light is not None:
            self.light += mask * (light - self.light)

    def put(self, colour: Colour, mask: Array, shapes: Shapes) -> None:
        """Put a part in front of what is there, lit as its shapes (outlines in pixels) are inflated."""
        unit = self.unit / COARSE
        height = np.sum([high * unit * self.area(outlines, blur, COARSE) for outlines, blur, high in shapes], axis=0)
        down, across = np.gradient(height)
        x, y, z = self.pose.light
        facing = (z - x * across - y * down) / np.sqrt(1 + across**2 + down**2)
        hollow = np.clip((height - gaussian_filter(height, 0.25 * unit)) / unit, -0.25, 0.25)
        light = self.enlarged((0.36 + 0.62 * np.maximum(facing, 0) + 0.9 * hollow).astype(np.float32))
        self.paint(colour, mask, light)
        self.alpha = np.maximum(self.alpha, mask)

    def coat(self, place: str, mask: Array) -> None:
        placed = self.pose.body if place == "body" else self.pose.head
        if self.dog.stripes:
            start = np.random.default_rng([self.dog.number, len(place)]).uniform((-0.5, 0.7), (0.5, 1.7))
            stripes = np.clip(1.6 * self.texture(1, placed(start)) + 0.45, 0, 1)
            self.paint(scaled(self.dog.coat, 0.38), mask * stripes * self.dog.stripes)
        for patch_place, colour, outline in self.dog.patches:
            if patch_place == place:
                self.paint(colour, mask * self.furry([placed(outline)], 0.03, 0.8))

    def draw_body(self) -> None:
        pose, coat = self.pose, self.dog.coat
        thighs, feet, legs, paws = pose.body(THIGHS), pose.body(FEET), pose.body(LEGS), pose.body(PAWS)
        torso, chest = pose.body(TORSO[None]), pose.body(CHEST[None])
        self.put(coat, self.furry([*thighs, *feet]), [(thighs, 0.2, 0.8), (feet, 0.06, 0.2)])
        self.put(coat, self.furry(torso), [(torso, 0.3, 1.0), (chest, 0.2, 0.3)])
        self.light *= 1 - 0.35 * self.wide(legs, 0.12)
        self.put(coat, self.furry([*legs, *paws]), [(legs, 0.11, 0.45), (paws, 0.05, 0.18)])
        self.coat("body", self.alpha)
        if pose.cloth:
            cloth = pose.body(SCARF[None] if pose.scarf else COLLAR[None])
            self.put(pose.cloth, self.alpha * self.area(cloth, 0.008), [(cloth, 0.07, 0.2), (torso, 0.3, 1.0)])
        self.light *= 1 - 0.5 * self.wide(pose.head(HEAD[None] + np.array([0, 0.24]), depth=0.0), 0.14)

    def draw_ears(self) -> None:
        dog, pose = self.dog, self.pose
        lengths = dog.ears * pose.ears[:, None, None]
        outer, inner, nicks = (pose.head(lengths * part, depth=-0.15) for part in (EARS, INNER_EARS, NICKS))
        mask = self.furry(outer, 0.014, 0.25)
        if dog.nick:
            mask *= 1 - self.area([nicks[int(dog.nick > 0)]], 0.01)
        self.put(dog.coat, mask, [(outer, 0.1, 0.5), (inner, 0.1, -0.55)])
        self.coat("ear", mask)
        hollow = mask * self.wide(inner, 0.05)
        self.paint((188, 134, 122), 0.75 * hollow)
        self.light *= 1 - 0.38 * hollow

    def draw_head(self) -> None:
        dog, pose = self.dog, self.pose
        skull, muzzle = pose.head(HEAD[None], depth=0.0), [pose.head(MUZZLE), pose.head(CHIN)]
        mask = self.furry([*skull, *muzzle])
        self.put(dog.coat, mask, [(skull, 0.26, 0.95), *((pose.head(part), blur, high) for part, blur, high in FACE)])
        self.paint(scaled(dog.coat, 1.18), 0.5 * mask * self.wide(pose.head(CHEEKS), 0.14))
        self.coat("head", mask)
        self.paint((54, 45, 42), dog.mask * mask * self.wide([*muzzle, *pose.head(SOCKETS)], 0.11))
        crease = self.area([*pose.head(CREASES), *pose.head(FOLDS)], 0.022, width=0.035)
        self.light *= (1 - 0.4 * crease) * (1 + 0.2 * np.roll(crease, round(0.05 * self.unit), axis=0))

    def draw_details(self) -> None:
        pose = self.pose

        def draw(colour: Colour, *parts: Array) -> None:
            self.paint(colour, self.area([outline for part in parts for outline in pose.head(part)], 0.0), 1.0)

        self.paint((22, 16, 16), self.area(pose.head(LIPS), 0.01, width=0.03))
        if pose.tongue:
            end = 0.72 + pose.tongue
            draw((52, 24, 26), MOUTH[None])
            draw((212, 108, 114), _whole((0.12, 0.64), (0.23, 0.75), (0.23, end - 0.15), (0.12, end))[None])
        gaze = EYES + np.array([0.033 * np.sin(2 * pose.yaw), 0])
        draw((22, 17, 16), NOSE[None], EYES + 1.16 * EYE)
        draw((168, 152, 142), EYES + EYE)
        draw((66, 40, 22), gaze + ellipse(0, 0, 0.165, 0.165))
        draw((9, 7, 8), NOSTRILS, gaze + ellipse(0, 0, 0.122, 0.122))
        draw((104, 100, 104), ellipse(0, 0.01, 0.15, 0.035)[None], gaze + ellipse(0, 0.09, 0.04, 0.012))
        draw((252, 252, 250), gaze + ellipse(0.06 * np.sign(pose.light[0]), -0.063, 0.04, 0.04))
        draw((22, 17, 16), EYES + LID)


def draw_dog(size: tuple[int, int], dog: Dog, pose: Pose) -> tuple[Image.Image, Image.Image]:
    """Return a dog as a picture in RGB and its mask in grey, both of `size` (width, height)."""
    painter = _Painter(size, dog, pose)
    painter.draw_body()
    painter.draw_ears()
    painter.draw_head()
    painter.light *= 1 + 0.12 * painter.hair
    painter.draw_details()
    picture = Image.fromarray(to_bytes(np.asarray(painter.colours, np.float32) * painter.light[..., None]))
    return picture, Image.fromarray(to_bytes(255 * painter.alpha))
