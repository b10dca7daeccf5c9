"""Every state of every check: box, sentence, figure, metrics and last lines say the same; the conclusion follows."""

import re
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from builders import SETTINGS, photo_table
from phototransfer import files
from phototransfer.audit import conclude, properties
from phototransfer.audit.duplicates import CleanScore
from phototransfer.audit.permutation import make_sample
from phototransfer.audit.properties import BACKGROUND
from phototransfer.audit.shift import Shift
from phototransfer.audit.shortcuts import Shortcuts
from phototransfer.evaluate.results import Accuracy, ClassCounts
from phototransfer.finding import (
    BORDERLINE,
    CANNOT_TELL,
    DOUBT,
    FOUND,
    NO_OBSTACLE,
    NOT_CHECKED,
    NOTE,
    NOTHING_FOUND,
    QUESTIONS,
    SERIOUS,
    Finding,
)
from phototransfer.report import Report, Skipped, closing_lines
from phototransfer.settings import RULES, Settings

LABELS = np.repeat(["a", "b"], 20)
#: One property each of the files, of the pictures and the background.
PROPERTIES = {"width": "files", "brightness": "shortcuts", BACKGROUND: "background"}


def clean_score(**changes) -> CleanScore:
    score = CleanScore(
        correct=20,
        total=24,
        clean_correct=20,
        clean_total=24,
        new_correct=20,
        new_total=24,
        too_few={},
        dropped=0,
    )
    return replace(score, **changes)


def shortcuts(state: str, depends: str = "no sign", *, power: float = 1.0, network: float = 0.0) -> Shortcuts:
    """Return a result in which all properties are in the same state."""
    tests = pd.DataFrame({"property": list(PROPERTIES), "balanced_accuracy": 0.7, "p_value": 0.01, "p_corrected": 0.01})
    tests["seen_by_network"] = tests["property"] != "width"
    tests["state"] = state if state in (FOUND, BORDERLINE) else NOTHING_FOUND
    tests["flagged"] = tests["state"] != NOTHING_FOUND
    effects = pd.DataFrame({"property": ["combination of all simple properties", *PROPERTIES], "photos": 20})
    effects = effects.assign(seen_by_network=True, correct=12, accuracy=0.6, low=0.4, high=0.8, effect=0.3)
    effects["depends"] = depends
    scores = dict.fromkeys(["properties", "background", "network", "accuracy"], 0.9)
    photos = photo_table(list(LABELS))
    return Shortcuts(photos, pd.DataFrame(), make_sample(photos), tests, power, effects, scores, network)


def shift(state: str, same_features: bool = False) -> Shift:
    row = {"split": "test", "auc": 0.7, "low": 0.4, "high": 0.6, "p_value": 0.01, "p_corrected": 0.02, "photos": 30}
    table = pd.DataFrame([row | {"set_aside": 2, "same_features": same_features, "state": state}])
    return Shift(table, pd.DataFrame(), photo_table(["a"]))


