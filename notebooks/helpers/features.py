"""What does the frozen network say of each photo? Asked once, then kept."""

import hashlib
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
from PIL import Image

from helpers import engine
from helpers.files import one_at_a_time, read_json, write_json, written_beside
from helpers.photos.picture import RECIPE, middle_square
from helpers.progress import progress
from helpers.views import PLAIN, View

BATCH = 32
_SAVE_EVERY_SECONDS = 60
_compiled: dict[tuple[str, str], engine.Engine] = {}  # a notebook asks one network several times


class _Job(NamedTuple):
    path: str
    digest: str
    missing: list[int]  # numbers of the views


def read_square(path: str | Path, size: int) -> np.ndarray:
    """A prepared photo as uint8 (size, size, 3), raw RGB 0–255: its `middle_square`."""
    with Image.open(path) as picture:
        return np.asarray(middle_square(picture, size))


def embedder(extractor: keras.Model) -> Callable[[list[np.ndarray]], np.ndarray]:
    """For a few pictures that are not in the table: uint8 (height, width, 3) each → float32 (k, d), by Keras itself."""
    size = extractor.input_shape[1]

    def embed(pictures: list[np.ndarray]) -> np.ndarray:
        squares = [middle_square(Image.fromarray(picture), size) for picture in pictures]
        return extractor(np.stack(squares).astype(np.float32), training=False).numpy()

    return embed


def extract(photos: pd.DataFrame, extractor: keras.Model, folder: Path, view: View = PLAIN) -> np.ndarray:
    """Run `extractor` over one view of each photo of the table, once ever: what it says is kept in `folder`.

    photos: columns path (prepared photo) and digest (fingerprint of its original). extractor: raw RGB float32
    (batch, size, size, 3) → float32 (batch, d). Returns float32 (n, d), row for row with the table. See
    `extract_views`, which this is for a single view.
    """
    return extract_views(photos, extractor, folder, [view])[0]


def extract_views(photos: pd.DataFrame, extractor: keras.Model, folder: Path, views: Sequence[View]) -> np.ndarray:
    """Like `extract` for several views of the same photos, each decoded once. Returns float32 (views, n, d).

    Each view has a file of its own, named for the network's weights, layers and preprocessing and for the engine that
    ran it, so that neither another network nor another precision ever reads it. Nothing is compiled if nothing is
    new. Interrupted, it goes on where it was (saved every minute and when stopped). Memory: the features (8 KB a photo
    and view for ResNet50), twice while they are saved. Raises ValueError if the extractor can still be trained, or
    answers with numbers that are not finite.
    """
    if extractor.trainable_weights:
        raise ValueError(f"{extractor.name} is not frozen: set trainable = False before its features are kept.")
    if photos.empty:
        raise ValueError("There is no photo to extract features from.")
    network = f"{extractor.name}-{fingerprint(extractor)}"
    remembered = _remembered(folder, network)
    ready = None if remembered else _choose(photos, extractor, folder, network, None)
    name = remembered or ready.name
    stores = [folder / f"{network}-{name.replace(' ', '-').lower()}-{view.name}.npz" for view in views]
    known = [_load(store) for store in stores]
    new = _new(photos, known)
    if new:
        ready = ready or _choose(photos, extractor, folder, network, name)
        if ready.name != name:  # what ran here before does not any more: nothing of it may be mixed in
            return extract_views(photos, extractor, folder, views)
        _run(new, ready, extractor, views, stores, known)
    return np.stack([[answers[digest] for digest in photos["digest"]] for answers in known])


def fingerprint(extractor: keras.Model) -> str:
    """Sixteen hex digits that change with the network's weights, its layers or its preprocessing."""
    seen = hashlib.blake2b(RECIPE.encode(), digest_size=8)
    for layer in extractor.operations:
        seen.update(f"{type(layer).__name__} {getattr(layer, 'scale', '')} {getattr(layer, 'offset', '')}".encode())
    seen.update(str(extractor.input_shape).encode())
    for weight in extractor.get_weights():
        seen.update(np.ascontiguousarray(weight))
    return seen.hexdigest()


def _remembered(folder: Path, network: str) -> str | None:
    """The engine that was chosen for the network when its first photos came, on a machine like this one."""
    return (read_json(folder / f"{network}.json") or {}).get(engine.setup(), {}).get("engine")


