"""Results of one head: numbers, sentences and figures agree with the predictions."""

from types import SimpleNamespace

import numpy as np
import pytest

from builders import draw, photo_table
from phototransfer import evaluate
from phototransfer.evaluate.results import NO, UNSURE, YES


def predicted(labels, predictions, splits="test", **columns):
    table = photo_table(labels, splits, **columns)
    correct = table["label"] == np.array(predictions)
    return table.assign(predicted=list(predictions), probability=0.9, correct=correct)


def training(val_loss):
    history = dict.fromkeys(["loss", "accuracy", "val_accuracy"], [0.5] * len(val_loss)) | {"val_loss": val_loss}
    head = SimpleNamespace(count_params=lambda: 10)
    return evaluate.TrainingHistory.of(SimpleNamespace(history=history), head)


def test_the_best_epoch_has_the_lowest_validation_loss():
    result = training([0.9, 0.4, 0.5])
    assert result.to_dict() == {"epochs": 3, "best_epoch": 2, "parameters": 10}
    assert result.advice() == [] and list(result.tables()["history"]["val_loss"]) == [0.9, 0.4, 0.5]
    [legend] = result.plot().legends
    assert "best epoch: 2" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(
    "val_loss, improving",
    [
        ([0.9, 0.4], True),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], True),
        ([0.9, 0.4, 0.41], False),  # the best epoch is not the last
        ([0.5, 0.4, 0.305, 0.303, 0.302, 0.301, 0.300, 0.2999], False),  # hardly lower
        ([0.30, 0.38, 0.29, 0.37, 0.31, 0.36, 0.285], False),  # up and down
    ],
)
def test_training_that_was_too_short_says_so(val_loss, improving):
    advice = training(val_loss).advice()
    assert bool(advice) == improving
    assert not improving or f"EPOCHS = {2 * len(val_loss)}" in advice[0]


def test_training_that_diverged_says_what_to_change():
    diverged = training([np.nan, np.nan])
    assert "LEARNING_RATE" in diverged.advice()[0] and diverged.best_epoch == 1


def test_predictions_are_added_row_for_row():
    photos = photo_table(["b", "a", "b"])
    added = evaluate.add_predictions(photos, np.array([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]]), ["a", "b"])
    assert list(added["predicted"]) == ["b", "b", "a"] and list(added["correct"]) == [True, False, False]
    assert list(added["probability"]) == [0.8, 0.6, 0.9] and "predicted" not in photos


def test_accuracy_counts_each_split():
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 3 + ["dropped"]
    photos = predicted(["a"] * 4 + ["a", "b"] + ["a", "a", "b"] + ["b"], ["a"] * 10, splits)
    result = evaluate.measure_accuracy(photos)
    numbers = result.to_dict()
    assert (numbers["train"], numbers["val"]) == (1.0, 0.5)
    assert numbers["test"] == numbers["majority"] == pytest.approx(2 / 3)
    low, high = numbers["test_ci95"]
    assert numbers["test_correct"] == 2 and low < 2 / 3 < high
    assert "2 of 3" in result.summary() and "0.67" in result.summary()


def accuracy_of(**correct_of_total):
    """Return the accuracy of so many correct test photos of each class, a="9/10", with three times as many to train."""
    labels, predictions, splits = [], [], []
    for name, counts in correct_of_total.items():
        correct, total = map(int, counts.split("/"))
        other = next(iter(set(correct_of_total) - {name}))
        labels += [name] * 4 * total
        predictions += [name] * correct + [other] * (total - correct) + [name] * 3 * total
        splits += ["test"] * total + ["train"] * 3 * total
    return evaluate.measure_accuracy(predicted(labels, predictions, splits))


