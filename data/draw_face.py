"""Ears, eyes and whiskers: small pictures of their own, lit and then tilted into place on the head."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from draw_coat import Dog
from draw_light import (
    Light,
    Place,
    Points,
    clouds,
    curve,
    hair_at,
    lit,
    paint,
    paste,
    smoothstep,
    soften,
)  # fmt: skip

EAR = (160, 228)  # pixels of an ear's picture: width, height
EAR_REACH = (-0.7, 0.7, 1.1, -0.25)  # outwards from the middle line, and from above the tip to below the root
EAR_OUTLINE: Points = (
    (-0.40, -0.25), (-0.47, 0.05), (-0.50, 0.35), (-0.43, 0.65), (-0.27, 0.88), (-0.06, 1.0), (0.16, 0.97),
    (0.32, 0.80), (0.47, 0.53), (0.56, 0.22), (0.57, -0.02), (0.48, -0.25),
)  # fmt: skip
EAR_SHELL: Points = (
    (-0.20, -0.25), (-0.29, 0.05), (-0.33, 0.35), (-0.28, 0.62), (-0.16, 0.80), (-0.03, 0.88), (0.10, 0.84),
    (0.23, 0.69), (0.34, 0.46), (0.40, 0.20), (0.40, -0.02), (0.30, -0.25),
)  # fmt: skip
EYE = 112  # pixels along one side of an eye's picture
EYE_REACH = (-1.7, 1.7, -1.7, 1.7)  # in radii of the eye


def paint_ear(
    canvas: np.ndarray, dog: Dog, turn: np.ndarray, perk: float, light: Light, side: int, place: Place
) -> None:
    """Draw the ear on the picture's left (`side` −1) or right (1) on the linear canvas, in place.

    turn: the head's rotation (3, 3). perk: degrees added to the ear's splay.
    """
    splay = np.radians(dog.ear_splay[side > 0] + perk)
    up = np.array([side * np.sin(splay), -np.cos(splay), -0.12])
    up /= np.linalg.norm(up)
    facing = np.array([side * 0.42, 0.0, 0.9])
    facing -= up * (facing @ up)
    facing /= np.linalg.norm(facing)
    out = np.cross(up, facing)
    out *= np.sign(out[0] * side)
    root = turn @ np.array([side * 0.56 * dog.skull, -0.50, -0.12])
    albedo, height, cover, shell = _ear_picture(dog, side)
    dv, du = np.gradient(height, 1.35 / EAR[1], 1.4 / EAR[0])
    local = np.stack([-du / 0.8, dv / 1.02, np.ones_like(du)])
    local /= np.sqrt((local**2).sum(0))
    normal = np.tensordot((turn @ np.stack([out, up, facing], 1)).astype(np.float32), local, 1)
    normal *= np.where(normal[2] < -0.2, -1, 1)
    v = np.linspace(1.1, -0.25, EAR[1], dtype=np.float32)[:, None]
    hollow = (1 - 0.35 * shell) * (0.55 + 0.45 * smoothstep(0.0, 0.5, v))
    colour = lit(albedo, normal, light, hollow, hollow, 0.03, 10.0)
    through = 0.30 * max(0.0, 0.75 - light.towards[2]) * shell * smoothstep(0.1, 0.6, v)  # a low lamp shines through
    colour += through[..., None] * np.float32([1.0, 0.36, 0.26]) * np.float32(light.lamp)
    frame = (turn @ np.stack([out * 0.80 * dog.ear_wide, up * 1.02 * dog.ear_high], 1))[:2] * place.scale
    paste(canvas, colour, cover, frame, np.array([place.x, place.y]) + place.scale * root[:2], EAR_REACH)


def _ear_picture(dog: Dog, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An ear on its own: linear colour (h, w, 3), height, cover and where the inner shell is, each (h, w)."""
    cover, shell = _ear_stencil(EAR_OUTLINE, 0.7, _notch(dog, side)), _ear_stencil(EAR_SHELL, 5)
    v = np.linspace(1.1, -0.25, EAR[1], dtype=np.float32)[:, None]
    u = np.linspace(-0.7, 0.7, EAR[0], dtype=np.float32)[None, :]
    strands = hair_at(np.arange(EAR[1])[:, None] + 100, np.arange(EAR[0])[None, :] * 1.4 + 300)
    albedo = np.empty((EAR[1], EAR[0], 3), np.float32)
    albedo[:] = np.square(np.float32(dog.coat))
    paint(albedo, dog.shade, 0.5 + 0.3 * smoothstep(0.5, 1.0, v + 0 * u))
    fur = np.float32(dog.coat)
    for patch in dog.patches:  # one that reaches the root of the ear runs on over it
        if patch.y - patch.high < -0.5 and patch.x * side > 0.3:
            paint(albedo, patch.colour, np.full(shell.shape, 0.93, np.float32))
            fur = np.float32(patch.colour)
    skin = 0.55 * np.float32([0.93, 0.62, 0.58]) + 0.45 * fur.mean()
    veins = clouds(dog.seed + side + 5, EAR[1], EAR[0], 4)
    paint(albedo, skin, np.clip(shell * (0.86 + 0.1 * veins), 0, 0.95))
    deep = smoothstep(0.75, -0.1, v) * shell * smoothstep(-0.42, 0.05, u) * smoothstep(0.5, 0.1, u)
    albedo *= (1 - 0.55 * deep)[..., None]
    tuft = np.clip(strands, 0, 2) * smoothstep(0.16, 0.0, np.abs(u + 0.27 - 0.04 * v)) * smoothstep(0.8, 0.3, v)
    paint(albedo, np.minimum(1.15 * fur, 1), np.clip(0.55 * tuft, 0, 0.9))
    albedo *= (1 + (0.08 - 0.065 * shell) * strands)[..., None]
    bowl = soften(_ear_stencil(EAR_OUTLINE, 6), 4) - 0.9 * soften(shell, 11)
    return albedo, 0.13 * bowl + 0.001 * strands * (1 - shell), cover, shell


