"""The places the dogs are photographed at, drawn small and blurred, as a wide-open lens shows them.

Each place is a function of a random generator, a width and a height that returns a picture float32 (height, width, 3)
in screen colours. None of them knows which dog will sit there.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from draw_light import Colour, clouds, smoothstep

Rng = np.random.Generator

PAINTS = ((0.86, 0.82, 0.74), (0.62, 0.70, 0.72), (0.78, 0.66, 0.60), (0.55, 0.60, 0.50), (0.80, 0.80, 0.82))
COVERS = ((0.45, 0.30, 0.22), (0.32, 0.42, 0.50), (0.60, 0.56, 0.50), (0.28, 0.40, 0.34), (0.55, 0.25, 0.22))
CLOTHS = ((0.75, 0.25, 0.25), (0.25, 0.40, 0.60), (0.85, 0.80, 0.70), (0.35, 0.50, 0.40), (0.60, 0.50, 0.65),
          (0.88, 0.70, 0.35))  # fmt: skip
WOODS = ((0.62, 0.44, 0.27), (0.48, 0.32, 0.20), (0.74, 0.60, 0.42), (0.50, 0.45, 0.40))
GRASSES = ((0.36, 0.52, 0.20), (0.28, 0.44, 0.18), (0.46, 0.55, 0.25), (0.50, 0.52, 0.28))
LEAVES = ((0.85, 0.45, 0.12), (0.70, 0.28, 0.10), (0.90, 0.68, 0.20))
BRICKS = ((0.55, 0.33, 0.26), (0.68, 0.62, 0.54), (0.42, 0.42, 0.45), (0.75, 0.70, 0.62))
BOOKS = ((0.6, 0.2, 0.15), (0.15, 0.3, 0.45), (0.8, 0.72, 0.55), (0.2, 0.35, 0.25), (0.85, 0.85, 0.82),
         (0.12, 0.12, 0.14))  # fmt: skip
TREES = [((0.07, 0.14, 0.06), (0.42, 0.58, 0.22)), ((0.10, 0.16, 0.10), (0.58, 0.64, 0.34)),
         ((0.24, 0.11, 0.04), (0.86, 0.52, 0.16))]  # fmt: skip
SKIES = [((0.28, 0.50, 0.80), (0.72, 0.84, 0.94)), ((0.45, 0.55, 0.68), (0.85, 0.87, 0.88)),
         ((0.35, 0.38, 0.62), (0.98, 0.72, 0.48))]  # fmt: skip


def background(place: str, rng: Rng, width: int, height: int, blur: float) -> np.ndarray:
    """One of PLACES in linear light, float32 (height, width, 3), blurred by `blur` (a share of the width)."""
    small = (max(64, width // 2), max(64, height // 2))
    picture = as_picture(PLACES[place](rng, *small)).filter(ImageFilter.GaussianBlur(blur * small[0]))
    return np.square(as_array(picture.resize((width, height), Image.Resampling.BICUBIC)))


def mix(a, b, share) -> np.ndarray:
    """Colour a where `share` is 0, colour b where it is 1; `share` has one axis less than the result."""
    return np.float32(a) + (np.float32(b) - np.float32(a)) * np.asarray(share, np.float32)[..., None]


def picked(rng: Rng, *colours: Colour) -> np.ndarray:
    """One of the colours, shifted a little, float32 (3,)."""
    return np.clip(np.float32(colours[rng.integers(len(colours))]) + rng.normal(0, 0.03, 3), 0.02, 1).astype(np.float32)


def noise(rng: Rng, width: int, height: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise (height, width), see draw_light.clouds."""
    return clouds(int(rng.integers(2**31)), height, width, cells, octaves)


def as_picture(field: np.ndarray) -> Image.Image:
    """Numbers 0–1, float (height, width) or (height, width, 3), as an 8-bit picture."""
    return Image.fromarray((255 * np.clip(field, 0, 1)).astype(np.uint8))


def as_array(picture: Image.Image) -> np.ndarray:
    """An 8-bit picture as float32 numbers 0–1."""
    return np.asarray(picture, np.float32) / 255


def _grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(0, 1, width, dtype=np.float32)[None, :], np.linspace(0, 1, height, dtype=np.float32)[:, None]


def _fill(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(255 * c) for c in colour)


