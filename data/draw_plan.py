"""Which pictures there will be in the sample, and which of its files are wrong on purpose."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from draw_coat import Dog
from draw_dogs import LUCY, look_alike, stranger
from draw_photo import FACTORS, Row

PHOTOS: Mapping[str, int] = {"train": 120, "val": 30, "test": 30}  # pictures of each class
LABELS = ("lucy", "other_frenchie")


class Faults(NamedTuple):
    """Files that are wrong, as paths from the sample's folder; draw_sample.py says how."""

    copied: dict[str, str]  # the picture in train: its copy in test
    truncated: str
    not_a_picture: str
    sideways: str


FAULTS = Faults(
    copied={
        "train/lucy/IMG_4021.jpg": "test/lucy/IMG-20250518-WA0031.jpg",
        "train/other_frenchie/IMG_2764.jpg": "test/other_frenchie/IMG-20250302-WA0008.jpg",
    },
    truncated="train/other_frenchie/IMG_5190.jpg",
    not_a_picture="train/lucy/IMG_6047.jpg",
    sideways="train/lucy/IMG_3315.jpg",
)
# Of the other dogs these shares are Lucy's doubles but for that many traits, the rest are strangers: with them a
# logistic regression on EfficientNet-Lite0's features is right about 93 times in 100 (5-fold, mean of three seeds).
DOUBLES: tuple[tuple[float, int], ...] = ((0.10, 4), (0.11, 5), (0.12, 6))
FIRST_DAY, DAYS = datetime(2024, 3, 1), 540


class Camera(NamedTuple):
    """A camera, or a messenger that strips make, model and date, and the names that its files get."""

    make: str
    model: str
    name: str
    share: float  # of the pictures, this camera and those before it


CAMERAS = (  # all invented
    Camera("Marl", "Marl 8", "IMG_{number:04d}.jpg", 0.50),
    Camera("Orrery", "Orrery X20", "DSC_{number:04d}.jpg", 0.75),
    Camera("", "", "IMG-{taken:%Y%m%d}-WA{number:04d}.jpg", 1.00),
)


@dataclass(frozen=True)
class Picture:
    """A picture to be drawn: where to, how, and what is wrong with it."""

    path: str  # from the sample's folder
    label: str
    key: tuple[int, ...]  # seeds its random generator
    row: Row  # what varies in both classes alike, each 0–1; "kin" is how much another dog is like Lucy
    number: int
    fault: str = ""
    copy: str = ""

    @property
    def camera(self) -> Camera:
        return next(camera for camera in CAMERAS if self.row["camera"] < camera.share)

    @property
    def taken(self) -> datetime:
        minutes = 8 * 60 + (self.number * 37) % (12 * 60)
        return FIRST_DAY + timedelta(days=int(self.row["taken"] * DAYS), minutes=minutes)

    def dog(self, rng: np.random.Generator) -> Dog:
        """Lucy, one of her doubles or a stranger."""
        if self.label == LABELS[0]:
            return LUCY
        share = 0.0
        for more, changes in DOUBLES:
            share += more
            if self.row["kin"] < share:
                return look_alike(rng, changes)
        return stranger(rng)


def plan(seed: int, photos: Mapping[str, int] = PHOTOS) -> list[Picture]:
    """Every picture that is to be drawn, the same list for the same arguments.

    The copies and the web page of FAULTS are not among them. Raises ValueError if a split is too small for its faults.
    """
    if photos.keys() != PHOTOS.keys() or photos["train"] < 4 or photos["val"] < 1 or photos["test"] < 2:
        raise ValueError(f"photos = {dict(photos)}: train must be 4 or more, val 1 or more and test 2 or more.")
    rng = np.random.default_rng(seed)
    numbers = iter(rng.permutation(np.arange(1000, 10000)).tolist())
    taken = {*FAULTS.copied, FAULTS.truncated, FAULTS.not_a_picture, FAULTS.sideways}
    pictures = []
    for s, (split, count) in enumerate(photos.items()):
        for k, label in enumerate(LABELS):
            drawn = count - 1 if split == "test" else count  # there one is a copy
            for index, row in enumerate(_shuffled_rows(rng, drawn)):
                picture = Picture("", label, (seed, s, k, index), row, next(numbers))
                while (path := _path(split, picture)) in taken:
                    picture = replace(picture, number=next(numbers))
                pictures.append(replace(picture, path=path))
    broken = Picture(FAULTS.truncated, LABELS[1], (seed, 9), _shuffled_rows(rng, 1)[0], 5190, "truncated")
    return [*_with_faults(pictures), broken]


def _shuffled_rows(rng: np.random.Generator, count: int) -> list[Row]:
    """`count` rows of factors: each factor takes the values (k + ½)/count once, in an order of its own."""
    names = (*FACTORS, "kin")
    columns = [((rng.permutation(count) + 0.5) / count).tolist() for _ in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _path(split: str, picture: Picture) -> str:
    return f"{split}/{picture.label}/{picture.camera.name.format(number=picture.number, taken=picture.taken)}"


def _with_faults(pictures: list[Picture]) -> list[Picture]:
    """Some pictures of train, taken with the first camera, get the names in FAULTS and what is wrong with them."""
    wanted = [*FAULTS.copied, FAULTS.sideways]
    changed = []
    for picture in pictures:
        folder = picture.path.rsplit("/", 1)[0]
        name = next((w for w in wanted if w.startswith(f"{folder}/") and picture.camera is CAMERAS[0]), None)
        if name:
            wanted.remove(name)
            fault = "sideways" if name == FAULTS.sideways else ""
            picture = replace(picture, path=name, fault=fault, copy=FAULTS.copied.get(name, ""))
        changed.append(picture)
    return changed
