"""A result is shown, recorded and saved in one way, and metrics.json says what each result was computed with."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from builders import SETTINGS, build_head, fit_head, notebook_cell
from phototransfer import files
from phototransfer.finding import QUESTIONS
from phototransfer.network.classify import Preparation, load_run
from phototransfer.network.complete_model import complete_model
from phototransfer.paths import RUN_NAME_FILE
from phototransfer.report import Report, Result, Skipped, closing_lines, verdict_box
from phototransfer.settings import Settings


@dataclass(frozen=True)
class Shown:
    """A result as any analysis returns it."""

    name: str
    numbers: dict[str, Any]
    figure: bool = False
    seconds: ClassVar[float] = 0.0

    def summary(self) -> str:
        return f"{self.name} in words"

    def plot(self) -> Any:
        if not self.figure:
            return None
        figure, axis = plt.subplots()
        axis.plot([0, 1])
        return figure

    def to_dict(self) -> dict[str, Any]:
        return self.numbers

    def findings(self) -> dict[str, Any]:
        return {}

    def advice(self) -> list[str]:
        return [f"Change {self.name.upper()}."] if self.figure else []

    def alt(self) -> str:
        return f"{self.name} drawn"

    def plot_narrow(self):
        return None

    def tables(self) -> dict[str, pd.DataFrame]:
        return {self.name: pd.DataFrame({"x": [1.5]})} if self.figure else {}

    def tables_over(self, folder: Path) -> dict[str, pd.DataFrame]:
        return self.tables()


@pytest.fixture
def namespace(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MODELS", tmp_path / "models")
    values = SETTINGS | {
        "VALIDATION_SPLIT": 0.2,
        "TEST_SPLIT": 0.2,
        "WEIGHTS": None,
        "PREDICT": None,
        "EXPORT": [],
        "RUN": "mine",
        "CLUSTER": None,
    }
    return values | {"FIGURES": True, "BACKBONE": "ResNet50", "DATASET": "sample", "LABELS": None, "RELABEL": None}


def test_show_prints_draws_records_and_returns_the_result(namespace, capsys):
    report = Report(Settings(namespace))
    result = Shown("lines", {"slope": 1.0}, figure=True)
    assert report.show(result) is result
    assert "lines in words" in capsys.readouterr().out
    assert (report.folder / "figures" / "lines.png").stat().st_size > 1000
    assert pd.read_csv(report.folder / "lines.csv")["x"].tolist() == [1.5]
    metrics = report.finish()
    assert metrics == json.loads((report.folder / "metrics.json").read_text())
    assert metrics["lines"] == {"slope": 1.0}
    assert metrics["next_steps"] == {"lines": ["Change LINES."]}
    assert 0 <= metrics["seconds"]["lines"] <= metrics["seconds"]["total"]
    assert json.loads((files.MODELS / "runs.jsonl").read_text())["run"] == "mine"


def test_the_saved_model_comes_with_how_its_photos_were_prepared(namespace):
    namespace["FIT"] = "pad"
    report = Report(Settings(namespace))
    ranges = {"integer": (0, 4095)}
    report.show(Shown("photos", {"pixels": {"ranges": ranges, "deep": 3, "blank": 0}}))
    report.show(Shown("features", {}))
    namespace["FIT"] = "crop"  # changed after the features were computed
    image = keras.Input((16, 16, 3))
    extractor = keras.Sequential([image, keras.layers.GlobalAveragePooling2D()], name="tiny")
    model = keras.Model(image, build_head(3, 2, SETTINGS)(extractor(image)))
    report.save_model(complete_model(model, "pad"), ["cat", "dog"])
    loaded, _ = load_run(report.folder)
    assert loaded.preparation == Preparation("pad", ranges)


def test_training_features_are_saved_with_their_model_and_not_left_from_an_earlier_one(namespace):
    class WithArrays(Result):
        name = "novelty"

        def arrays(self):
            return {"features": np.eye(2, dtype=np.float16), "labels": np.array(["cat", "dog"])}

    report, head = Report(Settings(namespace)), build_head(3, 2, SETTINGS)
    path = report.folder / "training_features.npz"
    report.save_model(head, ["cat", "dog"], WithArrays())
    with np.load(path, allow_pickle=False) as content:
        assert content["labels"].tolist() == ["cat", "dog"] and content["features"].dtype == np.float16
    report.save_model(head, ["cat", "dog"], Skipped("novelty", "Cannot tell, too few photos."))
    assert not path.exists()
    assert not [file for file in report.folder.iterdir() if "partial" in file.name]


def test_no_figures_where_they_are_off(namespace):
    report = Report(Settings(namespace | {"FIGURES": False}))
    report.show(Shown("lines", {}, figure=True))
    assert list((report.folder / "figures").iterdir()) == []


def test_a_skipped_analysis_says_why_and_is_null(namespace, capsys):
    report = Report(Settings(namespace))
    report.show(Skipped("shift", "Not checked (CHECKS = False)."))
    assert "Not checked (CHECKS = False)." in capsys.readouterr().out
    assert report.finish()["shift"] is None


def test_metrics_have_every_name_of_the_design(namespace):
    report = Report(Settings(namespace))
    report.show(Shown("photos", {"dataset": "pets", "classes": ["a", "b"], "found": 9, "train": 5}))
    report.show(Shown("backbone", {"backbone": "ResNet50", "weights": None, "fell_back_from": None, "image_size": 224}))
    report.show(Shown("duplicates", {"pairs": 2, "test_photos": 1}))
    report.show(Shown("score_without_duplicates", {"accuracy": 0.9, "ci95": [0.8, 1.0]}))
    report.show(Shown("accuracy", {"test": 0.95}))
    report.show(Shown("shortcuts", {"properties": [{"property": "width"}], "power": 1.0}))
    metrics = report.finish()
    assert metrics["photos"] == {"found": 9, "used": None, "skipped": None, "train": 5, "val": None, "test": None}
    assert (metrics["dataset"], metrics["classes"], metrics["image_size"]) == ("pets", ["a", "b"], 224)
    assert metrics["leaks"] == {"pairs": 2, "test_photos": 1}
    assert metrics["accuracy"]["test_without_leaks"] == 0.9 and metrics["accuracy"]["test"] == 0.95
    assert metrics["shortcuts"] == [{"property": "width"}]
    assert "prepare" in metrics["seconds"] and "photos" not in metrics["seconds"]
    missing = {"macro", "verdict", "cross_validation", "shift", "settings", "versions"} - set(metrics)
    assert not missing


def test_a_run_is_named_for_the_network_in_it(namespace):
    report = Report(Settings(namespace | {"RUN": None}))
    report.show(Shown("lines", {}, figure=True))
    assert "-ResNet50-" in report.folder.name
    fell_back = {"backbone": "EfficientNetLite0", "weights": "imagenet", "fell_back_from": "ResNet50"}
    report.show(Shown("backbone", fell_back))
    assert report.folder.name.startswith("sample-EfficientNetLite0-")
    assert (report.folder / "figures" / "lines.png").exists()
    assert [folder.name for folder in files.MODELS.iterdir() if folder.is_dir()] == [report.folder.name]


def test_a_run_with_a_name_keeps_it(namespace):
    report = Report(Settings(namespace))
    report.show(Shown("backbone", {"backbone": "EfficientNetLite0", "fell_back_from": "ResNet50"}))
    assert report.folder.name == "mine"


def test_settings_of_the_training_are_recorded_and_outdated_results_named(namespace, capsys):
    report = Report(Settings(namespace))
    report.show(Shown("photos", {}))  # does not depend on the head
    report.show(Shown("head", {}))
    namespace["HEAD"] = [4]
    report.show(Shown("cross_validation", {}))
    metrics = report.finish()
    assert metrics["settings"]["HEAD"] == SETTINGS["HEAD"]
    assert metrics["outdated"] == ["cross_validation"]
    assert "cross_validation" in capsys.readouterr().out
    namespace |= {"HEAD": SETTINGS["HEAD"], "FIGURES": False}  # the figures decide nothing
    report.show(Shown("cross_validation", {}))
    assert report.finish()["outdated"] == []


@pytest.mark.parametrize(
    "name, value", [("HEAD", [7]), ("DROPOUT", 0.7), ("LEARNING_RATE", 0.5), ("WEIGHT_DECAY", 0.25), ("EPOCHS", 1)]
)
def test_a_changed_setting_reaches_the_head_that_is_trained_next(namespace, name, value):
    """Run the notebook's cell "Train" again after a change in the settings cell, without the cells in between."""
    import keras

    from builders import features_of, photo_table
    from phototransfer import evaluate

    rng = np.random.default_rng(0)
    photos = photo_table(["a", "b"] * 12, ["train"] * 16 + ["val"] * 8)
    shown: list[Any] = []
    namespace["settings"] = Settings(namespace)
    namespace |= {"photos": photos, "features": features_of(rng.normal(size=(24, 5))), "classes": ["a", "b"]}
    namespace |= {"build_head": build_head, "fit_head": fit_head, "keras": keras, "evaluate": evaluate}
    namespace["report"] = type("Recorder", (), {"show": lambda self, result: shown.append(result) or result})()
    namespace[name] = value
    exec(notebook_cell("history = fit_head("), namespace)
    head = namespace["head"]
    dense = [layer.units for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    trained = {
        "HEAD": dense[:-1],
        "DROPOUT": next(layer.rate for layer in head.layers if isinstance(layer, keras.layers.Dropout)),
        "LEARNING_RATE": pytest.approx(float(head.optimizer.learning_rate)),
        "WEIGHT_DECAY": head.optimizer.weight_decay,
        "EPOCHS": len(shown[0].history),
    }
    assert trained[name] == value


def test_closing_lines_have_the_score_and_every_verdict():
    verdicts = dict.fromkeys(QUESTIONS, "nothing found")
    metrics = {
        "run": "mine",
        "backbone": "EfficientNetLite0",
        "fell_back_from": "ResNet50",
        "photos": {"test": 20},
        "accuracy": {"test_correct": 18, "test_ci95": [0.70, 0.97], "majority": 0.5},
        "conclusion": ["Of 100 new photos, about 90.", "Believe it."],
        "verdict": verdicts,
    }
    text = closing_lines(metrics)
    assert "18 of 20 correct: 0.90 (95 % interval 0.70 to 0.97)" in text and "ResNet50" in text
    assert verdict_box(verdicts) in text and text.index("about 90") < text.index("Believe it.") < text.index("18 of 20")
    assert all(question in text for question in QUESTIONS.values())


class Shell:
    """As much of IPython's shell as a report needs: cells begin and end."""

    def __init__(self):
        self.callbacks = {"pre_run_cell": [], "post_run_cell": []}
        self.events = self

    def register(self, event, callback):
        self.callbacks[event].append(callback)

    def unregister(self, event, callback):
        self.callbacks[event].remove(callback)

    def run(self, source):
        info = SimpleNamespace(raw_cell=source, cell_id=None)
        for callback in self.callbacks["pre_run_cell"]:
            callback(info)
        for callback in self.callbacks["post_run_cell"]:
            callback(SimpleNamespace(success=True, info=info))


def test_a_long_cell_says_how_long_it_took_last_time_with_these_photos(namespace, monkeypatch, capsys):
    shell, clock = Shell(), iter(range(0, 10_000, 40))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr("phototransfer.report._hide_as_cell_value", lambda kind: None)
    monkeypatch.setattr("phototransfer.report.time.perf_counter", lambda: float(next(clock)))
    first = Report(Settings(namespace))
    shell.run("slow()")
    assert "Last time" not in capsys.readouterr().out
    first.finish()
    capsys.readouterr()
    Report(Settings(namespace))  # instead of the first: nothing is said twice
    shell.run("slow()\n")
    assert capsys.readouterr().out.count("Last time") == 1
    shell.run("another()")
    assert "Last time" not in capsys.readouterr().out
    Report(Settings(namespace | {"BACKBONE": "VGG16"}))
    shell.run("slow()")
    assert "Last time" not in capsys.readouterr().out


class Display:
    """Stands for IPython's display: what stands at each place, in order."""

    def __init__(self) -> None:
        self.places: list[Any] = []

    def __call__(self, content: Any, display_id: bool = False, **options: Any) -> Any:
        number = len(self.places)
        self.places.append(content)
        return SimpleNamespace(update=lambda content, **_: self.places.__setitem__(number, content))


@pytest.fixture
def make_run(namespace, monkeypatch, tmp_path):
    """Report of a run by `make run`, and what it shows."""
    shown = Display()
    monkeypatch.setattr("IPython.display.display", shown)
    monkeypatch.setenv(RUN_NAME_FILE, str(tmp_path / "name"))
    return Report(Settings(namespace)), shown.places


def test_figures_of_make_run_are_drawn_in_their_places_after_the_verdict(make_run):
    report, places = make_run
    for name in ("first", "second"):
        report.show(Shown(name, {}, figure=True))
    figures = report.folder / "figures"
    assert not list(figures.glob("*.png")) and not plt.get_fignums()
    report.show(Shown("verdict", {}))
    assert {path.name for path in figures.glob("*.png")} == {"first.png", "second.png"}
    report.show(Shown("third", {}, figure=True))
    assert (figures / "third.png").exists()
    assert [type(place).__name__ for place in places if place != {}] == ["Image"] * 3


def test_figures_of_make_run_are_in_the_folder_of_the_network_that_was_used(namespace, monkeypatch, tmp_path):
    monkeypatch.setenv(RUN_NAME_FILE, str(tmp_path / "name"))
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: SimpleNamespace(update=lambda *_, **__: None))
    report = Report(Settings(namespace | {"RUN": None}))
    report.show(Shown("lines", {}, figure=True))
    report.show(Shown("backbone", {"backbone": "EfficientNetLite0", "fell_back_from": "ResNet50"}))
    report.finish()
    assert (report.folder / "figures" / "lines.png").exists()
    assert [folder.name for folder in files.MODELS.iterdir() if folder.is_dir()] == [report.folder.name]


def test_figures_are_drawn_when_a_cell_fails_before_the_verdict(make_run):
    report, places = make_run
    report.show(Shown("first", {}, figure=True))
    report._end_cell(SimpleNamespace(success=False, info=None))
    assert (report.folder / "figures" / "first.png").exists()
    assert [type(place).__name__ for place in places] == ["Image"]
