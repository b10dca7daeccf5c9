"""One run: its folder in models/, and everything that is shown, recorded and saved in it."""

import hashlib
import os
import platform
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from phototransfer import files
from phototransfer.console import TEXT_WIDTH, shorten_list, wrap_lines
from phototransfer.figures import Figures
from phototransfer.finding import CANNOT_TELL, NOT_CHECKED, QUESTIONS, Finding
from phototransfer.html_report import write_report
from phototransfer.libraries import instruction_sets, versions
from phototransfer.model_card import model_card
from phototransfer.paths import NOTEBOOK, RUN_NAME_FILE
from phototransfer.recording import Recording
from phototransfer.stats import format_score, format_share

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

_LIBRARIES = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow", "pillow-heif", "matplotlib")
#: File in the folder of a run with what new photos are compared with.
TRAINING_FEATURES = "training_features.npz"
_SHOWN_FIRST = "verdict"  #: the result that figures wait for
_MANY_ROWS = 100_000  # of a table that takes long to read as CSV
_LONG_SECONDS = 5.0  # a shorter cell needs no estimate
_CALLBACKS = "_phototransfer_callbacks"
_ALT_LENGTH = 400  # characters: a screen reader reads all of it
#: The result that answers each question.
_ANSWERED_BY = {
    "leaks": "score_without_duplicates",
    "shortcuts": "shortcuts",
    "background": "shortcuts",
    "files": "shortcuts",
    "shift": "shift",
    "labels": "mislabelled",
    "reliability": "cross_validation",
}


class Result:
    """What every analysis returns. Frozen dataclasses derive from it and give what they have."""

    name: str  #: name in metrics.json and of the figure

    def summary(self) -> str:
        """Return the result in words, one paragraph per line."""
        return ""

    def findings(self) -> dict[str, Finding]:
        """Return the answers to those of QUESTIONS that the result answers. The summary does not repeat them."""
        return {}

    def plot(self) -> "Figure | None":
        """Return the result as a figure, None if there is nothing to draw."""
        return None

    def plot_narrow(self) -> "Figure | None":
        """Return the figure for the screen of a phone, None if `plot` can be read there: two columns of photos."""
        return None

    def alt(self) -> str:
        """Return what the figure shows, for readers who cannot see it."""
        findings = [f"{QUESTIONS[key]} {finding.line}." for key, finding in self.findings().items()]
        text = " ".join([*findings, *self.summary().split("\n")])
        return f"{self.name.replace('_', ' ').capitalize()}. {textwrap.shorten(text, _ALT_LENGTH, placeholder=' …')}"

    def to_dict(self) -> dict[str, Any] | None:
        """Return the result as numbers for metrics.json, None if nothing was computed."""
        return None

    def advice(self) -> list[str]:
        """Return one sentence per finding that names the setting to change."""
        return []

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return tables to save as CSV files, by name."""
        return {}

    def tables_over(self, folder: Path) -> dict[str, pd.DataFrame]:
        """Return the tables to save in `folder`; one in which a person may have written keeps what was written."""
        return self.tables()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return arrays to save beside the model, by name: see `Report.save_model`."""
        return {}


AnyResult = TypeVar("AnyResult", bound=Result)


@dataclass(frozen=True)
class Skipped(Result):
    """An analysis that was not done, and why: its setting is off, or there are too few photos."""

    name: str
    reason: str

    def summary(self) -> str:
        return "" if self.findings() else self.reason

    def findings(self) -> dict[str, Finding]:
        if not self.reason:
            return {}
        line = self.reason[0].lower() + self.reason[1:].rstrip(".")
        state = CANNOT_TELL if line.startswith(CANNOT_TELL) else NOT_CHECKED
        if not line.startswith(state):
            line = f"{state}: {line}"
        return {question: Finding(state, line) for question, name in _ANSWERED_BY.items() if name == self.name}


@dataclass(frozen=True)
class NextSteps(Result):
    """What to try next: for each finding of this run, the setting to change."""

    name = "next_steps"
    advice_by_result: dict[str, list[str]]

    def summary(self) -> str:
        lines = [f"- {sentence}" for sentences in self.advice_by_result.values() for sentence in sentences]
        return "\n".join(lines) or "- Nothing that this run found asks for another setting."

    def to_dict(self) -> dict[str, Any]:
        return dict(self.advice_by_result)