def _lights(rng: Rng, field: np.ndarray, count: int, colours: list[Colour], top: float, bottom: float) -> None:
    """Points of light out of focus: discs, a little brighter at the rim, added in place."""
    height, width = field.shape[:2]
    for _ in range(count):
        r, cx, cy = rng.uniform(0.015, 0.055) * width, rng.uniform(0, width), rng.uniform(top, bottom) * height
        columns, rows = (slice(max(0, int(c - r - 2)), int(c + r + 3)) for c in (cx, cy))
        x, y = np.arange(width)[columns], np.arange(height)[rows]
        far = np.hypot(x[None, :] - cx, y[:, None] - cy)
        disc = np.clip(r - far, 0, 1) * (0.6 + 0.4 * (far / r) ** 2) * rng.uniform(0.06, 0.40)
        area = field[rows, columns]
        area += (1 - area) * disc[..., None] * np.float32(colours[rng.integers(len(colours))])


def _wall(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    tone = picked(rng, *PAINTS)
    picture = as_picture(tone * (1 + 0.02 * noise(rng, width, height, 9))[..., None])
    for _ in range(rng.integers(1, 4)):
        a, b = rng.uniform(-0.1, 0.85) * width, rng.uniform(-0.1, 0.3) * height
        box = (a, b, a + rng.uniform(0.15, 0.35) * width, b + rng.uniform(0.15, 0.35) * height)
        edge = picked(rng, (0.25, 0.17, 0.1), (0.9, 0.9, 0.88), (0.1, 0.1, 0.1))
        inside = picked(rng, (0.8, 0.78, 0.7), (0.4, 0.5, 0.6), (0.6, 0.5, 0.4))
        ImageDraw.Draw(picture).rectangle(box, _fill(inside), _fill(edge), max(2, width // 50))
    field = as_array(picture)
    if rng.random() < 0.6:  # sun through a window
        slope, at, wide = rng.uniform(-0.6, 0.6), rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.25)
        beam = smoothstep(wide, wide * 0.8, np.abs(x - at - slope * (y - 0.4))) * (np.abs((y * 3.2) % 1 - 0.5) < 0.45)
        field = field * (1 + 0.28 * beam)[..., None]
    return np.where((y > rng.uniform(0.72, 1.1))[..., None], tone * 0.55, field)


def _sofa(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    across = (x * rng.integers(2, 4) + rng.uniform(0, 1)) % 1
    puff = (1 - (2 * across - 1) ** 6) * (1 - np.clip(2.2 * (0.25 - y), 0, 1) ** 2)
    field = picked(rng, *COVERS) * (0.45 + 0.6 * puff * (0.75 + 0.35 * smoothstep(0.9, 0.15, y)))[..., None]
    field = field * (1 + 0.05 * noise(rng, width, height, 40, 2))[..., None]
    top = rng.uniform(0.05, 0.25) + 0.02 * np.cos(2 * np.pi * across)
    field = mix(field, _wall(rng, width, height), smoothstep(top + 0.02, top - 0.02, y))
    if rng.random() < 0.75:  # a cushion
        cx, cy = rng.choice([rng.uniform(0.0, 0.25), rng.uniform(0.75, 1.0)]), rng.uniform(0.45, 0.75)
        r = rng.uniform(0.2, 0.3)
        inside = 1 - np.abs((x - cx) / r) ** 4 - np.abs((y - cy) / r * height / width) ** 4
        stripes = 0.5 + 0.5 * np.sign(np.sin((x + rng.choice([-1, 1]) * y) * rng.uniform(30, 70)))
        cloth = mix(picked(rng, *CLOTHS), picked(rng, *CLOTHS), stripes * rng.integers(0, 2))
        cloth = cloth * (0.55 + 0.5 * np.clip(inside, 0, 1) ** 0.5)[..., None]
        field = mix(field, cloth, smoothstep(-0.05, 0.05, inside))
    return field


def _planks(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    horizon = rng.uniform(-0.5, 0.35)
    depth = np.clip(y - horizon, 0.02, None)
    lane = (x - rng.uniform(0.2, 0.8)) / (0.35 + depth) * rng.uniform(7, 11) + 40
    along = np.log(depth + 0.3) * 9 + 3 * np.sin(12.9 * np.floor(lane))
    shade = 0.16 * np.sin(78.2 * np.floor(lane) + 37.7 * np.floor(along / 3))
    grain = noise(rng, 512, 64, 60)[(along * 6).astype(int) % 64, (lane * 36).astype(int) % 512]
    gap = 0.5 * smoothstep(0.06, 0.0, np.minimum(lane % 1, 1 - lane % 1))
    field = picked(rng, *WOODS) * ((1 + shade + 0.06 * grain) * (1 - gap))[..., None]
    glare = np.exp(-(((x - rng.uniform(0, 1)) / 0.3) ** 2)) * smoothstep(horizon, horizon + 0.4, y)
    field = field + 0.22 * glare[..., None]
    return mix(field, 0.9 * _wall(rng, width, height), smoothstep(horizon + 0.01, horizon - 0.01, y + 0 * x))


def _lawn(rng: Rng, width: int, height: int) -> np.ndarray:
    _, y = _grid(width, height)
    short = Image.fromarray(noise(rng, width, max(8, height // 4), width // 3, 2))
    grass = np.asarray(short.resize((width, height), Image.Resampling.BICUBIC))
    field = picked(rng, *GRASSES) * (1 + 0.16 * grass * (0.3 + y) + 0.16 * noise(rng, width, height, 4))[..., None]
    field = mix(field * np.float32([1.05, 1.05, 0.9]), field * 0.8, y)
    for _ in range(rng.integers(0, 30)):  # daisies and dandelions
        i, j = int(rng.integers(0, width)), int(rng.integers(height // 4, height))
        field[j : j + 1 + height // 90, i : i + 1 + width // 90] = picked(rng, (0.95, 0.95, 0.92), (0.95, 0.82, 0.2))
    edge = rng.uniform(-0.2, 0.35)
    return mix(field, _park(rng, width, height), smoothstep(edge + 0.05, edge - 0.05, y + 0.02 * grass))


def _park(rng: Rng, width: int, height: int, trees: int | None = None) -> np.ndarray:
    x, y = _grid(width, height)
    dark, light = TREES[rng.integers(3) if trees is None else trees]
    field = mix(dark, light, np.clip(0.42 + 0.26 * noise(rng, width, height, 4), 0, 1))
    for _ in range(rng.integers(0, 4)):
        at, wide = rng.uniform(0, 1), rng.uniform(0.02, 0.06)
        trunk = smoothstep(wide, wide * 0.5, np.abs(x - at + 0.05 * np.sin(3 * y))) * smoothstep(0.85, 0.7, y)
        field = mix(field, np.float32([0.20, 0.15, 0.11]), 0.8 * trunk)
    _lights(rng, field, rng.integers(15, 60), [light, (0.95, 0.92, 0.7), (0.85, 0.95, 0.75)], 0, 0.75)
    return mix(field, np.float32(light) * 0.75, smoothstep(0.7, 0.95, y + 0 * x))


def _autumn(rng: Rng, width: int, height: int) -> np.ndarray:
    field = _park(rng, width, height, trees=2)
    for _ in range(90):  # fallen leaves
        i, j = int(rng.integers(0, width)), int(height * (0.72 + 0.28 * rng.random()))
        r = 1 + int(rng.integers(1, 4) * width / 200)
        field[j : j + r, i : i + 2 * r] = picked(rng, *LEAVES)
    return field


def _sky(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    high, low = SKIES[rng.integers(3)]
    field = mix(high, low, np.clip(y * 1.3, 0, 1) + 0 * x)
    puffs = smoothstep(0.3, 1.6, noise(rng, width, height * 2, 4, 4)[::2] + 0.3)
    field = mix(field, np.float32([0.98, 0.97, 0.96]), 0.85 * puffs * rng.uniform(0.3, 1))
    for k in range(rng.integers(1, 4)):
        line = rng.uniform(0.62, 0.8) + 0.1 * k + 0.04 * np.sin(x * rng.uniform(3, 9) + rng.uniform(0, 6))
        hill = mix(picked(rng, (0.30, 0.42, 0.24), (0.35, 0.42, 0.48), (0.45, 0.42, 0.28)), low, 0.35 - 0.15 * k)
        field = mix(field, hill + 0 * field, smoothstep(line - 0.008, line + 0.008, y))
    return field


def _beach(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    horizon, shore = rng.uniform(0.15, 0.4), rng.uniform(0.5, 0.7)
    field = mix((0.50, 0.68, 0.86), (0.86, 0.91, 0.94), np.clip(y / horizon, 0, 1) + 0 * x)
    swell = noise(rng, width, height * 4, 6)[::4]
    sea = mix((0.12, 0.36, 0.48), (0.36, 0.64, 0.66), smoothstep(horizon, shore, y) + 0.10 * swell)
    field = mix(field, sea, smoothstep(horizon - 0.004, horizon + 0.004, y + 0 * x))
    wet = shore + 0.02 * np.sin(x * rng.uniform(4, 10) + rng.uniform(0, 6)) + 0.008 * swell
    sand = mix((0.62, 0.52, 0.40), (0.86, 0.76, 0.60), smoothstep(wet, wet + 0.15, y))
    sand = sand * (1 + 0.05 * noise(rng, width, height, 60, 2))[..., None]
    field = mix(field, sand, smoothstep(wet - 0.01, wet + 0.01, y))
    return mix(field, np.float32([0.96, 0.97, 0.97]), 0.85 * smoothstep(0.022, 0.004, np.abs(y - wet + 0.01)))


def _street(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    picture = as_picture(mix((0.70, 0.76, 0.82), (0.85, 0.83, 0.80), y + 0 * x))
    draw, at = ImageDraw.Draw(picture), -0.1
    while at < 1:
        wide, top, brick = rng.uniform(0.12, 0.3), rng.uniform(-0.1, 0.25), picked(rng, *BRICKS)
        draw.rectangle((at * width, top * height, (at + wide) * width, 0.75 * height), _fill(brick))
        for wx in np.arange(at + 0.02, at + wide - 0.04, 0.065):
            for wy in np.arange(top + 0.04, 0.62, 0.11):
                pane = brick * 0.45 if rng.random() < 0.8 else np.float32([0.95, 0.85, 0.55])
                draw.rectangle((wx * width, wy * height, (wx + 0.035) * width, (wy + 0.065) * height), _fill(pane))
        at += wide
    ground = picked(rng, (0.45, 0.44, 0.44), (0.58, 0.55, 0.52))
    ground = ground * (1 + 0.04 * noise(rng, width, height, 50, 2))[..., None]
    field = mix(as_array(picture.filter(ImageFilter.GaussianBlur(1.5))), ground, smoothstep(0.70, 0.74, y + 0 * x))
    lamps = [(1.0, 0.85, 0.55), (1.0, 0.35, 0.25), (0.9, 0.95, 1.0), (0.5, 1.0, 0.6)]
    _lights(rng, field, rng.integers(6, 30), lamps, 0.3, 0.75)
    return field


def _shelf(rng: Rng, width: int, height: int) -> np.ndarray:
    picture = Image.new("RGB", (width, height), _fill(picked(rng, (0.22, 0.15, 0.10), (0.75, 0.72, 0.66))))
    rows = rng.integers(3, 5)
    for row in range(rows):
        floor, at = (row + 0.92) / rows * height, 0.0
        while at < width:
            thick, tall = rng.uniform(0.015, 0.05) * width, rng.uniform(0.55, 0.82) * height / rows
            if rng.random() < 0.88:
                box = (at, floor - tall, at + thick, floor)
                ImageDraw.Draw(picture).rectangle(box, _fill(picked(rng, *BOOKS)))
            at += thick + 1
    return as_array(picture)


def _bed(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    folds, k = noise(rng, width, height, 3), rng.uniform(4, 9)
    u, v = x + 0.03 * folds, y * height / width + 0.03 * folds
    plaid = 0.35 * (np.abs((u * k) % 1 - 0.5) < 0.16) + 0.35 * (np.abs((v * k) % 1 - 0.5) < 0.16)
    band = picked(rng, (0.2, 0.25, 0.3), (0.92, 0.9, 0.85))
    return mix(picked(rng, *CLOTHS, *PAINTS), band, plaid * rng.integers(0, 2)) * (0.85 + 0.14 * folds)[..., None]


def _snow(rng: Rng, width: int, height: int) -> np.ndarray:
    x, y = _grid(width, height)
    field = mix((0.62, 0.70, 0.80), (0.86, 0.88, 0.92), y + 0.1 * noise(rng, width, height, 4))
    for _ in range(rng.integers(5, 14)):  # firs
        at, tall, foot = rng.uniform(0, 1), rng.uniform(0.3, 0.7), rng.uniform(0.55, 0.7)
        inside = 0.28 * (y - foot + tall) * (0.8 + 0.2 * np.sin(40 * y)) - np.abs(x - at)
        needles = mix((0.16, 0.24, 0.22), (0.7, 0.76, 0.8), rng.uniform(0, 0.6))
        field = mix(field, needles + 0 * field, smoothstep(0, 0.02, inside) * (y < foot))
    ground = np.float32([0.90, 0.92, 0.96]) * (1 + 0.04 * noise(rng, width, height, 5))[..., None]
    return mix(field, ground, smoothstep(0.6, 0.7, y + 0 * x))


PLACES: dict[str, Callable[[Rng, int, int], np.ndarray]] = {
    "sofa": _sofa, "lawn": _lawn, "park": _park, "wall": _wall, "planks": _planks, "sky": _sky, "beach": _beach,
    "street": _street, "autumn": _autumn, "shelf": _shelf, "bed": _bed, "snow": _snow,
}  # fmt: skip
