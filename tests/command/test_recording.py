"""A session in JupyterLab leaves the report of what its user saw, as a run of the command does."""

import os

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

START = """
from phototransfer.recording import Recording
recording = Recording.start()
print("started")
"""
WRITE = """
import nbformat
from pathlib import Path
nbformat.write(recording.notebook(default=Path("default.ipynb")), "recorded.ipynb")
"""


class Session:
    """A kernel with a notebook, whose cells are run in any order, as people do."""

    def __init__(self, folder, sources):
        cells = [new_markdown_cell("# A title"), *(new_code_cell(source) for source in [START, *sources, WRITE])]
        self.notebook = new_notebook(cells=cells)
        self.folder = folder
        self.environment = {"JPY_SESSION_NAME": str(folder / "saved.ipynb")}
        self.id_format = "{}"
        nbformat.write(self.notebook, folder / "saved.ipynb")
        self.client = NotebookClient(
            self.notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": str(folder)}}
        )

    def run(self, order=None):
        """Run the cells by number, 0 is START; return the recorded notebook's code cells."""
        code = [number for number, cell in enumerate(self.notebook.cells) if cell.cell_type == "code"]
        env = os.environ | self.environment
        with self.client.setup_kernel(env=env):
            send = self.client.kc.session.msg
            # nbclient does not say which cell it runs, as JupyterLab does.
            self.client.kc.session.msg = lambda kind, content=None, **other: send(
                kind, content, metadata={"cellId": self.running} if kind == "execute_request" else None, **other
            )
            for number in order or range(len(code)):
                cell = self.notebook.cells[code[number]]
                self.running = self.id_format.format(cell.id)
                self.client.execute_cell(cell, code[number])
        recorded = nbformat.read(self.folder / "recorded.ipynb", as_version=4)
        assert (recorded.cells[0].source == "# A title") == (self.folder / "saved.ipynb").exists()
        nbformat.validate(recorded)
        return [cell for cell in recorded.cells if cell.cell_type == "code"]


