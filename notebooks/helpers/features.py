"""What does the frozen network say of each photo? Asked once, then kept."""

import hashlib
import os
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image, ImageOps

from helpers.files import written_beside
from helpers.photos.picture import RECIPE
from helpers.progress import progress

BATCH = 32
_SAVE_EVERY_SECONDS = 60


def read_square(path: str | Path, size: int) -> np.ndarray:
    """A prepared photo as uint8 (size, size, 3), raw RGB 0–255: the middle square, resized with antialiasing.

    The one resize of the project: training, testing and `classify` all read through it.
    """
    with Image.open(path) as picture:
        square = ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(square)


def extract(photos: pd.DataFrame, extractor: keras.Model, folder: Path) -> np.ndarray:
    """Run `extractor` over each photo of the table, once ever: what it says is kept in `folder`.

    photos: columns path (prepared photo) and digest (fingerprint of its original). extractor: raw RGB float32
    (batch, size, size, 3) → float32 (batch, d). Returns float32 (n, d), row for row with the table. The file it is
    kept in is named for the network's weights, layers and preprocessing, so that another network never reads it.
    Interrupted, it goes on where it was (saved every minute and when stopped). Raises ValueError if the extractor
    can still be trained, or answers with numbers that are not finite.
    """
    if extractor.trainable_weights:
        raise ValueError(f"{extractor.name} is not frozen: set trainable = False before its features are kept.")
    store = folder / f"{extractor.name}-{fingerprint(extractor)}.npz"
    known = _load(store)
    new = photos[~photos["digest"].isin(known.keys())].drop_duplicates("digest")
    fresh: dict[str, np.ndarray] = {}
    saved = time.monotonic()
    try:
        with progress(f"{extractor.name} features", len(new)) as bar:
            for rows, pixels in _batches(new, extractor.input_shape[1]):
                answers = np.asarray(extractor.predict_on_batch(pixels), dtype=np.float32)
                if not np.isfinite(answers).all():
                    raise ValueError(f"{extractor.name} answers with numbers that are not finite: is its file whole?")
                fresh |= dict(zip(rows["digest"], answers, strict=True))
                bar.update(len(rows))
                if time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                    _save(store, fresh)
                    saved = time.monotonic()
    finally:
        if fresh:
            _save(store, fresh)
    known |= fresh
    return np.stack([known[digest] for digest in photos["digest"]])


def fingerprint(extractor: keras.Model) -> str:
    """Sixteen hex digits that change with the network's weights, its layers or its preprocessing."""
    seen = hashlib.blake2b(RECIPE.encode(), digest_size=8)
    for layer in extractor.operations:
        seen.update(f"{type(layer).__name__} {getattr(layer, 'scale', '')} {getattr(layer, 'offset', '')}".encode())
    seen.update(str(extractor.input_shape).encode())
    for weight in extractor.get_weights():
        seen.update(np.ascontiguousarray(weight))
    return seen.hexdigest()


def _batches(photos: pd.DataFrame, size: int) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Rows and pixels, float32 (≤ BATCH, size, size, 3), decoded in threads one batch ahead of the network."""
    slices = [photos.iloc[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        ahead: list[Future] = []
        for rows, following in zip([None, *slices], [*slices, None], strict=True):
            pixels = ahead
            if following is not None:
                ahead = [threads.submit(read_square, path, size) for path in following["path"]]
            if rows is not None:
                yield rows, np.stack([photo.result() for photo in pixels]).astype(np.float32)


def _load(store: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(store, allow_pickle=False) as kept:
            return dict(zip(kept["digests"].tolist(), kept["features"], strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"{store} is damaged ({error}): its features are computed again.")
        return {}


def _save(store: Path, fresh: dict[str, np.ndarray]) -> None:
    """Add to what is kept, also to what another run kept in the meantime."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(store.parent / ".lock"):
        everything = _load(store) | fresh
        with written_beside(store) as partial, partial.open("wb") as file:
            np.savez(file, digests=np.array(list(everything)), features=np.stack(list(everything.values())))
