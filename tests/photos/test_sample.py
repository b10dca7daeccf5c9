"""The drawn sample: the same each time, faulty where it says so, and complete or not there."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from phototransfer.photos import sample

FEW = {"train": 6, "val": 1, "test": 2}
UNREADABLE = {sample.TRUNCATED, sample.WEB_PAGE}
ORIENTATION, MAKE, EXIF_IFD, TAKEN = 0x0112, 0x010F, 0x8769, 0x9003


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "PHOTOS", FEW)
        sample.draw_sample(folder)
    return folder


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(sample, "PHOTOS", FEW)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def grey(path: Path, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("L").resize(size), dtype=float)


def test_every_split_has_its_photos_and_the_two_unreadable_files_come_in_addition(drawn):
    counts = Counter(path.rsplit("/", 1)[0] for path in content(drawn).keys() - UNREADABLE)
    assert counts == {f"{split}/{label}": count for split, count in FEW.items() for label in sample.CLASSES}


def test_the_same_files_are_drawn_each_time(drawn, few, tmp_path):
    sample.draw_sample(tmp_path / "again")
    assert content(tmp_path / "again") == content(drawn)


def test_the_unreadable_files_are_those_named(drawn):
    with pytest.raises(OSError, match="truncated"):
        grey(drawn / sample.TRUNCATED)
    with pytest.raises(UnidentifiedImageError):
        grey(drawn / sample.WEB_PAGE)
    for path in content(drawn).keys() - UNREADABLE:
        assert grey(drawn / path).std() > 10


def test_only_the_rotated_photo_has_an_orientation(drawn):
    rotated = []
    for path in content(drawn).keys() - UNREADABLE:
        with Image.open(drawn / path) as picture:
            if picture.getexif().get(ORIENTATION, 1) != 1:
                rotated.append(path)
    assert rotated == [sample.ROTATED]


def test_duplicates_show_the_photo_in_another_file(drawn):
    for (original, duplicate), mirrored in ((sample.RESIZED, False), (sample.MIRRORED, True)):
        assert original.startswith("train/") and duplicate.startswith("test/")
        assert (drawn / original).read_bytes() != (drawn / duplicate).read_bytes()
        first, second = grey(drawn / original), grey(drawn / duplicate)
        assert np.corrcoef(first.ravel(), (second[:, ::-1] if mirrored else second).ravel())[0, 1] > 0.99


def test_wrong_labels_show_the_dog_of_the_other_class(few):
    for picture in sample.plan_pictures():
        assert picture.is_lucy == (("/lucy/" in picture.path) != (picture.path in sample.WRONG_LABELS))


def test_the_background_goes_with_the_class_in_seven_of_ten_photos():
    pictures = sample.plan_pictures()
    agree = [("/lucy/" in picture.path) == (picture.place == "lawn") for picture in pictures]
    assert 0.65 < np.mean(agree) < 0.75
    for label in sample.CLASSES:
        assert {picture.place for picture in pictures if f"/{label}/" in picture.path} == set(sample.PLACES)


def test_sizes_and_cameras_are_the_same_in_both_classes():
    sizes, cameras = ({label: Counter() for label in sample.CLASSES} for _ in range(2))
    for picture in sample.plan_pictures():
        _, label, name = picture.path.split("/")
        sizes[label][picture.size] += 1
        cameras[label][name[:4]] += 1
    for size in sample.SIZES:
        assert abs(sizes["lucy"][size] - sizes["other_frenchie"][size]) <= 3
    assert max((cameras["lucy"] - cameras["other_frenchie"]).values(), default=0) <= 3


def test_cameras_write_make_and_date_and_the_messenger_does_not(drawn):
    for path in content(drawn).keys() - UNREADABLE:
        with Image.open(drawn / path) as picture:
            exif = picture.getexif()
        if "IMG-" in path:
            assert not exif
        else:
            assert exif[MAKE] and exif.get_ifd(EXIF_IFD)[TAKEN].startswith("202")


def test_names_are_used_once():
    names = [picture.path.rsplit("/", 1)[1] for picture in sample.plan_pictures()]
    names += [path.rsplit("/", 1)[1] for path in (sample.RESIZED[1], sample.MIRRORED[1], sample.WEB_PAGE)]
    assert len(set(names)) == len(names)


def test_a_folder_with_files_is_left_as_it_is(drawn):
    before = content(drawn)
    with pytest.raises(FileExistsError, match="not empty"):
        sample.draw_sample(drawn)
    assert content(drawn) == before


def test_an_interrupted_drawing_leaves_nothing_and_can_be_run_again(few, tmp_path, monkeypatch, drawn):
    def interrupted(folder, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample.files, "move_into_place", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sample.draw_sample(tmp_path / "sample")
    assert not list(tmp_path.iterdir())
    sample.draw_sample(tmp_path / "sample")
    assert content(tmp_path / "sample") == content(drawn)


def test_an_error_while_drawing_leaves_nothing(few, tmp_path, monkeypatch):
    def fails(picture, folder):
        raise OSError("No space left on device")

    monkeypatch.setattr(sample, "_write", fails)
    with pytest.raises(OSError, match="No space"):
        sample.draw_sample(tmp_path / "sample")
    assert not list(tmp_path.iterdir())
