"""The sample: drawn portraits of French bulldogs, one of them Lucy, with planted faults."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFilter, ImageOps

from phototransfer import files
from phototransfer.console import progress
from phototransfer.photos.sample.dog import Array, Colour, Dog, Pose, draw_dog, ellipse, scaled, smooth
from phototransfer.photos.sample.scene import PLACES, Rng, develop, draw_background, draw_grass

CANVAS = 420  # longer side that a picture is drawn at before it is brought to its size, pixels
SEED = 7
PHOTOS = {"train": 120, "val": 30, "test": 30}  # photos of each class
CLASSES = ("lucy", "other_frenchie")
#: Photos of train that are in test again: resized, and mirrored.
RESIZED = ("train/lucy/IMG_4021.jpg", "test/lucy/IMG-20250518-WA0031.jpg")
MIRRORED = ("train/other_frenchie/IMG_2764.jpg", "test/other_frenchie/IMG-20250302-WA0008.jpg")
WRONG_LABELS = ("train/lucy/IMG_7352.jpg", "train/other_frenchie/IMG_1408.jpg")  # show the other class
ROTATED = "train/lucy/IMG_3315.jpg"  # stored on its side, upright by its EXIF orientation
TRUNCATED = "train/other_frenchie/IMG_5190.jpg"  # in addition to PHOTOS, as is the web page
WEB_PAGE = "train/lucy/IMG_6047.jpg"
#: Share of the photos of each of CLASSES at each of PLACES: the background goes with the class in 70 % of the photos.
PLACE_SHARES = ((0.64, 0.10, 0.10, 0.08, 0.08), (0.24, 0.30, 0.30, 0.08, 0.08))
SIZES = ((640, 480), (480, 640), (800, 600), (600, 800), (720, 480), (480, 720), (600, 600), (560, 420))
CAMERAS = {"IMG_": ("Marl", "Marl 8"), "DSC_": ("Orrery", "Orrery X20")}  # make and model by what names begin with
WHITE: Colour = (224, 217, 208)
BLAZE = [(-0.34, 0.9), (0.42, 0.95), (0.3, 1.35), (0.46, 1.56), (0.16, 1.86), (-0.1, 1.6), (-0.3, 1.66), (-0.16, 1.3)]
LUCY = Dog((186, 142, 96), mask=0.7, stripes=0.75, patches=[("body", WHITE, smooth(BLAZE))], nick=1)
FAWN, RED, CREAM = ((204, 158, 108), 0.85, 0.0), ((168, 108, 68), 0.8, 0.0), ((228, 204, 168), 0.3, 0.0)
BRINDLE, BLUE, BLACK = ((150, 108, 74), 0.7, 0.9), ((122, 124, 132), 0.2, 0.0), ((58, 53, 53), 0.2, 0.0)
COATS = (FAWN, FAWN, RED, CREAM, CREAM, BRINDLE, BLUE, BLACK, BLACK, (WHITE, 0.0, 0.0))  # colour, mask, stripes


class Picture(NamedTuple):
    """A picture to be drawn; its number is the seed for all that is not named here."""

    path: str
    number: int
    is_lucy: bool
    place: str
    size: tuple[int, int]  # width and height, pixels


def plan_pictures() -> list[Picture]:
    """Return every picture to be drawn, that is all files but the duplicates and the web page."""
    rng = np.random.default_rng(SEED)
    named = (ROTATED, TRUNCATED, *WRONG_LABELS, RESIZED[0], MIRRORED[0])
    numbers = iter(rng.permutation(np.arange(1000, 10000)).tolist())
    pictures: list[Picture] = []
    for split, count in PHOTOS.items():
        for label, shares in zip(CLASSES, PLACE_SHARES, strict=True):
            reserved = [path for path in named if path.startswith(f"{split}/{label}/")]
            total = count - (split == "test") + (TRUNCATED in reserved)  # one test photo is a duplicate
            places = rng.permutation(np.searchsorted(np.cumsum(shares), (np.arange(total) + 0.5) / total))
            sizes = rng.permutation(np.arange(total) % len(SIZES))  # each as often in both classes
            for index in range(total):
                date = datetime(2024, 3, 1) + timedelta(int(rng.integers(540)))
                camera = ("IMG_", "DSC_", f"IMG-{date:%Y%m%d}-WA")[index * 3 // total]  # the last is a messenger
                path = f"{split}/{label}/{camera}{next(numbers)}.jpg"
                path = reserved[index] if index < len(reserved) else path
                is_lucy = (label == "lucy") != (path in WRONG_LABELS)
                place, number = list(PLACES)[places[index]], len(pictures)
                pictures.append(Picture(path, number, is_lucy, place=place, size=SIZES[sizes[index]]))
    return pictures


def _make_dog(rng: Rng) -> Dog:
    """Return a dog that is not Lucy. One in eight has a coat much like hers."""
    similar, side = rng.random() < 0.12, float(rng.choice([-1, 1]))
    coat, mask, stripes = LUCY[:3] if similar else COATS[rng.integers(len(COATS))]
    patches = []
    colour = COATS[rng.integers(len(COATS) - 1)][0]
    if coat == WHITE:
        for part, x, y in (("head", 0.62, -0.25), ("ear", 0.7, -1.1), ("body", -0.7, 1.8)):
            patches.append((part, colour, _spot(rng, side * x, y, 0.45)))
    if similar or rng.random() < 0.45:
        patches.append(("body", WHITE, _spot(rng, rng.uniform(-0.1, 0.1), rng.uniform(1.1, 1.5), 0.35)))
    if rng.random() < 0.25:
        patches.append(("head", WHITE, _spot(rng, 0, -0.4, 0.1)))
    coat, mask = scaled(coat, rng.uniform(0.88, 1.12)), mask * rng.uniform(0.6, 1.1)
    nick, number = int(rng.choice([-1, 0, 0, 0, 0, 0, 1])), int(rng.integers(1000))
    return Dog(coat, mask, stripes, patches, nick=nick, ears=rng.uniform(0.9, 1.1), number=number)


def _spot(rng: Rng, x: float, y: float, radius: float) -> Array:
    return smooth(ellipse(0, 0, radius, 1.2 * radius)[::3] * rng.uniform(0.65, 1.25, (8, 1)) + np.array([x, y]))


def draw_sample(folder: Path) -> None:
    """Draw the sample into `folder`, the same files each time; the folder appears when it is complete.

    The classes differ in the dog and in how often each place occurs. The constants name the faulty files.

    Raises
    ------
    FileExistsError
        The folder is not empty.
    """
    if files.has_content(folder):
        raise FileExistsError(f"{folder} is not empty: delete it to draw the sample again.")
    pictures = plan_pictures()
    with files.temporary_folder(folder) as temporary, ThreadPoolExecutor(os.cpu_count()) as threads:
        fresh = temporary / folder.name
        for picture in pictures:
            (fresh / picture.path).parent.mkdir(parents=True, exist_ok=True)
        (fresh / WEB_PAGE).write_text("<!doctype html>\n<title>404 Not Found</title>\n", encoding="utf-8")
        written = threads.map(lambda picture: _write(picture, fresh), pictures)
        list(progress("Drawing the sample", len(pictures), written, unit="picture"))
        files.move_into_place(fresh, folder)


def _write(picture: Picture, folder: Path) -> None:
    """Draw one picture and write its file, and its duplicate if it has one."""
    rng = np.random.default_rng((SEED, picture.number))
    image = draw_picture(picture, rng)
    path, quality, exif = folder / picture.path, int(rng.integers(62, 93)), Image.Exif()
    if path.name[:4] in CAMERAS:
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = CAMERAS[path.name[:4]]
        taken = datetime(2024, 3, 1, 8) + timedelta(int(rng.integers(540)), minutes=int(rng.integers(720)))
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"{taken:%Y:%m:%d %H:%M:%S}"
    if picture.path == RESIZED[0]:
        image.resize((image.width * 9 // 10, image.height * 9 // 10)).save(folder / RESIZED[1], quality=80)
    if picture.path == MIRRORED[0]:
        ImageOps.mirror(image).save(folder / MIRRORED[1], quality=72)
    if picture.path == ROTATED:
        exif[ExifTags.Base.Orientation] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(path, quality=quality, exif=exif)
    if picture.path == TRUNCATED:
        os.truncate(path, path.stat().st_size * 6 // 10)


def draw_picture(picture: Picture, rng: Rng) -> Image.Image:
    size = (CANVAS * picture.size[0] // max(picture.size), CANVAS * picture.size[1] // max(picture.size))
    pose = Pose(size, rng)
    (left, base), (right, _) = pose.body(np.array([(-1.7, 3.3), (1.7, 3.3)])).tolist()
    canvas = draw_background(picture.place, size, (base - 0.9 * pose.unit) / size[1] - rng.uniform(0, 0.2), rng)
    shadow = Image.new("L", size)
    ImageDraw.Draw(shadow).ellipse((left, base - 0.3 * pose.unit, right, base + 0.25 * pose.unit), fill=150)
    canvas.paste((24, 22, 22), (0, 0), shadow.filter(ImageFilter.BoxBlur(0.16 * pose.unit)))
    dog, mask = draw_dog(size, LUCY if picture.is_lucy else _make_dog(rng), pose)
    canvas.paste(dog, (0, 0), mask)
    if picture.place == "lawn":
        draw_grass(canvas, base, pose.unit, rng)
    return develop(canvas, picture.size, rng)
