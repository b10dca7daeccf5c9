"""Every kind of hostile file is used correctly or skipped with a reason, and the run goes on."""

import os
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from photos import hostile
from photos.readme_table import README
from phototransfer.photos import Source, prepare

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="Windows takes few of these names, and links only from administrators"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory):
    return cache(lambda case: hostile.run(case, tmp_path_factory.mktemp("hostile") / "case"))


@pytest.mark.parametrize("case", hostile.ALL, ids=lambda case: case.about)
def test_used_correctly_or_skipped_with_a_reason(case, outcome_of):
    outcome = outcome_of(case)
    used, skipped = outcome.used(), outcome.skipped()
    assert set(used) == set(outcome.expected)
    for original, path in used.items():
        assert_shows(path, outcome.expected[original])
    assert all(len(reason) > 10 and "Error" not in reason and "Errno" not in reason for reason in skipped.values())
    if outcome.prepared is None:
        assert "At least two classes with enough photos are needed" in outcome.message
    else:
        assert outcome.prepared.found == len(outcome.prepared.photos) + len(outcome.prepared.skipped)
        assert not set(used) & set(skipped)
        named = {*used, *skipped}
        assert all(named & {name, *map(str, PurePosixPath(name).parents)} for name in outcome.own)
        assert all(reason in outcome.prepared.summary() for reason in skipped.values())


def assert_shows(path: str, intended: Image.Image) -> None:
    """The photo shows the picture, pixel by pixel, within the loss of two JPEGs (the original and the prepared one)."""
    with Image.open(path) as prepared:
        assert (prepared.mode, prepared.getexif()) == ("RGB", {})
        shown = np.asarray(prepared).astype(int)
    expected = np.asarray(intended.convert("RGB")).astype(int)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() < 4
    assert np.abs(shown - expected).max() <= 40


def test_a_thousand_classes_are_all_there(outcome_of):
    [case] = [case for case in hostile.ALL if "1,000" in case.about]
    photos = outcome_of(case).prepared.photos
    assert photos["label"].nunique() == 1000
    assert photos["split"].value_counts().to_dict() == {"train": 1000, "val": 1000, "test": 1000}


def test_the_table_in_the_readme_is_what_happens(outcome_of):
    readme = README.read_text(encoding="utf-8")
    assert hostile.TABLE.in_readme(hostile.table(outcome_of)) == readme, "see the first lines of hostile.py"
    assert readme.count(hostile.TABLE.begin) == readme.count(hostile.TABLE.end) == 1


def test_all_cases_in_one_folder(tmp_path):
    expected, valid = {}, set()
    folder = tmp_path / "photos"
    for number, case in enumerate(hostile.ALL):
        if case.among_valid:
            here = folder / "cat" / str(number)
            (here / "dog").mkdir(parents=True)
            hostile.save(here / "cat" / "valid 0.jpg", 900)
            pictures = case.make(here)
            if "class" not in case.about and "circle" not in case.about and "read" not in case.about:
                expected |= {f"cat/{number}/{name}": picture for name, picture in pictures.items()}
            valid.add(f"cat/{number}/cat/valid 0.jpg")
    for number in range(8):
        hostile.save(folder / "dog" / f"{number}.jpg", 500 + number)
    prepared = prepare(Source("all", folder, tmp_path / "home"), val_split=0.2, test_split=0.2, seed=1)
    paths = dict(zip(prepared.photos["original"], prepared.photos["path"], strict=True))
    assert set(expected) | valid <= set(paths)
    assert len(prepared.skipped) > 15
    assert prepared.found == len(prepared.photos) + len(prepared.skipped)
    for original, picture in expected.items():
        assert_shows(Path(paths[original]), picture)
