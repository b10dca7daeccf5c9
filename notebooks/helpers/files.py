"""How is a file written so that nobody ever reads half of it?"""

import errno
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

_FORBIDDEN = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f\ud800-\udfff]')
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a hidden path beside `path` to write to, and rename it to `path` when the block ends well.

    A block that raises leaves `path` as it was and nothing else behind. A process that is killed leaves only the
    hidden file, which nothing reads. Creates the folder. Raises OSError naming the folder if it cannot be written.
    """
    partial = path.with_name(f".{path.name[-80:]}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise not_written(path, partial, error) from error
    finally:
        with suppress(OSError):  # what the block raised says more; and nobody reads the partial file
            partial.unlink(missing_ok=True)


def not_written(path: Path, partial: Path, error: OSError) -> OSError:
    """`error` in words: which file could not be written, and what is in the way (space, rights)."""
    way_out = "Is there space and may you write there?"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        written = stamp(partial).size
        needed = f"it needs more than {in_megabytes(written)}, and " if written > 0 else ""
        way_out = f"{needed}{in_megabytes(free_space(path))} are free on the disk of {path.parent}."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        way_out = f"You may not write to {path.parent}."
    return OSError(error.errno, f"{path} could not be written: {error.strerror or error}. {way_out}")


class Stamp(NamedTuple):
    """What tells a changed file from an unchanged one: bytes, and time of change in nanoseconds."""

    size: int
    mtime_ns: int


def stamp(path: Path) -> Stamp:
    """The stamp of a file, (-1, -1) if it cannot be had."""
    try:
        info = path.stat()
        return Stamp(info.st_size, info.st_mtime_ns)
    except OSError:
        return Stamp(-1, -1)


def free_space(path: Path) -> int:
    """Bytes free on the disk that `path` is on, or will be on."""
    return next(shutil.disk_usage(place).free for place in (path, *path.absolute().parents) if os.path.isdir(place))


def in_megabytes(size: int) -> str:
    """Bytes in words: "0.4 MB", "1,250 MB"."""
    return f"{size / 10**6:,.0f} MB" if size >= 10**7 else f"{size / 10**6:.1f} MB"


@contextmanager
def one_at_a_time(folder: Path, doing: str) -> Iterator[None]:
    """Let one process at a time into the block; another waits and says so. A process that ends lets the next one in.

    Creates the folder and a file .lock in it. Raises OSError naming the folder if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print(f"Another run is {doing} ({folder}): waiting for it …", flush=True)
            lock.acquire()
    except OSError as error:
        raise not_written(folder / ".lock", folder / ".lock", error) from error
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented UTF-8 JSON, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # A file name that is not UTF-8 has lone surrogates; \udcff is also how JSON itself writes one.
    with written_beside(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())  # or a battery that dies can leave an empty file under the final name


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if there is no such file. Raises ValueError naming a broken one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(
            f"{path} is not the JSON file this project wrote: {error}. Delete it to start again."
        ) from error


def safe_name(name: str, length: int = 100) -> str:
    """`name` as a file or folder name that Linux, macOS and Windows all take, of at most `length` UTF-8 bytes."""
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).strip(" .")
    name = name.encode("utf-8", "replace")[:length].decode("utf-8", "ignore").strip(" .")
    if not name or name.startswith("-") or name.split(".")[0].lower() in _RESERVED:
        name = f"_{name}"
    return name


def has_content(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


@contextmanager
def folder_beside(folder: Path) -> Iterator[Path]:
    """A new hidden folder beside the given one, of this run alone, removed at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # what cannot be removed now goes as stale later


def move_into_place(source: Path, target: Path) -> None:
    if target.is_dir() and not has_content(target):
        target.rmdir()  # Windows renames onto no folder, not even an empty one
    os.replace(source, target)
