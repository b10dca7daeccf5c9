"""Killed, stopped, out of space or refused at any moment and run again: is it as if nothing had happened?"""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import children
import numpy as np
import pandas as pd
import pytest

from helpers import features, run_folders, runs
from helpers.photos import Source, prepare

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")
KILLS = pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waiting for the disk proves nothing here, for no process that is killed takes the system down with it."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def small(pile) -> Source:
    """Seven photos and a broken one."""
    for photo in sorted(pile.folder.rglob("*.jpg"))[:10:2]:
        photo.unlink()
    (pile.folder / "cat" / "broken.jpg").write_bytes(b"no photo")
    return pile


def killed_sometime(seconds: float, work: Callable, *args) -> bool:
    """Begin `work` in a process and kill it after so many seconds; whether it was still at it."""
    process = children.start(work, *args)
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def how_long(work: Callable, *args) -> float:
    """Seconds that a process takes for `work`, a fork server that has begun already taken for granted."""
    began = time.monotonic()
    children.do(work, *args)
    return time.monotonic() - began


# kill -9


@KILLS
def test_preparing_killed_at_random_moments(pile, make_photo, tmp_path, kills):
    for number in range(100, 160):
        make_photo(pile.folder / ("cat", "dog")[number % 2] / f"{number}.jpg", number, (400, 380))
    args = pile.folder, pile.home
    children.do(children.prepared_to, tmp_path / "whole.json", *args)
    shutil.rmtree(pile.home)
    seconds = how_long(children.prepared_to, tmp_path / "whole.json", *args)
    whole = (tmp_path / "whole.json").read_text()
    chance, killed = random.Random(1), 0
    for _ in range(kills):
        shutil.rmtree(pile.home)
        moment = chance.uniform(0, seconds)
        killed += killed_sometime(moment, children.prepared_to, tmp_path / "never.json", *args)
        children.do(children.prepared_to, tmp_path / "again.json", *args)
        assert (tmp_path / "again.json").read_text() == whole, f"killed after {moment} s"
    assert killed > kills / 4


@pytest.mark.parametrize(
    ("function", "how", "moments"),
    [
        # Seven photos to the store, skipped.csv, seven links, and the index before and after reading.
        ("os.replace", "before", range(1, 18)),
        ("os.replace", "after", range(1, 18)),
        ("os.link", "after", range(1, 8, 3)),
        ("pathlib.Path.write_bytes", "half", (1, 6)),
    ],
    ids=["before renaming", "after renaming", "after linking", "in the middle of a photo"],
)
def test_preparing_killed_at_each_write(small, tmp_path, function, how, moments):
    args = small.folder, small.home
    children.do(children.prepared_to, tmp_path / "whole.json", *args)
    for moment in moments:
        shutil.rmtree(small.home)
        dying = children.start(
            children.die_at, function, moment, how, children.prepared_to, tmp_path / "never.json", *args
        )
        dying.join(60)
        assert dying.exitcode == -signal.SIGKILL
        children.do(children.prepared_to, tmp_path / "again.json", *args)
        assert (tmp_path / "again.json").read_text() == (tmp_path / "whole.json").read_text(), (function, moment, how)


def test_preparing_another_split_killed_at_each_write(small, tmp_path, make_photo):
    """From one seed to another, with a photo gone and another one changed."""
    args = small.folder, small.home
    children.do(children.prepared_to, tmp_path / "first.json", *args, 1)
    shutil.copytree(small.home, tmp_path / "kept")
    (small.folder / "dog" / "dog9.jpg").unlink()
    make_photo(small.folder / "cat" / "cat10.jpg", 99)
    children.do(children.prepared_to, tmp_path / "whole.json", *args, 2)
    for function, how in (("os.replace", "after"), ("os.unlink", "before"), ("os.rmdir", "after")):
        for moment in range(1, 30):
            shutil.rmtree(small.home)
            shutil.copytree(tmp_path / "kept", small.home)
            dying = children.start(
                children.die_at, function, moment, how, children.prepared_to, tmp_path / "never.json", *args, 2
            )
            dying.join(60)
            if dying.exitcode == 0:  # there are no more calls than these
                break
            children.do(children.prepared_to, tmp_path / "again.json", *args, 2)
            assert (tmp_path / "again.json").read_text() == (tmp_path / "whole.json").read_text(), (function, moment)


@pytest.fixture
def table(make_photo, tmp_path) -> Path:
    """The table of 150 photos, as CSV."""
    paths = [make_photo(tmp_path / "squares" / f"{number}.jpg", number, (24, 20)) for number in range(150)]
    photos = pd.DataFrame({"path": paths, "digest": [f"digest {path.stem}" for path in paths]})
    photos.to_csv(tmp_path / "photos.csv", index=False)
    return tmp_path / "photos.csv"


