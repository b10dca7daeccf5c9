"""The command reads each setting as its type says, and names a wrong one before anything slow begins."""

import base64
import json
import os
import subprocess
import sys

import pytest

from phototransfer import files, run
from phototransfer.paths import CWD_VARIABLE
from phototransfer.run import given_settings, main
from phototransfer.settings import check_setting

TEXTS = ["007", "2024_05_12", "2024-05-12", "1e3", "true", "True", "null", "nan", "-7", "0x10", "1:30", "~", "no"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["DATASET", "BACKBONE", "RUN", "WEIGHTS", "PREDICT"])
def test_text_stays_as_it_is_written(text, name):
    assert given_settings(["-p", name, text]) == given_settings(["-r", name, text]) == {name: text}
    if not (text in ("null", "~") and name not in ("DATASET", "BACKBONE")):
        assert given_settings(["-y", f"{name}: {text}"]) == {name: text}


def test_none_where_none_is_possible():
    for name in ("RUN", "WEIGHTS", "PREDICT"):
        assert given_settings(["-p", name, "None"]) == given_settings(["-y", f"{name}: null"]) == {name: None}
        assert given_settings(["-r", name, "None"]) == {name: "None"}
    assert given_settings(["-p", "DATASET", "None"]) == {"DATASET": "None"}


def test_other_settings_have_the_types_of_papermill(tmp_path):
    (tmp_path / "a.yaml").write_text("DATASET: 007\nEPOCHS: 9\nRUN: a")
    options = [
        "-p",
        "EPOCHS",
        "3",
        "-p",
        "DROPOUT",
        "0.1",
        "-p",
        "CHECKS",
        "False",
        "-y",
        "HEAD: [8, 4]",
        "-k",
        "python3",
    ]
    encoded = base64.b64encode(b"RUN: b\nSEED: 1").decode()
    expected = {"EPOCHS": 3, "DROPOUT": 0.1, "CHECKS": False, "HEAD": [8, 4], "DATASET": "007", "RUN": "a", "SEED": 1}
    assert given_settings([*options, "-f", str(tmp_path / "a.yaml"), "-b", encoded]) == expected


@pytest.fixture
def started(tmp_path, monkeypatch):
    """The options that a run was started with, or None."""
    for name, folder in {"PROJECT": tmp_path, "DATA": tmp_path / "data", "MODELS": tmp_path / "models"}.items():
        monkeypatch.setattr(files, name, folder)
    monkeypatch.setenv("PHOTOTRANSFER_CWD", str(tmp_path))
    for name in ("7", "007"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "1.jpg").touch()
    options: list = []
    monkeypatch.setattr(run, "_run", lambda given, folder, commit: options.extend(given) or 0)
    return options


def test_papermill_gets_the_text(started):
    assert main(["-p", "DATASET", "007", "-p", "EPOCHS", "3", "-p", "WEIGHTS", "None"]) == 0
    from papermill.cli import papermill

    assert papermill.make_context("papermill", ["in", "out", *started]).params["parameters_raw"] == (
        ("DATASET", "007"),
    )


@pytest.mark.parametrize(
    "options",
    [
        ["-p", "DATASET", "nowhere"],
        ["-p", "PREDICT", "nowhere"],
        ["-p", "WEIGHTS", "nowhere.h5"],
        ["-p", "EPOCHS", "0"],
        ["-p", "EPOCH", "1"],
        ["-p", "BATCH_SIZE", "1"],
        ["-y", "HEAD: [1"],
        ["-y", "DATASET"],
        ["-p", "DATASET"],
        ["-f", "nowhere.yaml"],
    ],
)
def test_a_wrong_setting_starts_nothing(started, capsys, options):
    assert main(options) == 2
    message = capsys.readouterr().err
    assert message.startswith("Stopped: ") and started == []


def test_nothing_slow_is_imported_for_the_message(tmp_path):
    code = (
        "import json, sys; from phototransfer.run import main; main(['-p', 'DATASET', 'nowhere']); "
        "print(json.dumps(list(sys.modules)))"
    )
    environment = os.environ | {"PHOTOTRANSFER_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert "nowhere" in done.stderr
    assert not {"tensorflow", "keras", "papermill", "pandas", "scipy", "nbformat"} & set(json.loads(done.stdout))


@pytest.mark.parametrize("name", run.PRESETS)
def test_a_preset_is_made_of_settings_that_can_be_used_and_what_is_given_wins(name):
    for setting, value in run.PRESETS[name].items():
        check_setting(setting, value)
    options = run._with_preset(["-p", "EPOCHS", "3", "--preset", name])
    assert run.given_settings(options) == run.PRESETS[name] | {"EPOCHS": 3}
    setting, value = next((key, value) for key, value in run.PRESETS[name].items() if isinstance(value, int))
    other = run._with_preset([f"--preset={name}", "-y", json.dumps({setting: value + 1})])
    assert run.given_settings(other)[setting] == value + 1


@pytest.mark.parametrize("options", [["--preset", "fast"], ["--preset"], ["--preset="]])
def test_an_unknown_preset_lists_those_there_are(options, capsys, monkeypatch):
    monkeypatch.setenv(CWD_VARIABLE, os.getcwd())  # which the command sets: restored afterwards
    assert run.main(options) == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in run.PRESETS)
