"""The drawn sample: whole, repeatable, fair to both classes, and wrong only where it says so."""

import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

import draw_sample
from draw_dogs import LUCY
from draw_photo import FACTORS, LONGEST, SHORTEST, picture_size
from draw_plan import FAULTS, LABELS, PHOTOS, plan

FEW = {"train": 4, "val": 1, "test": 2}
DATA = Path(draw_sample.__file__).parent
UNREADABLE = {FAULTS.truncated, FAULTS.not_a_picture}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """A few pictures, drawn as the notebook draws them: data/ is on sys.path only while the module is imported."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    code = (
        f"import sys; sys.path.insert(0, {str(DATA)!r}); from draw_sample import draw; sys.path.pop(0); "
        f"draw({str(folder)!r}, photos={FEW})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder.parent, capture_output=True, timeout=300)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def upright(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def test_every_split_has_the_pictures_asked_for(sample):
    readable = Counter(path.rsplit("/", 1)[0] for path in files(sample).keys() - UNREADABLE)
    assert readable == {f"{split}/{label}": count for split, count in FEW.items() for label in LABELS}


def test_every_picture_is_a_jpeg_of_the_promised_size(sample):
    for path in files(sample).keys() - UNREADABLE:
        assert path.endswith(".jpg")
        with Image.open(sample / path) as picture:
            picture.load()
            assert (picture.format, picture.mode) == ("JPEG", "RGB")
            assert min(picture.size) >= SHORTEST and max(picture.size) <= LONGEST


def test_the_same_seed_gives_the_same_files_and_another_seed_others(sample, tmp_path):
    drawn = files(sample)
    for seed, same in ((42, True), (43, False)):
        for picture in [p for p in plan(seed, FEW) if p.copy or p.fault == "sideways"]:
            for path in filter(None, (picture.path, picture.copy)):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            draw_sample._write(picture, tmp_path)
        again = files(tmp_path)
        assert len(again) == 5
        assert all((again[path] == drawn[path]) is same for path in again)


def test_the_faults_are_where_they_are_said_to_be(sample):
    assert FAULTS.truncated.startswith("train/") and FAULTS.not_a_picture.startswith("train/")
    with pytest.raises(OSError, match="truncated"):
        upright(sample / FAULTS.truncated)
    with pytest.raises(UnidentifiedImageError):
        upright(sample / FAULTS.not_a_picture)
    assert "Not Found" in (sample / FAULTS.not_a_picture).read_text(encoding="utf-8")


def test_the_sideways_picture_is_put_upright_by_its_orientation(sample):
    (planned,) = [p for p in plan(42, FEW) if p.path == FAULTS.sideways]
    lying = set()
    for path in files(sample).keys() - UNREADABLE:
        with Image.open(sample / path) as stored:
            if stored.getexif().get(0x0112, 1) != 1:
                lying.add(path)
    assert lying == {FAULTS.sideways}
    rng = np.random.default_rng(planned.key)
    meant = draw_sample.photograph(planned.dog(rng), planned.row, rng)
    shown = upright(sample / FAULTS.sideways)
    assert shown.size == meant.size
    assert np.abs(np.subtract(shown, meant, dtype=float)).mean() < 12  # what JPEG leaves


def test_copies_show_the_same_in_other_files(sample):
    assert len(FAULTS.copied) == len(LABELS)
    for original, copy in FAULTS.copied.items():
        assert original.split("/")[:2] == ["train", copy.split("/")[1]] and copy.startswith("test/")
        first, second = upright(sample / original), upright(sample / copy)
        assert first.size != second.size
        assert (sample / original).read_bytes() != (sample / copy).read_bytes()
        (one, _), (two, _) = map(draw_sample.perceptual_hashes, (first, second))
        assert (one ^ two).bit_count() <= 4


def test_apart_from_the_copies_no_two_pictures_are_nearly_alike(sample):
    paths = sorted(files(sample).keys() - UNREADABLE - set(FAULTS.copied.values()))
    hashes = [draw_sample.perceptual_hashes(upright(sample / path)) for path in paths]
    for k, mine in enumerate(hashes):
        for other, _ in hashes[:k]:
            assert min((h ^ other).bit_count() for h in mine) > draw_sample.ALIKE


def test_a_picture_that_looks_like_another_is_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(draw_sample, "ProcessPoolExecutor", lambda workers, _: ThreadPoolExecutor(workers))
    one = replace(plan(42, FEW)[0], copy="")
    twins = [replace(one, path=name) for name in ("one.jpg", "two.jpg")]
    draw_sample._draw_all(twins, tmp_path)
    first, second = (draw_sample.perceptual_hashes(upright(tmp_path / p.path)) for p in twins)
    assert not draw_sample._alike(first, [second])


def test_only_the_dog_tells_the_classes_apart():
    """In each split all else takes the same values in both classes, so no test of one of them can find a shortcut."""
    drawn = [p for p in plan(42) if p.fault != "truncated"]
    for split in PHOTOS:
        lucy, other = ([p for p in drawn if p.path.startswith(f"{split}/{label}/")] for label in LABELS)
        assert len(lucy) == len(other) > 0
        for factor in FACTORS:
            assert sorted(p.row[factor] for p in lucy) == sorted(p.row[factor] for p in other)
        for what in (lambda p: picture_size(p.row["frame"]), lambda p: p.camera, lambda p: p.path.split("/")[-1][:4]):
            assert Counter(map(what, lucy)) == Counter(map(what, other))
        assert [p.row["frame"] for p in lucy] != [p.row["frame"] for p in other]


def test_lucy_is_one_dog_and_nobody_else_is():
    rng = np.random.default_rng(0)
    dogs = {label: [p.dog(rng) for p in plan(42) if p.label == label] for label in LABELS}
    assert set(dogs["lucy"]) == {LUCY}
    assert LUCY not in dogs["other_frenchie"]
    assert len(set(dogs["other_frenchie"])) == len(dogs["other_frenchie"])


def test_pictures_stand_and_lie_from_small_to_large():
    sizes = [picture_size(p.row["frame"]) for p in plan(42)]
    assert all(min(size) >= SHORTEST and max(size) <= LONGEST for size in sizes)
    assert any(width > height for width, height in sizes) and any(width < height for width, height in sizes)
    assert min(map(max, sizes)) < 400 and max(map(max, sizes)) > 1000


def test_names_are_a_camera_s_and_each_is_used_once():
    paths = [*(p.path for p in plan(42)), *FAULTS.copied.values(), FAULTS.not_a_picture]
    names = [path.split("/")[-1] for path in paths]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(IMG|DSC)_\d{4}\.jpg|IMG-\d{8}-WA\d{4}\.jpg", name) for name in names)


def test_dates_and_cameras_are_written_unless_a_messenger_stripped_them(sample):
    for picture in plan(42, FEW):
        if picture.path in UNREADABLE:
            continue
        with Image.open(sample / picture.path) as stored:
            exif = stored.getexif()
        if picture.camera.make:
            assert (exif[0x010F], exif[0x0110]) == (picture.camera.make, picture.camera.model)
            assert exif.get_ifd(0x8769)[0x9003] == f"{picture.taken:%Y:%m:%d %H:%M:%S}"
        else:
            assert not exif


def test_what_is_there_already_is_left_alone(sample):
    before = files(sample)
    with pytest.raises(FileExistsError, match="there already"):
        draw_sample.draw(sample, photos=FEW)
    assert files(sample) == before


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(pictures, folder):
        (folder / pictures[0].path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(draw_sample, "_draw_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_sample.draw(tmp_path / "sample", photos=FEW)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("photos", [{"train": 3, "val": 1, "test": 2}, {"train": 4, "val": 1, "test": 1}, {"train": 9}])
def test_too_few_pictures_for_the_faults_are_refused(tmp_path, photos):
    with pytest.raises(ValueError, match="train must be 4 or more"):
        draw_sample.draw(tmp_path / "sample", photos=photos)


def test_the_command_line_says_what_to_do_about_a_folder_that_is_there(sample, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["draw_sample.py", str(sample)])
    with pytest.raises(SystemExit) as stopped:
        draw_sample.main()
    assert stopped.value.code == 1
    assert "delete it to have it drawn again" in capsys.readouterr().err
