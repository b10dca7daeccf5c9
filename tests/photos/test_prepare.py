"""Any folder of photos becomes the table of photos and the folders for Keras, and every file is accounted for."""

import os
import shutil
import sys
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phototransfer.photos import Prepared, Source, prepare, store
from phototransfer.photos.decode import NotAPhoto, NotReadable
from phototransfer.photos.layout import UnclearFolder

COLUMNS = ["path", "original", "label", "split", "width", "height", "bytes", "format", "taken", "camera", "phash"]


def run(source: Source, seed: int = 42, share: float = 0.2) -> Prepared:
    return prepare(source, val_split=share, test_split=share, seed=seed)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def tree(prepared: Prepared) -> set[str]:
    """What a Keras reader sees: every file below train, val and test."""
    return {f"{split}/{path}" for split in ("train", "val", "test") for path in files_below(prepared.folder / split)}


def assert_complete(prepared: Prepared, source: Source) -> None:
    """The tree is the table, every file is accounted for once, and no incomplete file is there."""
    photos = prepared.photos
    paths = [Path(path).relative_to(prepared.folder) for path in photos["path"]]
    assert tree(prepared) == {path.as_posix() for path in paths}
    assert [path.parts[:2] for path in paths] == list(zip(photos["split"], photos["label"], strict=True))
    assert prepared.found == len(photos) + len(prepared.skipped)
    assert sorted([*photos["original"], *prepared.skipped["original"]]) == files_below(source.folder)
    assert all(prepared.skipped["reason"])
    assert photos.groupby("label")["split"].nunique().eq(3).all()
    assert prepared.classes == sorted(photos["label"].unique()) and len(prepared.classes) >= 2
    assert not [path for path in files_below(source.home) if path.endswith(".partial")]
    order = [(("train", "val", "test").index(photo.split), photo.label, photo.path) for photo in photos.itertuples()]
    assert order == sorted(order)
    assert len(pd.read_csv(source.home / "skipped.csv", keep_default_na=False)) == len(prepared.skipped)


def assert_same_photos(one: Prepared, other: Prepared) -> None:
    pd.testing.assert_frame_equal(one.photos, other.photos)
    pd.testing.assert_frame_equal(one.skipped, other.skipped)


def test_table_and_tree(pile):
    prepared = run(pile)
    photos = prepared.photos
    assert_complete(prepared, pile)
    assert prepared.folder == pile.home / "prepared"
    assert set(os.listdir(prepared.folder)) == {"train", "val", "test", "index.json", ".photos"}
    assert list(photos.columns) == [*COLUMNS, "digest", "group"]
    assert photos["split"].value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}
    assert (photos["width"] == 96).all() and (photos["height"] == 72).all() and (photos["format"] == "JPEG").all()
    assert list(photos["group"]) == list(range(12))
    assert [(pile.folder / original).stat().st_size for original in photos["original"]] == list(photos["bytes"])
    assert photos["taken"].dtype.kind == "M" and photos["taken"].isna().all() and photos["camera"].isna().all()
    assert all(Image.open(path).size == (96, 72) and Image.open(path).format == "JPEG" for path in photos["path"])
    assert (prepared.found, prepared.new, len(prepared.skipped)) == (12, 12, 0)


def test_result(pile):
    (pile.folder / "cat" / "broken.jpg").write_bytes(b"no photo")
    prepared = run(pile)
    numbers = {"found": 13, "used": 12, "skipped": 1, "train": 8, "val": 2, "test": 2}
    texts = {"dataset": "pile", "classes": ["cat", "dog"], "left_out": {}, "reading": prepared.layout.to_dict()}
    texts["pixels"] = {"ranges": {}, "deep": 0, "blank": 0}
    texts["class_counts"] = {name: {"train": 4, "val": 1, "test": 1} for name in ("cat", "dog")}
    assert prepared.to_dict() == texts | numbers
    summary = prepared.summary()
    assert summary.startswith(prepared.layout.summary()) and "2 classes: cat, dog" in summary
    assert "13 files found: 12 photos used, 1 file skipped." in summary and "skipped.csv" in summary
    counts = {"train": [4, 4, 8], "val": [1, 1, 2], "test": [1, 1, 2], "total": [6, 6, 12]}
    assert prepared.counts().to_dict("list") == counts
    assert list(prepared.counts().index) == ["cat", "dog", "total"]
    assert prepared.cache == pile.home / "features"
    titles = [axis.get_title() for axis in prepared.plot().axes]
    assert titles == ["cat\n96 × 72"] * 6 + ["dog\n96 × 72"] * 6


