"""Is the folder found that DATASET means, and does each get a home that it shares with no other?"""

import json
import os
from pathlib import Path

import pytest

import helpers
from helpers.photos import sources
from helpers.photos.prepare import prepare
from helpers.photos.sources import DERIVED, Source, fetch


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of its own, with an empty data/, seen from a working directory beside it."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(helpers, "ROOT", root)
    monkeypatch.setattr(sources, "ROOT", root)
    monkeypatch.setattr(sources, "DATA", root / "data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def photos(folder: Path, first: int = 0) -> Path:
    for number in range(first, first + 2):
        (folder / "cat").mkdir(parents=True, exist_ok=True)
        (folder / "cat" / f"{number}.jpg").write_bytes(b"x")
    return folder


def test_a_folder_under_data_by_its_name(project):
    folder = photos(project / "data" / "pets")
    assert fetch("pets") == Source("pets", folder, folder)
    assert fetch("pets") == fetch(str(folder)) == fetch("data/pets") == Source("pets", folder, folder)


def test_a_path_absolute_from_the_root_and_from_the_working_directory(project, tmp_path, monkeypatch):
    outside = photos(tmp_path / "my photos")
    home = project / "data" / "my photos"
    assert fetch(str(outside)) == Source("my photos", outside, home)
    assert fetch("../my photos") == Source("my photos", outside, home)  # from the root
    here = photos(tmp_path / "elsewhere" / "here")
    assert fetch("here") == Source("here", here, project / "data" / "here")
    assert fetch("./here/") == fetch("here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch("~/my photos") == fetch(str(outside))
    assert json.loads((home / "source.json").read_text()) == {"folder": str(outside)}


def test_only_its_home_is_written_to(project, tmp_path, fingerprint):
    outside = photos(tmp_path / "pets")
    before = fingerprint(tmp_path / "pets")
    fetch(str(outside))
    assert fingerprint(tmp_path / "pets") == before
    assert sorted(os.listdir(project / "data")) == [".lock", "pets"]


def test_data_comes_before_the_root_and_the_root_before_the_working_directory(project, tmp_path):
    here = photos(tmp_path / "elsewhere" / "pets")
    assert fetch("pets").folder == here
    root = photos(project / "pets")
    assert fetch("./pets").folder == root
    inside = photos(project / "data" / "inside")
    photos(project / "inside")
    assert fetch("inside").folder == inside


def test_the_name_alone_is_enough_after_a_path_was_used_once(project, tmp_path):
    outside = photos(tmp_path / "lucy")
    first = fetch(str(outside))
    assert fetch("lucy") == first
    (first.home / "prepared").mkdir()
    (first.home / ".DS_Store").write_bytes(b"x")  # somebody looked at it on a Mac
    assert fetch("lucy") == first
    assert fetch(str(outside)) == first


def test_two_folders_of_one_name_are_never_mixed(project, tmp_path):
    one, other = photos(tmp_path / "a" / "pets"), photos(tmp_path / "b" / "pets")
    first, second = fetch(str(one)), fetch(str(other))
    assert (first.folder, second.folder) == (one, other)
    assert first.home == project / "data" / "pets"
    assert second.home.parent == project / "data" and second.home != first.home
    assert second.name == second.home.name != "pets"
    assert fetch(str(one)) == fetch("pets") == first
    assert fetch(str(other)) == fetch(second.name) == second


def test_a_folder_of_ones_own_under_data_is_not_mixed_with_another_of_its_name(project, tmp_path):
    own = photos(project / "data" / "pets")
    outside = fetch(str(photos(tmp_path / "pets")))
    assert outside.home not in (own, tmp_path / "pets")
    assert fetch("pets") == Source("pets", own, own)


def test_a_link_under_data_is_followed_and_never_written_through(project, tmp_path, fingerprint):
    outside = photos(tmp_path / "disk" / "lucy")
    before = fingerprint(outside)
    (project / "data" / "lucy").symlink_to(outside)
    source = fetch("lucy")
    assert source.folder == outside
    assert source.home.parent == project / "data" and not source.home.is_symlink()
    assert fetch("lucy") == source
    assert fingerprint(outside) == before


def test_data_itself_may_be_a_link_to_another_disk(project, tmp_path):
    disk = tmp_path / "disk"
    (project / "data").rmdir()
    disk.mkdir()
    (project / "data").symlink_to(disk)
    pets = photos(disk / "pets")
    assert fetch("pets") == Source("pets", pets, pets)
    outside = photos(tmp_path / "lucy")
    assert fetch(str(outside)) == Source("lucy", outside, disk / "lucy") == fetch("lucy")


@pytest.mark.parametrize("name", ["no such", "", "  ", "../nowhere", "/nowhere/at/all", "x" * 300, "a\0b", "no/such"])
def test_what_is_nowhere_is_told_with_what_there_is(project, name):
    photos(project / "data" / "pets"), (project / "data" / "_old").mkdir(), (project / "data" / "a.zip").touch()
    with pytest.raises(FileNotFoundError) as caught:
        fetch(name)
    message = str(caught.value)
    assert repr(name) in message
    assert "In data/: pets; downloads: cats_and_dogs, stanford_dogs; drawn here: sample." in message
    assert str(project) in message and str(Path.cwd()) in message
    assert sorted(os.listdir(project / "data")) == ["_old", "a.zip", "pets"]


def test_a_file_is_no_folder_of_photos(project):
    (project / "data" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"photo\.jpg"):
        fetch("data/photo.jpg")


def test_photos_that_are_away_now_are_told_and_not_forgotten(project, tmp_path):
    outside = photos(tmp_path / "stick" / "lucy")
    source = fetch(str(outside))
    (source.home / "prepared").mkdir()
    outside.rename(tmp_path / "unplugged")
    with pytest.raises(FileNotFoundError, match="is not there now") as caught:
        fetch("lucy")
    assert str(outside) in str(caught.value) and str(source.home) in str(caught.value)
    (tmp_path / "unplugged").rename(outside)
    assert fetch("lucy") == source


@pytest.mark.parametrize("mine", ["prepared", "features", "skipped.csv"])
def test_names_the_notebook_needs_in_ones_own_folder_are_told(project, mine, fingerprint):
    folder = photos(project / "data" / "pets")
    if mine == "skipped.csv":
        (folder / mine).write_text("my own list")
    else:
        photos(folder / mine)
    before = fingerprint(folder)
    with pytest.raises(ValueError, match="did not make") as caught:
        fetch("pets")
    assert str(folder) in str(caught.value)
    assert fingerprint(folder) == before


def test_a_class_called_prepared_is_fine_outside_data(project, tmp_path):
    outside = photos(tmp_path / "pets")
    photos(outside / "prepared")
    assert fetch(str(outside)) == Source("pets", outside, project / "data" / "pets")


def test_what_the_notebook_made_is_no_such_clash(project):
    source = fetch(str(photos(project / "data" / "pets")))
    (source.home / "prepared").mkdir(), (source.home / "features").mkdir(), (source.home / "skipped.csv").touch()
    assert fetch("pets") == source


@pytest.mark.parametrize("content", ["[]", '{"name": "mine"}', '{"folder": 3}', "{"])
def test_a_source_json_of_somebody_else_is_told(project, content):
    folder = photos(project / "data" / "pets")
    (folder / "source.json").write_text(content)
    with pytest.raises(ValueError, match=r"source\.json"):
        fetch("pets")
    assert (folder / "source.json").read_text() == content


@pytest.mark.parametrize("name", [".", "data", "..", "/"])
def test_a_folder_that_holds_the_project_is_refused(project, monkeypatch, name):
    monkeypatch.chdir(project)
    with pytest.raises(ValueError, match="holds this project's own"):
        fetch(name)
    assert os.listdir(project / "data") == []


def test_odd_names_get_a_home_that_every_system_takes(project, tmp_path):
    for name in ("con", "a:b", os.fsdecode(b"\xff\xfe"), "two\nlines", "x" * 250, "🐶" * 60, " lead"):
        folder = photos(tmp_path / "odd" / name)
        source = fetch(str(folder))
        assert source.folder == folder
        assert source.home.parent == project / "data" and len(source.home.name.encode()) < 120
        assert fetch(str(folder)) == fetch(source.name) == source


def test_a_path_may_be_given_as_a_path(project, tmp_path):
    outside = photos(tmp_path / "pets")
    assert fetch(outside) == fetch(str(outside))


# Downloads and the sample


@pytest.fixture
def downloads(monkeypatch) -> list[Path]:
    """Downloads that need no network; the folders into which they came."""
    came: list[Path] = []

    def download(name: str, folder: Path) -> Path:
        came.append(folder)
        return photos(folder / sources.DOWNLOADS[name].photos)

    monkeypatch.setattr(sources, "download", download)
    return came


def test_a_downloads_name_fetches_it_into_its_home(project, downloads):
    home = project / "data" / "cats_and_dogs"
    wanted = Source("cats_and_dogs", home / "download" / "cats_and_dogs_filtered", home)
    assert fetch("cats_and_dogs") == wanted
    (home / "prepared").mkdir()
    assert fetch("cats_and_dogs") == wanted
    assert downloads == [home / "download"] * 2


def test_a_path_called_like_a_download_is_the_path(project, tmp_path, downloads):
    outside = photos(tmp_path / "elsewhere" / "cats_and_dogs")
    assert fetch("./cats_and_dogs") == Source("cats_and_dogs", outside, project / "data" / "cats_and_dogs")
    assert downloads == []
    download = fetch("cats_and_dogs")
    assert download.home == project / "data" / "cats_and_dogs-download"
    assert fetch(str(outside)).folder == outside
    assert fetch("cats_and_dogs") == download


def test_ones_own_folder_under_data_comes_before_a_download(project, downloads):
    own = photos(project / "data" / "stanford_dogs")
    assert fetch("stanford_dogs") == Source("stanford_dogs", own, own)
    assert downloads == []


def test_a_download_comes_before_a_path_of_its_name_in_the_working_directory(project, tmp_path, downloads):
    photos(tmp_path / "elsewhere" / "cats_and_dogs")
    assert fetch("cats_and_dogs").home == project / "data" / "cats_and_dogs"
    outside = fetch(str(tmp_path / "elsewhere" / "cats_and_dogs"))
    assert outside.folder == tmp_path / "elsewhere" / "cats_and_dogs"
    assert outside.home != project / "data" / "cats_and_dogs"


def test_the_sample_is_drawn_once(project, monkeypatch):
    drawn = []
    monkeypatch.setattr(sources, "_draw_sample", lambda folder: drawn.append(photos(folder)))
    home = project / "data" / "sample"
    assert fetch("sample") == fetch("sample") == Source("sample", home, home)
    assert drawn == [home]


# With preparing


def test_the_same_name_gives_the_same_photos_after_preparing(project, tmp_path, make_photo):
    for number in range(8):
        make_photo(tmp_path / "lucy" / "ab"[number % 2] / f"{number}.jpg", number)
    by_path = prepare(fetch(str(tmp_path / "lucy")), 0.2, 0.2, 1)
    by_name = prepare(fetch("lucy"), 0.2, 0.2, 1)
    assert by_name.photos.equals(by_path.photos)
    assert (by_path.read_now, by_name.read_now) == (8, 0)
    assert by_name.found == 8


def test_photos_in_their_own_home_are_found_without_what_was_made_of_them(project, make_photo, fingerprint):
    home = project / "data" / "pets"
    for number in range(8):
        make_photo(home / "ab"[number % 2] / f"{number}.jpg", number)
    before = fingerprint(home)
    for _ in range(2):
        prepared = prepare(fetch("pets"), 0.2, 0.2, 1)
        assert (prepared.found, len(prepared.photos)) == (8, 8)
        left = {".source.json.123.partial"}  # by a run that was killed
        assert set(os.listdir(home)) - left <= {"a", "b", *DERIVED}
        (home / ".source.json.123.partial").touch()
    assert {name: fingerprint(home)[name] for name in before} == before
