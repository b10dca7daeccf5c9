"""An archive as DATASET is unpacked completely, once, and never outside of its folder."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from phototransfer import files
from phototransfer.photos import archives, find_source

PHOTOS = {f"{label}/{n}.jpg": os.urandom(700) for label in ("cat", "dog") for n in range(3)}


def zip_of(path: Path, members: dict[str, bytes], flags: int = 0, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr, info.compress_type = name, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    if flags:  # a bit in the local header and in the directory, as a packer with a password sets it
        content = path.read_bytes().replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
        path.write_bytes(content.replace(b"\x14\x03\x14\x00\x00", b"\x14\x03\x14\x00\x01"))
    return path


def tar_of(path: Path, members: dict[str, bytes], mode: str = "w", **links: dict) -> Path:
    """A tar of files, and of entries with other fields: {"name": {"type": tarfile.SYMTYPE, "linkname": "/etc"}}."""
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, fields in links.items():
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unpacked(archive: Path | str) -> dict[str, bytes]:
    folder = find_source(str(archive)).folder
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ending, mode", [("tar", "w"), ("tar.gz", "w:gz"), ("TGZ", "w:gz"), ("tar.xz", "w:xz")])
def test_tar_archives(project, ending, mode):
    assert unpacked(tar_of(project / f"pets.{ending}", PHOTOS, mode)) == PHOTOS
    assert find_source("pets").folder == project / "data" / "pets" / "unpacked"


def test_zip_with_the_names_of_windows(project):
    members = {name.replace("/", "\\"): data for name, data in PHOTOS.items()}
    assert unpacked(zip_of(project / "pets.zip", members | {"empty\\": b""})) == PHOTOS


def test_unpacked_once_and_again_when_it_changes(project, capsys):
    archive = zip_of(project / "data" / "pets.zip", PHOTOS)
    assert unpacked("pets.zip") == unpacked("pets") == unpacked(archive) == PHOTOS
    assert capsys.readouterr().out.count("Unpacking") == 1
    fewer = dict(list(PHOTOS.items())[:4])
    zip_of(archive, fewer)
    os.utime(archive, (1, 1))
    assert unpacked("pets") == fewer
    archive.unlink()
    assert unpacked("pets") == fewer


def test_an_interrupted_run_is_run_again(project, monkeypatch):
    archive = zip_of(project / "pets.zip", PHOTOS)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            find_source("pets.zip")
    (project / "data" / "pets" / ".unpacked-x.partial").mkdir()  # of a process that was killed
    assert unpacked(archive) == PHOTOS
    assert not list((project / "data" / "pets").glob("*.partial"))


def test_archives_of_one_name_and_an_own_folder_are_never_mixed(project):
    (project / "data" / "pets" / "mine").mkdir(parents=True)
    (project / "data" / "pets" / "mine" / "1.jpg").write_bytes(b"x")
    one, other = zip_of(project / "pets.zip", PHOTOS), tar_of(project / "pets.tar", {"a/b.jpg": b"x"})
    assert (unpacked(one), unpacked(other)) == (PHOTOS, {"a/b.jpg": b"x"})
    assert unpacked(one) == PHOTOS and os.listdir(project / "data" / "pets") == ["mine"]


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "..\\x.jpg", "C:..\\x.jpg"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_nothing_is_written_above_the_folder(project, pack, name):
    archive = pack(project / "pets", PHOTOS | {name: b"x"})
    with pytest.raises(ValueError, match="outside"):
        find_source(str(archive))
    assert not list(project.rglob("*.jpg"))


@pytest.mark.parametrize("name", ["/tmp/i11/x.jpg", "C:\\tmp\\i11\\x.jpg", "//tmp/i11/x.jpg", "./tmp/i11/x.jpg"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_absolute_names_stay_inside(project, pack, name):
    assert unpacked(pack(project / "pets", {name: b"x"})) == {"tmp/i11/x.jpg": b"x"}


def test_links_and_devices_are_left_out_and_counted(project, capsys):
    links = {
        "cat/out": {"type": tarfile.SYMTYPE, "linkname": "/etc"},
        "cat/out/x.jpg": {"type": tarfile.SYMTYPE, "linkname": "../dog/0.jpg"},
        "hard": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
        "device": {"type": tarfile.CHRTYPE},
        "again.jpg": {"type": tarfile.LNKTYPE, "linkname": "cat/0.jpg"},  # one more name of a file in the archive
    }
    archive = tar_of(project / "pets.tar", PHOTOS, **links)
    assert unpacked(archive) == PHOTOS | {"again.jpg": PHOTOS["cat/0.jpg"]}
    assert "4 of its entries" in capsys.readouterr().out
    assert not [path for path in project.rglob("*") if path.is_symlink()]


def test_a_link_in_a_zip_is_left_out(project):
    with pytest.raises(ValueError, match="no files"):
        find_source(str(zip_of(project / "pets.zip", {"cat.jpg": b"/etc/passwd"}, mode=0o120777)))


@pytest.mark.parametrize("pack, mode", [(zip_of, {}), (tar_of, {"mode": "w:gz"})])
@pytest.mark.parametrize("limit", ["size", "count"])
def test_a_bomb_is_refused_before_anything_is_written(project, monkeypatch, pack, mode, limit):
    monkeypatch.setattr(archives, "_write", None)
    monkeypatch.setattr(archives, "_MAX_FILES", 5 if limit == "count" else 100)
    monkeypatch.setattr(files, "free_space", lambda path: 10**6)
    members = PHOTOS if limit == "count" else {"a.jpg": bytes(900_000)}
    with pytest.raises(ValueError, match="more than"):
        find_source(str(pack(project / "pets", members, **mode)))


def test_a_broken_or_encrypted_archive_is_named(project):
    whole = {"zip": zip_of(project / "a", PHOTOS), "tar": tar_of(project / "b", PHOTOS)}
    whole["gz"] = tar_of(project / "c", PHOTOS, "w:gz")
    (project / "cut.tar").write_bytes(whole["tar"].read_bytes()[:3000])
    (project / "cut.tgz").write_bytes(whole["gz"].read_bytes()[:3000])
    changed = bytearray(whole["zip"].read_bytes())
    changed[300] ^= 0xFF
    (project / "changed.zip").write_bytes(changed)
    for name in ("cut.tar", "cut.tgz", "changed.zip"):
        with pytest.raises(ValueError, match="damaged") as caught:
            find_source(name)
        assert name in str(caught.value) and not list((project / "data").rglob("*.jpg"))
    with pytest.raises(ValueError, match="encrypted"):
        find_source(str(zip_of(project / "secret.zip", PHOTOS, flags=1)))