RESULTS = {
    "leaks: nothing": clean_score(),
    "leaks: dropped": clean_score(dropped=3),
    "leaks: no test photos": clean_score(
        correct=0, total=0, clean_correct=0, clean_total=0, new_correct=0, new_total=0
    ),
    "leaks: all of a class": clean_score(
        clean_correct=9, clean_total=10, new_correct=9, new_total=10, too_few={"a": 1}
    ),
    "leaks: an effect": clean_score(clean_correct=8, clean_total=12, new_correct=8, new_total=12),
    "leaks: no effect": clean_score(clean_correct=12, clean_total=12, new_correct=12, new_total=12),
    "leaks: same scene": clean_score(new_correct=18, new_total=20),
    "leaks: all of the same scene": clean_score(new_correct=0, new_total=0),
    "leaks: off": Skipped("score_without_duplicates", "Not checked (CHECKS = False)."),
    **{
        f"shortcuts: {state}, {depends}, network {network}": shortcuts(state, depends, network=network)
        for state in (FOUND, BORDERLINE)
        for depends in ("yes", "borderline", "no sign", "cannot tell")
        for network in (0.0, 0.5)
    },
    "shortcuts: nothing": shortcuts(NOTHING_FOUND),
    "shortcuts: no power": shortcuts(NOTHING_FOUND, power=0.1),
    "shortcuts: off": Skipped("shortcuts", "Not checked (CHECKS = False)."),
    "shortcuts: too few": Skipped("shortcuts", "Cannot tell, too few photos: two classes need two different ones."),
    **{f"shift: {state}": shift(state) for state in (FOUND, BORDERLINE, NOTHING_FOUND, CANNOT_TELL)},
    "shift: same features": shift(CANNOT_TELL, same_features=True),
    "shift: random": replace(shift(FOUND), table=shift(FOUND).table.head(0), random_splits=["val", "test"]),
    "shift: only training": replace(shift(FOUND), table=shift(FOUND).table.head(0)),
    "shift: off": Skipped("shift", "Not checked (CHECKS = False)."),
}


