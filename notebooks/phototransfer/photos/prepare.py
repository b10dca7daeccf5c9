"""Preparation: from a folder of photos to the table of photos and the folders that Keras reads."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from phototransfer.console import plural, short_name, shorten_list
from phototransfer.files import locked, relative_to_project, write_table
from phototransfer.photos.layout import Layout
from phototransfer.photos.layout.class_names import label_folders
from phototransfer.photos.near_duplicates import group_near_duplicates
from phototransfer.photos.pixels import Pixels
from phototransfer.photos.relabel import Corrections, apply_corrections, find_correction_table, read_corrections
from phototransfer.photos.scan import scan_folder
from phototransfer.photos.sources import DERIVED, Source
from phototransfer.photos.splits import SPLIT_ORDER, assign_splits, connected, too_small
from phototransfer.photos.store import COLUMNS, Store, tree_root
from phototransfer.report import Result
from phototransfer.style import photo_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GRID_PHOTOS = 18


@dataclass(frozen=True)
class Prepared(Result):
    """The table of photos, and an account of every file that is not in it."""

    name = "photos"
    #: One row per photo, ordered by split, label and path. Columns: path, original, label, split, width and height in
    #: pixels, bytes, format, taken, camera, phash, digest, group (the same number for near-duplicates).
    photos: pd.DataFrame
    classes: list[str]
    skipped: pd.DataFrame  #: files that are not used: original, reason
    left_out: dict[str, str]  #: classes that are not used, and why
    unmatched: list[str]  #: names in the table of labels that no file has
    folder: Path  #: with train, val and test
    source: Source
    found: int
    new: int  #: how many of the files found were read now, because they are new or changed
    layout: Layout  #: how the folder was understood
    pixels: Pixels  #: photos with more than 8 bits, and blank ones
    random_splits: list[str]  #: "val" and "test", as far as they were cut at random here
    corrections: Corrections | None = None  #: what RELABEL has changed

    @property
    def cache(self) -> Path:
        """The folder for the features of these photos."""
        return self.source.home / "features"

    def counts(self) -> pd.DataFrame:
        """Return the number of photos per class and split, with totals."""
        counts = self._counts()
        counts["total"] = counts.sum(axis=1)
        return pd.concat([counts, counts.sum().to_frame("total").T])  # pandas' own margins allow no class "total"

    def _counts(self) -> pd.DataFrame:
        return pd.crosstab(self.photos["label"], self.photos["split"])[list(SPLIT_ORDER)]

    def summary(self) -> str:
        used, skipped = plural(len(self.photos), "photo"), plural(len(self.skipped), "file")
        lines = [self.layout.summary(), f"{plural(self.found, 'file')} found: {used} used, {skipped} skipped."]
        lines += [f"  {reason}" for reason in _most_frequent(self.skipped["reason"], 8)]
        if len(self.skipped):
            lines.append(f"  All of them by name: {relative_to_project(self.source.home / 'skipped.csv')}")
        if self.corrections:
            lines.append(self.corrections.summary())
        lines += self.pixels.lines()
        if self.left_out:
            classes = [f"{label} ({reason})" for label, reason in self.left_out.items()]
            lines.append(f"{plural(len(classes), 'class')} left out: {shorten_list(classes, 3)}.")
        if self.unmatched:
            names = plural(len(self.unmatched), "name")
            lines.append(f"{names} in the table of labels without a photo: {shorten_list(self.unmatched, 3)}.")
        return "\n".join(lines)

    def plot(self, columns: int = 6) -> "Figure":
        """Return a grid of photos, every class in turn, with the size in pixels of the originals."""
        shuffled = self.photos.sample(frac=1, random_state=0)
        in_turn = shuffled.groupby("label").cumcount().sort_values(kind="stable").index
        shown = shuffled.loc[in_turn].head(_GRID_PHOTOS).sort_values("label", kind="stable")
        titles = [f"{short_name(photo.label)}\n{photo.width} × {photo.height}" for photo in shown.itertuples()]
        return photo_grid(list(shown["path"]), titles, columns)

    def plot_narrow(self) -> "Figure":
        return self.plot(columns=2)

    def alt(self) -> str:
        return f"Photos of {plural(len(self.classes), 'class')}: {shorten_list(self.classes, 20)}."

    def advice(self) -> list[str]:
        folders = [relative_to_project(self.source.folder / name) for name in self.layout.without_class]
        return [f'Photos without a class: set PREDICT = "{folder}" to classify them.' for folder in folders]

    def to_dict(self) -> dict[str, Any]:
        in_split = self.photos["split"].value_counts()
        return {
            "dataset": self.source.name,
            "classes": self.classes,
            "class_counts": self._counts().to_dict("index"),
            "left_out": self.left_out,
            "reading": self.layout.to_dict(),
            "found": self.found,
            "used": len(self.photos),
            "skipped": len(self.skipped),
            "pixels": self.pixels.to_dict(),
            **{name: int(in_split[name]) for name in SPLIT_ORDER},
            **({"relabelled": self.corrections.to_dict()} if self.corrections else {}),
        }


def prepare(
    source: Source,
    *,
    val_split: float,
    test_split: float,
    seed: int,
    labels: str | None = None,
    relabel: str | None = None,
    cluster: str | None = None,
) -> Prepared:
    """Write the photos of a source to `<home>/prepared/{train,val,test}/<class>/*.jpg`, and return their table.

    Only files that are new or changed since the last time are read. The originals never change.

    Parameters
    ----------
    val_split, test_split : float
        Fractions of the photos, used where the folder has no such split.
    labels : str, optional
        The setting LABELS: where the classes are, if the folder can be understood in more than one way.
    relabel : str, optional
        The setting RELABEL: a table in which a person has corrected labels.
    cluster : str, optional
        The setting CLUSTER: the computers that read the photos.

    Raises
    ------
    UnclearFolder
        A ValueError: the folder can be understood in more than one way. The message says how to answer.
    FileNotFoundError
        There is no table of corrections of this data set.
    ValueError
        A correction cannot be applied. The message names its row.
    ValueError
        Fewer than two classes have enough photos. The message says how many each has.
    """
    folder = source.home / "prepared"
    table = find_correction_table(relabel, source.name) if relabel else None
    if table:
        read_corrections(table)  # before all photos are read: can it be read?
    with locked(source.home, "preparing these photos"):
        partial_files = {path.name for path in source.home.glob(".*.partial")}  # of processes that were killed
        ignored = {*DERIVED, *partial_files} if source.folder == source.home else ()
        scan = scan_folder(source.folder, ignored, labels)
        store = Store(source.folder, folder, cluster)
        new = store.update(list(scan.photos["original"]))
        rows = _rows(scan.photos, store)
        corrections = apply_corrections(rows, table) if table else None
        notes = _add_groups(rows, store)
        if scan.layout.group_column:
            notes += _unite_owner_groups(rows, scan.layout.group_column)
        left_out = _leave_out_classes(rows, scan.empty_classes)
        used = rows["reason"] == ""
        not_fetched = pd.DataFrame(source.skipped, columns=["original", "reason"])
        skipped = pd.concat([scan.skipped, not_fetched, rows.loc[~used, ["original", "reason"]]])
        skipped = skipped.sort_values("original", kind="stable", ignore_index=True)
        for path in source.home.glob(".skipped.csv.*.partial"):
            path.unlink()
        write_table(source.home / "skipped.csv", skipped)
        photos = rows[used].reset_index(drop=True)
        classes = sorted(photos["label"].unique())
        if len(classes) < 2:
            raise ValueError(_too_few_classes(source, scan.layout, photos["label"], left_out, skipped["reason"]))
        if corrections:
            folder /= corrections.tree
        random_splits = [name for name in ("val", "test") if name not in set(photos["split"])]
        if random_splits:  # or else the settings decide nothing
            folder = tree_root(folder, val_split=val_split, test_split=test_split, seed=seed)
        photos["split"] = assign_splits(photos, {"val": val_split, "test": test_split}, seed)
        photos["path"] = store.lay_out(photos, folder)
    return Prepared(
        photos=_in_order(photos),
        classes=classes,
        skipped=skipped,
        left_out=left_out,
        unmatched=scan.unmatched,
        folder=folder,
        source=source,
        found=len(scan.photos) + len(scan.skipped) + len(source.skipped),
        new=new,
        layout=replace(scan.layout, notes=scan.layout.notes + notes),
        pixels=Pixels.of(photos, store),
        random_splits=random_splits,
        corrections=corrections,
    )


def _rows(files: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Return what is known about each file, with its class and given split; `reason` is "" for photos."""
    rows = pd.DataFrame([store.index[original] for original in files["original"]], columns=COLUMNS)
    rows[["original", "split", "owner_group"]] = files[["original", "split", "owner_group"]]
    rows["label"] = files["raw_label"].map(label_folders(files["raw_label"]))
    return rows


