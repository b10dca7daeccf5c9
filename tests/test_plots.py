"""Figures say what the numbers say."""

import numpy as np

from helpers import plots


def bars(figure):
    [axis] = figure.axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    texts = [text.get_text() for text in axis.texts]
    return list(zip(names, [patch.get_width() for patch in axis.patches], texts, strict=True))


def test_few_classes_are_a_matrix():
    [axis] = plots.confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]).axes
    assert np.array_equal(axis.images[0].get_array(), [[1, 1], [0, 1]])


def test_of_many_classes_the_most_frequent_mistakes_are_shown():
    classes = [f"class {number:02}" for number in range(30)]
    truth = classes * 2 + ["class 07", "class 07", "class 04"]
    predicted = classes + classes[:9] + ["class 10"] + classes[10:] + ["class 03", "class 03", "class 05"]
    shown = bars(plots.confusion(truth, predicted, classes))
    assert shown == [
        ("class 07 for class 03", 2, "2 of 4"),
        ("class 09 for class 10", 1, "1 of 2"),
        ("class 04 for class 05", 1, "1 of 3"),
    ]


def test_many_classes_without_a_mistake_are_an_empty_figure_that_says_so():
    classes = [f"class {number:02}" for number in range(30)]
    figure = plots.confusion(classes, classes, classes)
    assert bars(figure) == []
    assert "0 mistakes in all" in figure.get_suptitle()
