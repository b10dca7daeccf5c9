"""Seconds and peak memory of all that follows the features, on a table of very many made rows.

    python benchmarks/rows.py --rows 1000000      the cells of the notebook from the duplicates on
    python benchmarks/rows.py --recall 50000      the approximate search for duplicates against the exact one

The rows are drawn: features (1,280 numbers, as EfficientNetLite0 gives) that are mixtures of prototypes, and a picture
of 64 × 64 pixels for each. One row in fifty is a near copy of another one. A million rows need 16 GB of disk in the
temporary folder. Left out are the cells that a made feature does not fit, and that look at a fixed number of photos:
Grad-CAM, the saved model, new photos. Writes models/rows.json and models/rows.md.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
from benchmark import machine, timed
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from phototransfer.files import MODELS, atomic_write, read_json, write_json
from phototransfer.paths import NOTEBOOK

D, PROTOTYPES, COPIES, SIDE = 1280, 2000, 0.02, 64
CLASSES = ["a", "b"]
PER_FILE = 10_000
EPOCHS = 1  # the head takes minutes for each, with a million rows
LEFT_OUT = ("Photos", "Classes and splits", "The same folders in Keras", "Each photo once", "Grad-CAM")
LAST = "9. Save it, use it"


def main() -> None:
    """Run the children, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[])
    parser.add_argument("--recall", nargs="*", type=int, default=[])
    parser.add_argument("--without-duplicates", action="store_true", help="leave out their search")
    parser.add_argument("--scratch", type=Path, help="folder that the rows are kept in, to be used again")
    arguments = parser.parse_args()
    result: dict[str, Any] = read_json(MODELS / "rows.json") or {"rows": {}, "recall": {}}
    result["machine"] = machine()
    for mode, sizes in (("rows", arguments.rows), ("recall", arguments.recall)):
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="rows-", dir=arguments.scratch) as scratch:
                folder = arguments.scratch / f"rows-{size}" if arguments.scratch else Path(scratch) / "rows"
                make_rows(size, folder)
                project = Path(scratch) / "project"
                (project / "data").mkdir(parents=True)
                measured = timed(
                    [sys.executable, __file__, "--child", mode, folder, arguments.without_duplicates], project
                )
                result[mode][str(size)] = json.loads(measured["last_line"])
            write_json(MODELS / "rows.json", result)
    with atomic_write(MODELS / "rows.md") as partial:
        partial.write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


def make_rows(count: int, folder: Path) -> None:
    """Write pictures, the table of photos and the files of features; does nothing if they are there."""
    if (folder / "photos.csv").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    source = np.arange(count)
    copied = np.flatnonzero(rng.random(count) < COPIES)
    source[copied] = rng.integers(0, count, len(copied))
    source = source[source]  # a copy of a copy is one of the first
    label = np.array(CLASSES)[source % 2]
    with ProcessPoolExecutor() as processes:
        parts = [range(start, min(start + PER_FILE, count)) for start in range(0, count, PER_FILE)]
        list(processes.map(make_part, [folder] * len(parts), parts, [source[list(part)] for part in parts]))
    split = rng.choice(["train", "val", "test"], count, p=[0.64, 0.16, 0.2])
    table = pd.DataFrame(
        {
            "path": [str(picture(folder, row)) for row in range(count)],
            "original": [f"{name}/{row}.jpg" for row, name in enumerate(label)],
            "label": label,
            "split": split,
            "width": rng.integers(600, 680, count),
            "height": 480,
            "bytes": rng.integers(30_000, 60_000, count),
            "format": "JPEG",
            "camera": rng.choice(["one", "two", "three"], count),
            "phash": [f"{number:016x}" for number in range(count)],
            "digest": [f"{number:064d}" for number in range(count)],
            "group": np.arange(count),
            "source": source,
        }
    )
    order = pd.Categorical(table["split"], ["train", "val", "test"])
    table = table.assign(order=order).sort_values(["order", "label", "path"], ignore_index=True).drop(columns="order")
    table.to_csv(folder / "photos.csv", index=False)


def picture(folder: Path, row: int) -> Path:
    """Return where the picture of a row is."""
    return folder / "pictures" / f"{row // PER_FILE}" / f"{row}.jpg"


