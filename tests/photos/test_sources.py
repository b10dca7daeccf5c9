"""Folders of photos are found by name or path, and each gets a home that it shares with no other."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phototransfer import files, paths
from phototransfer.photos import Source, find_source, prepare, sources
from phototransfer.photos.sources import DERIVED


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with an empty data/, and a working directory beside it."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(files, "PROJECT", root)
    monkeypatch.setattr(files, "DATA", root / "data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def photos(folder: Path) -> Path:
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.jpg").write_bytes(b"x")
    return folder


def test_folder_in_data_by_its_name(project):
    folder = photos(project / "data" / "pets")
    expected = Source("pets", folder, folder)
    assert find_source("pets") == find_source(str(folder)) == find_source("data/pets") == expected


def test_path_absolute_from_the_project_and_from_the_working_directory(project, tmp_path, monkeypatch):
    outside = photos(tmp_path / "my photos")
    home = project / "data" / "my photos"
    assert find_source(str(outside)) == find_source(outside) == Source("my photos", outside, home)
    assert find_source("../my photos") == Source("my photos", outside, home)  # from the project
    here = photos(tmp_path / "elsewhere" / "here")
    assert find_source("here") == find_source("./here/") == Source("here", here, project / "data" / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_source("~/my photos") == find_source(str(outside))
    assert json.loads((home / "source.json").read_text()) == {"folder": str(outside)}


def test_only_the_home_is_written_to(project, tmp_path, fingerprint):
    outside = photos(tmp_path / "pets")
    before = fingerprint(tmp_path / "pets")
    find_source(str(outside))
    assert fingerprint(tmp_path / "pets") == before
    assert sorted(os.listdir(project / "data")) == [".lock", "pets"]


def test_a_path_starts_where_the_command_was_typed_and_else_in_the_project(project, tmp_path, monkeypatch):
    here, root = photos(tmp_path / "elsewhere" / "deep" / "pets"), photos(project / "deep" / "pets")
    assert find_source("deep/pets").folder == here
    monkeypatch.chdir(project / "data")
    assert find_source("deep/pets").folder == root
    monkeypatch.setenv("PHOTOTRANSFER_CWD", str(tmp_path / "elsewhere"))
    assert find_source("deep/pets").folder == here


@pytest.mark.parametrize("name", ["pets", "cats_and_dogs"])
def test_a_name_in_data_and_here_is_a_question(project, tmp_path, name):
    here = photos(tmp_path / "elsewhere" / name)
    if name == "pets":
        photos(project / "data" / name)
    with pytest.raises(ValueError, match="can mean") as caught:
        find_source(name)
    assert str(project / "data" / name) in str(caught.value) and str(here) in str(caught.value)
    assert find_source(f"./{name}").folder == find_source(str(here)).folder == here


def test_one_folder_that_is_reached_in_two_ways_is_no_question(project, tmp_path, monkeypatch):
    here = photos(tmp_path / "elsewhere" / "pets")
    find_source("pets")
    assert find_source("pets").folder == here
    monkeypatch.chdir(project / "data")
    assert find_source("pets").folder == here


@pytest.mark.parametrize(
    "text",
    [
        *("{0}/", " {0} ", "'{0}'", '"{0}"', "“{0}”", "file://{0}", "file://localhost{0}", "~/my pets", "my pets/"),
        *("$PLACE/my pets", "${{PLACE}}/my pets", "./my\\ pets", "..\\elsewhere\\my pets"),
    ],
)
def test_a_pasted_path_is_understood(project, tmp_path, monkeypatch, text):
    here = photos(tmp_path / "elsewhere" / "my pets")
    monkeypatch.setenv("PLACE", str(here.parent))
    monkeypatch.setenv("HOME", str(here.parent))
    assert find_source(text.format(here)).folder == here


def test_the_spelling_that_exists_comes_first(project, tmp_path):
    odd = photos(tmp_path / "elsewhere" / "'pets' ")
    photos(tmp_path / "elsewhere" / "pets")
    assert find_source("'pets' ").folder == odd


@pytest.mark.parametrize("stored", ["cafe\u0301", "café"])
def test_letters_may_be_stored_in_another_form(project, stored):
    folder = photos(project / "data" / stored)
    assert find_source("café").folder == find_source("cafe\u0301").folder == folder


@pytest.mark.parametrize(
    "name, word",
    [("a.jpg", "single photo"), ("labels.csv", "table"), ("pets.rar", "RAR"), ("pets.7z", "7z"), ("notes", "Unpack")],
)
def test_a_file_that_is_no_data_set_is_refused_with_the_way_out(project, name, word):
    content = {"pets.rar": b"Rar!\x1a\x07\x00", "pets.7z": b"7z\xbc\xaf\x27\x1c"}.get(name, b"file,label\n")
    (project / "data" / name).write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        find_source(name)
    assert "older" in str(caught.value)


@pytest.mark.parametrize("content", [None, ".DS_Store"])
def test_an_empty_folder_is_named(project, content):
    (project / "data" / "pets" / "cat").mkdir(parents=True)
    if content:
        (project / "data" / "pets" / "cat" / content).touch()
    with pytest.raises(ValueError, match="no files") as caught:
        find_source("pets")
    assert str(project / "data" / "pets") in str(caught.value)


def test_name_is_enough_after_a_path_was_used_once(project, tmp_path):
    outside = photos(tmp_path / "lucy")
    first = find_source(str(outside))
    assert find_source("lucy") == first
    (first.home / "prepared").mkdir()
    (first.home / ".DS_Store").write_bytes(b"x")
    assert find_source("lucy") == find_source(str(outside)) == first


def test_folders_of_one_name_are_never_mixed(project, tmp_path):
    one, other = photos(tmp_path / "a" / "pets"), photos(tmp_path / "b" / "pets")
    first, second = find_source(str(one)), find_source(str(other))
    assert (first.folder, second.folder) == (one, other)
    assert first.home == project / "data" / "pets"
    assert second.home.parent == project / "data" and second.name == second.home.name != "pets"
    assert find_source(str(one)) == find_source("pets") == first
    assert find_source(str(other)) == find_source(second.name) == second


def test_folder_in_data_is_not_mixed_with_another_of_its_name(project, tmp_path):
    own = photos(project / "data" / "pets")
    outside = find_source(str(photos(tmp_path / "pets")))
    assert outside.home not in (own, tmp_path / "pets")
    assert find_source("pets") == Source("pets", own, own)


def test_link_in_data_is_followed_and_never_written_through(project, tmp_path, fingerprint):
    outside = photos(tmp_path / "disk" / "lucy")
    before = fingerprint(outside)
    (project / "data" / "lucy").symlink_to(outside)
    source = find_source("lucy")
    assert source.folder == outside
    assert source.home.parent == project / "data" and not source.home.is_symlink()
    assert find_source("lucy") == source
    assert fingerprint(outside) == before


def test_data_may_be_a_link_to_another_disk(project, tmp_path):
    disk = tmp_path / "disk"
    (project / "data").rmdir()
    disk.mkdir()
    (project / "data").symlink_to(disk)
    pets, outside = photos(disk / "pets"), photos(tmp_path / "lucy")
    assert find_source("pets") == Source("pets", pets, pets)
    assert find_source(str(outside)) == Source("lucy", outside, disk / "lucy") == find_source("lucy")


@pytest.mark.parametrize("name", ["no such", "", "  ", "../nowhere", "/nowhere/at/all", "x" * 300, "a\0b"])
def test_error_names_the_data_sets_that_exist(project, name):
    photos(project / "data" / "pets")
    (project / "data" / "_old").mkdir()
    (project / "data" / "photo.jpg").touch()
    with pytest.raises(FileNotFoundError) as caught:
        find_source(name)
    message = str(caught.value)
    assert repr(name) in message and str(project) in message and str(Path.cwd()) in message
    assert "In data/: pets; downloads: cats_and_dogs, stanford_dogs; drawn here: sample." in message
    assert sorted(os.listdir(project / "data")) == ["_old", "pets", "photo.jpg"]


def test_a_name_that_is_nearly_there_is_offered(project):
    photos(project / "data" / "Pets")
    with pytest.raises(FileNotFoundError, match="Did you mean 'Pets'"):
        find_source("pets")


def test_folder_that_is_not_there_now_is_not_forgotten(project, tmp_path):
    outside = photos(tmp_path / "stick" / "lucy")
    source = find_source(str(outside))
    outside.rename(tmp_path / "unplugged")
    with pytest.raises(FileNotFoundError) as caught:
        find_source("lucy")
    assert str(outside) in str(caught.value) and str(source.home) in str(caught.value)
    (tmp_path / "unplugged").rename(outside)
    assert find_source("lucy") == source


@pytest.mark.parametrize("name", DERIVED[:3])
def test_names_that_are_needed_in_the_home(project, name, fingerprint):
    folder = photos(project / "data" / "pets")
    photos(folder / name)
    before = fingerprint(folder)
    with pytest.raises(ValueError, match="did not write") as caught:
        find_source("pets")
    assert str(folder) in str(caught.value)
    assert fingerprint(folder) == before


def test_class_called_prepared_is_allowed_outside_of_data(project, tmp_path):
    outside = photos(tmp_path / "pets" / "prepared").parent
    assert find_source(str(outside)) == Source("pets", outside, project / "data" / "pets")


def test_what_this_notebook_wrote_is_no_obstacle(project):
    source = find_source(str(photos(project / "data" / "pets")))
    for name in DERIVED[:3]:
        (source.home / name).mkdir()
    assert find_source("pets") == source


@pytest.mark.parametrize("content", ["[]", '{"name": "mine"}', '{"folder": 3}', "{"])
def test_source_json_of_somebody_else_is_named_and_kept(project, content):
    folder = photos(project / "data" / "pets")
    (folder / "source.json").write_text(content)
    with pytest.raises(ValueError, match=r"source\.json"):
        find_source("pets")
    assert (folder / "source.json").read_text() == content


@pytest.mark.parametrize("name", [".", "data", "..", "/"])
def test_folder_that_contains_the_project_is_refused(project, monkeypatch, name):
    monkeypatch.chdir(project)
    with pytest.raises(ValueError, match="contains this project's own"):
        find_source(name)
    assert os.listdir(project / "data") == []


def test_odd_names_get_a_home_that_every_system_accepts(project, tmp_path):
    for name in ("con", "a:b", os.fsdecode(b"\xff\xfe"), "two\nlines", "x" * 250, "🐶" * 60, " lead"):
        folder = photos(tmp_path / "odd" / name)
        source = find_source(str(folder))
        assert source.folder == folder
        assert source.home.parent == project / "data" and len(source.home.name.encode()) < 120
        assert find_source(str(folder)) == find_source(source.name) == source


@pytest.fixture
def downloads(monkeypatch) -> list[Path]:
    """Replaces the download; the folders that were downloaded to."""
    targets: list[Path] = []
    monkeypatch.setattr(sources, "_download", lambda name, target: targets.append(photos(target)))
    return targets


def test_download_goes_into_its_home_once(project, downloads):
    home = project / "data" / "cats_and_dogs"
    expected = Source("cats_and_dogs", home / "download" / "cats_and_dogs_filtered", home)
    assert find_source("cats_and_dogs") == expected
    (home / "prepared").mkdir()
    assert find_source("cats_and_dogs") == expected
    assert downloads == [expected.folder]


def test_path_with_the_name_of_a_download(project, tmp_path, monkeypatch, downloads):
    outside = photos(tmp_path / "elsewhere" / "cats_and_dogs")
    assert find_source("./cats_and_dogs") == Source("cats_and_dogs", outside, project / "data" / "cats_and_dogs")
    assert downloads == []
    monkeypatch.chdir(tmp_path)
    download = find_source("cats_and_dogs")
    assert download.home.parent == project / "data" and download.folder.is_relative_to(download.home)
    assert download.name not in ("data", "cats_and_dogs")
    assert find_source(str(outside)).folder == outside
    assert find_source("cats_and_dogs") == find_source("data/cats_and_dogs") == download
    assert len(downloads) == 1


def test_own_folder_in_data_comes_before_a_download(project, downloads):
    own = photos(project / "data" / "stanford_dogs")
    assert find_source("stanford_dogs") == Source("stanford_dogs", own, own)
    assert downloads == []


def test_the_names_that_need_no_folder_are_those_of_the_settings():
    assert set(paths.MADE) == {"sample", *sources.DOWNLOADS}


def test_sample_is_drawn_once(project, monkeypatch):
    drawn = []
    monkeypatch.setattr("phototransfer.photos.sample.draw_sample", lambda folder: drawn.append(photos(folder)))
    home = project / "data" / "sample"
    with ThreadPoolExecutor(2) as threads:
        assert set(threads.map(find_source, ["sample"] * 2)) == {Source("sample", home, home)}
    assert find_source("sample").folder == home and drawn == [home]


def test_same_photos_by_path_and_by_name(project, tmp_path, make_photo):
    for number in range(8):
        make_photo(tmp_path / "lucy" / "ab"[number % 2] / f"{number}.jpg", number)
    by_path = prepare(find_source(str(tmp_path / "lucy")), val_split=0.2, test_split=0.2, seed=1)
    by_name = prepare(find_source("lucy"), val_split=0.2, test_split=0.2, seed=1)
    assert by_name.photos.equals(by_path.photos)
    assert (by_path.new, by_name.new, by_name.found) == (8, 0, 8)


def test_derived_files_in_the_home_are_not_read_as_photos(project, make_photo, fingerprint):
    home = project / "data" / "pets"
    for number in range(8):
        make_photo(home / "ab"[number % 2] / f"{number}.jpg", number)
    before = fingerprint(home)
    incomplete = ".source.json.123.partial"  # of a run that was killed
    for _ in range(2):
        prepared = prepare(find_source("pets"), val_split=0.2, test_split=0.2, seed=1)
        assert (prepared.found, len(prepared.photos)) == (8, 8)
        assert set(os.listdir(home)) <= {"a", "b", incomplete, *DERIVED}
        (home / incomplete).touch()
    assert {name: fingerprint(home)[name] for name in before} == before
