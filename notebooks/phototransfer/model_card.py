"""MODEL_CARD.md: what somebody who gets a saved model has to know, from the numbers of its run."""

import html
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from phototransfer.finding import QUESTIONS
from phototransfer.stats import format_share

_MAX_CLASSES = 200  # rows of the table of classes
_SPLITS = ("train", "val", "test")
_NOT_COMPUTED = "Not computed in this run."
_LOAD = """\
import io
import json

import keras
import numpy as np
from PIL import Image, ImageCms, ImageOps

model = keras.models.load_model("model.keras")
classes = json.load(open("labels.json", encoding="utf-8"))
photo = ImageOps.exif_transpose(Image.open("photo.jpg"))  # upright
if "icc_profile" in photo.info:  # newer phones store Display P3 colours
    profile = ImageCms.ImageCmsProfile(io.BytesIO(photo.info["icc_profile"]))
    photo = ImageCms.profileToProfile(photo, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
photo = photo.convert("RGB")
probabilities = np.asarray(model(np.asarray(photo)[None]))[0]
print(classes[probabilities.argmax()], probabilities.max())
"""


def model_card(metrics: Mapping[str, Any]) -> str:
    """Return a model card in Markdown, with the sections of model hubs.

    The sections follow M. Mitchell et al., "Model cards for model reporting", FAT* 2019, as Hugging Face uses them.

    Parameters
    ----------
    metrics : mapping
        The content of `metrics.json`: see `Report.metrics`. What is null there is said to be not computed.
    """
    dataset = _plain(metrics["dataset"] or "photos")
    sections = {
        "Model details": _details(metrics),
        "Uses": _uses(metrics),
        "How to use the model": f"With Keras and Pillow alone:\n\n```python\n{_LOAD}```\n\n{_LOADING}",
        "Training data": _training_data(metrics),
        "Training procedure": _training_procedure(metrics),
        "Evaluation": _evaluation(metrics),
        "Can the score be believed?": _findings(metrics),
        "Limitations": _limitations(metrics),
        "Technical specifications": _specifications(metrics),
    }
    front = "---\nlibrary_name: keras\npipeline_tag: image-classification\ntags:\n- transfer-learning\n---"
    body = [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join([front, f"# Classifier of photos: {dataset}", *body]) + "\n"


_LOADING = (
    "Give photos in their own size with values from 0 to 255: resizing and preprocessing are layers of the model. With "
    "the package `phototransfer`: `python -m phototransfer.classify photo.jpg`, or a page to try it with "
    "`python -m phototransfer.app`."
)


def _details(metrics: Mapping[str, Any]) -> str:
    backbone, weights = metrics["backbone"], metrics["weights"]
    if backbone is None:
        return _items([f"Network: {_NOT_COMPUTED}", f"Run: {_plain(metrics['run'])}."])
    origin = {"imagenet": "trained on ImageNet", None: "with random weights"}.get(weights, "with weights from a file")
    lines = [
        f"Classifies a photo as one of {len(metrics['classes'] or [])} classes.",
        f"Network: {_plain(backbone)}, {origin}, with a head that was trained on its features.",
    ]
    if metrics["fell_back_from"]:
        lines.append(f"The weights of {metrics['fell_back_from']} were asked for and could not be downloaded.")
    lines.append(f"Run: {_plain(metrics['run'])}.")
    return _items(lines)


def _uses(metrics: Mapping[str, Any]) -> str:
    novelty = metrics.get("novelty")
    unlike = "Whether a photo is unlike the training photos was not measured in this run."
    if novelty:
        unlike = (
            "The package `phototransfer` says when a photo is unlike the training photos; a similar subject is often "
            "not recognized as unlike."
        )
    return _items(
        [
            "Meant for photos like those it was trained on: the same kinds of subjects, taken in the same ways.",
            "Out of scope: photos of none of the classes. The model names a class for any picture. " + unlike,
            "Not meant for decisions about people, health or safety without a test for that purpose.",
        ]
    )


def _training_data(metrics: Mapping[str, Any]) -> str:
    photos, reading = metrics["photos"], metrics["reading"] or {}
    counts: dict[str, dict[str, int]] = metrics.get("class_counts") or {}
    if photos["used"] is None:
        return _NOT_COMPUTED
    lines = [
        f"Data set: {_plain(metrics['dataset'] or 'not known')}, {photos['used']} photos used of {photos['found']} "
        f"files found, {photos['skipped']} skipped.",
        f"Photos: {photos['train']} to train on, {photos['val']} for validation, {photos['test']} to test on.",
    ]
    if reading:
        lines.append(f"Read as {_plain(reading['shape'])}, because {_plain(reading['why'])}.")
    for name, reason in (metrics.get("left_out") or {}).items():
        lines.append(f"Class that is not used: {_plain(name)} ({_plain(reason)}).")
    lines.append("The licence of the photos is not known to this program: name it here before you share the model.")
    rows = [[_plain(name), *(str(count.get(split, 0)) for split in _SPLITS)] for name, count in counts.items()]
    table = _table(["class", *_SPLITS], rows[:_MAX_CLASSES])
    more = f"\n\n… and {len(rows) - _MAX_CLASSES} more classes." if len(rows) > _MAX_CLASSES else ""
    return f"{_items(lines)}\n\n{table}{more}" if rows else _items(lines)


def _training_procedure(metrics: Mapping[str, Any]) -> str:
    head, tuning = metrics["head"], metrics["fine_tuning"]
    lines = []
    if head:
        lines.append(
            f"The head has {head['parameters']:,} parameters; the best of {head['epochs']} epochs, by the validation "
            f"loss, is the {_ordinal(head['best_epoch'])}."
        )
    else:
        lines.append(f"Training of the head: {_NOT_COMPUTED}")
    if not tuning:
        lines.append("No layer of the network was fine-tuned.")
    elif tuning["kept"]:
        lines.append(f"Fine-tuning: {tuning['weights']:,} weights of the network were trained too.")
    else:
        lines.append("Fine-tuning was tried and undone, because it was no better on the validation photos.")
    rows = [[f"`{name}`", _code(_without_folders(value))] for name, value in metrics["settings"].items()]
    return f"{_items(lines)}\n\n{_table(['setting', 'value'], rows)}"


def _evaluation(metrics: Mapping[str, Any]) -> str:
    accuracy, total = metrics["accuracy"], metrics["photos"]["test"]
    lines = []
    if accuracy.get("test_correct") is None:
        lines.append(f"Accuracy on test photos: {_NOT_COMPUTED}")
    else:
        share, majority = accuracy["test"], accuracy.get("majority")
        guess = "" if majority is None else f"; always predicting the largest class: {format_share(majority)}"
        lines.append(
            f"Test photos: {accuracy['test_correct']} of {total} correct, accuracy {format_share(share)}"
            f"{_interval(accuracy.get('test_ci95'))}{guess}."
        )
    if accuracy.get("test_without_leaks") is not None:
        lines.append(
            f"Without test photos that are in training too: {format_share(accuracy['test_without_leaks'])}"
            f"{_interval(accuracy['test_without_leaks_ci95'])}."
        )
    lines += _balanced(accuracy)
    crossed = metrics["cross_validation"]
    if crossed:
        lines.append(
            f"Cross-validation ({crossed['folds']} folds): accuracy {format_share(crossed['accuracy'])}"
            f"{_interval(crossed['ci95'])}."
        )
        lines += _balanced(crossed, " in cross-validation")
    else:
        lines.append(f"Cross-validation: {_NOT_COMPUTED}")
    if macro := metrics["macro"]:
        values = ", ".join(f"{name} {format_share(value)}" for name, value in macro.items() if value is not None)
        lines.append(f"Mean over the classes: {values}.")
    else:
        lines.append(f"Mean over the classes: {_NOT_COMPUTED}")
    if calibration := metrics.get("calibration"):
        lines.append(f"Probabilities: scaled by the temperature {calibration['temperature']:.2f} (1.00: as trained).")
    else:
        lines.append(f"Calibration of the probabilities: {_NOT_COMPUTED}")
    return _items(lines)


def _balanced(scores: Mapping[str, Any], where: str = "") -> list[str]:
    """Return a line on balanced accuracy if that is the measure for these photos: their classes differ in size."""
    value = scores.get("balanced_accuracy")
    if value is None or scores["measure"] == "accuracy":
        return []
    return [f"Balanced accuracy{where}: {format_share(value)}{_interval(scores['balanced_accuracy_ci95'])}."]


def _findings(metrics: Mapping[str, Any]) -> str:
    parts = []
    if metrics["conclusion"]:
        parts.append("\n\n".join(_plain(line) for line in metrics["conclusion"]))
    verdict = metrics["verdict"] or {}
    rows = [[question, _plain(verdict.get(name, "not computed"))] for name, question in QUESTIONS.items()]
    return "\n\n".join([*parts, _table(["question", "answer"], rows)])


def _limitations(metrics: Mapping[str, Any]) -> str:
    lines = ["The score describes photos of the kind that was tested on, and no others."]
    found = [QUESTIONS[name] for name, state in (metrics["states"] or {}).items() if state in ("found", "borderline")]
    unknown = [QUESTIONS[name] for name, state in (metrics["states"] or {}).items() if state == "cannot tell"]
    if found:
        lines.append(f"A problem was found, or nearly: {' '.join(found)}")
    if unknown:
        lines.append(f"Too few photos to answer: {' '.join(unknown)}")
    if saved := metrics.get("saved_model"):
        lines.append(
            f"On the original files of {saved['photos']} test photos, the saved model gives the same class as in the "
            f"evaluation for {saved['same']}."
        )
    if not metrics["weights"]:
        lines.append("The network has random weights: the model is of no use but for trying the program.")
    return _items(lines)


def _specifications(metrics: Mapping[str, Any]) -> str:
    machine = metrics["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
    seconds = metrics["seconds"]["total"]
    return _items(
        [
            f"Input: RGB photos of any size, 0 to 255 (the network sees {metrics['image_size']} × "
            f"{metrics['image_size']} pixels). Output: one probability per class, in the order of `labels.json`.",
            f"Versions: {versions}.",
            f"Machine: {machine['system']}, {machine['processor']}; the run took {seconds:.0f} seconds.",
        ]
    )


def _interval(ends: Iterable[float] | None) -> str:
    if ends is None:
        return ""
    low, high = ends
    return f" (95 % interval {low:.2f} to {high:.2f})"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is: names of classes and folders come from people."""
    escaped = re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
    return re.sub(r"^(\d*)([-+>.])", r"\1\\\2", escaped)


def _without_folders(value: Any) -> Any:
    """Return the name of the file or folder at an absolute path: a card is shared, the folders of a machine are not."""
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name  # takes both kinds of slashes
    return value


def _code(value: Any) -> str:
    """Return a setting as code in a cell of a table."""
    text = json.dumps(value, ensure_ascii=False).replace("`", "'").replace("|", "\\|")
    return f"`{' '.join(text.split())}`"
