"""Seconds and peak memory of each section of the notebook by the number of photos and of classes, with everything on.

    python benchmarks/growth.py --photos lucy-folder                            all sizes: an hour
    python benchmarks/growth.py --photos lucy-folder --sizes 100x2 1000x20      100 photos of 2 classes, 1,000 of 20

The photos are drawn from those of PHOTOS. Each size is run in a new process and a temporary folder. Writes
models/growth.json and models/growth.md.
"""

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from benchmark import machine, timed
from PIL import Image

from phototransfer.files import MODELS, atomic_write, read_json, write_json

SIZES = ["100x2", "1000x2", "10000x2", "1000x20", "10000x20", "10000x200"]
SIDES = (640, 480)


def main() -> None:
    """Run the notebook on each size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, in any subfolders")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="PHOTOSxCLASSES")
    parser.add_argument("--backbone", default="EfficientNetLite0")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "backbone": arguments.backbone, "sizes": {}}
    for size in arguments.sizes:
        result["sizes"][size] = grow(arguments.photos, *map(int, size.split("x")), backbone=arguments.backbone)
        write_json(MODELS / "growth.json", result)
    with atomic_write(MODELS / "growth.md") as partial:
        partial.write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))


def grow(photos: Path, number: int, classes: int, *, backbone: str) -> dict[str, Any]:
    """Run the notebook on `number` drawn photos; seconds and peak memory in MB, of all and by section."""
    with tempfile.TemporaryDirectory(prefix="growth-") as scratch:
        folder, project = Path(scratch) / "photos", Path(scratch) / "project"
        (project / "data").mkdir(parents=True)
        draw_photos(photos, folder, number, classes)
        settings = {"DATASET": str(folder), "BACKBONE": backbone, "RUN": "grown"}
        memory: list[tuple[float, int]] = []
        measured = timed([sys.executable, "-m", "phototransfer.run", "-y", json.dumps(settings)], project, memory)
        run = project / "models" / "grown"
        metrics = read_json(run / "metrics.json")
        sections = by_section(read_json(run / "notebook.ipynb"), memory)
        del measured["last_line"]
        return {**measured, "used": metrics["photos"]["used"], "sections": sections}


def by_section(notebook: dict[str, Any], memory: list[tuple[float, int]]) -> dict[str, dict[str, float]]:
    """Return seconds and peak memory in MB of the code cells below each heading; memory: (time, bytes) pairs."""
    sections: dict[str, dict[str, float]] = {}
    heading = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            titles = [line.lstrip("# ") for line in "".join(cell["source"]).splitlines() if line.startswith("#")]
            heading = titles[0] if titles else heading
            continue
        times = cell["metadata"].get("papermill", {})
        if not times.get("end_time"):
            continue
        began, ended = (datetime.fromisoformat(times[name]).timestamp() for name in ("start_time", "end_time"))
        section = sections.setdefault(heading, {"seconds": 0.0, "peak_mb": 0})
        section["seconds"] = round(section["seconds"] + ended - began, 2)
        seen = [size for when, size in memory if began <= when <= ended]
        section["peak_mb"] = max([section["peak_mb"], *(round(size / 2**20) for size in seen)])
    return sections


def draw_photos(photos: Path, folder: Path, number: int, classes: int) -> None:
    """Write different photos in folders of classes: means of two crops, with a tint of the class and noise.

    Photos with noise alone would be near-duplicates. The tint is weak, so that a head has something to learn.
    """
    originals = sorted(path for path in photos.rglob("*.jpg"))
    tints = np.random.default_rng(0).uniform(-25, 25, (classes, 1, 1, 3))

    def crop(rng: np.random.Generator) -> np.ndarray:
        with Image.open(originals[rng.integers(len(originals))]) as picture:
            picture.draft("RGB", (1600, 1600))
            left, top = rng.uniform(0, 0.5, 2) * picture.size
            right, bottom = (np.array([left, top]) + rng.uniform(0.3, 0.5, 2) * picture.size).tolist()
            return np.asarray(picture.convert("RGB").resize(SIDES, box=(left, top, right, bottom)), np.float32)

    def write(place: int) -> None:
        rng = np.random.default_rng(place)
        label = place % classes
        pixels = (crop(rng) + crop(rng)) / 2 + tints[label] + rng.integers(-12, 13, (*SIDES[::-1], 1))
        target = folder / f"class {label:03}" / f"{place}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target, quality=90)

    for label in range(classes):
        (folder / f"class {label:03}").mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(write, range(number)))


def as_markdown(result: dict[str, Any]) -> str:
    """Return a table of the sections that take more than a second anywhere: seconds and peak memory."""
    sizes = result["sizes"]
    titles = [f"{int(photos):,} photos, {classes} classes" for photos, classes in (size.split("x") for size in sizes)]
    lines = [
        f"{result['machine']}. {result['backbone']}, everything on. Seconds, and peak memory in MB.",
        "",
        f"| | {' | '.join(titles)} |",
        f"|---|{'---:|' * len(sizes)}",
    ]
    headings = dict.fromkeys(heading for grown in sizes.values() for heading in grown["sections"])
    for heading in headings:
        parts = [grown["sections"].get(heading, {"seconds": 0.0, "peak_mb": 0}) for grown in sizes.values()]
        if max(part["seconds"] for part in parts) >= 1:
            cells = " | ".join(f"{part['seconds']:.1f} ({part['peak_mb']:,})" for part in parts)
            lines.append(f"| {heading} | {cells} |")
    total = " | ".join(f"{grown['seconds']:.0f} ({grown['peak_mb']:,})" for grown in sizes.values())
    lines.append(f"| **all** | {total} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
