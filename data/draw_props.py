"""What is in front of a dog: the seat it sits on, and things that hide a part of it.

Every function draws on a linear canvas float32 (height, width, 3), in place, and none knows which dog is behind.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from draw_light import Light, Place, Surface, curve, hair_at, lit, normals, rotation, smoothstep
from draw_places import CLOTHS, GRASSES, LEAVES, Rng, as_array, as_picture, mix, noise, picked

GROUNDS = {"beach": (0.84, 0.74, 0.58), "snow": (0.93, 0.95, 0.98), "street": (0.55, 0.53, 0.51),
           "autumn": (0.50, 0.40, 0.26), "sky": (0.50, 0.42, 0.28)}  # fmt: skip

FURS = ((0.92, 0.90, 0.86), (0.35, 0.25, 0.18), (0.75, 0.55, 0.35), (0.16, 0.15, 0.15), (0.55, 0.54, 0.55))


def _blend(area: np.ndarray, colour: np.ndarray, share: np.ndarray, blur: float) -> None:
    """Lay a linear picture over a part of the canvas where `share` is, out of focus by `blur` pixels, in place."""
    if not share.any():
        return
    soft = ImageFilter.GaussianBlur(blur)
    cover = as_array(as_picture(share).filter(soft))[..., None]
    shown = as_picture(np.sqrt(np.clip(colour, 0, 1)) * share[..., None]).filter(soft)
    area += (np.square(np.minimum(as_array(shown) / np.maximum(cover, 1e-3), 1)) - area) * cover


def _lit(height: np.ndarray, albedo: np.ndarray, light: Light, gloss: float = 0.05) -> np.ndarray:
    return lit(albedo, normals(height), light, np.float32(0.9), np.float32(0.95), gloss, 12.0)


def _cloth(rng: Rng, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Linear colour of a cloth, plain or with a pattern, at coordinates in head units."""
    plain, second = picked(rng, *CLOTHS), picked(rng, (0.92, 0.9, 0.86), (0.2, 0.22, 0.3), *CLOTHS)
    patterns = [
        lambda: 0.5 * ((u * 3.3) % 1 < 0.4) + 0.5 * ((v * 3.3) % 1 < 0.4),
        lambda: ((u * 4) % 1 < 0.45) + 0 * v,
        lambda: (((u * 5) % 1) - 0.5) ** 2 + (((v * 5) % 1) - 0.5) ** 2 < 0.06,
        lambda: 0 * u + 0 * v,
    ]
    return np.square(mix(plain, second, patterns[rng.integers(4)]()))


