"""Where do the prepared photos lie, so that Keras finds them by split and class and no other run loses them?

The tree of folders is a second name (a hard link) for each photo in the store, or a copy on disks that have no links.
So another split costs no time and no space. A run that is going on keeps its tree as it is: another run that needs
another one gets a tree of its own, and it is taken away when no run uses it.
"""

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.files import stamp, written_beside
from helpers.photos.listing import made_by_system
from helpers.photos.splits import SPLIT_ORDER

#: In the prepared folder: trees of runs that go on at the same time with another split.
OTHERS = ".others"
_IN_USE = ".in-use-*.lock"
# Which tree this process uses, by prepared folder. The system lets go of a lock when its process ends, however it ends.
_used: dict[Path, FileLock] = {}


def place(folder: Path, store: Path, wanted: dict[str, str], ours: set[str]) -> tuple[Path, bool]:
    """Lay out the tree: <split>/<class>/<name> → name in the store. Returns its root and whether it is the only tree.

    The root is `folder` itself unless another run is using that for another split. `ours`: names of prepared photos
    that may be taken out of the tree. To be called by one process at a time. Raises ValueError naming a file in the
    tree that is not one of ours, OSError naming what could not be written.
    """
    if mine := _used.pop(folder, None):
        mine.release()
        Path(mine.lock_file).unlink(missing_ok=True)
    files = {target: store / name for target, name in wanted.items()}
    others = sorted(path for path in (folder / OTHERS).glob("*") if path.is_dir())
    in_use = {root for root in (folder, *others) if _is_in_use(root)}
    fresh = folder / OTHERS / uuid.uuid4().hex[:8]
    root = next(root for root in (folder, *others, fresh) if root not in in_use or _is_laid_out(root, files))
    if root not in in_use:
        _lay_out(root, files)
        _tidy(root, set(files), ours)
    _use(folder, root)
    for other in others:
        if other not in in_use and other != root:
            shutil.rmtree(other)
    only = root == folder and not in_use & set(others)
    if only:
        shutil.rmtree(folder / OTHERS, ignore_errors=True)
    return root, only


def _use(folder: Path, root: Path) -> None:
    lock = FileLock(root / f".in-use-{uuid.uuid4().hex[:8]}.lock")
    lock.acquire()
    _used[folder] = lock


def _is_in_use(root: Path) -> bool:
    """Whether a process that is still alive uses a tree. What dead ones left is removed."""
    for file in list(root.glob(_IN_USE)):
        try:
            with FileLock(file, timeout=0):
                pass
        except Timeout:
            return True
        file.unlink(missing_ok=True)
    return False


def _there(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for split in SPLIT_ORDER
        for path in (root / split).rglob("*")
        if not path.is_dir() and not path.name.startswith(".") and not made_by_system(path.name)
    }


def _is_laid_out(root: Path, files: dict[str, Path]) -> bool:
    return _there(root) == set(files) and all(stamp(root / target) == stamp(file) for target, file in files.items())


def _lay_out(root: Path, files: dict[str, Path]) -> None:
    for target, file in files.items():
        if stamp(root / target) != stamp(file):
            with written_beside(root / target) as partial:
                try:
                    os.link(file, partial)
                except OSError:  # exFAT, some network drives, or not one's own file
                    shutil.copy2(file, partial)


def _tidy(root: Path, wanted: set[str], ours: set[str]) -> None:
    """Leave in the tree just the photos of the table, so that any Keras reader sees the same."""
    for top in list(root.iterdir()):
        if top.is_dir() and (not top.name.startswith(".") or top.name == ".ipynb_checkpoints"):
            _tidy_folder(root, top, wanted, ours)
        elif made_by_system(top.name) or top.name.endswith(".partial"):
            top.unlink()
        elif not top.name.startswith(".") and top.name != "index.json":
            raise ValueError(_not_ours(root, top))


def _tidy_folder(root: Path, folder: Path, wanted: set[str], ours: set[str]) -> None:
    for checkpoints in [path for path in (folder, *folder.rglob("*")) if path.name == ".ipynb_checkpoints"]:
        shutil.rmtree(checkpoints)
    for path in sorted(folder.rglob("*"), reverse=True):
        hidden = path.name.startswith(".")
        if path.is_dir():
            with suppress(OSError):  # not empty
                path.rmdir()
        elif path.relative_to(root).as_posix() in wanted:
            continue
        elif path.name in ours or made_by_system(path.name) or (hidden and path.name.endswith(".partial")):
            path.unlink()
        elif not hidden:
            raise ValueError(_not_ours(root, path))
    with suppress(OSError):
        folder.rmdir()


def _not_ours(root: Path, path: Path) -> str:
    return (
        f"{path} was not put there by this notebook. {root} is made anew from the originals: move the file "
        f"out of it, to the folder of your own photos if it is one. (Or delete {root}: it costs only time.)"
    )
