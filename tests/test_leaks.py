"""Are photos found that are in the data twice, whatever was done to them, and none that only look alike?"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import Image, ImageEnhance, ImageOps

from helpers import ROOT
from helpers.firmness import wilson
from helpers.photos import read_photo
from helpers.trust.alignment import UNDO, VIEWS, turned
from helpers.trust.copies import compare
from helpers.trust.leak_plots import pairs_side_by_side, similarities
from helpers.trust.leaks import ENOUGH, find_leaks, leak_of, not_dropped, scenes_in_words, to_drop, without
from helpers.trust.verdict import leak_verdict

BUNDLED = Path(skimage.__file__).parent / "data"
LUCY = ROOT.parent / "shared" / "data" / "lucy"
COPIED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
OTHERS = ("camera.png", "coins.png", "clock_motion.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png")
OTHERS += ("retina.jpg", "moon.png", "grass.png", "gravel.png", "brick.png", "page.png")


def jpeg(picture: Image.Image, quality: int = 90, **options: object) -> bytes:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def cropped(picture: Image.Image, share: float = 0.9) -> Image.Image:
    """The upper right `share` of each side: a crop that is not centred."""
    width, height = picture.size
    return picture.crop((round(width * (1 - share)), 0, width, round(height * share)))


def sideways(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)


#: What may have been done to a photo → (how to do it, what turns it back).
DONE: dict[str, tuple[Callable[[Image.Image], bytes], str]] = {
    "other format": (png, "same"),
    "half the size": (lambda p: jpeg(p.resize((p.width // 2, p.height // 2))), "same"),
    "squeezed into a square": (lambda p: jpeg(p.resize((256, 256))), "same"),
    "JPEG quality 40": (lambda p: jpeg(p, 40), "same"),
    "cropped by 10 %": (lambda p: jpeg(cropped(p)), "same"),
    "20 % brighter": (lambda p: jpeg(ImageEnhance.Brightness(p).enhance(1.2)), "same"),
    "20 % darker": (lambda p: jpeg(ImageEnhance.Brightness(p).enhance(0.8)), "same"),
    "rotated by 3°": (lambda p: jpeg(p.rotate(3, Image.Resampling.BICUBIC)), "same"),
    "rotated by -3° on a larger page": (lambda p: jpeg(p.rotate(-3, Image.Resampling.BICUBIC, expand=True)), "same"),
    "mirrored": (lambda p: jpeg(ImageOps.mirror(p)), "mirrored"),
    "rotated by EXIF": (sideways, "same"),
    "rotated by 90°": (lambda p: jpeg(p.transpose(Image.Transpose.ROTATE_270)), "rotated 90°"),
    "rotated by 270°": (lambda p: jpeg(p.transpose(Image.Transpose.ROTATE_90)), "rotated 270°"),
    "upside down": (lambda p: jpeg(ImageOps.flip(p)), "upside down"),
    "grey": (lambda p: jpeg(ImageOps.grayscale(p)), "same"),
    "mirrored, cropped and compressed": (lambda p: jpeg(cropped(ImageOps.mirror(p)), 40), "mirrored"),
}


class Album:
    """A table of photos, prepared the way `prepare` does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, []

    def add(self, data: bytes | Path, original: str, split: str = "train", label: str = "a") -> None:
        file = data if isinstance(data, Path) else self.folder / f"{len(self.rows)}.original"
        if not isinstance(data, Path):
            file.write_bytes(data)
        photo, path = read_photo(file), self.folder / f"{len(self.rows)}.jpg"
        path.write_bytes(photo.jpeg)
        row = {"path": str(path), "original": original, "split": split, "label": label}
        self.rows.append(row | {"phash": photo.phash, "digest": photo.digest})

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["path", "original", "split", "label", "phash", "digest"])


def look(pictures: list[np.ndarray]) -> np.ndarray:
    """Features that a network might have: the colours of the 4 × 4 parts of each picture."""
    squares = [np.asarray(ImageOps.fit(Image.fromarray(p), (4, 4), Image.Resampling.BOX)) for p in pictures]
    return np.stack(squares).reshape(len(pictures), -1).astype(np.float32)


def looked_at(photos: pd.DataFrame) -> np.ndarray:
    return look([np.asarray(Image.open(path)) for path in photos["path"]])


