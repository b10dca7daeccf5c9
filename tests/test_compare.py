"""Runs are compared on the same test photos only, by a paired test, whatever is left of the old ones."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from helpers import result_plots
from helpers.compare import MOST_RUNS, compare_runs

PHOTOS = 40


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def leave(models, name, right, *, photos=PHOTOS, prefix="p", line=None, drop=(), classes=("cat", "dog"), **more):
    """A run as runs.Run leaves it: the test photos in `right` are told right."""
    rows = []
    for number in range(photos):
        label = classes[number % 2]
        told = label if number in right else classes[1 - number % 2]
        rows.append((f"{prefix}{number}.jpg", label, "test", f"digest-{prefix}{number}", told))
        rows.append((f"t{name}{number}.jpg", label, "train", f"digest-t{name}{number}", label))
    table = pd.DataFrame(rows, columns=["original", "label", "split", "digest", "predicted"])
    table["correct"] = table["label"] == table["predicted"]
    (models / name).mkdir(exist_ok=True)
    table.drop(columns=list(drop)).to_csv(models / name / "predictions.csv", index=False)
    whole = {"finished": "2026-01-01T00:00:00", "run": name, "dataset": "pets", "classes": list(classes)} | more
    whole |= {"backbone": "ResNet50", "settings": {"HEAD": [64, 32]}, "seconds": {"total": 31.4}}
    whole |= {"leaks": {"pairs": 3, "test_photos": 2}, "cross_validation": {"folds": 5, "mean": 0.9, "std": 0.02}}
    write(models, json.dumps(whole if line is None else line))
    return models / name


def write(models, text):
    with (models / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def test_one_run_alone(models):
    found = compare_runs(leave(models, "a", range(30)))
    assert found.best is None
    assert "a: 30 of 40 test photos right. No other run" in found.in_words()
    assert list(found.shown().index) == ["a"]
    assert result_plots.runs_compared(found) is None


def test_the_table_says_what_a_run_was(models):
    row = compare_runs(leave(models, "a", range(30))).shown().loc["a"]
    assert row.to_dict() == {
        "data set": "pets",
        "backbone": "ResNet50",
        "head": "64-32",
        "test": "30/40",
        "95 % interval": "0.60–0.86",
        "cross-validation": "0.90",
        "leaks": "2",
        "seconds": "31",
    }


def test_a_few_photos_more_are_not_distinguishable(models):
    leave(models, "old", range(2, 33))
    found = compare_runs(leave(models, "new", range(34)))
    assert (found.won, found.lost) == (3, 0)
    assert found.p_value == binomtest(3, 3).pvalue
    assert found.verdict() == "not distinguishable"
    assert "The other run on the same photos, old (ResNet50, head 64-32): 31." in found.in_words()
    assert "not distinguishable (McNemar's exact test, p = 0.25)" in found.in_words()


@pytest.mark.parametrize("mine, other, said", [(range(36), range(8, 16), "better"), (range(9), range(36), "worse")])
def test_a_clear_difference_is_called_one(models, mine, other, said):
    leave(models, "old", other)
    found = compare_runs(leave(models, "new", mine))
    assert found.verdict() == f"this run is {said}"
    won, lost = len(set(mine) - set(other)), len(set(other) - set(mine))
    assert (found.won, found.lost) == (won, lost)
    assert found.p_value == binomtest(won, won + lost).pvalue < 0.05


def test_the_best_of_many_pays_for_the_choice_and_alike_runs_are_one(models):
    for name, right in (("a", range(8, 16)), ("b", range(8, 16)), ("c", range(8, 17)), ("d", range(8, 12))):
        leave(models, name, right)
    found = compare_runs(leave(models, "new", range(23)))
    assert (found.best, found.choices, found.won, found.lost) == ("c", 3, 14, 0)
    assert found.p_value == 3 * binomtest(14, 14).pvalue
    assert "corrected for the choice among 3)" in found.in_words()


def test_many_runs_of_luck_are_rarely_told_apart(tmp_path):
    rng, told = np.random.default_rng(0), 0
    for number in range(30):
        models = tmp_path / str(number)
        models.mkdir()
        for run in range(12):
            last = leave(models, f"luck {run}", np.flatnonzero(rng.random(PHOTOS) < 0.5))
        told += compare_runs(last).verdict() != "not distinguishable"
    assert told <= 2


def test_the_same_answers(models):
    leave(models, "old", range(30))
    assert (
        "Both have the same ones right: not distinguishable."
        in compare_runs(leave(models, "new", range(30))).in_words()
    )


def test_the_best_other_run_is_the_one_compared_with_and_of_equals_the_newest(models):
    for name, right in (("good1", range(30)), ("good2", range(1, 31)), ("bad", range(10))):
        leave(models, name, right)
    found = compare_runs(leave(models, "new", range(20)))
    assert found.best == "good2"
    assert "The best of 3 others on the same photos, good2" in found.in_words()


def test_the_order_of_the_rows_does_not_matter(models):
    old = leave(models, "old", range(10, 40))
    table = pd.read_csv(old / "predictions.csv").sample(frac=1, random_state=1)
    table.to_csv(old / "predictions.csv", index=False)
    found = compare_runs(leave(models, "new", range(30)))
    assert (found.won, found.lost) == (10, 10)


@pytest.mark.parametrize(
    "change",
    [{"dataset": "cars"}, {"prefix": "q"}, {"photos": PHOTOS - 1}, {"photos": PHOTOS + 2}, {"classes": ("dog", "cat")}],
    ids=["data set", "photos", "fewer", "more", "labels"],
)
def test_other_photos_are_counted_and_never_mixed(models, change):
    leave(models, "other", range(5), **change)
    found = compare_runs(leave(models, "new", range(30)))
    assert found.best is None
    assert list(found.runs["run"]) == ["new"]
    assert found.elsewhere == {change.get("dataset", "pets"): 1}
    assert (
        f"Not compared, because their test photos are others: runs 1 on {change.get('dataset', 'pets')}."
        in found.in_words()
    )


def test_runs_of_old_without_digests_are_known_by_name(models):
    leave(models, "old", range(20), drop=["digest", "correct"])
    found = compare_runs(leave(models, "new", range(30)))
    assert (found.best, found.won, found.lost) == ("old", 10, 0)


def test_renamed_photos_are_still_the_same(models):
    old = leave(models, "old", range(20))
    table = pd.read_csv(old / "predictions.csv")
    table["original"] = "moved/" + table["original"]
    table.to_csv(old / "predictions.csv", index=False)
    assert compare_runs(leave(models, "new", range(30))).best == "old"


def test_a_photo_that_is_there_twice_counts_twice(models):
    for name, right in (("old", {0, 1}), ("new", {0})):
        leave(models, name, right, photos=4)
        table = pd.read_csv(models / name / "predictions.csv")
        test = table["split"] == "test"
        table.loc[test, ["digest", "original", "label"]] = ["same", "same.jpg", "cat"]
        table.to_csv(models / name / "predictions.csv", index=False)
    found = compare_runs(models / "new")
    assert list(found.runs["photos"]) == [4, 4]


def test_what_cannot_be_used_is_named(models):
    leave(models, "gone", range(30))
    (models / "gone" / "predictions.csv").unlink()
    write(models, '{"run": "cut", "dataset": "pe')
    write(models, "[1, 2]")
    write(models, '{"dataset": "pets"}')
    write(models, '{"run": "../elsewhere", "dataset": "pets", "classes": ["cat", "dog"]}')
    write(models, "")
    leave(models, "headless", range(30), drop=["predicted", "correct"])
    (leave(models, "empty", range(30)) / "predictions.csv").write_text("")
    leave(models, "bare", range(30), line={"run": "bare", "dataset": "pets", "classes": ["cat", "dog"]})
    odd = {"run": "odd", "dataset": "pets", "classes": ["cat", "dog"], "settings": None, "seconds": 3, "leaks": "?"}
    leave(models, "odd", range(30), line=odd)
    found = compare_runs(leave(models, "new", range(30)))
    assert list(found.runs["run"]) == ["bare", "odd", "new"]
    assert found.shown().loc["bare", ["backbone", "head", "cross-validation", "leaks", "seconds"]].tolist() == [
        "?",
        "?",
        "–",
        "–",
        "–",
    ]
    text = found.in_words()
    for said in ("gone has no predictions.csv any more", "headless/predictions.csv has no column predicted"):
        assert said in text
    for number in (2, 3, 4, 5):
        assert f"line {number} of runs.jsonl is not a whole line of a run" in text
    assert "empty/predictions.csv cannot be read" in text
    assert len(found.left_out) == 7


def test_bytes_that_are_no_text(models):
    with (models / "runs.jsonl").open("wb") as file:
        file.write(b'\xff\xfe{"run"\n')
    assert len(compare_runs(leave(models, "new", range(30))).left_out) == 1


def test_of_a_name_that_was_run_again_the_last_counts(models):
    leave(models, "again", range(10))
    leave(models, "other", range(20))
    leave(models, "again", range(30))
    found = compare_runs(models / "again")
    assert list(found.runs["run"]) == ["other", "again"]
    assert (found.won, found.lost) == (10, 0)


def test_classes_are_text_whatever_they_look_like(models):
    leave(models, "old", range(20), classes=("NA", "001"))
    found = compare_runs(leave(models, "new", range(30), classes=("NA", "001")))
    assert list(found.runs["right"]) == [20, 30]


def test_a_dozen_rows_with_the_best_among_them(models):
    leave(models, "best", range(39))
    for number in range(MOST_RUNS + 3):
        run = leave(models, f"run{number}", range(20 + number % 3))
    found = compare_runs(run)
    shown = list(found.shown().index)
    assert len(shown) == MOST_RUNS
    assert shown[0] == found.best == "best"
    assert shown[-1] == run.name
    assert len(found.runs) == MOST_RUNS + 4


def test_a_run_that_is_not_finished_is_told(models):
    run = leave(models, "a", range(30))
    (models / "runs.jsonl").unlink()
    with pytest.raises(ValueError, match="a has no line in runs"):
        compare_runs(run)


def test_the_plot_marks_this_run(models):
    leave(models, "old $1$", range(20))
    figure = result_plots.runs_compared(compare_runs(leave(models, "new", range(30))))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["old $1$", "new (this run)"]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [0.5, 0.75]


def test_fine_tuned_runs_say_so(models):
    line = {"run": "a", "dataset": "pets", "classes": ["cat", "dog"], "fine_tuning": {"kept": True}}
    found = compare_runs(leave(models, "a", range(3), line=line | {"settings": {"HEAD": [], "FINE_TUNE_LAYERS": 20}}))
    assert found.shown().loc["a", "head"] == "none, 20 layers fine-tuned"


def test_runs_with_batch_norm_say_so(models):
    line = {"run": "a", "dataset": "pets", "classes": ["cat", "dog"], "settings": {"HEAD": [64, 8], "BATCH_NORM": True}}
    assert compare_runs(leave(models, "a", range(3), line=line)).shown().loc["a", "head"] == "64-8 with BatchNorm"
