"""Tests of phototransfer.audit.duplicates: duplicates are detected, photos that only look similar are not."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import Image, ImageEnhance, ImageOps

from builders import SETTINGS, photo_table
from phototransfer.audit.duplicates import (
    CleanScore,
    Duplicates,
    find_duplicates,
    mark_duplicates,
    score_without_duplicates,
)
from phototransfer.files import PROJECT
from phototransfer.photos import read_photo
from phototransfer.photos.registration import INVERSE, ORIENTATIONS
from phototransfer.report import Skipped
from phototransfer.stats import wilson

BUNDLED = Path(skimage.__file__).parent / "data"
LUCY = PROJECT.parent / "shared" / "data" / "lucy"
DUPLICATED = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"]
OTHERS = ["camera.png", "coins.png", "clock_motion.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png"]
OTHERS += ["retina.jpg", "moon.png", "grass.png", "gravel.png", "brick.png", "page.png"]
DROP = {**SETTINGS, "DUPLICATES": "drop"}


def jpeg(picture: Image.Image, quality: int = 90, file_type: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.convert("RGB").save(file, file_type, quality=quality, **options)
    return file.getvalue()


def png(picture: Image.Image | np.ndarray) -> bytes:
    is_array = isinstance(picture, np.ndarray)
    return jpeg(Image.fromarray(picture.astype(np.uint8)) if is_array else picture, file_type="PNG")


def bundled(name: str) -> Image.Image:
    return Image.open(BUNDLED / name).convert("RGB")


def crop(picture: Image.Image) -> Image.Image:
    """Return the upper right 90 % of each side: a crop that is not centred."""
    width, height = picture.size
    return picture.crop((round(width * 0.1), 0, width, round(height * 0.9)))


def with_exif_rotation(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)


#: What may have been done to a photo: how to do it, and the orientation that reverses it.
CHANGES: dict[str, tuple[Callable[[Image.Image], bytes], str]] = {
    "other format": (png, "same"),
    "half the size": (lambda p: jpeg(p.resize((p.width // 2, p.height // 2))), "same"),
    "resized to a square": (lambda p: jpeg(p.resize((256, 256))), "same"),
    "JPEG quality 40": (lambda p: jpeg(p, 40), "same"),
    "cropped by 10 %": (lambda p: jpeg(crop(p)), "same"),
    "20 % brighter": (lambda p: jpeg(ImageEnhance.Brightness(p).enhance(1.2)), "same"),
    "20 % darker": (lambda p: jpeg(ImageEnhance.Brightness(p).enhance(0.8)), "same"),
    "rotated by 3°": (lambda p: jpeg(p.rotate(3, Image.Resampling.BICUBIC)), "same"),
    "rotated by -3° on a larger page": (lambda p: jpeg(p.rotate(-3, Image.Resampling.BICUBIC, expand=True)), "same"),
    "mirrored": (lambda p: jpeg(ImageOps.mirror(p)), "mirrored"),
    "rotated by EXIF": (with_exif_rotation, "same"),
    "rotated by 90°": (lambda p: jpeg(p.transpose(Image.Transpose.ROTATE_270)), "rotated 90°"),
    "rotated by 270°": (lambda p: jpeg(p.transpose(Image.Transpose.ROTATE_90)), "rotated 270°"),
    "upside down": (lambda p: jpeg(ImageOps.flip(p)), "upside down"),
    "grey": (lambda p: jpeg(ImageOps.grayscale(p)), "same"),
    "mirrored, cropped and compressed": (lambda p: jpeg(crop(ImageOps.mirror(p)), 40), "mirrored"),
}


def embed_colours(pictures: list[np.ndarray]) -> np.ndarray:
    """Return features that a network might give: the colours of the 4 × 4 parts of each picture."""
    parts = [np.asarray(ImageOps.fit(Image.fromarray(p), (4, 4), Image.Resampling.BOX)) for p in pictures]
    return np.stack(parts).reshape(len(pictures), -1).astype(np.float32)


def colour_features(photos: pd.DataFrame) -> SimpleNamespace:
    """Return what `find_duplicates` needs of Features."""
    plain = embed_colours([np.asarray(Image.open(path)) for path in photos["path"]])
    return SimpleNamespace(plain=plain, embed=embed_colours, results=None)


def random_features(photos: pd.DataFrame) -> SimpleNamespace:
    """Return nearly the same features for all photos, as of a network with random weights."""
    plain = 50 + np.random.default_rng(0).normal(size=(len(photos), 48)).astype(np.float32)
    return SimpleNamespace(plain=plain, embed=embed_colours, results=None)


def constant_features(photos: pd.DataFrame) -> SimpleNamespace:
    return SimpleNamespace(plain=np.ones((len(photos), 48), np.float32), embed=embed_colours, results=None)


class Album:
    """A table of photos that are read as `prepare` reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, []

    def add(self, content: bytes | Path, original: str, split: str = "train", label: str = "a") -> None:
        file = content if isinstance(content, Path) else self.folder / f"{len(self.rows)}.original"
        if isinstance(content, bytes):
            file.write_bytes(content)
        photo, path = read_photo(file), self.folder / f"{len(self.rows)}.jpg"
        path.write_bytes(photo.jpeg)
        self.rows.append((str(path), original, split, label, photo.digest))

    def table(self) -> pd.DataFrame:
        rows = pd.DataFrame(self.rows, columns=["path", "original", "split", "label", "digest"])
        return photo_table(rows.pop("label"), **rows)

    def duplicates(self, make_features=random_features, settings=SETTINGS) -> Duplicates:
        table = self.table()
        return find_duplicates(table, make_features(table), settings)

    def pairs(self, make_features=random_features) -> pd.DataFrame:
        return self.duplicates(make_features).pairs


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album(tmp_path)


