"""Files are written whole or not at all, and names are valid on every system."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototransfer import files
from phototransfer.files import append_line, atomic_write, locked, read_json, read_lines, safe_name, write_json


def test_atomic_write_leaves_the_file_and_nothing_else(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with atomic_write(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), MemoryError()])
def test_atomic_write_that_raises_leaves_the_old_file(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_write(target) as partial:
        partial.write_text("ha")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="No space left on device") as caught, atomic_write(target) as partial:
        partial.write_text("ha")
        raise OSError(28, "No space left on device")
    assert str(target) in str(caught.value)
    assert caught.value.errno == 28
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(OSError, match="could not be written") as caught, atomic_write(tmp_path / "data" / "a.txt"):
        pass
    assert str(tmp_path / "data" / "a.txt") in str(caught.value)


def test_a_long_name_can_be_written(tmp_path):
    target = tmp_path / ("x" * 251 + ".csv")
    with atomic_write(target) as partial:
        partial.write_text("whole")
    assert target.read_text() == "whole"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_json_round_trip(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "content.json"
    write_json(path, content)
    assert read_json(path) == content


def test_json_keeps_names_that_are_not_utf8_and_stays_utf8(tmp_path):
    name = os.fsdecode(b"\xff\xfe caf\xc3\xa9.jpg")
    write_json(tmp_path / "a.json", {name: ["é", "\\udcff"]})
    text = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert "café.jpg" in text
    assert json.loads(text) == read_json(tmp_path / "a.json") == {name: ["é", "\\udcff"]}


def test_json_with_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"score": float("nan")})
    assert not any(tmp_path.iterdir())


def test_a_missing_json_file_is_none_and_a_broken_one_is_named(tmp_path):
    assert read_json(tmp_path / "a.json") is None
    for content in (b"", b'{"files": {', b"\xff\xff"):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(ValueError, match="Delete it") as caught:
            read_json(tmp_path / "a.json")
        assert str(tmp_path / "a.json") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("lucy", "lucy"),
        ("other frenchie", "other frenchie"),
        ("cafe\u0301", "café"),
        ('a/b\\c:d*e?f"g<h>i|j%k', "a_b_c_d_e_f_g_h_i_j_k"),
        ("line\nbreak\x00\x7f", "line_break__"),
        (os.fsdecode(b"\xff.jpg"), "_.jpg"),
        ("CON", "_CON"),
        ("aux.txt", "_aux.txt"),
        ("com1", "_com1"),
        ("console", "console"),
        ("-rf", "_-rf"),
        ("  .hidden. ", "hidden"),
        ("..", "_"),
        ("", "_"),
        ("🐶" * 40, "🐶" * 25),
    ],
)
def test_names_become_valid_on_every_system(name, safe):
    assert safe_name(name) == safe


@given(st.text() | st.binary(max_size=300).map(os.fsdecode), st.integers(8, 120))
def test_safe_names_are_valid_and_stay_the_same(name, length):
    safe = safe_name(name, length)
    assert safe
    assert len(safe.encode("utf-8")) <= length + 1  # the underscore in front of a reserved one
    assert not set(safe) & set('<>:"/\\|?*%\n\0')
    assert safe[0] not in ".- " and safe[-1] not in ". "
    assert Path("x", safe).parent == Path("x")
    assert safe_name(safe, length + 1) == safe


def test_a_line_is_appended_after_whole_lines_only(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"run": "a"}\n{"run": "hal')  # the second was written by a process that was killed
    append_line(path, {"run": "b"})
    assert [json.loads(line)["run"] for line in path.read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize("before", ["", '{"run": "a"}\n'])
def test_a_cut_off_line_of_any_length_is_removed(tmp_path, before):
    path = tmp_path / "runs.jsonl"
    path.write_text(before + '{"run": "' + "x" * 200_000)
    append_line(path, {"run": "b"})
    assert path.read_text() == before + '{"run": "b"}\n'


def test_a_name_with_a_line_separator_of_unicode_stays_in_its_line(tmp_path):
    content = {"dataset": "pets\u2028and\x85more"}
    append_line(tmp_path / "runs.jsonl", content)
    assert list(read_lines(tmp_path / "runs.jsonl")) == [content]


def test_a_locked_folder_makes_another_process_wait(tmp_path, capsys):
    from filelock import FileLock

    with locked(tmp_path, "writing"):
        assert (tmp_path / ".lock").exists()
        other = FileLock(tmp_path / ".lock")
        with pytest.raises(TimeoutError):
            other.acquire(timeout=0.05)
    with FileLock(tmp_path / ".lock", timeout=0):
        pass


def test_lines_that_are_no_objects_are_left_out(tmp_path):
    assert list(read_lines(tmp_path / "runs.jsonl")) == []
    append_line(tmp_path / "runs.jsonl", {"run": "a"})
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('[1]\n3\n{"run": "cut')
    assert list(read_lines(tmp_path / "runs.jsonl")) == [{"run": "a"}]


def test_a_table_as_parquet_is_that_as_csv(tmp_path):
    pytest.importorskip("pyarrow", reason="requirements-large.txt")
    table = pd.DataFrame({"original": ["a.jpg", "\udcff.jpg", None], "probability": [0.1, np.nan, 1.0]}, dtype=object)
    table["taken"] = pd.to_datetime(["2020-01-01", None, None])
    assert files.write_parquet(tmp_path / "table.parquet", table)
    read = pd.read_parquet(tmp_path / "table.parquet")
    assert list(read["original"].iloc[:2]) == ["a.jpg", "\\udcff.jpg"] and read["original"].isna().tolist() == [0, 0, 1]
    assert read["probability"].iloc[0] == 0.1 and read["taken"].iloc[0] == pd.Timestamp("2020-01-01")