def test_what_cameras_write_is_in_the_table(pile, make_photo):
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "Apple", "2020:01:02 03:04:05"
    make_photo(pile.folder / "cat" / "phone.jpg", 50, exif=exif)
    for photos in (run(pile).photos, run(pile).photos):
        phone = photos.set_index("original").loc["cat/phone.jpg"]
        assert (phone["taken"], phone["camera"]) == (pd.Timestamp("2020-01-02 03:04:05"), "Apple")
        assert photos["taken"].notna().sum() == 1


def test_keras_reads_the_same_files_classes_and_indices(tmp_path, make_photo):
    import tensorflow as tf
    from keras.utils import image_dataset_from_directory

    names = ["Zebra", "apple tree", "été", "é", "_under", "10", "9", "🐶", "a", "B", "con", "x-2"]
    for number in range(6 * len(names)):
        label = names[number % len(names)]
        make_photo(tmp_path / "photos" / label / f"it's {number} é🐱%.jpg", number, (32, 24))
    for junk in ("Zebra/.ipynb_checkpoints/a.jpg", "Zebra/._a.jpg", "__MACOSX/a/b.jpg", "empty/.DS_Store", "few/1.jpg"):
        make_photo(tmp_path / "photos" / junk, 999, (32, 24))
    source = Source("odd", tmp_path / "photos", tmp_path / "home")
    first = run(source)
    for name in (".DS_Store", "._it.jpg", "Thumbs.db"):  # left behind by looking at the folder
        (Path(first.photos["path"][0]).parent / name).write_bytes(b"x")
    for prepared in (run(source), run(source, seed=2)):
        assert_complete(prepared, source)
        assert len(prepared.classes) == len(names)
        for split, photos in prepared.photos.groupby("split"):
            folder = str(prepared.folder / split)
            expected = dict(zip(photos["path"], photos["label"].map(prepared.classes.index), strict=True))
            read = image_dataset_from_directory(folder, shuffle=False, batch_size=99, image_size=(8, 8), verbose=False)
            assert read.class_names == prepared.classes
            labels = [int(label) for _, batch in read for label in batch]
            assert dict(zip(read.file_paths, labels, strict=True)) == expected
            flow = tf.keras.preprocessing.image.ImageDataGenerator().flow_from_directory(folder, shuffle=False)
            assert list(flow.class_indices) == prepared.classes
            assert dict(zip(flow.filepaths, map(int, flow.classes), strict=True)) == expected


# A second time


def test_nothing_is_read_and_nothing_changes(pile, monkeypatch, fingerprint):
    (pile.folder / "cat" / "broken.jpg").write_bytes(b"no photo")
    first = run(pile)
    before = fingerprint(first.folder)
    monkeypatch.setattr(store, "read_photo", lambda path: pytest.fail(f"{path} was read again"))
    second = run(pile)
    assert second.new == 0
    assert_same_photos(first, second)
    assert fingerprint(second.folder) == before


def test_only_new_and_changed_files_are_read(pile, monkeypatch, make_photo):
    run(pile)
    make_photo(pile.folder / "cat" / "new.jpg", 100)
    make_photo(pile.folder / "dog" / "dog1.jpg", 101, (80, 72))
    os.utime(pile.folder / "dog" / "dog3.jpg", ns=(1, 1))
    (pile.folder / "cat" / "cat0.jpg").unlink()
    (pile.folder / "cat" / "cat2.jpg").write_bytes(b"broken now")
    read, read_photo = [], store.read_photo
    monkeypatch.setattr(store, "read_photo", lambda path: read.append(path.name) or read_photo(path))
    prepared = run(pile)
    assert sorted(read) == ["cat2.jpg", "dog1.jpg", "dog3.jpg", "new.jpg"]
    assert prepared.new == 4
    assert_complete(prepared, pile)
    assert list(prepared.skipped["original"]) == ["cat/cat2.jpg"]
    assert prepared.photos.set_index("original").loc["dog/dog1.jpg", "width"] == 80
    fresh = run(Source("fresh", pile.folder, pile.home.with_name("fresh")))
    pd.testing.assert_frame_equal(fresh.photos.drop(columns="path"), prepared.photos.drop(columns="path"))