class Report:
    """The folder of a run, and the one way to show, record and save a result.

    Parameters
    ----------
    settings : Settings
        RUN, DATASET, BACKBONE and FIGURES are read here; all are recorded.

    Attributes
    ----------
    folder : Path
        `models/<run>/`, named by RUN, or else by data set, network and time. It is renamed when the network that is
        shown (a result called "backbone") is another than the one asked for.

    Raises
    ------
    OSError
        The folder cannot be created.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self._results: dict[str, dict[str, Any] | None] = {}
        self._advice: dict[str, list[str]] = {}
        self.findings: dict[str, Finding] = {}  #: the answers so far, by QUESTIONS
        self._not_computed: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._settings_of: dict[str, dict[str, Any]] = {}
        self._began = self._mark = self._cell_began = time.perf_counter()
        self.folder = _create_folder(settings["RUN"], _run_name(settings["DATASET"], settings["BACKBONE"]))
        # Written last of all: a folder without it belongs to a run that did not finish.
        (self.folder / "metrics.json").unlink(missing_ok=True)
        self._announce()
        # A runner has the executed notebook itself. Recorded first, so that what is printed before a cell is in it.
        self._recording = None if RUN_NAME_FILE in os.environ else Recording.start()
        self._figures = Figures(delayed=RUN_NAME_FILE in os.environ)
        self._cell_seconds: dict[str, float] = {}
        self._last_cell_seconds = _cell_seconds_of_last_run(settings)
        _follow_cells(self._begin_cell, self._end_cell)

    @property
    def location(self) -> str:
        """The folder of the run, relative to the project."""
        return files.relative_to_project(self.folder)

    def show(self, result: AnyResult) -> AnyResult:
        """Print a result's answers and summary, show and save its figure, record its numbers, and return it.

        The seconds are those since the cell was started, or since the last result that was shown in it.
        """
        name = result.name
        self._seconds[name] = round(time.perf_counter() - self._mark, 2)
        self._settings_of[name] = dict(self.settings)
        self._results[name] = result.to_dict()
        self._advice[name] = result.advice()
        findings = result.findings()
        self.findings |= findings
        self._not_computed.pop(name, None)
        if isinstance(result, Skipped) and result.reason:
            self._not_computed[name] = result.reason
        if name == "backbone":
            self._rename_for(self._results[name])
        for table_name, table in result.tables_over(self.folder).items():
            self.save_table(table_name, table)
        answers = [
            f"{QUESTIONS[key]} {finding.line[0].upper()}{finding.line[1:]}." for key, finding in findings.items()
        ]
        if text := "\n".join(filter(None, [*answers, result.summary()])):
            print(wrap_lines(text))
        if self.settings["FIGURES"] and type(result).plot is not Result.plot:
            self._figures.show(result, self.folder / "figures")
        if name == _SHOWN_FIRST:
            self._figures.draw_waiting(self.folder / "figures")
        _hide_as_cell_value(type(result))
        self._start_clock()
        return result

    def next_steps(self) -> NextSteps:
        """Return what to try next, collected from the results shown so far."""
        return NextSteps({name: sentences for name, sentences in self._advice.items() if sentences})

    def save_table(self, name: str, table: pd.DataFrame) -> Path:
        """Write a table as `<name>.csv` with paths relative to the project, and return its path.

        A table of very many rows is written as `<name>.parquet` too, if pyarrow is installed.
        """
        if "path" in table:
            table = table.assign(path=[files.relative_to_project(path) for path in table["path"]])
        files.write_table(self.folder / f"{name}.csv", table)
        (self.folder / f"{name}.parquet").unlink(missing_ok=True)  # of an earlier run
        if len(table) >= _MANY_ROWS:
            files.write_parquet(self.folder / f"{name}.parquet", table)
        return self.folder / f"{name}.csv"

    def save_model(self, model: "keras.Model", classes: list[str], novelty: Result | None = None) -> Path:
        """Write `model.keras` and the class names in the order of its outputs (`labels.json`); return its path.

        How photos become its input is in `preparation.json`: FIT, and the ranges of photos with more than 8 bits. What
        tells whether a photo is unlike the training photos, the arrays of `novelty`, is in `training_features.npz`.
        """
        path, training_features = self.folder / "model.keras", self.folder / TRAINING_FEATURES
        training_features.unlink(missing_ok=True)  # of an earlier model
        with files.temporary_folder(self.folder / "model") as temporary:
            try:
                model.save(temporary / path.name)
                files.move_into_place(temporary / path.name, path)
            except OSError as error:
                raise files.write_error(path, temporary / path.name, error) from error
        fit = self._settings_of.get("features", self.settings)["FIT"]
        ranges = (self._results.get("photos") or {}).get("pixels", {}).get("ranges", {})
        files.write_json(self.folder / "preparation.json", {"fit": fit, "ranges": ranges})
        files.write_json(self.folder / "labels.json", classes)
        if novelty and (arrays := novelty.arrays()):
            with files.atomic_write(training_features) as partial, partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        return path

    def finish(self) -> dict[str, Any]:
        """Write `MODEL_CARD.md` and `metrics.json`, add a line to `models/runs.jsonl`, and return the metrics."""
        self._figures.draw_waiting(self.folder / "figures")  # in a notebook without a verdict
        metrics = self.metrics()
        machine, engine = metrics["machine"], (metrics["features"] or {}).get("engine", "Keras")
        processor = " ".join([machine["processor"], *machine["instruction_sets"][-1:]])
        text = (
            f"The same photos and settings (SEED = {self.settings['SEED']}) give the same figures on the same kind of "
            f"processor ({processor}) and engine ({engine}). Another one rounds differently, and training adds that up."
        )
        print(wrap_lines(text))
        with files.atomic_write(self.folder / "MODEL_CARD.md") as partial:
            partial.write_text(model_card(metrics), encoding="utf-8", errors="backslashreplace")
        files.write_json(self.folder / "metrics.json", metrics)
        finished = {"finished": datetime.now().isoformat(timespec="seconds")}
        files.append_line(self.folder.parent / "runs.jsonl", finished | metrics)
        if outdated := metrics["outdated"]:
            print(
                f"Settings were changed after these results: {', '.join(outdated)}. metrics.json has the settings that "
                "the head was trained with. Run all cells to have every result for one set of settings."
            )
        return metrics

    def write_report(self) -> None:
        """Write `report.html` and `notebook.ipynb`: the notebook as it was run in this session, with the answer first.

        Does nothing if the notebook was started by `make run`, which writes both when the last cell has ended.
        """
        if self._recording is None:
            if RUN_NAME_FILE not in os.environ:
                print(
                    "No report.html: it needs a notebook whose kernel is up to date. Restart the kernel, run all cells."
                )
            return
        print(f"Report: {self.location}/report.html")
        write_report(self._recording.notebook(default=NOTEBOOK), self.folder)

    def metrics(self) -> dict[str, Any]:
        """Return the content of metrics.json. The names that others rely on are listed here; null is not computed.

        Results that are shown under other names are added as they are.
        """
        results = {name: part for name, part in self._results.items() if part is not None}
        photos, backbone = results.pop("photos", {}), results.pop("backbone", {})
        duplicates, clean = results.pop("duplicates", None), results.pop("score_without_duplicates", {})
        accuracy, shortcuts = results.pop("accuracy", {}), results.pop("shortcuts", {})
        verdict = results.pop("verdict", {})
        trained_with = self._settings_of.get("head", dict(self.settings))
        return {
            "run": self.folder.name,
            "dataset": photos.get("dataset"),
            "classes": photos.get("classes"),
            "class_counts": photos.get("class_counts"),
            "left_out": photos.get("left_out"),
            "reading": photos.get("reading"),
            "photos": {key: photos.get(key) for key in ("found", "used", "skipped", "train", "val", "test")},
            "pixels": photos.get("pixels"),
            "backbone": backbone.get("backbone"),
            "weights": backbone.get("weights"),
            "fell_back_from": backbone.get("fell_back_from"),
            "image_size": backbone.get("image_size"),
            "features": results.pop("features", None),
            "leaks": duplicates,
            "head": results.pop("head", None),
            "fine_tuning": results.pop("fine_tuning", None),
            "accuracy": {
                **accuracy,
                "test_without_leaks": clean.get("accuracy"),
                "test_without_leaks_ci95": clean.get("ci95"),
            },
            "macro": results.pop("macro", None),
            "shortcuts": shortcuts.pop("properties", None),
            "shortcut_effects": shortcuts or None,
            "grad_cam": results.pop("grad_cam", None),
            "shift": results.pop("shift", None),
            "conclusion": verdict.get("conclusion"),
            "verdict": verdict.get("lines"),
            "states": {question: finding.state for question, finding in self.findings.items()},
            "cross_validation": results.pop("cross_validation", None),
            "comparison_of_heads": results.pop("comparison_of_heads", None),
            "learning_curve": results.pop("learning_curve", None),
            "tuning": results.pop("tuning", None),
            **results,
            "not_computed": dict(self._not_computed),
            "next_steps": self.next_steps().to_dict(),
            "outdated": [
                name
                for name, used in self._settings_of.items()
                if any(used[key] != trained_with[key] for key in _settings_that_decide(name))
            ],
            "seconds": self._all_seconds(),
            "cell_seconds": dict(self._cell_seconds),
            "settings": trained_with,
            "versions": _versions(),
            "machine": _machine(),
        }

    def _all_seconds(self) -> dict[str, float]:
        seconds = {"prepare" if name == "photos" else name: taken for name, taken in self._seconds.items()}
        return seconds | {"total": round(time.perf_counter() - self._began, 2)}

    def _start_clock(self) -> None:
        self._mark = time.perf_counter()

    def _begin_cell(self, info: Any) -> None:
        """Say how long a long cell took last time with these photos and this network."""
        self._cell_began = time.perf_counter()
        cell = _cell_key(info.raw_cell)
        seconds = self._cell_seconds.get(cell, self._last_cell_seconds.get(cell, 0.0))
        if seconds >= _LONG_SECONDS:
            print(f"Last time this took {seconds:,.0f} seconds.", flush=True)
        self._start_clock()

    def _end_cell(self, result: Any) -> None:
        if result.success and result.info is not None:
            self._cell_seconds[_cell_key(result.info.raw_cell)] = round(time.perf_counter() - self._cell_began, 1)
        if not result.success:  # no later cell will draw them
            self._figures.draw_waiting(self.folder / "figures")

    def _rename_for(self, backbone: dict[str, Any] | None) -> None:
        if self.settings["RUN"] or not backbone or not backbone.get("fell_back_from"):
            return
        asked, used = f"-{backbone['fell_back_from']}-", f"-{backbone['backbone']}-"
        name = used.join(self.folder.name.rsplit(asked, 1))
        if name != self.folder.name:
            folder = _create_folder(None, name)
            files.move_into_place(self.folder / "figures", folder / "figures")
            for path in self.folder.iterdir():
                files.move_into_place(path, folder / path.name)
            self.folder.rmdir()
            self.folder = folder
            self._announce()

    def _announce(self) -> None:
        if path := os.environ.get(RUN_NAME_FILE):
            Path(path).write_text(self.folder.name, encoding="utf-8")


def verdict_box(verdicts: Mapping[str, str]) -> str:
    """Return the verdicts, each below its question of QUESTIONS, in a box of text."""
    rule = "─" * TEXT_WIDTH
    lines = ["Can you believe the score?", rule]
    for name, verdict in verdicts.items():
        lines += [f" {QUESTIONS[name]}", textwrap.indent(textwrap.fill(verdict, TEXT_WIDTH - 4), "    ")]
    return "\n".join([*lines, rule])


def closing_lines(metrics: dict[str, Any]) -> str:
    """Return the last lines of a run: the conclusion, the score, the network it was measured with, and the verdicts."""
    accuracy, asked = metrics["accuracy"], metrics["fell_back_from"]
    share = accuracy["majority"]
    majority = "" if share is None else f"; always predicting the largest class: {format_share(share)}"
    instead = f" (the weights of {asked} could not be downloaded)" if asked else ""
    score = format_score(accuracy["test_correct"], metrics["photos"]["test"], accuracy["test_ci95"])
    lines = [f"{metrics['run']}: {metrics['backbone']}{instead}"]
    if metrics["conclusion"]:
        lines += ["", *map(wrap_lines, metrics["conclusion"]), ""]
    rarest = accuracy.get("rarest_class") if accuracy.get("measure") != "accuracy" else None
    lines.append(f"Test photos alone: {score}{'' if rarest else majority}")
    if rarest:
        names = shorten_list(rarest["classes"], 3)
        lines.append(f"Of the rarest ({names}): {rarest['correct']} of {rarest['total']} test photos correct")
    return "\n".join([*lines, verdict_box(metrics["verdict"])] if metrics["verdict"] else lines)


def _run_name(dataset: str, backbone: str) -> str:
    """Return a name such as lucy-ResNet50-20260131-235959: data set, network and local time."""
    return files.safe_name(f"{Path(dataset).name}-{backbone}-{datetime.now():%Y%m%d-%H%M%S}")


def _create_folder(run: str | None, name: str) -> Path:
    """Create `models/<run>/figures`, or with `run` None a new folder called `name`, numbered if it exists."""
    folder, number = files.MODELS / (files.safe_name(run) if run else name), 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=bool(run))
            (folder / "figures").mkdir(exist_ok=True)
            return folder
        except FileExistsError:
            if run:
                raise
            number += 1  # two runs began in the same second
            folder = files.MODELS / f"{name}-{number}"
        except OSError as error:
            raise OSError(
                error.errno, f"{folder} cannot be created ({error.strerror}). Runs are kept there: make it writable."
            ) from error


def _follow_cells(begin: Callable[[Any], None], end: Callable[[Any], None]) -> None:
    """Call `begin` before and `end` after each cell of this notebook, instead of those of an earlier report.

    Does nothing outside of a notebook.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    for event, callback in getattr(shell, _CALLBACKS, []):
        shell.events.unregister(event, callback)
    callbacks = [("pre_run_cell", begin), ("post_run_cell", end)]
    for event, callback in callbacks:
        shell.events.register(event, callback)
    setattr(shell, _CALLBACKS, callbacks)