def texts(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_outputs_of_all_kinds_are_recorded_as_they_were_shown(tmp_path):
    sources = [
        "print('one'); print('two')",
        "from IPython.display import display, HTML\ndisplay(HTML('<b>bold</b>'), metadata={'text/html': {'alt': 'x'}})",
        "import pandas as pd\npd.DataFrame({'a': [1, 2]})",
        "1 / 0",
        "import sys\nfor n in (1, 2, 3): print(f'\\r{n} of 3', end='', file=sys.stdout, flush=True)",
        "x = 5",
    ]
    session = Session(tmp_path, sources)
    cells = session.run()
    shown = [cell for cell in session.notebook.cells if cell.cell_type == "code"]
    assert texts(cells[0]) == texts(shown[0]) == "started\n"
    for cell, seen in zip(cells[1:-1], shown[1:-1], strict=True):
        assert texts(cell) == texts(seen)
        kinds = [output.output_type for output in seen.outputs if output.output_type != "stream"]
        assert [output.output_type for output in cell.outputs if output.output_type != "stream"] == kinds
    assert cells[2].outputs[0].data["text/html"] == "<b>bold</b>" and cells[2].outputs[0].metadata["text/html"]
    assert "<table" in cells[3].outputs[0].data["text/html"]
    assert cells[4].outputs == shown[4].outputs and cells[4].outputs[0].ename == "ZeroDivisionError"
    assert cells[6].outputs == []


def test_a_cell_that_is_run_again_has_its_last_outputs_and_one_that_was_not_run_has_none(tmp_path):
    session = Session(tmp_path, ["n = globals().get('n', 0) + 1\nprint('run', n)", "print('never')"])
    cells = session.run([0, 1, 1, 3])
    assert texts(cells[1]) == "run 2\n" and cells[2].outputs == []


def test_cleared_outputs_are_gone(tmp_path):
    source = "from IPython.display import clear_output\nprint('old')\nclear_output(wait={wait})\nprint('new')"
    cells = Session(tmp_path, [source.format(wait=True), source.format(wait=False)]).run()
    assert texts(cells[1]) == "new\n" and texts(cells[2]) == "new\n"


def test_an_updated_display_is_recorded_as_it_was_last(tmp_path):
    source = "from IPython.display import display\nhandle = display('first', display_id=True)\ndisplay('another')"
    cells = Session(tmp_path, [source, "handle.update('last')"]).run()
    assert [output.data["text/plain"] for output in cells[1].outputs] == ["'last'", "'another'"]
    assert cells[2].outputs == []


def test_streams_that_a_cell_replaces_are_left_alone(tmp_path):
    source = "import io, sys\nprint('before')\nmine, kept = io.StringIO(), sys.stdout\nsys.stdout = mine"
    after = "sys.stdout = kept\nprint('hidden', file=mine)\nprint(len(mine.getvalue()))"
    cells = Session(tmp_path, [source, after]).run()
    assert texts(cells[1]) == "before\n" and texts(cells[2]) == "7\n"


def test_an_interrupted_await_does_not_stop_the_recording(tmp_path):
    source = "import asyncio, signal\nprint('begun')\nloop = asyncio.get_running_loop()\n"
    source += "loop.call_later(0.5, signal.raise_signal, signal.SIGINT)\nawait asyncio.sleep(20)"
    session = Session(tmp_path, [source, "print('after')"])
    cells = session.run()
    shown = [cell for cell in session.notebook.cells if cell.cell_type == "code"]
    assert texts(cells[1]) == texts(shown[1]) == "begun\n" and texts(cells[2]) == "after\n"
    assert cells[1].outputs[-1].output_type == shown[1].outputs[-1].output_type == "error"


def test_a_source_that_was_changed_and_not_saved_is_shown_as_it_was_run(tmp_path):
    session = Session(tmp_path, ["HEAD = [1]"])
    session.notebook.cells[2].source = "HEAD = [2]\nprint(HEAD)"
    cells = session.run()
    assert cells[1].source.startswith("HEAD = [2]") and texts(cells[1]) == "[2]\n"


def test_vs_code_names_the_file_in_the_namespace_and_has_other_ids(tmp_path):
    name = f"__vsc_ipynb_file__ = {str(tmp_path / 'saved.ipynb')!r}"
    session = Session(tmp_path, [name, "n = globals().get('n', 0) + 1\nprint('run', n)", "print('never')"])
    session.environment, session.id_format = {}, "vscode-notebook-cell:/saved.ipynb#{}"
    cells = session.run([0, 1, 2, 2, 4])
    assert texts(cells[0]) == "started\n" and texts(cells[2]) == "run 2\n" and cells[3].outputs == []


def test_without_a_file_of_the_notebook_the_cells_that_were_run_are_there(tmp_path):
    session = Session(tmp_path, ["print('one')", "print('two')", "1 / 0"])
    (tmp_path / "saved.ipynb").unlink()
    cells = session.run([0, 2, 1, 3, 2, 4])
    assert [cell.source for cell in cells] == [START, "print('two')", "print('one')", "1 / 0", WRITE]
    assert [texts(cell) for cell in cells[:3]] == ["started\n", "two\n", "one\n"]
    assert cells[3].outputs[0].ename == "ZeroDivisionError"


def test_nothing_is_recorded_outside_of_a_notebook():
    from phototransfer.recording import Recording

    assert Recording.start() is None


@pytest.mark.slow
def test_a_session_writes_the_report_with_its_last_cell(tmp_path):
    import json
    import shutil

    import numpy as np
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor
    from PIL import Image

    from builders import NOTEBOOK

    rng = np.random.default_rng(0)
    for number in range(28):
        folder = tmp_path / "photos" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 60, 3), np.uint8)).save(folder / f"{number}.png")
    shutil.copy(NOTEBOOK, tmp_path / "mine.ipynb")
    notebook = nbformat.read(tmp_path / "mine.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings = {"DATASET": str(tmp_path / "photos"), "BACKBONE": "EfficientNetLite0", "RUN": "mine", "EPOCHS": 1}
    settings |= {"CHECKS": False, "FIGURES": False, "CV_FOLDS": 0}
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in settings.items())
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    env = os.environ | {"PHOTOTRANSFER_HOME": str(tmp_path), "JPY_SESSION_NAME": str(tmp_path / "mine.ipynb")}
    client.execute(env=env)
    folder = tmp_path / "models" / "mine"
    metrics = json.loads((folder / "metrics.json").read_text())
    report = (folder / "report.html").read_text()
    assert f"{metrics['accuracy']['test_correct']} of {metrics['photos']['test']}" in report
    recorded = nbformat.read(folder / "notebook.ipynb", as_version=4)
    shown, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})  # progress bars in their last state
    texts_of = {cell.id: texts(cell) for cell in shown.cells if cell.cell_type == "code"}
    for cell in recorded.cells[3:-1]:
        if cell.cell_type == "code" and texts_of[cell.id] and "report = Report" not in cell.source:
            assert texts(cell) == texts_of[cell.id]
