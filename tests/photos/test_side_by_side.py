"""Runs on the same photos at the same time all finish, and each has the photos of its own settings."""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import processes
from phototransfer import files
from phototransfer.photos import Source, find_source, prepare

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")


def use(outcome: Path, source: Source, seed: int, share: float, ready: Path) -> None:
    """A run: prepare, wait until the file `ready` exists, then read every photo that the table and the tree name."""
    prepared = prepare(source, val_split=share, test_split=share, seed=seed)
    outcome.with_suffix(".began").touch()
    while not ready.exists():
        time.sleep(0.005)
    photos, split = prepared.photos, {}
    for photo in photos.itertuples():
        split[photo.original] = photo.split
    tree = [path for name in ("train", "val", "test") for path in (prepared.folder / name).rglob("*.jpg")]
    content = {
        "folder": str(prepared.folder),
        "split": split,
        "read": [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in photos["path"]],
        "tree_is_table": sorted(map(str, tree)) == sorted(photos["path"]),
    }
    outcome.write_text(json.dumps(content))


class Runs:
    """runs(seed=…) begins a run that continues until `runs.finish()`, which returns the outcome of each."""

    def __init__(self, source: Source, folder: Path) -> None:
        self.source, self.folder, self.ready = source, folder, folder / "ready"
        self.processes: list = []

    def __call__(self, seed: int = 42, share: float = 0.2, wait: bool = True) -> None:
        outcome = self.folder / f"{len(self.processes)}.json"
        self.processes.append(processes.start(use, outcome, self.source, seed, share, self.ready))
        while wait and not outcome.with_suffix(".began").exists():
            assert self.processes[-1].exitcode is None
            time.sleep(0.01)

    def finish(self) -> list[dict]:
        self.ready.touch()
        for process in self.processes:
            process.join(60)
            assert process.exitcode == 0
        outcomes = [json.loads((self.folder / f"{n}.json").read_text()) for n in range(len(self.processes))]
        assert all(outcome["tree_is_table"] for outcome in outcomes)
        return outcomes


@pytest.fixture
def runs(pile, tmp_path):
    return Runs(pile, tmp_path)


def split_without_others(pile: Source, seed: int, share: float = 0.2) -> dict[str, str]:
    """The split of a run with a home of its own."""
    home = pile.home.with_name(f"{seed}-{share}")
    photos = prepare(Source("other", pile.folder, home), val_split=share, test_split=share, seed=seed).photos
    return dict(zip(photos["original"], photos["split"], strict=True))


def test_each_split_has_its_own_tree_and_equal_settings_share_one(runs, pile):
    runs(seed=1), runs(seed=2), runs(seed=42, share=0.35), runs(seed=1), runs()
    first, second, third, fourth, default = runs.finish()
    folders = [outcome["folder"] for outcome in (first, second, third, default)]
    assert first["folder"] == fourth["folder"] and len(set(folders)) == 4
    assert default["folder"] == str(pile.home / "prepared")
    assert first["split"] == fourth["split"] == split_without_others(pile, 1)
    assert second["split"] == split_without_others(pile, 2)
    assert third["split"] == split_without_others(pile, 42, 0.35)
    assert sorted(first["read"]) == sorted(second["read"]) == sorted(third["read"])
    photos = list(pile.home.rglob("*.jpg"))
    assert len(photos) == 5 * 12 and len({path.stat().st_ino for path in photos}) == 12  # trees take no space


def test_runs_started_at_the_same_time_all_finish(runs, pile):
    for seed in (1, 2, 42, 1):
        runs(seed=seed, wait=False)
    outcomes = runs.finish()
    assert [outcome["split"] for outcome in outcomes] == [split_without_others(pile, seed) for seed in (1, 2, 42, 1)]


def test_photos_added_changed_and_removed_do_not_disturb_a_run_with_another_split(runs, pile, make_photo):
    runs(seed=1)
    make_photo(pile.folder / "cat" / "new.jpg", 50)
    make_photo(pile.folder / "cat" / "cat0.jpg", 51)
    (pile.folder / "dog" / "dog1.jpg").unlink()
    runs(seed=2)
    first, second = runs.finish()
    assert "dog/dog1.jpg" in first["split"] and "cat/new.jpg" not in first["split"]
    assert set(second["split"]) == set(first["split"]) - {"dog/dog1.jpg"} | {"cat/new.jpg"}
    assert len(set(second["read"]) - set(first["read"])) == 2
    assert prepare(pile, val_split=0.2, test_split=0.2, seed=1).new == 0
    assert not list((pile.home / "prepared" / "val0.2-test0.2-seed1").rglob("dog1-*.jpg"))


def test_photos_are_copied_on_a_disk_without_links(pile, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    first = prepare(pile, val_split=0.2, test_split=0.2, seed=42)
    before = {path: path.stat() for path in (first.folder / "train").rglob("*.jpg")}
    assert first.photos.equals(prepare(pile, val_split=0.2, test_split=0.2, seed=42).photos)
    assert {path: path.stat() for path in before} == before
    stored = {path.stat().st_ino for path in (first.folder / ".photos").iterdir()}
    assert stored.isdisjoint(path.stat().st_ino for path in before)


def hold(lock: Path, seconds: float) -> None:
    with FileLock(lock):
        lock.with_name("held").touch()
        time.sleep(seconds)


def test_a_run_that_has_to_wait_says_so(pile, capsys):
    pile.home.mkdir(parents=True)
    process = processes.start(hold, pile.home / ".lock", 1.3)
    while not (pile.home / "held").exists():
        assert process.exitcode is None
        time.sleep(0.01)
    prepare(pile, val_split=0.2, test_split=0.2, seed=1)
    assert f"Another run is preparing these photos ({pile.home})" in capsys.readouterr().out


def found_to(outcome: Path, folder: Path, data: Path) -> None:
    """Find the source of a folder in a project with another data/, and write its home."""
    files.DATA = data
    outcome.write_text(str(find_source(str(folder)).home))


def test_folders_of_one_name_found_at_the_same_moment(tmp_path):
    folders = [tmp_path / place / "pets" for place in "abcd"]
    for folder in folders:
        (folder / "cat").mkdir(parents=True)
        (folder / "cat" / "1.jpg").touch()
    data = tmp_path / "data"
    for _ in range(3):
        data.mkdir()
        started = [processes.start(found_to, folder.with_name("home"), folder, data) for folder in folders]
        for process in started:
            process.join(30)
            assert process.exitcode == 0
        homes = [Path(folder.with_name("home").read_text()) for folder in folders]
        assert len(set(homes)) == 4
        for folder, home in zip(folders, homes, strict=True):
            assert json.loads((home / "source.json").read_text())["folder"] == str(folder)
        shutil.rmtree(data)
