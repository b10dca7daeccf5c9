"""Does any pile of photos become the tree and the table it should, whatever happens on the way?"""

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

from helpers.photos import placing, reading
from helpers.photos.picture import NotAPhoto, NotReadable
from helpers.photos.prepare import Prepared, prepare
from helpers.photos.sources import Source

NOTEBOOKS = Path(reading.__file__).parents[2]
COLUMNS = ["path", "original", "label", "split", "width", "height", "bytes", "format", "taken", "camera", "phash"]


def run(source: Source, seed: int = 42) -> Prepared:
    return prepare(source, 0.2, 0.2, seed)


def tree(prepared: Prepared | Path) -> set[str]:
    """What a Keras reader sees: every file below train, val and test, as <split>/<class>/<name>."""
    folder = prepared.folder if isinstance(prepared, Prepared) else prepared
    return {
        str(path.relative_to(folder))
        for split in ("train", "val", "test")
        for path in (folder / split).rglob("*")
        if not path.is_dir()
    }


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def assert_right(prepared: Prepared, source: Source) -> None:
    """The tree is the table, every file is accounted for once, and nothing half-made is left."""
    photos, folder = prepared.photos, prepared.folder
    paths = [Path(path).relative_to(folder) for path in photos["path"]]
    assert tree(prepared) == {str(path) for path in paths}
    assert [path.parts[:2] for path in paths] == list(zip(photos["split"], photos["label"], strict=True))
    assert prepared.found == len(photos) + len(prepared.skipped)
    assert sorted([*photos["original"], *prepared.skipped["original"]]) == below(source.folder)
    assert all(prepared.skipped["reason"])
    assert photos.groupby("label")["split"].nunique().eq(3).all() and photos["label"].nunique() >= 2
    assert not [path for path in folder.rglob("*") if path.name.endswith(".partial")]
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".in-use-")}
    assert visible == {"train", "val", "test", "index.json", ".photos"}
    order = list(zip(photos["split"].map(["train", "val", "test"].index), photos["label"], photos["path"], strict=True))
    assert order == sorted(order)
    written = pd.read_csv(source.home / "skipped.csv", keep_default_na=False)
    assert len(written) == len(prepared.skipped)


def test_the_table_and_the_tree(pile):
    prepared = run(pile)
    photos = prepared.photos
    assert_right(prepared, pile)
    assert list(photos.columns) == [*COLUMNS, "digest", "group"]
    assert photos["split"].value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}
    assert (photos["width"] == 96).all() and (photos["height"] == 72).all() and (photos["format"] == "JPEG").all()
    assert list(photos["group"]) == list(range(12))
    assert [(pile.folder / o).stat().st_size for o in photos["original"]] == list(photos["bytes"])
    assert photos["taken"].dtype.kind == "M" and photos["taken"].isna().all() and photos["camera"].isna().all()
    assert all(Image.open(path).size == (96, 72) and Image.open(path).format == "JPEG" for path in photos["path"])
    assert (prepared.found, prepared.read_now, len(prepared.skipped)) == (12, 12, 0)
    assert prepared.summary() == "12 files found: 12 photos used, 0 files skipped."


def test_what_cameras_write_reaches_the_table(pile, make_photo):
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "Apple", "2020:01:02 03:04:05"
    make_photo(pile.folder / "cat" / "phone.jpg", 50, exif=exif)
    for photos in (run(pile).photos, run(pile).photos):
        phone = photos[photos["original"] == "cat/phone.jpg"].iloc[0]
        assert (phone["taken"], phone["camera"]) == (pd.Timestamp("2020-01-02 03:04:05"), "Apple")
        assert photos["taken"].notna().sum() == 1


