"""Are photos downloaded whole or not at all, and can no archive write where it should not?"""

import errno
import hashlib
import io
import os
import re
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.photos import archives as module
from helpers.photos.archives import ArchiveError, extract
from helpers.photos.download import DOWNLOADS, STALE, Download, DownloadError, download

NOTEBOOKS = Path(module.__file__).parents[2]


def jpeg(seed: int, side: int = 32) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


PHOTOS = {f"set/{kind}/{n}.jpg": jpeg(n + 10 * len(kind)) for kind in ("cats", "doggies") for n in range(3)}


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tar_of(files: dict[str, bytes], compression: str = "", **fields) -> bytes:
    """A tar of the files; fields (type, linkname, …) are set on every member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_link(name: str, target: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system = 3  # Unix
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return out.getvalue()


def zip_with_flag(flag: int) -> bytes:
    """A zip whose only member carries a flag bit, in the header before it and in the list at the end."""
    content = bytearray(zip_of({"set/a.jpg": PHOTOS["set/cats/0.jpg"]}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= flag
    return bytes(content)


def zip_that_lies() -> bytes:
    """A zip with 3 MB of zeros that states 1,000 bytes."""
    content = bytearray(zip_of({"set/a.jpg": bytes(3_000_000)}))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (1000).to_bytes(4, "little")
    return bytes(content)


def zip_with_false_offset() -> bytes:
    content = bytearray(zip_of(PHOTOS))
    at = content.index(b"PK\x05\x06") + 16  # where the list of members begins
    content[at : at + 4] = (int.from_bytes(content[at : at + 4], "little") + 30).to_bytes(4, "little")
    return bytes(content)


def flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 255
    return bytes(changed)


def same_photos(folder: Path) -> bool:
    found = {f"set/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return found == PHOTOS


@pytest.fixture
def web():
    """A web server of this machine: web.pages maps a path to (status, stated length or None, body, stall)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            web.requests.append(self.path)
            status, length, body, stall = web.pages[self.path]
            self.send_response(status)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
            if stall:
                web.over.wait(60)

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.pages, web.requests, web.over = {}, [], threading.Event()
    web.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield web
    web.over.set()
    web.shutdown()
    web.server_close()
    thread.join()


def offered(web, name: str, body: bytes, *, status=200, length=-1, stall=False, **known) -> Download:
    """Put body on the web server, whole unless length or stall say otherwise, and describe it."""
    web.pages[f"/{name}"] = (status, len(body) if length == -1 else length, body, stall)
    fields = {"photos": "set", "size": None, "sha256": None, "about": "six photos"} | known
    return Download(url=f"{web.url}/{name}", **fields)


def test_named_sets_are_checked_or_come_encrypted():
    assert {"cats_and_dogs", "stanford_dogs"} <= set(DOWNLOADS)
    for each in DOWNLOADS.values():
        assert each.url.startswith("https://") or re.fullmatch("[0-9a-f]{64}", each.sha256)


def test_unknown_name_says_which_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"'no_such_set'.*cats_and_dogs, stanford_dogs"):
        download("no_such_set", tmp_path)


@pytest.mark.parametrize(
    "name, pack",
    [
        ("set.zip", zip_of),
        ("set.tar", tar_of),
        ("set.tar.gz", lambda files: tar_of(files, "gz")),
    ],
)
def test_fetched_once_and_nothing_else_left(web, tmp_path, name, pack):
    body = pack(PHOTOS | {"read me.txt": b"beside the photos"})
    wanted = offered(web, name, body, size=len(body), sha256=hashlib.sha256(body).hexdigest())
    folder = tmp_path / "data" / "six photos" / "download"
    photos = download(wanted, folder)
    assert photos == folder / "set"
    assert same_photos(photos)
    assert os.listdir(folder) == ["set"]
    assert download(wanted, folder) == photos
    assert web.requests == [f"/{name}"]


def test_named_set_is_fetched_from_its_address(web, tmp_path, monkeypatch):
    monkeypatch.setitem(DOWNLOADS, "six", offered(web, "six.zip", zip_of(PHOTOS)))
    assert same_photos(download("six", tmp_path))


