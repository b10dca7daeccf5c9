"""Results of one head: numbers, sentences and figures agree with the predictions."""

from types import SimpleNamespace

import numpy as np
import pytest

from builders import draw, photo_table
from phototransfer import evaluate


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


def test_training_that_was_too_short_or_diverged_says_what_to_change():
    assert "EPOCHS = 4" in training([0.9, 0.4]).advice()[0]
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