def test_keras_sees_the_same_files_classes_and_indices(tmp_path, make_photo):
    import tensorflow as tf
    from keras.utils import image_dataset_from_directory

    names = ["Zebra", "apple tree", "été", "é", "_under", "10", "9", "🐶", "a", "B", "con", "x-2"]
    for number in range(6 * len(names)):
        label = names[number % len(names)]
        make_photo(tmp_path / "photos" / label / f"it's {number} é🐱%.jpg", number, (32, 24))
    for junk in ("Zebra/.ipynb_checkpoints/a.jpg", "Zebra/._a.jpg", "__MACOSX/a/b.jpg", "empty/.DS_Store", "few/1.jpg"):
        make_photo(tmp_path / "photos" / junk, 999, (32, 24))
    source = Source("odd", tmp_path / "photos", tmp_path / "home")
    first = run(source, seed=1)
    for name in (".DS_Store", "._it.jpg", "Thumbs.db"):  # what looking at the folder leaves behind
        (Path(first.photos["path"][0]).parent / name).write_bytes(b"x")
    prepared = run(source, seed=2)
    assert_right(prepared, source)
    classes = sorted(prepared.photos["label"].unique())
    assert len(classes) == len(names)
    for split, photos in prepared.photos.groupby("split"):
        folder = str(prepared.folder / split)
        expected = {path: classes.index(label) for path, label in zip(photos["path"], photos["label"], strict=True)}
        read = image_dataset_from_directory(folder, shuffle=False, batch_size=99, image_size=(8, 8), verbose=False)
        assert read.class_names == classes
        labels = [int(label) for _, batch in read for label in batch]
        assert dict(zip(read.file_paths, labels, strict=True)) == expected
        flow = tf.keras.preprocessing.image.ImageDataGenerator().flow_from_directory(folder, shuffle=False)
        assert flow.class_indices == {label: index for index, label in enumerate(classes)}
        assert dict(zip(flow.filepaths, map(int, flow.classes), strict=True)) == expected


# Again


def test_the_second_time_nothing_is_read_and_nothing_changes(pile, monkeypatch, fingerprint):
    (pile.folder / "cat" / "broken.jpg").write_bytes(b"no photo")
    first = run(pile)
    before = {name: of for name, of in fingerprint(first.folder).items() if not name.startswith(".in-use")}
    monkeypatch.setattr(reading, "read_photo", lambda path: pytest.fail(f"{path} was read again"))
    second = run(pile)
    assert second.read_now == 0
    pd.testing.assert_frame_equal(second.photos, first.photos)
    pd.testing.assert_frame_equal(second.skipped, first.skipped)
    assert {n: of for n, of in fingerprint(second.folder).items() if not n.startswith(".in-use")} == before


def test_only_what_is_new_or_changed_is_read(pile, monkeypatch, make_photo):
    run(pile)
    make_photo(pile.folder / "cat" / "new.jpg", 100)
    make_photo(pile.folder / "dog" / "dog1.jpg", 101, (80, 72))
    os.utime(pile.folder / "dog" / "dog3.jpg", ns=(1, 1))
    (pile.folder / "cat" / "cat0.jpg").unlink()
    (pile.folder / "cat" / "cat2.jpg").write_bytes(b"broken now")
    read, read_photo = [], reading.read_photo
    monkeypatch.setattr(reading, "read_photo", lambda path: read.append(path.name) or read_photo(path))
    prepared = run(pile)
    assert sorted(read) == ["cat2.jpg", "dog1.jpg", "dog3.jpg", "new.jpg"]
    assert prepared.read_now == 4
    assert_right(prepared, pile)
    assert list(prepared.skipped["original"]) == ["cat/cat2.jpg"]
    assert prepared.photos.set_index("original").loc["dog/dog1.jpg", "width"] == 80
    fresh = run(Source("fresh", pile.folder, pile.home.with_name("fresh")))
    pd.testing.assert_frame_equal(fresh.photos.drop(columns="path"), prepared.photos.drop(columns="path"))


def test_a_class_that_is_gone_leaves_no_folder(pile, make_photo):
    for number in range(20, 26):
        make_photo(pile.folder / "hen" / f"{number}.jpg", number)
    run(pile)
    shutil.rmtree(pile.folder / "hen")
    prepared = run(pile)
    assert prepared.read_now == 0
    assert_right(prepared, pile)
    assert not list(prepared.folder.rglob("hen"))


