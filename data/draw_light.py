"""Light on curved surfaces: what the pictures of the sample are shaded with.

Everything is float32. Colours are RGB in 0–1 as a screen shows them; *linear* colours are amounts of light, their
squares (a gamma of 2, close enough to sRGB's and quick). x runs to the right, y down, z towards the camera.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

Colour = tuple[float, float, float]
Share = np.ndarray | float | np.float32
Points = tuple[tuple[float, float], ...]
FUR, NOSE, MOUTH, TONGUE = range(4)  # what a point of a Surface belongs to


@dataclass(frozen=True)
class Light:
    """One lamp in the direction `towards` (a unit vector), the sky above and what the ground throws back, linear."""

    towards: tuple[float, float, float]
    lamp: Colour
    sky: Colour
    ground: Colour


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The 3×3 matrix that turns by yaw, then pitch, then roll, in degrees."""
    a, b, c = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (tilt @ nod @ turn).astype(np.float32)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 where x is at `low` or beyond, 1 at `high` or beyond, a smooth slope between (low may be the larger one)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def clouds(seed: int, height: int, width: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise (height, width) of mean 0 and spread near 1, with `cells` across in its coarsest octave."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        across = cells * 2**octave
        down = max(2, round(across * height / width))
        grain = Image.fromarray(rng.standard_normal((down, across), np.float32))
        total += np.asarray(grain.resize((width, height), Image.Resampling.BICUBIC)) / 2**octave
    return total


@lru_cache(maxsize=1)
def hair() -> np.ndarray:
    """A 1024×1024 tile of short strands along its columns, spread near 1, that continues over its edges."""
    spectrum = np.fft.rfft2(np.random.default_rng(7).standard_normal((1024, 1024), np.float32))
    down, across = np.fft.fftfreq(1024)[:, None], np.fft.rfftfreq(1024)[None, :]
    strands = np.fft.irfft2(spectrum * np.exp(-((down * 14) ** 2) - (across * 2.6) ** 2))
    clumps = np.fft.irfft2(spectrum * np.exp(-((down * 40) ** 2) - (across * 14) ** 2))
    return (0.8 * strands / strands.std() + 0.5 * clumps / clumps.std()).astype(np.float32)


def hair_at(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Strands at coordinates in the tile's pixels; the two arrays are broadcast against each other."""
    return hair()[down.astype(np.intp) % 1024, across.astype(np.intp) % 1024]


def curve(points: Points, closed: bool = False, steps: int = 8) -> Points:
    """Points along a Catmull-Rom spline through `points`."""
    p = np.asarray(points, float)
    p = np.vstack([p[-1:], p, p[:2]]) if closed else np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    out = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
    ]
    return tuple(map(tuple, np.vstack([*out, p[-2:-1]])))


def paint(linear: np.ndarray, colour: Colour, share: np.ndarray) -> None:
    """Lay a screen colour over a linear picture (height, width, 3) where `share` (height, width) is, in place."""
    linear += (np.square(np.float32(colour)) - linear) * share[..., None]


class Surface:
    """A height field over a box of pixels, grown out of ellipsoids that melt into each other."""

    def __init__(self, xs: np.ndarray, ys: np.ndarray, turn: np.ndarray) -> None:
        self.xs, self.ys, self.turn = xs, ys, turn
        self.z = np.full((len(ys), len(xs)), -2.5, np.float32)
        self.inside = np.full((len(ys), len(xs)), -0.4, np.float32)  # rough distance to the outline, inside > 0
        self.owner = np.zeros((len(ys), len(xs)), np.uint8)

    def add(self, centre: tuple, radii: tuple, owner: int = FUR, blend: float = 0.14, angle: float = 0.0) -> None:
        """Melt in one ellipsoid; `angle` turns it about z, `blend` is how far the melting reaches."""
        axes = self.turn @ rotation(0, 0, angle)
        spread = axes @ np.diag(np.square(radii)).astype(np.float32) @ axes.T
        form = np.linalg.inv(spread)
        cx, cy, cz = self.turn @ np.float32(centre)
        ex, ey = np.sqrt(spread[0, 0]), np.sqrt(spread[1, 1])
        i = slice(*np.searchsorted(self.xs, [cx - ex - 0.12, cx + ex + 0.12]))
        j = slice(*np.searchsorted(self.ys, [cy - ey - 0.12, cy + ey + 0.12]))
        dx, dy = self.xs[None, i] - cx, self.ys[j, None] - cy
        if not dx.size or not dy.size:
            return
        # Solved for the front z of the quadric; `within` is 1 in the middle and 0 on the outline.
        a, b, c = form[2, 2], form[0, 2], form[1, 2]
        within = 1 - (form[0, 0] - b * b / a) * dx**2 - (form[1, 1] - c * c / a) * dy**2
        within -= 2 * (form[0, 1] - b * c / a) * dx * dy
        z = cz - (b * dx + c * dy) / a + np.sqrt(np.maximum(within, 0) / a) + 2.5 * np.minimum(within, 0)
        old = self.z[j, i]
        overlap = np.maximum(blend - np.abs(z - old), 0)  # the polynomial smooth maximum of Inigo Quilez
        self.owner[j, i] = np.where(z > old, owner, self.owner[j, i])
        self.z[j, i] = np.maximum(z, old) + overlap * overlap / (4 * blend)
        self.inside[j, i] = np.maximum(self.inside[j, i], within * (0.5 * min(ex, ey)))

    def untwisted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The surface's points in its own coordinates, before it was turned."""
        t, x, y = self.turn, self.xs[None, :], self.ys[:, None]
        return tuple(t[0, k] * x + t[1, k] * y + t[2, k] * self.z for k in range(3))

    def normals(self) -> np.ndarray:
        """Unit normals (3, height, width)."""
        return normals(self.z / (self.xs[1] - self.xs[0]))


def normals(height: np.ndarray) -> np.ndarray:
    """Unit normals (3, height, width) of a height field whose heights are in pixels."""
    dy, dx = np.gradient(height)
    length = 1 / np.sqrt(dx * dx + dy * dy + 1)
    return np.stack([-dx * length, -dy * length, length])


def soften(field: np.ndarray, shrink: int) -> np.ndarray:
    """A float field blurred over some `shrink` pixels, quickly: made small and large again."""
    height, width = field.shape
    small = (max(2, width // shrink), max(2, height // shrink))
    small_picture = Image.fromarray(field).resize(small, Image.Resampling.HAMMING)
    return np.asarray(small_picture.resize((width, height), Image.Resampling.BICUBIC))


def cast_shadow(z: np.ndarray, step: float, light: Light, blocker: np.ndarray | None = None) -> np.ndarray:
    """How much of the lamp reaches each point of a height field, 0.2–1.

    `step` is the width of a pixel in the units of z; `blocker` is a height field that stands in the way, z itself if
    None. Marches towards the lamp over a copy a quarter the size.
    """
    height, width = z.shape
    size = (max(2, width // 4), max(2, height // 4))
    low = np.asarray(Image.fromarray(z).resize(size, Image.Resampling.BOX))
    tall = low if blocker is None else np.asarray(Image.fromarray(blocker).resize(size, Image.Resampling.BOX))
    lx, ly, lz = light.towards
    flat = max(float(np.hypot(lx, ly)), 1e-3)
    blocked = np.zeros_like(low)
    for k in range(1, 9):
        reach = 0.05 * k * (1 + 0.12 * k)
        shift = reach / (step * 4)
        moved = np.roll(tall, (round(-ly / flat * shift), round(-lx / flat * shift)), (0, 1))
        blocked = np.maximum(blocked, (moved - low - reach * lz / flat) / (0.10 + 0.25 * reach))
    full = Image.fromarray(np.clip(blocked, 0, 1)).resize((width, height), Image.Resampling.BICUBIC)
    return 1 - 0.8 * np.clip(np.asarray(full), 0, 1)


def lit(
    albedo: np.ndarray, normal: np.ndarray, light: Light, open_sky: Share, lamp_share: Share, gloss: Share, sharp: float
) -> np.ndarray:
    """Linear RGB (height, width, 3) of a surface under a light.

    albedo: linear (height, width, 3). normal: (3, height, width). open_sky and lamp_share: 0–1, what of sky and lamp
    reaches each point. gloss: strength of the highlight, `sharp` its exponent. The lamp reaches a little round the
    edge, as in fur; to it come sky and ground, a highlight after Blinn and Phong, and a soft rim.
    """
    lx, ly, lz = light.towards
    nx, ny, nz = normal
    facing = nx * lx + ny * ly + nz * lz
    direct = np.clip((facing + 0.22) / 1.22, 0, None) ** np.float32(1.3) * lamp_share
    halfway = np.clip((facing + nz) / max(1e-6, (2 + 2 * lz) ** 0.5), 0, 1)
    shine = gloss * halfway ** np.float32(sharp) * lamp_share
    up = 0.5 - 0.5 * ny
    rim = 0.22 * (1 - np.clip(nz, 0, 1)) ** 3 * (0.35 + up) * open_sky
    out = np.empty((*facing.shape, 3), np.float32)
    for k in range(3):
        around = (light.sky[k] * up + light.ground[k] * (1 - up)) * open_sky + light.sky[k] * rim
        out[..., k] = albedo[..., k] * (light.lamp[k] * direct + around) + shine * light.lamp[k]
        out[..., k] += (0.25 * light.sky[k]) * rim
    return out


def bilinear(field: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values of `field` between its pixels; rows and columns must lie at least one pixel from the far edges."""
    r, c = rows.astype(np.intp), columns.astype(np.intp)
    fr, fc = rows - r, columns - c
    top = field[r, c] * (1 - fc) + field[r, c + 1] * fc
    return top * (1 - fr) + (field[r + 1, c] * (1 - fc) + field[r + 1, c + 1] * fc) * fr


@dataclass(frozen=True)
class Place:
    """Where the head is in the picture: pixels of its middle, and pixels a head unit (half the width of a skull)."""

    x: float
    y: float
    scale: float

    def box(self, canvas: np.ndarray, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns of the canvas (height, width, …) that hold a box given in head units."""
        height, width = canvas.shape[:2]
        rows = [int(np.clip(self.y + self.scale * v, 0, height)) for v in (top, bottom)]
        columns = [int(np.clip(self.x + self.scale * u, 0, width)) for u in (left, right)]
        return slice(*rows), slice(*columns)

    def axes(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates in head units of these columns (x) and rows (y)."""
        xs = (np.arange(columns.start, columns.stop) - self.x) / self.scale
        ys = (np.arange(rows.start, rows.stop) - self.y) / self.scale
        return xs.astype(np.float32), ys.astype(np.float32)


def paste(
    canvas: np.ndarray,
    colour: np.ndarray,
    cover: np.ndarray,
    frame: np.ndarray,
    middle: np.ndarray,
    reach: tuple[float, float, float, float],
) -> None:
    """Tilt a small linear picture into place on a linear canvas, in place.

    The picture (height, width, 3) with its cover (height, width) shows u from reach[0] to reach[1] left to right and
    v from reach[2] to reach[3] top to bottom; (u, v) falls on the canvas at middle + frame·(u, v), in pixels.
    """
    u0, u1, v0, v1 = reach
    corners = frame @ np.array([[u0, u0, u1, u1], [v0, v1, v0, v1]]) + middle[:, None]
    size = np.array(canvas.shape[1::-1])
    low = np.clip(np.floor(corners.min(1)).astype(int), 0, size)
    high = np.clip(np.ceil(corners.max(1)).astype(int), 0, size)
    if (high <= low).any():
        return
    per_unit = np.array([cover.shape[1] / (u1 - u0), cover.shape[0] / (v1 - v0)])
    back = np.linalg.inv(frame) * per_unit[:, None]
    start = back @ (low - middle) - per_unit * [u0, v0]
    affine = (*back[0], start[0], *back[1], start[1])

    def moved(field: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(np.ascontiguousarray(field, np.float32))
        extent = (int(high[0] - low[0]), int(high[1] - low[1]))
        return np.asarray(picture.transform(extent, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))

    share = moved(cover)
    area = canvas[low[1] : high[1], low[0] : high[0]]
    for k in range(3):
        area[..., k] += moved(colour[..., k] * cover) - area[..., k] * share
