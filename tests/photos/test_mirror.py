"""Photos in an object store are mirrored: fetched once, completely, and nothing is lost without a word."""

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from object_store import ObjectStore
from phototransfer import files
from phototransfer.commands import install_command
from phototransfer.photos import find_source, mirror, object_store, prepare
from phototransfer.settings import check_place
from processes import Death, die

REQUIREMENTS = install_command("remote")
fsspec = pytest.importorskip("fsspec", reason=f"fsspec is not installed: {REQUIREMENTS}")

PHOTOS = {f"{label}/{number}.jpg": os.urandom(700) for label in ("cat", "dog") for number in range(4)}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    monkeypatch.setattr(files, "PROJECT", root)
    monkeypatch.setattr(files, "DATA", root / "data")
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def memory():
    """memory(key, data) puts an object into memory://bucket."""
    system = fsspec.filesystem("memory")
    system.store.clear()

    def put(key: str, data: bytes) -> None:
        system.pipe_file(f"memory://bucket/{key}", data)

    put.system = system
    yield put
    system.store.clear()


@pytest.fixture
def s3(monkeypatch):
    """A store that s3:// means, without credentials."""
    pytest.importorskip("s3fs", reason=f"s3fs is not installed: {REQUIREMENTS}")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with ObjectStore() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        for key, data in PHOTOS.items():
            store.put("bucket", f"photos/{key}", data)
        yield store


@pytest.fixture
def credentials(monkeypatch):
    def give() -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    return give


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mirrored(address: str = "s3://bucket/photos") -> dict[str, bytes]:
    return content(find_source(address).folder)


def fetch(data: Path, environment: dict[str, str]) -> None:
    """Find the source in a process of its own."""
    os.environ.update(environment)
    files.PROJECT, files.DATA = data.parent, data
    find_source("s3://bucket/photos")


def dies_at_rename(number: int) -> bool:
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return die(Death("os.replace", number, "before"), fetch, files.DATA, environment)


# What any store does


def test_a_mirror_follows_its_store(project, memory, capsys):
    for key, data in PHOTOS.items():
        memory(f"pets/{key}", data)
    memory("pets2/other.jpg", b"x")
    source = find_source("memory://bucket/pets/")
    assert source.home == project / "data" / "pets" and source.folder == source.home / "mirror"
    assert content(source.folder) == PHOTOS and source.skipped == ()
    memory("pets/cat/0.jpg", b"changed")
    memory("pets/cat/new.jpg", b"new")
    for number in range(4):
        memory.system.rm(f"memory://bucket/pets/dog/{number}.jpg")
    capsys.readouterr()
    expected = {key: data for key, data in PHOTOS.items() if key.startswith("cat/")}
    assert mirrored("memory://bucket/pets") == expected | {"cat/0.jpg": b"changed", "cat/new.jpg": b"new"}
    assert "5 objects: 2 fetched, 3 as before, 4 gone." in capsys.readouterr().out
    assert not (source.folder / "dog").exists()


def test_the_name_is_enough_next_time_and_asks_the_store(memory, capsys):
    memory("pets/cat/1.jpg", b"1")
    first = find_source("memory://bucket/pets")
    memory("pets/cat/2.jpg", b"2")
    assert find_source("pets") == find_source("data/pets") == first
    assert content(first.folder) == {"cat/1.jpg": b"1", "cat/2.jpg": b"2"}
    memory("pets/cat/3.jpg", b"3")
    assert find_source("data/pets/mirror") == find_source(str(first.folder)) == first  # without asking
    assert "cat/3.jpg" not in content(first.folder)


