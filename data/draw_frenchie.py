"""One French bulldog, head and chest, drawn into a picture.

The head and the body are each a heap of ellipsoids melted into a height field; the painted coat is wrapped over it
and lit. Lengths are in head units (half the width of the skull), the origin lies between the eyes.
"""

from dataclasses import dataclass

import numpy as np

from draw_coat import PER_UNIT, REACH, SHEET, Dog, body_coat, face_sheet
from draw_face import paint_ear, paint_eyes, paint_whiskers
from draw_light import (
    FUR,
    MOUTH,
    NOSE,
    TONGUE,
    Colour,
    Light,
    Place,
    Surface,
    bilinear,
    cast_shadow,
    hair_at,
    lit,
    paint,
    rotation,
    soften,
)  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """How the dog holds itself: angles in degrees, the rest 0–1 unless said."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    body: float = 0.0  # yaw of the body
    mouth: float = 0.0  # how far it is open
    squint: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)  # −1…1, to the right and down
    perk: tuple[float, float] = (0.0, 0.0)  # degrees the ears splay further than usual


@dataclass(frozen=True)
class Outfit:
    """What the dog wears round its neck."""

    kind: str = "none"  # none, collar or bandana
    colour: Colour = (0.7, 0.1, 0.1)
    second: Colour = (1.0, 1.0, 1.0)
    pattern: str = "plain"  # plain, dots, checks or stripes
    tag: bool = False


def paint_dog(
    canvas: np.ndarray, dog: Dog, pose: Pose, wear: Outfit, light: Light, place: Place, rng: np.random.Generator
) -> None:
    """Draw a dog on the linear canvas (height, width, 3), in place; `rng` is for what no two pictures share."""
    turn = rotation(pose.yaw, pose.pitch, pose.roll)
    _paint_body(canvas, dog, pose, wear, light, place, turn)
    for side, perk in zip((-1, 1), pose.perk, strict=True):
        paint_ear(canvas, dog, turn, perk, light, side, place)
    _paint_head(canvas, dog, pose, light, place, turn)
    paint_eyes(canvas, dog, turn, pose.squint, pose.gaze, light, place)
    paint_whiskers(canvas, dog, turn, light, place, rng)


def _head(dog: Dog, mouth: float, xs: np.ndarray, ys: np.ndarray, turn: np.ndarray) -> Surface:
    """The bare head: skull, cheeks, muzzle, jaw and nose."""
    s, w, drop = Surface(xs, ys, turn), dog.muzzle, 0.24 * mouth
    s.add((0, -0.10, -0.25), (0.95 * dog.skull, 0.74, 0.80))
    s.add((0, -0.34, -0.10), (0.76 * dog.skull, 0.46, 0.64), blend=0.3)
    for side in (-1, 1):
        s.add((side * 0.58, -0.44, -0.32), (0.29, 0.34, 0.42), blend=0.4)  # roots of the ears
        s.add((side * 0.57, 0.27, -0.18), (0.43, 0.54, 0.62), blend=0.3)  # cheeks
    if mouth > 0.05:
        s.add((0, 0.76 + 0.5 * drop, 0.22), (0.36, 0.14 + 0.6 * drop, 0.34), MOUTH, 0.02)
        s.add((0.02, 0.80 + 0.95 * drop, 0.46), (0.20, 0.10 + 0.75 * drop, 0.26), TONGUE, 0.03)
    s.add((0, 0.82 + drop, 0.16), (0.45 * w, 0.18, 0.46), blend=0.06)  # jaw
    s.add((0, 0.22, 0.10), (0.42 * w, 0.40, 0.66), blend=0.3)  # bridge of the nose
    for side in (-1, 1):
        s.add((side * 0.28 * w, 0.50, 0.24), (0.38 * w, 0.30, 0.56), blend=0.05, angle=side * 24)  # upper lip
        s.add((side * 0.50 * w, 0.64, 0.06), (0.27, 0.28 * dog.jowl, 0.46), blend=0.2, angle=side * -18)  # jowl
    s.add((0, 0.22, 0.70), (0.19, 0.135, 0.17), NOSE, 0.03)
    for side in (-1, 1):
        s.add((side * 0.14, 0.245, 0.66), (0.12, 0.105, 0.16), NOSE, 0.06)
    return s


def _paint_head(canvas: np.ndarray, dog: Dog, pose: Pose, light: Light, place: Place, turn: np.ndarray) -> None:
    rows, columns = place.box(canvas, -1.4, -1.3, 1.4, 1.5)
    xs, ys = place.axes(rows, columns)
    if len(xs) < 16 or len(ys) < 16:
        return
    surface = _head(dog, pose.mouth, xs, ys, turn)
    z = surface.z
    x, y, _ = surface.untwisted()
    # The fur runs outwards from the bridge of the nose.
    strands = hair_at(300 * np.log(np.hypot(x, y - 0.12) + 0.25), np.arctan2(y - 0.12, x) * (512 / np.pi))
    sheet, relief = face_sheet(dog)
    fray = 0.012 * PER_UNIT * strands  # the hairs carry the edge of each marking with them
    u, v = (np.clip((c + REACH) * PER_UNIT, 12, SHEET - 13) for c in (x, y))
    albedo = sheet[(v + 0.6 * fray).astype(np.intp), (u + fray).astype(np.intp)] * (1 + 0.10 * strands)[..., None]
    z += np.where(surface.owner == FUR, bilinear(relief, v, u) + 0.0014 * strands, 0)
    gloss, wet = _wet_parts(albedo, surface, x, y)
    if dog.tooth and pose.mouth < 0.15:
        _show_tooth(albedo, gloss, x - 0.15 * dog.tooth, y)
    normal = surface.normals()
    hollow = np.clip(1 - 1.6 * np.clip(soften(z, max(3, int(0.10 * place.scale))) - z, -0.02, 0.35), 0.25, 1.03)
    hollow *= np.clip(1 - 0.9 * np.clip(soften(z, max(6, int(0.35 * place.scale))) - z, 0, 0.5), 0.45, 1)
    lamp = cast_shadow(z, 1 / place.scale, light) * (0.5 + 0.5 * hollow)
    colour = lit(np.clip(albedo, 0.004, 1), normal, light, hollow, lamp, gloss, 14.0)
    colour += _nose_shine(normal, light, wet)[..., None]
    _lay(canvas[rows, columns], colour, surface, strands, place.scale)


def _lay(area: np.ndarray, colour: np.ndarray, surface: Surface, strands: np.ndarray, scale: float) -> None:
    """Blend a lit surface into its part of the canvas, hairs standing over its edge."""
    area += (colour - area) * np.clip((surface.inside + 0.004 * strands) * scale * 0.5 + 0.5, 0, 1)[..., None]


def _wet_parts(albedo: np.ndarray, surface: Surface, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint nose, mouth and tongue into `albedo` and sink the nostrils, in place; gloss and the wet nose, 0–1."""
    gloss = np.full(x.shape, 0.05, np.float32)
    nose, tongue = surface.owner == NOSE, surface.owner == TONGUE
    nostrils = np.exp(-((x / 0.012) ** 2)) * (y > 0.25) * 0.5
    for side in (-1, 1):
        away = (x - side * 0.120 + side * 0.25 * (y - 0.26)) / 0.056
        nostrils += np.exp(-(away**2) - ((y - 0.255) / 0.040) ** 2)
    nostrils = np.where(nose, np.clip(nostrils, 0, 1), 0).astype(np.float32)
    surface.z -= 0.05 * nostrils
    albedo[nose] = np.float32([0.020, 0.017, 0.020]) * (1 - 0.93 * nostrils[nose, None])
    albedo[surface.owner == MOUTH] = (0.035, 0.010, 0.010)
    groove = 1 - 0.35 * np.exp(-(((x[tongue] - 0.02) / 0.02) ** 2))
    albedo[tongue] = np.float32([0.62, 0.20, 0.22]) * groove[:, None]
    gloss[tongue] = 0.25
    return gloss * (1 - nostrils), nose * (1 - nostrils)