def test_class_that_is_gone_leaves_no_folder(pile, make_photo):
    for number in range(20, 26):
        make_photo(pile.folder / "hen" / f"{number}.jpg", number)
    run(pile)
    shutil.rmtree(pile.folder / "hen")
    prepared = run(pile)
    assert prepared.new == 0
    assert_complete(prepared, pile)
    assert not list(prepared.folder.rglob("hen"))


@pytest.mark.parametrize("seed, share, name", [(7, 0.2, "val0.2-test0.2-seed7"), (42, 0.35, "val0.35-test0.35-seed42")])
def test_another_split_has_a_tree_of_its_own(pile, fingerprint, seed, share, name):
    first = run(pile)
    before = fingerprint(first.folder)
    other = run(pile, seed, share)
    assert other.folder == first.folder / name and other.new == 0
    assert_complete(other, pile)
    after = fingerprint(first.folder)
    assert {path: after[path] for path in before} == before
    assert_same_photos(run(pile), first)
    assert_same_photos(run(pile, seed, share), other)
    assert len({os.stat(path).st_ino for path in [*first.photos["path"], *other.photos["path"]]}) == 12  # links


def test_photo_that_is_gone_leaves_every_tree_when_it_is_used_next(pile):
    run(pile), run(pile, 7), run(pile, 8)
    (pile.folder / "cat" / "cat0.jpg").unlink()
    run(pile), run(pile)
    for seed in (7, 8, 42):
        assert_complete(run(pile, seed), pile)
    assert not list(pile.home.rglob("cat0-*.jpg"))


def test_deleted_and_truncated_prepared_photos_are_made_again(pile):
    first = run(pile)
    Path(first.photos["path"][0]).unlink()
    os.truncate(first.photos["path"][1], 100)
    next((first.folder / ".photos").glob("dog1-*")).unlink()
    second = run(pile)
    assert second.new == 2  # the first one is still in the store
    assert_complete(second, pile)
    assert_same_photos(first, second)


def test_another_recipe_makes_every_photo_again(pile, monkeypatch):
    run(pile)
    (pile.folder / "cat" / "cat0.jpg").unlink()
    monkeypatch.setattr(store, "RECIPE", "another")
    prepared = run(pile)
    assert prepared.new == 11
    assert_complete(prepared, pile)


def test_without_its_index_everything_is_made_again(pile):
    first = run(pile)
    (first.folder / "index.json").unlink()
    prepared = run(pile)
    assert prepared.new == 12
    assert_complete(prepared, pile)


def test_broken_index_is_named_with_what_to_do(pile):
    first = run(pile)
    (first.folder / "index.json").write_text('{"recipe": ')
    with pytest.raises(ValueError, match=r"index\.json .* Delete it"):
        run(pile)


def test_what_could_not_be_read_is_tried_again(pile, monkeypatch):
    read_photo = store.read_photo

    def sometimes(path: Path):
        if path.name == "cat0.jpg":
            raise NotReadable("cannot be read (Permission denied)")
        if path.name == "cat2.jpg":
            raise NotAPhoto("damaged: the file is truncated")
        return read_photo(path)

    with monkeypatch.context() as patched:
        patched.setattr(store, "read_photo", sometimes)
        first = run(pile)
    reasons = {
        "cat/cat0.jpg": "cannot be read (Permission denied)",
        "cat/cat2.jpg": "damaged: the file is truncated",
    }
    assert dict(first.skipped.itertuples(index=False)) == reasons
    second = run(pile)
    assert second.new == 1 and "cat/cat0.jpg" in set(second.photos["original"])
    assert run(pile).new == 0


def test_file_that_disappears_while_it_is_read_is_skipped_by_name(pile, monkeypatch):
    read_photo = store.read_photo

    def late(path: Path):
        if path.name == "cat0.jpg":
            path.unlink()
        return read_photo(path)

    monkeypatch.setattr(store, "read_photo", late)
    prepared = run(pile)
    assert list(prepared.skipped["original"]) == ["cat/cat0.jpg"]
    assert "No such file" in prepared.skipped["reason"][0]
    assert (prepared.found, len(prepared.photos)) == (12, 11)


def test_file_that_changes_while_it_is_read_is_read_again_next_time(pile, monkeypatch, make_photo):
    read_photo = store.read_photo

    def changing(path: Path):
        photo = read_photo(path)
        if path.name == "cat0.jpg":
            make_photo(path, 77, (50, 40))
        return photo

    with monkeypatch.context() as patched:
        patched.setattr(store, "read_photo", changing)
        run(pile)
    prepared = run(pile)
    assert prepared.new == 1
    assert prepared.photos.set_index("original").loc["cat/cat0.jpg", "width"] == 50