def test_two_buckets_and_own_folders_are_never_mixed(project, memory):
    (project / "data" / "mine").mkdir()
    (project / "data" / "mine" / "1.jpg").write_bytes(b"mine")
    for folder in ("a/pets", "b/pets", "a/mine", "a/sample"):
        memory(f"{folder}/cat/1.jpg", folder.encode())
    sources = [find_source(f"memory://bucket/{folder}") for folder in ("a/pets", "b/pets", "a/mine", "a/sample")]
    assert [content(source.folder)["cat/1.jpg"] for source in sources] == [b"a/pets", b"b/pets", b"a/mine", b"a/sample"]
    assert len({source.home for source in sources}) == 4 and sources[0].name == "pets"
    assert sources[2].name != "mine" and sources[3].name != "sample"
    assert content(project / "data" / "mine") == {"1.jpg": b"mine"}
    assert find_source(sources[1].name) == sources[1] == find_source("memory://bucket/b/pets")


def test_files_that_were_not_fetched_are_left_and_named(memory, capsys):
    for key in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
        memory(f"pets/{key}", b"fetched")
    folder = find_source("memory://bucket/pets").folder
    (folder / "cat" / "mine.jpg").write_bytes(b"mine")
    (folder / "cat" / "2.jpg").write_bytes(b"changed here")
    (folder / "dog" / "1.jpg").write_bytes(b"changed here")
    memory("pets/cat/mine.jpg", b"an object")
    memory("pets/cat/2.jpg", b"another one")
    memory.system.rm("memory://bucket/pets/dog/1.jpg")
    capsys.readouterr()
    for _ in range(2):
        find_source("memory://bucket/pets")
        out = capsys.readouterr().out
        assert all(name in out for name in ("cat/mine.jpg", "cat/2.jpg", "dog/1.jpg")) and "Left as they are" in out
    expected = {"cat/1.jpg": b"fetched", "cat/mine.jpg": b"mine", "cat/2.jpg": b"changed here"}
    assert content(folder) == expected | {"dog/1.jpg": b"changed here"}


def test_nothing_is_written_through_a_link(project, memory, tmp_path):
    memory("pets/cat/1.jpg", b"1")
    memory("pets/dog/1.jpg", b"1")
    folder = find_source("memory://bucket/pets").folder
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.jpg").write_bytes(b"mine")
    for path in (folder / "cat").iterdir():
        path.unlink()
    (folder / "cat").rmdir()
    (folder / "cat").symlink_to(outside)
    memory("pets/cat/1.jpg", b"changed")
    memory("pets/cat/2.jpg", b"2")
    skipped = dict(find_source("memory://bucket/pets").skipped)
    assert set(skipped) == {"cat/1.jpg", "cat/2.jpg"} and "link" in skipped["cat/1.jpg"]
    assert content(outside) == {"1.jpg": b"mine"}


def test_what_another_program_copied_is_not_fetched_again(s3, project):
    folder = find_source("s3://bucket/photos").folder
    (folder.parent / "mirror.jsonl").unlink()
    assert mirrored() == PHOTOS and sum(s3.fetched.values()) == len(PHOTOS)
    del s3.buckets["bucket"]["photos/cat/1.jpg"]
    assert "cat/1.jpg" not in mirrored()


def test_local_folder_as_a_store(project, tmp_path):
    for key, data in PHOTOS.items():
        path = tmp_path / "disk" / "pets" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert mirrored(f"local://{tmp_path}/disk/pets") == PHOTOS
    assert find_source(f"file://{tmp_path}/disk/pets").folder == tmp_path / "disk" / "pets"  # read where it is


def test_a_disk_without_space_for_all_is_not_begun(project, memory, monkeypatch):
    memory("pets/cat/1.jpg", bytes(50_000))
    monkeypatch.setattr(files, "free_space", lambda path: 40_000)
    with pytest.raises(OSError, match="1 object of memory://bucket/pets") as caught:
        find_source("memory://bucket/pets")
    assert caught.value.errno == errno.ENOSPC and not list(project.rglob("*.jpg"))