def test_another_seed_moves_the_photos_and_keeps_them_whole(pile, fingerprint):
    def contents(prepared: Prepared) -> dict[str, str]:
        return {o: fingerprint(Path(p).parent)[Path(p).name][0] for o, p in zip(*facts(prepared), strict=True)}

    def facts(prepared: Prepared) -> tuple[pd.Series, pd.Series]:
        return prepared.photos["original"], prepared.photos["path"]

    first = run(pile, 1)
    kept = contents(first)
    other = run(pile, 2)
    assert_right(other, pile)
    assert other.read_now == 0
    assert contents(other) == kept
    assert set(other.photos["path"]) != set(first.photos["path"])
    pd.testing.assert_frame_equal(run(pile, 1).photos, first.photos)


def test_other_shares_are_cut_anew(pile):
    run(pile)
    prepared = prepare(pile, 0.35, 0.35, 42)
    assert_right(prepared, pile)
    assert prepared.photos["split"].value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}


def test_prepared_photos_that_were_deleted_or_cut_short_are_made_again(pile):
    first = run(pile)
    Path(first.photos["path"][0]).unlink()
    os.truncate(first.photos["path"][1], 100)
    next((first.folder / ".photos").glob("dog1-*")).unlink()
    second = run(pile)
    assert second.read_now == 2  # the first of them is still in the store
    assert_right(second, pile)
    pd.testing.assert_frame_equal(second.photos, first.photos)


def test_another_recipe_makes_every_photo_again_and_leaves_none_behind(pile, monkeypatch):
    run(pile)
    (pile.folder / "cat" / "cat0.jpg").unlink()
    monkeypatch.setattr(reading, "RECIPE", "another")
    prepared = run(pile)
    assert prepared.read_now == 11
    assert_right(prepared, pile)


def test_without_its_index_everything_is_made_again(pile):
    first = run(pile, 1)
    (first.folder / "index.json").unlink()
    prepared = run(pile, 2)
    assert prepared.read_now == 12
    assert_right(prepared, pile)


def test_a_broken_index_is_named_with_the_way_out(pile):
    first = run(pile)
    (first.folder / "index.json").write_text('{"recipe": ')
    with pytest.raises(ValueError, match=r"index\.json is not the JSON file .* Delete it"):
        run(pile)


def test_what_could_not_be_read_is_tried_again(pile, monkeypatch):
    read_photo = reading.read_photo

    def sometimes(path: Path):
        if path.name == "cat0.jpg":
            raise NotReadable("cannot be read (Permission denied)")
        if path.name == "cat2.jpg":
            raise NotAPhoto("damaged: the file is cut short")
        return read_photo(path)

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_photo", sometimes)
        first = run(pile)
    assert dict(first.skipped.itertuples(index=False)) == {
        "cat/cat0.jpg": "cannot be read (Permission denied)",
        "cat/cat2.jpg": "damaged: the file is cut short",
    }
    second = run(pile)
    assert second.read_now == 1
    assert "cat/cat0.jpg" in set(second.photos["original"])
    assert run(pile).read_now == 0


def test_a_file_that_goes_away_while_it_is_read_is_skipped_by_name(pile, monkeypatch):
    read_photo = reading.read_photo

    def late(path: Path):
        if path.name == "cat0.jpg":
            path.unlink()
        return read_photo(path)

    monkeypatch.setattr(reading, "read_photo", late)
    prepared = run(pile)
    assert dict(prepared.skipped.itertuples(index=False)) == {
        "cat/cat0.jpg": "cannot be read (No such file or directory)"
    }
    assert (prepared.found, len(prepared.photos)) == (12, 11)


def test_a_file_that_changes_while_it_is_read_is_read_again_next_time(pile, monkeypatch, make_photo):
    read_photo = reading.read_photo

    def changing(path: Path):
        photo = read_photo(path)
        if path.name == "cat0.jpg":
            make_photo(path, 77, (50, 40))
        return photo

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_photo", changing)
        run(pile)
    prepared = run(pile)
    assert prepared.read_now == 1
    assert prepared.photos.set_index("original").loc["cat/cat0.jpg", "width"] == 50


# Originals


_watched: list[tuple[Path, list[str]]] = []
_CALLS = ["mkdir", "remove", "rename", "rmdir", "chmod", "chown", "utime", "truncate", "link", "symlink"]
_WRITES = {f"os.{call}" for call in _CALLS}


