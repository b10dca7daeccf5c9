"""A session in JupyterLab leaves git clean, and the published outputs are what is committed."""

import copy
import json
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from phototransfer.notebook_filter import PATH, PUBLISHED, clean, outputs_hash


def with_outputs(text: str, count: int):
    shown = new_output("stream", name="stdout", text=f"{text}\nsecond line\n")
    return {"outputs": [shown], "execution_count": count}


@pytest.fixture
def notebook():
    notebook = new_notebook()
    notebook.cells = [
        new_markdown_cell("# Title ü"),
        new_code_cell("x = 1", **with_outputs("one", 1)),
        new_code_cell("y = 2"),
    ]
    notebook.metadata[PUBLISHED] = outputs_hash(notebook)
    return notebook


@pytest.fixture
def repository(tmp_path, notebook):
    """A git repository with the published notebook and the filter turned on; `git(...)` runs in it."""

    def git(*arguments: str) -> str:
        user = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(["git", *user, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    git("init", "-q")
    git("config", "filter.notebook-outputs.clean", f"{sys.executable} -m phototransfer.notebook_filter")
    (tmp_path / PATH).parent.mkdir()
    (tmp_path / ".gitattributes").write_text(f"{PATH} filter=notebook-outputs\n")
    git.save = lambda content: nbformat.write(content, tmp_path / PATH)
    git.save(notebook)
    git("add", ".")
    git("commit", "-q", "-m", "published")
    assert json.loads(git("show", f"HEAD:{PATH}"))["cells"][1]["outputs"]
    return git


def test_outputs_of_a_session_leave_git_clean(repository, notebook):
    notebook.cells[1].update(with_outputs("another", 7))
    notebook.cells[2].update(with_outputs("more", 8))
    notebook.metadata["kernelspec"] = {"name": "mine", "display_name": "Mine"}
    repository.save(notebook)
    assert repository("diff") == ""
    # What `make lab` does at its end: git looks at the size of the file first, and at its content when it is added.
    repository("diff", "--quiet", "--", PATH)
    repository("add", PATH)
    assert repository("status", "--porcelain") == ""


def test_changes_of_source_and_text_are_seen_and_committed_without_outputs_of_the_session(repository, notebook):
    notebook.cells[0].source = "# Another title"
    notebook.cells[1].update(with_outputs("another", 7))
    notebook.cells[2].update(source="y = 3", **with_outputs("secret", 8))
    times = {"execution": {"iopub.execute_input": "secret"}, "tags": ["mine"]}
    notebook.cells.append(new_code_cell("z = 4", metadata=times, **with_outputs("secret", 9)))
    repository.save(notebook)
    assert PATH in repository("status", "--porcelain")
    repository("add", ".")
    staged = repository("show", f":{PATH}")
    assert "secret" not in staged and "another" not in staged and "Another title" in staged
    cells = nbformat.reads(staged, as_version=4).cells
    assert cells[1].outputs[0].text.startswith("one") and cells[1].execution_count == 1
    assert [cell.outputs for cell in cells[2:]] == [[], []] and cells[3].metadata == {"tags": ["mine"]}
    assert repository("diff", "--name-only") == ""  # nothing is left to add


def test_newly_published_outputs_are_committed(repository, notebook):
    notebook.cells[1].update(with_outputs("new", 1))
    notebook.cells[1].outputs += [new_output("display_data", {"text/plain": "", "image/jpeg": "/9j/4\n"})]
    notebook.metadata[PUBLISHED] = outputs_hash(notebook)
    repository.save(notebook)
    repository("add", ".")
    assert "new" in repository("show", f":{PATH}")


def test_without_a_commit_there_are_no_outputs_but_published_ones(notebook):
    text = nbformat.writes(notebook)
    assert clean(text, None) == text
    changed = copy.deepcopy(notebook)
    changed.cells[1].update(with_outputs("mine", 3))
    assert "mine" not in clean(nbformat.writes(changed), None)


def test_what_is_no_notebook_passes_unchanged(tmp_path):
    content = b"<<<<<<< HEAD\n\xff"
    command = [sys.executable, "-m", "phototransfer.notebook_filter"]
    done = subprocess.run(command, input=content, capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout == content and b"not a notebook" in done.stderr
