"""Backgrounds out of focus, and what a camera does to a picture."""

from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter

from phototransfer.photos.sample.dog import CLOTHS, Colour, scaled, to_bytes

Rng = np.random.Generator

Colours = tuple[Colour, ...]

WALLS: Colours = ((206, 198, 184), (176, 184, 178), (190, 172, 160), (150, 160, 172), (214, 206, 200), (168, 140, 120))
SKIES: Colours = ((176, 200, 214), (200, 210, 216), (226, 208, 190), (150, 176, 196))
GREENS: Colours = ((104, 130, 70), (122, 142, 84), (98, 122, 82))
WOODS: Colours = ((168, 120, 76), (140, 96, 62), (190, 152, 108), (112, 84, 66))


#: Colours of what is far away, of the ground and of a band between them, and the share of the height of that band.
PLACES: dict[str, tuple[Colours, Colours, Colours, float]] = {
    "lawn": (SKIES, GREENS, GREENS, 0.0),
    "sofa": (WALLS, CLOTHS, CLOTHS, 0.33),
    "wooden floor": (WALLS, WOODS, ((226, 222, 214),), 0.05),
    "beach": (SKIES, ((206, 182, 142), (190, 170, 140)), ((70, 128, 142), (92, 140, 150)), 0.2),
    "street": (WALLS, ((150, 148, 144), (128, 126, 128)), ((110, 108, 106),), 0.03),
}


def _pick(rng: Rng, colours: tuple[Colour, ...], spread: float = 0.12) -> Colour:
    return scaled(colours[rng.integers(len(colours))], float(1 + rng.uniform(-spread, spread)))


@cache
def _noise(height: float, width: float) -> Image.Image:
    """Return a tile of grey noise with grains of a size in pixels."""
    values = gaussian_filter(np.random.default_rng(1).standard_normal((1024, 1024)), (height, width), mode="wrap")
    return Image.fromarray(to_bytes(128 + 40 * values / values.std()))


def draw_background(name: str, size: tuple[int, int], ground: float, rng: Rng) -> Image.Image:
    """Draw one of PLACES; `ground` is the share of the height at which the ground begins."""
    far, grounds, bands, band_height = PLACES[name]
    width, height = size[0] // 2, size[1] // 2
    top = round(np.clip(ground, 0.12, 0.92) * height)
    picture = Image.new("RGB", (width, height), _pick(rng, far))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(2, 6)):  # houses, doors, curtains, trees
        left, right = np.sort(rng.uniform(-0.1, 1.1, 2)) * width
        colour = _pick(rng, GREENS if name == "lawn" else far, 0.3)
        draw.rectangle((left, rng.uniform(-0.6, 0.6) * top, right, top), colour)
    for x, y in np.argwhere(np.ones((width // 26, top // 34))) * (26, 34) if name == "street" else ():
        draw.rectangle((x + 6, y + 6, x + 19, y + 26), _pick(rng, ((70, 78, 90), (90, 98, 104), (228, 200, 140))))
    for radius in rng.uniform(0.02, 0.12, 150) * height if name == "lawn" else ():
        x, y = rng.uniform(0, width), rng.uniform(rng.uniform(-0.2, 0.8) * top, top)
        draw.circle((x, y), radius, _pick(rng, GREENS if rng.random() < 0.98 else CLOTHS, 0.5))
    colour = _pick(rng, grounds)
    band = colour if name == "sofa" else _pick(rng, bands)
    draw.rounded_rectangle((-9, top - band_height * height, width + 9, height), 8, band, outline=scaled(band, 0.5))
    for _ in range(rng.integers(3, 10)):  # furniture, cushions, trunks, people
        x, low = rng.uniform(0, width), top + height * rng.uniform(-0.15, 0.08)
        wide, high = width * rng.uniform(0.02, 0.14), height * rng.uniform(0.05, 0.5)
        draw.rounded_rectangle(
            (x, low - high, x + wide, low), 0.4 * wide, _pick(rng, WOODS if name == "lawn" else (*CLOTHS, *WOODS), 0.4)
        )
    left, near = rng.uniform(150, 190), rng.uniform(0, 120)
    corners = (near, 0, left, 511, 511 - left, 511, 511 - near, 0)  # far left, near left, near right, far right
    grey = _noise(7, 1.2).transform((width, height - top), Image.Transform.QUAD, corners)
    levels = np.linspace(scaled(colour, 0.6), scaled(colour, 1.35), 256).T.tolist()
    picture.paste(Image.merge("RGB", [grey.point(level) for level in levels]), (0, top))
    picture = picture.filter(ImageFilter.GaussianBlur(width * rng.uniform(0.004, 0.012)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def draw_grass(picture: Image.Image, base: float, unit: float, rng: Rng) -> None:
    """Draw blades of grass in front of what stands on the row `base`."""
    draw = ImageDraw.Draw(picture)
    for x in rng.uniform(0, picture.width, picture.width // 3):
        y, high = base + unit * rng.uniform(0, 0.5), unit * rng.uniform(0.15, 0.45)
        draw.line(
            (x, y, x + 0.4 * high * rng.uniform(-1, 1), y - high), _pick(rng, GREENS, 0.35), round(1 + 0.01 * unit)
        )


def develop(picture: Image.Image, size: tuple[int, int], rng: Rng) -> Image.Image:
    """Return the picture as a camera saves it: uneven light, white balance, exposure, tone curve, blur and noise."""
    x, y = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32))
    shade = 1 - 0.12 * (x * x + y * y) + rng.uniform(-0.13, 0.13) * x + rng.uniform(-0.13, 0.13) * y
    mask = Image.fromarray(to_bytes(235 * shade)).resize(picture.size, Image.Resampling.BICUBIC)
    picture = ImageChops.multiply(picture, Image.merge("RGB", [mask] * 3))
    warmth, exposure = rng.uniform(-0.07, 0.07), rng.uniform(1.0, 1.45)
    value = np.outer([1 + warmth, 1, 1 - warmth], exposure * np.arange(256) / 255)
    value = np.clip(1.1 * value / (1 + value**4) ** 0.25, 0, 1)  # a soft shoulder, then more contrast
    picture = picture.point((255 * (0.55 * value + 0.45 * value**2 * (3 - 2 * value))).ravel().tolist())
    picture = picture.filter(ImageFilter.BoxBlur(max(0.0, rng.uniform(-0.8, 0.8))))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = rng.integers(0, 1024 - np.array(size)).tolist()
    grain = _noise(0.5, 0.5).crop((left, top, left + size[0], top + size[1]))
    grain = grain.point((128 + rng.uniform(0.04, 0.16) * (np.arange(256) - 128)).tolist())
    return ImageChops.add(picture, Image.merge("RGB", [grain] * 3), 1, -128)
