"""Features of two classes, for the tests of everything that cross-validates."""

from collections.abc import Callable

import numpy as np
import pytest

from builders import SETTINGS, ClassMeans, build_head, features_of, fit_head, photo_table
from phototransfer.evaluate.cross_validation import CrossValidator


@pytest.fixture(scope="session")
def blobs() -> Callable[..., CrossValidator]:
    """blobs(count, distance, n_features, groups, fit_head, **settings): two classes of normal noise, means apart.

    One photo in five is a test photo, one in five a validation photo.
    """

    def make(count, distance, n_features=6, groups=None, fit_head=fit_head, **settings) -> CrossValidator:
        labels = np.resize(["a", "b"], count)
        splits = np.resize(["train", "train", "val", "train", "test"], count)
        x = np.random.default_rng(0).standard_normal((count, n_features)).astype(np.float32)
        x[:, 0] += distance * (labels == "b")
        photos = photo_table(labels, splits, groups, duplicate_of="", correct=True)
        settings = SETTINGS | {"HEAD": [8], "LEARNING_RATE": 0.03, "SEED": 0} | settings
        return CrossValidator(photos, features_of(x), build_head=build_head, fit_head=fit_head, settings=settings)

    return make


@pytest.fixture
def class_means(monkeypatch):
    """Let every head of this test be a nearest class mean."""
    monkeypatch.setattr("phototransfer.network.training.HeadTrainer", ClassMeans)