def _show_tooth(albedo: np.ndarray, gloss: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """A lower tooth that stands over the upper lip, in place; x is measured from its tip."""
    share = np.clip((0.040 * np.sqrt(np.clip((y - 0.665) / 0.08, 0, 1)) - np.abs(x)) * 60, 0, 1) * (y < 0.755)
    paint(albedo, (0.93, 0.90, 0.80), share)
    gloss += 0.3 * share


def _nose_shine(normal: np.ndarray, light: Light, wet: np.ndarray) -> np.ndarray:
    lx, ly, lz = light.towards
    half = np.float32([0.6 * lx, ly - 0.35, lz + 1.0])
    facing = np.clip(np.tensordot(half / np.linalg.norm(half), normal, 1), 0, 1)
    return wet * (0.30 * facing**28 + 0.06 * facing**5) * (0.4 + max(light.lamp))


def _paint_body(
    canvas: np.ndarray, dog: Dog, pose: Pose, wear: Outfit, light: Light, place: Place, turn: np.ndarray
) -> None:
    """Neck, chest and forelegs with what the dog wears; the head (turned by `turn`) throws its shadow on them."""
    rows, columns = place.box(canvas, -1.7, -0.2, 1.7, 4.0)
    xs, ys = place.axes(rows, columns)
    if len(xs) < 16 or len(ys) < 16:
        return
    s = Surface(xs, ys, rotation(pose.body, 0, 0.25 * pose.roll))
    s.add((0, 2.3, -1.5), (1.15, 1.1, 1.0), blend=0.2)
    s.add((0, 0.70, -0.62), (0.80, 0.85, 0.62))
    s.add((0, 1.75, -0.50), (0.92, 0.98, 0.72), blend=0.4)
    for side in (-1, 1):
        s.add((side * 0.72, 1.75, -0.66), (0.48, 0.85, 0.58), blend=0.3)
        s.add((side * 0.56, 2.75, -0.40), (0.27, 0.95, 0.30), blend=0.15)
        s.add((side * 0.57, 3.55, -0.15), (0.32, 0.20, 0.36), blend=0.1)
    head = Surface(xs, ys, turn)
    head.add((0, 0.05, -0.1), (0.95, 0.85, 0.75))
    head.add((0, 0.55, 0.25), (0.65, 0.42, 0.5))
    x, y, depth = s.untwisted()
    strands = hair_at(170 * y + 30 * np.abs(x), 170 * x + 900)
    albedo, gloss = body_coat(dog, x, y, strands), np.full(x.shape, 0.04, np.float32)
    s.z += 0.0016 * strands
    if wear.kind != "none":
        _dress(s.z, albedo, gloss, wear, x, y, y - (0.80 + 0.42 * (depth + 0.55)))
    blocker = np.maximum(s.z, head.z)
    buried = soften(blocker, max(6, int(0.3 * place.scale))) - s.z
    hollow = np.clip(1 - 0.8 * np.clip(buried, -0.05, 0.7), 0.22, 1.03)
    lamp = cast_shadow(s.z, 1 / place.scale, light, blocker) * (0.4 + 0.6 * hollow)
    colour = lit(np.clip(albedo, 0.004, 1), s.normals(), light, hollow, lamp, gloss, 16.0)
    _lay(canvas[rows, columns], colour, s, strands, place.scale)


def _dress(
    z: np.ndarray,
    albedo: np.ndarray,
    gloss: np.ndarray,
    wear: Outfit,
    x: np.ndarray,
    y: np.ndarray,
    below: np.ndarray,
) -> None:
    """Lay collar or bandana on the body, changing height, colour and gloss in place; `below` is measured from it."""
    band = np.clip(1 - (below / 0.095) ** 2, 0, 1)
    cloth = band > 0
    if wear.kind == "bandana":
        flap = (below > 0) & (below < 0.92 * (1 - np.abs(x) / 0.92))
        z += np.where(flap, 0.05 + 0.025 * (0.5 + 0.5 * np.sin(9 * x + 5 * below * np.sign(x))), 0)
        cloth |= flap
    z += 0.07 * np.sqrt(band)
    marks = np.zeros(z.shape, bool)
    if wear.pattern == "dots":
        marks = ((x * 7 % 1) - 0.5) ** 2 + (((y * 7 + 0.5 * np.floor(x * 7)) % 1) - 0.5) ** 2 < 0.07
    elif wear.pattern == "checks":
        marks = (x * 6 % 1 < 0.5) ^ (y * 6 % 1 < 0.5)
    elif wear.pattern == "stripes":
        marks = (x + y) * 6 % 1 < 0.35
    stitches = (np.abs(np.abs(below) - 0.07) < 0.010) & (x * 24 % 1 < 0.6)
    albedo[cloth] = np.square(np.float32(wear.colour))
    albedo[(cloth & marks) | stitches] = np.square(np.float32(wear.second))
    if wear.tag:
        disc = 1 - (x / 0.10) ** 2 - ((below - 0.17) / 0.11) ** 2
        z += np.where(disc > 0, 0.08 + 0.04 * np.sqrt(np.clip(disc, 0, 1)), 0)
        albedo[disc > 0] = (0.55, 0.42, 0.16)
        gloss[disc > 0] = 0.9
