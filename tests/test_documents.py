"""What the documents say about files is true: the tree, the table of questions, and links."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = Path("notebooks", "phototransfer")
ARCHITECTURE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "data/README.md", "models/README.md"]
DOCUMENTS += sorted(path.relative_to(PROJECT).as_posix() for path in (PROJECT / "docs").glob("*.md"))
_LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([^)\s]+))?\)")


def tree(text: str) -> list[str]:
    """Return the paths in the block of code under "All files": two spaces of indentation for each folder."""
    block = text.split("## All files")[1].split("```")[1]
    paths, folders = [], []
    for line in block.strip("\n").splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name]
        paths.append("".join(folders))
    return paths


def questions(text: str) -> list[set[str]]:
    """Return what each name in the table of questions may mean: a path, or a file in the folder of the name before."""
    table = text.split("| question | file |")[1].split("\n\n")[0]
    found = []
    for row in table.splitlines()[2:]:
        folder = ""
        for name in re.findall(r"`([^`]+)`", row.split("|")[2]):
            found.append({name, f"{folder}{name}"})
            folder = f"{name.rpartition('/')[0]}/" if "/" in name else folder
    return found


def tracked() -> list[str]:
    """Return the files that git has, or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a clone")
    return [name for name in listed.split("\0") if name and (PROJECT / name).exists()]


def test_each_file_of_the_package_is_in_the_tree_once():
    inside = [path for path in (PROJECT / PACKAGE).rglob("*") if "__pycache__" not in path.parts]
    expected = {path.relative_to(PROJECT).as_posix() + "/" * path.is_dir() for path in inside}
    named = Counter(path for path in tree(ARCHITECTURE) if path.startswith(f"{PACKAGE.as_posix()}/"))
    named.pop(f"{PACKAGE.as_posix()}/")
    assert set(named) == {path for path in expected if not Path(path).name.startswith(".")}
    assert [path for path, count in named.items() if count > 1] == []


def test_each_file_of_the_project_is_in_the_tree_or_in_a_folder_whose_content_is_not_listed():
    named = set(tree(ARCHITECTURE))
    listed = {"", *(path[: path.rstrip("/").rfind("/") + 1] for path in named)}  # folders whose content is listed
    expected = set()
    for name in tracked():
        ends = [place + 1 for place, sign in enumerate(name) if sign == "/"]
        parts = [name[:end] for end in ends] + [name]
        expected |= {part for folder, part in zip(["", *parts], parts, strict=False) if folder in listed}
    assert named == expected


def test_what_the_tree_names_exists():
    paths = tree(ARCHITECTURE)
    assert len(set(paths)) == len(paths) > 100
    assert [path for path in paths if not (PROJECT / path).exists()] == []
    assert [path for path in paths if (PROJECT / path).is_dir() != path.endswith("/")] == []


def test_what_answers_a_question_exists():
    names = questions(ARCHITECTURE)
    assert len(names) > 60
    places = (PROJECT, PROJECT / PACKAGE)
    assert [name for name in names if not any((place / path).exists() for place in places for path in name)] == []


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_headings(name):
    text = re.sub(r"```.*?```", "", (PROJECT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    wrong = []
    for target, anchor in _LINK.findall(text):
        if re.match(r"\w+:", target):
            continue
        path = PROJECT / name if not target else PROJECT / name.rpartition("/")[0] / target
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            wrong.append(f"{target}#{anchor}" if anchor else target)
    assert wrong == []
