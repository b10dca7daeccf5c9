"""Seconds of preparing and of features on this computer alone, and on one and two nodes of a Ray cluster.

    python benchmarks/scaling.py --photos lucy-folder --sizes 100 1000 10000

The photos are drawn from those of PHOTOS, as for growth.py. The nodes are processes of their own on this computer, each
pinned to one core, beside the notebook's process; so it needs Linux and two cores. Writes models/scaling.json and
models/scaling.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from benchmark import frozen_network, machine, timed
from growth import draw_photos

from phototransfer.files import MODELS, atomic_write, write_json

#: By name: the cores of this computer that the child may use, and the core of each node.
WAYS: dict[str, tuple[list[int], list[int]]] = {
    "here, one core": ([0], []),
    "one node": ([0, 1], [0]),
    "here, two cores": ([0, 1], []),
    "two nodes": ([0, 1], [0, 1]),
}
PORT = 6399
STAGES = ("read", "rest of preparing", "features")


def main() -> None:
    """Time each way for each number of photos, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, in any subfolders")
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "sizes": {}}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="scaling-") as scratch:
            photos = Path(scratch) / "photos"
            draw_photos(arguments.photos, photos, size, 2)
            result["sizes"][size] = {name: measure(name, photos, Path(scratch)) for name in arguments.ways}
        write_json(MODELS / "scaling.json", result)
    with atomic_write(MODELS / "scaling.md") as partial_file:
        partial_file.write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


def measure(name: str, photos: Path, scratch: Path) -> dict[str, float]:
    """Return the seconds of each stage, in a new process."""
    cores, nodes = WAYS[name]
    home = scratch / name.replace(" ", "-")
    home.mkdir()
    with ExitStack() as stack:
        for number, core in enumerate(nodes):
            stack.enter_context(started_node(core, head=number == 0))
        command = [sys.executable, __file__, "--child", photos, home, "auto" if nodes else "", json.dumps(cores)]
        environment = {"RAY_ADDRESS": f"127.0.0.1:{PORT}", "RAY_AUTH_MODE": "disabled"} if nodes else {}
        os.environ.update(environment)
        measured = timed(command, scratch)
        os.environ.pop("RAY_ADDRESS", None)
    return dict(json.loads(measured["last_line"]))


@contextmanager
def started_node(core: int, *, head: bool) -> Iterator[None]:
    """Run a node on one core; starting it there would take longer than Ray waits."""
    place = ["--head", f"--port={PORT}", "--include-dashboard=false"] if head else [f"--address=127.0.0.1:{PORT}"]
    command = [str(Path(sys.executable).with_name("ray")), "start", *place, "--num-cpus=1", "--block"]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    node = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = []
    for line in node.stdout or ():
        said.append(line)
        if "block forever" in line:
            break
    else:
        raise SystemExit("A node could not be started:\n" + "".join(said))
    try:
        for process in [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]:
            for thread in process.threads():
                os.sched_setaffinity(thread.id, [core])  # what they start later is on it too
        yield
    finally:
        node.terminate()
        node.wait(30)


def child(photos: str, home: str, cluster: str, cores: str) -> None:
    """Read and prepare photos, compute their features, and print the seconds of each."""
    os.sched_setaffinity(0, json.loads(cores))
    from phototransfer.network import extract
    from phototransfer.photos import prepare
    from phototransfer.photos.sources import Source
    from phototransfer.photos.store import Store

    setting, seconds = cluster or None, {}
    source = Source("scaling", Path(photos), Path(home))
    originals = sorted(path.relative_to(photos).as_posix() for path in Path(photos).rglob("*.jpg"))
    if setting:
        import ray

        from phototransfer.cluster import connect

        connect(setting)
        print(len([node for node in ray.nodes() if node["Alive"]]), "nodes")
    (source.home / "prepared").mkdir()
    began = time.perf_counter()
    Store(source.folder, source.home / "prepared", setting).update(originals)
    seconds["read"] = time.perf_counter() - began
    began = time.perf_counter()
    prepared = prepare(source, val_split=0.2, test_split=0.2, seed=42, cluster=setting)
    seconds["rest of preparing"] = time.perf_counter() - began
    extractor = frozen_network("EfficientNetLite0", "imagenet")
    began = time.perf_counter()
    extract(prepared.photos, extractor, prepared.cache, cluster=setting)
    seconds["features"] = time.perf_counter() - began
    print(json.dumps({name: round(value, 1) for name, value in seconds.items()}))


def as_markdown(result: dict[str, Any]) -> str:
    """Return a row for each number of photos and way: seconds, photos a second, and against the other ways."""
    lines = [
        f"{result['machine']}. EfficientNetLite0. Starting the processes of the nodes is counted.",
        "",
        "| photos | where | read, s | rest of preparing, s | features, s | photos per second |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for size, ways in result["sizes"].items():
        for name, seconds in ways.items():
            rate = int(size) / (seconds["read"] + seconds["features"])
            cells = " | ".join(f"{seconds[stage]:.1f}" for stage in STAGES)
            lines.append(f"| {int(size):,} | {name} | {cells} | {rate:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
