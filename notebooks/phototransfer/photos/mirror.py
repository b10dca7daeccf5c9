"""A mirror on this computer of the objects of a store: what is new or changed is fetched, nothing else is touched."""

import errno
import json
import os
import shutil
import threading
import unicodedata
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from phototransfer import files
from phototransfer.console import plural, progress, shorten_list
from phototransfer.paths import MIRRORED
from phototransfer.photos.archives import safe_parts
from phototransfer.photos.object_store import AT_ONCE, Listing, RemoteObject, explain, is_unreachable, reason_of

_CHUNK = 1024  # objects that wait for their turn
_MOST_FAILURES = 32  # objects one after the other that cannot be fetched, before the others are not tried
_BLOCK = 4096  # bytes that even an empty file takes on a disk
_LONGEST_NAME = 255  # bytes, on nearly every file system
_SAME_TIME_NS = 2 * 10**9  # what file systems round times to
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Copy(NamedTuple):
    """A file in the mirror, as it was when it was fetched."""

    size: int
    tag: str
    mtime_ns: int


def update(listing: Listing, target: Path) -> tuple[tuple[str, str], ...]:
    """Make a folder contain the objects of a store, and return those that it cannot contain, with the reasons.

    Only objects that are new or changed are fetched. Files of objects that are gone are removed. Files that were not
    fetched, or were changed since, are left as they are. Not for two processes at a time.

    Parameters
    ----------
    listing : Listing
    target : Path
        The folder. A file beside it says what was fetched.

    Raises
    ------
    Unreachable
        The store does not answer any more.
    OSError
        The disk is full, or the folder cannot be written.
    ValueError
        No object can be read.
    """
    for unfinished in target.parent.glob(f".{target.name}-*.partial"):  # of a process that was killed
        shutil.rmtree(unfinished)
    with _Record(target.with_name(MIRRORED)) as record:
        plan = _make_plan(listing.objects, record, target)
        _check_space(listing.address, [listing.objects[key] for key in plan.fetch], target)
        if plan.fetch or plan.gone:
            record.write({"complete": None})
        for key, path in plan.gone.items():
            if path:
                _remove(target / path, target)
            record.write({"key": key, "gone": True})
        for key, copy in plan.adopted.items():
            record.write({"key": key, **copy._asdict()})
        target.mkdir(parents=True, exist_ok=True)
        has_photos = bool(plan.unchanged or plan.adopted or plan.replaced)
        failed = _fetch(listing, plan.fetch, target, record, may_all_fail=has_photos)
        problems = plan.skipped | failed
        for key in record.skipped.keys() | problems.keys():
            if record.skipped.get(key) != problems.get(key):
                record.write({"key": key, "skipped": problems.get(key, "")})
        record.write({"complete": {"when": f"{datetime.now():%Y-%m-%d %H:%M}", "objects": len(listing.objects)}})
    earlier = [key for key in failed if key in plan.replaced]
    skipped = {key: reason for key, reason in problems.items() if key not in plan.replaced}
    counts = {
        "fetched": len(plan.fetch) - len(failed),
        "as before": plan.unchanged + len(plan.adopted),
        "gone": len(plan.gone),
        "not fetched": len(skipped),
    }
    parts = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    print(f"{plural(len(listing.objects), 'object')}: {parts}.")
    if earlier:
        print(f"Changed, and could not be fetched again, so as before: {shorten_list(earlier)} ({failed[earlier[0]]}).")
    if plan.left:
        names = f"{plural(len(plan.left), 'file')} that were not fetched, or were changed here"
        print(f"Left as they are in {files.relative_to_project(target)}: {names} ({shorten_list(plan.left)}).")
    return _named(skipped)


def complete_mirror(target: Path) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """Return when a mirror was last complete, and what it could not contain; None if files of it are missing now."""
    with _Record(target.with_name(MIRRORED)) as record:
        fold = _folding(target.parent)
        local = _walk(target, fold)
        missing = [key for key in record.copies if fold(_local_name(key)) not in local]
        if not record.complete or not local or missing:
            return None
        skipped = {key: reason for key, reason in record.skipped.items() if key not in record.copies}
        return record.complete["when"], _named(skipped)


def _named(skipped: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, f"not fetched: {reason}") for key, reason in sorted(skipped.items()))


@dataclass
class _Plan:
    """What has to be done to a mirror. Paths are POSIX paths below it."""

    fetch: dict[str, str] = field(default_factory=dict)  #: paths by keys
    replaced: set[str] = field(default_factory=set)  #: keys to fetch of which an earlier version is there
    unchanged: int = 0
    adopted: dict[str, _Copy] = field(default_factory=dict)  #: files that another program copied from the store
    gone: dict[str, str] = field(default_factory=dict)  #: paths by keys; "" if there is no file
    left: list[str] = field(default_factory=list)  #: paths of files that were not fetched
    skipped: dict[str, str] = field(default_factory=dict)  #: reasons by keys


