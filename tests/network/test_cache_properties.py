"""Any order of adding, removing and changing photos gives the features of a fresh run."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from builders import TINY_SIZE, tiny_extractor
from phototransfer.network import inference
from phototransfer.network.features import extract
from phototransfer.photos import Source, prepare

PLACES = [f"{label}/{number}.jpg" for label in ("cat", "dog") for number in range(6)]
#: What happens to the folder: a place among PLACES gets the picture of that number (0 to 19), or none (None).
changes = st.tuples(st.sampled_from(PLACES), st.none() | st.integers(0, 19))
rounds = st.lists(st.tuples(st.lists(changes, max_size=4), st.integers(0, 2)), min_size=1, max_size=5)


@pytest.fixture(scope="module", autouse=True)
def only_keras():
    """Compiling for other engines takes longer than these few photos."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inference, "available_engines", lambda: [inference.KERAS])
        yield


@pytest.fixture(scope="module")
def extractor():
    return tiny_extractor()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, make_photo) -> list[Path]:
    """Twenty photos, some of them with the same picture as another."""
    folder = tmp_path_factory.mktemp("pictures")
    return [make_photo(folder / f"{n}.jpg", n % 17, (32, 26), quality=90 - n // 17) for n in range(20)]


def prepare_with(source: Source, seed: int) -> pd.DataFrame:
    return prepare(source, val_split=0.2, test_split=0.2, seed=seed).photos


@settings(max_examples=10)
@given(rounds)
def test_features_are_those_of_a_fresh_run(tmp_path_factory, extractor, pictures, history):
    base = tmp_path_factory.mktemp("cache")
    source = Source("pets", base / "photos", base / "home")
    for number, place in enumerate(PLACES):
        (source.folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(pictures[number], source.folder / place)
    for step, (changed, seed) in enumerate([([], 0), *history]):
        for place, picture in changed:
            (source.folder / place).unlink(missing_ok=True)
            if picture is not None:
                shutil.copy(pictures[picture], source.folder / place)
        fresh = Source("pets", source.folder, base / f"fresh{step}")
        try:
            expected = prepare_with(fresh, seed)
        except ValueError as error:
            assert "At least two classes" in str(error)
            with pytest.raises(ValueError, match="At least two classes"):
                prepare_with(source, seed)
            continue
        photos = prepare_with(source, seed)
        pd.testing.assert_frame_equal(photos.drop(columns="path"), expected.drop(columns="path"))
        cached = extract(photos, extractor, source.home / "features").plain
        computed = extract(expected, extractor, fresh.home / "features").plain
        np.testing.assert_allclose(cached, computed, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(cached, without_cache(photos, extractor), rtol=1e-4, atol=1e-5)


def without_cache(photos: pd.DataFrame, extractor) -> np.ndarray:
    """Return the output of the network for the middle square of each prepared photo."""
    squares = []
    for path in photos["path"]:
        with Image.open(path) as photo:
            side = min(photo.size)
            left, top = (photo.width - side) / 2, (photo.height - side) / 2
            box = (left, top, left + side, top + side)
            squares.append(photo.resize((TINY_SIZE, TINY_SIZE), Image.Resampling.BICUBIC, box))
    return np.asarray(extractor(np.stack(squares).astype("float32")))


@settings(max_examples=25)
@given(st.permutations(range(12)), st.integers(0, 12))
def test_the_order_of_the_rows_and_earlier_calls_do_not_matter(tmp_path_factory, extractor, pictures, order, before):
    folder = tmp_path_factory.mktemp("rows")
    photos = pd.DataFrame({"path": map(str, pictures[:12]), "digest": [f"d{number}" for number in range(12)]})
    if before:
        extract(photos.head(before), extractor, folder)
    result = extract(photos.iloc[list(order)], extractor, folder).plain
    np.testing.assert_allclose(result, without_cache(photos, extractor)[list(order)], rtol=1e-4, atol=1e-5)
