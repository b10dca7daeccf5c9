"""Downloads are complete or not there at all, and no archive writes outside of its folder (a server on loopback)."""

import errno
import hashlib
import io
import os
import re
import socket
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import processes
from phototransfer import files
from phototransfer.photos import find_source, sources

PHOTOS = {f"set/{label}/{n}.jpg": os.urandom(700) for label in ("cats", "dogs") for n in range(3)}


def zip_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def tar_of(members: dict[str, bytes], mode: str = "w", **last) -> bytes:
    """A tar of the members; `last` are fields (type, linkname) of the last one."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == list(members)[-1]:
                for field, value in last.items():
                    setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def zip_with_link(name: str, target: str) -> bytes:
    content = io.BytesIO(zip_of(PHOTOS))
    with zipfile.ZipFile(content, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16  # a symbolic link of Unix
        archive.writestr(info, target)
    return content.getvalue()


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server: web.offer(body) makes it the archive of the download "six"."""
    monkeypatch.setattr(files, "DATA", tmp_path / "data")
    monkeypatch.setattr(sources, "TIMEOUT", 0.4)
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


class _Server(ThreadingHTTPServer):
    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.requests, self.over = 0, threading.Event()

    def offer(self, body: bytes, *, status=200, length: int | None = -1, stalls=False, **expected) -> None:
        self.answer = body, status, len(body) if length == -1 else length, stalls
        expected = {"photos": "set", "size": len(body), "sha256": None} | expected
        url = f"http://127.0.0.1:{self.server_port}/set.archive"
        sources.DOWNLOADS["six"] = sources._Download(url=url, description="six photos", **expected)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests += 1
        body, status, length, stalls = self.server.answer
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if stalls:
            self.server.over.wait(60)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(autouse=True)
def downloads(monkeypatch):
    monkeypatch.setattr(sources, "DOWNLOADS", dict(sources.DOWNLOADS))


def downloaded(folder: Path) -> dict[str, bytes]:
    return {f"set/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in folder.rglob("*.jpg")}


def nothing_left(tmp_path: Path) -> bool:
    """Whether there is nothing but the empty folders of the download and its lock."""
    paths = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    return paths <= {"data", "data/.lock", "data/six", "data/six/.lock", "data/six/download"}


def test_downloads_are_checked_by_hash_or_encrypted():
    for archive in sources.DOWNLOADS.values():
        assert archive.url.startswith("https://") or re.fullmatch("[0-9a-f]{64}", archive.sha256)


@pytest.mark.parametrize(
    "pack", [zip_of, tar_of, lambda members: tar_of(members, "w:gz")], ids=["zip", "tar", "tar.gz"]
)
def test_downloaded_once_and_only_photos_remain(web, tmp_path, pack):
    body = pack(PHOTOS | {"read me.txt": b"beside the photos"})
    web.offer(body, sha256=hashlib.sha256(body).hexdigest())
    source = find_source("six")
    assert source.folder == tmp_path / "data" / "six" / "download" / "set"
    assert downloaded(source.folder) == PHOTOS
    assert os.listdir(source.folder.parent) == ["set"]
    assert find_source("six") == source
    assert web.requests == 1


def test_without_a_stated_length_and_into_an_empty_folder(web, tmp_path):
    (tmp_path / "data" / "six" / "download" / "set").mkdir(parents=True)
    web.offer(zip_of(PHOTOS), length=None)
    assert downloaded(find_source("six").folder) == PHOTOS


def test_photos_put_there_by_hand_need_no_network(web, tmp_path):
    folder = tmp_path / "data" / "six" / "download" / "set"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"x")
    web.offer(b"")
    assert find_source("six").folder == folder
    assert web.requests == 0