def _add_groups(rows: pd.DataFrame, store: Store) -> list[str]:
    """Write the groups of near-duplicates into the rows of photos, and return notes for the owner."""
    photos = rows[rows["reason"] == ""]
    found = group_near_duplicates(photos.assign(path=[str(store.stored_path(name)) for name in photos["stored"]]))
    rows.loc[photos.index, "group"] = found.numbers
    return found.notes


def _unite_owner_groups(rows: pd.DataFrame, column: str) -> list[str]:
    """Unite the groups of photos that belong together in the owner's table, such as those of one patient.

    Returns
    -------
    list of str
        A note if that is not possible: a class would not be in every split, because its patients have others as well.
    """
    read = rows["reason"] == ""
    photos = rows.loc[read, "owner_group"].dropna()
    first = photos.groupby(photos).transform(lambda same: same.index[0])
    groups = pd.Series(pd.factorize(rows.loc[read, "group"])[0], index=rows.index[read])
    pairs = np.stack([groups[photos.index], groups[first]]).astype(int)
    united = groups.map(pd.Series(connected(pairs, int(groups.max()) + 1)))
    if set(too_small(rows[read].assign(group=united))) - set(too_small(rows[read])):
        return [
            f'Photos with the same "{column}" have several classes, and some classes could not be in every split if '
            "these photos stayed together. So they are split one by one, and the score may be too good for a new one."
        ]
    rows.loc[read, "group"] = united
    return []