def make_part(folder: Path, rows: range, source: np.ndarray) -> None:
    """Write pictures and features of some rows, each by the number of what it is a copy of."""
    from phototransfer.network.feature_table import FeatureTable
    from phototransfer.network.views import BACKGROUND, PLAIN

    prototypes = np.random.default_rng(1).gamma(0.3, 1.0, (PROTOTYPES, D)).astype(np.float32)
    direction = np.random.default_rng(2).standard_normal(D).astype(np.float32)
    tables = [FeatureTable(view, folder / "features" / view.name) for view in (PLAIN, BACKGROUND)]
    picture(folder, rows[0]).parent.mkdir(parents=True, exist_ok=True)
    for row, first in zip(rows, source.tolist(), strict=True):
        of_first, own = np.random.default_rng([3, first]), np.random.default_rng([4, row])
        chosen, shares = of_first.integers(0, PROTOTYPES, 3), of_first.dirichlet([0.7, 0.7, 0.7]).astype(np.float32)
        features = shares @ prototypes[chosen] + 0.05 * of_first.standard_normal(D, np.float32)
        features += 0.04 * (1 if first % 2 else -1) * direction
        small = of_first.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.float32)
        if first != row:
            features += 0.03 * own.standard_normal(D, np.float32)
            pixels = pixels * own.uniform(0.9, 1.1) + own.normal(0, 3, pixels.shape)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(picture(folder, row), quality=85)
        digest = f"{row:064d}"
        tables[0].new[digest] = features
        tables[1].new[digest] = features + 0.3 * own.standard_normal(D, np.float32)
    for table in tables:
        table.save()


def load_rows(folder: Path) -> tuple[pd.DataFrame, Any]:
    """Return the table of photos, and their features."""
    from phototransfer.network.feature_rows import stack
    from phototransfer.network.feature_table import FeatureTable
    from phototransfer.network.features import Features
    from phototransfer.network.views import BACKGROUND, PLAIN

    text = dict.fromkeys(["path", "original", "label", "split", "format", "camera", "phash", "digest"], str)
    photos = pd.read_csv(folder / "photos.csv", dtype=text).assign(taken=pd.NaT)

    def of_view(view: Any) -> Any:
        return FeatureTable(view, folder / "features" / view.name).features(photos["digest"])

    plain = of_view(PLAIN)
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    embed: Callable[..., Any] = lambda pictures: np.zeros((len(pictures), D), np.float32)  # noqa: E731
    augmented = stack([], plain.shape)
    return photos, Features(plain, augmented, lambda: of_view(BACKGROUND), embed, network="made", results=results)


class Memory(threading.Thread):
    """Follows the memory of this process and its children: the highest since the last `take`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = self.all = 0

    def run(self) -> None:
        """Look ten times a second."""
        while True:
            own = everything = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                    own += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
                    everything += process.memory_info().rss
                except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                    continue
            self.own, self.all = max(self.own, own), max(self.all, everything)
            time.sleep(0.1)

    def take(self) -> dict[str, int]:
        """Return the highest so far in MB, and begin again."""
        peak = {"own_mb": self.own >> 20, "all_mb": self.all >> 20}
        self.own = self.all = 0
        return peak


def run_cells(folder: Path, without_duplicates: bool) -> dict[str, Any]:
    """Run the notebook's cells, and return seconds and memory by heading."""
    from phototransfer import audit
    from phototransfer.report import Skipped

    if without_duplicates:
        audit.find_duplicates = lambda *_: Skipped("duplicates", "Not searched in this measurement.")
    os.environ["PHOTOTRANSFER_RUN_NAME_FILE"] = os.devnull  # figures are saved, not shown
    os.environ["MPLBACKEND"] = "Agg"
    InteractiveShell.instance(user_ns={})
    photos, features = load_rows(folder)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    memory, stages, heading = Memory(), {}, ""
    memory.start()
    for cell in read_json(NOTEBOOK)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            titles = [line.lstrip("# ") for line in source.splitlines() if line.startswith("#")]
            heading = titles[0] if titles else heading
            if heading == LAST:
                break
            continue
        if "load_backbone" not in source and any(heading.endswith(name) for name in LEFT_OUT):
            continue
        if "DATASET =" in source:
            source += '\nBACKBONE, WEIGHTS, RUN, DATASET = "EfficientNetLite0", None, "rows", "sample"\n'
            source += f"EPOCHS = {EPOCHS}\n"
        began = time.perf_counter()
        if "find_duplicates" in source:
            folders = SimpleNamespace(random_splits=[], corrections=None)
            namespace |= {"photos": photos, "features": features, "classes": CLASSES, "prepared": folders}
        exec(source, namespace)
        seconds = time.perf_counter() - began
        stage = stages.setdefault(heading, {"seconds": 0.0, "own_mb": 0, "all_mb": 0})
        stage["seconds"] = round(stage["seconds"] + seconds, 1)
        for name, peak in memory.take().items():
            stage[name] = max(stage[name], peak)
        print(f"{heading}: {stage}", flush=True)
    scores = namespace["report"].metrics()
    return {
        "stages": stages,
        **({} if without_duplicates else count_copies(photos, namespace["duplicates"].pairs)),
        "accuracy": scores["accuracy"].get("test"),
        "cross_validation": (scores["cross_validation"] or {}).get("ci95"),
        "states": scores["states"],
    }