def test_a_disk_that_becomes_full_keeps_what_is_there(memory, monkeypatch):
    for key, data in PHOTOS.items():
        memory(f"pets/{key}", data)
    replace, room = os.replace, [3]

    def fill(source, target) -> None:
        if str(target).endswith(".jpg"):
            room[0] -= 1
            if room[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fill)
        with pytest.raises(OSError, match=r"5 objects .* are still to be fetched"):
            find_source("memory://bucket/pets")
    assert mirrored("memory://bucket/pets") == PHOTOS


@pytest.mark.parametrize(
    "address, word",
    [
        ("xyz://bucket/photos", "no kind of store 'xyz://'"),
        ("memory://", "names no bucket"),
        ("ftp://me:secret@host/photos", "password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_the_settings(address, word):
    with pytest.raises(ValueError, match=word) as caught:
        check_place("DATASET", address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_a_missing_package_is_named_with_how_to_install_it(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from phototransfer.settings import check_place\n"
        "check_place('DATASET', 's3://bucket/photos')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert REQUIREMENTS in done.stderr.splitlines()[-1] and "ValueError" in done.stderr


def test_fsspec_is_not_imported_without_an_address(tmp_path):
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "pets" / "cat" / "1.jpg").write_bytes(b"x")
    code = (
        "import sys\nfrom phototransfer.settings import check_place\nfrom phototransfer.photos import find_source\n"
        f"check_place('DATASET', {str(tmp_path / 'pets')!r})\nprint('fsspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize("name", ["PREDICT", "RELABEL", "WEIGHTS"])
def test_other_settings_are_no_addresses(name):
    with pytest.raises(ValueError, match="only DATASET can be"):
        check_place(name, "s3://bucket/photos")


# S3


def test_the_same_table_as_from_a_folder(s3, project, tmp_path, make_photo):
    for number in range(40):
        path = make_photo(tmp_path / "here" / "pets" / ("cat", "dog")[number % 2] / f"{number}.jpg", number)
        s3.put("set", f"a/pets/{path.parent.name}/{path.name}", path.read_bytes())
    s3.page = 7
    options = {"val_split": 0.2, "test_split": 0.2, "seed": 1}
    there = prepare(find_source("s3://set/a/pets"), **options)
    here = prepare(find_source(str(tmp_path / "here" / "pets")), **options)
    pd.testing.assert_frame_equal(there.photos.drop(columns="path"), here.photos.drop(columns="path"))
    assert [Path(path).read_bytes() for path in there.photos["path"]] == [
        Path(path).read_bytes() for path in here.photos["path"]
    ]
    assert there.to_dict()["dataset"] == "pets" and there.found == 40


def test_each_object_once_though_it_is_killed_in_between(s3, tmp_path):
    for number in range(60):
        s3.put("bucket", f"photos/cat/more{number}.jpg", os.urandom(300))
    expected = {key.removeprefix("photos/"): stored.data for key, stored in s3.buckets["bucket"].items()}
    died = 0
    for number in (5, 12, 20):
        died += dies_at_rename(number)
    assert died == 3
    folder = find_source("s3://bucket/photos").folder
    assert content(folder) == expected
    # Those that were being fetched when a process was killed are fetched twice, at most.
    assert len(expected) <= sum(s3.fetched.values()) <= len(expected) + 16 * died
    assert max(s3.fetched.values()) <= 1 + died
    before = sum(s3.fetched.values())
    assert mirrored() == expected and sum(s3.fetched.values()) == before
    assert not list(folder.parent.glob("*.partial")) and not list(folder.parent.glob(".*.partial"))


def test_modification_times_are_those_of_the_objects(s3):
    folder = find_source("s3://bucket/photos").folder
    assert {path.stat().st_mtime for path in folder.rglob("*.jpg")} == {1_700_000_000.0}


def test_an_object_that_was_only_touched_is_not_fetched_again(s3):
    find_source("s3://bucket/photos")
    for key, data in PHOTOS.items():
        s3.put("bucket", f"photos/{key}", data, modified=1_700_000_100.0)
    s3.put("bucket", "photos/cat/1.jpg", b"x" * 700)  # the same size and time, another content
    assert mirrored() == PHOTOS | {"cat/1.jpg": b"x" * 700}
    assert sum(s3.fetched.values()) == len(PHOTOS) + 1


HOSTILE = {
    "../evil.jpg": "outside",
    "cat/../../evil.jpg": "outside",
    "/etc/evil.jpg": "cannot be that of a file",
    "cat//evil.jpg": "cannot be that of a file",
    "./evil.jpg": "cannot be that of a file",
    "C:/evil.jpg": "cannot be that of a file",
    "x" * 300 + ".jpg": "255 bytes",
    "a/" * 101 + "evil.jpg": "deep",
    "cat": "folder of other objects",
    "empty/": "placeholder",
    "cat\\1.jpg": "the same name|cat/1.jpg",
}


def test_hostile_names_are_skipped_by_name(s3, project, tmp_path):
    before = content(tmp_path)
    for key in HOSTILE:
        s3.put("bucket", f"photos/{key}", b"" if key.endswith("/") else b"evil")
    s3.put("bucket", "photos/", b"")
    odd = {"cat/é ü?&+#%41 [1]*.jpg": b"odd", "dog\\windows.jpg": b"w"}
    for key, data in odd.items():
        s3.put("bucket", f"photos/{key}", data)
    source = find_source("s3://bucket/photos")
    assert content(source.folder) == PHOTOS | {key.replace("\\", "/"): data for key, data in odd.items()}
    reasons = dict(source.skipped)
    assert set(reasons) == set(HOSTILE)
    for key, words in HOSTILE.items():
        assert any(word in reasons[key] for word in words.split("|")), (key, reasons[key])
    written = content(tmp_path).keys() - before.keys()
    assert all(path.startswith("project/data/photos/") or path == "project/data/.lock" for path in written)


def test_names_that_differ_by_case_on_a_disk_without_case(s3, monkeypatch):
    s3.put("bucket", "photos/cat/A.jpg", b"A")
    s3.put("bucket", "photos/cat/a.jpg", b"a")
    monkeypatch.setattr(mirror, "_folding", lambda home: str.casefold)
    for _ in range(2):
        source = find_source("s3://bucket/photos")
        assert content(source.folder) == PHOTOS | {"cat/A.jpg": b"A"}
        assert [key for key, reason in source.skipped if "'cat/A.jpg'" in reason] == ["cat/a.jpg"]


def test_what_is_skipped_is_in_the_account_of_all_files(s3, make_photo, tmp_path):
    for number in range(12):
        path = make_photo(tmp_path / "x" / f"{number}.jpg", number)
        s3.put("set", f"pets/{('cat', 'dog')[number % 2]}/{number}.jpg", path.read_bytes())
    s3.put("set", "pets/../evil.jpg", b"evil")
    s3.broken["pets/cat/0.jpg"] = 403
    prepared = prepare(find_source("s3://set/pets"), val_split=0.2, test_split=0.2, seed=1)
    assert (prepared.found, len(prepared.photos)) == (13, 11)
    assert list(prepared.skipped["original"]) == ["../evil.jpg", "cat/0.jpg"]
    assert all(reason.startswith("not fetched: ") for reason in prepared.skipped["reason"])


@pytest.mark.parametrize("status", [403, 500])
def test_an_object_that_cannot_be_read_is_tried_again_next_time(s3, capsys, status):
    s3.broken["photos/cat/1.jpg"] = status
    source = find_source("s3://bucket/photos")
    assert [key for key, _ in source.skipped] == ["cat/1.jpg"] and len(content(source.folder)) == len(PHOTOS) - 1
    s3.broken.clear()
    assert mirrored() == PHOTOS and find_source("s3://bucket/photos").skipped == ()
    s3.put("bucket", "photos/cat/1.jpg", b"changed")
    s3.broken["photos/cat/1.jpg"] = status
    capsys.readouterr()
    assert mirrored() == PHOTOS  # the earlier version is used
    assert "could not be fetched again" in capsys.readouterr().out


def test_objects_of_which_none_can_be_read(s3):
    s3.broken = {f"photos/{key}": 403 for key in PHOTOS}
    with pytest.raises(ValueError, match="access denied"):
        find_source("s3://bucket/photos")


@pytest.mark.parametrize("address, word", [("s3://nothing/x", "no such bucket"), ("s3://bucket/phtos", "no objects")])
def test_a_wrong_bucket_or_folder(s3, project, address, word):
    begin = time.monotonic()
    with pytest.raises(ValueError, match=word) as caught:
        find_source(address)
    assert repr(address) in str(caught.value) and time.monotonic() - begin < 10
    assert os.listdir(project / "data") == []


def test_a_private_bucket_needs_credentials(s3, credentials, capsys):
    assert mirrored() == PHOTOS
    assert "No credentials" in capsys.readouterr().out  # what anybody can read
    s3.private.add("bucket")
    with pytest.raises(ValueError, match="AWS_ACCESS_KEY_ID"):
        find_source("s3://bucket/photos")
    credentials()
    assert mirrored() == PHOTOS
    assert "No credentials" not in capsys.readouterr().out


def closed_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_a_store_that_cannot_be_reached(s3, project, monkeypatch, capsys):
    s3.put("bucket", "photos/../evil.jpg", b"x")
    source = find_source("s3://bucket/photos")
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed_port())
    capsys.readouterr()
    assert find_source("s3://bucket/photos") == find_source("photos") == source and len(source.skipped) == 1
    assert "What was fetched before is used" in capsys.readouterr().out
    begin = time.monotonic()
    with pytest.raises(object_store.Unreachable, match="AWS_ENDPOINT_URL is 'http://127"):
        find_source("s3://other/photos")
    assert time.monotonic() - begin < 15
    (source.folder / "cat" / "1.jpg").unlink()
    with pytest.raises(object_store.Unreachable):
        find_source("s3://bucket/photos")


def test_an_incomplete_mirror_is_not_used_without_its_store(s3, monkeypatch):
    assert dies_at_rename(5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed_port())
    with pytest.raises(object_store.Unreachable):
        find_source("s3://bucket/photos")


def test_a_store_that_stops_answering_in_between(s3, monkeypatch):
    for number in range(100):
        s3.put("bucket", f"photos/cat/more{number}.jpg", b"x")
    get_file, lost = mirror._fetch_one, []

    def lose(listing, key, **options):
        if len(lost) >= 30:
            return ConnectionResetError("gone")
        lost.append(key)
        return get_file(listing, key, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mirror, "_fetch_one", lose)
        with pytest.raises(object_store.Unreachable, match="30 of 108 objects"):
            find_source("s3://bucket/photos")
    assert len(mirrored()) == 108 and sum(s3.fetched.values()) == 108


def test_an_archive_in_a_store_is_unpacked(s3, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for name, data in PHOTOS.items():
            archive.writestr(name, data)
    s3.put("bucket", "sets/pets.zip", (tmp_path / "pets.zip").read_bytes())
    assert mirrored("s3://bucket/sets/pets.zip") == PHOTOS


def test_the_record_does_not_grow_for_ever(s3, monkeypatch):
    record = find_source("s3://bucket/photos").home / "mirror.jsonl"
    with record.open("a") as file:
        file.writelines(['{"complete": {"when": "2026-01-01", "objects": 8}}\n'] * 1100 + ['{"key": "cut'])
    assert mirrored() == PHOTOS and sum(s3.fetched.values()) == len(PHOTOS)
    assert len(record.read_text().splitlines()) < 20