def paint_seat(canvas: np.ndarray, where: str, rng: Rng, light: Light, place: Place, edge: float) -> None:
    """Cover all that lies `edge` head units below the head's middle with grass, sand, snow or cloth, as suits."""
    rows, columns = place.box(canvas, -1e4, edge - 0.5, 1e4, 1e4)
    area = canvas[rows, columns]
    height, width = area.shape[:2]
    if height < 8:
        return
    xs, ys = place.axes(rows, columns)
    x, y = xs[None, :], ys[:, None]
    wobble = noise(rng, width, height, 5)
    below = y - edge + 0.06 * wobble + 0.10 * np.cos(np.linspace(-2.5, 2.5, width, dtype=np.float32))[None, :]
    relief = place.scale * (0.35 * np.sqrt(np.clip(below, 0, 1)) + 0.03 * wobble)
    grain = noise(rng, width, height, max(8, width // 3), 1)
    if where in ("lawn", "park"):
        grass = hair_at(260 * y, 260 * x + 3 * wobble)
        below = below + 0.05 * grass
        albedo = np.square(picked(rng, *GRASSES[:2])) * (1 + 0.35 * grass[..., None])
    elif where in GROUNDS:
        albedo = np.square(picked(rng, GROUNDS[where])) * (1 + 0.10 * grain + 0.1 * wobble)[..., None]
    else:
        albedo = _cloth(rng, x + 0.1 * wobble, y + 0.1 * wobble) * (1 + 0.05 * grain)[..., None]
    colour = _lit(relief, np.clip(albedo, 0.01, 1), light) * (0.35 + 0.65 * smoothstep(0.0, 0.5, below))[..., None]
    _blend(area, colour, smoothstep(-0.015, 0.015, below), 0.014 * place.scale)


def _ball(canvas: np.ndarray, rng: Rng, light: Light, place: Place) -> None:
    """A tennis or rubber ball below the chin or beside the cheek."""
    cx, cy, r = rng.uniform(-0.8, 0.8), rng.uniform(0.95, 1.35), rng.uniform(0.28, 0.48)
    rows, columns = place.box(canvas, cx - 1.1 * r, cy - 1.1 * r, cx + 1.1 * r, cy + 1.1 * r)
    xs, ys = place.axes(rows, columns)
    dx, dy = np.broadcast_arrays((xs[None, :] - cx) / r, (ys[:, None] - cy) / r)
    if dx.size < 64:
        return
    z = np.sqrt(np.clip(1 - dx * dx - dy * dy, 0, 1))
    turn = rotation(*rng.uniform(0, 360, 3))
    a, b = turn[0, 0] * dx + turn[0, 1] * dy + turn[0, 2] * z, turn[1, 0] * dx + turn[1, 1] * dy + turn[1, 2] * z
    if rng.random() < 0.5:
        seam = smoothstep(0.07, 0.04, np.abs(a - 0.55 * np.cos(3 * b)))
        felt = 1 + 0.12 * noise(rng, dx.shape[1], dx.shape[0], max(4, dx.shape[1] // 2), 1)
        albedo, gloss = mix((0.62, 0.74, 0.06), (0.85, 0.85, 0.80), seam) * felt[..., None], 0.02
    else:
        stripe = (np.abs(a) < 0.22) | (a > 0.8)
        albedo, gloss = np.square(mix(picked(rng, *CLOTHS), picked(rng, (0.95, 0.93, 0.9), *CLOTHS), stripe)), 0.5
    colour = lit(np.clip(albedo, 0, 1), np.stack([dx, dy, z]), light, 0.55 - 0.45 * dy, np.float32(1), gloss, 40.0)
    share = np.clip((1 - np.hypot(dx, dy)) * r * place.scale + 0.5, 0, 1)
    _blend(canvas[rows, columns], colour, share, 0.010 * place.scale)


def _blanket(canvas: np.ndarray, rng: Rng, light: Light, place: Place) -> None:
    """A blanket drawn up from one side over a part of the dog."""
    height, width = canvas.shape[:2]
    xs, ys = place.axes(slice(0, height), slice(0, width))
    x, y = xs[None, :], ys[:, None]
    angle = np.radians([rng.uniform(20, 160), rng.uniform(-165, -125), rng.uniform(-55, -15)][rng.integers(3)])
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    across, along = x * cos + y * sin, -x * sin + y * cos
    wobble = noise(rng, width, height, 3)
    depth = across - rng.uniform(0.72, 0.95) + 0.10 * np.cos(1.5 * along) + 0.05 * wobble
    folds = np.sin(6 * along + 2.5 * wobble + 4 * across)
    relief = place.scale * (0.30 * np.sqrt(np.clip(depth, 0, 0.6)) + 0.05 * folds * smoothstep(0, 0.3, depth))
    colour = _lit(relief, _cloth(rng, along + 0.1 * wobble, across + 0.1 * wobble), light)
    _blend(canvas, colour, smoothstep(-0.012, 0.012, depth), 0.012 * place.scale)


def _paw(canvas: np.ndarray, rng: Rng, light: Light, place: Place) -> None:
    """Somebody else's paw, laid on a cheek from the side or from below."""
    side = int(rng.choice([-1, 1]))
    cx, cy = side * rng.uniform(0.62, 0.85), rng.uniform(0.40, 0.75)
    left, right = (cx - 4, cx + 0.5) if side < 0 else (cx - 0.5, cx + 4)
    rows, columns = place.box(canvas, left, cy - 1, right, cy + 4)
    xs, ys = place.axes(rows, columns)
    if len(xs) < 8 or len(ys) < 8:
        return
    s = Surface(xs - np.float32(cx), ys - np.float32(cy), rotation(0, 0, side * rng.uniform(-70, 0)))
    s.add((side * 0.02, 0.05, 0.9), (0.27, 0.22, 0.22))
    for k in (-1.5, -0.5, 0.5, 1.5):
        s.add((0.13 * k, -0.14 + 0.02 * k * k, 0.97), (0.085, 0.13, 0.13), blend=0.05)
    s.add((0, 2.6, 0.70), (0.34, 2.6, 0.30), blend=0.2)
    x, y, _ = s.untwisted()
    strands = hair_at(220 * y, 220 * x)
    s.z += 0.003 * strands
    albedo = np.square(picked(rng, *FURS)) * (1 + 0.12 * strands)[..., None]
    colour = lit(albedo, s.normals(), light, np.float32(0.9), np.float32(0.95), 0.04, 12.0)
    share = np.clip((s.inside + 0.006 * strands) * place.scale * 0.5 + 0.5, 0, 1)
    _blend(canvas[rows, columns], colour, share, 0.012 * place.scale)


def _leaf(canvas: np.ndarray, rng: Rng, light: Light, place: Place) -> None:
    """One to three leaves close to the lens."""
    for _ in range(rng.integers(1, 4)):
        angle, turn, size = *rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.5, 0.9)
        cx, cy = 1.25 * np.cos(angle), 0.1 + 1.1 * np.sin(angle)
        rows, columns = place.box(canvas, cx - size - 0.2, cy - size - 0.2, cx + size + 0.2, cy + size + 0.2)
        xs, ys = place.axes(rows, columns)
        tone, blur = np.square(picked(rng, *GRASSES[:2], *LEAVES[:2])), rng.uniform(0.02, 0.06) * place.scale
        if len(xs) < 8 or len(ys) < 8:
            continue
        x, y = (xs[None, :] - np.float32(cx)) / size, (ys[:, None] - np.float32(cy)) / size
        cos, sin = float(np.cos(turn)), float(np.sin(turn))
        u, v = x * cos + y * sin, -x * sin + y * cos
        off = np.abs(v + 0.08 * u * u)  # distance from the midrib
        inside = 0.34 * np.clip(np.cos(np.clip(u, -1, 1) * np.pi / 2), 0, 1) ** 0.8 * (1 - 0.25 * u) - off
        veins = smoothstep(0.016, 0.0, off) + 0.5 * smoothstep(0.14, 0.0, np.abs((u * 7 + 3 * np.abs(v)) % 1 - 0.5))
        relief = size * place.scale * (0.25 * np.abs(v) + 0.1 * u * v)
        colour = _lit(relief, tone * (0.85 + 0.35 * veins)[..., None], light)
        _blend(canvas[rows, columns], colour, smoothstep(0, 0.03, inside) * (np.abs(u) < 1), blur)


def _stick(canvas: np.ndarray, rng: Rng, light: Light, place: Place) -> None:
    """A stick carried across the mouth."""
    tilt, low, thick = np.radians(rng.uniform(-22, 22)), rng.uniform(0.66, 0.80), rng.uniform(0.06, 0.11)
    left, right, wave, bend = -rng.uniform(0.9, 1.6), rng.uniform(0.9, 1.6), rng.uniform(0, 6), rng.uniform(-0.05, 0.05)
    wood, thin = np.square(picked(rng, (0.45, 0.32, 0.22), (0.58, 0.47, 0.36), (0.35, 0.28, 0.22))), rng.choice([-1, 1])
    rows, columns = place.box(canvas, -1.8, -0.2, 1.8, 1.7)
    xs, ys = place.axes(rows, columns)
    if len(xs) < 8 or len(ys) < 8:
        return
    x, y, cos, sin = xs[None, :], ys[:, None] - low, float(np.cos(tilt)), float(np.sin(tilt))
    along, across = x * cos + y * sin, -x * sin + y * cos
    across = across + 0.03 * np.sin(2.2 * along + wave) + bend * along**2
    off = np.abs(across) / (thick * (1 - 0.12 * thin * along))
    bark = hair_at(along * 90, across * 400)
    relief = place.scale * (thick * np.sqrt(np.clip(1 - off**2, 0, 1)) + 0.006 * bark)
    colour = _lit(relief, wood * (1 + 0.25 * bark)[..., None], light, 0.02)
    ends = smoothstep(left - 0.02, left + 0.02, along + 0.01 * bark)
    ends = ends * smoothstep(right + 0.02, right - 0.02, along + 0.01 * bark)
    _blend(canvas[rows, columns], colour, smoothstep(1.0, 0.88, off) * ends, 0.006 * place.scale)


def _blades(canvas: np.ndarray, rng: Rng, light: Light, place: Place) -> None:
    """Long grass between the lens and the dog."""
    height, width = canvas.shape[:2]
    picture, cover = Image.new("RGB", (width, height)), Image.new("L", (width, height))
    for _ in range(rng.integers(14, 34)):
        foot, tip = rng.uniform(-0.1, 1.1) * width, place.y + place.scale * rng.uniform(0.2, 1.5)
        lean, wide = rng.normal(0, 0.35) * place.scale, place.scale * rng.uniform(0.03, 0.06)
        spine = curve(((foot, height + 9), (foot + 0.3 * lean, (tip + height) / 2), (foot + lean, tip)))
        taper = [wide * (1 - k / len(spine)) for k in range(len(spine))]
        left = [(x - w, y) for (x, y), w in zip(spine, taper, strict=True)]
        right = [(x + w, y) for (x, y), w in zip(spine, taper, strict=True)]
        green = tuple(int(255 * c) for c in picked(rng, *GRASSES))
        ImageDraw.Draw(picture).polygon(left + right[::-1], green)
        ImageDraw.Draw(cover).polygon(left + right[::-1], 255)
    bright = 0.35 * np.float32(light.lamp) + np.float32(light.sky)
    _blend(canvas, np.square(as_array(picture)) * bright, as_array(cover), place.scale * rng.uniform(0.015, 0.05))


PROPS: dict[str, Callable[[np.ndarray, Rng, Light, Place], None]] = {
    "ball": _ball, "blanket": _blanket, "paw": _paw, "leaf": _leaf, "stick": _stick, "blades": _blades,
}  # fmt: skip
