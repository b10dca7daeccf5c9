"""The command behind `make run`: execution of the notebook with papermill, with the report in models/<run>/.

    python -m phototransfer.run -p DATASET lucy -p EPOCHS 50 -y 'HEAD: [256, 64]'

The options are papermill's. `--commit` writes the outputs into the notebook itself.
"""

import hashlib
import os
import sys
from pathlib import Path

import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.cli import papermill as papermill_command
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import read_yaml_file
from PIL import Image

from phototransfer import files
from phototransfer.console import redirected_stderr
from phototransfer.report import RUN_NAME_FILE, closing_lines

NOTEBOOK = Path(__file__).parents[1] / "transfer_learning.ipynb"
_PICTURE = files.PROJECT / "docs" / "predictions.jpg"
_KERNEL_START_SECONDS = 180  # a busy machine can need this long


def main(options: list[str]) -> int:
    """Run the notebook with papermill's options and return the exit status."""
    commit = "--commit" in options
    options = [option for option in options if option != "--commit"]
    if commit and options:
        print("--commit makes the outputs of the default settings: no other option is allowed.", file=sys.stderr)
        return 2
    valid = papermill.inspect_notebook(str(NOTEBOOK))
    unknown = [name for name in given_settings(options) if name not in valid]
    if unknown:
        print(f"No such setting: {', '.join(unknown)}. The settings are: {', '.join(valid)}.", file=sys.stderr)
        return 2
    try:
        with files.temporary_folder(files.MODELS / "run") as folder:
            return _run(options, folder, commit)
    except OSError as error:
        print(f"Stopped: {error.strerror or error}", file=sys.stderr)
        return 1


def _run(options: list[str], folder: Path, commit: bool) -> int:
    executed, name_file = folder / "notebook.ipynb", folder / "run_name"
    arguments = [str(NOTEBOOK), str(executed), "--cwd", str(NOTEBOOK.parent), "--no-progress-bar"]
    arguments += ["--stdout-file", "-", "--log-level", "ERROR", "--start-timeout", str(_KERNEL_START_SECONDS)]
    os.environ[RUN_NAME_FILE] = str(name_file)
    failure = None
    try:
        with (folder / "kernel.log").open("wb") as log, redirected_stderr(log.fileno()):
            papermill_command.main([*arguments, *options], standalone_mode=False)
    except PapermillExecutionError as error:
        failure = f"Stopped: {error.ename}: {error.evalue}"
    except DeadKernelError:
        failure = "Stopped: the notebook's process ended, most likely because the memory was full."
    if not name_file.exists():  # the run ended before its folder was created
        print(f"\n{failure}", file=sys.stderr)
        return 1
    run = files.MODELS / name_file.read_text(encoding="utf-8")
    notebook = _save_report(executed, run)
    files.move_into_place(folder / "kernel.log", run / "kernel.log")
    where = f"Report: {files.relative_to_project(run / 'report.html')}"
    if failure:
        print(f"\n{failure}\n{where}", file=sys.stderr)
        return 1
    if commit:
        _commit_outputs(notebook, run)
    print(f"\n{closing_lines(files.read_json(run / 'metrics.json'))}\n{where}")
    return 0


def given_settings(options: list[str]) -> dict[str, object]:
    """Return the settings in papermill's options -p, -r, -y, -f and -b, by name."""
    parsed = papermill_command.make_context("make run", ["in", "out", *options]).params
    given: dict[str, object] = dict(parsed["parameters"]) | dict(parsed["parameters_raw"])
    for text in parsed["parameters_yaml"]:
        given |= yaml.safe_load(text) or {}
    for file in parsed["parameters_file"]:
        given |= read_yaml_file(file) or {}
    return given


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of the notebook's code cells, which its outputs depend on."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", []):
            digest.update(cell.source.encode())
    return digest.hexdigest()


def _save_report(executed: Path, run: Path) -> nbformat.NotebookNode:
    """Write notebook.ipynb and report.html, progress bars reduced to their last state; return the notebook."""
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(executed, as_version=4), {})
    with files.atomic_write(run / "notebook.ipynb") as partial:
        nbformat.write(notebook, partial)
    html, _ = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(notebook)
    with files.atomic_write(run / "report.html") as partial:
        partial.write_text(html, encoding="utf-8")
    return notebook


def _commit_outputs(executed: nbformat.NotebookNode, run: Path) -> None:
    """Put the outputs of a run with the default settings into the notebook, and a figure into the README."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    executed_cells = {cell.id: cell for cell in executed.cells}
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code_cells, 1):
        cell.outputs = executed_cells[cell.id].outputs
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = number
    notebook.metadata["outputs_made_from"] = code_hash(notebook)
    with files.atomic_write(NOTEBOOK) as partial:
        nbformat.write(notebook, partial)
    with Image.open(run / "figures" / "predictions.png") as figure, files.atomic_write(_PICTURE) as partial:
        figure.convert("RGB").save(partial, "JPEG", quality=85)


if __name__ == "__main__":
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a warning about Python's frozen modules
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    sys.exit(main(sys.argv[1:]))
