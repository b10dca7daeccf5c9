"""Features of photos: the output of a frozen network, computed once per photo and cached on disk."""

import functools
import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from phototransfer.cluster import Nodes, connect
from phototransfer.console import plural, progress
from phototransfer.files import read_json, write_json
from phototransfer.network import inference
from phototransfer.network.feature_rows import Rows, concatenate, read_rows, stack
from phototransfer.network.feature_table import FeatureTable
from phototransfer.network.inference import Engine
from phototransfer.network.views import BACKGROUND, PLAIN, View, augmented
from phototransfer.photos.decode import RECIPE, fit_square
from phototransfer.report import Result

BATCH = 32
_BLOCK = 256  # photos that a node of a cluster computes, and writes to one file, at a time
_SAVE_EVERY_SECONDS = 60
_SQUARE = "keras-2"  #: changes whenever `fit_square` would give other pixels, so that features are computed again
_MUCH_CUT_OFF = 0.25  # of the average photo: a quarter is what the middle square leaves out of 4:3
_compiled: dict[tuple[str, str], Engine] = {}  # compiling takes seconds, and a notebook uses one network several times


@dataclass(frozen=True, eq=False)
class Features(Result):
    """The features of a table of photos, row by row, all float32. Of many photos, they stay on disk: `FeatureRows`.

    Attributes
    ----------
    plain : array of shape (n, d)
    augmented : array of shape (views, n, d)
        The augmented versions of the photos; if they stay on disk, an array of `FeatureRows`.
    background : callable
        Returns the features of the photos with their middle square blanked, (n, d).
    embed : callable
        From pictures, uint8 (height, width, 3) each, to (k, d), computed by Keras itself.
    """

    name = "features"
    plain: Rows
    augmented: np.ndarray
    background: Callable[[], Rows]
    embed: Callable[[Sequence[np.ndarray]], np.ndarray]
    network: str = ""
    engine: str = ""
    computed: int = 0
    fit: str = "crop"
    results: Path | None = None  #: folder in which results that depend on these features are kept
    cut_off: float | None = None  #: mean fraction of the photos outside their middle square, None if not known

    @property
    def size(self) -> int:
        """Number of features per photo."""
        return self.plain.shape[1]

    def training(self, rows: np.ndarray, labels: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Return x and y to train on: the photos of `rows` (a mask or numbers), then each augmented version of all."""
        return training_rows(self.plain, self.augmented, rows, labels)

    def take(self, rows: np.ndarray) -> "Features":
        """Return the features of some of the photos, by their numbers; their number should be bounded."""
        return replace(
            self,
            plain=read_rows(self.plain, rows),
            augmented=stack([read_rows(version, rows) for version in self.augmented], (len(rows), self.size)),
            background=functools.cache(lambda: read_rows(self.background(), rows)),
        )

    def summary(self) -> str:
        photos, origin = len(self.plain), f"{self.network}, {self.engine}"
        cached = f"{self.computed:,} computed now, {photos - self.computed:,} from the cache"
        text = f"{plural(photos, 'photo')} × {self.size} features ({origin}); {cached}."
        if self._cuts_much():
            text += f"\nThe network sees the middle square: {self.cut_off:.0%} of the average photo is cut off."
        return text

    def advice(self) -> list[str]:
        if not self._cuts_much():
            return []
        return [f'{self.cut_off:.0%} of the average photo is cut off: FIT = "pad" shows the network all of it.']

    def _cuts_much(self) -> bool:
        return self.fit == "crop" and (self.cut_off or 0) > _MUCH_CUT_OFF

    def to_dict(self) -> dict[str, Any]:
        counts = {"photos": len(self.plain), "size": self.size, "augmentations": len(self.augmented)}
        return {**counts, "engine": self.engine, "computed": self.computed, "fit": self.fit, "cut_off": self.cut_off}


def training_rows(plain: Rows, augmented: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> tuple[Rows, np.ndarray]:
    """Return x and y to train on: the photos of `rows` (a mask or numbers), then each augmented version of all."""
    return concatenate([plain, *augmented], rows), np.tile(labels[rows], 1 + len(augmented))


def extract(
    photos: pd.DataFrame,
    extractor: keras.Model,
    cache: Path,
    *,
    augmentations: int = 0,
    background: bool = False,
    seed: int = 0,
    fit: str = "crop",
    cluster: str | None = None,
) -> Features:
    """Run a frozen network over photos; what was computed before is read from files in `cache`.

    Each view has a folder of files, named for the network's weights, layers and preprocessing and for the engine. An
    interrupted call is resumed by the next one. Memory: the features (8 KB per photo and view for ResNet50), at most
    `feature_rows.IN_MEMORY` of each view.

    Parameters
    ----------
    photos : DataFrame
        With columns path (prepared photo) and digest (fingerprint of its original).
    extractor : keras.Model
        From raw RGB, float32 (batch, size, size, 3), to float32 (batch, d).
    background : bool
        Compute `Features.background` in the same pass, not when it is called: fine-tuning may change the network.
    fit : str
        The setting FIT: "crop" for the middle square of each photo, "pad" for all of it.
    cluster : str, optional
        The setting CLUSTER: the computers that run the network.
    """
    if photos.empty:
        raise ValueError("There are no photos to extract features from.")
    if extractor.trainable_weights:
        raise ValueError(f"{extractor.name} is not frozen: set trainable = False before its features are cached.")

    def embed(pictures: Sequence[np.ndarray]) -> np.ndarray:
        squares = [np.asarray(fit_square(Image.fromarray(p), extractor.input_shape[1], fit)) for p in pictures]
        return extractor(np.stack(squares).astype(np.float32), training=False).numpy()

    views = [PLAIN, *augmented(augmentations, seed), *([BACKGROUND] if background else [])]
    rows, engine, computed = _extract_views(photos, extractor, cache, views=views, fit=fit, cluster=cluster)

    @functools.cache
    def blanked() -> Rows:
        return rows[-1] if background else _extract_views(photos, extractor, cache, views=[BACKGROUND], fit=fit)[0][0]

    return Features(
        rows[0],
        stack(rows[1 : 1 + augmentations], rows[0].shape),
        blanked,
        embed,
        network=extractor.name,
        engine=engine,
        computed=computed,
        fit=fit,
        results=cache / "results",
        cut_off=mean_cut_off(photos),
    )


def mean_cut_off(photos: pd.DataFrame) -> float | None:
    """Return the mean fraction of the photos outside their middle square; None without columns width and height."""
    if not {"width", "height"} <= set(photos):
        return None
    sides = photos[["width", "height"]]
    return float((1 - sides.min(axis=1) / sides.max(axis=1)).mean())


def read_image(path: str | Path | IO[bytes], size: int, fit: str = "crop") -> np.ndarray:
    """Return what the network sees of a prepared photo as uint8 (size, size, 3), raw RGB 0–255: see `fit_square`."""
    with Image.open(path) as picture:
        return np.asarray(fit_square(picture, size, fit))


def _extract_views(
    photos: pd.DataFrame,
    extractor: keras.Model,
    cache: Path,
    *,
    views: Sequence[View],
    fit: str,
    cluster: str | None = None,
) -> tuple[list[Rows], str, int]:
    """Return float32 (n, d) for each view, the name of the engine and how many photos were not in the cache."""
    network = f"{extractor.name}-{fingerprint(extractor)}{'' if fit == 'crop' else f'-{fit}'}"
    choice = cache / f"{network}.json"
    name = (read_json(choice) or {}).get(inference.environment_key(), {}).get("engine")
    name = name or _select_engine(photos, extractor, choice, fit=fit).name
    prefix = f"{network}-{name.replace(' ', '-').lower()}"
    tables = [FeatureTable(view, cache / f"{prefix}-{view.name}") for view in views]
    new = photos[[any(digest not in table for table in tables) for digest in photos["digest"]]]
    if len(new):
        engine = _select_engine(photos, extractor, choice, name=name, fit=fit)
        if engine.name != name:  # it does not run any more, and its features must not be mixed with another's
            return _extract_views(photos, extractor, cache, views=views, fit=fit, cluster=cluster)
        new = new.drop_duplicates("digest")
        nodes = connect(cluster)
        with progress(f"{extractor.name} features ({engine.name})", len(new)) as bar:
            if nodes is None:
                _compute(new, engine, extractor, tables=tables, fit=fit, bar=bar)
            else:
                _compute_on(nodes, new, engine.name, extractor, tables=tables, fit=fit, bar=bar)
    return [table.features(photos["digest"]) for table in tables], name, len(new)


def fingerprint(network: keras.Model) -> str:
    """Return 16 hex digits that change with a network's weights, its outer layers or its preprocessing."""
    digest = hashlib.blake2b((RECIPE + _SQUARE).encode(), digest_size=8)
    for layer in network.get_config()["layers"]:
        constants = [node["args"][1:] for node in layer["inbound_nodes"]]  # the numbers in x / 127.5 - 1.0
        config = layer["config"]
        digest.update(json.dumps([layer["class_name"], constants, config.get("scale"), config.get("offset")]).encode())
    digest.update(str(network.input_shape).encode())
    for weight in network.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


def _select_engine(
    photos: pd.DataFrame, extractor: keras.Model, choice: Path, *, fit: str, name: str | None = None
) -> Engine:
    """Compile the network for the engine `name`, or the fastest that agrees with Keras, and remember it in `choice`."""
    network = choice.stem
    if name and (network, name) in _compiled:
        return _compiled[network, name]
    rows = np.unique(np.linspace(0, len(photos) - 1, inference.PROBES).astype(int))
    probes = np.stack([read_image(path, extractor.input_shape[1], fit) for path in photos["path"].iloc[rows]])
    names = list(dict.fromkeys([name, inference.KERAS])) if name else None
    engine = inference.select_engine(extractor, probes, names)
    if engine.name != name:
        content = {"engine": engine.name, "cosine": engine.cosine, "photos": len(probes)}
        write_json(choice, (read_json(choice) or {}) | {inference.environment_key(): content})
    _compiled.clear()  # one is enough, and it holds the network's weights
    _compiled[network, engine.name] = engine
    return engine


def _compute(
    photos: pd.DataFrame,
    engine: Engine,
    extractor: keras.Model,
    *,
    tables: Sequence[FeatureTable],
    fit: str,
    bar: "tqdm[Any] | None" = None,
) -> None:
    """Decode photos once for all views and run the network, in threads; save every minute and at the end."""

    def run(batch: pd.DataFrame) -> tuple[list[tuple[FeatureTable, str]], np.ndarray]:
        places, images = [], []
        for path, digest in zip(batch["path"], batch["digest"], strict=True):
            image = read_image(path, extractor.input_shape[1], fit)
            missing = [table for table in tables if digest not in table]
            places += [(table, digest) for table in missing]
            images += [table.view.change(image, digest) for table in missing]
        return places, engine.predict(np.stack(images))

    at_once = max(1, engine.batch // len(tables))
    batches = [photos[start : start + at_once] for start in range(0, len(photos), at_once)]
    saved, threads = time.monotonic(), ThreadPoolExecutor(engine.workers)
    try:
        for batch, (places, rows) in zip(batches, threads.map(run, batches), strict=True):
            if not np.isfinite(rows).all():
                raise ValueError(f"The features of {extractor.name} are not finite. Are its weights damaged?")
            for (table, digest), row in zip(places, rows, strict=True):
                table.new[digest] = row
            if bar is not None:
                bar.update(len(batch))
            if time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                for table in tables:
                    table.save()
                saved = time.monotonic()
    finally:
        threads.shutdown(cancel_futures=True)
        for table in tables:
            table.save()


def _compute_on(
    nodes: Nodes,
    photos: pd.DataFrame,
    engine: str,
    extractor: keras.Model,
    *,
    tables: Sequence[FeatureTable],
    fit: str,
    bar: "tqdm[Any]",
) -> None:
    """Do what `_compute` does on the nodes of a cluster, which save the features where they are computed."""
    blocks = [photos[start : start + _BLOCK][["path", "digest"]] for start in range(0, len(photos), _BLOCK)]
    places = [(table.view, table.folder) for table in tables]
    probes = list(photos["path"].iloc[: inference.PROBES])
    for block, _ in nodes.map(partial(_create_extractor, extractor, engine, places, probes, fit), blocks):
        bar.update(len(block))
    for table in tables:
        table.update()


def _create_extractor(
    extractor: keras.Model, name: str, places: Sequence[tuple[View, Path]], probes: Sequence[str], fit: str
) -> Callable[[pd.DataFrame], None]:
    """Compile the network on a node, and return what computes and saves the features of a block of photos.

    Raises
    ------
    ValueError
        The node cannot run the network as the others do.
    """
    size = extractor.input_shape[1]
    engine = inference.select_engine(extractor, np.stack([read_image(path, size, fit) for path in probes]), [name])
    if engine.name != name:
        raise ValueError(
            f"The node {platform.node()} of the cluster cannot run {extractor.name} with {name}, as the first features "
            "were computed. Take computers of one kind, or set CLUSTER = None."
        )

    tables = [FeatureTable(*place) for place in places]

    def compute(photos: pd.DataFrame) -> None:
        _compute(photos, engine, extractor, tables=[table.empty_copy() for table in tables], fit=fit)

    return compute
