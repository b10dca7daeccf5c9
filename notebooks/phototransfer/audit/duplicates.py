"""Duplicate and near-duplicate photos, and the test score without them.

The photos nearest to each photo, by shape and by the network's features, are registered with it. The pixels decide,
not the features, so the result holds for any network, an untrained one too.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from phototransfer.audit.candidates import MOST_EXACT, find_candidates, unit
from phototransfer.console import plural, progress, short_name, shorten_list
from phototransfer.finding import CANNOT_TELL, DOUBT, FOUND, NOTE, NOTHING_FOUND, SERIOUS, Finding
from phototransfer.photos import registration
from phototransfer.photos.registration import DUPLICATE, SAME_SCENE
from phototransfer.photos.splits import assign_splits, connected
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_score, wilson
from phototransfer.stored import stored
from phototransfer.style import GREY, ORANGE, VERMILLION, show_photo

if TYPE_CHECKING:
    from phototransfer.network import Features
    from phototransfer.network.feature_rows import Rows

#: With fewer test photos than this the accuracy on a class cannot be measured.
MIN_TEST_PHOTOS = 10
_SMALL_EFFECT = 0.005  # 0.00 with two decimals
_PAIRS_PER_BLOCK, _EMBED_BATCH = 256, 32
_MOST_POINTS = 20_000  # of unrelated pairs in the figure
_SCORES = ["cosine", "correlation", "lowest", "border", "tiles"]
_PLOTTED_PAIRS, _PAIRS_PER_ROW = 12, 3
_STYLES = {"unrelated": (GREY, "."), "near-duplicate": (ORANGE, "s"), "duplicate": (VERMILLION, "D")}


@dataclass(frozen=True)
class Duplicates(Result):
    """Pairs of photos that show the same picture or the same scene, whichever splits and classes they are in.

    Attributes
    ----------
    photos : DataFrame
        The table of photos, none dropped yet.
    pairs : DataFrame
        One row per pair: a < b (row numbers in the table), kind ("duplicate" or "near-duplicate": the same scene),
        orientation (what turns b into a), across (two splits), same_label, and the scores of `candidates`, the cosine
        with b turned. Pairs across splits come first, then duplicates, then high cosines. Of many duplicates of one
        picture only the nearest to each photo in every split are listed.
    candidates : DataFrame
        All pairs compared: a, b, orientation (number), kind (or "unrelated"), cosine (of the features), correlation (of
        the registered local contrast), lowest, border and tiles (see `registration.compare_tiles`); NaN if ruled out
        on a coarse level.
    drop : bool
        Whether duplicates leave the training side (DUPLICATES = "drop").
    """

    name = "duplicates"
    photos: pd.DataFrame
    pairs: pd.DataFrame
    candidates: pd.DataFrame
    drop: bool

    @property
    def same_picture(self) -> pd.DataFrame:
        """The pairs without near-duplicates."""
        return self.pairs[self.pairs["kind"] == "duplicate"]

    def summary(self) -> str:
        across = int(self.same_picture["across"].sum())
        within = len(self.same_picture) - across
        near = int(self.pairs["across"].sum()) - across
        lines = [
            f"{plural(across, 'pair')} of duplicates across splits, {within} within a split.",
            f"{plural(near, 'pair')} of near-duplicates (same scene, easier to classify than a new one) across splits.",
            *self._label_conflicts(),
        ]
        if self.drop:
            lines += self._describe_drop()
        return "\n".join(lines)

    def advice(self) -> list[str]:
        counts, sentences = self._photos_with_duplicates(), self._label_conflicts()
        if len(counts) and not self.drop:
            photos = " and ".join(f"{counts[split]} {split}" for split in ("test", "val") if counts.get(split))
            sentences.append(f'Photos that are used in training too: {photos}. Set DUPLICATES = "drop".')
        return sentences

    def plot(self) -> Figure:
        """Return the first pairs, titles red where labels differ, and below all candidates with the two thresholds."""
        shown = self.pairs.head(_PLOTTED_PAIRS)
        rows = -(-len(shown) // _PAIRS_PER_ROW)
        figure = plt.figure(figsize=(10.5, (rows + 2) * 2.3))
        grid = figure.add_gridspec(rows + 2, _PAIRS_PER_ROW, wspace=0.04)
        for place, pair in enumerate(shown.itertuples()):
            kind = pair.kind if pair.orientation == "same" else f"{pair.kind}, {pair.orientation}"
            first, second = figure.add_subfigure(grid[place]).subplots(1, 2)
            self._show(first, pair.a, kind, pair.same_label)
            self._show(second, pair.b, f"similarity {pair.cosine:.2f}", pair.same_label)
        if len(self.pairs) > len(shown):
            figure.suptitle(f"The first {len(shown)} of {len(self.pairs)} pairs", fontsize=10)
        self._plot_thresholds(figure.add_subfigure(grid[rows:, :]).subplots())
        return figure

    def to_dict(self) -> dict[str, Any]:
        without = self._photos_with_duplicates(self.rows_to_drop() if self.drop else ())
        return {"pairs": int(self.same_picture["across"].sum()), "test_photos": int(without.get("test", 0))}

    def rows_to_drop(self) -> np.ndarray:
        """Return the rows that must leave train and val so that no photo has a duplicate on its training side.

        A class that would lose all training photos keeps them, and loses their duplicates in val instead: without any,
        it could not be learned. Its duplicates in test stay marked.
        """
        sides = _training_side(self.photos, self.same_picture)
        label, split = self.photos["label"].to_numpy(), self.photos["split"].to_numpy()
        kept = np.isin(label[sides["source"]], self._kept_classes()) & (split[sides["source"]] == "train")
        in_val = split[sides["target"]] == "val"
        return pd.concat([sides["source"][~kept], sides["target"][kept & in_val]]).unique()

    def _kept_classes(self) -> list[str]:
        """Return the classes whose training photos are all duplicates of photos in val or test."""
        sources = _training_side(self.photos, self.same_picture)["source"].unique()
        train = self.photos[self.photos["split"] == "train"]
        remaining = train[~train.index.isin(self.photos.index[sources])]
        return sorted(set(train["label"]) - set(remaining["label"]))

    def _describe_drop(self) -> list[str]:
        dropped = plural(len(self.rows_to_drop()), "photo")
        lines = [f'DUPLICATES = "drop": {dropped} removed from training and validation.']
        if kept := self._kept_classes():
            lines.append(
                "Not removed from training, because every training photo is a duplicate of a validation or test photo: "
                f"{shorten_list(kept)}. Add other photos of such a class."
            )
        remaining = self.photos.drop(index=self.photos.index[self.rows_to_drop()])
        if lost := _without_val(self.photos, remaining):
            reason = "because all their validation photos are duplicates"
            lines.append(f"Classes whose validation photos are taken from training, {reason}: {shorten_list(lost)}.")
        return lines

    def _show(self, axis: Axes, row: int, text: str, same_label: bool) -> None:
        photo = self.photos.iloc[row]
        name = short_name(Path(photo["original"]).name, 18)
        show_photo(axis, photo["path"], f"{text}\n{photo['split']}: {short_name(photo['label'], 12)}\n{name}")
        axis.title.set_color("black" if same_label else VERMILLION)

    def _plot_thresholds(self, axis: Axes) -> None:
        registered = self.candidates.dropna(subset=["correlation", "lowest"])
        for kind, (colour, marker) in _STYLES.items():
            rows = registered[registered["kind"] == kind]
            label = f"{kind} ({len(rows):,})"
            rows = rows.sample(min(len(rows), _MOST_POINTS), random_state=0)
            axis.plot(rows["correlation"], rows["lowest"], marker, color=colour, alpha=0.7, label=label)
        axis.axvline(SAME_SCENE, color="black", linestyle=":", linewidth=1.2)
        axis.plot([SAME_SCENE, 1], [DUPLICATE, DUPLICATE], color="black", linestyle=":", linewidth=1.2)
        # No point lies here: the tiles that agree least do not agree better than the two photos.
        axis.text(SAME_SCENE - 0.01, DUPLICATE, f"duplicate from {DUPLICATE:.2f} ↑", ha="right", va="center")
        axis.text(SAME_SCENE - 0.01, DUPLICATE - 0.16, f"same scene from {SAME_SCENE:.2f} →", ha="right", va="center")
        title = f"{len(registered):,} of {len(self.candidates):,} pairs of similar photos pass the coarse comparison"
        axis.set(title=title, xlim=(-0.03, 1.03), ylim=(-1.05, 1.07))
        axis.set(xlabel="correlation of the two photos", ylabel="correlation of the lowest tenth of tiles")
        axis.legend(loc="upper left", frameon=False)

    def _photos_with_duplicates(self, dropped: Sequence[int] | np.ndarray = ()) -> pd.Series:
        """Return how many photos in test and val have a duplicate on their training side, by split."""
        sides = _training_side(self.photos, self.same_picture)
        sides = sides[~sides["source"].isin(dropped) & ~sides["target"].isin(dropped)]
        return self.photos["split"].iloc[sides["target"].unique()].value_counts()

    def _label_conflicts(self) -> list[str]:
        pairs = self.same_picture[~self.same_picture["same_label"]]
        original = self.photos["original"].to_numpy()
        names = list(original[pairs["a"]] + " and " + original[pairs["b"]])
        return [f"Correct the labels in DATASET: one picture has two in {shorten_list(names, 3)}."] if names else []


@dataclass(frozen=True)
class CleanScore(Result):
    """The test score, and the test score without photos that are in training or validation too."""

    name = "score_without_duplicates"
    correct: int  # of all test photos
    total: int
    clean_correct: int  # of those without a duplicate on the training side
    clean_total: int
    new_correct: int  # of those without a duplicate or near-duplicate there
    new_total: int
    too_few: dict[str, int]  # test photos that remain, of classes that lost some and have too few for a score
    dropped: int  # photos that left training and validation because they are duplicates

    @property
    def duplicates(self) -> int:
        """Test photos that have a duplicate on the training side."""
        return self.total - self.clean_total

    def summary(self) -> str:
        score = format_score(self.correct, self.total)
        lines = [f"All test photos: {score}. Duplicates of training or validation photos: {self.duplicates}."]
        if self.duplicates:
            lines.append(f"Without them: {format_score(self.clean_correct, self.clean_total)}.")
        if self.too_few:
            remaining = shorten_list([f"{label} ({count})" for label, count in self.too_few.items()], 3)
            lines.append(f"Too few test photos remain to measure the accuracy (below {MIN_TEST_PHOTOS}): {remaining}.")
        if more := self.clean_total - self.new_total:
            new = format_score(self.new_correct, self.new_total)
            lines.append(f"Without {plural(more, 'near-duplicate')} (same scene) as well: {new}.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.clean_correct / self.clean_total if self.clean_total else None,
            "ci95": wilson(self.clean_correct, self.clean_total),
            "correct": self.clean_correct,
            "total": self.clean_total,
            "duplicates": self.duplicates,
            "too_few": list(self.too_few),
        }

    def findings(self) -> dict[str, Finding]:
        return {"leaks": self._finding()}

    def _finding(self) -> Finding:
        near = self.total - self.duplicates - self.new_total
        if not self.total:
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}, there are no test photos")
        if self.duplicates:
            return self._duplicates_found()
        if self.dropped:
            dropped = plural(self.dropped, "photo")
            return Finding(NOTHING_FOUND, f"{NOTHING_FOUND} any more: {dropped} removed from training and validation")
        if not near:
            return Finding(NOTHING_FOUND, NOTHING_FOUND)
        scenes = f"{near} of {self.total} test photos show the scene of a training photo"
        obstacle = f"{scenes}, so they are easier than photos of a new scene."
        remedy = "Put all photos of one scene into the same split, or let TEST_SPLIT split the photos."
        if near == self.total:
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}: {scenes}", SERIOUS, obstacle, remedy)
        return Finding(FOUND, f"{FOUND}: no duplicates, but {scenes}", NOTE, obstacle, remedy)

    def _duplicates_found(self) -> Finding:
        what = f"{self.duplicates} of {self.total} test photos"
        obstacle = f"{what} are in the training or validation set too"
        remedy = 'Set DUPLICATES = "drop".'
        if self.too_few:
            labels = shorten_list([f"{label}: {count}" for label, count in self.too_few.items()], 3)
            return Finding(
                FOUND,
                f"{FOUND}: {what}; too few others to estimate the effect on the score ({labels})",
                SERIOUS,
                f"{obstacle}, and too few others remain ({labels}): the test score says nothing about new photos.",
                f"{remedy[:-1]}, and add new test photos.",
            )
        effect = self.correct / self.total - self.clean_correct / self.clean_total
        if effect <= -_SMALL_EFFECT:
            line = f"{FOUND}: {what}; without them the score is {-effect:.2f} higher"
            return Finding(FOUND, line, NOTE, f"{obstacle}, but without them the test score is not lower.", remedy)
        if effect < _SMALL_EFFECT:
            line = f"{FOUND}: {what}; without them the score is about the same"
            return Finding(FOUND, line, NOTE, f"{obstacle}, but without them the test score is about the same.", remedy)
        line = f"{FOUND}: {what}; estimated effect on the score {effect:.2f}"
        obstacle = f"{obstacle}; without them the test score is {effect:.2f} lower."
        return Finding(FOUND, line, DOUBT, obstacle, remedy, effect=effect)


def find_duplicates(photos: pd.DataFrame, features: "Features", settings: Mapping[str, Any]) -> Duplicates | Skipped:
    """Find the photos that show the same picture or the same scene.

    Parameters
    ----------
    photos : DataFrame
        With the columns path, original, split, label and digest. Photos that `mark_duplicates` has dropped count too.

    Notes
    -----
    All photos are compared, very many approximately: see `candidates`. Files with equal bytes are duplicates.
    """
    if not settings["CHECKS"]:
        return Skipped("duplicates", "Not checked (CHECKS = False).")
    if len(photos) != len(features.plain):
        raise ValueError(f"features must have one row per photo, got {len(features.plain)} for {len(photos)} photos")
    photos = _restore_dropped(photos)
    candidates = _compare_candidates(photos, features)
    pairs = _confirmed_pairs(photos, features, candidates)
    return Duplicates(photos, pairs, candidates, drop=settings["DUPLICATES"] == "drop")


def mark_duplicates(
    photos: pd.DataFrame, duplicates: Duplicates | Skipped, settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the table with `duplicate_of`, merged groups, and duplicates dropped if DUPLICATES = "drop".

    `duplicate_of` is the original name of the photo on the training side that a photo is a duplicate of, "" if none:
    for test photos that side is train and val, for val photos train. `group` is the same for all photos that pairs of
    duplicates or near-duplicates connect. Dropped photos get the split "dropped"; `dropped_from` is the one they had.
    Classes that lose all validation photos get others, cut from their training photos as VALIDATION_SPLIT says.

    Raises
    ------
    ValueError
        No photo is left to validate with.
    """
    photos = _restore_dropped(photos)
    if isinstance(duplicates, Skipped):
        return photos.assign(duplicate_of="")
    groups, _ = pd.factorize(photos["group"])
    group_pairs = groups[duplicates.pairs[["a", "b"]].to_numpy().T]
    photos["group"] = connected(group_pairs, groups.max() + 1)[groups]
    photos["dropped_from"] = ""
    if settings["DUPLICATES"] == "drop":
        dropped = photos.index[duplicates.rows_to_drop()]
        photos.loc[dropped, "dropped_from"] = photos.loc[dropped, "split"]
        photos.loc[dropped, "split"] = "dropped"
        _take_val_from_train(photos, _without_val(duplicates.photos, photos), settings)
    return photos.assign(duplicate_of=_duplicate_of(photos, duplicates.same_picture))


