"""Tests of the audit as a whole: duplicates count once in every check, and the verdict has a line for each."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from builders import SETTINGS, draw, photo_table
from phototransfer.audit import (
    check_shift,
    check_shortcuts,
    conclude,
    distributions,
    find_duplicates,
    mark_duplicates,
    score_without_duplicates,
    shift_examples,
    shortcuts,
)
from phototransfer.evaluate import measure_accuracy
from phototransfer.photos.decode import perceptual_hash
from phototransfer.report import Skipped


class PixelFeatures:
    """Features that need no network: a few coarse pixels."""

    results = None

    def __init__(self, pictures):
        self.plain = self.embed([np.asarray(picture) for picture in pictures])

    def embed(self, pictures):
        small = [Image.fromarray(picture).resize((6, 6)) for picture in pictures]
        return np.stack([np.asarray(picture, dtype=np.float32).ravel() / 255 for picture in small])

    def background(self):
        return self.plain


def verdict_of(photos, *results):
    """Return the lines of the verdict that these results lead to, of photos that are all correct."""
    findings = {}
    for result in results:
        findings |= result.findings()
    return conclude(findings, measure_accuracy(photos), Skipped("cross_validation", "Off.")).to_dict()["lines"]


@pytest.fixture
def mirrored(tmp_path):
    """Twelve pictures per class, each with its mirror image in another split: table and features."""
    pictures, paths = [], []
    for number in range(24):
        picture = draw(number, (96, 96))
        pictures += [picture, ImageOps.mirror(picture)]
    for number, picture in enumerate(pictures):
        paths.append(str(tmp_path / f"{number}.png"))
        picture.save(paths[-1])
    labels, splits = np.repeat(["a", "b"], 24), np.tile(["train", "val", "train", "test"], 12)
    hashes = [perceptual_hash(picture) for picture in pictures]
    return photo_table(labels, splits, path=paths, phash=hashes), PixelFeatures(pictures)


def test_mirrored_duplicates_count_once(mirrored, monkeypatch):
    """Their hashes differ, so only the registered pairs show that they are the same picture (defect D2)."""
    monkeypatch.setattr(shortcuts, "_PERMUTATIONS", 19)
    monkeypatch.setattr(shortcuts, "_PLANTED", 2)
    photos, features = mirrored
    hashes = photos["phash"].map(lambda digits: int(digits, 16)).to_numpy()
    assert min(int(one ^ two).bit_count() for one, two in zip(hashes[::2], hashes[1::2], strict=True)) > 10
    assert len(check_shortcuts(photos, features, SETTINGS).sample.rows) == 48
    marked = mark_duplicates(photos, find_duplicates(photos, features, SETTINGS), SETTINGS)
    result = check_shortcuts(marked, features, SETTINGS)
    assert result.sample.rows.tolist() == list(range(0, 48, 2)) and result.to_dict()["photos"] == 24
    assert result.sample.counts.tolist() == [12, 12] and result.effects["photos"].max() <= 24
    shift = check_shift(marked, features, SETTINGS)
    assert shift.state == "cannot tell" and shift.table["set_aside"].tolist() == [12, 12]


def test_the_verdict_has_a_line_for_each_question(mirrored, monkeypatch):
    monkeypatch.setattr(shortcuts, "_PERMUTATIONS", 19)
    monkeypatch.setattr(shortcuts, "_PLANTED", 2)
    photos, features = mirrored
    pairs = find_duplicates(photos, features, SETTINGS)
    marked = mark_duplicates(photos, pairs, SETTINGS).assign(correct=True)
    results = (
        score_without_duplicates(marked, pairs),
        check_shortcuts(marked, features, SETTINGS),
        check_shift(marked, features, SETTINGS),
    )
    lines = verdict_of(marked, *results)
    assert list(lines) == ["leaks", "shortcuts", "background", "files", "shift"]
    assert lines["leaks"].startswith("found: 12 of 12") and lines["shift"].startswith("cannot tell")


def test_the_verdict_of_what_was_not_checked(mirrored):
    photos, features = mirrored
    off = {**SETTINGS, "CHECKS": False}
    pairs = find_duplicates(photos, features, off)
    marked = mark_duplicates(photos, pairs, off).assign(correct=True)
    results = score_without_duplicates(marked, pairs), check_shortcuts(marked, features, off)
    lines = verdict_of(marked, *results, check_shift(marked, features, off))
    assert set(lines.values()) == {"not checked (CHECKS = False)"}
    assert isinstance(distributions(results[1]), Skipped) and isinstance(shift_examples(results[1]), Skipped)


@pytest.mark.parametrize("labels", [["a"], ["a", "b"], ["a", "a", "a", "b"]])
def test_too_few_photos_are_no_error(labels):
    photos = photo_table(labels, "train", duplicate_of="", taken=pd.NaT)
    result = check_shortcuts(photos, None, SETTINGS)
    assert isinstance(result, Skipped) and "too few photos" in result.reason.lower()
    assert {finding.state for finding in result.findings().values()} == {"cannot tell"}
