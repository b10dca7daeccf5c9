"""The committed notebook: its outputs are those of one clean run of its code."""

import ast

import nbformat
import pytest

from phototransfer import files
from phototransfer.run import NOTEBOOK, code_hash


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_those_of_this_code(notebook):
    made_from = notebook.metadata.get("outputs_made_from")
    assert made_from == code_hash(notebook), "A code cell has changed since the outputs were made: `make notebook`."


def test_outputs_are_of_one_clean_run(code):
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}  # no warnings


def test_outputs_name_no_folder_of_the_machine(notebook):
    text = nbformat.writes(notebook)
    assert str(files.PROJECT) not in text
    assert len(text.encode()) < 2_000_000


def test_nothing_is_configured_outside_the_settings_cell(code):
    for cell in code:
        if "parameters" not in cell.metadata.get("tags", []):
            names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            assigned = [name.id for name in names if isinstance(name.ctx, ast.Store)]
            assert not [name for name in assigned if name.isupper()], cell.source


def test_the_hash_covers_code_cells_only(notebook):
    changed = nbformat.from_dict(dict(notebook))
    before = code_hash(changed)
    next(cell for cell in changed.cells if cell.cell_type == "markdown").source += " More words."
    assert code_hash(changed) == before
    next(cell for cell in changed.cells if cell.cell_type == "code").source += "\nx = 1"
    assert code_hash(changed) != before
