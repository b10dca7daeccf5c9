"""Comparison of runs on the same test photos only, by a paired test, also if files of old runs are missing."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from phototransfer.evaluate.comparison import _MAX_ROWS, compare_runs

PHOTOS = 40


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def write_run(models, name, correct, *, photos=PHOTOS, prefix="p", line=None, drop=(), classes=("cat", "dog"), **more):
    """Write the files of a run whose predictions are correct for the test photos in `correct`."""
    rows = []
    for number in range(photos):
        label = classes[number % 2]
        predicted = label if number in correct else classes[1 - number % 2]
        rows.append((f"{prefix}{number}.jpg", label, "test", f"digest-{prefix}{number}", predicted))
        rows.append((f"t{name}{number}.jpg", label, "train", f"digest-t{name}{number}", label))
    table = pd.DataFrame(rows, columns=["original", "label", "split", "digest", "predicted"])
    table["correct"] = table["label"] == table["predicted"]
    (models / name).mkdir(exist_ok=True)
    table.drop(columns=list(drop)).to_csv(models / name / "predictions.csv", index=False)
    whole = {"finished": "2026-01-01T00:00:00", "run": name, "dataset": "pets", "classes": list(classes)} | more
    whole |= {"backbone": "ResNet50", "settings": {"HEAD": [64, 32]}, "seconds": {"total": 31.4}}
    whole |= {"leaks": {"pairs": 3, "test_photos": 2}, "cross_validation": {"folds": 5, "mean": 0.9, "std": 0.02}}
    write_line(models, json.dumps(whole if line is None else line))
    return models / name


def write_line(models, text):
    with (models / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def test_a_single_run_is_not_compared(models):
    result = compare_runs(write_run(models, "a", range(30)))
    assert result.best is None and result.plot() is None
    assert "30 of 40" in result.summary() and "No other run" in result.summary()
    assert list(result.table().index) == ["a"]


def test_a_row_describes_the_run(models):
    row = compare_runs(write_run(models, "a", range(30))).table().loc["a"]
    assert row.to_dict() == {
        "data set": "pets",
        "backbone": "ResNet50",
        "head": "64-32",
        "test": "30/40",
        "95 % interval": "0.60–0.86",
        "cross-validation": "0.90",
        "duplicates": "2",
        "seconds": "31",
    }


def test_a_small_difference_is_not_significant(models):
    write_run(models, "old", range(2, 33))
    result = compare_runs(write_run(models, "new", range(34)))
    assert (result.won, result.lost) == (3, 0)
    assert result.p_value == binomtest(3, 3).pvalue
    assert result.state == "not significantly different"
    assert "old (ResNet50, head 64-32), 31 correct." in result.summary()
    assert "not significantly different" in result.summary() and "p = 0.25" in result.summary()


@pytest.mark.parametrize("mine, other, state", [(range(36), range(8, 16), "better"), (range(9), range(36), "worse")])
def test_a_large_difference_is_significant(models, mine, other, state):
    write_run(models, "old", other)
    result = compare_runs(write_run(models, "new", mine))
    assert result.state == state
    assert f"this run is {state}" in result.summary()
    won, lost = len(set(mine) - set(other)), len(set(other) - set(mine))
    assert (result.won, result.lost) == (won, lost)
    assert result.p_value == binomtest(won, won + lost).pvalue < 0.05


def test_the_choice_among_many_is_corrected_for_and_equal_runs_are_one(models):
    for name, correct in (("a", range(8, 16)), ("b", range(8, 16)), ("c", range(8, 17)), ("d", range(8, 12))):
        write_run(models, name, correct)
    result = compare_runs(write_run(models, "new", range(23)))
    assert (result.best, result.choices, result.won, result.lost) == ("c", 3, 14, 0)
    assert result.p_value == 3 * binomtest(14, 14).pvalue
    assert "choice among 3" in result.summary()


def test_random_runs_are_rarely_significantly_different(tmp_path):
    rng, different = np.random.default_rng(0), 0
    for number in range(30):
        models = tmp_path / str(number)
        models.mkdir()
        for run in range(12):
            last = write_run(models, f"luck {run}", np.flatnonzero(rng.random(PHOTOS) < 0.5))
        different += compare_runs(last).state != "not significantly different"
    assert different <= 2


def test_equal_predictions_are_not_significantly_different(models):
    write_run(models, "old", range(30))
    result = compare_runs(write_run(models, "new", range(30)))
    assert (result.state, result.won, result.lost) == ("not significantly different", 0, 0)


def test_the_best_other_run_is_compared_ties_by_the_newest(models):
    for name, correct in (("good1", range(30)), ("good2", range(1, 31)), ("bad", range(10))):
        write_run(models, name, correct)
    result = compare_runs(write_run(models, "new", range(20)))
    assert result.best == "good2"
    assert "Best of 3 other runs" in result.summary()


def test_the_order_of_the_rows_does_not_matter(models):
    old = write_run(models, "old", range(10, 40))
    table = pd.read_csv(old / "predictions.csv").sample(frac=1, random_state=1)
    table.to_csv(old / "predictions.csv", index=False)
    result = compare_runs(write_run(models, "new", range(30)))
    assert (result.won, result.lost) == (10, 10)


@pytest.mark.parametrize(
    "change",
    [{"dataset": "cars"}, {"prefix": "q"}, {"photos": PHOTOS - 1}, {"photos": PHOTOS + 2}, {"classes": ("dog", "cat")}],
    ids=["data set", "photos", "fewer", "more", "labels"],
)
def test_other_photos_are_counted_and_never_mixed(models, change):
    write_run(models, "other", range(5), **change)
    result = compare_runs(write_run(models, "new", range(30)))
    assert result.best is None
    assert list(result.runs["run"]) == ["new"]
    assert result.elsewhere == {change.get("dataset", "pets"): 1}
    assert f"1 run on {change.get('dataset', 'pets')}." in result.summary()


def test_photos_of_runs_without_digests_are_matched_by_name(models):
    write_run(models, "old", range(20), drop=["digest", "correct"])
    result = compare_runs(write_run(models, "new", range(30)))
    assert (result.best, result.won, result.lost) == ("old", 10, 0)


def test_renamed_photos_are_still_the_same(models):
    old = write_run(models, "old", range(20))
    table = pd.read_csv(old / "predictions.csv")
    table["original"] = "moved/" + table["original"]
    table.to_csv(old / "predictions.csv", index=False)
    assert compare_runs(write_run(models, "new", range(30))).best == "old"


def test_a_photo_that_occurs_twice_counts_twice(models):
    for name, correct in (("old", {0, 1}), ("new", {0})):
        write_run(models, name, correct, photos=4)
        table = pd.read_csv(models / name / "predictions.csv")
        test = table["split"] == "test"
        table.loc[test, ["digest", "original", "label"]] = ["same", "same.jpg", "cat"]
        table.to_csv(models / name / "predictions.csv", index=False)
    result = compare_runs(models / "new")
    assert list(result.runs["total"]) == [4, 4]


def test_what_cannot_be_used_is_named(models):
    write_run(models, "gone", range(30))
    (models / "gone" / "predictions.csv").unlink()
    write_line(models, '{"run": "cut", "dataset": "pe')
    write_line(models, "[1, 2]")
    write_line(models, '{"dataset": "pets"}')
    write_line(models, '{"run": "../elsewhere", "dataset": "pets", "classes": ["cat", "dog"]}')
    write_line(models, "")
    write_run(models, "headless", range(30), drop=["predicted", "correct"])
    (write_run(models, "empty", range(30)) / "predictions.csv").write_text("")
    write_run(models, "bare", range(30), line={"run": "bare", "dataset": "pets", "classes": ["cat", "dog"]})
    odd = {"run": "odd", "dataset": "pets", "classes": ["cat", "dog"], "settings": None, "seconds": 3, "leaks": "?"}
    write_run(models, "odd", range(30), line=odd)
    result = compare_runs(write_run(models, "new", range(30)))
    assert list(result.runs["run"]) == ["bare", "odd", "new"]
    assert result.table().loc["bare", ["backbone", "head", "cross-validation", "duplicates", "seconds"]].tolist() == [
        "?",
        "?",
        "–",
        "–",
        "–",
    ]
    text = result.summary()
    for name in ("gone/predictions.csv", "headless/predictions.csv has no column predicted", "empty/predictions.csv"):
        assert name in text
    assert all(f"line {number} of runs.jsonl" in text for number in (2, 3, 4, 5))
    assert len(result.unusable) == 7


def test_a_line_that_is_not_utf8_is_unusable(models):
    with (models / "runs.jsonl").open("wb") as file:
        file.write(b'\xff\xfe{"run"\n')
    assert len(compare_runs(write_run(models, "new", range(30))).unusable) == 1


def test_the_last_run_of_a_name_counts(models):
    write_run(models, "again", range(10))
    write_run(models, "other", range(20))
    write_run(models, "again", range(30))
    result = compare_runs(models / "again")
    assert list(result.runs["run"]) == ["other", "again"]
    assert (result.won, result.lost) == (10, 0)


def test_classes_that_look_like_numbers_are_text(models):
    write_run(models, "old", range(20), classes=("NA", "001"))
    result = compare_runs(write_run(models, "new", range(30), classes=("NA", "001")))
    assert list(result.runs["correct"]) == [20, 30]


def test_the_table_is_limited_and_contains_the_best_run(models):
    write_run(models, "best", range(39))
    for number in range(_MAX_ROWS + 3):
        run = write_run(models, f"run{number}", range(20 + number % 3))
    result = compare_runs(run)
    rows = list(result.table().index)
    assert len(rows) == _MAX_ROWS
    assert rows[0] == result.best == "best"
    assert rows[-1] == run.name
    assert len(result.runs) == _MAX_ROWS + 4


def test_a_run_that_is_not_finished_is_named(models):
    run = write_run(models, "a", range(30))
    (models / "runs.jsonl").unlink()
    with pytest.raises(ValueError, match="a has no line in runs"):
        compare_runs(run)


def test_the_plot_marks_this_run(models):
    write_run(models, "old $1$", range(20))
    figure = compare_runs(write_run(models, "new", range(30))).plot()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["old $1$", "new (this run)"]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [0.5, 0.75]


def test_fine_tuned_runs_say_so(models):
    line = {"run": "a", "dataset": "pets", "classes": ["cat", "dog"], "fine_tuning": {"kept": True}}
    result = compare_runs(
        write_run(models, "a", range(3), line=line | {"settings": {"HEAD": [], "FINE_TUNE_LAYERS": 20}})
    )
    assert result.table().loc["a", "head"] == "none, 20 layers fine-tuned"


def test_runs_with_batch_norm_say_so(models):
    line = {"run": "a", "dataset": "pets", "classes": ["cat", "dog"], "settings": {"HEAD": [64, 8], "BATCH_NORM": True}}
    assert compare_runs(write_run(models, "a", range(3), line=line)).table().loc["a", "head"] == "64-8 with BatchNorm"
