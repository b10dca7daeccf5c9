"""Does it work, or say what to do, where the disk is read-only, somebody else's or full, and nobody is at home?"""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import children
import pytest

ROOTED = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root may become another user")
NOBODY = 65534
READ_ONLY = "mount --bind '{0}' '{0}'; mount -o remount,bind,ro '{0}'"
FULL = "mount -t tmpfs -o size=4k none '{0}'; (yes > '{0}/full') 2>/dev/null || true"
PREPARE = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from helpers import run_folders, runs
    from helpers.photos import sources, prepare
    import helpers.plots, helpers.settings, helpers.trust.verdict
    sources.DATA, run_folders.MODELS = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        prepared = prepare(sources.fetch(sys.argv[3]), 0.2, 0.2, 42)
        run = runs.Run(None, "pile", "tiny")
        run.save_table("photos", prepared.photos)
        print("used", len(prepared.photos), "in", prepared.folder)
    except Exception as error:
        print(type(error).__name__, error)
    """
)


@pytest.fixture
def open_place():
    """A folder that every user may enter (pytest's own are closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="plätze für alle "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(open_place, make_photo) -> Path:
    for number in range(12):
        make_photo(open_place / "photos" / ("cat", "dog")[number % 2] / f"{number}.jpg", number)
    for name in ("data", "models", "empty"):
        (open_place / name).mkdir()
    return open_place


def start(place: Path, *before: str, env: dict | None = None, cwd: str = "/", dataset: str | None = None) -> str:
    """Prepare the photos of a place in a process begun by the command `before`; what it prints last."""
    folders = [str(place / "data"), str(place / "models"), dataset or str(place / "photos")]
    python = [sys.executable, "-c", PREPARE, *folders]
    env = {"PYTHONPATH": str(children.NOTEBOOKS), "PYTHONDONTWRITEBYTECODE": "1"} | (env or {})
    done = subprocess.run([*before, *python], env=env, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def as_nobody(place: Path, what: str) -> str:
    """`start` as the user nobody, who owns data/ and models/ but for the folder called `what`."""
    for name in ("data", "models"):
        if name != what:
            os.chown(place / name, NOBODY, NOBODY)
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return start(place, *become, env={"HOME": "/nonexistent"})


def mounted(place: Path, commands: str) -> list[str]:
    """A command that runs another with `commands` done to the mounts that it alone sees; skips where none may."""
    prefix = ["unshare", "--mount", "sh", "-c", f'set -e; {commands}; exec "$@"', "sh"]
    if subprocess.run([*prefix, "true"], cwd=place, capture_output=True).returncode:
        pytest.skip("no mounts of one's own may be made here")
    return prefix


def test_without_a_home_folder_from_any_working_directory(place):
    """No HOME and no other variable; the working directory is /, notebooks/ or the project."""
    for cwd in ("/", str(children.NOTEBOOKS), str(place)):
        assert start(place, cwd=cwd) == f"used 12 in {place}/data/photos/prepared"
    assert "There are no photos at DATASET = '~nobody-here/photos'" in start(place, dataset="~nobody-here/photos")
    assert start(place, cwd=str(place), dataset="photos") == f"used 12 in {place}/data/photos/prepared"


@ROOTED
def test_photos_on_a_read_only_mount(place):
    prefix = mounted(place, READ_ONLY.format(place / "photos"))
    check = 'touch "$0/photos/x" 2>/dev/null && exit 9; exec "$@"'
    assert start(place, *prefix, "sh", "-c", check, str(place)) == f"used 12 in {place}/data/photos/prepared"


@ROOTED
def test_data_on_a_read_only_mount_is_told(place):
    prefix = mounted(place, READ_ONLY.format(place / "data"))
    said = start(place, *prefix)
    assert (
        said.startswith("OSError") and f"{place}/data" in said and "Read-only file system. You may not write to" in said
    )


@ROOTED
def test_with_full_temporary_folders(place):
    prefix = mounted(place, "; ".join(FULL.format(folder) for folder in ("/var/tmp", "/dev/shm", place / "empty")))
    said = start(place, *prefix, env={"TMPDIR": f"{place}/empty"})
    assert said == f"used 12 in {place}/data/photos/prepared"


@ROOTED
def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free(place):
    prefix = mounted(place, f"mount -t tmpfs -o size=20k none '{place}/data'")
    said = start(place, *prefix)
    assert "12 photos are still to be prepared" in said and "MB are free there" in said and f"{place}/data" in said


@ROOTED
def test_another_user(place):
    assert as_nobody(place, "nothing") == f"used 12 in {place}/data/photos/prepared"


@ROOTED
@pytest.mark.parametrize("closed", ["data", "models"])
def test_where_another_user_may_not_write_is_told(place, closed):
    said = as_nobody(place, closed)
    assert said.startswith("PermissionError") and f"{place}/{closed}" in said and "writ" in said


@ROOTED
def test_photos_and_folders_that_may_not_be_read_are_skipped_by_name(place):
    (place / "photos" / "cat" / "0.jpg").chmod(0o600)
    (place / "photos" / "dog" / "closed").mkdir(0o700)
    assert as_nobody(place, "nothing") == f"used 11 in {place}/data/photos/prepared"
    skipped = (place / "data" / "photos" / "skipped.csv").read_text()
    assert "cat/0.jpg,cannot be read (Permission denied)" in skipped
    assert "dog/closed,folder cannot be read (Permission denied)" in skipped
