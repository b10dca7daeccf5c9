"""Preparing works, or says what to do, on a disk that is read-only, full or another user's, and from any folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import phototransfer

ROOT_ONLY = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can become another user")
NOBODY = 65534
NOTEBOOKS = Path(phototransfer.__file__).parents[1]
READ_ONLY = "mount --bind '{0}' '{0}'; mount -o remount,bind,ro '{0}'"
FULL = "mount -t tmpfs -o size=4k none '{0}'; (yes > '{0}/full') 2>/dev/null || true"
PREPARE = """
import sys
from phototransfer.photos import find_source, prepare
try:
    prepared = prepare(find_source(sys.argv[1]), val_split=0.2, test_split=0.2, seed=42)
    print("used", len(prepared.photos), "in", prepared.folder)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def place(make_photo):
    """A folder that every user may enter (pytest's own are closed), with photos, data/ and an empty folder."""
    folder = Path(tempfile.mkdtemp(prefix="plätze für alle "))
    folder.chmod(0o755)
    for number in range(12):
        make_photo(folder / "photos" / ("cat", "dog")[number % 2] / f"{number}.jpg", number)
    for name in ("data", "empty"):
        (folder / name).mkdir()
    yield folder
    shutil.rmtree(folder)


def run(place: Path, *before: str, cwd: str = "/", dataset: str | None = None, **environment: str) -> str:
    """Prepare the photos of a place in a process that the command `before` starts; return its last line."""
    environment = {"PHOTOTRANSFER_HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    command = [*before, sys.executable, "-c", PREPARE, dataset or str(place / "photos")]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def run_as_nobody(place: Path) -> str:
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return run(place, *become, HOME="/nonexistent")


def mounted(place: Path, commands: str) -> list[str]:
    """A command that runs another with `commands` done to mounts that it alone sees; skips where none are allowed."""
    prefix = ["unshare", "--mount", "sh", "-c", f'set -e; {commands}; exec "$@"', "sh"]
    if subprocess.run([*prefix, "true"], cwd=place, capture_output=True).returncode:
        pytest.skip("mounts are not allowed here")
    return prefix


@pytest.mark.slow
def test_without_a_home_folder_from_any_working_directory(place):
    expected = f"used 12 in {place}/data/photos/prepared"
    assert run(place, cwd="/") == run(place, cwd=str(NOTEBOOKS)) == run(place, cwd=str(place)) == expected
    assert "No photos for DATASET = '~nobody-here/photos'" in run(place, dataset="~nobody-here/photos")
    assert run(place, dataset="photos") == expected


@ROOT_ONLY
def test_photos_on_a_read_only_mount(place):
    prefix = mounted(place, READ_ONLY.format(place / "photos"))
    check = 'touch "$0/photos/x" 2>/dev/null && exit 9; exec "$@"'
    assert run(place, *prefix, "sh", "-c", check, str(place)) == f"used 12 in {place}/data/photos/prepared"


@ROOT_ONLY
def test_data_on_a_read_only_mount(place):
    message = run(place, *mounted(place, READ_ONLY.format(place / "data")))
    assert message.startswith("OSError") and f"{place}/data" in message and "no permission to write" in message


@ROOT_ONLY
def test_with_full_temporary_folders(place):
    prefix = mounted(place, "; ".join(FULL.format(folder) for folder in ("/var/tmp", "/dev/shm", place / "empty")))
    assert run(place, *prefix, TMPDIR=f"{place}/empty") == f"used 12 in {place}/data/photos/prepared"


@ROOT_ONLY
def test_full_disk(place):
    message = run(place, *mounted(place, f"mount -t tmpfs -o size=20k none '{place}/data'"))
    assert "12 photos are still to be prepared" in message and "MB are free" in message and f"{place}/data" in message


@ROOT_ONLY
def test_another_user(place):
    (place / "photos" / "cat" / "0.jpg").chmod(0o600)
    (place / "photos" / "dog" / "closed").mkdir(0o700)
    message = run_as_nobody(place)
    assert message.startswith("PermissionError") and f"{place}/data" in message and "no permission to write" in message
    os.chown(place / "data", NOBODY, NOBODY)
    assert run_as_nobody(place) == f"used 11 in {place}/data/photos/prepared"
    skipped = (place / "data" / "photos" / "skipped.csv").read_text()
    assert "cat/0.jpg,cannot be read (Permission denied)" in skipped
    assert "dog/closed,folder cannot be read (Permission denied)" in skipped