def _watch(event: str, args: tuple) -> None:
    for folder, written in _watched:
        opened = args[2] if event == "open" and isinstance(args[2], int) else 0
        writes = event in _WRITES or opened & (os.O_WRONLY | os.O_RDWR)
        paths = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)] if writes else []
        written += [f"{event} {path}" for path in paths if Path(path).is_relative_to(folder)]


def test_originals_never_change_and_nothing_is_written_among_them(pile, fingerprint):
    (pile.folder / "cat" / "broken.jpg").write_bytes(b"no photo")
    before = fingerprint(pile.folder)
    written: list[str] = []
    sys.addaudithook(_watch)
    _watched.append((pile.folder, written))
    try:
        for seed in (1, 1, 2):
            run(pile, seed)
        assert not written
        (pile.folder / "cat" / "mine.txt").write_text("seen")
        assert written  # the watch works
        (pile.folder / "cat" / "mine.txt").unlink()
    finally:
        _watched.clear()
    assert fingerprint(pile.folder) == before


ODD = [
    "with space.jpg", "it's \"quoted\".jpg", "🐶🐱.jpg", "x" * 246 + ".jpg", "é" * 123 + ".jpg", "two\nlines.jpg",
    "-rf.jpg", "50%.jpg", "%s%d.jpg", "cafe\u0301.jpg", "café.jpg", "A.jpg", "a.jpg", "noextension", "back\\slash.jpg",
    "tab\t.jpg", "a:b*c?.jpg", "con.jpg", b"\xff.jpg", b"\xfe.jpg", "end .jpg ", "=cmd.jpg", "<script>.jpg",
]  # fmt: skip


def test_odd_names_are_used_like_any_other(tmp_path, make_photo):
    source = Source("odd", tmp_path / "photos", tmp_path / "home")
    for number, name in enumerate([*ODD, *ODD]):
        make_photo(source.folder / ("cat", "dog")[number % 2] / os.fsdecode(name), number)
    make_photo(source.folder / "dog" / os.fsdecode(b"broken \xff\n.jpg"), 1).write_bytes(b"no")
    prepared = run(source)
    assert (len(prepared.photos), len(prepared.skipped)) == (2 * len(ODD), 1)
    assert_right(prepared, source)
    for path in prepared.photos["path"]:
        name = Path(path).name
        assert name.endswith(".jpg") and len(name.encode()) < 80 and not set(name) & set('<>:"/\\|?*%\n\t')
    again = run(source)
    assert again.read_now == 0
    pd.testing.assert_frame_equal(again.photos, prepared.photos)
    written = pd.read_csv(source.home / "skipped.csv")
    assert written["original"][0] == "dog/broken \\udcff\n.jpg"


def test_equal_names_stay_two_photos(tmp_path, make_photo):
    source = Source("same", tmp_path / "photos", tmp_path / "home")
    names = ["a.jpg", "a.png", "sub/a.jpg", "sub/sub/a.jpg", "A.jpg", "a", "b/a.jpg"]
    for number, name in enumerate([f"{label}/{name}" for label in ("cat", "dog") for name in names]):
        make_photo(source.folder / name, number, format="PNG" if name.endswith("png") else "JPEG")
    prepared = run(source)
    assert len(prepared.photos) == 14
    assert_right(prepared, source)
    assert len({path.casefold() for path in prepared.photos["path"]}) == 14
    assert prepared.photos["digest"].nunique() == 14


def test_classes_that_differ_in_case_alone_stay_two(tmp_path, make_photo):
    source = Source("case", tmp_path / "photos", tmp_path / "home")
    for number in range(9):
        make_photo(source.folder / ("Cat", "cat", "CAT")[number % 3] / f"{number}.jpg", number)
    prepared = run(source)
    assert_right(prepared, source)
    assert sorted(prepared.photos["label"].unique()) == ["CAT", "Cat-2", "cat-3"]
    assert (prepared.photos["original"].str[:3] == prepared.photos["label"].str[:3]).all()


