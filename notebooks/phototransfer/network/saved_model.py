"""The saved model, loaded again: does it give the predictions that the score was measured with?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from phototransfer.network.classify import classify
from phototransfer.report import Result

_MAX_PHOTOS = 8  # of 12 megapixels each takes a third of a second, and so few need no tracing of the network


@dataclass(frozen=True, eq=False)
class SavedModel(Result):
    """The saved model on the original files of test photos, and the predictions that the score was measured with.

    Attributes
    ----------
    table : DataFrame
        One row per photo: original, label, predicted and probability (in the table of photos), saved_label and
        saved_probability (by the saved model, missing if the file cannot be read any more).
    total : int
        Number of test photos.
    """

    name = "saved_model"
    table: pd.DataFrame
    total: int

    @property
    def same(self) -> int:
        """Photos with the same predicted class."""
        return int((self.table["predicted"] == self.table["saved_label"]).sum())

    def summary(self) -> str:
        count = len(self.table)
        chosen = (
            f"{count} of {self.total:,} test photos, chosen at random from each file format"
            if count < self.total
            else "the test photos"
        )
        correct, saved_correct = self._correct()
        text = (
            f"The saved model reads the original files, without the scaled-down JPEG in between. On {chosen}, it gives "
            f"the same class for {self.same} of {count}; {correct} were classified correctly before, and "
            f"{saved_correct} are now."
        )
        if self.same < count:
            other = self.table[self.table["predicted"] != self.table["saved_label"]]
            rows = [
                f"- {row.original}: {row.predicted} ({row.probability:.2f}), now {row.saved_label} "
                f"({row.saved_probability:.2f})"
                for row in other.head(3).itertuples()
            ]
            text = "\n".join([f"{text} Of another class now:", *rows])
        return text

    def _correct(self) -> tuple[int, int]:
        table = self.table
        return int((table["predicted"] == table["label"]).sum()), int((table["saved_label"] == table["label"]).sum())

    def to_dict(self) -> dict[str, Any]:
        correct, saved_correct = self._correct()
        return {"photos": len(self.table), "same": self.same, "correct": correct, "saved_correct": saved_correct}


def check_saved_model(
    model: keras.Model, classes: Sequence[str], photos: pd.DataFrame, source: Path, settings: Mapping[str, Any]
) -> SavedModel:
    """Classify the original files of test photos with a saved model, and compare with the table of photos.

    Parameters
    ----------
    model, classes
        From `load_run`.
    photos : DataFrame
        With the columns of `add_predictions`, original and split.
    source : Path
        The folder of the original photos.
    settings : Mapping
        SEED is read here.
    """
    originals = sample_test_photos(photos, settings["SEED"])
    columns = ["original", "label", "predicted", "probability"]
    table = photos[photos["split"] == "test"].set_index("original", drop=False).loc[originals, columns]
    answers = classify(model, list(classes), *(source / original for original in originals), announce=False)
    table = table.assign(saved_label=answers["label"].to_numpy(), saved_probability=answers["probability"].to_numpy())
    return SavedModel(table.reset_index(drop=True), int((photos["split"] == "test").sum()))


def sample_test_photos(photos: pd.DataFrame, seed: int) -> list[str]:
    """Return the originals of at most _MAX_PHOTOS test photos, of every file format, in the order of the table."""
    test = photos[photos["split"] == "test"].sample(frac=1, random_state=seed)
    turns = test.groupby("format", dropna=False).cumcount()  # the first of each format, the second of each, and so on
    chosen = turns.sort_values(kind="stable").index[:_MAX_PHOTOS]
    return photos.loc[chosen.sort_values(), "original"].tolist()
