"""What becomes of each file: a photo in the prepared tree and a row in the table, or a name and a reason."""

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from helpers import shorten
from helpers.files import read_json, safe_name, write_json, written_beside
from helpers.photos.listing import label_folders, list_photos, made_by_system
from helpers.photos.picture import RECIPE, NotAPhoto, NotReadable, read_photo
from helpers.photos.sources import DERIVED, Source
from helpers.photos.splits import SPLIT_ORDER, assign_splits, group_near_duplicates, too_small
from helpers.progress import progress

_UNPLACED = ".unplaced"
_SAVE_EVERY = 500


@dataclass(frozen=True)
class Prepared:
    """The table of photos, and an account of every file that is not in it.

    `photos`: one row a photo, ordered by split, label, path; columns path, original, label, split, width, height,
    bytes, format, taken, camera, phash, digest, group. `skipped`: original, reason (saved as skipped.csv).
    `left_out`: class → why. `unknown_ids`: names in labels.csv without a photo. `found`: files in the source folder.
    """

    photos: pd.DataFrame
    skipped: pd.DataFrame
    left_out: dict[str, str]
    unknown_ids: list[str]
    folder: Path
    found: int
    read_now: int

    def summary(self) -> str:
        """Where every file went, in a few lines."""
        lines = [f"{self.found} files found: {len(self.photos)} photos used, {len(self.skipped)} files skipped."]
        lines += [f"  {count} × {reason}" for reason, count in self.skipped["reason"].value_counts().head(8).items()]
        if len(self.skipped):
            lines.append(f"  Each by name: {shorten(self.folder.parent / 'skipped.csv')}")
        if self.left_out:
            some = [f"{label} ({why})" for label, why in list(self.left_out.items())[:3]]
            more = f" and {len(self.left_out) - 3} more" if len(self.left_out) > 3 else ""
            lines.append(f"{len(self.left_out)} classes left out: {'; '.join(some)}{more}.")
        if self.unknown_ids:
            lines.append(
                f"Names in labels.csv without a photo here: {len(self.unknown_ids)}, {self.unknown_ids[0]} first."
            )
        return "\n".join(lines)


def prepare(source: Source, val_share: float, test_share: float, seed: int) -> Prepared:
    """Bring the photos of `source` into source.home/prepared/{train,val,test}/<class>/*.jpg and describe them.

    Only files that are new or changed since the last time are read; the originals never change. Raises ValueError
    if fewer than two classes can stand in every split, saying which had how many, and OSError if there is no space.
    """
    folder = source.home / "prepared"
    source.home.mkdir(parents=True, exist_ok=True)
    with FileLock(source.home / ".lock"):
        listing = list_photos(source.folder, ignore=_made_here(source))
        index, read_now = _read_new(source.folder, folder, list(listing.photos["original"]))
        rows = pd.DataFrame([index[o] for o in listing.photos["original"]], columns=_INDEX_COLUMNS)
        rows["original"] = listing.photos["original"]
        rows["label"] = listing.photos["raw_label"].map(label_folders(listing.photos["raw_label"]))
        rows["split"] = listing.photos["split"].astype(object).where(listing.photos["split"].notna(), None)
        usable = rows[rows["reason"] == ""].reset_index(drop=True)
        usable["group"] = group_near_duplicates(list(usable["phash"]), list(usable["digest"]))
        unread = set(rows["label"]) - set(usable["label"])
        left_out = too_small(usable) | dict.fromkeys(unread, "has no photo that can be read")
        left_out = dict(sorted(left_out.items()))
        skipped = _skipped(listing.skipped, rows, usable, left_out)
        _write_skipped(source.home / "skipped.csv", skipped)
        photos = usable[~usable["label"].isin(list(left_out))].reset_index(drop=True)
        if photos["label"].nunique() < 2:
            raise ValueError(_too_few(source, usable, left_out, skipped))
        photos["split"] = assign_splits(photos, val_share, test_share, seed)
        photos = _place(folder, photos, index)
    found = len(listing.photos) + len(listing.skipped)
    return Prepared(_table(photos), skipped, left_out, listing.unknown_ids, folder, found, read_now)


