"""Where do the photos come from? A name under data/, a path anywhere, a download, or the drawn sample."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers import DATA, ROOT
from helpers.files import read_json, safe_name, write_json
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
    if not str(dataset).strip():
        raise FileNotFoundError(_nothing_called(dataset))
    local = DATA / dataset if dataset == safe_name(dataset) else None
    if dataset == "sample" and not _has_originals(local):
        _draw_sample(local)
    elif dataset in DOWNLOADS and not _has_originals(local):
        return _fetch_download(dataset)
    if local is not None and local.is_dir():
        return _claim(dataset, _known_source(local) or local)
    for folder in (ROOT / Path(dataset).expanduser(), Path(dataset).expanduser()):
        if folder.is_dir():
            return _claim(safe_name(folder.resolve().name), folder.resolve())
    raise FileNotFoundError(_nothing_called(dataset))


def _has_originals(folder: Path) -> bool:
    return folder.is_dir() and any(entry.name not in (*DERIVED, "download") for entry in folder.iterdir())


def _known_source(home: Path) -> Path | None:
    """The folder that a home without photos of its own was made from, so that its name alone is enough next time."""
    made_from = read_json(home / "source.json")
    folder = Path(made_from["folder"]) if made_from else home
    return folder if folder.is_dir() and not _has_originals(home) else None


def _claim(name: str, folder: Path) -> Source:
    """Give `folder` a home under data/ that no other folder of the same name shares."""
    folder = folder.resolve()
    home = folder if folder.parent == DATA else DATA / name
    if home != folder and not _is_home_of(home, folder):
        home = DATA / f"{name}-{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    if home.is_dir() and not (home / "source.json").exists() and any((home / d).is_dir() for d in DERIVED[:2]):
        raise ValueError(
            f"{home} has a folder called prepared or features that this notebook did not make, and it keeps its own "
            "under these names there. Rename yours, or give the path of your photos from outside data/."
        )
    if not _is_home_of(home, folder) or not (home / "source.json").exists():
        write_json(home / "source.json", {"folder": str(folder)})
    return Source(home.name, folder, home)


def _is_home_of(home: Path, folder: Path) -> bool:
    made_from = read_json(home / "source.json")
    if made_from is not None:
        return made_from["folder"] == str(folder)
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
