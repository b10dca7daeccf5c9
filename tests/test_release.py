"""What is written in several files agrees: versions, requirements and locks, hooks and `make check`."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from phototransfer.files import PROJECT

#: The requirements that each lock is made from, beside requirements.txt.
LOCKS = {
    "requirements.lock": [],
    "requirements-app.lock": ["app"],
    "requirements-cluster.lock": ["cluster"],
    "requirements-export.lock": ["export"],
    "requirements-large.lock": ["large"],
    "requirements-remote.lock": ["remote"],
    "requirements-test.lock": ["app", "export", "test"],
}


def requirements(file: str) -> dict[str, set[str]]:
    """Return the versions in the lines "name[extra]==version; marker" of a file, by the name in lower case.

    A lock can have several for one package, for several versions of Python.
    """
    found: dict[str, set[str]] = {}
    for line in (PROJECT / file).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", line):
            found.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), set()).add(match[2])
    return found


def differences(lock: dict[str, set[str]], required: dict[str, set[str]]) -> list[str]:
    return [name for name, versions in required.items() if lock.get(name) != versions]


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_the_versions_of_the_requirements(lock):
    files = ["requirements.txt", *(f"requirements-{part}.txt" for part in LOCKS[lock])]
    required = {name: versions for file in files for name, versions in requirements(file).items()}
    lines = [line for file in files for line in (PROJECT / file).read_text(encoding="utf-8").splitlines()]
    assert len(required) == sum(bool(line) and not line.startswith("#") for line in lines)
    assert differences(requirements(lock), required) == [], "Type: make lock"


def test_locks_agree_with_each_other():
    base = requirements("requirements.lock")
    for lock in LOCKS:
        assert differences(requirements(lock), base) == [], "Type: make lock"


def test_each_locked_package_has_hashes():
    for lock in LOCKS:
        text = (PROJECT / lock).read_text(encoding="utf-8")
        packages = re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(packages) == sum(map(len, requirements(lock).values())) > 100
        assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


def test_a_difference_is_found():
    assert differences({"numpy": {"1.0"}}, {"numpy": {"2.0"}, "keras": {"3.0"}}) == ["numpy", "keras"]


def test_the_extras_are_the_requirements_that_the_locks_are_made_from():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    expected = {Path(lock).stem.removeprefix("requirements-"): parts for lock, parts in LOCKS.items() if parts}
    assert {extra: [f"requirements-{part}.txt" for part in parts] for extra, parts in expected.items()} == {
        extra: entry["file"] for extra, entry in extras.items()
    }


def test_the_newest_version_in_the_changelog_is_that_of_the_package_and_of_the_citation():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changelog, flags=re.MULTILINE)
    assert released[0] == (project["version"], citation["date-released"])
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]


def test_the_hooks_are_the_checks_of_make():
    hooks = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    checks = re.search(r"^check: (.*)$", makefile, flags=re.MULTILINE)
    assert checks
    assert {hook["entry"] for hook in hooks} == {f"make {target}" for target in [*checks[1].split(), "outputs"]}


def test_actions_are_pinned_by_commit():
    for workflow in (PROJECT / ".github" / "workflows").glob("*.yml"):
        used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
        assert used
        assert [action for action in used if not re.fullmatch(r"\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []
