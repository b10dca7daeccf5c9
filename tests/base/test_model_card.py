"""The model card says what the run computed, and nothing that it did not."""

import copy
import html
import re

import pytest
from markdown_it import MarkdownIt

from phototransfer.finding import QUESTIONS
from phototransfer.model_card import model_card

METRICS = {
    "run": "pets-1",
    "dataset": "pets",
    "classes": ["cat", "dog"],
    "class_counts": {"cat": {"train": 31, "val": 7, "test": 9}, "dog": {"train": 32, "val": 8, "test": 10}},
    "reading": {"shape": "class folders", "why": "each folder has photos"},
    "photos": {"found": 99, "used": 97, "skipped": 2, "train": 63, "val": 15, "test": 19},
    "backbone": "EfficientNetLite0",
    "weights": "imagenet",
    "fell_back_from": "ResNet50",
    "image_size": 224,
    "head": {"epochs": 16, "best_epoch": 11, "parameters": 1843714},
    "fine_tuning": None,
    "accuracy": {"test": 17 / 19, "test_correct": 17, "test_ci95": [0.69, 0.97], "majority": 0.53},
    "macro": {"precision": 0.91, "recall": 0.89, "f1": 0.9},
    "cross_validation": {"folds": 5, "accuracy": 0.8765, "ci95": [0.81, 0.92]},
    "conclusion": ["Of 100 new photos, about 88."],
    "verdict": {"leaks": "found: 1 of 19 test photos", "shift": "cannot tell, too few photos"},
    "states": {"leaks": "found", "shift": "cannot tell"},
    "calibration": None,
    "novelty": None,
    "saved_model": {"photos": 19, "same": 18},
    "settings": {"HEAD": [16], "DATASET": "pets"},
    "versions": {"keras": "3.15.1"},
    "machine": {"system": "Linux", "processor": "x86_64"},
    "seconds": {"total": 61.4},
}


def text_of(card: str) -> str:
    """The card as people read it: rendered, without tags."""
    rendered = MarkdownIt("commonmark").enable("table").render(card.split("---\n", 2)[2])
    return " ".join(re.sub("<[^>]+>", " ", rendered).split())


def test_the_numbers_of_the_run_are_in_the_card():
    card = model_card(METRICS)
    assert card.startswith("---\nlibrary_name: keras\n")
    text = text_of(card)
    for words in (
        "17 of 19",
        "0.69 to 0.97",
        "0.88",
        "0.81 to 0.92",
        "cat 31 7 9",
        "dog 32 8 10",
        "97 photos",
        "3.15.1",
    ):
        assert words in text, words
    for words in ("ResNet50", "found: 1 of 19 test photos", "18", "[16]", "Of 100 new photos, about 88."):
        assert words in text, words
    assert all(question in text for question in QUESTIONS.values())


def test_what_was_not_computed_is_said_to_be_so():
    metrics = copy.deepcopy(METRICS)
    nothing = (
        "cross_validation",
        "macro",
        "conclusion",
        "verdict",
        "head",
        "reading",
        "class_counts",
        "states",
        "saved_model",
    )
    metrics.update(dict.fromkeys(nothing), accuracy={"test": None}, weights=None)
    text = text_of(model_card(metrics))
    assert text.lower().count("not computed") >= 2 + len(QUESTIONS)
    assert "0.88" not in text and "17 of 19" not in text and "random weights" in text


@pytest.mark.parametrize(
    "name", ["<b>cat</b>", "a|b", "*cat*", "[cat](http://x)", "`cat`", "1. cat", "# cat", "$c$", "a_b_c"]
)
def test_names_from_people_are_shown_as_they_are(name):
    metrics = METRICS | {"dataset": name, "class_counts": {name: {"train": 1, "val": 1, "test": 1}}}
    card = model_card(metrics)
    rendered = MarkdownIt("commonmark").enable("table").render(card.split("---\n", 2)[2])
    assert "<b>cat" not in rendered and "<a " not in rendered and "<em>" not in rendered
    plain = html.unescape(re.sub("<[^>]+>", "", rendered))
    assert f"Classifier of photos: {name}" in plain
    row = next(line for line in rendered.split("<tr>") if html.escape(name, quote=False) in line and "<td>" in line)
    assert row.count("<td>") == 4


def test_balanced_accuracy_is_given_where_it_is_the_measure():
    balanced = {"balanced_accuracy": 0.6543, "balanced_accuracy_ci95": [0.51, 0.78]}
    accuracy, crossed = METRICS["accuracy"] | balanced, METRICS["cross_validation"] | balanced
    for measure, expected in (("accuracy", 0), ("balanced accuracy", 2)):
        metrics = METRICS | {
            "accuracy": accuracy | {"measure": measure},
            "cross_validation": crossed | {"measure": measure},
        }
        assert text_of(model_card(metrics)).count("0.65 (95 % interval 0.51 to 0.78)") == expected


def test_whether_fine_tuning_was_kept_and_which_classes_are_left_out():
    kept = text_of(model_card(METRICS | {"fine_tuning": {"kept": True, "weights": 412160}}))
    undone = text_of(model_card(METRICS | {"fine_tuning": {"kept": False, "weights": 412160}}))
    assert "412,160" in kept and "412,160" not in undone
    assert "hamster" in text_of(model_card(METRICS | {"left_out": {"hamster": "only 1 photo"}}))


@pytest.mark.parametrize("path", ["/home/lucy/my photos/pets", r"C:\Users\lucy\my photos\pets", "/home/lucy/pets/"])
def test_folders_of_the_machine_are_not_in_the_card(path):
    card = model_card(METRICS | {"settings": {"DATASET": path, "RELABEL": "fixes/suspects.csv"}})
    assert "lucy" not in card and '`"pets"`' in card and "fixes/suspects.csv" in card


def test_a_run_that_stopped_before_its_results_has_a_card():
    photos = dict.fromkeys(METRICS["photos"])
    empty = {"backbone": None, "weights": None, "dataset": None, "classes": None, "photos": photos, "accuracy": {}}
    text = text_of(model_card(METRICS | empty))
    assert "None" not in text.replace("[None]", "")  # in the code that loads the model
