"""Preparing photos that is killed, interrupted, out of space or refused at any moment can simply be run again."""

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

import pandas as pd
import pytest

from phototransfer.photos import Prepared, Source, prepare
from processes import Death, contents, die, do, every_third, kill_at_random

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")


def run(source: Source, seed: int = 42) -> Prepared:
    return prepare(source, val_split=0.2, test_split=0.2, seed=seed)


def prepared_to(outcome: Path, source: Source, seed: int = 42) -> None:
    """Prepare, and write every file of the home and the tables to a file."""
    prepared = run(source, seed)
    tables = {"photos": prepared.photos.to_json(), "skipped": prepared.skipped.to_json()}
    outcome.write_text(json.dumps(contents(source.home) | tables, sort_keys=True))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def small(pile) -> Source:
    """Seven photos and a broken one."""
    for photo in sorted(pile.folder.rglob("*.jpg"))[:10:2]:
        photo.unlink()
    (pile.folder / "cat" / "broken.jpg").write_bytes(b"no photo")
    return pile


def assert_next_run_completes(tmp_path: Path, source: Source, seed: int = 42) -> None:
    """The next run leaves what the one in "complete" left, which was never disturbed."""
    do(prepared_to, tmp_path / "again", source, seed)
    assert (tmp_path / "again").read_text() == (tmp_path / "complete").read_text()


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(pile, make_photo, tmp_path, kills):
    for number in range(100, 160):
        make_photo(pile.folder / ("cat", "dog")[number % 2] / f"{number}.jpg", number, (400, 380))
    do(prepared_to, tmp_path / "complete", pile)

    def begin_anew() -> None:
        shutil.rmtree(pile.home)

    for _ in kill_at_random(kills, prepared_to, tmp_path / "never", pile, seed=1, before=begin_anew):
        assert_next_run_completes(tmp_path, pile)


# Seven photos to the store, skipped.csv, seven links, and the index before and after reading: 17 renames.
@pytest.mark.parametrize("number", every_third(range(1, 18)))
@pytest.mark.parametrize("how", ["before", "after"])
def test_killed_at_each_rename(small, tmp_path, number, how):
    do(prepared_to, tmp_path / "complete", small)
    shutil.rmtree(small.home)
    assert die(Death("os.replace", number, how), prepared_to, tmp_path / "never", small)
    assert_next_run_completes(tmp_path, small)


@pytest.mark.parametrize(
    "death",
    [Death("os.link", number, "after") for number in (1, 4, 7)]
    + [Death("pathlib.Path.write_bytes", number, "half") for number in (1, 6)],
    ids=str,
)
def test_killed_after_a_link_or_in_the_middle_of_a_photo(small, tmp_path, death):
    do(prepared_to, tmp_path / "complete", small)
    shutil.rmtree(small.home)
    assert die(death, prepared_to, tmp_path / "never", small)
    assert_next_run_completes(tmp_path, small)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("function, how", [("os.replace", "after"), ("os.unlink", "before"), ("os.rmdir", "after")])
@pytest.mark.parametrize("first", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_killed_at_each_write_of_an_update(small, tmp_path, make_photo, seed, function, how, first):
    """A class and a photo are gone, another photo changed: the tree is updated (seed 1) or a second one made (2)."""
    for number in range(3):
        make_photo(small.folder / "hen" / f"hen{number}.jpg", 30 + number)
    do(prepared_to, tmp_path / "first", small, 1)
    shutil.copytree(small.home, tmp_path / "before")
    shutil.rmtree(small.folder / "hen")
    (small.folder / "dog" / "dog9.jpg").unlink()
    make_photo(small.folder / "cat" / "cat10.jpg", 99)
    do(prepared_to, tmp_path / "complete", small, seed)
    for number in range(first, 40, 3):
        shutil.rmtree(small.home)
        shutil.copytree(tmp_path / "before", small.home)
        if not die(Death(function, number, how), prepared_to, tmp_path / "never", small, seed):
            return  # there are no more calls
        assert_next_run_completes(tmp_path, small, seed)


class Faults:
    """Makes the `number`-th write of this process fail; `calls` says how many there were."""

    def __init__(self, patched: pytest.MonkeyPatch, number: int, error: int) -> None:
        self.calls, self.number, self.error = 0, number, error
        removing = () if error == errno.ENOSPC else ("unlink", "rmdir")  # needs no space
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

    def _failing(self, function: Callable) -> Callable:
        def call(*args, **options):
            self._count(args[0])
            return function(*args, **options)

        return call


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, pytest.param(errno.EIO, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_fault_at_each_write(small, error, first, monkeypatch, fingerprint):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # so that the writes come in one order
    photos = run(small).photos
    complete, originals = contents(small.home), fingerprint(small.folder)
    failed = 0
    for number in range(first, 1000, 3):
        shutil.rmtree(small.home)
        with monkeypatch.context() as patched:
            faults = Faults(patched, number, error)
            try:
                run(small)
            except OSError as caught:
                failed += 1
                message = str(caught)
                assert str(small.home) in message and caught.errno == error, message
                if error == errno.ENOSPC:
                    assert " MB" in message and "free" in message, message
        pd.testing.assert_frame_equal(run(small).photos, photos)
        assert contents(small.home) == complete
        assert fingerprint(small.folder) == originals
        if faults.calls < number:
            break
    assert number > 40 and failed > 3


def test_disk_too_small_is_reported_before_anything_is_written(pile, monkeypatch):
    usage = shutil.disk_usage(pile.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(OSError, match=r"12 photos are still to be prepared in .* 0\.\d MB, and 0\.0 MB are") as caught:
        run(pile)
    assert caught.value.errno == errno.ENOSPC and str(pile.home / "prepared") in str(caught.value)
    assert not list(pile.home.rglob("*.jpg"))
    monkeypatch.undo()
    run(pile)


def interrupted_again_and_again(outcome: Path, source: Source) -> None:
    """Interrupt preparing 40 times at random moments, run it again each time, and write how many were interrupted."""
    photos = run(source).photos
    shutil.rmtree(source.home)
    began = time.monotonic()  # the first run also imports and warms up
    run(source)
    seconds = time.monotonic() - began
    complete, rng, interrupted = contents(source.home), random.Random(4), 0
    running = False

    def interrupt(*_):
        if running:  # Python may call this a moment after the timer was switched off
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    for _ in range(40):
        shutil.rmtree(source.home)
        try:
            running = True
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, seconds))
            run(source)
            running = False
        except KeyboardInterrupt:
            running = False
            interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        pd.testing.assert_frame_equal(run(source).photos, photos)
        assert contents(source.home) == complete
    outcome.write_text(str(interrupted))


def test_interrupted_at_any_moment_the_cell_can_be_run_again(small, tmp_path):
    """In one process, as in a kernel; not in this one, whose test runner an interrupt would end too."""
    do(interrupted_again_and_again, tmp_path / "interrupted", small)
    assert int((tmp_path / "interrupted").read_text()) > 10
