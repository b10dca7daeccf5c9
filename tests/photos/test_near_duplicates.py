"""Near-duplicates stay together, and photos that are only much alike never cost a class its photos."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from builders import draw
from phototransfer.photos import near_duplicates
from phototransfer.photos.decode import perceptual_hash
from phototransfer.photos.near_duplicates import group_near_duplicates

SIZE = (240, 180)


@pytest.fixture
def table(tmp_path) -> Callable[..., pd.DataFrame]:
    """table({"cat": [pictures], …}): what `group_near_duplicates` needs."""

    def make(pictures: dict[str, list[Image.Image]]) -> pd.DataFrame:
        rows = []
        for label, of_class in pictures.items():
            for picture in of_class:
                path = Path(tmp_path, f"{len(rows)}.jpg")
                picture.save(path, quality=92)
                digest = hashlib.sha256(picture.tobytes()).hexdigest()
                rows.append({"path": str(path), "label": label, "digest": digest, "phash": perceptual_hash(picture)})
        return pd.DataFrame(rows).assign(split=None)

    return make


def photo(seed: int) -> Image.Image:
    """A picture with fine detail, which registration needs."""
    grain = np.random.default_rng(seed).integers(0, 256, (36, 48, 3), dtype=np.uint8)
    return Image.blend(draw(seed, SIZE), Image.fromarray(grain).resize(SIZE, Image.Resampling.BICUBIC), 0.5)


def different(count: int, start: int = 0) -> list[Image.Image]:
    return [photo(number) for number in range(start, start + count)]


def fixed_camera(count: int, seed: int) -> list[Image.Image]:
    """Shots of one scene with something small at another place in each."""
    shots = []
    for number in range(count):
        shot = photo(900)
        shot.paste(photo(seed + number).resize((48, 48)), ((37 * number) % 190, 60 + (23 * number) % 70))
        shots.append(ImageEnhance.Brightness(shot).enhance(0.8 + 0.03 * (number % 12)))
    return shots


def partners(groups: np.ndarray) -> dict[int, set[int]]:
    """Return the photos that are in one group with others."""
    numbers = {row: set(np.flatnonzero(groups == group).tolist()) for row, group in enumerate(groups)}
    return {row: same for row, same in numbers.items() if len(same) > 1}


def test_a_copy_that_was_saved_again_and_the_same_file_are_grouped(table):
    cats = different(6)
    cats += [cats[1].resize((120, 90)).resize(SIZE), ImageEnhance.Brightness(cats[2]).enhance(1.1), cats[3].copy()]
    found = group_near_duplicates(table({"cat": cats, "dog": different(6, 50)}))
    assert set(map(frozenset, partners(found.numbers).values())) == {frozenset(p) for p in ((1, 6), (2, 7), (3, 8))}
    assert found.notes == []


def test_a_similar_hash_alone_groups_nothing(table):
    photos = table({"cat": different(5), "dog": different(5, 50)})
    assert partners(group_near_duplicates(photos.assign(phash="0123456789abcdef")).numbers) == {}


def test_files_with_equal_bytes_need_nothing_to_register(table):
    plain = [Image.new("RGB", SIZE, (number, 0, 0)) for number in (10, 10, 60, 90, 120)]
    assert partners(group_near_duplicates(table({"cat": plain, "dog": different(5)})).numbers) == {0: {0, 1}, 1: {0, 1}}


@pytest.mark.parametrize("classes", [("cat", "empty"), ("cat",)])
def test_a_fixed_camera_costs_no_class_its_photos_and_it_is_said(table, classes):
    pictures = {label: fixed_camera(12, 300 + 20 * number) for number, label in enumerate(classes)}
    photos = table({**pictures, "dog": different(12)})
    assert perceptual_hash(pictures["cat"][0]) != "" and len(set(photos["digest"])) == len(photos)
    found = group_near_duplicates(photos)
    of_class = pd.Series(found.numbers).groupby(photos["label"]).nunique()
    assert (of_class >= 3).all()
    assert len(found.notes) == 1 and "much alike" in found.notes[0]


def test_a_class_of_a_few_shots_of_one_scene_stays(table):
    found = group_near_duplicates(table({"cat": fixed_camera(4, 300), "dog": different(6)}))
    assert len(set(found.numbers[:4])) >= 3


def test_a_burst_in_a_large_class_stays_together(table):
    burst = [ImageEnhance.Brightness(photo(7)).enhance(factor) for factor in (0.9, 1.0, 1.1)]
    found = group_near_duplicates(table({"cat": [*burst, *different(20, 30)], "dog": different(9, 100)}))
    assert len(set(found.numbers[:3])) == 1 and found.notes == []


def test_blocks_change_nothing_and_no_photo_is_needed(table, monkeypatch):
    cats = different(9)
    photos = table({"cat": [*cats, *(cat.resize((120, 90)).resize(SIZE) for cat in cats)], "dog": different(5, 50)})
    expected = group_near_duplicates(photos).numbers
    monkeypatch.setattr(near_duplicates, "_COMPARISONS", 100)  # blocks of 4 of the 23 photos
    monkeypatch.setattr(near_duplicates, "_BATCH", 3)
    assert list(group_near_duplicates(photos).numbers) == list(expected)
    assert len(partners(expected)) == 18
    assert list(group_near_duplicates(photos.head(0)).numbers) == []


def film(seed: int, count: int) -> list[Image.Image]:
    """Frames of a camera that moves along a wide scene, which the last frame shares little of with the first."""
    grain = np.random.default_rng(seed).integers(0, 256, (36, 120, 3), dtype=np.uint8)
    wide = Image.fromarray(grain).resize((600, 180), Image.Resampling.BICUBIC)
    return [wide.crop((8 * time, 0, 8 * time + SIZE[0], SIZE[1])) for time in range(count)]


def test_a_film_is_divided_into_scenes_and_not_one_group(table):
    groups = group_near_duplicates(table({"cat": film(1, 30), "dog": film(2, 30)})).numbers
    assert 3 <= len(set(groups[:30])) < 30
    for group in set(groups):
        assert np.ptp(np.flatnonzero(groups == group)) < 15


def test_many_copies_of_one_photo_are_one_group(table):
    copies = [photo(1).resize((240 - 6 * number, 180 - 4 * number)) for number in range(15)]
    found = group_near_duplicates(table({"cat": [*copies, *different(5, 20)], "dog": different(6, 50)}))
    assert len(set(found.numbers[:15])) == 1 and found.notes == []


def test_order_of_the_files_does_not_matter(table):
    photos = table({"cat": [*film(1, 20), *fixed_camera(12, 300)], "dog": fixed_camera(12, 330)})
    expected = pd.Series(group_near_duplicates(photos).numbers)
    for seed in range(3):
        shuffled = photos.sample(frac=1, random_state=seed)
        groups = pd.Series(group_near_duplicates(shuffled).numbers, index=shuffled.index).sort_index()
        assert list(pd.factorize(groups)[0]) == list(pd.factorize(expected)[0])


def test_scenes_across_the_splits_of_the_owner_are_said(table):
    photos = table({"cat": [*film(1, 6), *different(6)], "dog": different(12, 50)})
    photos["split"] = ["train", "train", "test"] * 8
    notes = group_near_duplicates(photos).notes
    assert len(notes) == 1 and "2 of 8" in notes[0]
