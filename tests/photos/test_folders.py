"""Folders in the shapes that people keep photos in: read as meant, or a question."""

from pathlib import Path

import pytest
from PIL import Image

from phototransfer.photos.layout import UnclearFolder
from phototransfer.photos.scan import Scan, scan_folder

KINDS = ("cat", "dog")


def tree(folder: Path, *names: str, photos: int = 3) -> Path:
    """In each folder of these names some photos, 1.jpg, 2.jpg, …; each file has other bytes and another size.

    A name with a dot in its last part is one file.
    """
    number = len(list(folder.rglob("*")))
    for name in names:
        files = [name] if "." in name.rsplit("/", 1)[-1] else [f"{name}/{count + 1}.jpg" for count in range(photos)]
        for file in files:
            number += 1
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * number)
    return folder


def found(scan: Scan) -> dict[str, set[tuple[str, str | None]]]:
    """Return folder → the classes and splits of the photos in it."""
    splits = scan.photos["split"].astype(object).where(scan.photos["split"].notna(), None)
    result: dict[str, set[tuple[str, str | None]]] = {}
    for original, label, split in zip(scan.photos["original"], scan.photos["raw_label"], splits, strict=True):
        result.setdefault(str(Path(original).parent), set()).add((label, split))
    return result


def left_out(scan: Scan) -> set[str]:
    return {str(Path(original).parent) for original in scan.skipped["original"]}


# Split folders


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("seg_train", "seg_val", "seg_test"),
        ("train_images", "dev_images", "test_images"),
        ("TrainData", "ValData", "TestData"),
        ("TRAINING", "Validation-Set", "HOLDOUT"),
        ("trainset", "valid", "hold-out"),
        ("01_train", "02_val", "03_test"),
        ("pets train", "pets dev", "pets test"),
        ("train1", "valid1", "test1"),
        ("DATA.train", "DATA.eval", "DATA.test"),
    ],
)
@pytest.mark.parametrize("wrapped", ["{0}", "{0}/{0}", "{0}/images"])
def test_split_words_in_names_of_folders(tmp_path, train, val, test, wrapped):
    folders = {wrapped.format(name): split for name, split in ((train, "train"), (val, "val"), (test, "test"))}
    tree(tmp_path, *(f"{folder}/{kind}" for folder in folders for kind in ("cat", "dog")))
    expected = {f"{folder}/{kind}": {(kind, split)} for folder, split in folders.items() for kind in ("cat", "dog")}
    assert found(scan_folder(tmp_path)) == expected


@pytest.mark.parametrize("name", ["{kind}_{split}", "{split}-{kind}", "{split}_{kind}_images"])
def test_class_and_split_in_one_name(tmp_path, name):
    names = {name.format(kind=k, split=s): (k, s) for k in ("cloud", "noncloud") for s in ("train", "test")}
    assert found(scan_folder(tree(tmp_path, *names))) == {folder: {pair} for folder, pair in names.items()}


def test_evaluation_is_the_test_split_beside_a_validation_split(tmp_path):
    places = {"training": "train", "validation": "val", "evaluation": "test"}
    scan = scan_folder(tree(tmp_path, *(f"{place}/{kind}" for place in places for kind in ("cat", "dog"))))
    assert found(scan)["evaluation/cat"] == {("cat", "test")} and found(scan)["validation/dog"] == {("dog", "val")}


def test_splits_inside_each_class(tmp_path):
    tree(tmp_path, *(f"{kind}/{split}" for kind in ("cat", "dog") for split in ("Train", "test_images")))
    scan = scan_folder(tmp_path)
    assert found(scan)["cat/Train"] == {("cat", "train")} and found(scan)["dog/test_images"] == {("dog", "test")}


def test_splits_inside_several_sites(tmp_path):
    places = [f"{site}/{split}" for site in ("paris", "rome") for split in ("train", "test")]
    tree(tmp_path, *(f"{place}/{kind}" for place in places for kind in ("cat", "dog")))
    scan = scan_folder(tmp_path)
    assert set.union(*found(scan).values()) == {(kind, split) for kind in ("cat", "dog") for split in ("train", "test")}