def test_uneven_classes_have_balanced_accuracy_and_the_recall_of_the_rarest():
    result = accuracy_of(cat="110/110", dog="2/6")
    numbers, summary = result.to_dict(), result.summary()
    assert result.measure == numbers["measure"] == "balanced accuracy"
    assert (result.test_correct, result.test_total, numbers["test"]) == (112, 116, 112 / 116)
    assert result.balanced == result.test_score == numbers["balanced_accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    low, high = result.test_interval
    assert low < result.balanced < high and high - low > 0.2 and numbers["balanced_accuracy_ci95"] == (low, high)
    assert result.test.rarest == numbers["rarest_class"]["classes"] == ["dog"]
    assert result.test.rarest_score == (2, 6) and numbers["rarest_class"]["recall"] == pytest.approx(1 / 3)
    assert "0.67" in summary and "dog (24 photos): 2 of 6 correct" in summary


def test_even_classes_have_the_accuracy_only_if_the_balanced_one_says_the_same():
    assert "alanced" not in accuracy_of(cat="48/50", dog="47/50").summary()
    assert "alanced" in accuracy_of(cat="50/50", dog="10/30").summary()  # 0.75 and 0.67
    assert accuracy_of(cat="48/50", dog="47/50").to_dict()["rarest_class"] is None


def test_equally_rare_classes_are_counted_together():
    result = accuracy_of(cat="20/20", dog="1/2", hen="2/2")
    assert result.test.rarest == ["dog", "hen"] and result.test.rarest_score == (3, 4)


def test_classes_with_few_test_photos_are_named():
    result = accuracy_of(cat="30/30", dog="30/30", hen="4/4")
    assert result.few_test_photos == result.to_dict()["few_test_photos"] == {"hen": 4}
    assert "hen (4)" in result.summary() and "cat (" not in result.summary()
    untested = predicted(["a", "a", "b", "b"] * 5, ["a", "a", "b", "b"] * 5, ["test", "test", "train", "train"] * 5)
    assert evaluate.measure_accuracy(untested).few_test_photos == {"b": 0}


@pytest.mark.parametrize(
    "counts, majority, guessing",
    [
        ({"cat": "48/50", "dog": "47/50"}, YES, YES),
        ({"cat": "4/5", "dog": "3/5"}, UNSURE, UNSURE),
        ({"cat": "10/50", "dog": "10/50"}, NO, NO),  # worse than chance
        ({"cat": "1000/2000", "dog": "1000/2000"}, NO, NO),
        ({"cat": "110/110", "dog": "0/6"}, NO, UNSURE),  # always the largest class
        ({"cat": "100/110", "dog": "6/6"}, NO, YES),  # a lower accuracy than that of no model, and yet a model
        ({"cat": "1990/2000", "dog": "1/60"}, NO, UNSURE),
    ],
)
def test_the_model_is_compared_with_no_model(counts, majority, guessing):
    result = accuracy_of(**counts)
    assert (result.better_than_majority, result.better_than_guessing) == (majority, guessing)
    assert result.better_than_chance == (guessing if result.measure == "balanced accuracy" else majority)
    summary = result.summary()
    assert ("significantly less" in summary) == (result.better_than_chance == YES)
    if result.test_score <= result.chance_level:
        assert "not better" in summary


def test_the_state_of_no_test_photos_is_unsure():
    result = evaluate.measure_accuracy(predicted(["a", "b"], ["a", "b"], "train"))
    assert result.better_than_chance == UNSURE and result.test_score is result.chance_level is None
    one = evaluate.measure_accuracy(predicted(["a", "b"] * 9, ["a", "b"] * 9, ["test", "train"] * 9))
    assert one.better_than_majority == one.better_than_guessing == UNSURE and one.chance_level is None
    assert "one class" in one.summary() and "not better" not in one.summary()
    assert result.to_dict()["balanced_accuracy"] is None and "no photos" in result.summary()


def test_precision_and_recall_are_averaged_over_classes():
    result = evaluate.measure_per_class(predicted(["a", "a", "a", "b"], ["a", "a", "b", "b"]))
    assert result.table.loc["a", "recall"] == pytest.approx(2 / 3)
    assert result.to_dict() == pytest.approx({"precision": 0.75, "recall": 5 / 6, "f1": (0.8 + 2 / 3) / 2})


def test_few_classes_are_a_matrix_of_test_photos():
    first, second = "true", "photos"  # which are names of columns too
    truth, splits = [first, first, second, second], ["test"] * 3 + ["train"]
    result = evaluate.confusion(predicted(truth, [first, second, second, first], splits), [first, second])
    assert result.to_dict()["mistakes"] == [{"true": first, "predicted": second, "photos": 1, "of_class": 2}]
    [axis] = result.plot().axes
    assert np.array_equal(axis.images[0].get_array(), [[1, 1], [0, 1]])
    assert axis.get_title(loc="left") == "3 test photos" and "1 mistake on 3 test photos" in result.summary()


def test_long_or_strange_names_of_classes_fit_into_the_matrix():
    names = [r"$\bad{ the first of two very long names", "another of two very long names"]
    figure = evaluate.confusion(predicted(names * 5, names * 5), names).plot()
    figure.canvas.draw()
    [axis] = figure.axes
    box = axis.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


def test_for_many_classes_the_most_frequent_mistakes_are_shown():
    classes = [f"class {number:02}" for number in range(30)]
    truth = [*classes, *classes, "class 07", "class 07", "class 04"]
    predictions = classes + classes[:9] + ["class 10"] + classes[10:] + ["class 03", "class 03", "class 05"]
    result = evaluate.confusion(predicted(truth, predictions), classes)
    [axis] = result.plot().axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["class 07 → class 03", "class 09 → class 10", "class 04 → class 05"]
    assert [bar.get_width() for bar in axis.patches] == [2, 1, 1]
    assert [text.get_text() for text in axis.texts] == ["2 of 4", "1 of 2", "1 of 3"]
    most = {"true": "class 07", "predicted": "class 03", "photos": 2, "of_class": 4}
    assert result.to_dict()["mistakes"][0] == most and "4 mistakes on 63 test photos" in result.summary()
    flawless = evaluate.confusion(predicted(truth, truth), classes)
    assert flawless.plot() is None and "No mistakes" in flawless.summary() and flawless.to_dict() == {"mistakes": []}


def test_two_classes_have_a_roc_curve_of_the_test_photos():
    photos = photo_table(["a", "b", "a", "b", "a"], ["test"] * 4 + ["train"])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5], [0, 1]])
    result = evaluate.ranking(photos, probabilities, ["a", "b"])
    assert result.to_dict() == {"roc_auc": pytest.approx(0.75)}
    title = result.plot().axes[0].get_title(loc="left")
    assert "0.75" in result.summary() and "4 test photos: AUC 0.75" in title


