"""Mislabelled photos: swapped labels are found, hard photos are not called wrong, corrections are kept."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from builders import SETTINGS, draw, photo_table
from phototransfer.audit import find_mislabelled
from phototransfer.audit.mislabelled import Mislabelled, confident_classes
from phototransfer.evaluate.cross_validation import CrossValidator
from phototransfer.evaluate.folds import make_folds
from phototransfer.finding import BORDERLINE, CANNOT_TELL, FOUND, NO_OBSTACLE, NOTHING_FOUND, STATES
from phototransfer.photos.relabel import Corrections
from phototransfer.report import Skipped


def validator_of(photos: pd.DataFrame, probability_of_b: np.ndarray, **settings) -> SimpleNamespace:
    """A cross-validator of the classes a and b whose heads give these probabilities."""
    folds = make_folds(photos, 3, 0)
    probabilities = np.stack([1 - probability_of_b, probability_of_b], axis=1).astype(np.float32)
    return SimpleNamespace(
        photos=photos,
        all_photos=photos,
        folds=folds,
        settings=SETTINGS | {"RELABEL": None} | settings,
        configured_probabilities=lambda _: probabilities[folds.rows],
    )


def two_classes(count: int, wrong: int = 0, hard: int = 0, groups=None, spread: float = 2.0, **settings):
    """Photos: the first `wrong` have the other label, and the next `hard` look a little like the other class."""
    rng = np.random.default_rng(0)
    truth = np.arange(count) % 2
    logit = (2 * truth - 1) * np.abs(rng.normal(4, spread, count))
    logit[wrong : wrong + hard] = -np.sign(logit[wrong : wrong + hard]) * rng.uniform(0, 1.5, hard)
    label = np.where(np.arange(count) < wrong, 1 - truth, truth)
    photos = photo_table(np.array(["a", "b"])[label], groups=groups)
    return validator_of(photos, 1 / (1 + np.exp(-logit)), **settings)


def checked(table: pd.DataFrame, labels: dict[str, str | None]) -> Corrections:
    return Corrections("suspects.csv", table, labels, changed=len(labels), left_out=0)


def test_swapped_labels_are_first_and_found():
    result = find_mislabelled(two_classes(400, wrong=20, hard=10))
    swapped = {f"{'ba'[number % 2]}/{number}.jpg" for number in range(20)}
    first = result.suspects.head(15)
    assert set(first["original"]) <= swapped and len(set(result.suspects["original"]) & swapped) >= 15
    assert (result.suspects["label"] != result.suspects["suggestion"]).all()
    assert (result.suspects["probability_of_suggestion"] > result.suspects["probability_of_label"]).all()
    estimate, low, high = result.wrong_labels
    assert result.state == FOUND and low <= 20 <= high and low <= estimate <= high
    assert result.advice() and "RELABEL" in result.advice()[0]


def test_hard_photos_are_no_wrong_labels():
    result = find_mislabelled(two_classes(400, hard=30))
    assert result.errors == 30 and result.contradicted == 0 and result.wrong_labels[0] == 0
    assert result.state == NOTHING_FOUND and not result.advice()


def test_too_few_photos_or_too_hard_ones_cannot_tell():
    assert find_mislabelled(two_classes(40)).state == CANNOT_TELL
    assert find_mislabelled(two_classes(400, hard=120)).state == CANNOT_TELL
    assert find_mislabelled(two_classes(400, wrong=30, hard=120)).state == CANNOT_TELL


@pytest.mark.parametrize("accuracy", [0.5, 0.95])
@pytest.mark.parametrize("photos", [10, 100, 1000, 10_000])
def test_more_contradictions_never_lead_from_found_to_nothing_found(photos, accuracy):
    empty = find_mislabelled(two_classes(40))
    states = []
    for count in range(photos // 10):
        result = replace(empty, photos=photos, contradicted=count, errors=count + photos // 50, accuracy=accuracy)
        [finding] = result.findings().values()
        assert finding.line.startswith(result.state) and (finding.severity > NO_OBSTACLE) == (
            result.state in STATES[:2]
        )
        states.append(result.state)
    place = [[NOTHING_FOUND, CANNOT_TELL, BORDERLINE, FOUND].index(state) for state in states]
    assert place == sorted(place)
    assert accuracy > 0.8 or set(states) <= {CANNOT_TELL}
    assert photos < 1000 or accuracy < 0.8 or {states[0], states[-1]} == {NOTHING_FOUND, FOUND}


def test_near_duplicates_count_once():
    groups = [0, 1] * 10 + list(range(2, 382))
    validator = two_classes(400, groups=groups)
    result = find_mislabelled(validator)
    assert result.photos == 382


def test_one_file_with_two_labels_is_found_and_a_near_duplicate_is_borderline():
    digests = [f"digest{number}" for number in range(400)]
    digests[1] = digests[0]
    for same_file, state in ((True, FOUND), (False, BORDERLINE)):
        validator = two_classes(400, groups=[0, 0, *range(1, 399)])
        validator.photos = validator.photos.assign(digest=digests if same_file else validator.photos["digest"])
        probability = np.where(validator.photos["label"] == "a", 0.1, 0.9)
        probability[:2] = 0.7  # the picture looks like b
        result = find_mislabelled(validator_of(validator.photos, probability))
        assert result.state == state
        [conflict] = result.conflicts.to_dict("records")
        assert (conflict["original"], conflict["other"]) == ("a/0.jpg", "b/1.jpg")
        assert (result.suspects.loc[0, "original"], result.suspects.loc[0, "suggestion"]) == ("a/0.jpg", "b")
        assert "b/1.jpg" not in set(result.suspects["original"])
        assert "a/0.jpg" in result.summary() and "b/1.jpg" in result.summary()


def test_photos_of_one_owner_group_may_have_different_labels():
    photos = two_classes(400, groups=[0, 0, *range(1, 399)]).photos
    photos["phash"] = ["0" * 16, "f" * 16, *photos["phash"][2:]]
    result = find_mislabelled(validator_of(photos, np.where(photos["label"] == "a", 0.1, 0.9)))
    assert result.conflicts.empty and result.state == NOTHING_FOUND


def test_confident_classes_follow_the_thresholds_of_their_class():
    # Mean probability of a over photos labelled a: 0.75; of b over photos labelled b: 0.55.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    assert confident_classes(probabilities, np.array([0, 0, 1, 1])).tolist() == [0, -1, 1, -1]


def test_what_a_person_has_checked_is_no_suspect_and_stays_in_the_table():
    first = find_mislabelled(two_classes(400, wrong=20))
    table = first.tables()["suspects"]
    assert list(table.columns[-2:]) == ["digest", "correct_label"] and set(table["correct_label"]) == {""}
    table.loc[0, "correct_label"] = table.loc[0, "label"]
    gone = {"original": "gone.jpg", "label": "a", "digest": "of gone", "correct_label": "none"}
    table = pd.concat([table.astype(str), pd.DataFrame([gone])], ignore_index=True)
    name = table.loc[0, "original"]
    corrections = checked(table, {name: "a", "gone.jpg": None})
    second = find_mislabelled(two_classes(400, wrong=20, RELABEL="suspects.csv"), corrections)
    assert name not in set(second.suspects["original"]) and second.photos == first.photos - 1
    kept = second.tables()["suspects"].set_index("original")["correct_label"]
    assert kept[name] == table.loc[0, "label"] and kept["gone.jpg"] == "none"
    with pytest.raises(ValueError, match="RELABEL"):
        find_mislabelled(two_classes(400, RELABEL="suspects.csv"))


def test_filled_in_cells_in_the_folder_survive(tmp_path):
    result = find_mislabelled(two_classes(400, wrong=20))
    path = tmp_path / "suspects.csv"
    assert list(result.tables_over(tmp_path)) == ["suspects"]
    table = result.tables()["suspects"].assign(correct_label=["b", *[""] * (len(result.suspects) - 1)])
    table.to_csv(path, index=False, sep=";", encoding="utf-8-sig")
    kept = result.tables_over(tmp_path)["suspects"]
    assert len(kept) == len(table) and kept.loc[0, "correct_label"] == "b"
    table.assign(digest="of another data set").to_csv(path, index=False)
    tables = result.tables_over(tmp_path)
    assert set(tables["suspects"]["correct_label"]) == {""}
    assert [len(other) for name, other in tables.items() if name != "suspects"] == [1]
    path.write_text("no table")
    assert set(result.tables_over(tmp_path)["suspects"]["correct_label"]) == {""}
    assert [left.read_text() for left in tmp_path.iterdir()] == ["no table"]


def test_the_result_is_complete(tmp_path):
    validator = two_classes(400, wrong=20)
    for number, path in enumerate(tmp_path / f"{number}.jpg" for number in range(400)):
        validator.photos.loc[number, "path"] = str(path)
        if number < 20:
            draw(number, (32, 24)).save(path)
    result = find_mislabelled(validator)
    titles = [axis.get_title() for axis in result.plot().axes if axis.get_title()]
    assert len(titles) == min(16, len(result.suspects))
    assert all(text in titles[0] for text in result.suspects.loc[0, ["label", "suggestion"]])
    numbers = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert numbers["state"] == result.state and numbers["suspects"] == len(result.suspects)
    assert "suspects.csv" in result.summary() and "none" in result.summary()


def test_without_suspects_there_is_a_table_and_no_figure():
    photos = photo_table(["a", "b"] * 100)
    result = find_mislabelled(validator_of(photos, np.where(photos["label"] == "a", 0.1, 0.9)))
    assert isinstance(result, Mislabelled) and result.plot() is None and result.tables()["suspects"].empty
    assert result.summary() and not result.advice()


def test_off_or_without_folds_is_skipped_with_the_reason():
    off = find_mislabelled(two_classes(40, CHECKS=False))
    assert isinstance(off, Skipped) and "CHECKS = False" in off.reason and list(off.findings()) == ["labels"]
    photos, settings = two_classes(40).photos, SETTINGS | {"CV_FOLDS": 0}
    validator = CrossValidator(photos, None, build_head=None, fit_head=None, settings=settings)
    skipped = find_mislabelled(validator)
    assert isinstance(skipped, Skipped) and "CV_FOLDS = 0" in skipped.reason
