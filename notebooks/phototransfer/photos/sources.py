"""Folders of photos: under data/, at a path, unpacked, downloaded, or drawn."""

import errno
import hashlib
import re
import shutil
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phototransfer import files
from phototransfer.paths import (
    DERIVED,
    DOWNLOAD,
    MADE,
    MIRROR,
    UNPACKED,
    address_of,
    archive_kind,
    check_address,
    find_dataset,
    has_own_photos,
    read_record,
)
from phototransfer.photos import mirror, object_store, sample
from phototransfer.photos.archives import unpack

__all__ = ["DERIVED", "DOWNLOADS", "TIMEOUT", "Source", "find_source", "socket_timeout"]

_ARCHIVE_ENDINGS = re.compile(r"(\.(zip|tar|tgz|tbz2?|txz|gz|bz2|xz))+$", re.IGNORECASE)
TIMEOUT = 10.0  # seconds without an answer, for connecting and for each read


@dataclass(frozen=True)
class Source:
    """A folder of photos, which is only read, and the folder `home` that is written to."""

    name: str
    folder: Path
    home: Path
    #: What could not be fetched from an object store into the folder: its name there, and the reason.
    skipped: tuple[tuple[str, str], ...] = ()


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
    """Find the photos of a `DATASET` setting, and unpack, fetch, download or draw them if they are not there yet.

    Parameters
    ----------
    dataset : str
        What `paths.find_dataset` accepts: a name in data/, the path of a folder or of an archive, the name of a
        download, or "sample". Or the address of photos in an object store, such as "s3://bucket/photos".
    """
    if address := address_of(str(dataset)):
        return _find_remote(address)
    path = find_dataset(str(dataset), ("sample", *DOWNLOADS))
    name = path.name
    if path.parent == files.DATA and not has_own_photos(path):
        if name in DOWNLOADS:
            return _find_download(name)
        if name == "sample":
            with files.locked(files.DATA, "drawing the sample"):
                if not has_own_photos(path):  # drawn by another process in the meantime
                    sample.draw_sample(path)
    if path.is_file():
        return _find_unpacked(path)
    data = files.DATA.resolve()
    if path.parent.resolve() == data and not has_own_photos(path) and "address" in read_record(path):
        return _find_remote(str(read_record(path)["address"]))
    home = path.resolve().parent
    if path.name == MIRROR and home.parent == data and "address" in read_record(home):  # without asking the store
        return Source(home.name, path.resolve(), home)
    return _claim(files.safe_name(path.resolve().name), path)


def _claim(name: str, folder: Path) -> Source:
    """Give a folder a home under data/ that it shares with no other folder, even one of the same name."""
    folder, data = folder.resolve(), files.DATA.resolve()
    home = _home_of(name, folder, data)
    if read_record(home).get("folder") != str(folder):
        with files.locked(data, "starting"):  # or two folders of one name could get the same home
            home = _home_of(name, folder, data)
            if not read_record(home) and any((home / derived).exists() for derived in DERIVED[:3]):
                raise ValueError(
                    f"This notebook did not write {' or '.join(DERIVED[:3])} in {home}, and needs these names. Rename "
                    "yours, or move the photos to a folder outside data/ and give its path."
                )
            files.write_json(home / "source.json", {"folder": str(folder)})
    return Source(home.name, folder, home)


def _home_of(name: str, folder: Path, data: Path) -> Path:
    home = folder if folder.parent == data else data / name
    recorded = read_record(home)
    free = not home.is_dir() or folder.is_relative_to(home) or not any(home.iterdir())
    if recorded.get("folder") == str(folder) or (not recorded and free):
        return home
    return data / f"{name}-{_short_hash(folder)}"


def _short_hash(path: Path | str) -> str:
    return hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _find_unpacked(archive: Path) -> Source:
    """Return the photos of an archive, unpacked into data/<name>/ unless that was done since it changed."""
    archive, data = archive.resolve(), files.DATA.resolve()
    name = files.safe_name(_ARCHIVE_ENDINGS.sub("", archive.name))
    with files.locked(data, "starting"):  # or two archives of one name could get the same home
        home = data / name
        recorded = read_record(home)
        if recorded.get("archive") != str(archive) and (recorded or files.has_content(home)):
            home = data / f"{name}-{_short_hash(archive)}"
        target = home / UNPACKED
        record = {"folder": str(target), "archive": str(archive)}
        if read_record(home).get("archive") != str(archive):
            files.write_json(home / "source.json", record)
    unpacked = record | files.stamp(archive)._asdict()
    with files.locked(home, f"unpacking {archive.name}"):
        if read_record(home) != unpacked or not files.has_content(target):
            files.write_json(home / "source.json", record)  # no stamp until all of it is there
            unpack(archive, target)
            files.write_json(home / "source.json", unpacked)
    return Source(home.name, target, home)


def _find_remote(address: str) -> Source:
    """Return the photos of an object store, in a mirror of their own that is brought up to date."""
    check_address(address)
    home = _home_of_address(address)
    try:
        listing = object_store.list_objects(address)
    except object_store.Unreachable as error:
        if read_record(home).get("address") != address:
            raise
        with files.locked(home, f"fetching {address}"):
            complete = mirror.complete_mirror(home / MIRROR)
        if complete is None:
            raise
        when, skipped = complete
        print(f"{error} What was fetched before is used, as it was on {when}.")
        return Source(home.name, home / MIRROR, home, skipped)
    with files.locked(files.DATA.resolve(), "starting"):  # or two addresses could get the same home
        home = _home_of_address(address)
        target = home / MIRROR
        if not read_record(home):
            files.write_json(home / "source.json", {"folder": str(target), "address": address})
    with files.locked(home, f"fetching {address}"):
        skipped = mirror.update(listing, target)
    archive = target / next(iter(listing.objects))
    if listing.is_file and archive_kind(archive) in ("a zip archive", "a tar archive"):
        return _find_unpacked(archive)
    return Source(home.name, target, home, skipped)


def _home_of_address(address: str) -> Path:
    data = files.DATA.resolve()
    home = data / files.safe_name(address.rpartition("/")[2])
    record = read_record(home)
    free = not record and not home.is_file() and not files.has_content(home) and home.name not in MADE
    return home if free or record.get("address") == address else data / f"{home.name}-{_short_hash(address)}"


def _find_download(name: str) -> Source:
    """Return a download; its home is not `data/<name>` if that belongs to other photos."""
    data, photos = files.DATA.resolve(), Path(DOWNLOAD, DOWNLOADS[name].photos)
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
