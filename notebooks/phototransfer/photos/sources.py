"""Folders of photos: under data/, at a path, downloaded, or drawn."""

import errno
import hashlib
import os
import shutil
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from phototransfer import files
from phototransfer.photos import sample

#: What is written into `data/<name>/` and never read as photos.
DERIVED = ("prepared", "features", "skipped.csv", "source.json", ".lock")
TIMEOUT = 10.0  # seconds without an answer, for connecting and for each read


@dataclass(frozen=True)
class Source:
    """A folder of photos, which is only read, and the folder `home` that is written to."""

    name: str
    folder: Path
    home: Path


@dataclass(frozen=True)
class _Download:
    """An archive on the web, its folder with photos, its size in bytes and its SHA-256."""

    url: str
    photos: str
    size: int
    sha256: str | None
    description: str


DOWNLOADS = {
    "cats_and_dogs": _Download(
        url="https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
        photos="cats_and_dogs_filtered",
        size=68_606_236,  # the Content-Length in many public logs
        sha256=None,  # none is published, but the download is encrypted
        description="3,000 photos of cats and dogs, the data set of TensorFlow's transfer learning tutorial",
    ),
    # Size and SHA-256: TensorFlow Datasets, tensorflow_datasets/url_checksums/stanford_dogs.txt
    "stanford_dogs": _Download(
        url="http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",
        photos="Images",
        size=793_579_520,
        sha256="a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
        description="20,580 photos of 120 dog breeds, the Stanford Dogs data set",
    ),
}


def find_source(dataset: str) -> Source:
    """Find the photos of a `DATASET` setting, and download or draw them if they are not there yet.

    Parameters
    ----------
    dataset : str
        The name of a folder under data/, a path (absolute, relative to the project or to the working directory), the
        name of a download, or "sample".
    """
    dataset = str(dataset)
    local = files.DATA / dataset
    if dataset == files.safe_name(dataset):
        if dataset in DOWNLOADS and not _has_photos(local):
            return _find_download(dataset)
        if dataset == "sample" and not _has_photos(local):
            with files.locked(files.DATA, "drawing the sample"):
                if not _has_photos(local):  # drawn by another process in the meantime
                    sample.draw_sample(local)
        if local.is_dir():
            return _claim(dataset, _recorded_folder(local) or local)
    with suppress(RuntimeError):  # "~" where the home folder is not known
        folder = files.find_path(dataset)
        if dataset.strip() and os.path.isdir(folder):  # Path.is_dir raises for a name that no file system accepts
            return _claim(files.safe_name(folder.resolve().name), folder)
    folders = sorted(path.name for path in files.DATA.glob("[!._]*") if path.is_dir())
    raise FileNotFoundError(
        f"No photos for DATASET = {dataset!r}: not in {files.DATA}, {files.PROJECT} or {Path.cwd()}, nor a download. "
        f"In data/: {', '.join(folders) or 'nothing'}; downloads: {', '.join(DOWNLOADS)}; drawn here: sample."
    )


def _has_photos(home: Path) -> bool:
    """Tell whether a folder under data/ has content that was not written there by this package."""
    visible = {path.name for path in home.glob("[!.]*")}
    return not visible <= {*DERIVED, "download"}


def _recorded_folder(home: Path) -> Path | None:
    """Return the folder that a home without photos of its own belongs to, so that its name is enough next time."""
    folder = _read_record(home)
    if folder is None or folder == str(home.resolve()) or _has_photos(home):
        return None
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The photos of DATASET = {home.name!r} were in {folder}, which does not exist now. Connect its disk, give "
            f"the new path of the folder, or delete {home}, which is computed again."
        )
    return Path(folder)


def _read_record(home: Path) -> str | None:
    match files.read_json(home / "source.json"):
        case None:
            return None
        case {"folder": str(folder)}:
            return folder
    raise ValueError(f"{home / 'source.json'} was not written by this notebook. Rename it or delete it.")


def _claim(name: str, folder: Path) -> Source:
    """Give a folder a home under data/ that it shares with no other folder, even one of the same name."""
    folder, data = folder.resolve(), files.DATA.resolve()
    if data.is_relative_to(folder):
        raise ValueError(f"{folder} contains this project's own {data}. Give a folder that contains only photos.")
    home = _home_of(name, folder, data)
    if _read_record(home) != str(folder):
        with files.locked(data, "starting"):  # or two folders of one name could get the same home
            home = _home_of(name, folder, data)
            if _read_record(home) is None and any((home / derived).exists() for derived in DERIVED[:3]):
                raise ValueError(
                    f"This notebook did not write {' or '.join(DERIVED[:3])} in {home}, and needs these names. Rename "
                    "yours, or move the photos to a folder outside data/ and give its path."
                )
            files.write_json(home / "source.json", {"folder": str(folder)})
    return Source(home.name, folder, home)


def _home_of(name: str, folder: Path, data: Path) -> Path:
    home = folder if folder.parent == data else data / name
    recorded = _read_record(home)
    free = not home.is_dir() or folder.is_relative_to(home) or not any(home.iterdir())
    if recorded == str(folder) or (recorded is None and free):
        return home
    return data / f"{name}-{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _find_download(name: str) -> Source:
    """Return a download; its home is not `data/<name>` if that belongs to other photos."""
    data, photos = files.DATA.resolve(), Path("download", DOWNLOADS[name].photos)
    home = _home_of(name, data / name / photos, data)
    with files.locked(home, f"downloading {name}"):
        if not files.has_content(home / photos):
            _download(name, home / photos)
    return _claim(home.name, home / photos)


def _download(name: str, target: Path) -> None:
    """Download and unpack an archive; `target` appears only when it is complete. Not for two processes at a time."""
    from keras.utils import get_file  # imported here because it takes seconds

    archive = DOWNLOADS[name]
    for path in target.parent.glob(".*.partial"):  # of a process that was killed
        shutil.rmtree(path)
    with files.temporary_folder(target) as folder:
        try:
            with socket_timeout(TIMEOUT), warnings.catch_warnings():
                # get_file only warns of a file that is no archive, and of members outside of their folder.
                warnings.simplefilter("error", UserWarning)
                options = {"file_hash": archive.sha256, "extract": True, "cache_dir": str(folder), "cache_subdir": ""}
                unpacked = Path(get_file("archive", archive.url, **options))
            size = (folder / "archive_archive").stat().st_size
            if size != archive.size:
                raise ValueError(f"the file has {size:,} bytes instead of {archive.size:,}")
            if not files.has_content(unpacked / archive.photos):
                raise ValueError(f"the archive has no photos in a folder {archive.photos!r}")
        except Exception as error:  # get_file raises a bare Exception, and unpackers raise many types
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, f"{error.strerror} while downloading {name} into", str(target)) from error
            raise OSError(
                f"{name} ({archive.description}) could not be downloaded: {error}. Try again later, or download "
                f"{archive.url} with a browser, unpack it, and move its folder {archive.photos!r} to {target}."
            ) from error
        files.move_into_place(unpacked / archive.photos, target)


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of new connections, as get_file has none of its own and would wait forever."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