@pytest.fixture(scope="module")
def bundled_rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple]:
    album = Album(tmp_path_factory.mktemp("photos"))
    for name in DUPLICATED + OTHERS:
        album.add(BUNDLED / name, name)
    return album.rows


@pytest.fixture
def photos(album: Album, bundled_rows: list[tuple]) -> Album:
    """16 photos of different things, all in train."""
    album.rows += bundled_rows
    return album


class TestDuplicates:
    @pytest.mark.parametrize("make_features", [colour_features, random_features])
    @pytest.mark.parametrize("change", CHANGES)
    def test_are_found_after_any_change_and_nothing_else_is(self, photos, change, make_features):
        apply, reverse = CHANGES[change]
        for name in DUPLICATED:
            photos.add(apply(bundled(name)), f"changed {name}", "test")
        pairs = photos.pairs(make_features)
        first = len(DUPLICATED) + len(OTHERS)
        assert set(zip(pairs["a"], pairs["b"], strict=True)) == {(n, first + n) for n in range(len(DUPLICATED))}
        assert set(pairs["kind"]) == {"duplicate"} and set(pairs["orientation"]) == {reverse}
        assert pairs["across"].all()

    def test_are_found_within_a_split_and_with_two_labels(self, photos):
        photos.add(jpeg(bundled("coffee.png"), 40), "coffee again", label="b")
        photos.add(jpeg(bundled("rocket.jpg"), 40), "rocket again", "val")
        duplicates = photos.duplicates()
        pairs = duplicates.pairs.set_index("a")
        coffee, rocket = DUPLICATED.index("coffee.png"), DUPLICATED.index("rocket.jpg")
        assert not pairs.loc[coffee, "same_label"] and not pairs.loc[coffee, "across"]
        assert pairs.loc[rocket, "same_label"] and pairs.loc[rocket, "across"]
        assert "coffee.png and coffee again" in duplicates.summary()
        assert any("coffee.png and coffee again" in sentence for sentence in duplicates.advice())

    def test_with_equal_bytes_are_found_even_without_any_structure(self, album):
        for split in ("train", "train", "test"):
            album.add(png(Image.new("RGB", (80, 60), "navy")), split, split)
        pairs = album.pairs()
        assert set(zip(pairs["a"], pairs["b"], strict=True)) == {(0, 1), (0, 2)}

    def test_of_one_picture_are_each_found_in_every_other_split(self, photos):
        for number in range(12):
            split = ("train", "val", "test")[number % 3]
            photos.add(jpeg(bundled("coffee.png"), 60 + number), f"{number}", split)
        marked = mark_duplicates(photos.table(), photos.duplicates(), SETTINGS)
        assert (marked.loc[marked["split"] != "train", "duplicate_of"] != "").all()

    def test_do_not_depend_on_the_order_of_the_table(self, photos):
        for name in DUPLICATED:
            photos.add(CHANGES["mirrored, cropped and compressed"][0](bundled(name)), f"changed {name}", "test")
        table = photos.table()
        for photos_table in (table, table.sample(frac=1, random_state=3).reset_index(drop=True)):
            pairs = find_duplicates(photos_table, random_features(photos_table), SETTINGS).pairs
            original = photos_table["original"].to_numpy()
            names = {frozenset(original[[a, b]]) for a, b in zip(pairs["a"], pairs["b"], strict=True)}
            assert names == {frozenset((name, f"changed {name}")) for name in DUPLICATED}

    def test_have_the_similarity_of_the_picture_turned_back(self, photos):
        photos.add(CHANGES["rotated by 90°"][0](bundled("chelsea.png")), "turned", "test")
        table, embed = photos.table(), Mock(side_effect=embed_colours)
        features = SimpleNamespace(plain=colour_features(table).plain, embed=embed, results=None)
        duplicates = find_duplicates(table, features, SETTINGS)
        pair = duplicates.pairs.iloc[0]
        candidates = duplicates.candidates.set_index(["a", "b"])
        assert candidates.loc[(pair["a"], pair["b"]), "cosine"] < 0.99 < pair["cosine"] <= 1
        upright = Image.open(table["path"][DUPLICATED.index("chelsea.png")])
        embed.assert_called_once()
        assert [picture.shape for picture in embed.call_args.args[0]] == [(upright.height, upright.width, 3)]