# Originals


_observed: list[tuple[Path, list[str]]] = []
_CALLS = ["mkdir", "remove", "rename", "rmdir", "chmod", "chown", "utime", "truncate", "link", "symlink"]
_WRITES = {f"os.{call}" for call in _CALLS}


def _observe(event: str, args: tuple) -> None:
    for folder, written in _observed:
        opened = args[2] if event == "open" and isinstance(args[2], int) else 0
        writes = event in _WRITES or opened & (os.O_WRONLY | os.O_RDWR)
        paths = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)] if writes else []
        written += [f"{event} {path}" for path in paths if Path(path).is_relative_to(folder)]


def test_originals_never_change_and_nothing_is_written_among_them(pile, fingerprint):
    (pile.folder / "cat" / "broken.jpg").write_bytes(b"no photo")
    before = fingerprint(pile.folder)
    written: list[str] = []
    sys.addaudithook(_observe)
    _observed.append((pile.folder, written))
    try:
        for seed in (1, 1, 2):
            run(pile, seed)
        assert not written
        (pile.folder / "cat" / "mine.txt").write_text("x")
        assert written  # the hook works
        (pile.folder / "cat" / "mine.txt").unlink()
    finally:
        _observed.clear()
    assert fingerprint(pile.folder) == before


ODD_NAMES = [
    "with space.jpg", "it's \"quoted\".jpg", "🐶🐱.jpg", "x" * 246 + ".jpg", "é" * 123 + ".jpg", "two\nlines.jpg",
    "-rf.jpg", "50%.jpg", "%s%d.jpg", "cafe\u0301.jpg", "café.jpg", "A.jpg", "a.jpg", "noextension", "back\\slash.jpg",
    "tab\t.jpg", "a:b*c?.jpg", "con.jpg", b"\xff.jpg", b"\xfe.jpg", "end .jpg ", "=cmd.jpg", "<script>.jpg",
]  # fmt: skip


def test_odd_names_are_used_like_any_other(tmp_path, make_photo):
    source = Source("odd", tmp_path / "photos", tmp_path / "home")
    for number, name in enumerate([*ODD_NAMES, *ODD_NAMES]):
        make_photo(source.folder / ("cat", "dog")[number % 2] / os.fsdecode(name), number)
    make_photo(source.folder / "dog" / os.fsdecode(b"broken \xff\n.jpg"), 1).write_bytes(b"no")
    prepared = run(source)
    assert (len(prepared.photos), len(prepared.skipped)) == (2 * len(ODD_NAMES), 1)
    assert_complete(prepared, source)
    for path in prepared.photos["path"]:
        name = Path(path).name
        assert name.endswith(".jpg") and len(name.encode()) < 80 and not set(name) & set('<>:"/\\|?*%\n\t')
    again = run(source)
    assert again.new == 0
    assert_same_photos(again, prepared)
    assert pd.read_csv(source.home / "skipped.csv")["original"][0] == "dog/broken \\udcff\n.jpg"


def test_equal_names_stay_two_photos(tmp_path, make_photo):
    source = Source("same", tmp_path / "photos", tmp_path / "home")
    names = ["a.jpg", "a.png", "sub/a.jpg", "sub/sub/a.jpg", "A.jpg", "a", "sub/b/a.jpg"]
    for number, name in enumerate([f"{label}/{name}" for label in ("cat", "dog") for name in names]):
        make_photo(source.folder / name, number, format="PNG" if name.endswith("png") else "JPEG")
    prepared = run(source)
    assert_complete(prepared, source)
    assert len({path.casefold() for path in prepared.photos["path"]}) == prepared.photos["digest"].nunique() == 14


def test_spellings_of_one_class_are_one_folder(tmp_path, make_photo):
    source = Source("case", tmp_path / "photos", tmp_path / "home")
    for number in range(16):
        make_photo(source.folder / ("Cat", "cat", "CAT ", "dog")[number % 4] / f"{number}.jpg", number)
    prepared = run(source)
    assert_complete(prepared, source)
    assert prepared.classes == ["CAT", "dog"]
    assert prepared.photos["label"].value_counts().to_dict() == {"CAT": 12, "dog": 4}


