"""The committed notebook: readable where it is hosted, its outputs those of one clean run of the code beside it."""

import ast
import statistics

import nbformat
import pytest

import run

SETTINGS = {"DATASET", "BACKBONE", "WEIGHTS", "HEAD", "BATCH_NORM", "DROPOUT", "EPOCHS", "BATCH_SIZE", "LEARNING_RATE"}
SETTINGS |= {"VALIDATION_SPLIT", "TEST_SPLIT", "LEAKS", "SEED", "PREDICT", "RUN", "WEIGHT_DECAY", "AUGMENT_VIEWS"}
SETTINGS |= {"FINE_TUNE_LAYERS", "CV_FOLDS", "TUNE_TRIALS", "AUDIT", "FIGURES"}


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(run.NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_those_of_this_code(notebook):
    made_from = notebook.metadata.get("outputs_made_from")
    assert made_from == run.code_hash(notebook), "The code has changed since the outputs were made: `make notebook`."


def test_outputs_are_of_one_clean_run(code):
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert "error" not in kinds
    streams = {output.name for cell in code for output in cell.outputs if output.output_type == "stream"}
    assert streams == {"stdout"}  # nothing was warned of


def test_nothing_of_the_machine_it_ran_on(notebook):
    text = nbformat.writes(notebook)
    assert str(run.ROOT) not in text
    assert len(text.encode()) < 2_000_000


def test_size_the_design_aims_at(code):
    lines = [cell.source.count("\n") + 1 for cell in code]
    assert len(code) <= 40
    assert sum(lines) <= 250
    assert statistics.median(lines) <= 6


def test_headings_tell_the_story(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections == [
        "Settings",
        "Set-up",
        "Photos",
        "Features",
        "Can the score be trusted?",
        "Head",
        "Fine-tuning",
        "Results",
        "How firm is it?",
        "Where does it look?",
        "Keep it and use it",
        "Runs compared",
    ]


def test_settings_have_their_names_and_a_meaning_each(code):
    [cell] = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    lines = cell.source.splitlines()
    names = [node.targets[0].id for node in ast.parse(cell.source).body]
    assert set(names) >= SETTINGS
    assert all("  # " in line for line in lines)


def test_nothing_else_is_configured_anywhere_else(code):
    for cell in code:
        if "parameters" not in cell.metadata.get("tags", []):
            names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            assigned = [name.id for name in names if isinstance(name.ctx, ast.Store)]
            assert not [name for name in assigned if name.isupper()], cell.source