@pytest.mark.filterwarnings("error")
def test_more_classes_have_top_k_accuracies():
    classes = ["a", "b", "c"]
    photos = photo_table(["a", "b", "c", "a"], ["test"] * 3 + ["train"])
    probabilities = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0, 0, 1]])
    result = evaluate.ranking(photos, probabilities, classes)
    assert result.to_dict()["top_k"] == pytest.approx({"1": 1 / 3, "2": 2 / 3, "3": 1.0})
    [axis] = result.plot().axes
    assert [text.get_text() for text in axis.texts] == ["0.33", "0.67", "1.00"]
    assert "3 test photos" in axis.get_title(loc="left")
    assert len({text.get_fontsize() for text in axis.texts}) == 1


@pytest.fixture
def photos_on_disk(tmp_path):
    """Sixteen test photos, six of them predicted incorrectly, and a training photo that is also wrong."""
    labels = ["a", "b"] * 8 + ["a"]
    table = predicted(labels, ["a"] * 12 + ["b", "b"] + ["a", "a"] + ["b"], ["test"] * 16 + ["train"])
    table["path"] = [str(tmp_path / f"{number}.png") for number in range(17)]
    table["probability"] = np.linspace(0.5, 0.98, 17)
    for number, path in enumerate(table["path"]):
        draw(number).save(path)
    return table


def test_titles_state_the_real_number_of_photos(photos_on_disk):
    wrong = int((~photos_on_disk["correct"]).sum()) - 1
    result = evaluate.example_predictions(photos_on_disk, seed=1)
    assert result.text == f"All 16 test photos, {16 - wrong} correct"
    assert result.plot().get_suptitle() == result.text and len(result.plot().axes) >= 16
    assert evaluate.example_predictions(photos_on_disk, seed=1, count=5).text.startswith("5 randomly chosen of 16 test")


def test_the_most_confident_mistakes_come_first(photos_on_disk):
    wrong = photos_on_disk[(photos_on_disk["split"] == "test") & ~photos_on_disk["correct"]]
    result = evaluate.worst_mistakes(photos_on_disk, count=3)
    assert list(result.shown.index) == list(wrong.index[::-1][:3])
    assert result.text.startswith(f"{len(wrong)} mistakes on 16 test photos")
    title = result.plot().axes[0].get_title(loc="center")
    assert "true: " in title and result.shown["original"].iloc[0].split("/")[1] in title
    none = evaluate.worst_mistakes(photos_on_disk.assign(correct=True))
    assert none.plot() is None and none.summary().startswith("0 mistakes")
