"""Every file of a folder is listed once, with the class and the split that its owner gave it."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phototransfer.photos.layout import UnclearFolder
from phototransfer.photos.layout.class_names import label_folders
from phototransfer.photos.scan import Scan, scan_folder

NAMED = {"train": ["train", "Training", "training_set", "TRAIN_SET"], "test": ["test", "testing", "Test_Set"]}
NAMED["val"] = ["val", "valid", "validation", "val_set", "validation_set"]


def tree(folder: Path, *names: str | bytes) -> Path:
    """Files of these names, with something in them, below the folder."""
    for name in names:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def labels(scan: Scan) -> dict[str, tuple[str, str | None]]:
    """Return original → (label, split)."""
    photos = scan.photos
    splits = photos["split"].astype(object).where(photos["split"].notna(), None)
    return dict(zip(photos["original"], zip(photos["raw_label"], splits, strict=True), strict=True))


def skipped(scan: Scan) -> dict[str, str]:
    return dict(zip(scan.skipped["original"], scan.skipped["reason"], strict=True))


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def accounted(scan: Scan) -> list[str]:
    return sorted([*scan.photos["original"], *scan.skipped["original"]])


# Class folders


def test_class_folders(tmp_path):
    tree(tmp_path, "cat/a.jpg", "cat/deep/er/b.png", "dog/a.jpg", "readme.txt")
    scan = scan_folder(tmp_path)
    names = {"cat/a.jpg": "cat", "cat/deep/er/b.png": "cat", "dog/a.jpg": "dog"}
    assert labels(scan) == {name: (label, None) for name, label in names.items()}
    assert skipped(scan) == {"readme.txt": "in no class folder"}
    assert scan.unmatched == []


@pytest.mark.parametrize("wrapper", ["pets", "pets/pets", "a b/c"])
@pytest.mark.parametrize("beside", [[], ["readme[1].txt", "LICENSE"]])
def test_folders_that_only_wrap_are_stepped_into(tmp_path, wrapper, beside):
    tree(tmp_path, f"{wrapper}/cat/a.jpg", f"{wrapper}/dog/b.jpg", "__MACOSX/x/y/._a.jpg", *beside)
    scan = scan_folder(tmp_path)
    assert labels(scan) == {f"{wrapper}/cat/a.jpg": ("cat", None), f"{wrapper}/dog/b.jpg": ("dog", None)}
    assert set(skipped(scan)) == {"__MACOSX/x/y/._a.jpg", *beside}


def test_no_folder_an_empty_one_and_one_class(tmp_path):
    assert accounted(scan_folder(tmp_path)) == []
    assert skipped(scan_folder(tmp_path / "nowhere")) == {".": "folder cannot be read (No such file or directory)"}
    assert labels(scan_folder(tree(tmp_path, "cat/a.jpg"))) == {"cat/a.jpg": ("cat", None)}


def test_split_folders_without_classes_are_no_classes(tmp_path):
    tree(tmp_path, "train/1.jpg", "test/2.jpg", "README")
    scan = scan_folder(tmp_path)
    assert labels(scan) == {}
    assert set(skipped(scan).values()) == {"without a class", "in no class folder"}


def test_classes_may_be_called_like_splits_where_others_are_not(tmp_path):
    tree(tmp_path, "valid/1.jpg", "invalid/2.jpg")
    assert labels(scan_folder(tmp_path)) == {"valid/1.jpg": ("valid", None), "invalid/2.jpg": ("invalid", None)}


def test_a_class_is_the_same_in_each_form_of_unicode(tmp_path):
    tree(tmp_path, "train/caf\u00e9/1.jpg", "test/cafe\u0301/2.jpg")
    assert set(labels(scan_folder(tmp_path)).values()) == {("caf\u00e9", "train"), ("caf\u00e9", "test")}


# Split folders


@pytest.mark.parametrize("train", NAMED["train"])
@pytest.mark.parametrize("val", [*NAMED["val"], None])
@pytest.mark.parametrize("test", [*NAMED["test"], None])
def test_split_folders_under_each_usual_name(tmp_path, train, val, test):
    folders = {train: "train", val: "val", test: "test"}
    folders.pop(None, None)
    tree(tmp_path, *(f"{folder}/{kind}/1.jpg" for folder in folders for kind in ("cat", "dog")))
    if len(folders) == 1:  # the name means nothing then: val and test are taken from it
        folders[train] = None
    assert labels(scan_folder(tmp_path)) == {
        f"{folder}/{kind}/1.jpg": (kind, split) for folder, split in folders.items() for kind in ("cat", "dog")
    }


def test_a_folder_doubled_by_its_archive(tmp_path):
    tree(
        tmp_path,
        "dataset/training_set/training_set/cats/cat.1.jpg",
        "dataset/training_set/training_set/dogs/dog.1.jpg",
        "dataset/training_set/notes.txt",
        "dataset/test_set/test_set/cats/cat.2.jpg",
        "dataset/test_set/test_set/_DS_Store",
    )
    scan = scan_folder(tmp_path)
    assert labels(scan) == {
        "dataset/training_set/training_set/cats/cat.1.jpg": ("cats", "train"),
        "dataset/training_set/training_set/dogs/dog.1.jpg": ("dogs", "train"),
        "dataset/test_set/test_set/cats/cat.2.jpg": ("cats", "test"),
    }
    assert set(skipped(scan).values()) == {"in no class folder"}


def test_files_outside_split_folders_are_skipped(tmp_path):
    tree(tmp_path, "train/cat/deep/x/1.jpg", "train/loose.jpg", "test/2.jpg", "extra/cat/3.jpg", "notes.txt")
    scan = scan_folder(tmp_path)
    assert labels(scan) == {"train/cat/deep/x/1.jpg": ("cat", "train")}
    assert skipped(scan) == {
        "train/loose.jpg": "in no class folder",
        "test/2.jpg": "without a class",
        "extra/cat/3.jpg": "not in a split folder (train)",
        "notes.txt": "not in a split folder (train)",
    }


# Files that are not read


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cat/.DS_Store", "hidden file or folder"),
        ("cat/._1.jpg", "hidden file or folder"),
        (".git/objects/1.jpg", "hidden file or folder"),
        ("cat/.ipynb_checkpoints/1-checkpoint.jpg", "hidden file or folder"),
        ("__MACOSX/cat/1.jpg", "hidden file or folder"),
        ("cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "hidden file or folder"),
        ("cat/Thumbs.db", "a file of the operating system"),
        ("Desktop.ini", "a file of the operating system"),
    ],
)
def test_hidden_and_system_files_are_skipped(tmp_path, name, reason):
    scan = scan_folder(tree(tmp_path, "cat/1.jpg", "dog/1.jpg", name))
    assert labels(scan) == {"cat/1.jpg": ("cat", None), "dog/1.jpg": ("dog", None)}
    assert skipped(scan) == {name: reason}


def test_links(tmp_path):
    outside = tree(tmp_path / "outside", "o.jpg")
    folder = tree(tmp_path / "in", "cat/1.jpg", "dog/2.jpg")
    (folder / "cat" / "linked.jpg").symlink_to(folder / "cat" / "1.jpg")
    (folder / "cat" / "more").symlink_to(outside)
    (folder / "dog" / "circle").symlink_to(folder)
    (folder / "dog" / "self").symlink_to("self")
    (folder / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    scan = scan_folder(folder)
    assert set(labels(scan)) == {"cat/1.jpg", "cat/linked.jpg", "cat/more/o.jpg", "dog/2.jpg"}
    reasons = skipped(scan)
    assert reasons.pop("dog/circle") == "a link to a folder that contains it"
    assert set(reasons) == {"dog/self", "dog/gone.jpg"}
    assert all("cannot be read" in reason for reason in reasons.values())


def test_links_from_folder_to_folder_end(tmp_path):
    folder = tree(tmp_path, "cat/1.jpg", "dog/2.jpg")
    (folder / "cat" / "friends").symlink_to(folder / "dog")
    (folder / "dog" / "friends").symlink_to(folder / "cat")
    scan = scan_folder(folder)
    assert set(labels(scan)) == {"cat/1.jpg", "cat/friends/2.jpg", "dog/2.jpg", "dog/friends/1.jpg"}
    assert set(skipped(scan)) == {"cat/friends/friends", "dog/friends/friends"}


def test_a_pipe_is_never_opened(tmp_path):
    folder = tree(tmp_path, "cat/1.jpg", "dog/2.jpg")
    os.mkfifo(folder / "cat" / "pipe.jpg")  # opening it would wait for ever
    assert skipped(scan_folder(folder)) == {"cat/pipe.jpg": "not a regular file"}


def test_an_unreadable_folder_is_skipped_by_name(tmp_path, monkeypatch):
    folder = tree(tmp_path, "cat/1.jpg", "dog/2.jpg", "dog/private/3.jpg")
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    scan = scan_folder(folder)
    assert set(labels(scan)) == {"cat/1.jpg", "dog/2.jpg"}
    assert skipped(scan) == {"dog/private": "folder cannot be read (Permission denied)"}


def test_folders_below_a_hundred_others_are_skipped(tmp_path):
    deep = "cat" + "/d" * 150
    folder = tree(tmp_path, "cat/1.jpg", "dog/2.jpg")
    here = os.open(folder, os.O_RDONLY)
    for part in deep.split("/"):
        if part == "d":
            os.mkdir(part, dir_fd=here)
        here, above = os.open(part, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    scan = scan_folder(folder)
    assert set(labels(scan)) == {"cat/1.jpg", "dog/2.jpg"}
    assert list(skipped(scan).values()) == ["a folder more than 100 folders deep"]


def test_entries_to_ignore_are_ignored_only_at_the_top(tmp_path):
    tree(tmp_path, "cat/prepared/1.jpg", "dog/2.jpg", "prepared/train/cat/x.jpg", "skipped.csv")
    scan = scan_folder(tmp_path, ignore=("prepared", "skipped.csv"))
    assert accounted(scan) == ["cat/prepared/1.jpg", "dog/2.jpg"]


ODD = [
    "with space.jpg", "it's \"quoted\".jpg", "🐶🐱.jpg", "x" * 246 + ".jpg", "two\nlines.jpg", "-rf.jpg", "50%.jpg",
    "cafe\u0301.jpg", "A.jpg", "a.jpg", "noextension", "back\\slash.jpg", b"\xff\xfe.jpg", "tab\t.jpg", "a:b*c?.jpg",
]  # fmt: skip


def test_unusual_names(tmp_path):
    tree(tmp_path, *(f"cat/{os.fsdecode(name)}" for name in ODD), "dog/1.jpg")
    scan = scan_folder(tmp_path)
    assert set(labels(scan)) == {"dog/1.jpg", *(f"cat/{os.fsdecode(name)}" for name in ODD)}
    assert len(scan.skipped) == 0


def test_the_order_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    tree(tmp_path, *(f"{kind}/{number}.jpg" for kind in ("cat", "dog") for number in range(20)))
    as_read = scan_folder(tmp_path).photos
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: reversed(list(scandir(path))))
    assert scan_folder(tmp_path).photos.equals(as_read)


PARTS = "cat dog train training_set val test .hidden __MACOSX a B 1.jpg ._1.jpg Thumbs.db labels.csv é.png 'x'.gif"
parts = st.sampled_from(PARTS.split())


@given(
    st.lists(st.lists(parts, min_size=1, max_size=5), max_size=12), st.sampled_from([b"id,c\n1,cat\n", b"1;2", b"x,"])
)
@example([["train", "cat", "1.jpg"], ["train", "labels.csv"]], b"id,c\n1,cat\n")
def test_any_tree_is_accounted_for(tmp_path_factory, paths, csv):
    folder = tmp_path_factory.mktemp("tree")
    for path in paths:
        try:
            tree(folder, "/".join(path))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
        if path[-1] == "labels.csv":
            (folder / "/".join(path)).write_bytes(csv)
    try:
        scan = scan_folder(folder)
    except UnclearFolder as question:
        assert str(folder) in str(question)
        return
    assert accounted(scan) == files_below(folder)
    assert all(label for label, _ in labels(scan).values())
    assert all(skipped(scan).values())


# The reading


def test_the_reading_names_the_shape_the_splits_and_the_classes(tmp_path):
    layout = scan_folder(tree(tmp_path / "a", "pets/cat/1.jpg", "pets/dog/2.jpg")).layout
    assert layout.shape == "class folders" and layout.classes == ["cat", "dog"]
    assert layout.example == ("pets/cat/1.jpg", "cat") and "pets/cat/1.jpg is cat" in layout.summary()
    layout = scan_folder(tree(tmp_path / "b", "Training/cat/1.jpg", "testing/cat/2.jpg")).layout
    assert layout.splits == {"Training": "train", "testing": "test"}
    assert "Training = train" in layout.summary() and "val" in layout.summary()
    assert "No photo" in scan_folder(tmp_path / "e").layout.summary()


def test_the_summary_does_not_grow_with_the_number_of_photos_and_classes(tmp_path):
    few = scan_folder(tree(tmp_path / "few", *(f"{kind:03d}/1.jpg" for kind in range(20)))).layout.summary()
    many = scan_folder(tree(tmp_path / "many", *(f"{kind:03d}/{n}.jpg" for kind in range(200) for n in range(5))))
    assert len(many.layout.summary()) < len(few) + 20


def test_empty_class_folders(tmp_path):
    tree(tmp_path, "train/cat/1.jpg", "train/dog/.hidden", "val/cat/2.jpg")
    (tmp_path / "val" / "cafe\u0301").mkdir()
    assert scan_folder(tmp_path).empty_classes == ["caf\u00e9", "dog"]


# Names of class folders


def test_class_folders_are_distinct_on_every_file_system():
    raw = ["Cat", "cat", "CAT", "a/b", "a:b", "a_b", "CON", "con", ".hidden", "hidden", "dog", "dog ", "é", "e\u0301"]
    raw += ["cat-2", "", "..", "ß", "SS", "x" * 300, "x" * 301, os.fsdecode(b"\xff"), os.fsdecode(b"\xfe")]
    names = label_folders(raw)
    assert set(names) == set(raw)
    assert len({name.casefold() for name in names.values()}) == len(raw)
    assert all("/" not in name and not name.startswith(".") and len(name.encode()) < 120 for name in names.values())
    assert names["dog"] == "dog"
    assert label_folders(reversed(raw)) == names


@given(st.lists(st.text(min_size=1, max_size=12), max_size=20))
def test_any_labels_get_distinct_folders(raw):
    names = label_folders(raw)
    assert len({name.casefold() for name in names.values()}) == len(set(raw))
