"""None of these: whether a new photo is unlike anything that a model was trained on."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from phototransfer.console import plural, short_name
from phototransfer.network.features import Features, fingerprint
from phototransfer.network.fine_tuning import predict
from phototransfer.network.graph import as_graph
from phototransfer.photos.sampling import MOST_PHOTOS, describe_sample
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share, wilson
from phototransfer.stored import stored
from phototransfer.style import BLUE, ORANGE, VERMILLION, show_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Matplotlib and scikit-learn are imported where they are used: the classification of a photo need not wait for them.

#: The distance is that to the third-nearest photo: with the nearest, one odd training photo lets others like it pass.
NEIGHBOURS = 3
#: Stated rate of false refusals. With 1 %, the few oddest photos of a small set would be the threshold.
RATE = 0.02
_MAX_RATE = 0.1  # n photos cannot estimate a rate below 1 / (n + 1)
_MAX_PHOTOS = 5000  # kept in the file: 20 MB for ResNet50
_ROWS = 256  # compared at a time: 5 MB of distances
_CONTROLS = 16
_EXAMPLES = 6


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """Different photos that a model was trained on, and how far from them a photo is unlike them.

    Attributes
    ----------
    features : float16 array of shape (n, d)
        Output of the network before the head, each row of length 1.
    labels, originals : str arrays of shape (n,)
        Class, and path of the photo in the data set.
    threshold : float
        Distance (see `neighbours`) above which a photo is unlike the training photos.
    rate : float
        Expected share of photos of the same kind that are above the threshold.
    """

    features: np.ndarray
    labels: np.ndarray
    originals: np.ndarray
    threshold: float
    rate: float

    def neighbours(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest training photos of photos with `features`, float (m, d), the nearest first.

        Returns
        -------
        distances : float array of shape (m, NEIGHBOURS)
            1 − cosine similarity, 0 to 2.
        positions : int array of shape (m, NEIGHBOURS)
            Positions in `labels` and `originals`.
        """
        known = _unit_length(self.features).T
        distances = np.empty((len(features), NEIGHBOURS), np.float32)
        positions = np.empty((len(features), NEIGHBOURS), np.intp)
        for start in range(0, len(features), _ROWS):
            rows = slice(start, start + _ROWS)
            from_known = np.clip(1 - _unit_length(features[rows]) @ known, 0, 2)
            positions[rows] = np.argsort(from_known, axis=1, kind="stable")[:, :NEIGHBOURS]
            distances[rows] = np.take_along_axis(from_known, positions[rows], axis=1)
        return distances, positions

    def compare(self, features: np.ndarray) -> pd.DataFrame:
        """Return one row per row of `features`, float (m, d).

        Columns: distance (to the last of `neighbours`), unlike (whether that is above the threshold), nearest (class of
        the nearest training photo).
        """
        if not len(features):
            return pd.DataFrame({"distance": [], "unlike": [], "nearest": []}).astype({"unlike": bool})
        distances, positions = self.neighbours(features)
        distance, nearest = distances[:, -1], self.labels[positions[:, 0]]
        return pd.DataFrame({"distance": distance, "unlike": distance > self.threshold, "nearest": nearest})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the content of the file, see `read`."""
        numbers = {"threshold": np.array(self.threshold), "rate": np.array(self.rate)}
        return {"features": self.features, "labels": self.labels, "originals": self.originals, **numbers}

    @classmethod
    def read(cls, path: Path) -> "TrainingFeatures | None":
        """Return the content of a file with `arrays`; None if there is none. If it is damaged, say so."""
        try:
            with np.load(path, allow_pickle=False) as content:
                texts = content["labels"], content["originals"]
                return cls(content["features"], *texts, float(content["threshold"]), float(content["rate"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"{path} is damaged ({error}): photos are not compared with the training photos.")
            return None


@dataclass(frozen=True, eq=False)
class Novelty(Result):
    """How far the test photos are from the training photos, and which of them would be called unlike these.

    Attributes
    ----------
    training : TrainingFeatures
        To be saved with the model: see `Report.save_model`.
    table : DataFrame
        Different test photos without a near-duplicate in training: path, original, label, distance, nearest (class of
        the nearest training photo), unlike.
    training_distances : float array of shape (k,)
        Those that the threshold comes from.
    control : tuple of int
        Pictures of noise and of plain colours that are called unlike the training photos, and all.

    Notes
    -----
    Distance to the k-th nearest neighbour in the space of normalized features: Y. Sun et al., "Out-of-distribution
    detection with deep nearest neighbors", ICML 2022. The Mahalanobis distance (K. Lee et al., "A simple unified
    framework for detecting out-of-distribution samples and adversarial attacks", NeurIPS 2018) detects as much and
    needs a covariance matrix. The threshold is a split-conformal quantile: V. Vovk, A. Gammerman and G. Shafer,
    "Algorithmic learning in a random world" (2005).
    """

    name = "novelty"
    training: TrainingFeatures
    table: pd.DataFrame
    training_distances: np.ndarray
    control: tuple[int, int]
    sample: str = ""  #: which sample of very many test photos was compared

    @property
    def refused(self) -> tuple[int, int]:
        """Test photos that are called unlike the training photos, and all."""
        return int(self.table["unlike"].sum()), len(self.table)

    def summary(self) -> str:
        training, (refused, total) = self.training, self.refused
        lines = [
            "A new photo is called unlike the training photos if its distance to the third-nearest of "
            f"{plural(len(training.labels), 'different photo')} (1 − cosine similarity of the features) is above "
            f"{training.threshold:.2f}. That happens to {training.rate:.1%} of photos of the same kind (stated rate).",
            f"Pictures of noise and plain colours called so: {self.control[0]} of {self.control[1]}.",
        ]
        interval = wilson(refused, total)
        if interval is None:
            lines.append("Cannot tell how often test photos are: all have a near-duplicate in training.")
            return "\n".join(lines)
        if self.sample:
            lines.append(self.sample)
        low, high = interval
        lines.append(
            f"Test photos called so: {refused} of {total} different ones, {format_share(refused / total)} "
            f"(95 % interval {low:.2f} to {high:.2f}), {self._comparison(low, high)}."
        )
        return "\n".join(lines)

    def _comparison(self, low: float, high: float) -> str:
        if low > self.training.rate:
            return "more often than stated: the test photos are less like the training photos than these are among them"
        return "less often than stated" if high < self.training.rate else "which agrees with the stated rate"

    def alt(self) -> str:
        refused, total = self.refused
        return (
            f"Histogram of the distances to the third-nearest training photo: {plural(total, 'test photo')}, of which "
            f"{refused} are beyond the threshold of {self.training.threshold:.2f}, and "
            f"{plural(len(self.training_distances), 'training photo')}."
        )

    def plot(self) -> "Figure":
        import matplotlib.pyplot as plt

        examples = self.table.sort_values("distance", ascending=False, kind="stable").head(_EXAMPLES)
        figure = plt.figure(figsize=(10, 5.2 if len(examples) else 2.9))
        grid = figure.add_gridspec(2 if len(examples) else 1, _EXAMPLES)
        axis = figure.add_subplot(grid[0, :])
        drawn = {"training photos": (self.training_distances, BLUE), "test photos": (self.table["distance"], ORANGE)}
        drawn = {f"{name} ({len(values)})": (values, colour) for name, (values, colour) in drawn.items() if len(values)}
        highest = max(self.training.threshold, *(float(np.max(values)) for values, _ in drawn.values()))
        bins = np.linspace(0, 1.05 * highest or 1.0, 41)
        for name, (values, colour) in drawn.items():
            axis.hist(values, bins, weights=np.full(len(values), 1 / len(values)), color=colour, alpha=0.55, label=name)
        axis.axvline(self.training.threshold, color=VERMILLION, linestyle="--", label="threshold")
        axis.set(xlabel="distance to the third-nearest training photo", ylabel="share of photos")
        axis.set_title("Unlike the training photos: right of the threshold. Below: the test photos furthest from them")
        axis.legend(frameon=False)
        for number, photo in enumerate(examples.itertuples()):
            title = f"{photo.distance:.2f} {'unlike' if photo.unlike else ''}\n{short_name(photo.label)}"
            show_photo(figure.add_subplot(grid[1, number]), photo.path, title)
        return figure

    def to_dict(self) -> dict[str, Any]:
        refused, total = self.refused
        return {
            "neighbours": NEIGHBOURS,
            "threshold": self.training.threshold,
            "rate": self.training.rate,
            "training_photos": len(self.training.labels),
            "test_refused": refused,
            "test_photos": total,
            "test_refused_share": refused / total if total else None,
            "test_refused_ci95": wilson(refused, total),
            "control_refused": self.control[0],
            "control_pictures": self.control[1],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        return self.training.arrays()


def measure_novelty(
    model: keras.Model,
    photos: pd.DataFrame,
    features: Features,
    settings: Mapping[str, Any],
    *,
    fine_tuned: bool = False,
) -> Novelty | Skipped:
    """Choose the threshold from the training and validation photos, and apply it to the test photos.

    Of near-duplicates only the first counts, so that the distance of a training photo is that from other photos. Of
    very many photos, a random sample is kept.

    Parameters
    ----------
    model : keras.Model
        From raw RGB through two layers, the extractor and the head, to probabilities.
    photos : DataFrame
        With columns path, original, label, split and group.
    features : Features
        Of `photos`, by the extractor as it was before fine-tuning.
    settings : Mapping
        FIT and SEED are read here.
    fine_tuned : bool
        The extractor has been changed: the features are computed again.

    Raises
    ------
    ValueError
        The model has other layers.
    """
    extractor, _ = split_model(model)
    known = photos["split"].isin(["train", "val"]).to_numpy()
    test = (photos["split"] == "test").to_numpy() & ~photos["group"].isin(photos.loc[known, "group"]).to_numpy()
    training_rows, test_rows = (np.flatnonzero(rows)[~photos.loc[rows, "group"].duplicated()] for rows in (known, test))
    if 1 / (len(training_rows) + 1) > _MAX_RATE or len(training_rows) <= NEIGHBOURS:
        return Skipped(
            Novelty.name,
            f"Cannot tell what is unlike the training photos, too few photos: at least {round(1 / _MAX_RATE) - 1} "
            f"different ones are needed to train and validate on, and there are {len(training_rows)}.",
        )
    n_test = len(test_rows)
    rng = np.random.default_rng(settings["SEED"])
    if len(training_rows) > _MAX_PHOTOS:
        training_rows = np.sort(rng.choice(training_rows, _MAX_PHOTOS, replace=False))
    if n_test > MOST_PHOTOS:
        test_rows = np.sort(rng.choice(test_rows, MOST_PHOTOS, replace=False))
    values = predict(extractor, photos, settings["FIT"]) if fine_tuned else features.plain
    kept = _unit_length(np.asarray(values[training_rows])).astype(np.float16)
    distances = _distances_from_others(kept)
    rate = max(RATE, 1 / (len(kept) + 1))
    threshold = float(np.sort(distances)[int(np.ceil((len(kept) + 1) * (1 - rate) - 1e-9)) - 1])
    names = photos.iloc[training_rows]
    training = TrainingFeatures(kept, _texts(names["label"]), _texts(names["original"]), threshold, rate)
    table = photos.iloc[test_rows][["path", "original", "label"]].reset_index(drop=True)
    refused = training.compare(_control_features(extractor, settings["SEED"], features.results))["unlike"]
    table = table.join(training.compare(np.asarray(values[test_rows])))
    sample = describe_sample(len(table), n_test)
    return Novelty(training, table, distances, control=(int(refused.sum()), len(refused)), sample=sample)


def split_model(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Return the last two layers of a classifier: the extractor (photo to features) and the head (to probabilities).

    Raises
    ------
    ValueError
        The model has other layers. Only `prepare`, see `complete_model`, may stand before them.
    """
    layers = model.layers[1:]  # the first is the input
    if len(layers) == 3 and layers[0].name == "prepare":
        layers = layers[1:]
    if len(layers) != 2:
        names = ", ".join(layer.name for layer in layers)
        raise ValueError(
            "A classifier must be head(extractor(image)), so that one pass gives features and probabilities; this one "
            f"has the layers {names}. Put what is new into the extractor or the head."
        )
    return layers[0], layers[1]