def count_copies(photos: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    """Return the share of the drawn copies that are in pairs, and the number of pairs that are none."""
    planted = photos["source"].map(photos.groupby("source").size()) > 1
    in_pairs = np.zeros(len(photos), dtype=bool)
    in_pairs[pairs[["a", "b"]].to_numpy().ravel()] = True
    first, second = (photos["source"].to_numpy()[pairs[name]] for name in ("a", "b"))
    return {"copies_found": float(in_pairs[planted].mean()), "false_copies": int((first != second).sum())}


def compare_searches(folder: Path, _: bool) -> dict[str, Any]:
    """Return which share of the pairs that are confirmed after an exact search an approximate one finds."""
    from phototransfer.audit import candidates, duplicates

    photos, features = load_rows(folder)
    settings = {"CHECKS": True, "DUPLICATES": "keep"}
    found, seconds = {}, {}
    for name, most in (("exact", len(photos)), ("approximate", 0)):
        candidates.MOST_EXACT = duplicates.MOST_EXACT = most
        began = time.perf_counter()
        pairs = duplicates.find_duplicates(photos, features, settings).pairs
        seconds[name] = round(time.perf_counter() - began, 1)
        found[name] = set(zip(pairs["a"], pairs["b"], strict=True))
    both = found["exact"] & found["approximate"]
    return {
        "exact": len(found["exact"]),
        "approximate": len(found["approximate"]),
        "recall": len(both) / max(1, len(found["exact"])),
        "seconds": seconds,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """Return a table by stage: seconds, memory of its own, and with the pages of files that are mapped."""
    lines = [f"{result['machine']}. Features of {D} numbers."]
    for size, measured in result["rows"].items():
        lines += [
            "",
            f"{int(size):,} rows",
            "",
            "| | seconds | memory, MB | with mapped files, MB |",
            "|---|---:|---:|---:|",
        ]
        for name, stage in measured["stages"].items():
            if stage["seconds"] >= 0.5:
                lines.append(f"| {name} | {stage['seconds']:.1f} | {stage['own_mb']:,} | {stage['all_mb']:,} |")
        total = sum(stage["seconds"] for stage in measured["stages"].values())
        peaks = [max(stage[name] for stage in measured["stages"].values()) for name in ("own_mb", "all_mb")]
        lines.append(f"| **all** | {total:.0f} | {peaks[0]:,} | {peaks[1]:,} |")
        if "copies_found" in measured:
            lines += ["", f"Copies found: {measured['copies_found']:.4f}, others: {measured['false_copies']}."]
    for size, measured in result["recall"].items():
        lines += ["", f"{int(size):,} rows, search: {json.dumps(measured)}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run = {"rows": run_cells, "recall": compare_searches}[sys.argv[2]]
        print(json.dumps(run(Path(sys.argv[3]), sys.argv[4] == "True")))
    else:
        main()