_INDEX_COLUMNS = ["size", "mtime_ns", "stored", "jpeg_bytes", "reason", "digest", "width", "height", "bytes", "format"]
_INDEX_COLUMNS += ["taken", "camera", "phash"]


def _made_here(source: Source) -> set[str]:
    """What lies in the source folder without being part of it, where its home is the folder itself."""
    left_by_killed_runs = {path.name for path in source.home.glob(".*.partial")}
    return {*DERIVED, *left_by_killed_runs} if source.folder == source.home else set()


def _read_new(source: Path, folder: Path, originals: list[str]) -> tuple[dict[str, dict[str, Any]], int]:
    """Bring the index of read files up to date: original → what is known of it. Returns it and how many were read."""
    kept = read_json(folder / "index.json") or {"recipe": RECIPE, "files": {}}
    known = kept["files"] if kept["recipe"] == RECIPE else {}
    index = {original: known[original] for original in originals if _is_current(source, folder, original, known)}
    _remove(folder, {Path(row["stored"]).name for original, row in kept["files"].items() if original not in index})
    new = [original for original in originals if original not in index]
    if not new:
        return index, 0

    def save() -> None:
        write_json(folder / "index.json", {"recipe": RECIPE, "files": index})

    # Pillow works outside the interpreter lock. It warns of odd metadata in files that it reads well; filters belong
    # to the whole process, so they are set here and not by each thread.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            results = threads.map(_reader(source, folder), new)
            for number, (original, row) in enumerate(
                progress("Preparing", len(new), zip(new, results, strict=True)), 1
            ):
                index[original] = row
                if number % _SAVE_EVERY == 0:
                    save()
        finally:
            threads.shutdown(cancel_futures=True)
            save()
    return index, len(new)


def _reader(source: Path, folder: Path) -> Callable[[str], dict[str, Any]]:
    def read(original: str) -> dict[str, Any]:
        size, mtime = _stamp(source / original)
        row: dict[str, Any] = dict.fromkeys(_INDEX_COLUMNS, "") | {"size": size, "mtime_ns": mtime}
        try:
            photo = read_photo(source / original)
        except NotReadable as reason:
            return row | {"reason": str(reason), "mtime_ns": -2}  # never current: read again next time
        except NotAPhoto as reason:
            return row | {"reason": str(reason)}
        stored = f"{_UNPLACED}/{_prepared_name(original)}"
        with written_beside(folder / stored) as partial:
            partial.write_bytes(photo.jpeg)
        facts = asdict(photo)
        return row | {"stored": stored, "jpeg_bytes": len(facts.pop("jpeg"))} | facts

    return read


def _prepared_name(original: str) -> str:
    """A name that no other original gets: a.jpg and a.png of one class, or sub/a.jpg and a.jpg, stay two photos."""
    unique = hashlib.sha256(original.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe_name(Path(original).stem, 60)}-{unique}.jpg"


def _stamp(path: Path) -> tuple[int, int]:
    try:
        info = path.stat()
        return info.st_size, info.st_mtime_ns
    except OSError:  # gone since it was listed: reading it says so, with the reason
        return -1, -1


def _is_current(source: Path, folder: Path, original: str, index: dict[str, dict[str, Any]]) -> bool:
    row = index.get(original)
    if row is None or (row["size"], row["mtime_ns"]) != _stamp(source / original):
        return False
    return bool(row["reason"]) or _stamp(folder / row["stored"])[0] == row["jpeg_bytes"]