def test_photos_of_one_patient_stay_together(pile):
    names = sorted(str(path.relative_to(pile.folder)) for path in pile.folder.rglob("*.jpg"))
    lines = [f"{name},{name[:3]},{'ABCDEF'[number // 2]}" for number, name in enumerate(names)]
    (pile.folder / "labels.csv").write_text("file,label,patient_id\n" + "\n".join(lines) + "\n")
    photos = run(pile).photos
    patient = photos["original"].map(dict(zip(names, "AABBCCDDEEFF", strict=True)))
    assert (photos.groupby(patient)["split"].nunique() == 1).all() and photos["group"].nunique() == 6


def test_patients_with_several_classes_are_split_photo_by_photo_and_it_is_said(pile):
    names = sorted(str(path.relative_to(pile.folder)) for path in pile.folder.rglob("*.jpg"))
    lines = [f"{name},{name[:3]},{'ABC'[number % 3]}" for number, name in enumerate(names)]
    (pile.folder / "labels.csv").write_text("file,label,patient_id\n" + "\n".join(lines) + "\n")
    prepared = run(pile)
    assert prepared.photos["group"].nunique() == 12 and "patient_id" in " ".join(prepared.layout.notes)


def test_classes_of_any_name_in_labels_csv(tmp_path, make_photo):
    source = Source("csv", tmp_path / "photos", tmp_path / "home")
    raw = ["con", "a/b", "../../up", "<script>alert(1)</script>", ".hidden", "x" * 300, "-rf", "NUL.txt", "total"]
    raw.append('say "hi"')
    lines = ["id,breed"]
    for number in range(3 * len(raw)):
        make_photo(source.folder / "images" / f"{number}.jpg", number, (32, 24))
        quoted = raw[number % len(raw)].replace('"', '""')
        lines.append(f'{number},"{quoted}"')
    (source.folder / "labels.csv").write_text("\n".join([*lines, "ghost,con"]))
    prepared = run(source)
    assert_complete(prepared, source)
    assert {"_con", "a_b", "hidden", "_-rf", "_NUL.txt", "say _hi_"} <= set(prepared.classes)
    assert len(prepared.classes) == len(raw) == len(prepared.counts()) - 1
    assert all(path.parents[2] == prepared.folder for path in map(Path, prepared.photos["path"]))
    assert prepared.unmatched == ["ghost"] and "ghost" in prepared.summary()


# Splits and duplicates


