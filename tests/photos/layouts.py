"""Folders as people keep them, and how each is read.

    cd tests
    ../.venv/bin/python -m photos.layouts            prints the table of folders and outcomes
    ../.venv/bin/python -m photos.layouts --write    writes it into data/README.md, which test_layouts.py checks

A case writes photos, and says which of them are used with which class and split, or that the run asks.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw

from builders import draw
from photos.readme_table import ReadmeTable
from phototransfer.console import plural, shorten_list
from phototransfer.photos import Prepared, Source, prepare

TABLE = ReadmeTable("layouts.py")
KINDS = ("cat", "dog")

Used = dict[str, tuple[str, str | None]]


@dataclass(frozen=True, eq=False)
class Case:
    """A folder: the photos that have to be used with their class and split, pictures that must not be, and tables."""

    about: str
    used: Used
    unused: tuple[str, ...] = ()
    tables: dict[str, str] = field(default_factory=dict)
    asks: bool = False  # whether the run has to stop with a question
    extra: Callable[[Path], None] = lambda folder: None  # writes files that are not drawn photos


@dataclass(frozen=True)
class Outcome:
    prepared: Prepared | None
    question: str


def run(case: Case, folder: Path) -> Outcome:
    """Write the folder of a case and prepare it."""
    photos = folder / "photos"
    for number, name in enumerate([*case.used, *case.unused]):
        _save(draw(10_000 + number), photos / name)
    for name, text in case.tables.items():
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_text(text)
    case.extra(photos)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            source = Source("layout", photos, folder / "home")
            return Outcome(prepare(source, val_split=0.2, test_split=0.2, seed=42), "")
        except ValueError as error:
            return Outcome(None, str(error))


def describe(outcome: Outcome) -> str:
    """Return the right column of the table."""
    if outcome.prepared is None:
        question = outcome.question.partition(": ")[2].partition(" On the command line")[0]
        return f"the run stops with a question: {question}"
    layout = outcome.prepared.layout
    classes = f"{plural(len(outcome.prepared.photos), 'photo')} of {shorten_list(layout.classes, 3)}"
    parts = [f"{layout.shape}: {classes}"]
    if layout.table:
        parts.append(f'"{layout.file_column}" and "{layout.class_column}", found by {layout.matched_by}')
    if layout.group_column:
        parts.append(f'"{layout.group_column}" says which photos belong together')
    if set(layout.splits) - set(layout.splits.values()):
        parts.append(", ".join(f"{name} = {split}" for name, split in layout.splits.items() if name != split))
    if layout.left_out:
        parts.append("left out: " + shorten_list([f"{name} ({why})" for name, why in layout.left_out.items()], 3))
    return "; ".join([*parts, *(note.rstrip(".") for note in layout.notes)])


def table(outcome_of: Callable[[Case], Outcome]) -> str:
    """Return the table of all cases for data/README.md."""
    lines = ["| folder | how it is read |", "|---|---|"]
    for case in ALL:
        lines.append(f"| {case.about} | {describe(outcome_of(case)).replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def pets(pattern: str, split: str | None = None, *, numbers: range = range(1, 9)) -> Used:
    """Return photos of cats and dogs by a pattern with {kind} and {n}."""
    return {pattern.format(kind=kind, n=n): (kind, split) for kind in KINDS for n in numbers}


def pictures(pattern: str, count: int = 6) -> tuple[str, ...]:
    return tuple(pattern.format(n=n) for n in range(1, count + 1))


def listed(pattern: str = "images/IMG_{n:04d}.jpg", count: int = 16) -> Used:
    """Return photos that only a table gives a class: every second one is a dog."""
    return {pattern.format(n=n): (KINDS[n % 2], None) for n in range(1, count + 1)}


def csv_of(header: str, line: str, used: Used) -> str:
    """Return a table with one line per photo, by a pattern with {path}, {name}, {stem}, {kind}, {n} and {other}."""
    lines = [header]
    for n, (path, (kind, _)) in enumerate(used.items(), 1):
        name = path.rsplit("/", 1)[-1]
        words = {"path": path, "name": name, "stem": name.rsplit(".", 1)[0], "kind": kind, "n": n}
        lines.append(line.format(**words, cat=int(kind == "cat"), dog=int(kind == "dog"), half=(n + 1) // 2))
    return "\n".join(lines) + "\n"


def copied(folder: Path) -> None:
    """Copy the set into itself."""
    for file in sorted(folder.rglob("*.jpg")):
        copy = folder / "pets" / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())


def masked(folder: Path) -> None:
    """Draw a mask for each photo, in a folder beside that of the photos."""
    for file in sorted(folder.rglob("*.jpg")):
        mask = Image.new("L", (96, 72))
        ImageDraw.Draw(mask).ellipse((20, 10, 60 + len(str(file)) % 20, 60), fill=255)
        _save(mask, file.parent.parent / "masks" / f"{file.stem}.png")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG" if path.suffix == ".png" else "JPEG")


LISTED = listed()
IN_SPLITS = {
    f"{split}/{n}{split}.jpg": (KINDS[n % 2], "val" if split == "valid" else split)
    for split in ("train", "valid", "test")
    for n in range(1, 11)
}
OWN_SPLITS = {f"images/{n}.jpg": (KINDS[n % 2], "test" if n > 12 else "train") for n in range(1, 21)}
VAL_ONLY = {f"val/images/val_{n}.JPEG": (KINDS[n % 2], "val") for n in range(1, 9)}


def tables_in_splits(name: str, header: str, line: str) -> dict[str, str]:
    """Return one table per split folder."""
    parts = {split: {k: v for k, v in IN_SPLITS.items() if k.startswith(split)} for split in ("train", "valid", "test")}
    return {f"{split}/{name}": csv_of(header, line, part) for split, part in parts.items()}


NUMBERED = listed("images/{n:06d}.jpg")
IN_TRAIN = {path: (kind, "train") for path, (kind, _) in listed("train/{n}.jpg").items()}
PARTS = listed("part_1/ISIC_{n:07d}.jpg", 8) | listed("part_2/ISIC_{n}000000.jpg", 8)
UPPER = {f"train/{kind}/{n}.jpg": (kind, "train") for kind in ("Cat", "dog") for n in range(1, 9)}
LOWER = {f"test/{kind.lower()}/9{n}.jpg": (kind, "test") for kind in ("Cat", "dog") for n in range(1, 9)}
FOLDS = pets("fold_1/{kind}/{n}.jpg") | pets("fold_2/{kind}/8{n}.jpg") | pets("fold_3/{kind}/9{n}.jpg")
MOODS = "file,mood\n" + "".join(f"{name},{['happy', 'sad'][n % 2]}\n" for n, name in enumerate(pets("{kind}/{n}.jpg")))

ALL = [
    Case("one folder per class", pets("{kind}/{n}.jpg")),
    Case("the folders of the classes in another folder", pets("pets/images/{kind}/{n}.jpg")),
    Case(
        "`seg_train/seg_train/<class>`, `seg_test/…`, `seg_pred/…` without classes",
        pets("seg_train/seg_train/{kind}/{n}.jpg", "train") | pets("seg_test/seg_test/{kind}/9{n}.jpg", "test"),
        pictures("seg_pred/seg_pred/{n}.jpg"),
    ),
    Case(
        "`train_images`, `ValidData`, `hold-out`",
        pets("train_images/{kind}/{n}.jpg", "train")
        | pets("ValidData/{kind}/8{n}.jpg", "val")
        | pets("hold-out/{kind}/9{n}.jpg", "test"),
    ),
    Case(
        "`training`, `validation`, `evaluation`",
        pets("training/{kind}/{n}.jpg", "train")
        | pets("validation/{kind}/8{n}.jpg", "val")
        | pets("evaluation/{kind}/9{n}.jpg", "test"),
    ),
    Case(
        "`<class>/train`, `<class>/test`", pets("{kind}/train/{n}.jpg", "train") | pets("{kind}/test/9{n}.jpg", "test")
    ),
    Case(
        "`cat_train`, `cat_test`, `dog_train`, …",
        pets("{kind}_train/{n}.jpg", "train") | pets("{kind}_test/9{n}.jpg", "test"),
    ),
    Case(
        "class folders beside a `test` folder with the same classes",
        pets("{kind}/{n}.jpg", "train") | pets("test/{kind}/9{n}.jpg", "test"),
    ),
    Case("class folders beside a `test` folder without classes", pets("{kind}/{n}.jpg"), pictures("test/{n}.jpg")),
    Case("`train/cat.1.jpg` and `test1/1.jpg`", pets("train/{kind}.{n}.jpg", "train"), pictures("test1/{n}.jpg")),
    Case("`cat.1.jpg`, `dog.1.jpg` in one folder", pets("{kind}.{n}.jpg")),
    Case("`001_cat.jpg`, `002_dog.jpg`", pets("{n:03d}_{kind}.jpg")),
    Case("`Cat` in train, `cat` in test", UPPER | LOWER),
    Case("`test/unknown`", pets("train/{kind}/{n}.jpg", "train"), pictures("test/unknown/{n}.jpg")),
    Case("backslashes in the names of files", pets("pets\\{kind}\\{n}.jpg")),
    Case("a copy of the set inside itself", pets("{kind}/{n}.jpg"), extra=copied),
    Case("`<class>/images`, `<class>/masks`", pets("{kind}/images/{n}.jpg"), extra=masked),
    Case("`color`, `grayscale`", pets("color/{kind}/{n}.jpg"), tuple(pets("grayscale/{kind}/{n}.jpg"))),
    Case("`fold_1` … `fold_3` with the same classes", FOLDS),
    Case(
        "`paris/<class>`, `rome/<class>`", {}, (*pets("paris/{kind}/{n}.jpg"), *pets("rome/{kind}/9{n}.jpg")), asks=True
    ),
    Case(
        "`train` beside `images`, without classes",
        {},
        (*pictures("train/{n}.jpg"), *pictures("images/9{n}.jpg")),
        asks=True,
    ),
    Case(
        "labels.csv: `image_id,label`", LISTED, tables={"labels.csv": csv_of("image_id,label", "{stem},{kind}", LISTED)}
    ),
    Case("an index column", LISTED, tables={"labels.csv": csv_of(",file,label", "{n},{name},{kind}", LISTED)}),
    Case(
        "one column per class", LISTED, tables={"labels.csv": csv_of("image_id,cat,dog", "{stem},{cat},{dog}", LISTED)}
    ),
    Case(
        "`lesion_id,image_id,dx,age`, photos in `part_1` and `part_2`",
        PARTS,
        tables={"metadata.csv": csv_of("lesion_id,image_id,dx,age", "HAM_{half},{stem},{kind},6{n}", PARTS)},
    ),
    Case(
        "paths from another computer",
        LISTED,
        tables={"labels.csv": csv_of("path,label", "C:\\pets\\{path},{kind}", LISTED)},
    ),
    Case(
        "`IMG_0001.JPG` for IMG_0001.jpg",
        LISTED,
        tables={"labels.csv": csv_of("path,label", "{stem}.JPG,{kind}", LISTED)},
    ),
    Case("numbers that lost their zeros", NUMBERED, tables={"labels.csv": csv_of("id,label", "{n},{kind}", NUMBERED)}),
    Case(
        "`train.csv` beside `train` and `test`, `sample_submission.csv`",
        IN_TRAIN,
        pictures("test/{n}.jpg"),
        {
            "train.csv": csv_of("id,label", "{name},{kind}", IN_TRAIN),
            "sample_submission.csv": "id,label\n" + "".join(f"{n}.jpg,cat\n" for n in range(1, 7)),
        },
    ),
    Case(
        "boxes: several lines per photo, with sizes",
        LISTED,
        tables={
            "annotations.csv": csv_of(
                "width,height,filename,class,xmin,xmax", "640,480,{name},{kind},1{n},2{n}", LISTED
            )
            + csv_of("", "640,480,{name},{kind},3{n},4{n}", LISTED).lstrip("\n")
        },
    ),
    Case(
        "`pets`, `pets-test-set`", pets("pets/{kind}/{n}.jpg", "train") | pets("pets-test-set/{kind}/9{n}.jpg", "test")
    ),
    Case(
        "`train_cat_1.jpg`, `test_dog_1.jpg`",
        pets("train_{kind}_{n}.jpg", "train") | pets("test_{kind}_9{n}.jpg", "test"),
    ),
    Case(
        "`metadata.csv` in each split folder",
        IN_SPLITS,
        tables=tables_in_splits("metadata.csv", "file_name,label", "{name},{kind}"),
    ),
    Case(
        "`_classes.csv` in each split folder, one column per class",
        IN_SPLITS,
        tables=tables_in_splits("_classes.csv", "filename, cat, dog", "{name}, {cat}, {dog}"),
    ),
    Case(
        "a column `is_test`",
        OWN_SPLITS,
        tables={
            "labels.csv": "file,emotion,is_test\n"
            + "".join(f"{k},{v[0]},{v[1] == 'test'}\n" for k, v in OWN_SPLITS.items())
        },
    ),
    Case(
        "class folders in train, a list for `val/images`, `test/images` without classes",
        pets("train/{kind}/images/{n}.JPEG", "train") | VAL_ONLY,
        pictures("test/images/{n}.JPEG"),
        {"val/val_annotations.txt": "".join(f"{k.rsplit('/', 1)[1]}\t{v[0]}\t0\t0\t9\n" for k, v in VAL_ONLY.items())},
    ),
    Case(
        "a list with spaces: `photos/1.jpg 0`",
        {path: (str(KINDS.index(kind)), None) for path, (kind, _) in LISTED.items()},
        tables={"train_list.txt": "".join(f"{k} {KINDS.index(v[0])}\n" for k, v in LISTED.items())},
    ),
    Case(
        "ages instead of classes",
        {},
        tuple(LISTED),
        {"train.csv": csv_of("id,age", "{name},3{n}.5", LISTED)},
        asks=True,
    ),
    Case(
        "two columns that could be the class",
        LISTED,
        tables={"labels.csv": csv_of("file,breed,category", "{name},{kind},{half}", LISTED)},
        asks=True,
    ),
    Case(
        "a table that contradicts the class folders",
        {},
        tuple(pets("{kind}/{n}.jpg")),
        {"metadata.csv": MOODS},
        asks=True,
    ),
]


if __name__ == "__main__":
    TABLE.make(ALL, run, table)
