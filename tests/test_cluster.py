"""Photos are prepared and computed on the nodes of a cluster as here, whatever ends in between."""

import os
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import tiny_extractor
from phototransfer import cluster
from phototransfer.photos import careful
from phototransfer.photos.careful import ReadBlock
from phototransfer.photos.prepare import prepare
from phototransfer.photos.sources import Source

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-cluster.txt")

QUICKLY = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def two_nodes():
    """A cluster of two nodes, each in processes of its own; the first has the processes of this test too."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": QUICKLY}
    )
    nodes.second = nodes.add_node(num_cpus=1)
    ray.init(nodes.address, logging_level="ERROR", log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(scope="module")
def nodes(two_nodes) -> cluster.Nodes:
    found = cluster.connect("auto")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def pile(make_photo, tmp_path_factory) -> Path:
    """500 files in two classes, one of them no photo."""
    folder = tmp_path_factory.mktemp("pile")
    for number in range(499):
        make_photo(folder / ("cat" if number % 2 else "dog") / f"{number}.jpg", number, (48, 40))
    (folder / "cat" / "text.jpg").write_bytes(b"no photo at all")
    return folder


def prepared(folder: Path, home: Path, setting: str | None):
    home.mkdir()
    return prepare(Source("pile", folder, home), val_split=0.2, test_split=0.2, seed=1, cluster=setting)


def test_the_same_table_and_features_as_here(nodes, pile, tmp_path):
    from phototransfer.network.features import extract

    here, there = (prepared(pile, tmp_path / str(setting), setting) for setting in (None, "auto"))
    assert not (tmp_path / "auto" / "prepared" / ".reading").exists()
    assert there.new == 500 and list(there.skipped["original"]) == ["cat/text.jpg"]
    pd.testing.assert_frame_equal(here.photos.drop(columns="path"), there.photos.drop(columns="path"))
    pd.testing.assert_frame_equal(here.skipped, there.skipped)
    features = [
        extract(result.photos, tiny_extractor(), result.cache, augmentations=1, background=True, cluster=setting)
        for result, setting in ((here, None), (there, "auto"))
    ]
    assert features[0].engine == features[1].engine and features[1].computed == len(there.photos)
    for name in ("plain", "augmented"):
        np.testing.assert_array_equal(getattr(features[0], name), getattr(features[1], name))
    np.testing.assert_array_equal(features[0].background(), features[1].background())


def test_each_block_once_when_a_node_is_killed_and_one_comes(nodes, two_nodes):
    def create():
        return lambda block: (time.sleep(0.1), ray.get_runtime_context().get_node_id(), block)[1:]

    done, where = Counter(), Counter()
    for number, (block, (node, answer)) in enumerate(nodes.map(create, list(range(160)))):
        assert block == answer
        done[block] += 1
        where[node] += 1
        if number == 30:
            two_nodes.remove_node(two_nodes.second, allow_graceful=False)
            two_nodes.second = two_nodes.add_node(num_cpus=1)
    assert done == Counter(range(160))
    assert len(where) == 3


def reader(journals: Path, bad: str, how: str) -> ReadBlock:
    careful.LONGEST_SECONDS = 1.0

    def read(original: str) -> dict[str, str]:
        if original == bad:
            os._exit(3) if how == "ends" else time.sleep(1000)
        return {"reason": "", "name": original}

    def skip(original: str, reason: str) -> dict[str, str]:
        return {"reason": reason}

    return ReadBlock(read, skip, journals)


@pytest.mark.parametrize("how", ["ends", pytest.param("hangs", marks=pytest.mark.slow)])
def test_a_photo_that_ends_or_blocks_its_process_costs_only_itself(nodes, tmp_path, how):
    blocks = [[f"{start + number}.jpg" for number in range(8)] for start in range(0, 40, 8)]
    rows: dict[str, dict[str, str]] = {}
    for _, part in nodes.map(partial(reader, tmp_path / "journals", "19.jpg", how), blocks):
        assert not part.keys() & rows.keys()
        rows |= part
    skipped = {original: row["reason"] for original, row in rows.items() if row["reason"]}
    assert len(rows) == 40 and list(skipped) == ["19.jpg"] and "2 times" in skipped["19.jpg"]
    assert not list((tmp_path / "journals").glob("[!.]*"))  # a process that ended may leave a hidden partial file


def test_an_error_on_a_node_is_raised_here(nodes, pile, tmp_path):
    def create():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        list(nodes.map(create, [1, 2]))
    with pytest.raises(ZeroDivisionError):
        list(nodes.map(lambda: lambda block: 1 / block, [0]))
    from phototransfer.photos.store import _create_reader

    with pytest.raises(OSError, match="on a disk that all nodes have"):
        list(nodes.map(partial(_create_reader, tmp_path / "elsewhere", tmp_path, None), [["a.jpg"]]))


def test_a_node_with_another_package_is_refused(nodes, monkeypatch):
    monkeypatch.setattr(cluster, "source_digest", lambda: "another source")
    with pytest.raises(ValueError, match=r"The node .* has phototransfer .*install the same"):
        list(nodes.map(lambda: abs, [1]))


@pytest.mark.parametrize("setting", ["ray://127.0.0.1:1", "ray://no-such-host.invalid:10001"])
def test_a_wrong_address_is_named_within_seconds(setting):
    with pytest.raises(ValueError, match=r"nothing answers at .*ray start"):
        cluster.check_cluster(setting)
