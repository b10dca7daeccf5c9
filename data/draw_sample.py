"""Draw the sample: pictures of one French bulldog, Lucy, and of many others, that look like photos and are not.

    python data/draw_sample.py [FOLDER] [--seed 42]

writes FOLDER/{train,val,test}/{lucy,other_frenchie}/*.jpg (data/sample if no folder is named), the same files for the
same seed on the same machine. Nothing but the dog tells the classes apart: in each split everything else (`FACTORS`
in draw_photo.py: size and shape, JPEG quality, camera, date, place, lamp, pose, what is in the way, blur …) takes the
same values in both classes and only their order is shuffled, as in Latin hypercube sampling
(https://doi.org/10.1080/00401706.1979.10489755). Lucy herself, her doubles and the strangers are in draw_dogs.py.

As in folders from real life, some of it is wrong, on purpose; `FAULTS` names the files:

- *copied*: two pictures of train stand in test again, under another name, a little smaller or larger, saved anew;
- *truncated*: a picture in train whose file breaks off, as after a broken download;
- *not_a_picture*: a web page in train, saved under a picture's name;
- *sideways*: a picture in train stored lying on its side, with the EXIF orientation that puts it upright.

The truncated file and the web page come on top of the number of pictures asked for; copies and sideways count in it.
Apart from the copies no two pictures are nearly alike.
"""

import argparse
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from scipy.fft import dctn
from tqdm import tqdm

from draw_photo import SHORTEST, photograph
from draw_plan import FAULTS, LABELS, PHOTOS, Picture, plan

WEB_PAGE = "<!doctype html>\n<title>404 Not Found</title>\n<p>The photo you asked for is no longer here.</p>\n"
ALIKE = 8  # bits of 64: pictures whose hashes differ in no more are too much alike
ATTEMPTS = 20


def draw(folder: Path, seed: int = 42, photos: Mapping[str, int] = PHOTOS) -> None:
    """Draw the sample into `folder`, on every core; `photos` is the number of pictures of each class in each split.

    The folder appears when it is whole: until then everything stands in a hidden folder beside it. Raises
    FileExistsError if there is something at `folder` already, ValueError if a split is too small for its faults.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: delete it to have it drawn again, or name another folder.")
    pictures = plan(seed, photos)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    try:
        fresh = beside / folder.name
        for path in (*(p.path for p in pictures), *FAULTS.copied.values(), FAULTS.not_a_picture):
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
        (fresh / FAULTS.not_a_picture).write_text(WEB_PAGE, encoding="utf-8")
        _draw_all(pictures, fresh)
        if folder.exists():
            folder.rmdir()
        fresh.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _draw_all(pictures: list[Picture], folder: Path) -> None:
    # Fresh processes rather than forks: a notebook has TensorFlow's threads running, which a fork would break.
    fresh = multiprocessing.get_context("spawn")
    with _importable(), ProcessPoolExecutor(os.cpu_count(), fresh) as processes:
        drawn = processes.map(_write, pictures, [folder] * len(pictures), chunksize=4)
        bar = tqdm(drawn, "drawing the sample", len(pictures), unit=" pictures", file=sys.stdout, mininterval=0.5)
        hashes = list(bar)
    for k, picture in enumerate(pictures):
        for attempt in range(ATTEMPTS):
            if not _alike(hashes[k], hashes[:k]):
                break
            hashes[k] = _write(replace(picture, key=(*picture.key, attempt)), folder)
        else:
            raise RuntimeError(f"{picture.path} looks like another picture however it is drawn: try another seed.")


@contextmanager
def _importable() -> Iterator[None]:
    """Keep this file's folder on sys.path, which the processes inherit, while they start."""
    here = str(Path(__file__).resolve().parent)
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _write(picture: Picture, folder: Path) -> tuple[int, int]:
    """Draw one picture and write it, with what is wrong with it, and its copy; returns its hashes."""
    rng = np.random.default_rng(picture.key)
    image = photograph(picture.dog(rng), picture.row, rng)
    seen = perceptual_hashes(image)
    orientation = 1
    if picture.fault == "sideways":
        image, orientation = image.transpose(Image.Transpose.ROTATE_90), 6
    quality = round(60 + 35 * picture.row["quality"])
    data = _jpeg(image, quality, _exif(picture, orientation))
    (folder / picture.path).write_bytes(data[: len(data) * 6 // 10] if picture.fault == "truncated" else data)
    if picture.copy:
        size = [round(side * (0.93 if min(image.size) * 0.93 >= SHORTEST else 1.08)) for side in image.size]
        again = Image.open(io.BytesIO(data)).resize(size, Image.Resampling.BICUBIC)
        (folder / picture.copy).write_bytes(_jpeg(again, 60 + (quality - 60 + 18) % 36, Image.Exif()))
    return seen


def perceptual_hashes(image: Image.Image) -> tuple[int, int]:
    """64 bits for what a picture shows, and for its mirror image: the signs round the median of its slowest waves.

    Zauner's pHash (https://www.phash.org/docs/pubs/thesis_zauner.pdf) on 32×32 grey pixels.
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float32)
    hashes = []
    for side in (grey, grey[:, ::-1]):
        waves = dctn(side)[:8, :8].ravel()
        hashes.append(int.from_bytes(np.packbits(waves > np.median(waves[1:])).tobytes()))
    return hashes[0], hashes[1]


def _alike(hashes: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    return any((mine ^ other).bit_count() <= ALIKE for other, _ in others for mine in hashes)


def _exif(picture: Picture, orientation: int) -> Image.Exif:
    """Camera, date and orientation, where the picture's way has not stripped them."""
    exif = Image.Exif()
    if picture.camera.make:
        taken = picture.taken.strftime("%Y:%m:%d %H:%M:%S")
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = picture.camera.make, picture.camera.model
        exif[ExifTags.Base.Software], exif[ExifTags.Base.Orientation] = "draw_sample.py", orientation
        exif[ExifTags.Base.DateTime] = taken
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    return exif


def _jpeg(image: Image.Image, quality: int, exif: Image.Exif) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the sample pictures.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "sample")
    parser.add_argument("--seed", type=int, default=42)
    asked = parser.parse_args()
    try:
        draw(asked.folder, asked.seed)
    except FileExistsError as error:
        parser.exit(1, f"{error}\n")
    counts = ", ".join(f"{split} {2 * count}" for split, count in PHOTOS.items())
    print(f"{asked.folder}: {2 * sum(PHOTOS.values())} pictures of {' and '.join(LABELS)} ({counts}), and some faults.")


if __name__ == "__main__":
    main()