def useless(photos: pd.DataFrame) -> np.ndarray:
    """Features that know nothing, and nearly the same for all photos, as of a network with random weights."""
    return 50 + np.random.default_rng(0).normal(size=(len(photos), 32)).astype(np.float32)


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album(tmp_path)


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    album = Album(tmp_path_factory.mktemp("photos"))
    for name in (*COPIED, *OTHERS):
        album.add(BUNDLED / name, name)
    return album.rows


@pytest.fixture
def photos(album: Album, prepared_once: list[dict[str, str]]) -> Album:
    """16 photos of different things, all in train."""
    album.rows += prepared_once
    return album


def pairs_of(table: pd.DataFrame, features: np.ndarray | None = None) -> pd.DataFrame:
    return find_leaks(table, useless(table) if features is None else features)


class TestCopies:
    @pytest.mark.parametrize("features", [looked_at, useless])
    @pytest.mark.parametrize("done", DONE)
    def test_are_found_whatever_was_done_to_them_and_nothing_else_is(self, photos, done, features):
        change, back = DONE[done]
        for name in COPIED:
            photos.add(change(Image.open(BUNDLED / name).convert("RGB")), f"copy of {name}", "test")
        table = photos.table()
        pairs = find_leaks(table, features(table))
        first = len(COPIED) + len(OTHERS)
        assert set(zip(pairs["a"], pairs["b"], strict=True)) == {(n, first + n) for n in range(len(COPIED))}
        assert set(pairs["kind"]) == {"copy"}
        assert set(pairs["how"]) == {back}
        assert set(pairs["splits"]) == {"train–test"}

    def test_are_found_within_a_split_too(self, photos):
        photos.add(jpeg(Image.open(BUNDLED / "coffee.png"), 40), "coffee again")
        assert list(pairs_of(photos.table())["splits"]) == ["train"]

    def test_of_two_classes_are_a_label_error(self, photos):
        photos.add(jpeg(Image.open(BUNDLED / "coffee.png"), 40), "coffee again", label="b")
        photos.add(jpeg(Image.open(BUNDLED / "rocket.jpg"), 40), "rocket again", "val")
        pairs = pairs_of(photos.table()).set_index("a")
        assert not pairs.loc[COPIED.index("coffee.png"), "same_label"]
        assert pairs.loc[COPIED.index("rocket.jpg"), "same_label"]

    def test_of_the_same_file_are_found_even_without_any_structure(self, album):
        flat = png(Image.new("RGB", (80, 60), "navy"))
        for split in ("train", "train", "test"):
            album.add(flat, split, split)
        pairs = pairs_of(album.table())
        assert set(zip(pairs["a"], pairs["b"], strict=True)) == {(0, 1), (0, 2)}
        assert pairs["bits"].isna().all()  # a plain surface has no perceptual hash

    def test_many_of_one_picture_are_each_found_in_every_other_split(self, photos):
        for number in range(12):
            split = ("train", "val", "test")[number % 3]
            photos.add(jpeg(Image.open(BUNDLED / "coffee.png"), 60 + number), f"{number}", split)
        table = photos.table()
        leak = leak_of(table, pairs_of(table))
        assert (leak[table["split"] != "train"] != "").all()

    def test_do_not_depend_on_the_order_of_the_table(self, photos):
        for name in COPIED:
            photos.add(
                DONE["mirrored, cropped and compressed"][0](Image.open(BUNDLED / name)), f"copy of {name}", "test"
            )
        table = photos.table()
        mixed = table.sample(frac=1, random_state=3).reset_index(drop=True)
        found = [
            {frozenset(t["original"].iloc[[a, b]]) for a, b in zip(p["a"], p["b"], strict=True)}
            for t in (table, mixed)
            for p in [pairs_of(t)]
        ]
        assert found[0] == found[1] == {frozenset((name, f"copy of {name}")) for name in COPIED}


