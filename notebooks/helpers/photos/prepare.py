"""What becomes of each file: a photo in the prepared tree and a row in the table, or a name and a reason."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers import shorten
from helpers.files import one_at_a_time, written_beside
from helpers.photos.listing import label_folders, list_photos
from helpers.photos.placing import place
from helpers.photos.reading import COLUMNS, STORE, Index, prepared_name, read_new
from helpers.photos.sources import DERIVED, Source
from helpers.photos.splits import SPLIT_ORDER, assign_splits, group_near_duplicates, too_small


@dataclass(frozen=True)
class Prepared:
    """The table of photos, and an account of every file that is not in it.

    `photos`: one row a photo, ordered by split, label, path; columns path, original, label, split, width, height,
    bytes, format, taken, camera, phash, digest, group. `skipped`: original, reason (saved as skipped.csv).
    `left_out`: class → why. `unknown_ids`: names in labels.csv without a photo. `folder`: the root of the tree.
    `home`: data/<name>. `found`: files in the source folder. `read_now`: those of them that were new or changed.
    """

    photos: pd.DataFrame
    skipped: pd.DataFrame
    left_out: dict[str, str]
    unknown_ids: list[str]
    folder: Path
    home: Path
    found: int
    read_now: int

    def summary(self) -> str:
        """Where every file went, in a few lines."""
        lines = [f"{self.found} files found: {len(self.photos)} photos used, {len(self.skipped)} files skipped."]
        lines += [f"  {count} × {reason}" for reason, count in self.skipped["reason"].value_counts().head(8).items()]
        if len(self.skipped):
            lines.append(f"  Each by name: {shorten(self.home / 'skipped.csv')}")
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

    Only files that are new or changed since the last time are read; the originals never change. While another run uses
    that tree for another split, this one gets a tree of its own (`Prepared.folder`). Raises ValueError if fewer than
    two classes can stand in every split, saying which had how many, and OSError if there is no space.
    """
    folder = source.home / "prepared"
    with one_at_a_time(source.home, "preparing these photos"):
        listing = list_photos(source.folder, ignore=_made_here(source))
        index, read_now = read_new(source.folder, folder, list(listing.photos["original"]))
        rows = pd.DataFrame([index.files[o] for o in listing.photos["original"]], columns=COLUMNS)
        rows["original"] = listing.photos["original"]
        rows["label"] = listing.photos["raw_label"].map(label_folders(listing.photos["raw_label"]))
        rows["split"] = listing.photos["split"].astype(object).where(listing.photos["split"].notna(), None)
        usable = rows[rows["reason"] == ""].reset_index(drop=True)
        usable["group"] = group_near_duplicates(list(usable["phash"]), list(usable["digest"]))
        unread = set(rows["label"]) - set(usable["label"])
        left_out = too_small(usable) | dict.fromkeys(unread, "has no photo that can be read")
        left_out = dict(sorted((left_out | dict.fromkeys(listing.empty, "has no photo at all")).items()))
        skipped = _skipped(listing.skipped, rows, usable, left_out)
        _write_skipped(source.home / "skipped.csv", skipped)
        photos = usable[~usable["label"].isin(list(left_out))].reset_index(drop=True)
        if photos["label"].nunique() < 2:
            raise ValueError(_too_few(source, usable, left_out, skipped))
        photos["split"] = assign_splits(photos, val_share, test_share, seed)
        root, photos = _place(folder, photos, index)
    found = len(listing.photos) + len(listing.skipped)
    return Prepared(_table(photos), skipped, left_out, listing.unknown_ids, root, source.home, found, read_now)


def _place(folder: Path, photos: pd.DataFrame, index: Index) -> tuple[Path, pd.DataFrame]:
    """Lay out the tree of these photos; its root, and the table with the column path."""
    names = photos["original"].map(prepared_name)
    targets = [
        f"{split}/{label}/{name}" for split, label, name in zip(photos["split"], photos["label"], names, strict=True)
    ]
    root, only = place(folder, folder / STORE, dict(zip(targets, names, strict=True)), index.names() | index.gone)
    if only and index.gone:  # no tree has them any more
        index.gone = set()
        index.save()
    return root, photos.assign(path=[str(root / target) for target in targets])


def _made_here(source: Source) -> set[str]:
    """What lies in the source folder without being part of it, where its home is the folder itself."""
    left_by_killed_runs = {path.name for path in source.home.glob(".*.partial")}
    return {*DERIVED, *left_by_killed_runs} if source.folder == source.home else set()


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