def test_classes_of_any_name_in_labels_csv(tmp_path, make_photo):
    source = Source("csv", tmp_path / "photos", tmp_path / "home")
    raw = ["con", "a/b", "../../up", "<script>alert(1)</script>", ".hidden", "x" * 300, "-rf", "NUL.txt", 'say "hi"']
    lines = ["id,breed"]
    for number in range(3 * len(raw)):
        make_photo(source.folder / "images" / f"{number}.jpg", number, (32, 24))
        lines.append(f'{number},"{raw[number % len(raw)]}"'.replace('say "hi"', 'say ""hi""'))
    (source.folder / "labels.csv").write_text("\n".join([*lines, "ghost,con"]))
    prepared = run(source)
    assert_right(prepared, source)
    assert prepared.photos["label"].nunique() == len(raw)
    assert {"_con", "a_b", "hidden", "_-rf", "_NUL.txt", "say _hi_"} <= set(prepared.photos["label"])
    assert all(path.parent.parent.parent == prepared.folder for path in map(Path, prepared.photos["path"]))
    assert prepared.unknown_ids == ["ghost"]
    assert "Names in labels.csv without a photo here: 1, ghost first." in prepared.summary()


# Splits and copies


def test_the_owners_split_is_kept_and_what_is_missing_cut_from_train(tmp_path, make_photo):
    source = Source("split", tmp_path / "photos", tmp_path / "home")
    for number in range(24):
        split = "training_set" if number < 16 else "test_set"
        make_photo(source.folder / split / split / ("cats", "dogs")[number % 2] / f"{number}.jpg", number)
    prepared = run(source)
    assert_right(prepared, source)
    from_test = prepared.photos["original"].str.startswith("test_set")
    assert (from_test == (prepared.photos["split"] == "test")).all()
    assert prepared.photos["split"].value_counts().to_dict() == {"train": 12, "test": 8, "val": 4}


def test_copies_stay_together_and_those_in_two_classes_in_train(pile, make_photo):
    for number, name in enumerate(["again.jpg", "smaller.png", "sub/cat0.jpg"]):
        make_photo(pile.folder / "cat" / name, 0, ((96, 72), (64, 48), (192, 144))[number], quality=60)
    make_photo(pile.folder / "dog" / "a cat.jpg", 2, quality=50)
    shutil.copy(pile.folder / "dog" / "dog1.jpg", pile.folder / "dog" / "copy of dog1.jpg")
    for seed in range(6):
        photos = run(pile, seed).photos.set_index("original")
        copies = ["cat/cat0.jpg", "cat/again.jpg", "cat/smaller.png", "cat/sub/cat0.jpg"]
        assert photos.loc[copies, "group"].nunique() == 1
        assert photos.groupby("group")["split"].nunique().max() == 1
        assert set(photos.loc[["dog/a cat.jpg", "cat/cat2.jpg"], "split"]) == {"train"}
        assert photos["group"].nunique() == 12


def test_the_order_in_which_the_disk_lists_files_does_not_matter(pile, monkeypatch):
    first = run(pile)
    shutil.rmtree(pile.home)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": _Reversed(scandir(path)))
    pd.testing.assert_frame_equal(run(pile).photos, first.photos)


class _Reversed:
    """What os.scandir gives, from behind."""

    def __init__(self, entries) -> None:
        self.entries = entries

    def __iter__(self):
        return iter(list(self.entries)[::-1])

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.entries.close()


# Too few