def _cell_seconds_of_last_run(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of each cell, by `_cell_key`, in the last finished run with the same photos and network."""
    found: dict[str, float] = {}
    for run in files.read_lines(files.MODELS / "runs.jsonl"):
        used = run.get("settings") or {}
        if all(used.get(name) == settings[name] for name in ("DATASET", "BACKBONE")):
            found |= run.get("cell_seconds") or {}
    return found


def _cell_key(source: str) -> str:
    return hashlib.sha256(source.strip().encode("utf-8", "replace")).hexdigest()[:12]


def _settings_that_decide(result: str) -> tuple[str, ...]:
    """Return the settings that a result depends on, not counting those that only turn it on or off."""
    data = (
        "DATASET",
        "LABELS",
        "RELABEL",
        "VALIDATION_SPLIT",
        "TEST_SPLIT",
        "FIT",
        "BACKBONE",
        "WEIGHTS",
        "AUGMENTATIONS",
        "SEED",
    )
    head = ("HEAD", "BATCH_NORM", "DROPOUT", "EPOCHS", "BATCH_SIZE", "LEARNING_RATE", "WEIGHT_DECAY")
    if result in ("photos", "backbone", "features", "duplicates"):  # before the head
        return data
    return (*data, *head, "DUPLICATES", "FINE_TUNE_LAYERS")


def _hide_as_cell_value(result_type: type) -> None:
    """Make a notebook not display a result of this type as the value of a cell: it has just been shown."""
    from IPython import get_ipython

    if shell := get_ipython():
        shell.display_formatter.ipython_display_formatter.for_type(result_type, lambda result: None)


def _machine() -> dict[str, Any]:
    """Return what the last digits of the figures depend on beside seed and versions."""
    return {"system": platform.system(), "processor": platform.machine(), "instruction_sets": instruction_sets()}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **versions(_LIBRARIES)}
