"""Files that programs often fail to read, and the expected result for each.

    cd tests
    ../.venv/bin/python -m photos.hostile            prints the table of cases and outcomes
    ../.venv/bin/python -m photos.hostile --write    writes it into data/README.md, which test_hostile.py checks

A case writes files next to valid photos of two classes, `VALID` of each, and says which of its files are photos and
what they show. Every other file that it writes has to be skipped with a reason.
"""

import contextlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from builders import draw
from photos.readme_table import ReadmeTable
from phototransfer.photos import Prepared, Source, prepare

TABLE = ReadmeTable("hostile.py")
VALID = 5
SIZE = (96, 72)
FINE = {"quality": 98, "subsampling": 0}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Pictures = Mapping[str, Image.Image]
Make = Callable[[Path], Pictures]


@dataclass(frozen=True)
class Case:
    """A problem. `make(folder)` writes its files and returns original → picture for those that have to be used.

    `among_valid`: whether valid photos of two classes are in the folder too. `during`: what happens while the photos
    are read. `note`: how it is used.
    """

    about: str
    make: Make
    note: str = ""
    among_valid: bool = True
    during: Callable[[Path], AbstractContextManager] = field(default=lambda folder: nullcontext())


@dataclass(frozen=True)
class Outcome:
    """The result of `prepare` for a case, or the message of its error; and the files that the case wrote."""

    expected: Pictures
    prepared: Prepared | None
    message: str
    own: frozenset[str]

    def used(self) -> dict[str, str]:
        """Return original → path of the prepared photo, for the files of the case."""
        if self.prepared is None:
            return {}
        paths = self.prepared.photos.set_index("original")["path"]
        return {original: path for original, path in paths.items() if original not in _valid()}

    def skipped(self) -> dict[str, str]:
        """Return name → reason, without the valid photos."""
        if self.prepared is None:
            return {}
        reasons = self.prepared.skipped.set_index("original")["reason"]
        return {original: reason for original, reason in reasons.items() if original not in _valid()}


def run(case: Case, folder: Path) -> Outcome:
    """Write the files of a case below `folder` and prepare them."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    if case.among_valid:
        for number, original in enumerate(sorted(_valid())):
            save(photos / original, 900 + number)
    before = _files(photos)
    expected = case.make(photos)
    own = frozenset(_files(photos) - before)
    with case.during(photos), contextlib.redirect_stdout(io.StringIO()):
        try:
            source = Source("hostile", photos, folder / "home")
            return Outcome(expected, prepare(source, val_split=0.2, test_split=0.2, seed=42), "", own)
        except ValueError as error:
            return Outcome(expected, None, str(error), own)


def describe(case: Case, outcome: Outcome) -> str:
    """Return the right column of the table."""
    if outcome.prepared is None:
        classes = outcome.message.partition("Classes: ")[2]
        return f"the run stops: at least two classes are needed; found {classes.partition('. ')[0]}"
    note = f", {case.note}" if case.note else ""
    parts = [f"used{note}"] if outcome.used() or note else []
    for reason in dict.fromkeys(outcome.skipped().values()):
        if not reason.startswith("class left out") and reason != "the list of labels itself":
            parts.append(f"skipped: {reason}")
    parts += [f"class left out: {reason}" for reason in outcome.prepared.left_out.values()]
    if outcome.prepared.unmatched:
        parts.append("named in the summary")
    return "; ".join(parts) or "nothing to do"


def table(outcome_of: Callable[[Case], Outcome]) -> str:
    """Return all cases and outcomes as Markdown."""
    lines = []
    for section, cases in SECTIONS.items():
        lines += ["", f"| {section} | what happens |", "|---|---|"]
        lines += [f"| {case.about} | {describe(case, outcome_of(case))} |" for case in cases]
    return "\n".join(lines[1:]) + "\n"


def _valid() -> set[str]:
    return {f"{label}/valid {number}.jpg" for label in ("cat", "dog") for number in range(VALID)}


def _files(folder: Path) -> set[str]:
    return {Path(here, name).relative_to(folder).as_posix() for here, _, names in os.walk(folder) for name in names}


# Files


def encoded(picture: Image.Image, format: str = "JPEG", **save_options) -> bytes:
    """Return a picture as the bytes of a file."""
    out = io.BytesIO()
    picture.save(out, format, **save_options)
    return out.getvalue()


def save(path: Path, seed: int, format: str = "JPEG", **save_options) -> Image.Image:
    """Write a picture there and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = FINE if format == "JPEG" and not save_options else save_options
    picture = draw(seed)
    path.write_bytes(encoded(picture, format, **options))
    return picture