def test_a_class_too_small_is_left_out_by_name_with_the_number_it_needs(pile, make_photo):
    for number in (20, 21):
        make_photo(pile.folder / "hen" / f"{number}.jpg", number)
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        make_photo(pile.folder / "twin" / name, 30)
    (pile.folder / "broken").mkdir()
    (pile.folder / "broken" / "1.jpg").write_bytes(b"no photo")
    (pile.folder / "empty").mkdir()
    prepared = run(pile)
    assert_right(prepared, pile)
    needs = "it needs at least 3 different ones to stand in train, val and test"
    assert prepared.left_out == {
        "broken": "has no photo that can be read",
        "empty": "has no photo at all",
        "hen": f"has 2 photos; {needs}",
        "twin": f"has 3 photos, 1 of them different; {needs}",
    }
    reasons = dict(prepared.skipped.itertuples(index=False))
    assert reasons["hen/20.jpg"] == f"class left out: hen has 2 photos; {needs}"
    assert reasons["broken/1.jpg"] == "not a picture (text)"
    assert (
        "4 classes left out: broken (has no photo that can be read); empty (has no photo at all); hen (has 2"
        in prepared.summary()
    )

    for number in (22, 23):
        make_photo(pile.folder / "hen" / f"{number}.jpg", number)
    grown = run(pile)
    assert grown.read_now == 2
    assert_right(grown, pile)
    assert (grown.photos["label"] == "hen").sum() == 4

    for number in (21, 22, 23):
        (pile.folder / "hen" / f"{number}.jpg").unlink()
    assert_right(run(pile), pile)


def test_a_class_missing_from_one_of_the_owners_splits_is_left_out_by_name(tmp_path, make_photo):
    source = Source("split", tmp_path / "photos", tmp_path / "home")
    for number in range(27):
        split = ("train", "val", "test")[number % 3]
        make_photo(source.folder / split / ("cat", "dog", "hen")[number // 9] / f"{number}.jpg", number)
    shutil.rmtree(source.folder / "val" / "hen")
    prepared = run(source)
    assert_right(prepared, source)
    assert prepared.left_out == {"hen": "has no photo in val; it needs at least one in each"}


def test_fewer_than_two_classes_stop_with_the_counts_and_the_reasons(pile, make_photo):
    shutil.rmtree(pile.folder / "dog")
    make_photo(pile.folder / "hen" / "1.jpg", 20)
    for number in range(3):
        (pile.folder / "hen" / f"broken{number}.jpg").write_bytes(b"")
    (pile.folder / "ant").mkdir()
    (pile.folder / "ant" / "page.jpg").write_bytes(b"<html>")
    with pytest.raises(ValueError) as caught:
        run(pile)
    message = str(caught.value)
    assert f"At least two classes with enough photos are needed in {pile.folder}." in message
    assert (
        "Classes found: ant: has no photo that can be read; cat: 6 photos, enough; hen: has 1 photo; it needs"
        in message
    )
    assert "3 × the file is empty (0 bytes)" in message and "1 × not a picture (a web page)" in message
    assert str(pile.home / "skipped.csv") in message and "one folder a class" in message
    skipped = pd.read_csv(pile.home / "skipped.csv")
    assert sorted(skipped["original"]) == ["ant/page.jpg", "hen/1.jpg", *(f"hen/broken{n}.jpg" for n in range(3))]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "Classes found: none."),
        (["a.jpg", "b.jpg"], "2 × in no class folder"),
        (["cat/a.jpg", "cat/b.jpg", "cat/c.jpg"], "Classes found: cat: 3 photos, enough."),
        (["train/a.jpg", "test/b.jpg"], "2 × in a split folder that has no class folders"),
        ([".cat/a.jpg", ".dog/b.jpg"], "2 × hidden file or folder"),
    ],
)
def test_folders_without_two_classes_stop_with_the_reason(tmp_path, make_photo, names, why):
    source = Source("few", tmp_path / "photos", tmp_path / "home")
    source.folder.mkdir()
    for number, name in enumerate(names):
        make_photo(source.folder / name, number)
    with pytest.raises(ValueError) as caught:
        run(source)
    assert why in str(caught.value)
    assert "labels.csv" in str(caught.value)


def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"1 × folder cannot be read \(No such file or directory\)"):
        run(Source("gone", tmp_path / "gone", tmp_path / "home"))


# What others put into the prepared tree


@pytest.mark.parametrize("name", ["train/cat/photo-20240101.jpg", "train/cat/mine.jpg", "notes.txt", "train/hen/1.png"])
def test_a_foreign_file_in_the_prepared_tree_is_named_and_kept(pile, name):
    first = run(pile)
    foreign = first.folder / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_bytes(b"mine")
    for seed in (42, 1):
        with pytest.raises(ValueError, match="was not put there by this notebook") as caught:
            run(pile, seed)
        assert str(foreign) in str(caught.value) and "move the file" in str(caught.value)
    assert foreign.read_bytes() == b"mine"
    foreign.unlink()
    again = run(pile)
    assert again.read_now == 0
    assert_right(again, pile)
    pd.testing.assert_frame_equal(again.photos, first.photos)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._cat0.jpg", ".ipynb_checkpoints/a.jpg"])