def blurred(number: int) -> Image.Image:
    """Return soft blobs without an edge, each number another picture."""
    blobs = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((400, 300), Image.Resampling.BICUBIC)


class TestBlurredPhotos:
    @pytest.mark.parametrize("change", sorted(set(CHANGES) - {"rotated by -3° on a larger page"}))
    def test_duplicates_without_edges_are_found(self, album, change):
        for number in range(8):
            album.add(jpeg(blurred(number)), str(number))
        apply, reverse = CHANGES[change]
        album.add(apply(blurred(3)), "changed", "test")
        pairs = album.pairs()
        assert [(pair.a, pair.b, pair.kind) for pair in pairs.itertuples()] == [(3, 8, "duplicate")]
        assert pairs["orientation"][0] in (reverse, ORIENTATIONS[INVERSE[ORIENTATIONS.index(reverse)]])

    def test_of_the_sky_are_no_pair(self, album):
        down = np.linspace(0, 1, 90)[:, None]
        for number in range(8):
            album.add(png(60 + 4 * number + 90 * down ** (1 + number / 8) + np.zeros((90, 120))), str(number))
        assert album.pairs().empty


class TestOtherPhotos:
    @pytest.mark.parametrize("make_features", [constant_features, colour_features])
    def test_are_no_pair(self, photos, make_features):
        assert photos.pairs(make_features).empty

    def test_of_one_colour_are_no_pair(self, album):
        rng = np.random.default_rng(0)
        for number in range(12):
            album.add(png(120 + 5 * number + rng.normal(0, number % 3, (60, 80, 3))), str(number))
        assert album.pairs(constant_features).empty

    @pytest.mark.parametrize("stripes", [1, 3])
    def test_with_edges_in_one_direction_only_are_no_pair(self, album, stripes):
        for number in range(10):
            wall = np.full((90, 120), 60 + 10 * number)
            for stripe in range(stripes):
                start = 20 + 3 * number + 25 * stripe
                wall[:, start : start + 12 + number] = 20
            album.add(png(wall), str(number))
        assert album.pairs().empty

    def test_of_the_same_scene_are_near_duplicates(self, photos):
        photos.add(BUNDLED / "motorcycle_right.png", "the other lens of a stereo camera", "test")
        pairs = photos.pairs()
        assert list(pairs["kind"]) == ["near-duplicate"]
        assert photos.table()["original"][pairs["a"][0]] == "motorcycle_left.png"

    def test_with_the_subject_elsewhere_are_near_duplicates(self, album):
        for x in (40, 150):
            room = bundled("coffee.png").resize((400, 300))
            room.paste(bundled("chelsea.png").resize((150, 120)), (x, 90))
            album.add(jpeg(room), str(x))
        assert list(album.pairs()["kind"]) == ["near-duplicate"]


