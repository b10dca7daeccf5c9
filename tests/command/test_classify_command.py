"""`python -m phototransfer.classify`: which photos are meant, which run answers, and where the answers go."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from builders import draw, save_tiny_run
from phototransfer import files
from phototransfer.classify import main
from phototransfer.paths import CWD_VARIABLE, find_run, saved_runs


@pytest.fixture
def place(tmp_path, monkeypatch, make_photo):
    """A project with the run "cats", and a working folder with photos; return the folder."""
    monkeypatch.setattr(files, "PROJECT", tmp_path / "project")
    monkeypatch.setattr(files, "MODELS", tmp_path / "project" / "models")
    save_tiny_run(files.MODELS / "cats", [draw(number) for number in range(3)], ["cat", "cat", "dog"])
    here = tmp_path / "here"
    for number, name in enumerate(["a.jpg", "more/b.jpg", "more/deep/c.jpg", "d.png"]):
        make_photo(here / name, number, format="PNG" if name.endswith("png") else "JPEG")
    (here / "notes.txt").write_text("no photo")
    monkeypatch.chdir(here)
    monkeypatch.delenv(CWD_VARIABLE, raising=False)
    return here


def classified(capsys, *arguments, status=0):
    """Return the objects that the command writes to standard output as JSON."""
    assert main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "argument, names",
    [
        ("a.jpg", ["a.jpg"]),
        ("more", ["b.jpg", "deep/c.jpg"]),
        ("*.jpg", ["a.jpg"]),
        ("[ad].*", ["a.jpg", "d.png"]),
        ("more/**/*.jpg", ["b.jpg", "deep/c.jpg"]),
        ("**", ["a.jpg", "d.png", "more/b.jpg", "more/deep/c.jpg", "notes.txt"]),
        ("mor*", ["b.jpg", "deep/c.jpg"]),
    ],
)
def test_a_photo_a_folder_or_a_pattern(place, capsys, argument, names):
    assert [row["file"] for row in classified(capsys, argument)] == names
    if argument != "**":
        absolute = classified(capsys, str(place / argument))
        assert [row["file"] for row in absolute] == names


def test_several_arguments_in_their_order(place, capsys):
    rows = classified(capsys, "d.png", "more", "a.jpg")
    assert [row["file"] for row in rows] == ["d.png", "b.jpg", "deep/c.jpg", "a.jpg"]
    alone = [classified(capsys, name)[0] for name in ("d.png", "more/b.jpg", "more/deep/c.jpg", "a.jpg")]
    for row, expected in zip(rows, alone, strict=True):
        assert row["label"] == expected["label"]
        assert row["probability"] == pytest.approx(expected["probability"], abs=1e-5)


def test_a_file_whose_name_looks_like_a_pattern(place, capsys, make_photo):
    make_photo(place / "holiday [1].jpg", 5)
    make_photo(place / "holiday 1.jpg", 5)
    assert [row["file"] for row in classified(capsys, "holiday [1].jpg")] == ["holiday [1].jpg"]


def test_a_zip_archive_is_unpacked_and_the_copy_deleted(place, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        for name in ("a.jpg", "more/b.jpg", "notes.txt"):
            archive.write(place / name, name)
    before = sorted(path.name for path in place.iterdir())
    rows = classified(capsys, "photos.zip")
    assert [(row["file"], row["label"] is None) for row in rows] == [
        ("a.jpg", False),
        ("more/b.jpg", False),
        ("notes.txt", True),
    ]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert sorted(path.name for path in place.iterdir()) == before


def test_a_damaged_archive_is_named(place, capsys):
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        archive.writestr("../outside.jpg", b"")
    assert main(["photos.zip"]) == 2
    assert "photos.zip" in capsys.readouterr().err


def test_the_table_on_the_screen(place, capsys):
    Image.fromarray(255 - np.asarray(draw(2))).save("negative.png")
    assert main(["."]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split("  ")[0]: line for line in lines}
    assert "cat" in shown["a.jpg"] and "unlike" not in shown["a.jpg"]
    assert "not a picture" in shown["notes.txt"]
    assert "unlike the training photos; nearest class: " in shown["negative.png"]
    assert "5 photos of 6 files" in lines[-2] and "cats" in lines[-2]
    assert lines[-1].startswith("Unlike")
    assert main(["a.jpg"]) == 0
    assert "nlike" not in capsys.readouterr().out


def test_names_cannot_control_the_terminal_and_long_ones_are_shortened(place, capsys, make_photo):
    make_photo(place / "evil" / "\x1b[2Jx.jpg", 1)
    make_photo(place / "evil" / ("n" * 200 + ".jpg"), 2)
    assert main(["evil"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and max(map(len, out.splitlines())) < 120
    assert [row["file"] for row in classified(capsys, "evil")] == ["\x1b[2Jx.jpg", "n" * 200 + ".jpg"]


def test_json_and_csv_say_the_same_with_nothing_else_on_standard_output(place, capsys):
    rows = classified(capsys, ".")
    assert main([".", "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in table] == [row["file"] for row in rows]
    for row, written in zip(rows, table, strict=True):
        assert written["label"] == (row["label"] or "")
        if row["label"]:
            assert float(written["probability"]) == pytest.approx(row["probability"], abs=1e-5)
            assert row["unlike"] is False and row["nearest"] in ("cat", "dog") and row["reason"] == ""
    notes = next(row for row in rows if row["file"] == "notes.txt")
    assert notes["label"] is notes["probability"] is notes["unlike"] is notes["nearest"] is None and notes["reason"]


def test_answers_in_files(place, capsys):
    assert main(["a.jpg", "--csv", "out.csv", "--json", "out.JSON"]) == 0
    shown = capsys.readouterr().out
    assert "a.jpg" in shown and str(place / "out.csv") in shown
    [row] = json.loads((place / "out.JSON").read_text())
    [written] = csv.DictReader((place / "out.csv").open(newline=""))
    assert row["label"] == written["label"] == "cat"
    assert main(["a.jpg", "--csv", "-", "--json", "out.json"]) == 0
    assert capsys.readouterr().out.startswith("file,label,")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--csv", "a.jpg", "d.png"], "end in .csv, got 'a.jpg'"),
        (["d.png", "--json", "answers.csv"], "end in .json, got 'answers.csv'"),
        (["d.png", "--csv", "--json"], "standard output"),
        (["d.png", "--csv", "nowhere/out.csv"], "nowhere"),
        ([""], "PHOTO is empty"),
        (["  "], "PHOTO is empty"),
        (["nowhere.jpg"], "'nowhere.jpg'"),
        (["*.gif"], "*.gif"),
        (["a.jpg", "--run", "dogs"], "'dogs'"),
    ],
)
def test_wrong_use_is_named_before_tensorflow_is_imported(place, capsys, monkeypatch, fingerprint, arguments, message):
    monkeypatch.setattr("phototransfer.classify._classify", lambda *_: pytest.fail("TensorFlow would be imported"))
    before = fingerprint(place)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""
    assert fingerprint(place) == before


def test_wrong_arguments_do_not_import_tensorflow(place):
    code = "import sys; from phototransfer.classify import main; main(['nowhere.jpg']); print('keras' in sys.modules)"
    environment = os.environ | {"PHOTOTRANSFER_HOME": str(files.PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=place)
    assert done.stdout.strip() == "False" and "nowhere.jpg" in done.stderr


def test_without_arguments_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2 and "PHOTO" in capsys.readouterr().err


def test_only_files_that_are_no_photos(place, capsys):
    [row] = classified(capsys, "notes.txt", status=1)
    assert row["label"] is None
    (place / "empty").mkdir()
    assert classified(capsys, "empty", status=1) == []


def test_paths_start_where_the_command_was_typed(place, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(CWD_VARIABLE, str(place / "more"))
    monkeypatch.chdir(tmp_path)
    assert [row["file"] for row in classified(capsys, "b.jpg")] == ["b.jpg"]
    assert [row["file"] for row in classified(capsys, "*.jpg")] == ["b.jpg"]
    assert main(["b.jpg", "--csv", "out.csv"]) == 0
    assert (place / "more" / "out.csv").is_file()


def test_the_newest_run_with_a_saved_model_answers(place, capsys):
    save_tiny_run(files.MODELS / "pets", [draw(0)] * 3, ["tom", "tom", "rex"])
    for age, name in ((0, "pets"), (100, "cats")):
        os.utime(files.MODELS / name / "model.keras", (10**9 - age,) * 2)
    (files.MODELS / "stopped").mkdir()
    (files.MODELS / ".run-x.partial").mkdir()
    (files.MODELS / ".run-x.partial" / "model.keras").write_bytes(b"")
    (files.MODELS / ".run-x.partial" / "labels.json").write_text("[]")
    assert [folder.name for folder in saved_runs()] == ["pets", "cats"]
    assert find_run(None) == find_run("") == files.MODELS / "pets"
    assert find_run("cats") == find_run(str(files.MODELS / "cats")) == files.MODELS / "cats"
    assert find_run(str(files.MODELS / "cats" / "model.keras")) == files.MODELS / "cats"
    assert classified(capsys, "a.jpg")[0]["label"] in ("tom", "rex")
    assert classified(capsys, "a.jpg", "--run", "cats")[0]["label"] == "cat"
    assert classified(capsys, "a.jpg", "--run", "")[0]["label"] in ("tom", "rex")


def test_what_is_wrong_with_a_run(place, capsys):
    (files.MODELS / "stopped").mkdir()
    with pytest.raises(FileNotFoundError, match=r"'dogs'.*cats"):
        find_run("dogs")
    with pytest.raises(FileNotFoundError, match=r"'stopped' has no saved model.*cats"):
        find_run("stopped")
    (files.MODELS / "cats" / "model.keras").write_bytes(b"damaged")
    assert main(["a.jpg"]) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    (files.MODELS / "cats" / "model.keras").unlink()
    assert main(["a.jpg"]) == 2
    assert "make run" in capsys.readouterr().err