def no_photo(name: str, content: bytes | Callable[[], bytes]) -> Make:
    """A file that has to be skipped."""

    def make(folder: Path) -> Pictures:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content())
        return {}

    return make


def photo(name: str, content: Callable[[], bytes], shows: Callable[[], Image.Image] = lambda: draw(1)) -> Make:
    """A file that has to be used and to show a picture."""

    def make(folder: Path) -> Pictures:
        no_photo(name, content)(folder)
        return {name: shows()}

    return make


def named(*names: str) -> Make:
    """Photos under these names."""

    def make(folder: Path) -> Pictures:
        return {f"cat/{name}": save(folder / "cat" / name, number) for number, name in enumerate(names)}

    return make


def cut(share: float) -> Callable[[], bytes]:
    def content() -> bytes:
        whole = encoded(draw(1))
        return whole[: int(share * len(whole))]

    return content


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("cat.jpg", encoded(draw(1)))
    return out.getvalue()


def inks() -> tuple[np.ndarray, np.ndarray, Image.Image]:
    """Return a picture as three inks and black, and what they show together."""
    shown = (np.asarray(draw(1)) * ((255 - 40) / 255)).astype(np.uint8)
    colours = np.clip(255 - shown * (255 / (255 - 40)), 0, 255).round().astype(np.uint8)
    return colours, np.full(SIZE[::-1], 40, dtype=np.uint8), Image.fromarray(shown)


def cmyk() -> bytes:
    colours, black, _ = inks()
    return encoded(Image.fromarray(np.dstack([colours, black]), "CMYK"), quality=98)


def ycck() -> bytes:
    """The inks are stored as a YCbCr picture, and the mark of Adobe's segment says so."""
    colours, black, _ = inks()
    stored = np.dstack([255 - np.asarray(Image.fromarray(colours).convert("YCbCr")), black])
    content = encoded(Image.fromarray(stored, "CMYK"), quality=98)
    mark = content.index(b"Adobe") + 11
    return content[:mark] + b"\x02" + content[mark + 1 :]


def deep_grey() -> bytes:
    return encoded(Image.fromarray(np.asarray(draw(1).convert("L")).astype(np.uint16) * 257), "PNG")


def transparent_palette() -> bytes:
    palette = draw(1).quantize(63)
    pixels = np.asarray(palette).copy()
    pixels[:20] = 63  # a colour of its own, declared transparent
    see_through = Image.fromarray(pixels, "P")
    see_through.putpalette([*palette.getpalette()[: 63 * 3], 255, 0, 255])
    return encoded(see_through, "PNG", transparency=63)


def on_white() -> Image.Image:
    picture = draw(1).quantize(63).convert("RGB")
    picture.paste("white", (0, 0, SIZE[0], 20))
    return picture


def half_transparent() -> Image.Image:
    picture = draw(1).convert("RGBA")
    picture.putalpha(128)
    return picture


def half_white() -> Image.Image:
    return Image.blend(Image.new("RGB", SIZE, "white"), draw(1), 128 / 255)


def several(format: str, **options) -> Callable[[], bytes]:
    """Three pictures in one file."""
    return lambda: encoded(draw(1), format, save_all=True, append_images=[draw(2), draw(3)], **options)


