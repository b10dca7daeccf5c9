"""Where do the photos come from? A name under data/, a path anywhere, a download, or the drawn sample."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers import DATA, ROOT, find_path
from helpers.files import one_at_a_time, read_json, safe_name, write_json
from helpers.photos.download import DOWNLOADS, download

#: What this project itself writes into data/<name>/; never read as photos.
DERIVED = ("prepared", "features", "skipped.csv", "source.json", ".lock")


@dataclass(frozen=True)
class Source:
    """Photos as their owner keeps them (`folder`, only ever read) and where everything made of them goes (`home`)."""

    name: str
    folder: Path
    home: Path


def fetch(dataset: str) -> Source:
    """Find the photos of a `DATASET` setting; draw or download them first where the name asks for it.

    `dataset` is the name of a folder under data/, a path (absolute, from the project's root or from the working
    directory), a download's name, or "sample". Raises FileNotFoundError, saying what there is, for anything else.
    """
    dataset = str(dataset)
    if not dataset.strip():
        raise FileNotFoundError(_nothing_called(dataset))
    local = DATA / dataset if dataset == safe_name(dataset) else None
    if dataset == "sample" and not _has_originals(local):
        _draw_sample(local)
    elif dataset in DOWNLOADS and not _has_originals(local):
        return _fetch_download(dataset)
    if local is not None and local.is_dir():
        return _claim(dataset, _known_source(local) or local)
    try:
        folder = find_path(dataset)
    except RuntimeError as error:  # "~" where the home folder is not known
        raise FileNotFoundError(_nothing_called(dataset)) from error
    if os.path.isdir(folder):  # Path.is_dir raises on a name that no file system takes
        return _claim(safe_name(folder.resolve().name), folder.resolve())
    raise FileNotFoundError(_nothing_called(dataset))


def _has_originals(folder: Path) -> bool:
    return folder.is_dir() and any(
        entry.name not in (*DERIVED, "download") and not entry.name.startswith(".") for entry in folder.iterdir()
    )


def _known_source(home: Path) -> Path | None:
    """The folder that a home without photos of its own was made from, so that its name alone is enough next time."""
    made_from = _made_from(home)
    if made_from is None or made_from == str(home.resolve()) or _has_originals(home):
        return None
    if not os.path.isdir(made_from):
        raise FileNotFoundError(
            f"DATASET = {home.name!r} was made from the photos in {made_from}, and that folder is not there now. "
            f"Connect the disk it is on or give the folder's new path; or delete {home}, which costs only time."
        )
    return Path(made_from)


def _made_from(home: Path) -> str | None:
    """The folder that source.json says a home was made from; None if it has no such file."""
    content = read_json(home / "source.json")
    if content is None:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("folder"), str):
        raise ValueError(f"{home / 'source.json'} is not this notebook's file of that name: rename it or delete it.")
    return content["folder"]


def _claim(name: str, folder: Path) -> Source:
    """Give `folder` a home under data/ that no other folder of the same name shares."""
    folder, data = folder.resolve(), DATA.resolve()
    if data.is_relative_to(folder):
        raise ValueError(f"{folder} holds this project's own {data}: give a folder that has only photos in it.")
    home = _home_of(name, folder, data)
    if _made_from(home) != str(folder):
        with one_at_a_time(data, "starting"):  # or two folders of one name could take the same home
            home = _home_of(name, folder, data)
            if not (home / "source.json").exists() and any((home / mine).exists() for mine in DERIVED[:3]):
                raise ValueError(
                    f"{home} has a folder called prepared or features or a skipped.csv that this notebook did not "
                    "make, and it keeps its own under these names there. Rename yours, or give the path of your photos "
                    "from outside data/."
                )
            write_json(home / "source.json", {"folder": str(folder)})
    return Source(home.name, folder, home)


def _home_of(name: str, folder: Path, data: Path) -> Path:
    home = folder if folder.parent == data else data / name
    if home == folder or _is_home_of(home, folder):
        return home
    return data / f"{name}-{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _is_home_of(home: Path, folder: Path) -> bool:
    made_from = _made_from(home)
    if made_from is not None:
        return made_from == str(folder)
    return home == folder or folder.is_relative_to(home) or not home.is_dir() or not any(home.iterdir())


def _fetch_download(name: str) -> Source:
    """A download of `name`, in a home of its own if photos from elsewhere already took that name."""
    photos = Path("download", DOWNLOADS[name].photos)
    home = DATA / name if _is_home_of(DATA / name, DATA / name / photos) else DATA / f"{name}-download"
    return _claim(home.name, download(name, home / "download"))


def _draw_sample(folder: Path) -> None:
    """Call data/draw_sample.py, which stands beside the photos it draws and not among the helpers."""
    sys.path.insert(0, str(DATA))
    try:
        from draw_sample import draw
    finally:
        sys.path.remove(str(DATA))
    draw(folder)


def _nothing_called(dataset: str) -> str:
    there = sorted(p.name for p in DATA.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))
    return (
        f"There are no photos at DATASET = {dataset!r}: no folder of that name in {DATA}, at that path from {ROOT} or "
        f"from {Path.cwd()}, and no download of that name. In data/: {', '.join(there) or 'nothing yet'}; downloads: "
        f"{', '.join(DOWNLOADS)}; drawn here: sample."
    )