def _notch(dog: Dog, side: int) -> tuple[float, float, float] | None:
    """Place and size of the notch in this ear: outwards, up, radius."""
    if dog.notch is None or dog.notch[0] != (side > 0):
        return None
    _, v, size = dog.notch
    return float(np.interp(v, [-0.02, 0.22, 0.53, 0.80, 0.97], [0.57, 0.56, 0.47, 0.32, 0.16])), v, size


@lru_cache(maxsize=8)
def _ear_stencil(outline: Points, blur: float, notch: tuple[float, float, float] | None = None) -> np.ndarray:
    """A closed outline on an ear's picture, a notch cut out of it, 0–1."""
    picture = Image.new("L", (2 * EAR[0], 2 * EAR[1]))
    draw = ImageDraw.Draw(picture)

    def at(u: float, v: float) -> tuple[float, float]:
        return (u + 0.7) / 1.4 * 2 * EAR[0], (1.1 - v) / 1.35 * 2 * EAR[1]

    draw.polygon([at(u, v) for u, v in curve(outline, True)], fill=255)
    if notch:
        u, v, r = notch
        draw.polygon([at(u - 0.9 * r, v + 0.1 * r), at(u + 2 * r, v + 0.8 * r), at(u + 2 * r, v - 0.9 * r)], fill=0)
        draw.ellipse((*at(u - 0.5 * r, v + 0.5 * r), *at(u + 0.7 * r, v - 0.5 * r)), fill=0)
    small = picture.resize(EAR, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(small, np.float32) / 255


def paint_eyes(
    canvas: np.ndarray,
    dog: Dog,
    turn: np.ndarray,
    squint: float,
    gaze: tuple[float, float],
    light: Light,
    place: Place,
) -> None:
    """Draw both eyes on the linear canvas, in place.

    turn: the head's rotation (3, 3). squint: 0 open, 1 all but shut. gaze: −1…1, to the right and down.
    """
    for side in (-1, 1):
        across, down = np.array([0.93, 0.0, -side * 0.36]), np.array([0.0, 0.98, 0.18])
        middle = turn @ np.array([side * dog.eye_gap, 0.03, 0.42])
        frame = (turn @ np.stack([across, down], 1))[:2] * dog.eye_size
        if np.linalg.det(frame) < 0.2 * dog.eye_size**2:
            continue  # turned away from the camera
        colour, cover = _eye_picture(dog, squint, gaze, light, side)
        centre = np.array([place.x, place.y]) + place.scale * middle[:2]
        paste(canvas, colour, cover, frame * place.scale, centre, EYE_REACH)


def _eye_picture(
    dog: Dog, squint: float, gaze: tuple[float, float], light: Light, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """An eye between its lids: linear colour (EYE, EYE, 3) and cover (EYE, EYE)."""
    grid = np.linspace(-1.7, 1.7, EYE, dtype=np.float32)
    u, v = grid[None, :] * side, grid[:, None]  # u points outwards
    v = v - 0.10 * u  # the outer corner hangs a little lower than the inner
    arch = np.sqrt(np.clip(1 - (u / 1.06) ** 2, 0, 1))
    upper, lower = -(0.80 - 0.68 * squint) * arch**0.9, (0.78 - 0.25 * squint) * arch**0.8
    opening = np.minimum(v - upper, lower - v) - 1.5 * np.clip(np.abs(u) - 0.98, 0, None)
    bright = 0.30 + 0.5 * max(light.lamp)
    ball = _eyeball(dog, u - side * 0.22 * gaze[0], v - 0.02 - 0.16 * gaze[1], v, arch)
    ball *= ((0.25 + 0.75 * smoothstep(0.0, 0.55, v - upper)) * (0.4 + bright))[..., None]  # the upper lid's shadow
    mirrored = 0.10 * smoothstep(0.10, -0.55, v) * smoothstep(1.0, 0.5, np.hypot(u, v))
    mirrored *= smoothstep(0.02, 0.2, v - upper)
    ball += mirrored[..., None] * np.float32(light.sky)
    cx, cy = 0.40 * light.towards[0] * side, 0.40 * light.towards[1] - 0.08
    catch = 1.5 * smoothstep(1.15, 0.8, np.hypot((u - cx) / 0.25, (v - cy) / 0.27))
    catch += 0.16 * smoothstep(1.3, 0.3, np.hypot((u + 0.9 * cx) / 0.26, (v + 0.75 * cy - 0.08) / 0.16))
    catch += 0.16 * smoothstep(0.10, 0.03, np.abs(opening - 0.05)) * (v > 0.2)  # the wet edge of the lower lid
    ball += bright * catch[..., None]
    shine = smoothstep(0.07, 0.0, np.abs(opening + 0.10)) * (v < 0) * (0.05 * bright)
    lid = np.square(np.float32([0.17, 0.12, 0.11])) * (0.5 + 0.5 * bright) + shine[..., None]
    seen = smoothstep(-0.03, 0.03, opening)
    colour = lid + (ball - lid) * seen[..., None]
    rim = np.maximum(seen, smoothstep(-0.34, -0.10, opening))
    socket = 0.45 * smoothstep(1.65, 0.9, np.hypot(u, v))
    return colour.astype(np.float32), np.maximum(rim, socket * (1 - rim)).astype(np.float32)


def _eyeball(dog: Dog, x: np.ndarray, y: np.ndarray, v: np.ndarray, arch: np.ndarray) -> np.ndarray:
    """White, iris, its dark ring and the pupil; x and y are measured from the pupil."""
    r = np.hypot(x, y)
    ball = np.float32([0.26, 0.20, 0.17]) * (0.35 + 0.65 * arch + 0 * r)[..., None]
    depth = 0.45 + 1.5 * smoothstep(-0.5, 0.7, v) * smoothstep(0.25, 0.75, r)  # light gathers opposite the lamp
    ball += (np.square(np.float32(dog.eyes)) * depth[..., None] - ball) * smoothstep(1.0, 0.88, r)[..., None]
    ring = 0.8 * smoothstep(0.74, 0.92, r) * smoothstep(1.04, 0.96, r)
    ball += (0.010 - ball) * ring[..., None]
    return ball + (0.004 - ball) * smoothstep(0.56, 0.44, r)[..., None]


def paint_whiskers(
    canvas: np.ndarray, dog: Dog, turn: np.ndarray, light: Light, place: Place, rng: np.random.Generator
) -> None:
    """Draw a few thin hairs from the upper lip on the linear canvas, in place."""
    rows, columns = place.box(canvas, -1.3, -0.2, 1.3, 1.4)
    wide, high = columns.stop - columns.start, rows.stop - rows.start
    if wide < 8 or high < 8:
        return
    picture = Image.new("L", (2 * wide, 2 * high))
    for side in (-1, 1):
        for _ in range(7):
            root = np.array([side * rng.uniform(0.25, 0.52), rng.uniform(0.45, 0.66), 0.72])
            tip = root + np.array([side * rng.uniform(0.25, 0.5), rng.uniform(-0.12, 0.20), 0.05])
            spots = [turn @ p for p in (root, (root + tip) / 2 + np.array([0, -0.05, 0.08]), tip)]
            line = [(2 * (place.x + place.scale * x - columns.start), 2 * (place.y + place.scale * y - rows.start))
                    for x, y, _ in spots]  # fmt: skip
            ImageDraw.Draw(picture).line(curve(tuple(line)), fill=int(rng.uniform(60, 130)), width=1)
    share = np.asarray(picture.resize((wide, high), Image.Resampling.BOX), np.float32)[..., None] / 255
    tone = (0.8 * np.float32(light.sky) + 0.35 * np.float32(light.lamp)) * (0.75 if sum(dog.coat) < 1.6 else 0.25)
    canvas[rows, columns] += (tone - canvas[rows, columns]) * share * 0.7
