"""What the tests of interruptions and of runs side by side do in processes of their own.

The processes come from multiprocessing's fork server, which imports everything once. Each piece of work leaves its
outcome as JSON, so that two of them can be compared.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import pydoc
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from filelock import FileLock

import helpers
from helpers.photos import Source, prepare

NOTEBOOKS, TESTS = Path(helpers.__file__).parents[1], Path(__file__).parent


def start(work: Callable, *args) -> BaseProcess:
    """Begin `work(*args)` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "children", "helpers.features"])
    process = context.Process(target=_quietly, args=(work, *args))
    # Only while the server starts: what later tests run must find the helpers for itself, as a user's command does.
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join([str(NOTEBOOKS), str(TESTS)])):
        process.start()
    return process


def do(work: Callable, *args) -> None:
    """`work(*args)` in a process of its own, to its end, which has to be a good one."""
    process = start(work, *args)
    process.join(60)
    assert process.exitcode == 0, (work, process.exitcode)


def _quietly(work: Callable, *args) -> None:
    os.fsync = lambda file: None  # waiting for the disk proves nothing here
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        work(*args)


def state(home: Path) -> dict[str, str]:
    """Every file in a home but locks: its name → SHA-256 of its content."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def prepared_to(result: Path, folder: Path, home: Path, seed: int = 42) -> None:
    """Prepare, and write what came of it: every file of the home, and the tables."""
    prepared = prepare(Source("pile", folder, home), 0.2, 0.2, seed)
    outcome = {"files": state(home), "table": prepared.photos.to_json(), "skipped": prepared.skipped.to_json()}
    result.write_text(json.dumps(outcome, sort_keys=True))


def use(result: Path, folder: Path, home: Path, seed: int, go_on: Path, shares: float = 0.2) -> None:
    """A run: prepare, wait until the file `go_on` is there, then read every photo that the table and the tree name."""
    prepared = prepare(Source("pile", folder, home), shares, shares, seed)
    result.with_suffix(".began").touch()
    while not go_on.exists():
        time.sleep(0.005)
    photos = prepared.photos
    names = {
        path.relative_to(prepared.folder).as_posix()
        for split in ("train", "val", "test")
        for path in (prepared.folder / split).rglob("*.jpg")
    }
    read = {row.original: hashlib.sha256(Path(row.path).read_bytes()).hexdigest() for row in photos.itertuples()}
    outcome = {
        "folder": str(prepared.folder),
        "split": dict(zip(photos["original"], photos["split"], strict=True)),
        "read": read,
        "tree": sorted(names),
        "table": sorted(Path(path).relative_to(prepared.folder).as_posix() for path in photos["path"]),
    }
    result.write_text(json.dumps(outcome, sort_keys=True))


def die_at(function: str, number: int, how: str, work: Callable, *args) -> None:
    """The number-th call of a function ("os.replace") is the last thing that the process does ("after"), or the last
    that it does not do ("before"), or does by half ("half", of a function that writes its second argument)."""
    owner, _, name = function.rpartition(".")
    where = pydoc.locate(owner)
    whole, calls = getattr(where, name), [0]

    def fatal(*given, **options):
        calls[0] += 1
        if calls[0] < number:
            return whole(*given, **options)
        if how == "half":
            whole(given[0], given[1][: len(given[1]) // 2])
        elif how == "after":
            whole(*given, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(where, name, fatal)
    work(*args)


def fetched_to(result: Path, folder: Path, data: Path) -> None:
    """Fetch a folder into a project whose data/ is `data`, and write its home."""
    from helpers.photos import sources

    sources.DATA = data
    result.write_text(str(sources.fetch(str(folder)).home))


def hold(lock: Path, seconds: float) -> None:
    """Hold a lock for so long; a file "held" beside it says that it is held."""
    with FileLock(lock):
        lock.with_name("held").touch()
        time.sleep(seconds)


SQUARE = 16


def extractor():
    """A frozen network small enough to be made for every test."""
    import keras

    keras.utils.set_random_seed(1)
    pixels = keras.Input((SQUARE, SQUARE, 3))
    seen = keras.layers.Conv2D(5, 3, trainable=False)(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(seen), name="tiny")


def features_to(result: Path, photos: Path, folder: Path) -> None:
    """Extract the features of the photos in a table (CSV), saving after each batch, and write them."""
    from helpers import features

    features._SAVE_EVERY_SECONDS = 0
    np.save(result, features.extract(pd.read_csv(photos), extractor(), folder))


def saved(models: Path) -> None:
    """What the notebook saves in a run called r."""
    import keras

    from helpers import run_folders, runs

    run_folders.MODELS, runs.versions = models, dict
    run = runs.Run("r", "pets", "tiny")
    table = pd.DataFrame({"epoch": range(2000), "loss": np.linspace(1, 0, 2000)})
    run.save_table("history", table)
    run.save_table("predictions", table)
    keras.utils.set_random_seed(1)
    run.save_model(keras.Sequential([keras.Input((40,)), keras.layers.Dense(900), keras.layers.Dense(2)]))
    run.finish({"accuracy": 0.9, "classes": [f"class {number}" for number in range(3000)]})
