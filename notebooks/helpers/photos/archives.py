"""What is in an archive from somebody else, and may it be unpacked?"""

import errno
import re
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from lzma import LZMAError
from pathlib import Path

from tqdm import tqdm

from helpers.files import folder_beside, has_content, move_into_place

MAX_BYTES = 20 * 2**30
MAX_MEMBERS = 2_000_000
MAX_TAR_HEADER = 2**20  # bytes; long names are kept in headers, which tarfile reads into memory whole


class ArchiveError(ValueError):
    """An archive that is damaged, of another kind, or refused; the message names it and says why."""


def extract(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> Path:
    """Unpack a zip or tar (also .tar.gz, .tar.bz2, .tar.xz) into a new folder, and return that folder.

    The archive is looked through before anything is written, and refused as a whole if any member could land
    outside the folder, is not a plain file or folder, or if together they are larger than max_bytes or more
    than max_members: who packs one such member deserves no trust for the others. The folder appears only
    once everything is in it.

    Raises ArchiveError (a ValueError), naming the archive and where it can the member, for an archive that is refused,
    damaged, cut short, protected by a password or of another kind; FileExistsError if the folder already
    holds something; OSError that names the folder if the disk is full or not writable.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.is_file() or has_content(folder):
        raise FileExistsError(errno.EEXIST, "already there, so nothing was unpacked into it", str(folder))
    with _clear_errors(archive, folder), _opened(archive) as opened:
        members = _checked(opened, archive, max_bytes, max_members)
        unpack = _unpacker(opened)
        with folder_beside(folder) as fresh:
            whole = fresh / "whole"
            whole.mkdir()
            for member in tqdm(members, desc="unpacking", unit="file", file=sys.stdout):
                unpack(member, whole)
            move_into_place(whole, folder)
    return folder


class _StrictTarInfo(tarfile.TarInfo):
    """tarfile takes a garbled header, or the file's end without the end mark, for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # the end mark
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        plain = info.isreg() or info.isdir()
        if info.size < 0 or not (plain or info.size <= MAX_TAR_HEADER):
            raise tarfile.TarError(f"a header states an impossible size, {info.size:,} bytes")
        return info


def _opened(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
        return zipfile.ZipFile(archive)
    return tarfile.open(archive, tarinfo=_StrictTarInfo)


def _unpacker(opened: zipfile.ZipFile | tarfile.TarFile) -> Callable:
    """The library's own extract(member, folder)."""
    if isinstance(opened, zipfile.ZipFile):
        return opened.extract
    # A second lock on the door, as tarfile's documentation advises; Python before 3.11.4 has no filters.
    opened.extraction_filter = getattr(tarfile, "data_filter", lambda member, folder: member)
    # Modes and dates set by the archive's maker are left out: they may be out of range or forbid reading.
    return partial(opened.extract, set_attrs=False)


@contextmanager
def _clear_errors(archive: Path, folder: Path) -> Iterator[None]:
    damaged_zip = (zipfile.BadZipFile, NotImplementedError)  # the latter: a version or method unknown to it
    damage = (*damaged_zip, tarfile.TarError, zlib.error, LZMAError, EOFError, ValueError)
    try:
        yield
    except ArchiveError:
        raise
    except damage as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists every format it tried
        raise ArchiveError(f"{archive} is no zip or tar archive, or is damaged or cut short: {reason}") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # gzip and bz2 report damage so, and zipfile a false offset
            raise ArchiveError(f"{archive} is damaged or cut short: {error}") from error
        raise OSError(error.errno, f"{error.strerror}, while unpacking {archive} into", str(folder)) from error


def _checked(opened: zipfile.ZipFile | tarfile.TarFile, archive: Path, max_bytes: int, max_members: int) -> list:
    """All members. Sizes are as stated in the archive; neither library writes more than is stated."""
    is_tar = isinstance(opened, tarfile.TarFile)
    members, total = [], 0
    for member in opened if is_tar else opened.infolist():
        # orig_filename: on Windows, filename already has its backslashes turned round.
        name, size = (member.name, member.size) if is_tar else (member.orig_filename, member.file_size)
        fault = _name_fault(name) or (_tar_fault(member) if is_tar else _zip_fault(member))
        if fault:
            raise ArchiveError(f"{archive} was refused, nothing was unpacked: its member {name[:200]!r} {fault}")
        members.append(member)
        total += size
        if total > max_bytes or len(members) > max_members:
            raise ArchiveError(
                f"{archive} was refused, nothing was unpacked: it holds more than {max_bytes:,} bytes "
                f"or {max_members:,} members"
            )
    if not members:
        raise ArchiveError(f"{archive} holds no files")
    if is_tar:
        _read_to_end(opened)
    return members


def _read_to_end(tar: tarfile.TarFile) -> None:
    """gzip checks what it unpacked only at its own end, which lies behind the tar's."""
    for _ in range(0, MAX_BYTES, 2**20):
        if not tar.fileobj.read(2**20):
            return
    raise tarfile.ReadError(f"more than {MAX_BYTES:,} bytes lie behind its end")


def _name_fault(name: str) -> str | None:
    if not name or "\0" in name:
        return "has no proper name"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "has an absolute path"
    if "\\" in name:
        return "has a backslash in its name"
    return "points outside the folder ('..')" if ".." in name.split("/") else None


def _tar_fault(member: tarfile.TarInfo) -> str | None:
    if member.size < 0:
        return "states a negative size"
    return None if member.isreg() or member.isdir() else "is a link, a device or another special file"


def _zip_fault(member: zipfile.ZipInfo) -> str | None:
    if member.flag_bits & 0x1:
        return "is protected by a password; unpack it yourself"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or another special file"
    # bzip2 and LZMA members are unpacked without a bound on memory, whatever size they state.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by a method other than Deflate; unpack it yourself, or pack it as a plain zip"
    return None
