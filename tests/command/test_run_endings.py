"""However a run ends, its report has the outputs of the cells before."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from phototransfer import files, run

START = """\
import os
from pathlib import Path
Path(os.environ["PHOTOTRANSFER_RUN_NAME_FILE"]).write_text("mine")
print("before")

from IPython.display import display

display({}, raw=True)
display({"text/plain": "a result"}, raw=True)
"""


@pytest.mark.parametrize(
    ("ending", "message"),
    [("raise ValueError('no photos')", "Stopped: no photos"), ("import os; os._exit(3)", "memory was full")],
)
def test_a_run_that_stops_keeps_the_outputs_so_far(tmp_path, monkeypatch, capfd, ending, message):
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    monkeypatch.setattr(files, "MODELS", tmp_path / "models")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    cells = [new_markdown_cell("# A title"), *map(new_code_cell, (START, ending, "print('never')"))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "short.ipynb")
    monkeypatch.setattr(run, "NOTEBOOK", tmp_path / "short.ipynb")
    monkeypatch.setenv("PHOTOTRANSFER_RUN_NAME_FILE", "")  # restored afterwards
    with files.temporary_folder(tmp_path / "models" / "run") as folder:
        assert run._run([], folder, commit=False) == 1
    assert message in capfd.readouterr().err
    written = nbformat.read(tmp_path / "models" / "mine" / "notebook.ipynb", as_version=4)
    outputs = [output for cell in written.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type == "display_data"]
    assert shown == [{"text/plain": "a result"}], "the place of a figure that was not drawn is removed"
    texts = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "before" in texts and "never" not in texts
    assert "before" in (tmp_path / "models" / "mine" / "report.html").read_text(encoding="utf-8")