class TestOtherPhotos:
    @pytest.mark.parametrize("same_features", [True, False])
    def test_are_no_pair(self, photos, same_features):
        table = photos.table()
        assert pairs_of(table, np.ones((len(table), 8)) if same_features else looked_at(table)).empty

    def test_of_one_colour_are_no_pair(self, album):
        chance = np.random.default_rng(0)
        for number in range(12):
            noise = chance.normal(0, number % 3, (60, 80, 3))
            album.add(png(Image.fromarray((120 + 5 * number + noise).astype(np.uint8))), str(number))
        table = album.table()
        assert pairs_of(table, np.ones((len(table), 8))).empty

    @pytest.mark.parametrize("stripes", [1, 3])
    def test_with_edges_in_one_direction_only_are_no_pair(self, album, stripes):
        for number in range(10):
            wall = np.full((90, 120), 60 + 10 * number, dtype=np.uint8)
            for stripe in range(stripes):
                start = 20 + 3 * number + 25 * stripe
                wall[:, start : start + 12 + number] = 20
            album.add(png(Image.fromarray(wall)), str(number))
        assert pairs_of(album.table()).empty

    def test_of_the_same_scene_are_told_apart_from_copies(self, photos):
        photos.add(BUNDLED / "motorcycle_right.png", "the other lens of a stereo camera", "test")
        pairs = pairs_of(photos.table())
        assert list(pairs["kind"]) == ["burst"]
        assert photos.table()["original"][pairs["a"][0]] == "motorcycle_left.png"

    def test_with_the_subject_elsewhere_are_no_copies(self, album):
        for x in (40, 150):
            room = Image.open(BUNDLED / "coffee.png").resize((400, 300))
            room.paste(Image.open(BUNDLED / "chelsea.png").resize((150, 120)), (x, 90))
            album.add(jpeg(room), str(x))
        assert list(pairs_of(album.table())["kind"]) == ["burst"]


def out_of_focus(number: int) -> Image.Image:
    """Soft blobs without an edge, each number another picture."""
    blobs = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((400, 300), Image.Resampling.BICUBIC)


class TestBlurredPhotos:
    @pytest.mark.parametrize("done", sorted(set(DONE) - {"rotated by -3° on a larger page"}))
    def test_copies_without_edges_are_found(self, album, done):
        for number in range(8):
            album.add(jpeg(out_of_focus(number)), str(number))
        change, how = DONE[done]
        album.add(change(out_of_focus(3)), "copy", "test")
        pairs = pairs_of(album.table())
        assert [(pair.a, pair.b, pair.kind) for pair in pairs.itertuples()] == [(3, 8, "copy")]
        assert UNDO[VIEWS.index(how)] == VIEWS.index(pairs["how"][0]) or how == pairs["how"][0]

    def test_of_the_sky_are_no_pair(self, album):
        down = np.linspace(0, 1, 90)[:, None]
        for number in range(8):
            sky = (60 + 4 * number + 90 * down ** (1 + number / 8) + np.zeros((90, 120))).astype(np.uint8)
            album.add(png(Image.fromarray(sky)), str(number))
        assert pairs_of(album.table()).empty


class TestTable:
    @pytest.mark.parametrize("count", [0, 1])
    def test_of_no_pairs_has_its_columns(self, album, count):
        if count:
            album.add(BUNDLED / "coffee.png", "coffee")
        table = album.table()
        pairs = pairs_of(table, np.zeros((count, 4), dtype=np.float32))
        assert pairs.empty
        expected = {"a", "b", "similarity", "bits", "how", "kind", "splits", "same_label"}
        assert expected <= set(pairs.columns)
        assert list(leak_of(table, pairs)) == [""] * count
        assert not to_drop(table, pairs).any()

    def test_needs_one_row_of_features_a_photo(self, photos):
        with pytest.raises(ValueError, match="16 photos and 3 rows of features"):
            find_leaks(photos.table(), np.zeros((3, 4)))

    def test_gives_the_similarity_of_the_picture_turned_back(self, photos):
        photos.add(DONE["rotated by 90°"][0](Image.open(BUNDLED / "chelsea.png")), "turned", "test")
        table = photos.table()
        features, shown = looked_at(table), []

        def embed(pictures: list[np.ndarray]) -> np.ndarray:
            shown.extend(pictures)
            return look(pictures)

        plain = find_leaks(table, features)["similarity"].item()
        pair = find_leaks(table, features, embed=embed).iloc[0]
        assert plain < 0.99 < pair["similarity"] <= 1
        assert pair["bits"] <= 2
        upright = Image.open(table["path"][COPIED.index("chelsea.png")])
        assert [picture.shape for picture in shown] == [(*upright.size[::-1], 3)]

    def test_has_pairs_across_splits_and_copies_first(self, photos):
        photos.add(jpeg(Image.open(BUNDLED / "coffee.png"), 40), "within train")
        photos.add(BUNDLED / "motorcycle_right.png", "burst in val", "val")
        photos.add(jpeg(Image.open(BUNDLED / "rocket.jpg"), 40), "copy in test", "test")
        pairs = pairs_of(photos.table())
        assert list(zip(pairs["splits"], pairs["kind"], strict=True)) == [
            ("train–test", "copy"),
            ("train–val", "burst"),
            ("train", "copy"),
        ]

    def test_can_be_made_of_a_comparison_made_before(self, photos):
        photos.add(jpeg(Image.open(BUNDLED / "coffee.png"), 40), "coffee again", "test")
        table = photos.table()
        compared = compare(table, useless(table))
        pd.testing.assert_frame_equal(find_leaks(table, useless(table), compared=compared), pairs_of(table))


