"""The notebook as its user runs it: one command, on photos made here, in a folder of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from phototransfer.settings import EXPORT_FORMATS

QUICK = {"BACKBONE": "EfficientNetLite0", "EPOCHS": 2}
SCORE_ONLY = {"CHECKS": False, "FIGURES": False, "CV_FOLDS": 0}


def make_photos(folder: Path, classes: dict[str, int], seed: int = 0, striped: bool = True) -> None:
    """Write photos with one texture per class (`striped`), which a frozen network can distinguish."""
    rng = np.random.default_rng(seed)
    for number, (label, count) in enumerate(classes.items()):
        (folder / label).mkdir(parents=True)
        for photo in range(count):
            size = 6 if striped else 16  # duplicates are found by their edges, and the stripes are the same in all
            coarse = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
            pixels = np.asarray(Image.fromarray(coarse).resize((260, 240), Image.Resampling.BICUBIC)).copy()
            if striped:
                pixels[:: 6 + 8 * number, :, number % 3] = 255
            Image.fromarray(pixels).save(folder / label / f"{photo}.jpg")


class Project:
    """A folder with its own data/ and models/, and the command that is run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.models = folder, folder / "models"
        (folder / "data").mkdir()
        self.models.mkdir()
        self.environment = os.environ | {"PHOTOTRANSFER_HOME": str(folder)}

    def command(self, **settings) -> list[str]:
        options = [option for name, value in settings.items() for option in ("-y", json.dumps({name: value}))]
        return [sys.executable, "-m", "phototransfer.run", *options]

    def run(self, *, check: bool = True, **settings) -> subprocess.CompletedProcess:
        done = subprocess.run(
            self.command(**settings),
            capture_output=True,
            text=True,
            timeout=500,
            cwd=self.folder,
            env=self.environment,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def kill_after(self, seconds: float, **settings) -> bool:
        """Start a run, kill -9 it and its kernel; return whether there was something to kill."""
        nowhere = subprocess.DEVNULL
        process = psutil.Popen(
            self.command(**settings), stdout=nowhere, stderr=nowhere, cwd=self.folder, env=self.environment
        )
        time.sleep(seconds)
        running = process.poll() is None
        for one in [*process.children(recursive=True), process] if running else []:
            one.kill()
        process.wait()
        return running

    def metrics(self, run: str) -> dict:
        return json.loads((self.models / run / "metrics.json").read_text())

    def predictions(self, run: str) -> pd.DataFrame:
        return pd.read_csv(self.models / run / "predictions.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("pro ject ü"))
    photos = project.folder / "photos"
    make_photos(photos / "pets", {"cat": 14, "dog <b>": 22, "cow": 2})
    make_photos(photos / "duplicated" / "train", {"cat": 16, "dog": 16}, striped=False)
    make_photos(photos / "duplicated" / "test", {"cat": 12, "dog": 12}, 1, striped=False)
    for name in ("cat/0.jpg", "dog/3.jpg", "dog/4.jpg"):
        with Image.open(photos / "duplicated" / "train" / name) as photo:
            duplicate = photos / "duplicated" / "test" / name.replace("/", "/holiday-")
            photo.resize((220, 203)).save(duplicate, quality=60)
    (photos / "pets" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (photos / "pets" / "notes.txt").write_text("not a photo")
    return project


@pytest.fixture(scope="module")
def first(project):
    """A first run on class folders with everything on that is on by default."""
    return project.run(DATASET="photos/pets", RUN="first", CV_FOLDS=2, **QUICK)


def test_the_last_lines_have_the_score_the_verdicts_and_the_report(first, project):
    metrics = project.metrics("first")
    correct, total = metrics["accuracy"]["test_correct"], metrics["photos"]["test"]
    last = " ".join(" ".join(first.stdout.splitlines()[-30:]).split())
    report = (project.models / "first" / "report.html").read_text()
    assert f"{correct} of {total} correct" in last
    assert {"leaks", "shortcuts", "shift"} <= set(metrics["verdict"]) == set(metrics["states"])
    assert all(line in last for line in metrics["verdict"].values())
    first_words = " ".join(metrics["conclusion"][0].split()[:6])
    assert first_words in last and 0 < report.index(first_words) < report.index('<h1 id="Transfer-learning')
    assert first.stdout.splitlines()[-1].endswith("models/first/report.html")
    assert first.stderr == ""


def test_a_run_leaves_the_files_of_the_design(first, project):
    folder = project.models / "first"
    names = {path.name for path in folder.iterdir()}
    expected = {"model.keras", "labels.json", "history.csv", "predictions.csv", "metrics.json", "figures"}
    assert expected | {"notebook.ipynb", "report.html"} <= names
    assert not [name for name in names if "partial" in name]
    assert not [path for path in project.models.iterdir() if "partial" in path.name]
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png"}
    lines = (project.models / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines].count("first") == 1


def test_every_file_is_accounted_for(first, project):
    metrics = project.metrics("first")
    assert metrics["photos"] == {"found": 40, "used": 36, "skipped": 4, "train": 22, "val": 7, "test": 7}
    assert list(metrics["left_out"]) == ["cow"]
    skipped = pd.read_csv(project.folder / "data" / "pets" / "skipped.csv")
    assert sorted(skipped["original"]) == ["cat/broken.jpg", "cow/0.jpg", "cow/1.jpg", "notes.txt"]


def test_numbers_come_from_the_predictions(first, project):
    metrics, photos = project.metrics("first"), project.predictions("first")
    assert (photos["correct"] == (photos["label"] == photos["predicted"])).all()
    for name in ("train", "val", "test"):
        assert metrics["accuracy"][name] == pytest.approx(photos.loc[photos["split"] == name, "correct"].mean())
    assert not photos["path"].str.startswith("/").any()
    assert all((project.folder / path).is_file() for path in photos["path"])


def test_names_never_reach_the_report_as_html(first, project):
    report = (project.models / "first" / "report.html").read_text()
    assert "dog &lt;b&gt;" in report or "dog _b_" in report
    assert "dog <b>" not in report


def test_the_saved_model_gives_the_predictions_of_the_table(first, project):
    from phototransfer.network import classify, load_run

    model, classes = load_run(project.models / "first")
    for row in project.predictions("first").tail(7).itertuples():
        with Image.open(project.folder / row.path) as prepared:
            probabilities = np.asarray(model(np.asarray(prepared)[None]))[0]
        assert classes[probabilities.argmax()] == row.predicted
        assert probabilities.max() == pytest.approx(row.probability, abs=0.02)  # resized by Keras instead of Pillow
        original = project.folder / "photos" / "pets" / row.original
        [answer] = classify(model, classes, original).to_dict("records")
        with Image.open(original) as photo:
            alone = np.asarray(model(np.asarray(photo)[None]))[0]
        assert (answer["label"], answer["probability"]) == (classes[alone.argmax()], pytest.approx(alone.max()))
    saved = project.metrics("first")["saved_model"]
    assert saved["photos"] == 7 and saved["same"] >= 6


def test_everything_that_is_on_is_computed_and_drawn(first, project):
    metrics = project.metrics("first")
    assert metrics["cross_validation"]["folds"] == 2
    names = ("comparison_of_heads", "learning_curve", "grad_cam", "shift", "shortcuts", "shortcut_effects", "macro")
    assert all(metrics[name] for name in names)
    assert metrics["outdated"] == []
    drawn = {path.stem for path in (project.models / "first" / "figures").iterdir()}
    assert {"photos", "head", "confusion", "ranking", "predictions", "shortcuts", "grad_cam"} <= drawn
    assert {"cross_validation", "comparison_of_heads", "learning_curve"} <= drawn
    assert {"prepare", "features", "head", "total"} <= set(metrics["seconds"])


def test_another_head_computes_no_features_and_what_is_off_is_null(first, project):
    stores = list((project.folder / "data" / "pets" / "features").glob("EfficientNetLite0*/*.npy"))
    assert len(stores) == 2  # the photos as they are, and without their middle
    written = [store.stat().st_mtime_ns for store in stores]
    done = project.run(DATASET="pets", RUN="second", HEAD=[16], **QUICK, **SCORE_ONLY)  # its name alone is enough now
    assert "Preparing" not in done.stdout and "EfficientNetLite0 features" not in done.stdout
    assert [store.stat().st_mtime_ns for store in stores] == written
    metrics = project.metrics("second")
    assert metrics["settings"]["HEAD"] == [16]
    names = ("leaks", "shortcuts", "shift", "cross_validation", "comparison_of_heads", "learning_curve", "grad_cam")
    assert {name: metrics[name] for name in names} == dict.fromkeys(names)
    assert set(metrics["states"].values()) == {"not checked"}
    assert (
        done.stdout.count("CHECKS = False") >= 4 and "CV_FOLDS = 0" in done.stdout and "TUNE_TRIALS = 0" in done.stdout
    )
    assert list((project.models / "second" / "figures").iterdir()) == []
    lines = (project.models / "runs.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["run"] == "second"


@pytest.mark.slow
def test_duplicates_are_dropped_on_demand(project):
    run_settings = {"FIGURES": False, "CV_FOLDS": 0, "DUPLICATES": "drop"}
    project.run(DATASET="photos/duplicated", RUN="dropped", **run_settings, **QUICK)
    metrics, photos = project.metrics("dropped"), project.predictions("dropped")
    assert metrics["leaks"]["pairs"] == 3
    assert (photos["split"] == "dropped").sum() == 3
    assert (photos.loc[photos["split"] == "test", "duplicate_of"] == "").all()
    assert metrics["accuracy"]["test_without_leaks"] == metrics["accuracy"]["test"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone, size", [("ResNet50", 224), ("InceptionV3", 299)])
def test_networks_of_the_published_projects_run_end_to_end(project, backbone, size):
    settings = SCORE_ONLY | {"BACKBONE": backbone, "WEIGHTS": None, "EPOCHS": 1}
    done = project.run(DATASET="photos/pets", **settings)
    assert "random weights" in done.stdout.lower()
    [folder] = [folder for folder in project.models.iterdir() if folder.name.startswith(f"pets-{backbone}-")]
    metrics = project.metrics(folder.name)
    assert (metrics["backbone"], metrics["weights"], metrics["image_size"]) == (backbone, None, size)


def test_a_setting_that_does_not_exist_lists_those_that_do(project):
    done = project.run(check=False, EPOCH=3)
    assert done.returncode == 2
    assert "No such setting: EPOCH" in done.stderr and "EPOCHS" in done.stderr
    assert not [folder for folder in project.models.iterdir() if folder.name.startswith("sample")]


def test_a_run_that_stops_says_why_in_its_last_lines(project):
    make_photos(project.folder / "photos" / "one", {"cat": 5})
    done = project.run(check=False, DATASET="photos/one", RUN="stopped")
    assert done.returncode == 1
    assert "cat: 5 photos" in done.stderr
    assert (project.models / "stopped" / "report.html").is_file()
    assert not (project.models / "stopped" / "metrics.json").exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(project):
    for name in ("once", "twice"):
        project.run(DATASET="photos/pets", RUN=name, CV_FOLDS=2, FIGURES=False, **QUICK)
    once, twice = project.metrics("once"), project.metrics("twice")
    for metrics in (once, twice):
        del metrics["run"], metrics["seconds"], metrics["settings"]["RUN"], metrics["features"]
    assert once == twice


@pytest.mark.slow
def test_a_run_that_was_killed_ends_like_an_undisturbed_one(project):
    for name in ("calm", "killed"):
        make_photos(project.folder / "photos" / name, {"cat": 14, "dog": 14}, 5)
    settings = {"CV_FOLDS": 2, "FIGURES": False, "TUNE_TRIALS": 2, **QUICK}
    began = time.monotonic()
    project.run(DATASET="photos/calm", RUN="calm", **settings)
    undisturbed = time.monotonic() - began
    moments = np.random.default_rng().uniform(0.2, 0.95, 6) * undisturbed
    killed = [project.kill_after(moment, DATASET="photos/killed", RUN="killed", **settings) for moment in moments]
    assert sum(killed) >= 3
    project.run(DATASET="photos/killed", RUN="killed", **settings)
    calm, disturbed = project.metrics("calm"), project.metrics("killed")
    for metrics in (calm, disturbed):
        del metrics["run"], metrics["dataset"], metrics["seconds"], metrics["tuning"]["trial_seconds"]
        del metrics["settings"]["RUN"], metrics["settings"]["DATASET"], metrics["features"]
    assert calm == disturbed


@pytest.mark.slow
def test_fine_tuning_search_and_augmentations_run_end_to_end(project):
    settings = {"FINE_TUNE_LAYERS": 5, "TUNE_TRIALS": 2, "AUGMENTATIONS": 1, "RUN": "all", "CV_FOLDS": 2}
    settings["EXPORT"] = list(EXPORT_FORMATS)
    project.run(DATASET="photos/pets", **settings, **QUICK)
    metrics = project.metrics("all")
    exports = metrics["exports"]["formats"]
    assert {name: one["problem"] for name, one in exports.items()} == dict.fromkeys(EXPORT_FORMATS, "")
    assert metrics["tuning"]["trials"] == 2 and metrics["fine_tuning"]["epochs"] >= 1
    history = pd.read_csv(project.models / "all" / "history.csv")
    assert set(history["phase"]) == {"head", "fine-tuning"}
    assert len(list((project.folder / "data" / "pets" / "features").glob("*augmented1*"))) == 1


@pytest.mark.slow
def test_the_notebook_runs_from_any_folder_without_the_command(project, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    from phototransfer.run import NOTEBOOK

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings = SCORE_ONLY | QUICK | {"DATASET": str(project.folder / "photos" / "pets"), "RUN": "elsewhere"}
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in settings.items())
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=project.environment)
    assert project.metrics("elsewhere")["photos"]["used"] == 36


@pytest.mark.slow
def test_two_classes_of_three_photos_run_to_the_end(project):
    make_photos(project.folder / "photos" / "three", {"cat": 3, "dog": 3})
    project.run(DATASET="photos/three", RUN="three", **QUICK)
    metrics = project.metrics("three")
    assert metrics["photos"]["test"] == 2 and (project.models / "three" / "model.keras").is_file()
    assert {"comparison_of_heads", "learning_curve"} <= set(metrics["not_computed"])
    assert "nothing found" not in (metrics["verdict"]["shortcuts"], metrics["verdict"]["shift"])