def test_without_length_and_into_an_empty_folder(web, tmp_path):
    (tmp_path / "set").mkdir()
    assert same_photos(download(offered(web, "set.zip", zip_of(PHOTOS), length=None), tmp_path))


def test_photos_put_there_by_hand_need_no_network(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").write_bytes(jpeg(1))
    wanted = Download("http://127.0.0.1:9/set.zip", "set", None, None, "by hand")
    assert download(wanted, tmp_path) == tmp_path / "set"


def test_file_in_the_way(tmp_path):
    (tmp_path / "set").write_text("a file")
    wanted = Download("http://127.0.0.1:9/set.zip", "set", None, None, "in the way")
    with pytest.raises(FileExistsError, match="a file is where"):
        download(wanted, tmp_path)


BODY = zip_of(PHOTOS)
FAILURES = {
    "cut short": (dict(body=BODY[:-500], length=len(BODY)), "retrieval incomplete"),
    "cut short, no length": (dict(body=BODY[:-500], length=None), "damaged or cut short"),
    "tar cut short, no length": (dict(body=tar_of(PHOTOS)[:1024], length=None), "damaged or cut short"),
    "not there": (dict(body=b"no", status=404), "404"),
    "server error": (dict(body=b"no", status=503), "503"),
    "stalls": (dict(body=BODY[:500], length=len(BODY), stall=True), "timed out"),
    "other size": (dict(body=BODY, size=len(BODY) + 1), f"{len(BODY):,} bytes where {len(BODY) + 1:,}"),
    "other content": (dict(body=BODY, sha256="0" * 64), "SHA-256"),
    "error page": (dict(body=b"<html>Log in to this network</html>"), "no zip or tar"),
    "empty": (dict(body=b""), "no zip or tar"),
    "hostile": (dict(body=zip_of({"set/a.jpg": b"", "../../../evil": b""})), "points outside"),
    "other folder": (dict(body=BODY, photos="photos"), "no photos in a folder called 'photos'"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_says_why_and_the_way_out_and_leaves_nothing(web, tmp_path, case):
    answer, reason = FAILURES[case]
    wanted = offered(web, "set.zip", **answer)
    before = socket.getdefaulttimeout()
    with pytest.raises(DownloadError) as caught:
        download(wanted, tmp_path, timeout=0.4)
    message = str(caught.value)
    for part in (reason, wanted.url, wanted.about, "with a browser", str(tmp_path / wanted.photos)):
        assert part in message
    assert os.listdir(tmp_path) == []
    assert len(web.requests) == 1
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize("listening, reason", [(True, "timed out"), (False, "refused")])
def test_nobody_answers(tmp_path, listening, reason):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:  # and takes the call, but never says a word
            silent.listen()
        wanted = Download(f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip", "set", None, None, "six photos")
        with pytest.raises(DownloadError, match=reason):
            download(wanted, tmp_path, timeout=0.4)
    assert os.listdir(tmp_path) == []


def test_killed_download_is_not_taken_for_whole(web, tmp_path):
    body = zip_of(PHOTOS | {"set/big.jpg": jpeg(5, side=512)}, zipfile.ZIP_STORED)
    wanted = offered(web, "set.zip", body[: len(body) // 2], length=len(body), stall=True)
    code = "import sys; from pathlib import Path; from helpers.photos.download import Download, download\n"
    code += "download(Download(sys.argv[1], 'set', None, None, ''), Path(sys.argv[2]), timeout=60)"
    environment = {**os.environ, "PYTHONPATH": str(NOTEBOOKS), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.Popen([sys.executable, "-c", code, wanted.url, str(tmp_path)], env=environment)
    try:
        while run.poll() is None and not any(p.stat().st_size for p in tmp_path.rglob("set.zip")):
            time.sleep(0.02)
    finally:
        run.kill()
        run.wait()
    [left] = tmp_path.iterdir()  # the half file, in its hidden folder
    assert left.name.startswith(".set-") and left.name.endswith(".partial")

    assert (download(offered(web, "set.zip", body), tmp_path) / "big.jpg").read_bytes() == jpeg(5, side=512)
    assert left.exists()  # it could be a run that goes on at the same time
    for path in (left, *left.rglob("*")):
        os.utime(path, (0, time.time() - STALE - 60))
    download(wanted, tmp_path)
    assert os.listdir(tmp_path) == ["set"]


def test_full_disk_while_downloading_names_the_folder(tmp_path, monkeypatch):
    import keras

    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keras.utils, "get_file", full)
    with pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught:
        download("cats_and_dogs", tmp_path)
    assert caught.value.errno == errno.ENOSPC and not isinstance(caught.value, DownloadError)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind, pack", [(zipfile.ZipFile, zip_of), (tarfile.TarFile, tar_of)])
def test_full_disk_while_unpacking_names_the_folder(tmp_path, monkeypatch, kind, pack):
    (tmp_path / "a").write_bytes(pack(PHOTOS))
    original = kind.extract

    def full_at_the_third(self, member, *args, **options):
        if getattr(member, "name", None) == "set/cats/2.jpg" or getattr(member, "filename", None) == "set/cats/2.jpg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, member, *args, **options)

    monkeypatch.setattr(kind, "extract", full_at_the_third)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "out"))) as caught:
        extract(tmp_path / "a", tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["a"]


FINE = {"set/fine.jpg": PHOTOS["set/cats/0.jpg"]}
NAMES = {
    "up": "../evil",
    "up, further in": "set/../../evil",
    "up at the end": "set/..",
    "absolute": "/tmp/evil",
    "Windows drive": "C:/evil",
    "Windows drive, relative": "C:evil",
    "Windows network": "\\\\server\\evil",
    "backslashes": "..\\..\\evil",
}
HOSTILE = {
    **{f"zip: {what}": (zip_of(FINE | {name: b""}), name) for what, name in NAMES.items()},
    **{f"tar: {what}": (tar_of(FINE | {name: b""}), name) for what, name in NAMES.items()},
    "zip: NUL": (zip_of(FINE | {"evilX.jpg": b""}).replace(b"evilX", b"evil\0"), "evil\\x00.jpg"),
    "zip: symbolic link": (zip_link("evil", "/etc"), "evil"),
    "tar: symbolic link": (tar_of({"evil": b""}, type=tarfile.SYMTYPE, linkname="/etc"), "evil"),
    "tar: link inside": (tar_of({"evil": b""}, type=tarfile.SYMTYPE, linkname="set"), "evil"),
    "tar: hard link": (tar_of({"evil": b""}, type=tarfile.LNKTYPE, linkname="../a"), "evil"),
    "tar: device": (tar_of({"evil": b""}, type=tarfile.CHRTYPE), "evil"),
    "tar: pipe": (tar_of({"evil": b""}, type=tarfile.FIFOTYPE), "evil"),
    "tar.gz: up": (tar_of(FINE | {"../evil": b""}, "gz"), "../evil"),
    "tar: negative size": (tar_of({"evil": b""}, pax_headers={"size": "-512"}), "evil"),
    "zip: password": (zip_with_flag(0x1), "set/a.jpg"),
    "zip: bzip2": (zip_of(FINE, zipfile.ZIP_BZIP2), "set/fine.jpg"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_is_refused_before_anything_is_written(tmp_path, monkeypatch, case):
    content, name = HOSTILE[case]
    home = tmp_path / "in" / "here"
    home.mkdir(parents=True)
    (home / "a").write_bytes(content)
    monkeypatch.setattr(module, "folder_beside", lambda folder: pytest.fail("a folder was made"))
    with pytest.raises(ArchiveError, match="was refused, nothing was unpacked") as caught:
        extract(home / "a", home / "out")
    shown = name if "NUL" in case else repr(name)[1:-1]
    assert shown in str(caught.value) and str(home / "a") in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "in", home, home / "a"]


@pytest.mark.parametrize("pack", [zip_of, tar_of, lambda files: tar_of(files, "gz")])
def test_bombs_are_refused(tmp_path, pack):
    (tmp_path / "a").write_bytes(pack({f"{n}.jpg": bytes(1000) for n in range(20)}))
    for limit in ({"max_bytes": 19_999}, {"max_members": 19}):
        with pytest.raises(ArchiveError, match="holds more than"):
            extract(tmp_path / "a", tmp_path / "out", **limit)
        assert os.listdir(tmp_path) == ["a"]
    assert len(os.listdir(extract(tmp_path / "a", tmp_path / "out", max_bytes=20_000, max_members=20))) == 20


def test_zip_that_holds_more_than_it_states(tmp_path):
    (tmp_path / "a").write_bytes(zip_that_lies())
    with pytest.raises(ArchiveError, match="damaged"):
        extract(tmp_path / "a", tmp_path / "out", max_bytes=2000)
    assert os.listdir(tmp_path) == ["a"]


def test_tar_with_a_name_too_long_to_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_TAR_HEADER", 5000)
    (tmp_path / "a").write_bytes(tar_of({"x" * 6000: b""}))
    with pytest.raises(ArchiveError, match="impossible size"):
        extract(tmp_path / "a", tmp_path / "out")


def test_tar_that_goes_on_behind_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    (tmp_path / "a").write_bytes(tar_of(PHOTOS) + bytes(2**21))
    with pytest.raises(ArchiveError, match="behind its end"):
        extract(tmp_path / "a", tmp_path / "out")


TAR = tar_of(PHOTOS)
SECOND = 512 + -(-len(PHOTOS["set/cats/0.jpg"]) // 512) * 512  # where the second member begins
DAMAGED = {
    "zip cut short": BODY[:-100],
    "zip with a flipped byte": flipped(BODY, 200),
    "tar cut inside a photo": TAR[: SECOND + 700],
    "tar cut between two photos": TAR[:SECOND],
    "tar with a garbled header": TAR[:SECOND] + b"garbled" + TAR[SECOND + 7 :],
    "tar.gz cut short": tar_of(PHOTOS, "gz")[:-100],
    "tar.bz2 cut short": tar_of(PHOTOS, "bz2")[:-100],
    "tar.xz cut short": tar_of(PHOTOS, "xz")[:-100],
    "tar.gz with a flipped byte": flipped(tar_of(PHOTOS, "gz"), 1000),
    "tar.gz with a false checksum": flipped(tar_of(PHOTOS, "gz"), -8),
    "tar.bz2 with a flipped byte": flipped(tar_of(PHOTOS, "bz2"), 1000),
    "tar.xz with a flipped byte": flipped(tar_of(PHOTOS, "xz"), 1000),
    "zip whose list lies elsewhere": zip_with_false_offset(),
    "a photo": PHOTOS["set/cats/0.jpg"],
    "zip without files": zip_of({}),
    "tar without files": tar_of({}),
    "nothing": b"",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archive_is_named_and_leaves_nothing(tmp_path, case):
    (tmp_path / "photos.archive").write_bytes(DAMAGED[case])
    with pytest.raises(ArchiveError, match=r"photos\.archive (is no zip or tar|is damaged|holds no files)"):
        extract(tmp_path / "photos.archive", tmp_path / "out")
    assert os.listdir(tmp_path) == ["photos.archive"]


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_odd_names_are_unpacked(tmp_path, pack):
    names = ["Köter/ß 1.jpg", "猫/😺.jpg", "a b/'quoted' & more.jpg", "__MACOSX/._1.jpg", "./dot.jpg", "a/..b/c..jpg"]
    (tmp_path / "a").write_bytes(pack({name: name.encode() for name in names}))
    extract(tmp_path / "a", tmp_path / "out")
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == name.encode()


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="their file systems take no such names")
def test_undecodable_names_are_unpacked(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_of({"K\udcf6ter.jpg": b"latin-1"}, "gz"))
    assert os.listdir(os.fsencode(extract(tmp_path / "a.tar", tmp_path / "tar"))) == [b"K\xf6ter.jpg"]
    (tmp_path / "a.zip").write_bytes(zip_of({"KXter.jpg": b"cp437"}).replace(b"KX", b"K\x94"))
    assert os.listdir(extract(tmp_path / "a.zip", tmp_path / "zip")) == ["Köter.jpg"]


def test_modes_and_dates_of_the_archive_are_left_out(tmp_path):
    (tmp_path / "a").write_bytes(tar_of(FINE, mode=0, mtime=2.0**70))
    photo = extract(tmp_path / "a", tmp_path / "out") / "set" / "fine.jpg"
    assert os.access(photo, os.R_OK) and photo.read_bytes() == FINE["set/fine.jpg"]


def test_nothing_is_unpacked_over_what_is_there(tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="already there"):
        extract(tmp_path / "a", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["mine.txt"]
