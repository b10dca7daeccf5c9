"""Work in processes of its own, which can be killed: for tests of interruptions and of runs side by side.

The processes come from multiprocessing's fork server, which imports the package once. Their work is a function at the
top of any test file; it leaves its outcome in a file.
"""

import contextlib
import hashlib
import importlib.util
import inspect
import multiprocessing
import os
import pydoc
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Death(NamedTuple):
    """The `number`-th call of a function ("os.replace") is the last thing that a process does.

    `how`: killed "before" or "after" the call, or in its middle ("half": the function writes its second argument).
    """

    function: str
    number: int
    how: str


def start(work: Callable, *args: Any, death: Death | None = None) -> BaseProcess:
    """Begin `work(*args)` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "phototransfer.photos", "phototransfer.network.features"])
    process = context.Process(target=_work, args=(inspect.getfile(work), work.__name__, args, death))
    process.start()
    return process


def do(work: Callable, *args: Any) -> None:
    """Do `work(*args)` in a process of its own, which must end well."""
    process = start(work, *args)
    process.join(60)
    assert process.exitcode == 0, (work, process.exitcode)


def die(death: Death, work: Callable, *args: Any) -> bool:
    """Do `work(*args)` in a process that is killed as `death` says; return whether that call was reached."""
    process = start(work, *args, death=death)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL), (work, process.exitcode)
    return process.exitcode != 0


def kill_at_random(kills: int, work: Callable, *args: Any, seed: int, before: Callable[[], Any]) -> Iterator[float]:
    """Begin `work(*args)` again and again after calling `before`, kill it at a random moment, and yield that moment."""
    do(work, *args)
    before()
    began = time.monotonic()
    do(work, *args)
    seconds, rng, killed = time.monotonic() - began, random.Random(seed), 0
    for _ in range(kills):
        before()
        moment = rng.uniform(0, seconds)
        process = start(work, *args)
        process.join(moment)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
        yield moment
    assert killed > kills / 4


def every_third(numbers: range) -> list:
    """Return kill positions as parameters of a test, of which every third is in the fast set."""
    slow = pytest.mark.slow
    return [n if place % 3 == 0 else pytest.param(n, marks=slow) for place, n in enumerate(numbers)]


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder by its name, without locks."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def _work(file: str, name: str, args: tuple, death: Death | None) -> None:
    """Load the file of a function, which has no importable name if it is a test file, and call the function."""
    os.fsync = lambda descriptor: None  # no process that is killed takes the operating system with it
    spec = importlib.util.spec_from_file_location("work_of_a_test", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if death:
        _arrange(death)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        getattr(module, name)(*args)


def _arrange(death: Death) -> None:
    owner, _, name = death.function.rpartition(".")
    place: Any = pydoc.locate(owner)
    original, calls = getattr(place, name), 0

    def fatal(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < death.number:
            return original(*args, **options)
        if death.how == "half":
            original(args[0], args[1][: len(args[1]) // 2])
        elif death.how == "after":
            original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, fatal)
