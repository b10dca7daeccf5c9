"""Extraction of features that is killed, out of space, without permission or run twice at once is resumed."""

import errno
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import processes
from builders import tiny_extractor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")


@pytest.fixture
def table(make_photo, tmp_path) -> Path:
    """The table of 150 photos, as CSV."""
    paths = [make_photo(tmp_path / "squares" / f"{number}.jpg", number, (24, 20)) for number in range(150)]
    photos = pd.DataFrame({"path": paths, "digest": [f"digest {path.stem}" for path in paths]})
    photos.to_csv(tmp_path / "photos.csv", index=False)
    return tmp_path / "photos.csv"


def extract_to(result: Path, table: Path, cache: Path, first: int = 0, last: int = 150) -> None:
    """Extract the features of rows of a table with Keras, saving after each batch, and write them."""
    from phototransfer.network import features, inference

    inference.available_engines = lambda: [inference.KERAS]
    features._SAVE_EVERY_SECONDS = 0
    np.save(result, features.extract(pd.read_csv(table)[first:last], tiny_extractor(), cache).plain)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(table, tmp_path, kills):
    cache, saved = tmp_path / "cache", 0
    processes.do(extract_to, tmp_path / "whole.npy", table, tmp_path / "whole")
    whole = np.load(tmp_path / "whole.npy")
    assert whole.shape == (150, 5)

    def remove_cache() -> None:
        shutil.rmtree(cache, ignore_errors=True)

    arguments = extract_to, tmp_path / "never.npy", table, cache
    for _ in processes.kill_at_random(kills, *arguments, seed=2, before=remove_cache):
        saved += cache.exists() and any(cache.glob("*/*.npy"))
        processes.do(extract_to, tmp_path / "again.npy", table, cache)
        np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), whole)
    assert saved or kills < 20  # some were killed when a part of the features was saved


def test_two_runs_at_once_keep_the_features_of_both(table, tmp_path, monkeypatch):
    from phototransfer.network import features, inference

    monkeypatch.setattr(inference, "available_engines", lambda: [inference.KERAS])
    results = [tmp_path / "first.npy", tmp_path / "second.npy"]
    running = [
        processes.start(extract_to, results[0], table, tmp_path / "cache", 0, 90),
        processes.start(extract_to, results[1], table, tmp_path / "cache", 60, 150),
    ]
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    everything = features.extract(pd.read_csv(table), tiny_extractor(), tmp_path / "cache")
    assert everything.computed == 0
    np.testing.assert_array_equal(everything.plain[:90], np.load(results[0]))
    np.testing.assert_array_equal(everything.plain[60:], np.load(results[1]))


class Faults:
    """Let the `number`-th write of this process fail; `calls` counts the writes."""

    def __init__(self, patched: pytest.MonkeyPatch, number: int, error: int) -> None:
        self.calls, self.number, self.error = 0, number, error
        for name in ("replace", "mkdir", *(() if error == errno.ENOSPC else ("unlink",))):  # removing needs no space
            patched.setattr(os, name, self._failing(getattr(os, name)))
        path_open = Path.open

        def open_(path: Path, mode: str = "r", *args, **options):
            if mode[0] in "wax":
                self._count(path)
            return path_open(path, mode, *args, **options)

        patched.setattr(Path, "open", open_)

    def _count(self, path: Path) -> None:
        self.calls += 1
        if self.calls == self.number:
            raise OSError(self.error, os.strerror(self.error), str(path))

    def _failing(self, function):
        def call(*args, **options):
            self._count(args[0])
            return function(*args, **options)

        return call


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("first", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_fault_at_each_write(table, tmp_path, error, first, monkeypatch):
    from phototransfer.network import features

    photos, tiny = pd.read_csv(table).head(40), tiny_extractor()
    whole = features.extract(photos, tiny, tmp_path / "whole").plain
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    failed = 0
    for number in range(first, 1000, 3):
        cache = tmp_path / str(number)
        with monkeypatch.context() as patched:
            faults = Faults(patched, number, error)
            try:
                features.extract(photos, tiny, cache)
            except OSError as caught:
                failed += 1
                assert str(cache) in str(caught), caught
                if error == errno.ENOSPC:
                    assert "free" in str(caught), caught
        np.testing.assert_array_equal(features.extract(photos, tiny, cache).plain, whole)
        assert {path.name for path in cache.iterdir()} == names
        if faults.calls < number:
            break
    assert failed > 0
