"""Corrections of labels: applied to the right photos, refused when they are not clear, and never lost."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from phototransfer import files, paths
from phototransfer.photos import Prepared, Source, prepare
from phototransfer.photos.relabel import find_correction_table, keep_corrections, leave_out_word, read_corrections

COLUMNS = ["original", "label", "digest", "correct_label"]


def run(source: Source, relabel: Path | str | None = None) -> Prepared:
    return prepare(source, val_split=0.2, test_split=0.2, seed=42, relabel=relabel and str(relabel))


def suspects(prepared: Prepared, corrections: dict[str, str], path: Path, **options) -> Path:
    """Write a table of suspects as a person leaves it: `corrections` by original, another row without one."""
    table = prepared.photos[["original", "label", "digest"]].copy()
    table["correct_label"] = [corrections.get(original, "") for original in table["original"]]
    rows = table[table["original"].isin(corrections)]
    rows = pd.concat([rows, table[~table["original"].isin(corrections)].head(1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False, **options)
    return path


def labels_of(prepared: Prepared) -> dict[str, str]:
    return dict(zip(prepared.photos["original"], prepared.photos["label"], strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sep": ";", "encoding": "utf-8-sig"},
        {"sep": "\t", "encoding": "utf-16"},
        {"sep": ";", "encoding": "cp1252"},
    ],
)
def test_a_correction_changes_one_label_and_nothing_else(pile, fingerprint, tmp_path, options):
    (pile.folder / "cat" / "cat0.jpg").rename(pile.folder / "cat" / "café.jpg")
    before, originals = run(pile), fingerprint(pile.folder)
    table = suspects(before, {"cat/café.jpg": " DOG "}, tmp_path / "suspects.csv", **options)
    after = run(pile, table)
    assert labels_of(after) == labels_of(before) | {"cat/café.jpg": "dog"}
    assert fingerprint(pile.folder) == originals
    assert after.to_dict()["relabelled"]["changed"] == 1 and "relabelled" not in before.to_dict()
    assert "suspects.csv" in after.summary()
    path = Path(after.photos.set_index("original").at["cat/café.jpg", "path"])
    assert path.parent.name == "dog" and path.exists()


def test_few_photos_change_their_split(pile, tmp_path, make_photo):
    for number in range(100, 188):
        make_photo(pile.folder / ("cat", "dog")[number % 2] / f"{number}.jpg", number, (32, 24))
    before = run(pile)
    after = run(pile, suspects(before, {"cat/cat0.jpg": "dog", "dog/101.jpg": "cat"}, tmp_path / "a.csv"))
    splits = [prepared.photos.set_index("original")["split"].sort_index() for prepared in (before, after)]
    assert (splits[0] != splits[1]).sum() <= 6


def test_trees_with_and_without_corrections_do_not_mix(pile, tmp_path):
    before = run(pile)
    table = suspects(before, {"cat/cat0.jpg": "dog"}, tmp_path / "a.csv")
    after, again = run(pile, table), run(pile)
    assert after.folder != before.folder == again.folder
    for prepared in (after, again):
        here = {str(path) for split in ("train", "val", "test") for path in (prepared.folder / split).rglob("*.jpg")}
        assert here == set(prepared.photos["path"])
    assert run(pile, suspects(before, {}, tmp_path / "empty.csv")).folder == before.folder


def test_a_photo_is_left_out_and_listed(pile, tmp_path):
    before = run(pile)
    after = run(pile, suspects(before, {"cat/cat0.jpg": "None"}, tmp_path / "a.csv"))
    assert set(labels_of(before)) - set(labels_of(after)) == {"cat/cat0.jpg"}
    assert list(after.skipped["original"]) == ["cat/cat0.jpg"] and "a.csv" in after.skipped["reason"][0]
    assert after.found == 12
    (pile.folder / "cat" / "cat0.jpg").unlink()
    assert len(run(pile, tmp_path / "a.csv").photos) == 11  # it is gone, as it should be


def test_none_is_a_class_where_a_class_has_this_name(pile, tmp_path):
    (pile.folder / "cat").rename(pile.folder / "none")
    before = run(pile)
    assert leave_out_word(before.classes) != "none" == leave_out_word(["cat"])
    table = suspects(
        before, {"dog/dog1.jpg": "none", "dog/dog3.jpg": leave_out_word(before.classes)}, tmp_path / "a.csv"
    )
    after = labels_of(run(pile, table))
    assert after["dog/dog1.jpg"] == "none" and "dog/dog3.jpg" not in after


def test_numbers_that_a_spreadsheet_has_rewritten_are_still_classes(pile, tmp_path):
    for old, new in (("cat", "001"), ("dog", "002")):
        (pile.folder / old).rename(pile.folder / new)
    table = suspects(run(pile), {"001/cat0.jpg": "2"}, tmp_path / "a.csv")
    assert labels_of(run(pile, table))["001/cat0.jpg"] == "002"


def test_a_photo_that_was_moved_is_found_by_its_digest(pile, tmp_path):
    table = suspects(run(pile), {"cat/cat0.jpg": "dog"}, tmp_path / "a.csv")
    (pile.folder / "cat" / "cat0.jpg").rename(pile.folder / "cat" / "new name.jpg")
    assert labels_of(run(pile, table))["cat/new name.jpg"] == "dog"


@pytest.mark.parametrize("change, words", [("delete", "not there"), ("replace", "another photo")])
def test_a_photo_that_is_not_there_any_more_is_named(pile, tmp_path, make_photo, change, words):
    table = suspects(run(pile), {"cat/cat0.jpg": "dog"}, tmp_path / "a.csv")
    (pile.folder / "cat" / "cat0.jpg").unlink()
    if change == "replace":
        make_photo(pile.folder / "cat" / "cat0.jpg", 77)
    with pytest.raises(ValueError, match=rf"row 2 of .*a\.csv.*cat/cat0\.jpg.*{words}"):
        run(pile, table)


def test_a_label_that_is_no_class_is_named_with_the_classes(pile, tmp_path):
    table = suspects(run(pile), {"cat/cat0.jpg": "wolf"}, tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"row 2 of .*cat/cat0\.jpg.*'wolf'.*cat, dog.*none"):
        run(pile, table)


def test_rows_that_contradict_each_other_are_named(pile, tmp_path):
    table = suspects(run(pile), {"cat/cat0.jpg": "dog"}, tmp_path / "a.csv")
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    pd.concat([rows, rows.head(1)]).to_csv(table, index=False)  # the same twice is no contradiction
    assert labels_of(run(pile, table))["cat/cat0.jpg"] == "dog"
    pd.concat([rows, rows.head(1).assign(correct_label="cat")]).to_csv(table, index=False)
    with pytest.raises(ValueError, match=r"row 4 .*cat/cat0\.jpg.*'cat'.*row 2 .*'dog'"):
        run(pile, table)


def test_a_table_without_suspects_can_be_used(pile, tmp_path):
    (tmp_path / "a.csv").write_text(",".join(COLUMNS) + "\n")
    assert run(pile, tmp_path / "a.csv").to_dict()["relabelled"]["checked"] == 0


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "original,label\ncat/cat0.jpg,cat\n", "x\n", ""])
def test_another_table_is_refused_before_anything_is_read(pile, tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=r"a\.csv has no column .*correct_label"):
        run(pile, tmp_path / "a.csv")
    assert not pile.home.exists()


def test_a_bare_name_means_the_newest_corrected_table_of_the_same_photos(pile, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MODELS", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    before = run(pile)

    def of_run(name: str, dataset: str, corrections: dict[str, str], time: int) -> Path:
        path = suspects(before, corrections, tmp_path / "models" / name / "suspects.csv")
        os.utime(path, (time, time))
        files.write_json(path.with_name("metrics.json"), {"dataset": dataset})
        return path

    old = of_run("old", "pile", {"cat/cat0.jpg": "dog"}, 100)
    of_run("empty", "pile", {}, 200)
    of_run("other", "flowers", {"cat/cat2.jpg": "dog"}, 300)
    assert find_correction_table("suspects.csv", "pile") == old
    assert labels_of(run(pile, "suspects.csv"))["cat/cat0.jpg"] == "dog"
    # A run of the same name has begun: its metrics.json is gone until it ends.
    (old.parent / "metrics.json").unlink()
    (tmp_path / "models" / "runs.jsonl").write_text('broken\n{"run": "old", "dataset": "pile"}\n')
    assert find_correction_table("suspects.csv", "pile") == old
    with pytest.raises(FileNotFoundError, match="no run of birds"):
        find_correction_table("suspects.csv", "birds")
    here = suspects(before, {}, tmp_path / "suspects.csv")
    assert find_correction_table("suspects.csv", "pile") == here


def test_the_place_is_checked_without_the_photos(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MODELS", tmp_path / "models")
    (tmp_path / "a.csv").write_bytes(";".join(COLUMNS).encode("utf-16"))
    paths.check_relabel(str(tmp_path / "a.csv"))
    paths.check_relabel(None)
    (tmp_path / "book.csv").write_bytes(b"PK\x03\x04")
    (tmp_path / "b.csv").write_text("original,label\n")
    for name, words in {"book.csv": "workbook", "b.csv": "no column digest", "": "folder", "c.csv": "no file"}.items():
        with pytest.raises((ValueError, OSError), match=words):
            paths.check_relabel(str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="no run"):
        paths.check_relabel("suspects.csv")


def table_of(*rows: tuple[str, str]) -> pd.DataFrame:
    """Rows of original and correct_label."""
    return pd.DataFrame([(name, "cat", f"digest of {name}", correct) for name, correct in rows], columns=COLUMNS)


def test_filled_in_cells_survive_a_new_table(tmp_path):
    new, earlier = table_of(("a", ""), ("b", "")), table_of(("b", "dog"), ("c", "none"), ("d", ""))
    files.write_table(tmp_path / "earlier.csv", earlier)
    merged = keep_corrections(new, read_corrections(tmp_path / "earlier.csv"))
    assert list(zip(merged["original"], merged["correct_label"], strict=True)) == [
        ("a", ""),
        ("b", "dog"),
        ("c", "none"),
    ]
    pd.testing.assert_frame_equal(keep_corrections(merged, earlier), merged)
    contradicting = keep_corrections(merged, table_of(("b", "cat")))
    assert list(contradicting.query("original == 'b'")["correct_label"]) == ["dog", "cat"]
    assert list(new["correct_label"]) == ["", ""]


def test_json_of_the_corrections(pile, tmp_path):
    before = run(pile)
    table = suspects(before, {"cat/cat0.jpg": "dog", "cat/cat2.jpg": "cat", "dog/dog1.jpg": "none"}, tmp_path / "a.csv")
    numbers = json.loads(json.dumps(run(pile, table).to_dict()["relabelled"]))
    assert {key: numbers[key] for key in ("changed", "left_out", "checked")} == {
        "changed": 1,
        "left_out": 1,
        "checked": 3,
    }