def _without_val(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Return the classes that had photos in val and have none."""
    labels = [set(photos.loc[photos["split"] == "val", "label"]) for photos in (before, after)]
    return sorted(labels[0] - labels[1])


def _take_val_from_train(photos: pd.DataFrame, labels: list[str], settings: Mapping[str, Any]) -> None:
    """Move training photos of these classes to val, groups together; `dropped_from` says that they were in train."""
    if not labels:
        return
    train = photos[photos["label"].isin(labels) & (photos["split"] == "train")]
    cut = assign_splits(train, {"val": settings["VALIDATION_SPLIT"]}, settings["SEED"])
    moved = cut.index[cut == "val"]
    photos.loc[moved, "dropped_from"], photos.loc[moved, "split"] = "train", "val"
    if not (photos["split"] == "val").any():
        raise ValueError(
            'DUPLICATES = "drop" would leave no validation photos: all of them are duplicates of others, and the '
            f"training photos of {shorten_list(labels)} are too few, or too similar, to take some for validation. Add "
            'photos, or set DUPLICATES = "keep", which reports duplicates.'
        )


def score_without_duplicates(photos: pd.DataFrame, duplicates: Duplicates | Skipped) -> CleanScore | Skipped:
    """Measure the test score without photos that are in training or validation too.

    `photos` is the table after `mark_duplicates`, with the column correct.
    """
    if isinstance(duplicates, Skipped):
        return Skipped("score_without_duplicates", duplicates.reason)
    test = photos[photos["split"] == "test"]
    clean = test[test["duplicate_of"] == ""]
    training_groups = photos.loc[photos["split"].isin(["train", "val"]), "group"]
    new = clean[~clean["group"].isin(training_groups)]
    labels = sorted(test.loc[test["duplicate_of"] != "", "label"].unique())
    remaining = clean["label"].value_counts().reindex(labels, fill_value=0)
    return CleanScore(
        correct=int(test["correct"].sum()),
        total=len(test),
        clean_correct=int(clean["correct"].sum()),
        clean_total=len(clean),
        new_correct=int(new["correct"].sum()),
        new_total=len(new),
        too_few=remaining[remaining < MIN_TEST_PHOTOS].to_dict(),
        dropped=int((photos["split"] == "dropped").sum()),
    )


def _restore_dropped(photos: pd.DataFrame) -> pd.DataFrame:
    """Return a table with all photos in the splits they came with, so that a cell can be run again."""
    if "dropped_from" not in photos:
        return photos.copy()
    split = photos["split"].where(photos["dropped_from"] == "", photos["dropped_from"])
    return photos.assign(split=split).drop(columns="dropped_from")


def _training_side(photos: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each photo (target) and photo on its training side (source) that pairs connect.

    Rows are sorted by what names a duplicate best: a source in train, a high cosine. Dropped photos are left out.
    """
    rank = photos["split"].map({"train": 0, "val": 1, "test": 2}).to_numpy()
    forward = pairs.rename(columns={"a": "source", "b": "target"})
    backward = pairs.rename(columns={"b": "source", "a": "target"})
    rows = pd.concat([forward, backward])
    rows["rank"] = rank[rows["source"]]
    rows = rows[rows["rank"] < rank[rows["target"]]]
    return rows.sort_values(["rank", "cosine", "source"], ascending=[True, False, True])


def _duplicate_of(photos: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Return for each photo the original name of the best photo on its training side, "" if there is none."""
    best = _training_side(photos, pairs).drop_duplicates("target")
    names = pd.Series("", index=photos.index, dtype=object)
    names.iloc[best["target"]] = photos["original"].iloc[best["source"]].to_numpy()
    return names


def _compare_candidates(photos: pd.DataFrame, features: "Features") -> pd.DataFrame:
    """Return the candidate pairs with their scores, as described in `Duplicates`."""
    with _squares(photos, features) as squares:
        return _score_candidates(photos, features, squares)


@contextmanager
def _squares(photos: pd.DataFrame, features: "Features") -> Iterator[np.ndarray]:
    """Yield the grey squares of the photos, uint8 (n, SIDE, SIDE): of many photos, in a file that is deleted then."""
    paths, shape = list(photos["path"]), (len(photos), registration.SIDE, registration.SIDE)
    if len(photos) <= MOST_EXACT:
        yield registration.grey_squares(paths, registration.SIDE)
        return
    with tempfile.TemporaryFile(dir=features.results.parent if features.results else None) as file:
        squares = np.memmap(file, np.uint8, "w+", shape=shape)
        yield registration.grey_squares(paths, registration.SIDE, out=squares)
        del squares


def _score_candidates(photos: pd.DataFrame, features: "Features", squares: np.ndarray) -> pd.DataFrame:
    rows = pd.Series(np.arange(len(photos)))
    first_with_bytes = rows.groupby(photos["digest"].to_numpy()).transform("first").to_numpy()
    same_bytes = np.stack([first_with_bytes, rows, np.zeros_like(rows)], axis=1)[first_with_bytes < rows]
    pairs = find_candidates(squares, features.plain, photos["split"].to_numpy())
    pairs = _unique(np.concatenate([pairs, same_bytes]), len(photos))
    table = pd.DataFrame(pairs, columns=["a", "b", "orientation"])
    if len(photos) <= MOST_EXACT:
        depends_on = {"squares": squares, "features": np.asarray(features.plain), "pairs": pairs}
        table[_SCORES], _ = stored(features.results, depends_on, lambda: _score(squares, features.plain, pairs))
    else:  # telling whether anything has changed would take as long
        table[_SCORES] = _score(squares, features.plain, pairs)
    # Files with equal bytes are duplicates even if they show nothing to register.
    equal = (first_with_bytes[table["b"]] == table["a"]) & (table["orientation"] == 0)
    table.loc[equal, _SCORES[1:]] = 1.0
    table = table.sort_values("correlation", ascending=False, kind="stable").drop_duplicates(["a", "b"])
    table["kind"] = registration.kinds(table[_SCORES[1:]].to_numpy(), table["orientation"].to_numpy())
    return table.sort_values(["a", "b"], ignore_index=True)


def _confirmed_pairs(photos: pd.DataFrame, features: "Features", candidates: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of `Duplicates` from its candidates."""
    pairs = candidates[candidates["kind"] != "unrelated"].reset_index(drop=True)
    split, label = photos["split"].to_numpy(), photos["label"].to_numpy()
    pairs["across"] = split[pairs["a"]] != split[pairs["b"]]
    pairs["same_label"] = label[pairs["a"]] == label[pairs["b"]]
    turned = pairs[pairs["orientation"] > 0]
    for start in range(0, len(turned), _EMBED_BATCH):
        batch = turned.iloc[start : start + _EMBED_BATCH]
        files = zip(photos["path"].iloc[batch["b"]], batch["orientation"], strict=True)
        pictures = [_read_oriented(path, orientation) for path, orientation in files]
        upright = np.asarray(features.plain[batch["a"].to_numpy()])
        pairs.loc[batch.index, "cosine"] = _cosine(upright, features.embed(pictures))
    pairs["orientation"] = np.array(registration.ORIENTATIONS)[pairs["orientation"]]
    return pairs.sort_values(["across", "kind", "cosine"], ascending=[False, True, False], ignore_index=True)


def _read_oriented(path: str, orientation: int) -> np.ndarray:
    with Image.open(path) as picture:
        channels = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    return registration.orient(channels, orientation).transpose(1, 2, 0)


def _unique(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return different pairs (k, 3) of `count` photos, in order."""
    orientations = len(registration.ORIENTATIONS)
    numbers = np.unique((pairs[:, 0] * count + pairs[:, 1]) * orientations + pairs[:, 2])
    return np.stack([*np.divmod(numbers // orientations, count), numbers % orientations], axis=1)


def _score(squares: np.ndarray, features: "Rows", pairs: np.ndarray) -> np.ndarray:
    """Return the scores (k, 5) of candidates (k, 3)."""

    def score(block: np.ndarray) -> np.ndarray:
        cosine = _cosine(np.asarray(features[block[:, 0]]), np.asarray(features[block[:, 1]]))
        return np.column_stack([cosine, registration.compare(squares, block)])

    blocks = [pairs[start : start + _PAIRS_PER_BLOCK] for start in range(0, len(pairs), _PAIRS_PER_BLOCK)]
    scores = [np.empty((0, len(_SCORES)))]
    with (
        progress("Registering similar photos", len(pairs), unit="pair") as bar,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        for of_block in threads.map(score, blocks):
            scores.append(of_block)
            bar.update(len(of_block))
    return np.concatenate(scores)


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("kd,kd->k", unit(first), unit(second))