def _leave_out_classes(rows: pd.DataFrame, empty_classes: list[str]) -> dict[str, str]:
    """Write the reason into the rows of classes with too few photos, and return these classes with their reasons."""
    read = rows["reason"] == ""
    unread = set(rows["label"]) - set(rows.loc[read, "label"])
    left_out = too_small(rows[read]) | dict.fromkeys(unread, "has no photo that can be read")
    left_out |= dict.fromkeys(empty_classes, "has no photo at all")
    of_class = {label: f"class left out: {label} {reason}" for label, reason in left_out.items()}
    rows.loc[read, "reason"] = [of_class.get(label, "") for label in rows.loc[read, "label"]]
    return dict(sorted(left_out.items()))


def _in_order(photos: pd.DataFrame) -> pd.DataFrame:
    order = pd.Categorical(photos["split"], SPLIT_ORDER)
    table = photos.assign(order=order).sort_values(["order", "label", "path"], kind="stable", ignore_index=True)
    table["group"] = pd.factorize(table["group"])[0]
    table["taken"] = pd.to_datetime(table["taken"], errors="coerce")
    columns = ["path", "original", "label", "split", "width", "height", "bytes", "format", "taken", "camera"]
    return table[[*columns, "phash", "digest", "group"]].astype({"width": int, "height": int, "bytes": int})


def _most_frequent(reasons: pd.Series, most: int) -> list[str]:
    return [f"{count} × {reason}" for reason, count in reasons.value_counts().head(most).items()]


def _too_few_classes(
    source: Source, layout: Layout, labels: pd.Series, left_out: dict[str, str], reasons: pd.Series
) -> str:
    states = {label: f"{count} photos, enough" for label, count in labels.value_counts().items()} | left_out
    classes = "; ".join(f"{label}: {state}" for label, state in sorted(states.items())) or "none"
    skipped = "; ".join(_most_frequent(reasons, 5)) or "none"
    return (
        f"At least two classes with enough photos are needed in {source.folder}. {layout.summary()}\n"
        f"Classes: {classes}. Files skipped: {skipped} (see {source.home / 'skipped.csv'}). Expected: one folder per "
        "class; train, val and test folders with one folder per class in each; a table such as labels.csv beside the "
        "photos; or names like cat.1.jpg."
    )