BODY = zip_of(PHOTOS)
FAILURES = {
    "truncated": (dict(body=BODY[:-500], length=len(BODY)), "retrieval incomplete"),
    "truncated zip, no length": (dict(body=BODY[:-500], length=None), "extract"),
    "truncated tar, no length": (dict(body=tar_of(PHOTOS)[:3072], length=None, size=len(tar_of(PHOTOS))), "instead of"),
    "not found": (dict(body=b"no", status=404), "404"),
    "server error": (dict(body=b"no", status=503), "503"),
    "slow": (dict(body=BODY[:500], length=len(BODY), stalls=True), "timed out"),
    "wrong size": (dict(body=BODY, size=len(BODY) + 1), f"{len(BODY):,} bytes instead of {len(BODY) + 1:,}"),
    "wrong hash": (dict(body=BODY, sha256="0" * 64), "hash does not match"),
    "page of a hotel network": (dict(body=b"<html>Log in to this network</html>"), "extract"),
    "empty": (dict(body=b""), "extract"),
    "another folder": (dict(body=BODY, photos="photos"), "no photos in a folder 'photos'"),
    "zip: up": (dict(body=zip_of(PHOTOS | {"../evil.txt": b"x"})), "invalid path"),
    "tar: up": (dict(body=tar_of(PHOTOS | {"set/../../evil.txt": b"x"})), "invalid path"),
    "zip: absolute": (dict(body=zip_of(PHOTOS | {"/tmp/evil.txt": b"x"})), "invalid path"),
    "tar: absolute": (dict(body=tar_of(PHOTOS | {"/tmp/evil.txt": b"x"})), "invalid path"),
    "tar: link": (dict(body=tar_of(PHOTOS | {"evil": b""}, type=tarfile.SYMTYPE, linkname="/etc")), "invalid path"),
    "tar: hard link": (dict(body=tar_of(PHOTOS | {"a": b""}, type=tarfile.LNKTYPE, linkname="../b")), "invalid path"),
    "tar: device": (dict(body=tar_of(PHOTOS | {"evil": b""}, type=tarfile.CHRTYPE)), "special file"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_says_why_and_what_to_do_and_leaves_nothing(web, tmp_path, case):
    answer, reason = FAILURES[case]
    web.offer(**answer)
    timeout = socket.getdefaulttimeout()
    with pytest.raises(OSError) as caught:
        find_source("six")
    message, archive = str(caught.value), sources.DOWNLOADS["six"]
    target = tmp_path / "data" / "six" / "download" / archive.photos
    for part in (reason, archive.url, archive.description, "with a browser", str(target)):
        assert part in message, message
    assert nothing_left(tmp_path) and not Path("/tmp/evil.txt").exists()
    assert web.requests == 1 and socket.getdefaulttimeout() == timeout
    web.offer(BODY)
    assert downloaded(find_source("six").folder) == PHOTOS


def test_link_in_a_zip_becomes_a_file(web):
    web.offer(zip_with_link("set/link.txt", "/etc/passwd"))
    folder = find_source("six").folder
    assert not (folder / "link.txt").is_symlink() and (folder / "link.txt").read_text() == "/etc/passwd"


@pytest.mark.parametrize("listening, reason", [(True, "timed out"), (False, "refused")])
def test_a_server_that_does_not_answer_raises(web, tmp_path, listening, reason):
    web.offer(BODY)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:
            silent.listen()
        web.server_port = silent.getsockname()[1]
        web.offer(BODY)
        with pytest.raises(OSError, match=reason):
            find_source("six")
    assert nothing_left(tmp_path)


def download_half(url: str, size: int, data: Path) -> None:
    """Begin a download that stalls in the middle, without a timeout."""
    files.DATA, sources.TIMEOUT = data, 60.0
    sources.DOWNLOADS["six"] = sources._Download(url, "set", size, None, "six photos")
    find_source("six")


def test_killed_download_is_not_taken_for_complete(web, tmp_path):
    body = zip_of(PHOTOS | {"set/big.jpg": bytes(300_000)})
    web.offer(body[:200_000], length=len(body), stalls=True)
    process = processes.start(download_half, sources.DOWNLOADS["six"].url, len(body), tmp_path / "data")
    folder = tmp_path / "data" / "six" / "download"
    while not any(path.stat().st_size for path in folder.rglob("archive*")):
        assert process.exitcode is None
        time.sleep(0.02)
    process.kill()
    process.join()
    assert not (folder / "set").exists() and len(os.listdir(folder)) == 1
    web.offer(body)
    assert (find_source("six").folder / "big.jpg").stat().st_size == 300_000
    assert os.listdir(folder) == ["set"]


def test_two_runs_download_once(web):
    web.offer(BODY)
    threads = [threading.Thread(target=find_source, args=("six",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert downloaded(find_source("six").folder) == PHOTOS
    assert web.requests == 1


def test_full_disk_names_the_folder(web, tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    web.offer(BODY)
    monkeypatch.setattr("keras.utils.get_file", full)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "data"))) as caught:
        find_source("six")
    assert caught.value.errno == errno.ENOSPC
    assert nothing_left(tmp_path)