def _make_plan(objects: Mapping[str, RemoteObject], record: "_Record", target: Path) -> _Plan:
    fold = _folding(target.parent)
    local = _walk(target, fold)
    paths, skipped = _places(objects, fold)
    plan = _Plan(skipped=skipped)
    for key in record.copies.keys() - paths.keys():
        path, stamp = local.get(fold(_local_name(key)), ("", files.Stamp(-1, -1)))
        ours = path and _is_ours(stamp, record.copies[key])
        plan.gone[key] = path if ours else ""
        if ours:
            del local[fold(path)]
    for key, path in paths.items():
        folded, found, copies = fold(path), objects[key], record.copies.get(key, [])
        if any(parent in local for parent in _parents(folded)):
            plan.skipped[key] = "a file or link that was not fetched is in the place of its folder"
            continue
        if folded not in local:
            plan.fetch[key] = path
            continue
        _, stamp = local.pop(folded)
        copy = _Copy(stamp.size, found.tag, stamp.mtime_ns)
        if not _is_ours(stamp, copies):
            if found.mtime_ns and _is_ours(stamp, [_Copy(found.size, found.tag, found.mtime_ns)]):
                plan.adopted[key] = copy
            else:
                plan.left.append(path)
        elif _is_ours(stamp, copies[-1:]) and copies[-1][:2] == (found.size, found.tag):
            plan.unchanged += 1
        else:
            plan.fetch[key] = path
            plan.replaced.add(key)
    plan.left += [path for path, _ in local.values()]
    return plan