class TestResult:
    def test_of_a_single_photo(self, album):
        album.add(BUNDLED / "coffee.png", "coffee")
        duplicates = album.duplicates(constant_features)
        assert duplicates.pairs.empty and {"a", "b", "kind", "cosine"} <= set(duplicates.pairs.columns)
        assert duplicates.to_dict() == {"pairs": 0, "test_photos": 0}
        assert len(duplicates.plot().axes) == 1 and duplicates.advice() == []
        marked = mark_duplicates(album.table(), duplicates, DROP)
        assert list(marked["duplicate_of"]) == [""] and list(marked["split"]) == ["train"]

    def test_needs_one_row_of_features_per_photo(self, photos):
        with pytest.raises(ValueError, match="got 3 for 16 photos"):
            find_duplicates(photos.table(), constant_features(pd.DataFrame(index=range(3))), SETTINGS)

    def test_has_pairs_across_splits_and_duplicates_first(self, photos):
        photos.add(jpeg(bundled("coffee.png"), 40), "within train")
        photos.add(BUNDLED / "motorcycle_right.png", "same scene in val", "val")
        photos.add(jpeg(bundled("rocket.jpg"), 40), "in test", "test")
        duplicates = photos.duplicates()
        order = list(zip(duplicates.pairs["across"], duplicates.pairs["kind"], strict=True))
        assert order == [(True, "duplicate"), (True, "near-duplicate"), (False, "duplicate")]
        assert duplicates.to_dict() == {"pairs": 1, "test_photos": 1}
        assert "1 test." in duplicates.advice()[0] and 'DUPLICATES = "drop"' in duplicates.advice()[0]
        dropping = replace(duplicates, drop=True)
        assert dropping.to_dict() == {"pairs": 1, "test_photos": 0} and dropping.advice() == []
        assert "1 photo removed" in dropping.summary()

    def test_without_checks_is_skipped(self):
        settings = {**DROP, "CHECKS": False}
        table = photo_table(["a", "b"], ["train", "test"], correct=True)
        duplicates = find_duplicates(table, None, settings)
        assert isinstance(duplicates, Skipped) and "CHECKS" in duplicates.reason
        marked = mark_duplicates(table, duplicates, settings)
        pd.testing.assert_frame_equal(marked, table.assign(duplicate_of=""))
        clean = score_without_duplicates(marked, duplicates)
        assert clean == Skipped("score_without_duplicates", duplicates.reason)

    def test_plots_pairs_side_by_side_above_the_thresholds(self, photos):
        photos.add(jpeg(bundled("coffee.png"), 40), "$odd_name.jpg", "test", "b")
        photos.add(CHANGES["mirrored"][0](bundled("rocket.jpg")), "mirrored.jpg", "test")
        figure = photos.duplicates().plot()
        figure.canvas.draw()
        *photo_axes, thresholds = figure.axes
        titles = [axis.title for axis in photo_axes]
        assert len(titles) == 4 and {len(axis.images) for axis in photo_axes} == {1}
        assert thresholds.get_legend().get_texts()[-1].get_text() == "duplicate (2)"
        assert thresholds.get_position().width > 0.8  # the layout did not collapse
        assert any(title.get_text().startswith("duplicate, mirrored\n") for title in titles)
        red = [title.get_text() for title in titles if title.get_color() != "black"]
        assert len(red) == 2 and any("$odd_name.jpg" in text for text in red)


SPLITS = ["train", "train", "val", "val", "test", "test", "test"]


def table_of(splits: list[str], **columns) -> pd.DataFrame:
    """Return a table whose index is not the row numbers."""
    table = photo_table(["a"] * len(splits), splits, original=[f"{n}.jpg" for n in range(len(splits))], **columns)
    return table.set_index(pd.Index(range(100, 100 + len(splits))))


def duplicates_of(photos: pd.DataFrame, *rows: tuple[int, int, float, str]) -> Duplicates:
    pairs = pd.DataFrame(rows, columns=["a", "b", "cosine", "kind"]).astype({"a": int, "b": int})
    split = photos["split"].to_numpy()
    across = split[pairs["a"]] != split[pairs["b"]]
    return Duplicates(photos, pairs.assign(across=across, same_label=True), pd.DataFrame(), drop=False)