def gif() -> bytes:
    return encoded(draw(1).quantize(255), "GIF", save_all=True, append_images=[draw(2).quantize(255)])


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge() -> bytes:
    """A whole PNG of 30,000 × 30,000 black pixels in about 110 kB."""
    side = 30_000
    packed = zlib.compressobj(1)
    row = bytes(1 + side // 8)
    data = b"".join(packed.compress(row * 1000) for _ in range(side // 1000)) + packed.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


#: How an upright picture is stored for each orientation (Exif 2.3, tag 0112: where row 0 and column 0 belong).
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.transpose(1, 0, 2),
    6: lambda up: np.rot90(up),
    7: lambda up: np.rot90(up, 2).transpose(1, 0, 2),
    8: lambda up: np.rot90(up, -1),
}


def turned(folder: Path) -> Pictures:
    shown = {}
    for orientation, store in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = draw(orientation)
        stored = Image.fromarray(np.ascontiguousarray(store(np.asarray(upright))))
        (folder / "cat" / f"{orientation}.jpg").write_bytes(encoded(stored, exif=exif, **FINE))
        shown[f"cat/{orientation}.jpg"] = upright
    return shown


def linked(folder: Path) -> Pictures:
    (folder / "cat" / "linked.jpg").symlink_to("valid 0.jpg")
    return {"cat/linked.jpg": draw(900)}


def linked_outside(folder: Path) -> Pictures:
    save(folder.parent / "outside" / "o.jpg", 1)
    (folder / "cat" / "o.jpg").symlink_to(folder.parent / "outside" / "o.jpg")
    return {"cat/o.jpg": draw(1)}


def circle(folder: Path) -> Pictures:
    (folder / "cat" / "circle").symlink_to(folder)
    return {}


def nowhere(folder: Path) -> Pictures:
    (folder / "cat" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    return {}


def ten_deep(folder: Path) -> Pictures:
    name = "cat/" + "deep/" * 10 + "down.jpg"
    return {name: save(folder / name, 1)}


def classes(**counts: int) -> Make:
    def make(folder: Path) -> Pictures:
        shown = {}
        for place, (label, count) in enumerate(counts.items()):
            (folder / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                name = f"{label}/{number}.jpg"
                shown[name] = save(folder / name, 100 * place + number)
        return shown

    return make


def skipped(make: Make) -> Make:
    """Valid photos that are skipped nevertheless."""

    def make_skipped(folder: Path) -> Pictures:
        make(folder)
        return {}

    return make_skipped


def split_without_a_class(folder: Path) -> Pictures:
    shown = {}
    for place, split in enumerate(("train", "val", "test")):
        for number, label in enumerate(("ant", "bee", "cow")):
            if (split, label) != ("val", "cow"):
                for photo_number in range(2):
                    name = f"{split}/{label}/{photo_number}.jpg"
                    shown[name] = save(folder / name, 100 * place + 10 * number + photo_number)
    return {name: picture for name, picture in shown.items() if "cow" not in name}


def thousand(folder: Path) -> Pictures:
    shown = {}
    rng = np.random.default_rng(1)
    for number in range(3000):
        pixels = rng.integers(0, 256, (18, 20, 3), dtype=np.uint8)
        name = f"class {number % 1000}/{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shown[name] = Image.fromarray(pixels)
        (folder / name).write_bytes(encoded(shown[name], "PNG", compress_level=1))
    return shown


def labelled(csv: str | bytes, *unused: str) -> Make:
    """Twelve photos 0.jpg … 11.jpg of two classes, labels.csv, and `unused`: those of them that are skipped.

    In `csv`, {lines} stands for the lines of all photos.
    """

    def make(folder: Path) -> Pictures:
        shown = {f"{number}.jpg": save(folder / f"{number}.jpg", number) for number in range(12)}
        lines = "\n".join(f"{number},{'cat' if number % 2 else 'dog'}" for number in range(12))
        text = csv if isinstance(csv, bytes) else csv.encode()
        (folder / "labels.csv").write_bytes(text.replace(b"{lines}", lines.encode()))
        return {name: picture for name, picture in shown.items() if name not in unused}

    return make


def semicolons(folder: Path) -> Pictures:
    shown = labelled("id,class\n{lines}\n")(folder)
    file = folder / "labels.csv"
    file.write_text(file.read_text().replace(",", ";"))
    return shown


def through_link(folder: Path) -> Pictures:
    shown = labelled("id,class\n{lines}\nlink/secret.jpg,cat\n")(folder)
    secret = save(folder.parent / "outside" / "secret.jpg", 77)
    (folder / "link").symlink_to(folder.parent / "outside")
    return {**shown, "link/secret.jpg": secret}


# What happens while photos are read


@contextmanager
def opening(name: str, act: Callable[[Path], object]) -> Iterator[None]:
    """`act(path)` whenever a file of that name is about to be opened for reading."""
    opened = Path.open

    def open_(path: Path, mode: str = "r", *args, **options):
        if path.name == name and "r" in mode:
            act(path)
        return opened(path, mode, *args, **options)

    with patch.object(Path, "open", open_):
        yield


def refuse(path: Path) -> None:
    raise PermissionError(13, "Permission denied", str(path))


@contextmanager
def closed_folder(name: str) -> Iterator[None]:
    scandir = os.scandir

    def scan(path="."):
        if Path(path).name == name:
            refuse(Path(path))
        return scandir(path)

    with patch.object(os, "scandir", scan):
        yield


JUNK = np.random.default_rng(0).bytes(5000)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>'
BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0" * 9

SECTIONS: dict[str, list[Case]] = {
    "broken files": [
        Case("an empty file", no_photo("cat/a.jpg", b"")),
        Case("a JPEG truncated at 10 %", no_photo("cat/a.jpg", cut(0.1))),
        Case("a JPEG truncated at 50 %", no_photo("cat/a.jpg", cut(0.5))),
        Case("a JPEG truncated at 99 %", no_photo("cat/a.jpg", cut(0.99))),
        Case("random bytes named .jpg", no_photo("cat/a.jpg", JUNK)),
        Case("a web page named .jpg", no_photo("cat/a.jpg", b"<!doctype html><title>404</title>")),
        Case("a zip archive named .jpg", no_photo("cat/a.jpg", zipped)),
        Case("an SVG drawing", no_photo("cat/a.svg", SVG)),
        Case("broken EXIF", photo("cat/a.jpg", lambda: encoded(draw(1), exif=BROKEN_EXIF, **FINE))),
    ],
    "formats": [
        Case("a JPEG named .png", photo("cat/a.png", lambda: encoded(draw(1), **FINE))),
        Case("a HEIC named .jpg", photo("cat/a.jpg", lambda: encoded(draw(1), "HEIF", quality=100, chroma=444))),
        Case("AVIF", photo("cat/a.avif", lambda: encoded(draw(1), "AVIF", quality=98, subsampling="4:4:4"))),
        Case("BMP", photo("cat/a.bmp", lambda: encoded(draw(1), "BMP"))),
        Case("a progressive JPEG", photo("cat/a.jpg", lambda: encoded(draw(1), progressive=True, **FINE))),
        Case("a CMYK JPEG", photo("cat/a.jpg", cmyk, lambda: inks()[2]), "in RGB"),
        Case("a YCCK JPEG", photo("cat/a.jpg", ycck, lambda: inks()[2]), "in RGB"),
        Case(
            "1-bit black and white",
            photo("cat/a.png", lambda: encoded(draw(1).convert("1"), "PNG"), lambda: draw(1).convert("1")),
        ),
        Case(
            "8-bit grey",
            photo("cat/a.png", lambda: encoded(draw(1).convert("L"), "PNG"), lambda: draw(1).convert("L")),
        ),
        Case("16-bit grey", photo("cat/a.png", deep_grey, lambda: draw(1).convert("L")), "scaled to 8 bits"),
        Case("a palette with a transparent colour", photo("cat/a.png", transparent_palette, on_white), "on white"),
        Case("RGBA", photo("cat/a.png", lambda: encoded(half_transparent(), "PNG"), half_white), "on white"),
        Case("an animated PNG", photo("cat/a.png", several("PNG")), "the first picture"),
        Case(
            "an animated GIF",
            photo("cat/a.gif", gif, lambda: draw(1).quantize(255).convert("RGB")),
            "the first picture",
        ),
        Case("an animated WebP", photo("cat/a.webp", several("WEBP", lossless=True)), "the first picture"),
        Case(
            "several JPEGs in one (MPO, from phones)", photo("cat/a.jpg", several("MPO", **FINE)), "the first picture"
        ),
        Case("a TIFF of several pages", photo("cat/a.tif", several("TIFF")), "the first page"),
        Case("each of the eight EXIF orientations", turned, "upright"),
    ],
    "sizes": [
        Case("1 × 1 pixel", no_photo("cat/a.png", lambda: encoded(Image.new("RGB", (1, 1)), "PNG"))),
        Case("1 × 10,000 pixels", no_photo("cat/a.png", lambda: encoded(Image.new("RGB", (1, 10_000)), "PNG"))),
        Case("30,000 × 30,000 pixels in 110 kB", no_photo("cat/a.png", huge)),
    ],
    "names": [
        Case("spaces and quotes", named(" a b.jpg", 'it\'s "c".jpg')),
        Case("emoji", named("🐶🐱.jpg")),
        Case("250 bytes long", named("x" * 246 + ".jpg", "é" * 123 + ".jpg")),
        Case("a line break in it", named("two\nlines.jpg")),
        Case("a leading dash", named("-rf.jpg")),
        Case("percent signs", named("50%.jpg", "%s%d.jpg")),
        Case("é as one sign and as two", named("caf\u00e9.jpg", "cafe\u0301.jpg"), "as two photos"),
        Case("names that differ in case alone", named("A.jpg", "a.jpg"), "as two photos"),
        Case("HTML", named("<script>alert(1)<script>.jpg", "&amp;.jpg")),
        Case("no extension", named("IMG_1")),
    ],
    "files of operating systems": [
        Case(".DS_Store", no_photo("cat/.DS_Store", JUNK)),
        Case("._x.jpg", no_photo("cat/._x.jpg", JUNK)),
        Case("Thumbs.db", no_photo("cat/Thumbs.db", JUNK)),
        Case("__MACOSX", no_photo("__MACOSX/cat/a.jpg", lambda: encoded(draw(1)))),
        Case(".ipynb_checkpoints", no_photo("cat/.ipynb_checkpoints/a.jpg", lambda: encoded(draw(1)))),
    ],
    "folders and links": [
        Case("folders ten deep in a class", ten_deep),
        Case("a link to a photo in the folder", linked),
        Case("a link to a photo outside", linked_outside),
        Case("a link in a circle", circle),
        Case("a link to nowhere", nowhere),
        Case(
            "a file that may not be read",
            no_photo("cat/a.jpg", lambda: encoded(draw(1))),
            during=lambda folder: opening("a.jpg", refuse),
        ),
        Case(
            "a folder that may not be read",
            no_photo("cat/closed/a.jpg", lambda: encoded(draw(1))),
            during=lambda folder: closed_folder("closed"),
        ),
        Case(
            "a file that is deleted while it is read",
            no_photo("cat/a.jpg", lambda: encoded(draw(1))),
            during=lambda folder: opening("a.jpg", lambda path: path.unlink()),
        ),
        Case(
            "a file that changes while it is read",
            photo("cat/a.jpg", lambda: encoded(draw(2), **FINE)),
            "as it was when it was read, and read again next time",
            during=lambda folder: opening("a.jpg", lambda path: path.write_bytes(encoded(draw(1), **FINE))),
        ),
    ],
    "classes": [
        Case("an empty class", classes(hen=0)),
        Case("a class with two photos", skipped(classes(hen=2))),
        Case("one class only", skipped(classes(hen=6)), among_valid=False),
        Case("a class missing from one split", split_without_a_class, among_valid=False),
        Case("the same name in two classes", classes(cat=1, dog=1)),
        Case("1,000 classes of three photos", thousand, among_valid=False),
    ],
    "labels.csv": [
        Case("a byte-order mark", labelled("\ufeffid,class\n{lines}\n"), among_valid=False),
        Case("semicolons", semicolons, among_valid=False),
        Case("line breaks in quotes", labelled('id,class,"a\nnote"\n{lines}\n99,"cat\nor dog"\n'), among_valid=False),
        Case("a photo listed twice, one class", labelled("id,class\n{lines}\n3,cat\n"), among_valid=False),
        Case("a photo listed twice, two classes", labelled("id,class\n{lines}\n3,dog\n", "3.jpg"), among_valid=False),
        Case("names that no photo has", labelled("id,class\n{lines}\nghost,cat\n"), among_valid=False),
        Case(
            "a photo without a line",
            labelled("id,class\n" + "".join(f"{n},{'cat' if n % 2 else 'dog'}\n" for n in range(11)), "11.jpg"),
            among_valid=False,
        ),
        Case(
            "a photo without a class",
            labelled("id,class\n" + "".join(f"{n},{['dog', 'cat'][n % 2]}\n" for n in range(11)) + "11,\n", "11.jpg"),
            among_valid=False,
        ),
        Case("a path with `..`", labelled("id,class\n{lines}\n../outside/secret.jpg,cat\n"), among_valid=False),
        Case("a path through a link", through_link, "because the link is in the folder", among_valid=False),
    ],
}


ALL = [case for cases in SECTIONS.values() for case in cases]


if __name__ == "__main__":
    TABLE.make(ALL, run, table)