@KILLS
def test_extracting_features_killed_at_random_moments(table, tmp_path, kills):
    store = tmp_path / "features"
    children.do(children.features_to, tmp_path / "whole.npy", table, store)
    shutil.rmtree(store)
    seconds = how_long(children.features_to, tmp_path / "whole.npy", table, store)
    whole = np.load(tmp_path / "whole.npy")
    assert whole.shape == (150, 5)
    chance, killed, kept = random.Random(2), 0, 0
    for _ in range(kills):
        shutil.rmtree(store, ignore_errors=True)
        moment = chance.uniform(0, seconds)
        killed += killed_sometime(moment, children.features_to, tmp_path / "never.npy", table, store)
        kept += store.exists() and any(store.glob("*.npz"))
        children.do(children.features_to, tmp_path / "again.npy", table, store)
        np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), whole)
    assert killed > kills / 4
    assert kept or kills < 20  # some were killed with a part of the features kept


@KILLS
def test_saving_killed_at_random_moments(tmp_path, kills):
    import keras

    def outcome(models: Path) -> dict:
        metrics = json.loads((models / "r" / "metrics.json").read_text())
        del metrics["seconds"]
        lines = [json.loads(line)["run"] for line in (models / "runs.jsonl").read_text().splitlines()]
        weights = keras.models.load_model(models / "r" / "model.keras").get_weights()
        names = sorted(p.name for p in (models / "r").iterdir() if not p.name.startswith("."))
        return {"metrics": metrics, "lines": set(lines), "weights": [w.tolist() for w in weights], "names": names}

    children.do(children.saved, tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole")
    seconds = how_long(children.saved, tmp_path / "whole")
    whole, chance, killed = outcome(tmp_path / "whole"), random.Random(3), 0
    for number in range(kills):
        models = tmp_path / str(number)
        killed += killed_sometime(chance.uniform(0, seconds), children.saved, models)
        assert_whole(models)
        children.do(children.saved, models)
        assert outcome(models) == whole
    assert killed > kills / 4


def assert_whole(models: Path) -> None:
    """Whatever is there under its final name is whole."""
    import keras

    for table in models.glob("r/*.csv"):
        assert len(pd.read_csv(table)) == 2000
    for model in models.glob("r/*.keras"):
        assert len(keras.models.load_model(model).get_weights()) == 4
    for metrics in models.glob("r/metrics.json"):
        assert len(json.loads(metrics.read_text())["classes"]) == 3000


def test_a_line_that_a_killed_run_left_half_does_not_spoil_the_next(tmp_path):
    runs.append_line(tmp_path / "runs.jsonl", {"run": "first"})
    with (tmp_path / "runs.jsonl").open("ab") as file:
        file.write(b'{"run": "ha')
    runs.append_line(tmp_path / "runs.jsonl", {"run": "third"})
    assert (tmp_path / "runs.jsonl").read_text() == '{"run": "first"}\n{"run": "third"}\n'


def test_lines_of_runs_that_end_at_the_same_time_do_not_mix(tmp_path):
    long = {"run": "x" * 200_000}
    writing = [children.start(runs.append_line, tmp_path / "runs.jsonl", long) for _ in range(4)]
    for process in writing:
        process.join(30)
        assert process.exitcode == 0
    assert [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()] == [long] * 4


# No space, no right to write


class Faults:
    """Lets the number-th write of a process fail; `calls` says how many there were."""

    def __init__(self, patched: pytest.MonkeyPatch, number: int, error: int) -> None:
        self.calls, self.number, self.error = 0, number, error
        removing = () if error == errno.ENOSPC else ("unlink", "rmdir")  # that needs no space
        for name in ("replace", "mkdir", "link", *removing):
            patched.setattr(os, name, self._failing(getattr(os, name)))
        opened = Path.open

        def open_(path: Path, mode: str = "r", *args, **options):
            if mode[0] in "wax":
                self._count(path, lambda: opened(path, mode, *args, **options).close())
            return opened(path, mode, *args, **options)

        patched.setattr(Path, "open", open_)

    def _count(self, path: Path, half: Callable = lambda: None) -> None:
        self.calls += 1
        if self.calls == self.number:
            half()
            raise OSError(self.error, os.strerror(self.error), str(path))

    def _failing(self, whole: Callable) -> Callable:
        def call(*args, **options):
            self._count(args[0])
            return whole(*args, **options)

        return call


def run(source: Source):
    return prepare(source, 0.2, 0.2, 42)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, pytest.param(errno.EIO, marks=pytest.mark.slow)])