def test_class_folders_beside_a_test_folder_are_training_photos(tmp_path):
    scan = scan_folder(tree(tmp_path, "cat", "dog", "test/cat", "test/dog"))
    assert found(scan) == {"cat": {("cat", "train")}, "dog": {("dog", "train")}} | {
        "test/cat": {("cat", "test")},
        "test/dog": {("dog", "test")},
    }


@pytest.mark.parametrize("other", ["rps-test-set/rps-test-set", "validation-rps", "rps_test"])
def test_photos_beside_a_test_folder_with_the_same_classes_are_training_photos(tmp_path, other):
    scan = scan_folder(tree(tmp_path, *(f"{place}/{kind}" for place in ("rps/rps", other) for kind in KINDS)))
    assert found(scan)["rps/rps/cat"] == {("cat", "train")}
    assert found(scan)[f"{other}/dog"] == {("dog", "val" if "val" in other else "test")}


def test_a_table_for_the_split_that_has_no_class_folders(tmp_path):
    tree(tmp_path, "train/cat/images", "train/dog/images", "val/images", "test/images")
    lines = [f"{n}.jpg\t{KINDS[n % 2]}\t0\t{n}\t62\t60" for n in range(1, 4)]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    scan = scan_folder(tmp_path)
    assert found(scan)["train/cat/images"] == {("cat", "train")}
    assert found(scan)["val/images"] == {("cat", "val"), ("dog", "val")}
    assert left_out(scan) == {"test/images", "val"} and scan.layout.without_class == ["test"]


@pytest.mark.parametrize(
    "unlabelled", ["test1", "seg_pred/seg_pred", "test/unknown", "test/images", "predict", "unlabeled", "test/test"]
)
def test_photos_without_a_class_are_left_out_by_name(tmp_path, unlabelled):
    scan = scan_folder(tree(tmp_path, "train/cat", "train/dog", unlabelled))
    assert set(found(scan)) == {"train/cat", "train/dog"}
    assert left_out(scan) == {unlabelled}
    assert scan.layout.without_class == [unlabelled.split("/")[0]]


@pytest.mark.parametrize("unlabelled", ["test", "test1", "unlabelled", "to_predict"])
def test_photos_without_a_class_beside_class_folders(tmp_path, unlabelled):
    scan = scan_folder(tree(tmp_path, "cat", "dog", unlabelled))
    assert set(found(scan)) == {"cat", "dog"} and left_out(scan) == {unlabelled}


@pytest.mark.parametrize(
    "classes", [("train", "bus", "car"), ("valid", "invalid"), ("tested", "untested"), ("test tube", "beaker", "flask")]
)
def test_classes_with_a_split_word_in_their_name(tmp_path, classes):
    assert found(scan_folder(tree(tmp_path, *classes))) == {name: {(name, None)} for name in classes}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "images"),  # photos without classes, or two classes?
        ("test", "control"),
        ("val/cat", "val/dog", "test/cat", "test/dog"),  # nothing to train on
        ("paris/cat", "paris/dog", "rome/cat", "rome/dog"),  # cities or animals?
        ("2019/cat", "2019/dog", "2020/cat", "2020/dog"),
        ("cat", "dog", "more/cat", "more/dog"),
        ("part_1", "part_2"),
        ("images", "labels"),
    ],
)
def test_what_can_be_read_in_two_ways_is_asked(tmp_path, names):
    with pytest.raises(UnclearFolder) as caught:
        scan_folder(tree(tmp_path, *names))
    assert "LABELS" in str(caught.value) or "Rename" in str(caught.value) or "Move" in str(caught.value)
    assert names[0].split("/")[0] in str(caught.value) or names[-1].split("/")[0] in str(caught.value)


def test_the_answer_to_the_question(tmp_path):
    tree(tmp_path, "paris/cat", "paris/dog", "rome/cat", "rome/dog")
    assert found(scan_folder(tmp_path, labels="folder 1"))["paris/cat"] == {("paris", None)}
    assert found(scan_folder(tmp_path, labels="folder 2"))["paris/cat"] == {("cat", None)}


def test_train_beside_test_are_never_classes(tmp_path):
    scan = scan_folder(tree(tmp_path, "train", "test1"))
    assert found(scan) == {} and left_out(scan) == {"train", "test1"}