def score(correct=94, total=100, **changes) -> Accuracy:
    """Return the accuracy on two classes of equal size."""
    counts = ClassCounts.of_photos(
        np.repeat(["a", "b"], total // 2), np.arange(total) % (total // 2) < correct // 2, ["a", "b"]
    )
    return replace(Accuracy(0.99, 0.95, counts, "accuracy"), **changes)


NO_FOLDS = Skipped("cross_validation", "Cross-validation is off (CV_FOLDS = 0).")


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MODELS", tmp_path / "models")
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    values = SETTINGS | {"DATASET": "sample", "WEIGHTS": None, "RUN": "mine", "FIGURES": False, "BACKBONE": "ResNet50"}
    return Report(
        Settings({name: values.get(name) for name in RULES} | {"TEST_SPLIT": 0.2, "PREDICT": None, "EXPORT": []})
    )


def markers_of(result) -> set[str]:
    """Return the states in the figure: in its legend, or written beside its points."""
    figure = result.plot()
    if figure is None:
        return set()
    texts = {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}
    plt.close(figure)
    shown = set()
    for state in (FOUND, BORDERLINE):
        if any(text == state or text.endswith(f": {state}") for text in texts):
            shown.add(state)
    return shown


@pytest.mark.parametrize("name", RESULTS)
def test_all_that_is_said_of_a_check_comes_from_one_state(name, report, capsys):
    result = RESULTS[name]
    report.show(result)
    printed = " ".join(capsys.readouterr().out.split())
    report.show(conclude(report.findings, score(), NO_FOLDS))
    report.show(score())
    metrics = report.finish()
    metrics["photos"]["test"] = 100
    last = " ".join(closing_lines(metrics).split())
    findings = result.findings()
    assert findings and set(findings) == set(metrics["verdict"]) == set(metrics["states"])
    for question, finding in findings.items():
        sentence = f"{QUESTIONS[question]} {finding.line[0].upper()}{finding.line[1:]}."
        assert sentence in printed
        assert metrics["verdict"][question] == finding.line and metrics["states"][question] == finding.state
        assert finding.line in last and finding.line.startswith(finding.state)
        if finding.state in (NOTHING_FOUND, NOT_CHECKED):
            assert finding.severity == NO_OBSTACLE
        if finding.state == FOUND:
            assert finding.severity > NO_OBSTACLE
    states = {finding.state for finding in findings.values()}
    remedies = [finding.remedy for finding in findings.values() if finding.state == FOUND]
    if not isinstance(result, CleanScore):  # its remedy is the advice of Duplicates
        assert result.advice() == remedies
    assert markers_of(result) == states & {FOUND, BORDERLINE} or result.plot() is None
    # The summary adds details; it answers no question a second time.
    assert not re.search(
        r"^(found|borderline|nothing found|cannot tell)\b", result.summary(), re.IGNORECASE | re.MULTILINE
    )


CLEAN = {question: Finding(NOTHING_FOUND, NOTHING_FOUND) for question in QUESTIONS}
obstacle = partial(Finding, FOUND, FOUND, obstacle="The photos differ.", remedy="Take others.")


def test_a_clean_run_says_so_with_its_score():
    verdict = conclude(CLEAN, score(), NO_FOLDS)
    estimate, judgement = verdict.conclusion
    low, high = score().test_interval
    assert f"about 94 correctly (between {100 * low:.0f} and {100 * high:.0f}" in " ".join(estimate.split())
    assert "nothing" in judgement and "What to do" not in verdict.summary()


@pytest.mark.parametrize("severity, opening", [(NOTE, "little"), (DOUBT, "with caution"), (SERIOUS, "Do not believe")])
def test_the_gravest_obstacle_is_in_the_conclusion(severity, opening):
    findings = CLEAN | {"files": obstacle(severity=NOTE, obstacle="Minor."), "shift": obstacle(severity=severity)}
    if severity == NOTE:
        findings["files"] = CLEAN["files"]
    text = " ".join(conclude(findings, score(), NO_FOLDS).conclusion)
    assert opening in text and "the photos differ" in text and "Minor" not in text
    assert ("What to do: Take others." in text) == (severity >= DOUBT)


def test_of_two_equal_obstacles_the_larger_effect_is_in_the_conclusion():
    small = obstacle(severity=SERIOUS, obstacle="A small one.", effect=0.1)
    large = obstacle(severity=SERIOUS, obstacle="A large one.", effect=0.3)
    for findings in ({"shortcuts": small, "background": large}, {"shortcuts": large, "background": small}):
        assert "a large one" in conclude(CLEAN | findings, score(), NO_FOLDS).conclusion[1]


@pytest.mark.parametrize("state", [CANNOT_TELL, NOT_CHECKED])
def test_without_the_main_checks_nothing_is_called_clean(state):
    text = " ".join(conclude(CLEAN | {"shortcuts": Finding(state, state)}, score(), NO_FOLDS).conclusion)
    assert "found nothing" not in text and "shortcuts" in text


@pytest.mark.parametrize("correct", [50, 40])
def test_a_model_that_guesses_is_not_believed(correct):
    conclusion = conclude(CLEAN, score(correct), NO_FOLDS).conclusion
    assert "guessing" in conclusion[1] and conclusion[1].startswith("Do not believe")
    assert conclusion[-1].startswith("What to do")


def test_few_photos_are_the_obstacle():
    text = " ".join(conclude(CLEAN, score(18, 20), NO_FOLDS).conclusion)
    assert "so few photos" in text and "Add photos" in text


def test_without_test_photos_there_is_no_score():
    nothing = ClassCounts.of_photos(np.array([]), np.array([], bool), ["a", "b"])
    conclusion = conclude(CLEAN, score(test=nothing), NO_FOLDS).conclusion
    assert "no test photos" in conclusion[0] and "TEST_SPLIT" in conclusion[-1]


def test_rare_classes_are_named_with_what_is_recognised_of_them():
    labels = np.repeat(["cat", "dog"], [110, 6])
    counts = ClassCounts.of_photos(
        labels, np.r_[np.ones(110, bool), [True, True, False, False, False, False]], ["cat", "dog"]
    )
    verdict = conclude(CLEAN, score(test=counts, measure="balanced accuracy"), NO_FOLDS)
    text = " ".join(verdict.conclusion)
    assert (
        "about 67 correctly" in text
        and "2 of 6 photos of the rarest class, dog" in text
        and "dog" in verdict.conclusion[-1]
    )


def test_all_properties_have_a_question():
    known = {*properties.FILE_PROPERTIES, *properties.PICTURE_PROPERTIES, BACKGROUND}
    assert set(PROPERTIES) <= known and set(PROPERTIES.values()) <= set(QUESTIONS)
