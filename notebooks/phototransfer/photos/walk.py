"""The walk through a folder: every file once, in a fixed order, without those of operating systems."""

import os
import stat
from pathlib import Path, PurePosixPath

#: Endings of the names of pictures. Whether a file is a photo, its content decides.
PICTURE_ENDINGS = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "tif", "tiff", "bmp", "dib", "ppm", "pgm", "pbm"),
    *("pnm", "jp2", "j2k", "heic", "heif", "avif", "mpo", "dcm", "dng", "cr2", "nef", "arw"),
)
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", ".ds_store", ".directory"}
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
_MAX_DEPTH = 100


def made_by_system(name: str) -> bool:
    """Return whether the operating system creates files of this name in folders."""
    return name.lower() in _SYSTEM_FILES or name.startswith("._")


def is_hidden(path: PurePosixPath) -> bool:
    """Return whether a file lies in a hidden folder or in one of the operating system, or is hidden itself."""
    return any(part.startswith(".") or part.lower() in _SYSTEM_FOLDERS for part in path.parts)


def walk(folder: Path, ignore: set[str]) -> tuple[list[PurePosixPath], list[PurePosixPath], list[tuple[str, str]]]:
    """Return every file of a folder in a fixed order, every folder in it, and what cannot be read with the reason.

    Entries whose paths are in `ignore` are left out without a word.
    """
    files: list[PurePosixPath] = []
    folders: list[PurePosixPath] = []
    skipped: list[tuple[str, str]] = []

    def visit(path: PurePosixPath, parents: tuple[tuple[int, int], ...]) -> None:
        try:
            info = (folder / path).stat()
            entries = sorted(os.scandir(folder / path), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append((str(path), f"folder cannot be read ({error.strerror})"))
            return
        if (info.st_dev, info.st_ino) in parents:
            skipped.append((str(path), "a link to a folder that contains it"))
            return
        if len(path.parts) > _MAX_DEPTH:
            skipped.append((str(path), f"a folder more than {_MAX_DEPTH} folders deep"))
            return
        for entry in entries:
            below = path / entry.name
            if str(below) in ignore:
                continue
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                skipped.append((str(below), f"cannot be read ({error.strerror}): is it a broken link?"))
                continue
            if stat.S_ISDIR(mode):
                folders.append(below)
                visit(below, (*parents, (info.st_dev, info.st_ino)))
            elif not stat.S_ISREG(mode):
                skipped.append((str(below), "not a regular file"))
            elif is_hidden(below):
                skipped.append((str(below), "hidden file or folder"))
            elif made_by_system(entry.name):
                skipped.append((str(below), "a file of the operating system"))
            else:
                files.append(below)

    visit(PurePosixPath(), ())
    return files, folders, skipped
