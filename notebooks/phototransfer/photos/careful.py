"""Blocks of originals, read so that a file that ends or blocks its process costs only itself."""

import functools
import hashlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phototransfer.files import read_json, write_json

#: A photo that takes longer blocks its process: one of 250 megapixels takes a tenth of this.
LONGEST_SECONDS = 60.0
_TRIES = 2
_reading: dict[int, float] = {}  # by thread: when the photo that it reads was begun
_turn = threading.Condition()
_blocks_in_threads = 0  # that are being read now, guarded by _turn


class ReadBlock:
    """Reads blocks of originals in a process that may be ended by one of them, and is started again then.

    The first time, the photos of a block are read in threads. If the process ended meanwhile, which its journal tells,
    they are read one by one, alone in the process, and each is written down before. One that was begun twice without an
    end is skipped.

    Parameters
    ----------
    read : callable
        From an original to its row in the index; a row of one that cannot be read has a reason.
    skip : callable
        From an original and the reason to its row.
    journals : Path
        A folder that all processes see.
    """

    def __init__(
        self,
        read: Callable[[str], dict[str, Any]],
        skip: Callable[[str, str], dict[str, Any]],
        journals: Path,
    ) -> None:
        self._read, self._skip, self._journals = read, skip, journals

    def __call__(self, originals: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the row of each original."""
        _watch()
        name = hashlib.sha256("\n".join(originals).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        journal = self._journals / f"{name}.json"
        tries: dict[str, int] | None = read_json(journal)
        with warnings.catch_warnings(action="ignore"):  # Pillow warns of odd metadata in files that it reads well
            rows = (
                self._in_threads(originals, journal) if tries is None else self._one_by_one(originals, journal, tries)
            )
        journal.unlink(missing_ok=True)
        return rows

    def _in_threads(self, originals: Sequence[str], journal: Path) -> dict[str, dict[str, Any]]:
        write_json(journal, {})
        with _together(), ThreadPoolExecutor(os.cpu_count()) as threads:
            return dict(zip(originals, threads.map(self._watched, originals), strict=True))

    def _one_by_one(self, originals: Sequence[str], journal: Path, tries: dict[str, int]) -> dict[str, dict[str, Any]]:
        rows = {}
        for original in originals:
            if tries.get(original, 0) >= _TRIES:
                reason = f"its process ended {_TRIES} times while reading it, or took more than {LONGEST_SECONDS:.0f} s"
                rows[original] = self._skip(original, reason)
                continue
            with _turn:  # or a photo of another block could end the process, and this one would be blamed
                _turn.wait_for(lambda: not _blocks_in_threads)
                write_json(journal, tries | {original: tries.get(original, 0) + 1})
                rows[original] = self._watched(original)
        return rows

    def _watched(self, original: str) -> dict[str, Any]:
        with _noted():
            return self._read(original)


@contextmanager
def _together() -> Iterator[None]:
    """Wait until no block is read one by one."""
    global _blocks_in_threads
    with _turn:
        _blocks_in_threads += 1
    try:
        yield
    finally:
        with _turn:
            _blocks_in_threads -= 1
            _turn.notify_all()


@contextmanager
def _noted() -> Iterator[None]:
    thread = threading.get_ident()
    _reading[thread] = time.monotonic()
    try:
        yield
    finally:
        del _reading[thread]


@functools.cache
def _watch() -> None:
    """End this process when a photo takes too long: nothing else ends a decoder that does not return."""

    def look() -> None:
        while True:
            time.sleep(min(1.0, LONGEST_SECONDS / 10))
            if any(time.monotonic() - began > LONGEST_SECONDS for began in _reading.copy().values()):
                os._exit(1)

    threading.Thread(target=look, daemon=True).start()
