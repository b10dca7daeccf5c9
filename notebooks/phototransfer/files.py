"""Paths of the project, atomic writing of files, and locks between processes."""

import errno
import importlib.util
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import pandas as pd

#: Whether this is a checkout of the project, with its Makefile and notebook, and not a package that pip has installed.
CHECKOUT = (Path(__file__).parents[2] / "pyproject.toml").is_file()
#: The folder that holds `data/` and `models/`: what the environment variable says, the checkout, or the folder in which
#: Python was started. That is the folder of the notebook in Jupyter, and never the one of the installed package.
PROJECT = Path(os.environ.get("PHOTOTRANSFER_HOME") or (Path(__file__).parents[2] if CHECKOUT else "")).resolve()
DATA = PROJECT / "data"
MODELS = PROJECT / "models"

_TAIL = 2**16  # bytes that are read at a time to find the end of a line
_FORBIDDEN = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f\ud800-\udfff]')
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def relative_to_project(path: str | Path) -> str:
    """Return a path relative to the project if it lies inside, else as it is."""
    path = Path(path)
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else str(path)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, and rename it to `path` when the block ends without an error.

    A block that raises leaves `path` as it was. A process that is killed leaves only the hidden file, which nothing
    reads. The folder is created. An OSError names the file and says why it cannot be written.
    """
    partial = path.with_name(f".{path.name[-80:]}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise write_error(path, partial, error) from error
    finally:
        with suppress(OSError):  # the error of the block says more, and nothing reads the partial file
            partial.unlink(missing_ok=True)


def write_error(path: Path, partial: Path, error: OSError) -> OSError:
    """Return `error` with a message that names the file and what prevents writing it (space, permission)."""
    remedy = "Check free space and write permission."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        written = stamp(partial).size
        needed = f"it needs more than {megabytes(written)}, and " if written > 0 else ""
        remedy = f"{needed}{megabytes(free_space(path))} are free on the disk of {path.parent}."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = f"There is no permission to write to {path.parent}."
    return OSError(error.errno, f"{path} could not be written: {error.strerror or error}. {remedy}")


class Stamp(NamedTuple):
    """Size in bytes and modification time in nanoseconds: they tell a changed file from an unchanged one."""

    size: int
    mtime_ns: int


def stamp(path: Path) -> Stamp:
    """Return the stamp of a file, (-1, -1) if it cannot be read."""
    try:
        info = path.stat()
        return Stamp(info.st_size, info.st_mtime_ns)
    except OSError:
        return Stamp(-1, -1)


def free_space(path: Path) -> int:
    """Return the free bytes on the disk that `path` is on, or will be on."""
    return next(shutil.disk_usage(place).free for place in (path, *path.absolute().parents) if os.path.isdir(place))


def megabytes(size: int) -> str:
    """Return bytes as text: "0.4 MB", "1,250 MB"."""
    return f"{size / 10**6:,.0f} MB" if size >= 10**7 else f"{size / 10**6:.1f} MB"


@contextmanager
def locked(folder: Path, activity: str) -> Iterator[None]:
    """Let one process at a time into the block; another one waits and says so.

    The folder and a file `.lock` in it are created. The lock is released when its process ends, also if it is killed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print(f"Another run is {activity} ({folder}). Waiting …", flush=True)
            lock.acquire()
    except OSError as error:
        raise write_error(folder / ".lock", folder / ".lock", error) from error
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented UTF-8 JSON."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # A file name that is not UTF-8 has lone surrogates; \udcff is also how JSON itself writes one.
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())  # or a power failure can leave an empty file under the final name


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, None if there is no such file; a ValueError names one that is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}. Delete it to start again.") from error


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV, numbers with enough digits to be read back exactly."""
    with atomic_write(path) as partial:
        table.to_csv(partial, index=False, encoding="utf-8", errors="backslashreplace")


def write_parquet(path: Path, table: "pd.DataFrame") -> bool:
    """Write a table as Parquet, which is quicker to read than CSV, and tell whether pyarrow is installed for it."""
    if importlib.util.find_spec("pyarrow") is None:
        return False
    # A file name that is not UTF-8 has lone surrogates, as in `write_json`.
    texts = {name: column.map(_valid_text) for name, column in table.items() if column.dtype == object}
    with atomic_write(path) as partial:
        table.assign(**texts).to_parquet(partial, index=False)
    return True


def _valid_text(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append a line of JSON to a file that other processes append to as well, after its last complete line."""
    line = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    with locked(path.parent, f"writing {path.name}"), path.open("a+b") as file:
        complete = remove_incomplete_line(file)
        try:
            file.write(line)
            file.flush()
        except OSError as error:
            with suppress(OSError):
                file.close()
            os.truncate(path, complete)
            raise write_error(path, path, error) from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects in a file of `append_line`; nothing if there is none. A line that was cut off is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")  # `splitlines` splits at U+2028 too
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError):
            content = json.loads(line)
            if isinstance(content, dict):
                yield content


def remove_incomplete_line(file: BinaryIO) -> int:
    """Cut off what follows the last line break of an open file, and return the size in bytes that remains."""
    complete = file.seek(0, os.SEEK_END)
    while complete:  # from the end: the file may be large
        start = max(0, complete - _TAIL)
        file.seek(start)
        if found := file.read(complete - start).rfind(b"\n") + 1:
            complete = start + found
            break
        complete = start
    file.truncate(complete)
    return complete


def safe_name(name: str, length: int = 100) -> str:
    """Return `name` as a file name that Linux, macOS and Windows accept, of at most `length` UTF-8 bytes."""
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).strip(" .")
    name = name.encode("utf-8", "replace")[:length].decode("utf-8", "ignore").strip(" .")
    if not name or name.startswith("-") or name.split(".")[0].lower() in _RESERVED:
        name = f"_{name}"
    return name


def has_content(folder: Path) -> bool:
    """Tell whether a folder exists and is not empty."""
    return folder.is_dir() and any(folder.iterdir())


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside the given one, and remove it at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_into_place(source: Path, target: Path) -> None:
    """Rename a file or a folder to its final name."""
    if target.is_dir() and not has_content(target):
        target.rmdir()  # Windows renames onto no folder, not even an empty one
    os.replace(source, target)