class TestMarkDuplicates:
    def mark(self, photos: pd.DataFrame, *rows: tuple[int, int, float, str], settings=SETTINGS) -> pd.DataFrame:
        return mark_duplicates(photos, duplicates_of(photos, *rows), settings)

    def test_test_photos_duplicate_train_and_val_and_val_photos_train(self):
        photos = table_of(SPLITS)
        rows = [(0, 2, 0.9, "duplicate"), (1, 4, 0.9, "duplicate"), (3, 5, 0.9, "duplicate"), (4, 6, 0.9, "duplicate")]
        marked = self.mark(photos, *rows)
        assert list(marked["duplicate_of"]) == ["", "", "0.jpg", "", "1.jpg", "3.jpg", ""]
        assert marked.index.equals(photos.index) and list(marked["split"]) == SPLITS
        assert "duplicate_of" not in photos  # the table passed in is not changed

    def test_train_is_named_before_val_and_the_most_similar_first(self):
        rows = [(0, 4, 0.91, "duplicate"), (1, 4, 0.95, "duplicate"), (2, 4, 0.99, "duplicate")]
        assert self.mark(table_of(SPLITS), *rows)["duplicate_of"].iloc[4] == "1.jpg"

    def test_pairs_within_a_split_and_near_duplicates_are_not_named(self):
        rows = [(0, 1, 1.0, "duplicate"), (4, 5, 1.0, "duplicate"), (0, 6, 0.9, "near-duplicate")]
        assert (self.mark(table_of(SPLITS), *rows)["duplicate_of"] == "").all()

    def test_the_order_of_splits_in_the_table_does_not_matter(self):
        photos = table_of(["test", "train"])
        assert list(self.mark(photos, (0, 1, 1.0, "duplicate"))["duplicate_of"]) == ["1.jpg", ""]
        photos = table_of(["test", "train", "train", "val"])
        splits = list(self.mark(photos, (0, 1, 1.0, "duplicate"), settings=DROP)["split"])
        assert splits == ["test", "dropped", "train", "val"]

    def test_dropping_the_training_side_leaves_no_duplicate(self):
        photos = table_of([*SPLITS, "train"])
        rows = [(0, 2, 0.9, "duplicate"), (1, 4, 0.9, "duplicate"), (3, 5, 0.9, "duplicate"), (0, 1, 0.9, "duplicate")]
        marked = self.mark(photos, *rows, (2, 6, 0.8, "near-duplicate"), settings=DROP)
        assert list(marked["split"]) == ["dropped", "dropped", "val", "dropped", "test", "test", "test", "train"]
        assert (marked["duplicate_of"] == "").all()

    def test_validation_that_is_all_duplicates_is_taken_from_training(self):
        splits = ["train"] * 10 + ["val"] * 4 + ["test"] * 4
        photos = photo_table(["a", "b"] * 9, splits, groups=[0, 1, 0, 1, *range(2, 16)])
        duplicates = duplicates_of(photos, *[(10 + n, 14 + n, 1.0, "duplicate") for n in range(4)])
        marked = mark_duplicates(photos, duplicates, DROP)
        assert list(marked["split"][10:14]) == ["dropped"] * 4 and list(marked["split"][14:]) == ["test"] * 4
        val = marked[marked["split"] == "val"]
        train = marked[marked["split"] == "train"]
        assert set(val["label"]) == set(train["label"]) == {"a", "b"} and not set(val["group"]) & set(train["group"])
        assert "a, b" in replace(duplicates, drop=True).summary().splitlines()[-1]
        assert list(mark_duplicates(marked, duplicates, SETTINGS)["split"]) == splits

    @pytest.mark.parametrize("other, left", [("val", ["train", "dropped"]), ("test", ["train", "test"])])
    def test_a_class_never_loses_all_its_training_photos(self, other, left):
        photos = photo_table(["a", "a", "b", "b", "b", "a", "b"], ["train", other, *["train"] * 3, "val", "test"])
        duplicates = replace(duplicates_of(photos, (0, 1, 1.0, "duplicate")), drop=True)
        marked = mark_duplicates(photos, duplicates, DROP)
        assert list(marked["split"][:2]) == left and "Not removed" in duplicates.summary()
        assert duplicates.to_dict()["test_photos"] == (marked["duplicate_of"] != "").sum() == (other == "test")

    def test_a_run_without_any_validation_photo_stops(self):
        photos = photo_table(["a", "b"] * 3, ["train", "train", "val", "val", "test", "test"])
        duplicates = duplicates_of(photos, (2, 4, 1.0, "duplicate"), (3, 5, 1.0, "duplicate"))
        with pytest.raises(ValueError, match="no validation photos"):
            mark_duplicates(photos, duplicates, DROP)

    def test_running_the_cell_again_with_keep_brings_dropped_photos_back(self, photos):
        photos.add(jpeg(bundled("coffee.png"), 40), "coffee again", "test")
        table = photos.table()
        dropped = mark_duplicates(table, photos.duplicates(settings=DROP), DROP)
        assert (dropped["split"] == "dropped").sum() == 1
        again = find_duplicates(dropped, random_features(dropped), SETTINGS)
        restored = mark_duplicates(dropped, again, SETTINGS)
        assert list(restored["split"]) == list(table["split"]) and (restored["duplicate_of"] != "").sum() == 1
        assert again.to_dict() == {"pairs": 1, "test_photos": 1}
        unchecked = mark_duplicates(dropped, Skipped("duplicates", ""), SETTINGS)
        assert list(unchecked["split"]) == list(table["split"])

    def test_groups_are_merged_along_all_pairs(self):
        photos = table_of(SPLITS, group=[7, 7, 8, 9, 10, 11, 12])
        marked = self.mark(photos, (1, 4, 0.9, "duplicate"), (4, 6, 0.8, "near-duplicate"), (2, 3, 0.8, "duplicate"))
        assert list(marked["group"]) == [0, 0, 1, 1, 0, 2, 0]

    @pytest.mark.parametrize("change", ["mirrored", "rotated by 90°"])
    def test_a_turned_duplicate_shares_the_group(self, photos, change):
        photos.add(CHANGES[change][0](bundled("coffee.png")), "turned")
        table = photos.table()
        assert table["group"].is_unique  # as perceptual hashes see it
        group = mark_duplicates(table, photos.duplicates(), SETTINGS)["group"].to_numpy()
        assert group[-1] == group[DUPLICATED.index("coffee.png")] and len(set(group)) == len(table) - 1