def _places(objects: Mapping[str, RemoteObject], fold: Callable[[str], str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the path of each object below the mirror, and the reasons why there is none."""
    paths: dict[str, str] = {}
    skipped: dict[str, str] = {}
    keys: dict[str, str] = {}  # by folded path
    for key in sorted(objects):
        try:
            path = _local_name(key)
        except ValueError as error:
            skipped[key] = str(error)
            continue
        if other := keys.get(fold(path)):
            skipped[key] = f"the same name as that of {other!r} on this disk"
            continue
        paths[key], keys[fold(path)] = path, key
    for folder in {parent for folded in keys for parent in _parents(folded)}:
        if key := keys.get(folder, ""):
            del paths[key]
            skipped[key] = "its name is that of the folder of other objects"
    return paths, skipped


def _local_name(key: str) -> str:
    """Return the POSIX path of an object below the mirror, or raise a ValueError that says why there is none."""
    if key.endswith("/"):
        raise ValueError("the placeholder of a folder")
    parts = safe_parts(key)
    if "/".join(parts) != key.replace("\\", "/") or "\0" in key:
        raise ValueError("its name cannot be that of a file")
    if any(len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME for part in parts):
        raise ValueError(f"its name has more than {_LONGEST_NAME} bytes")
    return "/".join(parts)


def _parents(path: str) -> list[str]:
    return [path[:end] for end, sign in enumerate(path) if sign == "/"]


def _folding(home: Path) -> Callable[[str], str]:
    """Return what makes two paths equal that are the same file on the disk of a locked folder."""
    if (home / ".LOCK").exists():  # macOS, Windows: the name of its lock file is in lower case
        return lambda path: unicodedata.normalize("NFC", path).casefold()
    return lambda path: path


def _walk(target: Path, fold: Callable[[str], str]) -> dict[str, tuple[str, files.Stamp]]:
    """Return path and stamp of everything in the mirror that is no folder, by folded path. Links are not followed."""
    found: dict[str, tuple[str, files.Stamp]] = {}
    folders = [""] if target.is_dir() else []
    while folders:
        folder = folders.pop()
        with os.scandir(target / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                    continue
                info = entry.stat(follow_symlinks=False)
                regular = entry.is_file(follow_symlinks=False)
                found[fold(path)] = path, files.Stamp(info.st_size if regular else -1, info.st_mtime_ns)
    return found


def _is_ours(stamp: files.Stamp, copies: list[_Copy]) -> bool:
    """Tell whether a file is one of the versions that were fetched.

    One without content is: it held nothing, or lost it when the computer stopped.
    """
    return any(
        stamp.size == 0 or (stamp.size == copy.size and abs(stamp.mtime_ns - copy.mtime_ns) < _SAME_TIME_NS)
        for copy in copies
    )


def _check_space(address: str, objects: list[RemoteObject], target: Path) -> None:
    needed, free = sum(found.size + _BLOCK for found in objects), int(0.9 * files.free_space(target))
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"Not enough space on the disk, nothing was fetched. {plural(len(objects), 'object')} of {address} need "
            f"{files.megabytes(needed)} in {target}, and {files.megabytes(free)} can be used. Make space and run this "
            "again; or move the folder data/ to another disk and put a link to it here.",
        )


def _remove(path: Path, target: Path) -> None:
    """Remove a file, and the folders of the mirror that are empty then."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == target or any(folder.iterdir()):
            break
        folder.rmdir()


def _fetch(
    listing: Listing, paths: Mapping[str, str], target: Path, record: "_Record", *, may_all_fail: bool
) -> dict[str, str]:
    """Fetch objects into the mirror, and return the reasons why some could not be read, by their keys."""
    failed: dict[str, str] = {}
    done = in_a_row = 0
    keys = list(paths)
    if hasattr(listing.system, "retries"):
        listing.system.retries = 2
    with files.temporary_folder(target) as folder:

        def fetch(key: str) -> Exception | None:
            partial = folder / str(threading.get_ident())
            return _fetch_one(listing, key, partial=partial, path=target / paths[key], record=record)

        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            with progress("Fetching", len(keys), unit="object") as bar:
                for start in range(0, len(keys), _CHUNK):
                    chunk = keys[start : start + _CHUNK]
                    for key, error in zip(chunk, pool.map(fetch, chunk), strict=True):
                        bar.update()
                        if error is None:
                            done, in_a_row = done + 1, 0
                            continue
                        failed[key] = reason_of(error)
                        in_a_row += 1
                        nothing_there = done == 0 and not may_all_fail and in_a_row >= min(_MOST_FAILURES, len(keys))
                        if nothing_there or (in_a_row >= _MOST_FAILURES and is_unreachable(error)):
                            raise explain(listing.address, error, done=done, total=len(keys))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            remaining = [listing.objects[key] for key, path in paths.items() if not (target / path).exists()]
            needed = files.megabytes(sum(found.size for found in remaining))
            raise OSError(
                error.errno,
                f"{error.strerror} {plural(len(remaining), 'object')} of {listing.address} are still to be fetched: "
                f"they need {needed}, and {files.megabytes(files.free_space(target))} are free. Make space and run "
                "this again, it continues where it stopped.",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
    return failed


def _fetch_one(listing: Listing, key: str, *, partial: Path, path: Path, record: "_Record") -> Exception | None:
    """Fetch an object, and return what prevented it if that concerns only this object."""
    found = listing.objects[key]
    try:
        listing.system.get_file(found.name, str(partial))
        if partial.stat().st_size != found.size:
            raise OSError("it was changed while it was fetched")
        if found.mtime_ns is not None:
            os.utime(partial, ns=(found.mtime_ns, found.mtime_ns))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("a folder is in its place")
        # Before the file is there, so that none is without a line, whenever this process ends.
        record.write({"key": key, **_Copy(found.size, found.tag, partial.stat().st_mtime_ns)._asdict()})
        os.replace(partial, path)
    except Exception as error:  # each store has types of its own
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (*_FULL, errno.EROFS):
            raise
        return error
    return None


class _Record:
    """The file that says what was fetched: a line is added for each object."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._file: IO[bytes] | None = None
        self._lines = 0
        self.copies: dict[str, list[_Copy]] = {}  #: by key, the versions that were fetched, the newest last
        self.skipped: dict[str, str] = {}  #: by key, why it was not fetched
        self.complete: dict[str, Any] | None = None  #: when the mirror was complete, None if it is not now
        for line in files.read_lines(path):
            self._lines += 1
            self._add(line)

    def __enter__(self) -> "_Record":
        if self._lines > 2 * len(self.copies) + 1000:
            self._write_anew()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, line: dict[str, Any]) -> None:
        """Add a line; may be called in several threads."""
        with self._lock:
            if self._file is None:
                self._file = self._path.open("a+b")
                files.remove_incomplete_line(self._file)
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            self._add(line)

    def _add(self, line: dict[str, Any]) -> None:
        match line:
            case {"key": str(key), "size": int(size), "tag": str(tag), "mtime_ns": int(mtime_ns)}:
                self.copies.setdefault(key, []).append(_Copy(size, tag, mtime_ns))
                self.skipped.pop(key, None)
            case {"key": str(key), "skipped": ""}:
                self.skipped.pop(key, None)
            case {"key": str(key), "skipped": str(reason)}:
                self.skipped[key] = reason
            case {"key": str(key), "gone": True}:
                self.copies.pop(key, None)
            case {"complete": complete}:
                self.complete = complete

    def _write_anew(self) -> None:
        """Leave out the lines that no longer count."""
        lines: list[dict[str, Any]] = [{"key": key, **copies[-1]._asdict()} for key, copies in self.copies.items()]
        lines += [{"key": key, "skipped": reason} for key, reason in self.skipped.items()]
        lines.append({"complete": self.complete})
        with files.atomic_write(self._path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
        self._lines = len(lines)
