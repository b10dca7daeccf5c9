"""Unpacking of zip and tar archives that may be broken or hostile."""

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from phototransfer import files
from phototransfer.console import plural

_MAX_FILES = 1_000_000
_MAX_DEPTH = 100
_BLOCK = 4096  # bytes that even an empty file takes on a disk
_CHUNK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, UnicodeError)
_Parts = tuple[str, ...]


class _Member(NamedTuple):
    """An entry of an archive that is not a folder; `open` is None for a link, a device or the like."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None] | None


def unpack(archive: Path, target: Path) -> None:
    """Unpack the files of an archive into the folder `target`, which is replaced when all of them are there.

    Nothing is written outside of it. Links and devices are left out, and a line says how many. Not for two processes at
    a time.

    Parameters
    ----------
    archive : Path
        A zip archive or a tar archive, which may be compressed.

    Raises
    ------
    ValueError
        The archive is damaged, encrypted or hostile, needs more space than is free, or has no files.
    OSError
        The archive cannot be read, or a file cannot be written.
    """
    for unfinished in target.parent.glob(f".{target.name}-*.partial"):  # of a process that was killed
        shutil.rmtree(unfinished)
    with files.temporary_folder(target) as folder:
        try:
            with _open(archive) as members:
                free = int(0.9 * files.free_space(target))
                selected, left_out = _select(members, free)
                print(f"Unpacking {archive} ({plural(len(selected), 'file')}) into {target} …", flush=True)
                for parts, member in selected.items():
                    free -= _write(member, folder.joinpath(*parts), free)
        except _DAMAGED as error:
            raise _unusable(archive, f"is damaged ({error or type(error).__name__})") from error
        except NotImplementedError as error:  # such as Deflate64 of Windows, for files above 2 GB
            raise _unusable(archive, f"is packed in a way that Python cannot read ({error})") from error
        except ValueError as error:
            raise _unusable(archive, str(error)) from error
        except OSError as error:
            if error.errno is None:  # the decompressors of gzip and bzip2
                raise _unusable(archive, f"is damaged ({error})") from error
            raise OSError(error.errno, f"{archive} cannot be unpacked into {target}: {error.strerror}") from error
        if left_out:
            print(f"Left out: {left_out} of its entries, which are links or devices.")
        shutil.rmtree(target, ignore_errors=True)
        files.move_into_place(folder, target)


def _unusable(archive: Path, problem: str) -> ValueError:
    return ValueError(f"{archive} {problem}. Unpack it with another program, and give its folder as DATASET.")


@contextmanager
def _open(archive: Path) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(packed)
    else:
        with tarfile.open(archive) as packed_tar:
            yield _tar_members(packed_tar)


def _zip_members(packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        if info.filename.endswith(("/", "\\")):
            continue
        if info.flag_bits & 0x1:
            raise ValueError("is encrypted")
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 if it was not packed on Unix
        regular = kind in (0, stat.S_IFREG)
        yield _Member(info.filename, info.file_size, partial(packed.open, info) if regular else None)


def _tar_members(packed: tarfile.TarFile) -> Iterator[_Member]:
    regular: dict[str, tarfile.TarInfo] = {}
    for info in packed:
        if info.size < 0:
            raise tarfile.ReadError("an entry has a negative size")
        if info.isdir():
            continue
        if info.isfile():
            regular[info.name] = info
        # A hard link is one more name of a file that came before it.
        content = info if info.isfile() else regular.get(info.linkname) if info.islnk() else None
        if content is None:
            yield _Member(info.name, 0, None)
        else:
            yield _Member(info.name, content.size, partial(packed.extractfile, content))


def _select(members: Iterable[_Member], free: int) -> tuple[dict[_Parts, _Member], int]:
    """Return the files of an archive by their places below the target, and how many entries are left out."""
    selected: dict[_Parts, _Member] = {}
    left_out = needed = 0
    for member in members:
        try:
            parts = safe_parts(member.name)
        except ValueError as error:
            raise ValueError(f"has an entry that {error} ({member.name[:100]!r})") from error
        if member.open is None:
            left_out += 1
            continue
        needed += member.size + _BLOCK
        if needed > free:
            raise ValueError(f"needs more than {files.megabytes(needed)}, and {files.megabytes(free)} are free")
        selected[parts] = member  # the last one of a name is the newest
        if len(selected) > _MAX_FILES:
            raise ValueError(f"has more than {_MAX_FILES:,} files")
    if not selected:
        raise ValueError("has no files in it")
    return selected, left_out


def safe_parts(name: str) -> _Parts:
    """Return the folders and the name of a file below a target: without drive and root, and never above it.

    Raises
    ------
    ValueError
        There is no such file below the target.
    """
    relative = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/")).lstrip("/")
    parts = PurePosixPath(relative).parts
    if ".." in parts or not parts:
        raise ValueError("is outside of its folder")
    if len(parts) > _MAX_DEPTH:
        raise ValueError(f"is in folders more than {_MAX_DEPTH} deep")
    return parts


def _write(member: _Member, path: Path, free: int) -> int:
    """Write a file that does not exist yet, and return its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    source: Any = member.open() if member.open else None
    with source, path.open("xb") as copy:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > free:
                raise ValueError(f"is larger than it says, and {files.megabytes(free)} are free")
            copy.write(chunk)
    return size