def _choose(
    photos: pd.DataFrame, extractor: keras.Model, folder: Path, network: str, name: str | None
) -> engine.Engine:
    """Compile the network for the engine `name`, or for the fastest that agrees with Keras, and remember which."""
    if (network, name) in _compiled:
        return _compiled[network, name]
    rows = np.unique(np.linspace(0, len(photos) - 1, engine.PROBES).astype(int))
    probes = np.stack([read_square(path, extractor.input_shape[1]) for path in photos["path"].iloc[rows]])
    ready = engine.choose(extractor, probes, list(dict.fromkeys([name, engine.KERAS])) if name else None)
    if ready.name != name:
        chosen = folder / f"{network}.json"
        choice = {"engine": ready.name, "cosine": ready.cosine, "photos": len(probes)}
        write_json(chosen, (read_json(chosen) or {}) | {engine.setup(): choice})
    _compiled.clear()  # the last one is enough, and it holds the network's weights
    _compiled[network, ready.name] = ready
    return ready


def _new(photos: pd.DataFrame, known: Sequence[dict[str, np.ndarray]]) -> list[_Job]:
    """What is not known yet: each photo once, with the numbers of the views that are missing."""
    unique = photos.drop_duplicates("digest")
    jobs = (
        _Job(path, digest, [number for number, answers in enumerate(known) if digest not in answers])
        for path, digest in zip(unique["path"], unique["digest"], strict=True)
    )
    return [job for job in jobs if job.missing]


def _run(
    jobs: list[_Job],
    ready: engine.Engine,
    extractor: keras.Model,
    views: Sequence[View],
    stores: Sequence[Path],
    known: Sequence[dict[str, np.ndarray]],
) -> None:
    """Decode, change and answer the jobs in threads; add to `known` and, every minute and at the end, to `stores`."""
    size = extractor.input_shape[1]

    def answer(some: list[_Job]) -> list[tuple[int, str, np.ndarray]]:
        squares = [(job, read_square(job.path, size)) for job in some]
        asked = [(number, job.digest, square) for job, square in squares for number in job.missing]
        pixels = np.stack([views[number].change(square, digest) for number, digest, square in asked])
        return [(number, digest, row) for (number, digest, _), row in zip(asked, ready.answers(pixels), strict=True)]

    fresh: list[dict[str, np.ndarray]] = [{} for _ in views]
    saved = time.monotonic()
    at_once = max(1, ready.batch // len(views))
    parts = [jobs[start : start + at_once] for start in range(0, len(jobs), at_once)]
    try:
        with progress(f"{extractor.name} features ({ready.name})", len(jobs)) as bar:
            for some, answers in zip(parts, _in_order(answer, parts, ready.workers), strict=True):
                for number, digest, row in answers:
                    if not np.isfinite(row).all():
                        raise ValueError(
                            f"{extractor.name} answers with numbers that are not finite: is its file whole?"
                        )
                    fresh[number][digest] = row
                bar.update(len(some))
                if time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                    _save_all(stores, fresh)
                    saved = time.monotonic()
    finally:
        _save_all(stores, fresh)
    for answers, more in zip(known, fresh, strict=True):
        answers |= more


def _in_order(call: Callable, items: Iterable, workers: int) -> Iterator:
    """call(item) for each item, in threads, results in the items' order; only a few are ever waiting to be fetched."""
    with ThreadPoolExecutor(workers) as threads:
        ahead: deque[Future] = deque()
        for item in items:
            ahead.append(threads.submit(call, item))
            if len(ahead) >= 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _load(store: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(store, allow_pickle=False) as kept:
            return dict(zip(kept["digests"].tolist(), kept["features"], strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"{store} is damaged ({error}): its features are computed again.")
        return {}


def _save_all(stores: Sequence[Path], fresh: Sequence[dict[str, np.ndarray]]) -> None:
    for store, answers in zip(stores, fresh, strict=True):
        if answers:
            _save(store, answers)


def _save(store: Path, fresh: dict[str, np.ndarray]) -> None:
    """Add to what is kept, also to what another run kept in the meantime."""
    with one_at_a_time(store.parent, "saving features"):
        everything = _load(store) | fresh
        with written_beside(store) as partial, partial.open("wb") as file:
            np.savez(file, digests=np.array(list(everything)), features=np.stack(list(everything.values())))