def scored(correct: dict[str, int], incorrect: dict[str, int]) -> pd.DataFrame:
    """Return a photo each in train and val, then so many test photos per class."""
    counts = pd.concat([pd.Series(correct, dtype=int), pd.Series(incorrect, dtype=int)])
    labels = ["dog", "dog", *counts.index.repeat(counts)]
    splits = ["train", "val", *["test"] * counts.sum()]
    is_correct = np.arange(len(labels)) < 2 + sum(correct.values())
    return photo_table(labels, splits, correct=is_correct, duplicate_of="")


def line(clean: CleanScore) -> str:
    return clean.findings()["leaks"].line


def clean_score(photos: pd.DataFrame, lost: dict[str, int]) -> CleanScore:
    """Return the score if the first so many test photos of each class are duplicates."""
    for label, count in lost.items():
        rows = photos.index[(photos["split"] == "test") & (photos["label"] == label)][:count]
        photos.loc[rows, "duplicate_of"] = "0.jpg"
    return score_without_duplicates(photos, duplicates_of(photos))


class TestScoreWithoutDuplicates:
    def test_no_duplicates(self):
        clean = clean_score(scored({"lucy": 10, "other": 10}, {"other": 2}), {})
        assert (clean.correct, clean.total) == (clean.clean_correct, clean.clean_total) == (20, 22)
        assert clean.to_dict()["accuracy"] == 20 / 22 and clean.to_dict()["ci95"] == wilson(20, 22)
        assert clean.duplicates == 0 and clean.too_few == {} and line(clean) == "nothing found"
        assert "validation photos: 0." in clean.summary()

    def test_one_photo_of_a_class_or_none_remains(self):
        clean = clean_score(scored({"lucy": 10, "other": 11}, {"other": 1}), {"lucy": 9})
        assert (clean.correct, clean.total, clean.duplicates) == (21, 22, 9)
        assert clean.too_few == {"lucy": 1}
        score = {"accuracy": 12 / 13, "ci95": wilson(12, 13), "correct": 12, "total": 13}
        assert clean.to_dict() == {**score, "duplicates": 9, "too_few": ["lucy"]}
        assert "12 of 13" in clean.summary() and "lucy (1)" in clean.summary()
        assert line(clean).startswith("found: 9 of 22 test photos; too few others")
        assert clean_score(scored({"Lucy": 10, "other": 12}, {}), {"Lucy": 10}).too_few == {"Lucy": 0}

    def test_enough_remain_to_estimate_the_effect(self):
        photos = scored({"lucy": 60, "other": 80}, {"other": 20})
        clean = clean_score(photos, {"lucy": 50})
        assert clean.too_few == {} and "90 of 110" in clean.summary()
        assert line(clean) == "found: 50 of 160 test photos; estimated effect on the score 0.06"
        assert "0.17 higher" in line(clean_score(scored({"lucy": 20}, {"other": 20}), {"other": 10}))

    def test_many_classes_lose_photos(self):
        labels = {f"breed {n}": 3 for n in range(5)}
        clean = clean_score(scored(labels, {}), dict.fromkeys(labels, 1))
        assert clean.too_few == dict.fromkeys(labels, 2)
        assert "breed 2 (2) and 2 more" in clean.summary()

    def test_every_test_photo_is_a_duplicate(self):
        clean = clean_score(scored({"lucy": 3}, {"lucy": 1}), {"lucy": 4})
        assert clean.to_dict()["accuracy"] is None and clean.to_dict()["ci95"] is None
        assert "0.75" in clean.summary() and "no score" in clean.summary()
        assert "too few" in line(clean)

    def test_no_test_photos(self):
        clean = clean_score(scored({}, {}), {})
        assert clean.to_dict()["accuracy"] is None and line(clean) == "cannot tell, there are no test photos"
        assert "no score" in clean.summary()

    @pytest.mark.parametrize("near, verdict", [(1, "1 of 3"), (3, "cannot tell")])
    def test_near_duplicates_are_in_the_verdict(self, near, verdict):
        photos = scored({"dog": 3}, {})
        photos.loc[photos.index[-near:], "group"] = 0
        answer = line(clean_score(photos, {}))
        assert verdict in answer and "nothing found" not in answer

    def test_near_duplicates_are_left_out_as_well(self):
        photos = scored({"lucy": 20}, {"lucy": 5})
        duplicates = duplicates_of(photos, (0, 4, 0.99, "duplicate"), (1, 5, 0.9, "near-duplicate"))
        clean = score_without_duplicates(mark_duplicates(photos, duplicates, SETTINGS), duplicates)
        assert (clean.clean_correct, clean.clean_total) == (19, 24)
        assert (clean.new_correct, clean.new_total) == (18, 23)
        assert "18 of 23" in clean.summary()

    def test_dropped_photos_do_not_count(self):
        photos = pd.concat([scored({"lucy": 20}, {"lucy": 5}), photo_table(["dog"], groups=[99])], ignore_index=True)
        duplicates = duplicates_of(photos, (0, 4, 0.99, "duplicate"), (0, 5, 0.9, "near-duplicate"))
        clean = score_without_duplicates(mark_duplicates(photos, duplicates, DROP), duplicates)
        assert clean.dropped == 1 and clean.duplicates == 0 and clean.new_total == 25
        assert line(clean) == "nothing found any more: 1 photo removed from training and validation"


