"""Run the notebook without a screen: `python notebooks/run.py [papermill's options]`, what `make run` calls.

    python notebooks/run.py -p DATASET lucy -p EPOCHS 30 -y 'HEAD: [256, 64]'

Leaves the executed notebook and its report beside everything else in models/<run>/. `--commit` writes the outputs into
the notebook itself, for the copy that is read where the project is hosted.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# nbformat checks notebooks with jsonschema, which would build a grammar of web addresses first, for 1.4 seconds.
sys.modules.setdefault("rfc3987_syntax", None)

import nbformat
import papermill
import yaml
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.cli import papermill as papermill_command
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import read_yaml_file
from PIL import Image

from helpers import ROOT, shorten
from helpers.files import read_json, written_beside
from helpers.run_folders import run_folder
from helpers.summary import summary

NOTEBOOK = ROOT / "notebooks" / "transfer_learning.ipynb"
PICTURE = ROOT / "docs" / "predictions.jpg"
KERNEL_START_SECONDS = 180  # a busy machine can need this long


class AtOnce(NBClientEngine):
    """Ends the kernel when the last cell is done, and does not wait two seconds for TensorFlow to clear itself away."""

    name = "at once"

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any
    ) -> nbformat.NotebookNode:
        """Run the notebook; nbclient's option to kill the kernel is not one of papermill's."""
        return super().execute_managed_notebook(nb_man, kernel_name, shutdown_kernel="immediate", **options)


def main(options: list[str]) -> int:
    """Run the notebook with papermill's options; returns the exit status."""
    commit = "--commit" in options
    options = [option for option in options if option != "--commit"]
    defaults = papermill.inspect_notebook(NOTEBOOK)
    given = given_settings(options)
    unknown = [name for name in given if name not in defaults]
    if unknown:
        print(f"No such setting: {', '.join(unknown)}. The settings are: {', '.join(defaults)}.", file=sys.stderr)
        return 2
    values = {name: yaml.safe_load(defaults[name]["default"]) for name in ("DATASET", "BACKBONE")} | given
    try:
        folder = run_folder(str(values.get("RUN") or ""), str(values["DATASET"]), str(values["BACKBONE"]))
    except OSError as error:
        print(f"Stopped: {error.strerror}", file=sys.stderr)
        return 1
    partial = folder / ".partial.ipynb"
    arguments = [str(NOTEBOOK), str(partial), "--cwd", str(NOTEBOOK.parent), "--no-progress-bar", "--stdout-file", "-"]
    arguments += ["--log-level", "ERROR", "--start-timeout", str(KERNEL_START_SECONDS), "--engine", AtOnce.name]
    papermill_engines.register(AtOnce.name, AtOnce)
    try:
        with kernel_log(folder / "kernel.log"):
            papermill_command.main([*arguments, *options, "-r", "RUN", folder.name], standalone_mode=False)
    except PapermillExecutionError as error:
        keep(partial, folder)
        print(f"\nStopped: {error.ename}: {error.evalue}\nWhere: {shorten(folder / 'report.html')}", file=sys.stderr)
        return 1
    executed = keep(partial, folder)
    if commit:
        commit_outputs(executed, folder)
    print(f"\n{summary(read_json(folder / 'metrics.json'))}\nReport: {shorten(folder / 'report.html')}")
    return 0


def given_settings(options: list[str]) -> dict[str, object]:
    """The settings in papermill's options -p, -r, -y, -f and -b, by name."""
    parsed = papermill_command.make_context("make run", ["in", "out", *options]).params
    given: dict[str, object] = dict(parsed["parameters"]) | dict(parsed["parameters_raw"])
    for text in parsed["parameters_yaml"]:
        given |= yaml.safe_load(text) or {}
    for file in parsed["parameters_file"]:
        given |= read_yaml_file(file) or {}
    return given


@contextmanager
def kernel_log(path: Path) -> Iterator[None]:
    """Let what the kernel's process writes to standard error, TensorFlow's notices mostly, go to a file."""
    shown = os.dup(2)
    with path.open("w") as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def keep(partial: Path, folder: Path) -> nbformat.NotebookNode:
    """Turn papermill's working copy into notebook.ipynb and report.html, progress bars reduced to their last state."""
    executed, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(partial, as_version=4), {})
    with written_beside(folder / "notebook.ipynb") as beside:
        nbformat.write(executed, beside)
    html, _ = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(executed)
    with written_beside(folder / "report.html") as beside:
        beside.write_text(html, encoding="utf-8")
    partial.unlink()
    return executed


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """What the outputs of the notebook depend on: its code, the helpers and the sample's drawing."""
    seen = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", []):
            seen.update(cell.source.encode())
    for file in sorted([*NOTEBOOK.parent.glob("helpers/**/*.py"), *(ROOT / "data").glob("*.py")]):
        seen.update(file.read_bytes())
    return seen.hexdigest()


def commit_outputs(executed: nbformat.NotebookNode, folder: Path) -> None:
    """Put the outputs of one clean run with the default settings into the notebook and the picture of the README."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    outputs = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        cell.outputs = outputs[cell.id].outputs
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = number
    notebook.metadata["outputs_made_from"] = code_hash(notebook)
    with written_beside(NOTEBOOK) as beside:
        nbformat.write(notebook, beside)
    with Image.open(folder / "figures" / "predictions.png") as figure, written_beside(PICTURE) as beside:
        figure.convert("RGB").save(beside, "JPEG", quality=85)


if __name__ == "__main__":
    # The kernel searches PYTHONPATH before its own folder, and `helpers` is a common name.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(NOTEBOOK.parent), os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a warning about Python's frozen modules
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    sys.exit(main(sys.argv[1:]))