def _distances_from_others(features: np.ndarray) -> np.ndarray:
    """Return the distance of each row from the last of its NEIGHBOURS among the other rows."""
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine", algorithm="brute").fit(
        features.astype(np.float32)
    )
    return index.kneighbors()[0][:, -1]


def _unit_length(features: np.ndarray) -> np.ndarray:
    """Return the rows in float32 and with length 1; zeros stay zeros."""
    features = features.astype(np.float32)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)


def _control_features(extractor: keras.Model, seed: int, results: Path | None) -> np.ndarray:
    """Return the features of the control pictures, float32 (2 × _CONTROLS, d); `results`: see `stored`."""

    def compute() -> np.ndarray:
        return as_graph(extractor)(_control_pictures(extractor.input_shape[1], seed))

    depends_on = {"result": "features of the control pictures", "network": fingerprint(extractor), "seed": seed}
    return stored(results, depends_on, compute)[0]


def _control_pictures(size: int, seed: int) -> np.ndarray:
    """Return pictures of noise, then of plain colours, float32 (2 × _CONTROLS, size, size, 3), raw RGB 0–255."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (_CONTROLS, size, size, 3))
    colours = rng.integers(0, 256, (_CONTROLS, 1, 1, 3))
    return np.concatenate([noise, np.broadcast_to(colours, noise.shape)]).astype(np.float32)


def _texts(column: pd.Series) -> np.ndarray:
    return np.array(column.tolist(), dtype=np.str_)  # not objects, which would be saved as code