def _place(folder: Path, photos: pd.DataFrame, index: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Move each prepared photo to <split>/<class>/, those of classes left out aside; add the column path."""
    facts = photos[["original", "split", "label"]].itertuples(index=False)
    targets = {original: f"{split}/{label}/{_prepared_name(original)}" for original, split, label in facts}
    readable = {original: row for original, row in index.items() if row["stored"]}
    for original, row in readable.items():
        target = targets.get(original, f"{_UNPLACED}/{_prepared_name(original)}")
        if row["stored"] != target:
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder / row["stored"], folder / target)
            row["stored"] = target
    write_json(folder / "index.json", {"recipe": RECIPE, "files": index})
    _tidy(folder, {folder / row["stored"] for row in readable.values()})
    return photos.assign(path=[str(folder / targets[original]) for original in photos["original"]])


def _remove(folder: Path, names: set[str]) -> None:
    """Take the prepared photos of these names out of the tree, wherever in it they are."""
    if names - {""}:
        for path in list(folder.rglob("*.jpg")):
            if path.name in names:
                path.unlink()


def _tidy(folder: Path, keep: set[Path]) -> None:
    """Leave in the prepared tree just the photos of the table, so that any Keras reader sees the same."""
    ours = {path.name for path in keep}
    for checkpoints in list(folder.rglob(".ipynb_checkpoints")):
        shutil.rmtree(checkpoints)
    for path in sorted(folder.rglob("*"), reverse=True):
        hidden = path.name.startswith(".")
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path in keep or path == folder / "index.json":
            continue
        elif (
            path.name in ours
            or path.parent.name == _UNPLACED
            or made_by_system(path.name)
            or (hidden and path.name.endswith(".partial"))
        ):
            path.unlink()
        elif not hidden:
            raise ValueError(
                f"{path} was not put there by this notebook. {folder} is made anew from the originals: move the file "
                f"out of it, to the folder of your own photos if it is one. (Or delete {folder}: it costs only time.)"
            )


def _table(photos: pd.DataFrame) -> pd.DataFrame:
    order = pd.Categorical(photos["split"], SPLIT_ORDER)
    table = photos.assign(order=order).sort_values(["order", "label", "path"], kind="stable").reset_index(drop=True)
    table["group"] = pd.factorize(table["group"])[0]
    table["taken"] = pd.to_datetime(table["taken"], errors="coerce")
    columns = ["path", "original", "label", "split", "width", "height", "bytes", "format", "taken", "camera"]
    return table[[*columns, "phash", "digest", "group"]].astype({"width": int, "height": int, "bytes": int})


def _skipped(listed: pd.DataFrame, rows: pd.DataFrame, usable: pd.DataFrame, left_out: dict[str, str]) -> pd.DataFrame:
    unread = rows.loc[rows["reason"] != "", ["original", "reason"]]
    small = usable.loc[usable["label"].isin(list(left_out)), ["original", "label"]]
    small = small.assign(reason=[f"class left out: {label} {left_out[label]}" for label in small["label"]])
    everything = pd.concat([listed, unread, small[["original", "reason"]]])
    return everything.sort_values("original", kind="stable").reset_index(drop=True)


def _write_skipped(path: Path, skipped: pd.DataFrame) -> None:
    for left in path.parent.glob(f".{path.name}.*.partial"):  # by a run that was killed
        left.unlink()
    with written_beside(path) as partial:
        skipped.to_csv(partial, index=False, encoding="utf-8", errors="backslashreplace")


def _too_few(source: Source, usable: pd.DataFrame, left_out: dict[str, str], skipped: pd.DataFrame) -> str:
    counts = usable["label"].value_counts().sort_index()
    enough = {label: f"{count} photos, enough" for label, count in counts.items()}
    had = "; ".join(f"{label}: {why}" for label, why in sorted((enough | left_out).items()))
    reasons = skipped["reason"].value_counts().head(5)
    why = "; ".join(f"{count} × {reason}" for reason, count in reasons.items())
    return (
        f"At least two classes with enough photos are needed in {source.folder}. Classes found: {had or 'none'}. "
        + (f"Files skipped: {why} (all in {source.home / 'skipped.csv'}). " if why else "")
        + "Expected: one folder a class; or train, val and test folders with one folder a class in each; or labels.csv "
        "beside a folder of photos."
    )