@pytest.mark.parametrize("given", ["test", "val, test"])
def test_given_splits_are_used_and_a_missing_one_is_cut_from_train(tmp_path, make_photo, given):
    source = Source("split", tmp_path / "photos", tmp_path / "home")
    folders = ["training_set", "training_set", "test_set", "valid" if "val" in given else "training_set"]
    for number in range(32):
        make_photo(source.folder / folders[number // 8] / ("cats", "dogs")[number % 2] / f"{number}.jpg", number)
    prepared = run(source, seed=7)
    assert_complete(prepared, source)
    from_test = prepared.photos["original"].str.startswith("test_set")
    assert (from_test == (prepared.photos["split"] == "test")).all() and from_test.sum() == 8
    name = "prepared" if "val" in given else "val0.2-test0.2-seed7"  # the seed decides nothing if all splits are given
    assert prepared.folder.name == name
    assert (prepared.photos["split"] == "val").sum() == (8 if "val" in given else 4)


def test_duplicates_stay_together_and_those_in_two_classes_are_in_train(pile, make_photo):
    for number, name in enumerate(["again.jpg", "smaller.png", "sub/cat0.jpg"]):
        make_photo(pile.folder / "cat" / name, 0, ((96, 72), (64, 48), (192, 144))[number], quality=60)
    make_photo(pile.folder / "dog" / "a cat.jpg", 2, quality=50)
    shutil.copy(pile.folder / "dog" / "dog1.jpg", pile.folder / "dog" / "same as dog1.jpg")
    for seed in range(6):
        photos = run(pile, seed).photos.set_index("original")
        duplicates = ["cat/cat0.jpg", "cat/again.jpg", "cat/smaller.png", "cat/sub/cat0.jpg"]
        assert photos.loc[duplicates, "group"].nunique() == 1
        assert photos.groupby("group")["split"].nunique().max() == 1
        assert set(photos.loc[["dog/a cat.jpg", "cat/cat2.jpg"], "split"]) == {"train"}
        assert photos["group"].nunique() == 12


def test_order_in_which_the_disk_lists_files_does_not_matter(pile, monkeypatch):
    first = run(pile)
    shutil.rmtree(pile.home)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": _Reversed(scandir(path)))
    assert_same_photos(run(pile), first)


class _Reversed:
    """What os.scandir returns, backwards."""

    def __init__(self, entries) -> None:
        self.entries = entries

    def __iter__(self):
        return iter(list(self.entries)[::-1])

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.entries.close()


# Too few photos


def test_small_class_is_left_out_by_name_with_the_number_it_needs(pile, make_photo):
    for number in (20, 21):
        make_photo(pile.folder / "hen" / f"{number}.jpg", number)
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        make_photo(pile.folder / "twin" / name, 30)
    (pile.folder / "broken").mkdir()
    (pile.folder / "broken" / "1.jpg").write_bytes(b"no photo")
    (pile.folder / "empty").mkdir()
    prepared = run(pile)
    assert_complete(prepared, pile)
    needs = "it needs at least 3 different ones to be in train, val and test"
    assert prepared.left_out == prepared.to_dict()["left_out"]
    assert prepared.left_out == {
        "broken": "has no photo that can be read",
        "empty": "has no photo at all",
        "hen": f"has 2 photos; {needs}",
        "twin": f"has 3 photos, 1 of them different; {needs}",
    }
    reasons = dict(prepared.skipped.itertuples(index=False))
    assert reasons["hen/20.jpg"] == f"class left out: hen has 2 photos; {needs}"
    assert "text" in reasons["broken/1.jpg"]
    assert "4 classes" in prepared.summary() and "and 1 more" in prepared.summary()

    for number in (22, 23):
        make_photo(pile.folder / "hen" / f"{number}.jpg", number)
    grown = run(pile)
    assert grown.new == 2
    assert_complete(grown, pile)
    assert (grown.photos["label"] == "hen").sum() == 4

    for number in (21, 22, 23):
        (pile.folder / "hen" / f"{number}.jpg").unlink()
    assert_complete(run(pile), pile)


def test_class_missing_from_a_given_split_is_left_out_by_name(tmp_path, make_photo):
    source = Source("split", tmp_path / "photos", tmp_path / "home")
    for number in range(27):
        split = ("train", "val", "test")[number % 3]
        make_photo(source.folder / split / ("cat", "dog", "hen")[number // 9] / f"{number}.jpg", number)
    shutil.rmtree(source.folder / "val" / "hen")
    prepared = run(source)
    assert_complete(prepared, source)
    assert prepared.left_out == {"hen": "has no photo in val; it needs at least one in each"}


def test_fewer_than_two_classes(pile, make_photo):
    shutil.rmtree(pile.folder / "dog")
    make_photo(pile.folder / "hen" / "1.jpg", 20)
    for number in range(3):
        (pile.folder / "hen" / f"broken{number}.jpg").write_bytes(b"")
    (pile.folder / "ant").mkdir()
    (pile.folder / "ant" / "page.jpg").write_bytes(b"<html>")
    with pytest.raises(ValueError) as caught:
        run(pile)
    message = str(caught.value)
    counts = "Classes: ant: has no photo that can be read; cat: 6 photos, enough; hen: has 1 photo; it needs"
    for part in (str(pile.folder), counts, "3 × the file is empty", str(pile.home / "skipped.csv"), "one folder per"):
        assert part in message
    skipped = pd.read_csv(pile.home / "skipped.csv")
    assert sorted(skipped["original"]) == ["ant/page.jpg", "hen/1.jpg", *(f"hen/broken{n}.jpg" for n in range(3))]


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ([], "Classes: none."),
        (["a.jpg", "b.jpg"], "2 × "),
        (["cat/a.jpg", "cat/b.jpg", "cat/c.jpg"], "Classes: cat: 3 photos, enough."),
        (["train/a.jpg", "test/b.jpg"], "2 × "),
        ([".cat/a.jpg", ".dog/b.jpg"], "2 × hidden file or folder"),
    ],
)
def test_folder_without_two_classes(tmp_path, make_photo, names, part):
    source = Source("few", tmp_path / "photos", tmp_path / "home")
    source.folder.mkdir()
    for number, name in enumerate(names):
        make_photo(source.folder / name, number)
    with pytest.raises(ValueError) as caught:
        run(source)
    assert part in str(caught.value) and "labels.csv" in str(caught.value)


def test_folder_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"1 × folder cannot be read \(No such file or directory\)"):
        run(Source("gone", tmp_path / "gone", tmp_path / "home"))


# Files that others put into the prepared folder


@pytest.mark.parametrize("seed", [42, 7])
@pytest.mark.parametrize(
    "name", ["train/cat/photo-20240101.jpg", "train/cat/a.partial", "notes.txt", "train/hen/1.png"]
)
def test_file_of_somebody_else_is_named_and_kept(pile, name, seed):
    first = run(pile, seed)
    own = first.folder / name
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(b"mine")
    with pytest.raises(ValueError, match="was not put there by this notebook") as caught:
        run(pile, seed)
    assert str(own) in str(caught.value) and "Move the file" in str(caught.value)
    assert own.read_bytes() == b"mine"
    own.unlink()
    again = run(pile, seed)
    assert again.new == 0
    assert_complete(again, pile)
    assert_same_photos(again, first)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._cat0.jpg", ".ipynb_checkpoints/a.jpg"])
def test_files_of_the_operating_system_are_removed(pile, name):
    first = run(pile)
    for folder in ("train/cat", "gone", "."):
        (first.folder / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (first.folder / folder / name).write_bytes(b"x")
    assert_complete(run(pile), pile)
    assert set(os.listdir(first.folder)) == {"train", "val", "test", "index.json", ".photos"}


# Errors on the way


def test_full_disk_names_the_folder_and_the_next_run_continues(pile, monkeypatch, full_disk, fingerprint):
    before = fingerprint(pile.folder)
    full_disk(pile.home, after=5)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run(pile)
    assert str(pile.home) in str(caught.value) and caught.value.errno == 28
    assert not [name for name in files_below(pile.home) if name.endswith(".partial")]
    monkeypatch.undo()
    prepared = run(pile)
    assert prepared.new < 12
    assert_complete(prepared, pile)
    assert fingerprint(pile.folder) == before


def test_interrupting_the_cell_keeps_what_was_done(pile, monkeypatch):
    def interrupted(description, total, items):
        for number, item in enumerate(items):
            if number == 7:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patched:
        patched.setattr(store, "progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(pile)
    prepared = run(pile)
    assert prepared.new <= 5
    assert_complete(prepared, pile)


def test_warnings_of_pillow_are_hidden_and_filters_restored(pile, make_photo):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0" * 9
    make_photo(pile.folder / "cat" / "odd.jpg", 40, exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        prepared = run(pile)
        assert list(warnings.filters) == before
    assert not [warning for warning in caught if "PIL" in warning.filename]
    assert "cat/odd.jpg" in set(prepared.photos["original"])


# Any folder at all


FOLDERS = ["cat", "dog", "hen/deep", "train/cat", "train/dog", "test/cat", "test/dog", ".hidden", "__MACOSX/x", "."]
CONTENTS = ["photo"] * 4 + ["text", "empty", "truncated"]
entries = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(CONTENTS), st.integers(0, 15))


@settings(max_examples=25)
@given(st.lists(entries, max_size=30), st.booleans(), st.integers(0, 3))
def test_every_file_of_any_folder_is_accounted_for(tmp_path_factory, make_photo, entries, labelled, seed):
    base = tmp_path_factory.mktemp("any")
    source = Source("any", base / "photos", base / "home")
    source.folder.mkdir()
    for number, (folder, content, photo) in enumerate(entries):
        path = make_photo(source.folder / folder / f"{number}.jpg", photo, (24, 20))
        if content != "photo":
            path.write_bytes({"text": b"text", "empty": b"", "truncated": path.read_bytes()[:-200]}[content])
    if labelled:
        lines = [f"{number},{'ab'[number % 2]}" for number in range(len(entries)) if number % 5]
        (source.folder / "labels.csv").write_text("\n".join(["id,label", *lines]))
    try:
        prepared = run(source, seed)
    except UnclearFolder:
        assert not source.home.joinpath("prepared").exists()
    except ValueError as error:
        assert "At least two classes" in str(error)
        skipped = list(pd.read_csv(source.home / "skipped.csv")["original"])
        assert max(Counter(skipped).values(), default=0) <= 1
        assert set(skipped) <= set(files_below(source.folder))
    else:
        assert_complete(prepared, source)
        assert run(source, seed).photos.equals(prepared.photos)