def test_what_the_system_leaves_in_the_prepared_tree_is_taken_out(pile, name):
    first = run(pile)
    for folder in ("train/cat", "gone"):
        (first.folder / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (first.folder / folder / name).write_bytes(b"x")
    again = run(pile)
    assert_right(again, pile)
    assert not (first.folder / "gone").exists()


# Interruptions


def test_a_full_disk_names_the_folder_and_is_made_good_later(pile, monkeypatch, full_disk, fingerprint):
    before = fingerprint(pile.folder)
    with monkeypatch.context():
        full_disk(pile.home, after=5)
        with pytest.raises(OSError, match="No space left on device") as caught:
            run(pile)
    assert str(pile.home) in str(caught.value) and caught.value.errno == 28
    assert not [p for p in pile.home.rglob("*") if p.name.endswith(".partial")]
    monkeypatch.undo()
    prepared = run(pile)
    assert prepared.read_now < 12
    assert_right(prepared, pile)
    assert fingerprint(pile.folder) == before


def test_stopping_the_cell_keeps_what_was_done(pile, monkeypatch):
    def stopped(items):
        for number, item in enumerate(items):
            if number == 7:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patched:
        patched.setattr(reading, "progress", lambda what, total, items: stopped(items))
        with pytest.raises(KeyboardInterrupt):
            run(pile)
    prepared = run(pile)
    assert prepared.read_now <= 5
    assert_right(prepared, pile)


def test_a_photo_removed_after_a_kill_among_the_moves_leaves_nothing(pile, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(placing, "_tidy", killed)
        with pytest.raises(KeyboardInterrupt):
            run(pile)
    (pile.folder / "cat" / "cat0.jpg").unlink()
    prepared = run(pile)
    assert_right(prepared, pile)


def test_warnings_of_pillow_stay_inside_and_those_of_others_as_they_were(pile, make_photo):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0" * 9
    make_photo(pile.folder / "cat" / "odd.jpg", 40, exif=exif)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        prepared = run(pile)
        assert list(warnings.filters) == before
    assert not [warning for warning in heard if "PIL" in warning.filename]
    assert "cat/odd.jpg" in set(prepared.photos["original"])


# Any pile at all


FOLDERS = ["cat", "dog", "hen/deep", "train/cat", "train/dog", "test/cat", "test/dog", ".hidden", "__MACOSX/x", "."]
CONTENTS = ["photo"] * 4 + ["text", "empty", "cut"]
entries = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(CONTENTS), st.integers(0, 15))


@settings(max_examples=25)
@given(st.lists(entries, max_size=30), st.booleans(), st.integers(0, 3))
def test_any_pile_is_accounted_for_or_told(tmp_path_factory, make_photo, pile_entries, labelled, seed):
    base = tmp_path_factory.mktemp("any")
    source = Source("any", base / "photos", base / "home")
    source.folder.mkdir()
    for place, (folder, content, photo) in enumerate(pile_entries):
        path = make_photo(source.folder / folder / f"{place}.jpg", photo, (24, 20))
        if content != "photo":
            path.write_bytes({"text": b"text", "empty": b"", "cut": path.read_bytes()[:-200]}[content])
    if labelled:
        lines = [f"{place},{'ab'[place % 2]}" for place in range(len(pile_entries)) if place % 5]
        (source.folder / "labels.csv").write_text("\n".join(["id,label", *lines]))
    try:
        prepared = run(source, seed)
    except ValueError as error:
        assert "At least two classes" in str(error)
        skipped = list(pd.read_csv(source.home / "skipped.csv")["original"])
        assert max(Counter(skipped).values(), default=0) <= 1
        assert set(skipped) <= set(below(source.folder))
    else:
        assert_right(prepared, source)
        assert run(source, seed).photos.equals(prepared.photos)
