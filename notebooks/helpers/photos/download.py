"""Named sets of photos that can be downloaded, and how they are fetched, checked and unpacked."""

import errno
import hashlib
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.files import folder_beside, has_content, move_into_place
from helpers.photos.archives import extract

TIMEOUT = 10.0  # seconds without a sign from the other side, for connecting and for each read
STALE = 600.0  # seconds untouched after which a partial folder can only be a killed run's


class DownloadError(OSError):
    """A set of photos could not be had; the message says what, from where, why, and the way out."""


@dataclass(frozen=True)
class Download:
    """A set of photos on the web: an archive (zip or tar), and where in it the photos lie."""

    url: str
    photos: str  # the folder inside the archive which holds the photos
    size: int | None  # of the archive, in bytes; None: not known for certain, not checked
    sha256: str | None  # of the archive; None: not known for certain, not checked
    about: str


DOWNLOADS = {
    # Size: the Content-Length shown in many public logs of this download. Its publisher states no SHA-256,
    # but it comes over HTTPS.
    "cats_and_dogs": Download(
        url="https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip",
        photos="cats_and_dogs_filtered",
        size=68_606_236,
        sha256=None,
        about="3,000 photos of cats and dogs, the set of TensorFlow's transfer learning tutorial",
    ),
    # Size and SHA-256: TensorFlow Datasets, tensorflow_datasets/url_checksums/stanford_dogs.txt
    "stanford_dogs": Download(
        url="http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",
        photos="Images",
        size=793_579_520,
        sha256="a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
        about="20,580 photos of dogs of 120 breeds, the Stanford Dogs set",
    ),
}


def download(what: str | Download, folder: Path, *, timeout: float = TIMEOUT) -> Path:
    """The folder with the photos of a set, fetched first if it is not there yet.

    what: a name in DOWNLOADS, or a Download. folder: where the set is kept; the photos come to lie in
    folder / Download.photos, and nothing else of the archive is kept. The archive itself is removed once
    unpacked: only the photos are read from then on, and it would take as much room again.
    timeout: seconds without an answer after which it is given up; it is not tried again.

    An interrupted run leaves nothing under the final name and can simply be run again.

    Raises ValueError for an unknown name, DownloadError (an OSError) if the set cannot be had or is not what
    it should be, and a plain OSError that names the folder if the disk is full or not writable.
    """
    wanted = _named(what)
    target = Path(folder).resolve() / wanted.photos
    _remove_stale(target)
    if has_content(target):
        return target
    if target.exists() and not target.is_dir():
        raise FileExistsError(errno.EEXIST, "a file is where the photos' folder should be", str(target))
    with folder_beside(target) as fresh:
        try:
            archive = _fetch(wanted.url, fresh, timeout)
            _check(archive, wanted)
            unpacked = extract(archive, fresh / "unpacked") / wanted.photos
            if not has_content(unpacked):
                raise ValueError(f"the archive holds no photos in a folder called {wanted.photos!r}")
        except (ConnectionError, ValueError) as error:
            raise DownloadError(_way_out(what, wanted, target, error)) from error
        if not has_content(target):  # or else another run was quicker
            move_into_place(unpacked, target)
    return target


def _named(what: str | Download) -> Download:
    if isinstance(what, Download):
        return what
    if what not in DOWNLOADS:
        raise ValueError(f"no set of photos to download is called {what!r}; there are: {', '.join(DOWNLOADS)}")
    return DOWNLOADS[what]


def _fetch(url: str, folder: Path, timeout: float) -> Path:
    """The file at url, in the given folder. That has to be a fresh one: get_file takes any file for whole.

    Raises ConnectionError with the reason if it cannot be had, OSError that names the folder on a full disk.
    """
    from keras.utils import get_file  # here, for it takes seconds to import

    try:
        with socket_timeout(timeout):
            # An absolute cache_subdir, for get_file turns to /tmp if it finds cache_dir not writable.
            return Path(get_file(origin=url, cache_dir=str(folder), cache_subdir=str(folder)))
    except Exception as error:  # get_file wraps what urllib raises into a bare Exception
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, f"{error.strerror}, while downloading into", str(folder)) from error
        cause = error.__context__ if type(error) is Exception else error
        raise ConnectionError(str(cause) or type(cause).__name__) from error


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """get_file has no timeout of its own and would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check(archive: Path, wanted: Download) -> None:
    """Raises ValueError if the file's size or SHA-256 is known and is another."""
    size = archive.stat().st_size
    if wanted.size not in (None, size):
        raise ValueError(f"the file had {size:,} bytes where {wanted.size:,} were expected")
    if wanted.sha256 is not None:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted.sha256.lower():
            raise ValueError(f"the file's SHA-256 is {found} where {wanted.sha256} was expected")


def _way_out(what: str | Download, wanted: Download, target: Path, reason: Exception) -> str:
    name = what if isinstance(what, str) else wanted.photos
    return (
        f"{name} ({wanted.about}) could not be had from {wanted.url}: {reason}. "
        f"Run it again later, or download that file with a browser, unpack it, and put the folder "
        f"{wanted.photos!r} which is inside at {target}; it is then used without a network."
    )


def _remove_stale(folder: Path) -> None:
    """Remove what killed runs left beside the folder, but not what a run going on now writes to."""
    for left in folder.parent.glob(f".{folder.name}-*.partial"):
        with suppress(FileNotFoundError):  # its own run is just removing it
            touched = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
            if time.time() - touched > STALE:
                shutil.rmtree(left)
