"""In every state of an analysis its answer, sentences, figure, numbers and advice say the same."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from evaluate.test_cross_validation import EVEN, result
from evaluate.test_heads import BAD, DEEP, GOOD, OWN, compare
from evaluate.test_learning_curve import curve
from evaluate.test_results import accuracy_of
from phototransfer.evaluate import heads
from phototransfer.evaluate.results import NO, UNSURE, YES
from phototransfer.finding import BORDERLINE, CANNOT_TELL, FOUND, NOTHING_FOUND


def figure_text(figure):
    """Return all text of a figure."""
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axis in figure.axes:
        texts += [axis.get_xlabel(), axis.get_ylabel(), axis.get_title(loc="left")]
        texts += [text.get_text() for text in axis.texts]
    plt.close(figure)
    return " ".join(texts)


RELIABILITY = {
    FOUND: [result(*EVEN, [(99, 100), (99, 100)]), result(*EVEN, [(50, 100), (50, 100)])],
    BORDERLINE: [result(*EVEN, [(87, 100), (87, 100)])],
    NOTHING_FOUND: [result(*EVEN, [(399, 500), (401, 500)])],
    CANNOT_TELL: [
        result(*EVEN, [(5, 5), (4, 5)]),
        result(*EVEN, [(0, 0), (0, 0)]),
        result(*EVEN, [(9, 9)] * 2, fine_tuned=True),
    ],
}


@pytest.mark.parametrize("state, scores", [(state, one) for state, several in RELIABILITY.items() for one in several])
def test_reliability(state, scores):
    finding = scores.findings()["reliability"]
    assert finding.state == scores.to_dict()["reliability"]["state"] == state
    assert bool(finding.obstacle) == (state in (FOUND, BORDERLINE))
    # The answer is said once: the summary has the scores only.
    assert not re.search("easier|harder|agrees|significant|reliable", scores.summary() + figure_text(scores.plot()))
    assert ("agrees" in finding.line) == (state == NOTHING_FOUND) and ("cannot show" in finding.line) <= (
        state == CANNOT_TELL
    )
    assert scores.measure in figure_text(scores.plot()) and scores.advice() == []
    assert f"{scores.score:.2f}" in scores.summary()


CURVES = {"yes": (240, 280, 400), "hardly": (3900, 3900, 4000), BORDERLINE: (580, 589, 600), CANNOT_TELL: (25, 25, 30)}


@pytest.mark.parametrize("verdict", CURVES)
def test_learning_curve(verdict):
    shown = curve(*CURVES[verdict])
    answer = shown.summary().split("help? ")[1].lower()
    assert shown.verdict == shown.to_dict()["verdict"] == verdict
    assert [one for one in CURVES if answer.startswith(one)] == [verdict] and shown.advice() == []
    assert not re.search("yes|hardly|cannot", figure_text(shown.plot()).lower())
    assert shown.to_dict()["measure"] in shown.plot().axes[0].get_ylabel()


HEADS = {
    "simpler is enough": compare({heads.MAJORITY: BAD, heads.LOGISTIC: GOOD, OWN: GOOD}),
    "worse": compare({heads.MAJORITY: BAD, heads.LOGISTIC: GOOD, OWN: BAD}),
    "own is the simplest": compare({heads.MAJORITY: BAD, heads.LOGISTIC: BAD, OWN: GOOD}),
    "borderline": compare({heads.LOGISTIC: BAD, OWN: np.arange(200) < 184, DEEP: GOOD}),
    "majority": compare({heads.MAJORITY: BAD, heads.LOGISTIC: BAD, OWN: BAD}),
    "cannot tell": compare(
        {heads.MAJORITY: np.ones(12, bool), heads.LOGISTIC: np.arange(12) < 11, OWN: np.arange(12) < 9}
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(name):
    shown = HEADS[name]
    own = shown.table[shown.table["configured"]].iloc[0]
    advice, summary, numbers = " ".join(shown.advice()), shown.summary(), shown.to_dict()
    assert bool(advice) == (name in ("simpler is enough", "worse", "majority"))
    assert ("HEAD = [8] (" in advice) == (own["state"] == heads.WORSE)
    assert (numbers["simplest"] is None) == ("Cannot tell" in summary) == (name == "cannot tell") != shown.can_tell
    assert ("Borderline" in summary) == (BORDERLINE in set(shown.table["state"]))
    if name != "cannot tell":
        assert f"significantly worse: {numbers['simplest']}" in summary
    labels = [text.get_text() for text in shown.plot().legends[0].get_texts()]
    assert any("simplest" in label for label in labels) == shown.can_tell
    markers = [line for line in shown.plot().axes[0].lines if len(line.get_xdata()) == 1]
    for line, row in zip(markers, shown.table.itertuples(), strict=True):
        assert (line.get_markerfacecolor() == "white") == (row.state == heads.WORSE)


@pytest.mark.parametrize(
    "state, counts",
    [
        (YES, {"cat": "48/50", "dog": "47/50"}),
        (YES, {"cat": "100/110", "dog": "18/20"}),
        (UNSURE, {"cat": "4/5", "dog": "3/5"}),
        (UNSURE, {"cat": "2/5", "dog": "2/5"}),
        (UNSURE, {"cat": "110/110", "dog": "0/6"}),
        (NO, {"cat": "10/50", "dog": "10/50"}),
        (NO, {"cat": "110/1100", "dog": "40/200"}),
    ],
)
def test_accuracy(state, counts):
    shown = accuracy_of(**counts)
    summary, numbers = shown.summary(), shown.to_dict()
    key = "better_than_majority" if shown.measure == "accuracy" else "better_than_guessing"
    assert shown.better_than_chance == numbers[key] == state
    phrases = [phrase for phrase in ("significantly less", "may be luck", "is not better") if phrase in summary]
    below = shown.test_score <= shown.chance_level
    assert phrases == [
        {YES: "significantly less", NO: "is not better"}.get(state, "is not better" if below else "may be luck")
    ]
    assert ("alanced accuracy" in summary) == (shown.measure == "balanced accuracy")
    assert f"{shown.test_correct} of {shown.test_total}" in summary