@pytest.mark.parametrize("view", range(len(VIEWS)))
def test_every_view_is_undone(view):
    picture = np.arange(12).reshape(1, 3, 4)
    assert (turned(turned(picture, view), int(UNDO[view])) == picture).all()


SPLITS = ["train", "train", "val", "val", "test", "test", "test"]


def table_of(splits: list[str]) -> pd.DataFrame:
    photos = pd.DataFrame({"split": splits, "original": [f"{n}.jpg" for n in range(len(splits))]})
    return photos.set_index(pd.Index(range(100, 100 + len(splits))))  # not the row numbers


def pairs_between(*rows: tuple[int, int, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["a", "b", "similarity", "kind"])


class TestLeakOf:
    def test_test_photos_leak_from_train_and_val_and_val_photos_from_train(self):
        photos = table_of(SPLITS)
        pairs = pairs_between((0, 2, 0.9, "copy"), (1, 4, 0.9, "copy"), (3, 5, 0.9, "copy"), (4, 6, 0.9, "copy"))
        leak = leak_of(photos, pairs)
        assert list(leak) == ["", "", "0.jpg", "", "1.jpg", "3.jpg", ""]
        assert leak.index.equals(photos.index)

    def test_train_is_named_before_val_and_the_most_alike_first(self):
        photos = table_of(SPLITS)
        pairs = pairs_between((0, 4, 0.91, "copy"), (1, 4, 0.95, "copy"), (2, 4, 0.99, "copy"))
        assert leak_of(photos, pairs).iloc[4] == "1.jpg"

    def test_pairs_within_a_split_and_bursts_are_no_leaks_unless_asked_for(self):
        photos = table_of(SPLITS)
        pairs = pairs_between((0, 1, 1.0, "copy"), (4, 5, 1.0, "copy"), (0, 6, 0.9, "burst"))
        assert (leak_of(photos, pairs) == "").all()
        assert list(leak_of(photos, pairs, ("copy", "burst"))) == [""] * 6 + ["0.jpg"]

    def test_the_order_of_splits_in_the_table_does_not_matter(self):
        photos = table_of(["test", "train"])
        pairs = pairs_between((0, 1, 1.0, "copy"))
        assert list(leak_of(photos, pairs)) == ["1.jpg", ""]
        assert list(to_drop(photos, pairs)) == [False, True]

    def test_nothing_leaks_any_more_once_the_training_side_was_dropped(self):
        photos = table_of(SPLITS)
        pairs = pairs_between((0, 2, 0.9, "copy"), (1, 4, 0.9, "copy"), (3, 5, 0.9, "copy"), (0, 1, 0.9, "copy"))
        drop = to_drop(photos, pairs).to_numpy()
        assert list(drop) == [True, True, False, True, False, False, False]
        kept = pairs[~(drop[pairs["a"]] | drop[pairs["b"]])]
        assert (leak_of(photos, kept) == "").all()


def results(right: dict[str, int], wrong: dict[str, int]) -> pd.DataFrame:
    """Test photos of each class, so many right and so many wrong, and a photo each in train and val before them."""
    rows = [("train", "dog", True), ("val", "dog", True)]
    for counts, correct in ((right, True), (wrong, False)):
        rows += [("test", label, correct) for label, count in counts.items() for _ in range(count)]
    photos = pd.DataFrame(rows, columns=["split", "label", "correct"])
    return photos.assign(original=[f"{n}.jpg" for n in range(len(photos))])


def leaked(photos: pd.DataFrame, label: str, count: int, original: str = "0.jpg") -> pd.Series:
    rows = photos.index[(photos["split"] == "test") & (photos["label"] == label)][:count]
    return pd.Series(np.where(photos.index.isin(rows), original, ""), index=photos.index)


class TestWithout:
    def test_nothing_leaked(self):
        photos = results({"lucy": 10, "other": 10}, {"other": 2})
        found = without(photos, leaked(photos, "lucy", 0))
        assert found["sentence"] == "0.91 on the 22 test photos; none of them was found in training."
        assert leak_verdict(found, 0) == "nothing found"
        assert found["accuracy"] == found["clean_accuracy"] == 20 / 22
        assert found["leaked"] == 0 and found["left"] == {} and found["too_few"] == []

    def test_nobody_looked(self):
        found = without(results({"lucy": 10}, {}), None)
        assert found["sentence"] == "1.00 on the 10 test photos; nobody looked whether they are in training as well."

    def test_one_photo_of_a_class_remains(self):
        photos = results({"lucy": 10, "other": 11}, {"other": 1})
        found = without(photos, leaked(photos, "lucy", 9))
        low, high = wilson(12, 13)
        assert found["sentence"] == (
            f"0.95 on the 22 test photos, 0.92 without the 9 it shares with training (12 of 13, {low:.2f} to "
            f"{high:.2f}). One lucy photo remains: this test set says nothing about lucy; see the cross-validation "
            "below."
        )
        assert leak_verdict(found, 0) == "found, 9 of 22 test photos; too few others to tell what that costs"
        assert found["ci95"] == wilson(21, 22)
        assert found["clean_ci95"] == (low, high)
        assert (found["clean_right"], found["clean_of"], found["left"]) == (12, 13, {"lucy": 1})

    def test_no_photo_of_a_class_remains(self):
        photos = results({"Lucy": 10, "other": 12}, {})
        found = without(photos, leaked(photos, "Lucy", 10, "1.jpg"))
        assert "without the 10 it shares with validation" in found["sentence"]
        assert "No Lucy photo remains: this test set says nothing about Lucy" in found["sentence"]

    def test_a_few_photos_of_a_class_remain(self):
        photos = results({"lucy": 9, "other": 12}, {})
        found = without(photos, leaked(photos, "lucy", 4))
        assert "5 lucy photos remain: this test set says little about lucy" in found["sentence"]

    def test_enough_remain_to_say_what_it_costs(self):
        photos = results({"lucy": 60, "other": 80}, {"other": 20})
        found = without(photos, leaked(photos, "lucy", 60 - ENOUGH))
        assert found["too_few"] == []
        assert leak_verdict(found, 0) == "found, 50 of 160 test photos; costs about 0.06"
        assert found["sentence"].endswith("(90 of 110, 0.74 to 0.88).")

    def test_many_classes_lose_photos(self):
        photos = results({f"breed {n}": 3 for n in range(5)}, {})
        names = leaked(photos, "breed 0", 1)
        for number in range(1, 5):
            names = names.where(names != "", leaked(photos, f"breed {number}", 1))
        found = without(photos, names)
        assert found["left"] == {f"breed {n}": 2 for n in range(5)}
        assert "Of 5 classes fewer than 10 photos remain: breed 0 (2), breed 1 (2), breed 2 (2), …" in found["sentence"]

    def test_every_test_photo_leaked(self):
        photos = results({"lucy": 3}, {"lucy": 1})
        found = without(photos, leaked(photos, "lucy", 4))
        assert found["sentence"] == (
            "0.75 on the 4 test photos, and every one of them is in training too: this test set says nothing."
        )
        assert found["clean_accuracy"] is None and found["clean_ci95"] is None

    def test_no_test_photos(self):
        photos = results({}, {})
        found = without(photos, leaked(photos, "lucy", 0))
        assert found["accuracy"] is None
        assert leak_verdict(found, 0) == "cannot tell, too few photos"


class TestScenes:
    PAIRS = pd.DataFrame(
        {"a": [0, 1], "b": [4, 5], "similarity": [0.99, 0.9], "kind": ["copy", "burst"], "splits": "train–test"}
    )

    def photos(self) -> pd.DataFrame:
        table = results({"lucy": 20}, {"lucy": 5})
        assert list(table["split"].iloc[[0, 1, 4, 5]]) == ["train", "val", "test", "test"]
        return table

    def test_a_scene_that_training_shows_too_is_priced(self):
        photos = self.photos()
        copies = leak_of(photos, self.PAIRS)
        right = photos.loc[photos["split"] == "test", "correct"].iloc[2:].sum()
        low, high = wilson(right, 23)
        said = scenes_in_words(photos, self.PAIRS, copies)
        assert said.startswith(
            f"Without 1 more, of a scene that training shows as well: {right / 23:.2f} ({right} of 23"
        )
        assert f"{low:.2f} to {high:.2f}" in said

    def test_copies_alone_leave_nothing_more_to_say(self):
        photos, copies = self.photos(), self.PAIRS.iloc[:1]
        assert scenes_in_words(photos, copies, leak_of(photos, copies)) == ""

    def test_what_left_training_is_priced_no_more(self):
        photos = self.photos()
        drop = to_drop(photos, self.PAIRS)
        assert list(drop[drop].index) == [0]  # the copy's training side; the burst stays
        left = not_dropped(self.PAIRS, drop)
        assert list(left["kind"]) == ["burst"]
        assert (leak_of(photos, left) == "").all()


class TestFigures:
    def test_pairs_are_shown_side_by_side(self, photos):
        photos.add(jpeg(Image.open(BUNDLED / "coffee.png"), 40), "$odd_name.jpg", "test", "b")
        photos.add(DONE["mirrored"][0](Image.open(BUNDLED / "rocket.jpg")), "mirrored.jpg", "test")
        table = photos.table()
        figure = pairs_side_by_side(table, pairs_of(table))
        titles = [axis.get_title(loc="center") for axis in figure.axes if axis.images]
        assert len(titles) == 4
        assert any("$odd_name.jpg" in title for title in titles)
        assert any(title.startswith("copy, mirrored") for title in titles)
        figure.canvas.draw()

    def test_no_pairs_no_figure(self, photos):
        table = photos.table()
        assert pairs_side_by_side(table, pairs_of(table)) is None

    @pytest.mark.parametrize("copies", [0, 1])
    def test_the_thresholds_are_shown_between_what_they_part(self, photos, copies):
        photos.add(BUNDLED / "motorcycle_right.png", "burst", "test")
        if copies:
            photos.add(jpeg(Image.open(BUNDLED / "coffee.png"), 40), "copy", "test")
        table = photos.table()
        compared = compare(table, looked_at(table))
        figure = similarities(table, compared, find_leaks(table, looked_at(table), compared=compared))
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert legend[1:] == [f"another exposure of the same scene ({2})", f"the same picture ({2 * copies})"]
        figure.canvas.draw()
        left, right = figure.axes
        assert left.get_yscale() == "log"
        assert left.get_position().width > 0.3 and right.get_position().width > 0.3  # the layout did not collapse


@pytest.mark.skipif(not LUCY.is_dir(), reason=f"needs the photos in {LUCY}")
def test_all_ten_of_lucys_test_photos_are_also_in_training_or_validation(album):
    """Nine under the same view, the tenth lying on its side without an EXIF orientation that says so."""
    test = sorted((LUCY / "test" / "lucy").iterdir())
    stems = {photo.stem for photo in test}
    for split in ("train", "val"):
        same_scene = [f for f in (LUCY / split / "lucy").iterdir() if f.stem in stems | {"IMG_0554", "IMG_0555"}]
        for photo in (*sorted(same_scene), *sorted((LUCY / split / "other").iterdir())[:15]):
            album.add(photo, photo.name, split, photo.parent.name)
    for photo in test:
        album.add(photo, photo.name, "test", "lucy")
    table = album.table()
    pairs = pairs_of(table)
    copies = pairs[pairs["kind"] == "copy"]
    assert set(copies["b"]) == set(table.index[table["split"] == "test"])
    assert len(copies) == 10
    for a, b in zip(copies["a"], copies["b"], strict=True):
        assert Path(table["original"][a]).stem == Path(table["original"][b]).stem
    assert sorted(copies["how"]) == ["rotated 90°", *["same"] * 9]
    assert set(pairs.loc[pairs["kind"] == "burst", "splits"]) == {"train–val"}
