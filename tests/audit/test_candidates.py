"""The nearest photos of very many are found as those of few."""

import importlib.util

import numpy as np
import pytest

from builders import draw
from phototransfer.audit import candidates
from phototransfer.audit.candidates import find_candidates
from phototransfer.photos import registration

SEARCHES = ["exact", "faiss"]


@pytest.fixture(params=SEARCHES)
def approximate(request, monkeypatch):
    """Let few photos be searched as very many are, with and without faiss."""
    if request.param == "faiss" and importlib.util.find_spec("faiss") is None:
        pytest.skip("faiss is not installed: requirements-large.txt")
    if request.param == "exact":
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "faiss" else find_spec(name))
    monkeypatch.setattr(candidates, "MOST_EXACT", 0)
    monkeypatch.setattr(candidates, "_QUERIES", 50)  # several blocks
    monkeypatch.setattr(candidates, "_FEWEST", 60)


@pytest.fixture(scope="module")
def photos():
    """Return squares and features of 300 photos, and pairs (a, b, orientation) that show the same picture."""
    rng = np.random.default_rng(0)
    grey = [np.asarray(draw(number, (64, 64)).convert("L")) for number in range(300)]
    features = rng.gamma(0.5, 1.0, (300, 200)).astype(np.float32)
    pairs = []
    for number in range(40):
        b, orientation = 150 + number, number % 8
        turned = registration.orient(grey[number][None], int(registration.INVERSE[orientation]))[0]
        grey[b] = np.clip(turned + rng.normal(0, 3, (64, 64)), 0, 255).astype(np.uint8)
        pairs.append((number, b, orientation))
    for number in range(40, 60):  # a crop that has another shape, but similar features
        features[150 + number] = features[number] + 0.1 * rng.standard_normal(200)
        pairs.append((number, 150 + number, 0))
    return np.stack(grey), features, np.array(pairs)


def found(squares, features, split) -> set[tuple[int, ...]]:
    return {tuple(pair) for pair in find_candidates(squares, features, split).tolist()}


def test_the_same_pictures_are_found_in_each_split_and_orientation(photos, approximate):
    squares, features, pairs = photos
    split = np.resize(["train", "train", "val", "test"], 300)
    missing = {tuple(pair) for pair in pairs.tolist()} - found(squares, features, split)
    assert not missing


def test_what_is_similar_is_what_an_exact_search_finds(photos, approximate, monkeypatch):
    squares, features, _ = photos
    split = np.resize(["train", "test"], 300)
    some = found(squares, features, split)
    monkeypatch.setattr(candidates, "MOST_EXACT", 300)
    every = found(squares, features, split)
    assert some <= every | {(a, b, number) for a, b, _ in every for number in range(8)}
    assert len(some) < len(every) / 2  # others are not similar


def test_photos_without_a_shape_and_with_equal_features(approximate):
    squares, features = np.full((60, 64, 64), 128, np.uint8), np.ones((60, 8), np.float32)
    pairs = find_candidates(squares, features, np.array(["train"] * 59 + ["test"]))
    assert (pairs[:, 0] < pairs[:, 1]).all()