@pytest.mark.skipif(not LUCY.is_dir(), reason=f"the photos in {LUCY} are not part of the repository")
def test_all_ten_of_lucys_test_photos_are_also_in_training_or_validation(album):
    """Nine have the same orientation, the tenth is rotated without an EXIF orientation that says so."""
    test = sorted((LUCY / "test" / "lucy").iterdir())
    stems = {photo.stem for photo in test} | {"IMG_0554", "IMG_0555"}  # and two photos of the same scene
    for split in ("train", "val"):
        related = [photo for photo in sorted((LUCY / split / "lucy").iterdir()) if photo.stem in stems]
        for photo in related + sorted((LUCY / split / "other").iterdir())[:15]:
            album.add(photo, photo.name, split, photo.parent.name)
    for photo in test:
        album.add(photo, photo.name, "test", "lucy")
    table, pairs = album.table(), album.pairs()
    duplicates = pairs[pairs["kind"] == "duplicate"]
    assert len(duplicates) == 10 and set(duplicates["b"]) == set(table.index[table["split"] == "test"])
    for a, b in zip(duplicates["a"], duplicates["b"], strict=True):
        assert Path(table["original"][a]).stem == Path(table["original"][b]).stem
    assert sorted(duplicates["orientation"]) == ["rotated 90°", *["same"] * 9]
    near = pairs[pairs["kind"] == "near-duplicate"]
    assert len(near) and near["across"].all()
