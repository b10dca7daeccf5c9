"""Do runs on one data set at the same time all finish, and are all of them right?"""

import json
import shutil
import sys
import time
from pathlib import Path

import children
import pytest

from helpers.photos import prepare

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")


@pytest.fixture
def runs(pile, tmp_path):
    """runs(seed=…) begins a run that goes on until `runs.finish()`, which gives what each of them found."""
    return Runs(pile, tmp_path)


class Runs:
    def __init__(self, pile, folder: Path) -> None:
        self.pile, self.folder, self.going, self.go_on = pile, folder, [], folder / "go on"

    def __call__(self, seed: int = 42, shares: float = 0.2, wait: bool = True) -> None:
        result = self.folder / f"{len(self.going)}.json"
        process = children.start(children.use, result, self.pile.folder, self.pile.home, seed, self.go_on, shares)
        self.going.append((process, result))
        while wait and not result.with_suffix(".began").exists():
            assert process.exitcode is None
            time.sleep(0.01)

    def finish(self) -> list[dict]:
        self.go_on.touch()
        for process, _ in self.going:
            process.join(60)
            assert process.exitcode == 0
        found = [json.loads(result.read_text()) for _, result in self.going]
        for run in found:
            assert run["tree"] == run["table"]
        self.going.clear()
        self.go_on.unlink()
        return found


def alone(pile, seed: int = 42, shares: float = 0.2) -> dict[str, str]:
    """The split that a run with a home of its own makes."""
    home = pile.home.with_name(f"alone-{seed}-{shares}")
    photos = prepare(type(pile)("alone", pile.folder, home), shares, shares, seed).photos
    return dict(zip(photos["original"], photos["split"], strict=True))


def test_runs_with_other_seeds_and_shares_leave_each_others_photos_where_they_are(runs, pile):
    runs(seed=1)
    runs(seed=2)
    runs(seed=1, shares=0.35)
    runs(seed=1)
    first, second, third, fourth = runs.finish()
    assert first["folder"] == fourth["folder"] == str(pile.home / "prepared")
    assert len({first["folder"], second["folder"], third["folder"]}) == 3
    assert first["split"] == fourth["split"] == alone(pile, 1)
    assert second["split"] == alone(pile, 2)
    assert third["split"] == alone(pile, 1, 0.35)
    assert first["read"] == second["read"] == third["read"]


def test_begun_at_the_same_moment_with_other_seeds(runs, pile):
    for seed in (1, 2, 3):
        runs(seed=seed, wait=False)
    found = runs.finish()
    assert [run["split"] for run in found] == [alone(pile, seed) for seed in (1, 2, 3)]
    assert str(pile.home / "prepared") in {run["folder"] for run in found}


def test_when_the_others_have_ended_their_trees_are_taken_away(runs, pile):
    runs(seed=1)
    runs(seed=2)
    runs.finish()
    prepared = prepare(pile, 0.2, 0.2, 3)
    assert prepared.folder == pile.home / "prepared"
    assert not (prepared.folder / ".others").exists()
    assert prepared.read_now == 0


def test_other_trees_take_no_space(runs, pile):
    runs(seed=1)
    runs(seed=2)
    runs.finish()
    inodes = {path.stat().st_ino for path in pile.home.rglob("*.jpg")}
    assert len(inodes) == 12 and len(list(pile.home.rglob("*.jpg"))) == 36


def test_on_a_disk_without_links_photos_are_copied(pile, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    first = prepare(pile, 0.2, 0.2, 1)
    copied = {path: path.stat().st_mtime_ns for path in (first.folder / "train").rglob("*.jpg")}
    assert first.photos.equals(prepare(pile, 0.2, 0.2, 1).photos)
    assert {path: path.stat().st_mtime_ns for path in (first.folder / "train").rglob("*.jpg")} == copied
    other = prepare(pile, 0.2, 0.2, 2)
    assert other.read_now == 0
    assert {path.stat().st_ino for path in map(Path, other.photos["path"])}.isdisjoint(
        path.stat().st_ino for path in (other.folder / ".photos").iterdir()
    )


def test_photos_added_changed_and_removed_while_a_run_goes_on(runs, pile, make_photo):
    runs(seed=1)
    before = alone(pile, 1)
    make_photo(pile.folder / "cat" / "new.jpg", 50)
    make_photo(pile.folder / "cat" / "cat0.jpg", 51)
    (pile.folder / "dog" / "dog1.jpg").unlink()
    runs(seed=1)
    first, second = runs.finish()
    assert first["split"] == before and "dog/dog1.jpg" in first["read"]
    assert set(second["read"]) == set(first["read"]) - {"dog/dog1.jpg"} | {"cat/new.jpg"}
    assert second["read"]["cat/cat0.jpg"] != first["read"]["cat/cat0.jpg"]
    third = prepare(pile, 0.2, 0.2, 1)
    assert third.read_now == 0 and third.folder == pile.home / "prepared"
    assert not list(pile.home.rglob("dog1-*.jpg"))


def test_a_killed_run_holds_no_tree(runs, pile):
    runs(seed=1)
    process, _ = runs.going.pop()
    process.kill()
    process.join()
    assert prepare(pile, 0.2, 0.2, 2).folder == pile.home / "prepared"


def test_who_has_to_wait_is_told(pile, capsys):
    pile.home.mkdir(parents=True)
    children.start(children.hold, pile.home / ".lock", 1.3)
    while not (pile.home / "held").exists():
        time.sleep(0.01)
    prepare(pile, 0.2, 0.2, 1)
    assert f"Another run is preparing these photos ({pile.home}): waiting for it" in capsys.readouterr().out


def test_two_folders_of_one_name_claimed_at_the_same_moment(tmp_path, make_photo):
    for place in "abcd":
        (tmp_path / place / "pets" / "cat").mkdir(parents=True)
    for round_ in range(3):
        data = tmp_path / f"data{round_}"
        data.mkdir()
        processes = [
            children.start(children.fetched_to, tmp_path / f"{place}.txt", tmp_path / place / "pets", data)
            for place in "abcd"
        ]
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
        homes = {place: Path((tmp_path / f"{place}.txt").read_text()) for place in "abcd"}
        assert len(set(homes.values())) == 4
        for place, home in homes.items():
            assert json.loads((home / "source.json").read_text())["folder"] == str(tmp_path / place / "pets")
        shutil.rmtree(data)