# Parts, versions and copies


@pytest.mark.parametrize("part", ["fold_{}", "Fold{}", "part-{}", "batch {}", "cv{}", "set{}"])
def test_parts_with_the_same_classes_are_one_set(tmp_path, part):
    parts = [part.format(number) for number in range(1, 6)]
    scan = scan_folder(tree(tmp_path, *(f"{name}/{kind}" for name in parts for kind in ("cat", "dog"))))
    assert set.union(*found(scan).values()) == {("cat", None), ("dog", None)}
    assert len(scan.photos) == 30


@pytest.mark.parametrize(
    ("used", "others"),
    [
        ("color", ["grayscale", "segmented"]),
        ("Original Images", ["Augmented Images"]),
        ("raw", ["resized"]),
        ("pets", ["pets - copy"]),
    ],
)
def test_other_versions_of_the_photos_are_left_out(tmp_path, used, others):
    scan = scan_folder(tree(tmp_path, *(f"{name}/{kind}" for name in [used, *others] for kind in ("cat", "dog"))))
    assert found(scan) == {f"{used}/cat": {("cat", None)}, f"{used}/dog": {("dog", None)}}
    assert left_out(scan) == {f"{name}/{kind}" for name in others for kind in ("cat", "dog")}


@pytest.mark.parametrize("inner", ["PlantVillage", "backup/old"])
@pytest.mark.parametrize("classes", [("cat", "dog"), ("train/cat", "train/dog", "test/cat", "test/dog")])
def test_a_copy_of_the_set_inside_itself_is_left_out(tmp_path, inner, classes):
    tree(tmp_path, *classes)
    before = scan_folder(tmp_path).photos
    for file in list(tmp_path.rglob("*.jpg")):
        copy = tmp_path / inner / file.relative_to(tmp_path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    scan = scan_folder(tmp_path)
    assert scan.photos.equals(before)
    assert all(folder.startswith(inner) for folder in left_out(scan)) and len(scan.skipped) == len(before)


@pytest.mark.parametrize("inside", ["images", "2019", "left", "deep/er"])
def test_folders_inside_class_folders_that_are_no_classes(tmp_path, inside):
    scan = scan_folder(tree(tmp_path, f"cat/{inside}", f"dog/{inside}"))
    assert set.union(*found(scan).values()) == {("cat", None), ("dog", None)}


def test_sides_inside_class_folders_are_no_classes(tmp_path):
    scan = scan_folder(tree(tmp_path, "ill/left", "ill/right", "well/left", "well/right"))
    assert set.union(*found(scan).values()) == {("ill", None), ("well", None)}


# Masks


def photo_and_mask(photo: Path, mask: Path, number: int) -> None:
    picture = Image.effect_noise((64, 48), 60 + number)
    photo.parent.mkdir(parents=True, exist_ok=True)
    picture.save(photo)
    mask.parent.mkdir(parents=True, exist_ok=True)
    shape = Image.new("L", picture.size)
    shape.paste(255, (number, 5, 40, 30 + number))
    shape.save(mask)


@pytest.mark.parametrize(
    "name",
    [
        "{kind}/masks/{number}.png",
        "{kind}/Ground Truth/{number}_mask.jpg",
        "{kind}/{number}_mask.png",
        "{kind}/{number}-segmentation.png",
        "masks/{kind}/{number}.png",
        "annotations/{kind}/{number}.png",
        "unusual_name/{kind}/{number}.png",
    ],
)
def test_masks_are_left_out(tmp_path, name):
    photo = "images/{kind}/{number}.jpg" if name.split("/")[1] == "{kind}" else "{kind}/{number}.jpg"
    if name.startswith("{kind}/") and name.count("/") == 2:
        photo = "{kind}/images/{number}.jpg"
    for kind in ("ill", "well"):
        for number in range(4):
            paths = [tmp_path / pattern.format(kind=kind, number=number) for pattern in (photo, name)]
            photo_and_mask(*paths, number)
    scan = scan_folder(tmp_path)
    assert sorted(scan.photos["original"]) == sorted(
        photo.format(kind=kind, number=number) for kind in ("ill", "well") for number in range(4)
    )
    assert set(scan.photos["raw_label"]) == {"ill", "well"}
    assert len(scan.skipped) == 8 and scan.skipped["reason"].str.contains("mask").all()


@pytest.mark.parametrize("drawn", [False, True])
def test_photos_of_masks_and_drawings_are_no_masks(tmp_path, drawn):
    for kind in ("mask", "no_mask", "bare"):
        for number in range(4):
            path = tmp_path / kind / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            picture = Image.effect_noise((64, 48), 60 + number)
            (picture.point(lambda value: 255 * (value > 150)) if drawn else picture).save(path)
    assert set(scan_folder(tmp_path).photos["raw_label"]) == {"mask", "no_mask", "bare"}


# Classes in the names of files


@pytest.mark.parametrize("place", ["", "train/", "pets/images/"])
@pytest.mark.parametrize(
    "name",
    [
        *["{0}.{1}.jpg", "{0}_{1}.jpg", "{0} ({1}).jpg", "{0}{1}.png", "{0}-{1}-x.jpeg", "{1}_{0}.jpg", "{1}.{0}.jpg"],
        "IMG_{1}_{0}.jpg",
    ],
)
@pytest.mark.parametrize("kinds", [("cat", "dog"), ("american_bulldog", "Egyptian_Mau"), ("hot dog", "no hot dog")])
def test_classes_in_file_names(tmp_path, place, name, kinds):
    names = {f"{place}{name.format(kind, number)}": kind for kind in kinds for number in range(1, 5)}
    scan = scan_folder(tree(tmp_path, *names))
    assert dict(zip(scan.photos["original"], scan.photos["raw_label"], strict=True)) == names


def test_splits_with_classes_in_file_names(tmp_path):
    names = [f"{split}/{kind}.{n}.jpg" for split in ("train", "test") for kind in ("cat", "dog") for n in range(3)]
    scan = scan_folder(tree(tmp_path, *names))
    assert found(scan) == {split: {("cat", split), ("dog", split)} for split in ("train", "test")}


def test_splits_and_classes_in_file_names(tmp_path):
    names = {
        f"{split}_{kind}_{n}.jpg": (kind, split) for split in ("train", "test") for kind in KINDS for n in range(4)
    }
    assert set.union(*found(scan_folder(tree(tmp_path, *names))).values()) == set(names.values())


@pytest.mark.parametrize(
    "names",
    [
        ["IMG_{}.jpg", "DSC_{}.jpg"],
        ["IMG_{}.jpg", "PXL_2023{}.jpg"],
        ["WhatsApp Image 2023-{}.jpg", "Screenshot_{}.png"],
        ["photo{}.jpg", "cat{}.jpg"],
        ["cat.{}.jpg", "{}.jpg"],
        ["cat.{}.jpg"],
        ["{}.jpg"],
    ],
)
def test_names_without_classes(tmp_path, names):
    assert found(scan_folder(tree(tmp_path, *(name.format(n) for name in names for n in range(1, 6))))) == {}


def test_random_names_hold_no_classes(tmp_path):
    names = [f"{'abcdef'[n % 6]}{'fedcba'[n // 3 % 6]}{n}{'ab'[n % 2]}.jpg" for n in range(30)]
    assert found(scan_folder(tree(tmp_path, *names))) == {}


# Names of classes


@pytest.mark.parametrize("other", ["cat", "Cat ", "CAT", "c at"])
def test_spellings_of_one_class(tmp_path, other):
    scan = scan_folder(tree(tmp_path, "train/Cat", "train/dog", f"test/{other}", "test/dog", "val/Cat", "val/dog"))
    assert set(scan.photos["raw_label"]) == {"Cat", "dog"}
    assert any("Cat" in note and repr(other) in note for note in scan.layout.notes)


def test_backslashes_of_a_windows_archive_are_folders(tmp_path):
    scan = scan_folder(tree(tmp_path, *(f"pets\\{kind}\\{n}.jpg" for kind in ("cat", "dog") for n in range(3))))
    assert dict(scan.photos["raw_label"].value_counts()) == {"cat": 3, "dog": 3}
    assert all("\\" in original for original in scan.photos["original"])
