"""Which files have to be read now, and what is known of those that were read before?"""

import errno
import hashlib
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from helpers.files import Stamp, free_space, in_megabytes, read_json, safe_name, stamp, write_json, written_beside
from helpers.photos.picture import RECIPE, NotAPhoto, NotReadable, read_photo
from helpers.progress import progress

#: In the prepared folder: every photo that was read, once, whatever split it is in.
STORE = ".photos"
INDEX = "index.json"
COLUMNS = ["size", "mtime_ns", "stored", "jpeg_bytes", "reason", "digest", "width", "height", "bytes", "format"]
COLUMNS += ["taken", "camera", "phash"]
_SAVE_EVERY_SECONDS = 20
#: What a prepared photo takes at most on average: the mean of four sets was 47, 49, 50 and 72 kB, and one in a hundred
#: became larger than three times its original.
_MEAN_BYTES, _TIMES_ORIGINAL = 75_000, 3


class Index:
    """What is known of each file that was read, kept in index.json beside the store.

    `files`: original → its row (COLUMNS). `gone`: names of photos that are no longer made, and that may still lie in a
    tree which another run is using.
    """

    def __init__(self, folder: Path) -> None:
        """Read it. Raises ValueError naming a broken file."""
        self._path = folder / INDEX
        kept = read_json(self._path) or {}
        self.recipe: str = kept.get("recipe", RECIPE)
        self.files: dict[str, dict[str, Any]] = kept.get("files", {})
        self.gone: set[str] = set(kept.get("gone", []))

    def save(self) -> None:
        files = dict(sorted(self.files.copy().items()))  # a copy: threads may be adding to it
        write_json(self._path, {"recipe": RECIPE, "files": files, "gone": sorted(self.gone)})

    def names(self) -> set[str]:
        """The prepared photos that there are, by name."""
        return {row["stored"] for row in self.files.values()} - {""}


def read_new(source: Path, folder: Path, originals: list[str]) -> tuple[Index, int]:
    """Bring the store and the index in `folder` up to date with the originals; how many of them were read now.

    Raises OSError that names the folder and the space needed where there is not enough.
    """
    index = Index(folder)
    known = index.files if index.recipe == RECIPE else {}
    before = index.names()
    index.files = {original: known[original] for original in originals if _is_current(source, folder, original, known)}
    new = [original for original in originals if original not in index.files]
    stale = before - index.names()
    index.gone |= {Path(name).name for name in stale}
    if new or stale:
        try:
            _check_space(source, folder, new)
            index.save()  # before anything goes: what lies in a tree is always known by name
            for name in stale:
                (folder / STORE / name).unlink(missing_ok=True)
            _read(source, folder, new, index)
        except OSError as error:
            raise _with_space_needed(error, source, folder, [o for o in new if o not in index.files]) from error
    _drop_strays(folder / STORE, index.names())
    return index, len(new)


def prepared_name(original: str) -> str:
    """A name that no other original gets: a.jpg and a.png of one class, or sub/a.jpg and a.jpg, stay two photos."""
    unique = hashlib.sha256(original.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe_name(Path(original).stem, 60)}-{unique}.jpg"


def _is_current(source: Path, folder: Path, original: str, known: dict[str, dict[str, Any]]) -> bool:
    row = known.get(original)
    if row is None or Stamp(row["size"], row["mtime_ns"]) != stamp(source / original):
        return False
    return bool(row["reason"]) or stamp(folder / STORE / row["stored"]).size == row["jpeg_bytes"]


def _read(source: Path, folder: Path, new: list[str], index: Index) -> None:
    # Pillow works outside the interpreter lock. It warns of odd metadata in files that it reads well; filters belong
    # to the whole process, so they are set here and not by each thread.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            saved = time.monotonic()
            for _ in progress("Preparing", len(new), threads.map(_reader(source, folder, index), new)):
                if time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                    index.save()
                    saved = time.monotonic()
        finally:
            threads.shutdown(cancel_futures=True)
            index.save()


def _reader(source: Path, folder: Path, index: Index) -> Callable[[str], None]:
    """Reads one original into the store and the index. Called in threads: whatever one of them meets, none is lost."""

    def row_of(original: str) -> dict[str, Any]:
        size, mtime = stamp(source / original)
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"size": size, "mtime_ns": mtime}
        try:
            photo = read_photo(source / original)
        except NotReadable as reason:
            return row | {"reason": str(reason), "mtime_ns": -2}  # never current: read again next time
        except NotAPhoto as reason:
            return row | {"reason": str(reason)}
        stored = prepared_name(original)
        with written_beside(folder / STORE / stored) as partial:
            partial.write_bytes(photo.jpeg)
        facts = asdict(photo)
        return row | {"stored": stored, "jpeg_bytes": len(facts.pop("jpeg"))} | facts

    def read(original: str) -> None:
        index.files[original] = row_of(original)

    return read


def _drop_strays(store: Path, names: set[str]) -> None:
    """Remove what a killed run wrote to the store and did not live to write down."""
    for path in list(store.glob("*")):
        if path.name not in names:
            path.unlink()


def _space_needed(source: Path, originals: list[str]) -> int:
    return sum(min(_MEAN_BYTES, _TIMES_ORIGINAL * max(0, stamp(source / original).size)) for original in originals)


def _check_space(source: Path, folder: Path, new: list[str]) -> None:
    if free_space(folder) < _space_needed(source, new):
        raise OSError(errno.ENOSPC, "Not enough space on the disk, so nothing was begun.")


def _with_space_needed(error: OSError, source: Path, folder: Path, left: list[str]) -> OSError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    needed, free = _space_needed(source, left), free_space(folder)
    return OSError(
        error.errno,
        f"{error.strerror} {len(left)} photos are still to be prepared in {folder}: that takes about "
        f"{in_megabytes(needed)}, and {in_megabytes(free)} are free there. Make room and run this again: it goes on "
        "where it was. Or put the folder data/ on another disk and a link to it here.",
    )
