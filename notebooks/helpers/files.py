"""How is a file written so that nobody ever reads half of it?"""

import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
        message = f"{path} could not be written: {error.strerror or error}. Is there space and may you write there?"
        raise OSError(error.errno, message) from error
    finally:
        with suppress(OSError):  # what the block raised says more; and nobody reads the partial file
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented UTF-8 JSON, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with written_beside(path) as partial:
        # A file name that is not UTF-8 has lone surrogates; \udcff is also how JSON itself writes one.
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


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
