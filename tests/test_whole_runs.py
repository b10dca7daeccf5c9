"""The notebook as its user runs it: one command, from a copy of the project, on photos made here."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["-p", "BACKBONE", "EfficientNetLite0", "-p", "EPOCHS", "2"]
SCORE_ONLY = ["-p", "AUDIT", "False", "-p", "FIGURES", "False", "-p", "CV_FOLDS", "0"]


def make_photos(folder: Path, classes: dict[str, int], seed: int = 0, striped: bool = True) -> None:
    """Photos with one texture a class (`striped`): something a frozen network can tell apart and a hash can too."""
    rng = np.random.default_rng(seed)
    for number, (label, count) in enumerate(classes.items()):
        (folder / label).mkdir(parents=True)
        for photo in range(count):
            cells = 6 if striped else 16  # a copy is known by its edges, and stripes are the same in every photo
            coarse = rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((260, 240), Image.Resampling.BICUBIC)
            stripes = np.asarray(picture).copy()
            if striped:
                stripes[:: 6 + 8 * number, :, number % 3] = 255
            Image.fromarray(stripes).save(folder / label / f"{photo}.jpg")


class Project:
    """A copy of the project's own files, so that a test's photos and runs stay out of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=ignored)
        (folder / "data").mkdir()
        (folder / "models").mkdir()
        for file in (ROOT / "data").glob("*.py"):
            shutil.copy(file, folder / "data")
        # Somebody else's module of that name, as it may well lie on a user's PYTHONPATH, must not be taken for ours.
        (folder / "elsewhere").mkdir()
        (folder / "elsewhere" / "helpers.py").write_text("raise ImportError('not these helpers')")
        self.environment = os.environ | {"PYTHONPATH": str(folder / "elsewhere")}

    def run(self, *options: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(self.folder / "notebooks" / "run.py"), *options]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=500, cwd=self.folder, env=self.environment
        )

    def kill_after(self, seconds: float, *options: str) -> bool:
        """Start a run and kill -9 it and its kernel; whether there still was something to kill."""
        command = [sys.executable, str(self.folder / "notebooks" / "run.py"), *options]
        nowhere = subprocess.DEVNULL
        process = psutil.Popen(command, stdout=nowhere, stderr=nowhere, cwd=self.folder, env=self.environment)
        time.sleep(seconds)
        running = process.poll() is None
        for one in [*process.children(recursive=True), process] if running else []:
            one.kill()
        process.wait()
        return running

    def metrics(self, name: str) -> dict:
        return json.loads((self.folder / "models" / name / "metrics.json").read_text())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("pro ject ü"))
    make_photos(project.folder / "photos" / "pets", {"cat": 14, "dog <b>": 22, "cow": 2})
    make_photos(project.folder / "photos" / "leaky" / "train", {"cat": 16, "dog": 16}, striped=False)
    make_photos(project.folder / "photos" / "leaky" / "test", {"cat": 12, "dog": 12}, 1, striped=False)
    for name in ("cat/0.jpg", "dog/3.jpg", "dog/4.jpg"):
        with Image.open(project.folder / "photos" / "leaky" / "train" / name) as photo:
            renamed = project.folder / "photos" / "leaky" / "test" / name.replace("/", "/holiday-")
            photo.resize((220, 203)).save(renamed, quality=60)
    (project.folder / "photos" / "pets" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (project.folder / "photos" / "pets" / "notes.txt").write_text("not a photo")
    return project


@pytest.fixture(scope="module")
def first(project):
    """A first run on class folders with a packaged backbone, everything on that is on by default."""
    done = project.run("-p", "DATASET", "photos/pets", "-p", "RUN", "first", "-p", "CV_FOLDS", "2", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_says_where_the_report_is_and_what_the_score_was(first, project):
    metrics = project.metrics("first")
    right, of = metrics["accuracy"]["test_right"], metrics["photos"]["test"]
    low, high = metrics["accuracy"]["test_ci95"]
    last = first.stdout.splitlines()[-9:]
    assert f"{right} of {of} right: {right / of:.2f}, 95 % interval {low:.2f} to {high:.2f}" in "\n".join(last)
    assert set(metrics["verdict"]) == {"leaks", "shortcuts", "shift"}
    assert all(line in "\n".join(last) for line in metrics["verdict"].values())
    assert "models/first/report.html" in last[-1]
    assert first.stderr == ""


def test_leaves_what_the_design_says(first, project):
    folder = project.folder / "models" / "first"
    left = {path.name for path in folder.iterdir()}
    expected = {"model.keras", "labels.json", "history.csv", "predictions.csv", "metrics.json", "figures"}
    assert expected | {"notebook.ipynb", "report.html"} <= left
    assert not [name for name in left if "partial" in name]
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png"}
    lines = (project.folder / "models" / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines].count("first") == 1


def test_every_file_is_accounted_for(first, project):
    metrics = project.metrics("first")
    assert metrics["photos"] == {"found": 40, "used": 36, "skipped": 4, "train": 22, "val": 7, "test": 7}
    assert list(metrics["left_out"]) == ["cow"]
    skipped = pd.read_csv(project.folder / "data" / "pets" / "skipped.csv")
    assert sorted(skipped["original"]) == ["cat/broken.jpg", "cow/0.jpg", "cow/1.jpg", "notes.txt"]
    assert "it needs at least 3 different ones" in skipped.set_index("original").loc["cow/0.jpg", "reason"]


def test_figures_come_from_the_predictions(first, project):
    metrics = project.metrics("first")
    photos = pd.read_csv(project.folder / "models" / "first" / "predictions.csv")
    assert (photos["correct"] == (photos["label"] == photos["predicted"])).all()
    for name in ("train", "val", "test"):
        assert metrics["accuracy"][name] == pytest.approx(photos.loc[photos["split"] == name, "correct"].mean())
    assert not photos["path"].str.startswith("/").any()
    assert all((project.folder / path).is_file() for path in photos["path"])


def test_names_never_reach_the_report_as_html(first, project):
    report = (project.folder / "models" / "first" / "report.html").read_text()
    assert "dog &lt;b&gt;" in report or "dog _b_" in report
    assert "dog <b>" not in report


def test_saved_model_takes_raw_photos_and_gives_the_tables_answers(first, project):
    from helpers.classify import classify, load

    model, classes = load(project.folder / "models" / "first")
    photos = pd.read_csv(project.folder / "models" / "first" / "predictions.csv").tail(7)
    for row in photos.itertuples():
        [answer] = classify(model, classes, project.folder / "photos" / "pets" / row.original).to_dict("records")
        assert answer["label"] == row.predicted
        assert answer["probability"] == pytest.approx(row.probability, abs=1e-4)
    folder = classify(model, classes, project.folder / "photos" / "pets" / "cat")
    assert len(folder) == 15
    assert folder.set_index("file").loc["broken.jpg", "reason"] == "damaged: the file is cut short"
    with pytest.raises(FileNotFoundError, match="no such photo or folder"):
        classify(model, classes, project.folder / "nowhere")


def test_saved_model_exports_to_onnx(first, project, tmp_path):
    import onnxruntime

    from helpers.classify import load

    model, _ = load(project.folder / "models" / "first")
    pixels = np.random.default_rng(0).uniform(0, 255, (3, *model.input_shape[1:])).astype("float32")
    expected = model.predict(pixels, verbose=0)
    model.export(str(tmp_path / "model.onnx"), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    [answers] = session.run(None, {session.get_inputs()[0].name: pixels})
    assert len(session.get_inputs()) == 1
    np.testing.assert_allclose(answers, expected, atol=1e-4)


@pytest.mark.parametrize("leaks, leaked", [("report", 3), ("drop", 0)])
def test_leaks_are_found_and_priced(project, leaks, leaked):
    options = ["-p", "LEAKS", leaks, "-p", "RUN", f"leaky-{leaks}", "-p", "CV_FOLDS", "0", "-p", "FIGURES", "False"]
    done = project.run("-p", "DATASET", "photos/leaky", *QUICK, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = project.metrics(f"leaky-{leaks}")
    assert metrics["leaks"] == {"pairs": 3, "test_photos": leaked}
    photos = pd.read_csv(project.folder / "models" / f"leaky-{leaks}" / "predictions.csv", keep_default_na=False)
    test = photos[photos["split"] == "test"]
    clean = test[test["leak_of"] == ""]
    assert len(test) - len(clean) == leaked
    assert metrics["accuracy"]["test_without_leaks"] == pytest.approx(clean["correct"].mean())
    assert "found" in metrics["verdict"]["leaks"]
    assert ("3 of 27 test photos" in metrics["verdict"]["leaks"]) == (leaks == "report")
    assert ("left out of training" in metrics["verdict"]["leaks"]) == (leaks == "drop")


def test_another_head_sees_no_photo_again(first, project):
    stores = list((project.folder / "data" / "pets" / "features").glob("*.npz"))
    assert len(stores) == 2  # the photos as they are, and without their middle
    written = [store.stat().st_mtime_ns for store in stores]
    options = ["-p", "RUN", "second", "-y", "HEAD: [16]", *QUICK, *SCORE_ONLY]
    done = project.run("-p", "DATASET", "pets", *options)  # its name alone is enough by now
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Preparing" not in done.stdout and "EfficientNetLite0 features" not in done.stdout
    assert [store.stat().st_mtime_ns for store in stores] == written
    assert project.metrics("second")["settings"]["HEAD"] == [16]
    lines = (project.folder / "models" / "runs.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["run"] == "second"


def test_what_was_left_out_is_not_guessed(first, project):
    done = project.run("-p", "DATASET", "pets", "-p", "RUN", "bare", *QUICK, *SCORE_ONLY)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = project.metrics("bare")
    for name in ("leaks", "shortcuts", "shift", "cross_validation", "ladder", "learning_curve", "attention", "tuning"):
        assert metrics[name] is None
    assert set(metrics["verdict"].values()) == {"not looked for (AUDIT = False)"}
    assert "nobody looked whether they are in training as well" in done.stdout
    assert list((project.folder / "models" / "bare" / "figures").iterdir()) == []


def test_everything_is_computed_where_it_is_on(first, project):
    metrics = project.metrics("first")
    assert metrics["cross_validation"]["folds"] == 2
    assert len(metrics["ladder"]) > 0 and len(metrics["learning_curve"]) > 0
    assert 0 <= metrics["attention"]["border"] <= 1
    assert "Cross-validated:" in first.stdout and "Would more photos help?" in first.stdout
    drawn = {path.stem for path in (project.folder / "models" / "first" / "figures").iterdir()}
    assert {"photos", "curves", "confusion", "ranking", "predictions", "folds", "ladder", "attention"} <= drawn


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures_twice(first, project):
    for name in ("once", "twice"):
        options = ["-p", "RUN", name, "-p", "CV_FOLDS", "2", "-p", "FIGURES", "False", *QUICK]
        assert project.run("-p", "DATASET", "pets", *options).returncode == 0
    once, twice = project.metrics("once"), project.metrics("twice")
    for metrics in (once, twice):
        del metrics["run"], metrics["seconds"], metrics["settings"]["RUN"]
    assert once == twice


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_like_an_undisturbed_one(project):
    for name in ("calm", "killed"):
        make_photos(project.folder / "photos" / name, {"cat": 14, "dog": 14}, 5)
    options = ["-p", "CV_FOLDS", "2", "-p", "FIGURES", "False", "-p", "TUNE_TRIALS", "2", *QUICK]
    began = time.monotonic()
    assert project.run("-p", "DATASET", "photos/calm", "-p", "RUN", "calm", *options).returncode == 0
    undisturbed = time.monotonic() - began
    again = ["-p", "DATASET", "photos/killed", "-p", "RUN", "killed", *options]
    moments = np.random.default_rng().uniform(0.2, 0.95, 6) * undisturbed
    killed = [project.kill_after(moment, *again) for moment in moments]
    assert sum(killed) >= 3
    assert project.run(*again).returncode == 0
    calm, disturbed = project.metrics("calm"), project.metrics("killed")
    for metrics in (calm, disturbed):
        del metrics["run"], metrics["dataset"], metrics["seconds"], metrics["tuning"]["trial_seconds"]
        del metrics["settings"]["RUN"], metrics["settings"]["DATASET"]
    assert calm == disturbed


@pytest.mark.slow
def test_fine_tuning_tuning_and_augmented_views_run_end_to_end(first, project):
    options = ["-p", "FINE_TUNE_LAYERS", "5", "-p", "TUNE_TRIALS", "2", "-p", "AUGMENT_VIEWS", "1", "-p", "RUN", "all"]
    done = project.run("-p", "DATASET", "pets", "-p", "CV_FOLDS", "2", *options, *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = project.metrics("all")
    assert metrics["tuning"]["trials"] == 2 and metrics["fine_tuning"]["epochs"] >= 1
    history = pd.read_csv(project.folder / "models" / "all" / "history.csv")
    assert set(history["phase"]) == {"head", "fine-tuning"}
    assert len(list((project.folder / "data" / "pets" / "features").glob("*augmented1*.npz"))) == 1


@pytest.mark.parametrize("backbone, size", [("ResNet50", 224), ("InceptionV3", 299)])
def test_networks_of_the_published_projects_run_end_to_end(first, project, backbone, size):
    options = [
        "-p",
        "BACKBONE",
        backbone,
        "-p",
        "WEIGHTS",
        "None",
        "-p",
        "EPOCHS",
        "1",
        "-p",
        "CV_FOLDS",
        "0",
        "-p",
        "FIGURES",
        "False",
    ]
    done = project.run("-p", "DATASET", "pets", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RANDOM weights" in done.stdout
    [folder] = [f for f in (project.folder / "models").iterdir() if f.name.startswith(f"pets-{backbone}-")]
    metrics = project.metrics(folder.name)
    assert (metrics["backbone"], metrics["weights"], metrics["image_size"]) == (backbone, None, size)


def test_a_setting_that_does_not_exist_lists_those_that_do(project):
    done = project.run("-p", "EPOCH", "3")
    assert done.returncode == 2
    assert "No such setting: EPOCH" in done.stderr
    assert "DATASET, BACKBONE, WEIGHTS, HEAD" in done.stderr
    assert not [f for f in (project.folder / "models").iterdir() if f.name.startswith("sample")]


def test_a_run_that_cannot_go_on_says_why_in_its_last_lines(project):
    make_photos(project.folder / "photos" / "one", {"cat": 5})
    done = project.run("-p", "DATASET", "photos/one", "-p", "RUN", "stopped")
    assert done.returncode == 1
    assert "At least two classes" in done.stderr and "cat: 5 photos, enough" in done.stderr
    assert (project.folder / "models" / "stopped" / "report.html").is_file()
    assert not (project.folder / "models" / "stopped" / "metrics.json").exists()