def test_preparing_with_a_fault_at_each_write(small, error, monkeypatch, fingerprint):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # so that the writes come in one order
    photos = run(small).photos
    whole = children.state(small.home)
    originals = fingerprint(small.folder)
    number = failed = 0
    while True:
        number += 1
        shutil.rmtree(small.home)
        with monkeypatch.context() as patched:
            faults = Faults(patched, number, error)
            try:
                run(small)
            except OSError as caught:
                failed += 1
                message = str(caught)
                assert str(small.home) in message, message
                assert errno.errorcode[error] in errno.errorcode.get(caught.errno), message
                if error == errno.ENOSPC:
                    assert " MB" in message and "free" in message, message
        pd.testing.assert_frame_equal(run(small).photos, photos)
        assert children.state(small.home) == whole
        assert fingerprint(small.folder) == originals
        if faults.calls < number:
            break
    assert number > 40 and failed > 30


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_extracting_features_with_a_fault_at_each_write(table, tmp_path, error, monkeypatch):
    photos, tiny = pd.read_csv(table).head(40), children.extractor()
    whole = features.extract(photos, tiny, tmp_path / "whole")
    left = {path.name for path in (tmp_path / "whole").iterdir()}
    number = failed = 0
    while True:
        number += 1
        store = tmp_path / str(number)
        with monkeypatch.context() as patched:
            faults = Faults(patched, number, error)
            try:
                features.extract(photos, tiny, store)
            except OSError as caught:
                failed += 1
                assert str(store) in str(caught), caught
                if error == errno.ENOSPC:
                    assert "free" in str(caught), caught
        np.testing.assert_array_equal(features.extract(photos, tiny, store), whole)
        assert {path.name for path in store.iterdir()} == left
        if faults.calls < number:
            break
    assert failed > 4


def test_a_disk_too_small_is_told_before_anything_is_written(pile, monkeypatch):
    usage = shutil.disk_usage(pile.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(
        OSError, match=r"12 photos are still to be prepared in .*: that takes about 0\.\d MB, and 0\.0 MB are free"
    ) as caught:
        run(pile)
    assert caught.value.errno == errno.ENOSPC and str(pile.home / "prepared") in str(caught.value)
    assert not list(pile.home.rglob("*.jpg"))
    monkeypatch.undo()
    run(pile)


def test_a_full_run_folder_leaves_no_half_files(tmp_path, monkeypatch):
    number = 0
    while True:
        number += 1
        models = tmp_path / str(number)
        with monkeypatch.context() as patched:
            patched.setattr(run_folders, "MODELS", models)
            patched.setattr(runs, "versions", dict)
            faults = Faults(patched, number, errno.ENOSPC)
            try:
                one = runs.Run("r", "pets", "tiny")
                one.save_table("history", pd.DataFrame({"loss": range(2000)}))
                one.finish({"classes": ["x"] * 3000})
            except OSError as caught:
                assert str(models) in str(caught), caught
        assert_whole(models)
        if faults.calls < number:
            break
    assert number > 8
    assert len((models / "runs.jsonl").read_text().splitlines()) == 1


def test_a_model_that_finds_no_space_leaves_the_last_one(tmp_path, monkeypatch):
    class Model:
        def __init__(self, size: int, full: bool) -> None:
            self.size, self.full = size, full

        def save(self, path: Path) -> None:
            path.write_bytes(b"x" * self.size)
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_folders, "MODELS", tmp_path)
    one = runs.Run("r", "pets", "tiny")
    one.save_model(Model(100, full=False))
    with pytest.raises(OSError, match=r"model\.keras could not be written: No space .* more than 3\.0 MB, and .* free"):
        one.save_model(Model(3_000_000, full=True))
    assert (tmp_path / "r" / "model.keras").stat().st_size == 100
    assert sorted(os.listdir(tmp_path / "r")) == ["figures", "model.keras"]


# Ctrl-C


def test_stopped_at_any_moment_the_cell_can_be_run_again(small, monkeypatch):
    """In the same process, as in a kernel."""
    monkeypatch.setattr(signal, "signal", signal.signal)
    began = time.monotonic()
    photos = run(small).photos
    seconds = time.monotonic() - began
    whole = children.state(small.home)
    chance, stopped = random.Random(4), 0
    before = signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(40):
            shutil.rmtree(small.home)
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, seconds))
                run(small)
            except KeyboardInterrupt:
                stopped += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            pd.testing.assert_frame_equal(run(small).photos, photos)
            assert children.state(small.home) == whole
    finally:
        signal.signal(signal.SIGALRM, before)
    assert stopped > 10
