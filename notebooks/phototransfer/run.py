"""The command behind `make run`: execution of the notebook with papermill, with the report in models/<run>/.

    python -m phototransfer.run -p DATASET lucy -p EPOCHS 50 -y 'HEAD: [256, 64]'

The options are papermill's. `--preset quick` (or another of `settings.PRESETS`) comes before them: what is given by -p
and the like wins. `--commit` writes the outputs into the notebook itself.
"""

import ast
import base64
import hashlib
import importlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from phototransfer import files
from phototransfer.console import allow_any_text, redirected_stderr
from phototransfer.notebook_filter import PUBLISHED, outputs_hash
from phototransfer.paths import CWD_VARIABLE, NOTEBOOK, RUN_NAME_FILE, working_folder
from phototransfer.settings import (
    COMPUTED,
    PRESETS,
    RULES,
    TEXT,
    TEXT_OR_NONE,
    check_place,
    check_setting,
    check_together,
    values_in_cell,
)

if TYPE_CHECKING:
    import nbformat

# Jupyter, papermill and Pillow are imported where they are used: they take seconds, and a wrong setting is named first.

_PICTURES = files.PROJECT / "docs" / "pictures"
#: Figures of the sample that the README shows, and their width there at most, in pixels.
_FIGURES = ("cross_validation", "duplicates", "mislabelled", "predictions", "shift", "shortcuts")
_PICTURE_WIDTH = 800
_KERNEL_START_SECONDS = 180  # a busy machine can need this long
_DEAD_KERNEL = 138  # status with which papermill's command exits when the kernel has died
#: Errors whose message says what is wrong and what to do; the name of others helps whoever is asked about them.
_EXPLAINED = ("UnclearFolder", "ValueError", "OSError", "FileNotFoundError")


def main(options: list[str]) -> int:
    """Run the notebook with papermill's options and return the exit status."""
    allow_any_text()
    commit = "--commit" in options
    options = [option for option in options if option != "--commit"]
    if commit and options:
        print("--commit makes the outputs of the default settings: no other option is allowed.", file=sys.stderr)
        return 2
    if not NOTEBOOK.is_file():  # only where pip has installed the package
        print(f"Stopped: there is no {NOTEBOOK}. Start the command in the folder of the notebook.", file=sys.stderr)
        return 2
    if commit and not files.CHECKOUT:
        print("--commit is for a checkout of the project: it writes into its notebook and its README.", file=sys.stderr)
        return 2
    os.environ[CWD_VARIABLE] = str(working_folder())
    try:
        options = _with_preset(options)
        given = given_settings(options)
        _check(given)
    except (OSError, ValueError, click.UsageError, yaml.YAMLError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 2
    texts = [part for name in TEXT if isinstance(given.get(name), str) for part in ("-r", name, given[name])]
    try:
        with files.temporary_folder(files.MODELS / "run") as folder:
            return _run([*options, *texts], folder, commit)
    except OSError as error:
        print(f"Stopped: {error.strerror or error}", file=sys.stderr)
        return 1


def _with_preset(options: list[str]) -> list[str]:
    """Return the options with the settings of a preset before them, in place of `--preset <name>`."""
    names = []
    others = []
    remaining = iter(options)
    for option in remaining:
        if option == "--preset":
            names.append(next(remaining, ""))
        elif option.startswith("--preset="):
            names.append(option.removeprefix("--preset="))
        else:
            others.append(option)
    if unknown := [name for name in names if name not in PRESETS]:
        raise ValueError(f"There is no preset {unknown[0]!r}. The presets are: {', '.join(PRESETS)}.")
    settings = [part for name in names for part in ("-y", json.dumps(PRESETS[name]))]
    return [*settings, *others]


def given_settings(options: list[str]) -> dict[str, Any]:
    """Return the settings in papermill's options -p, -r, -y, -f and -b, by name.

    Their types are those that papermill gives them, except for settings that are text: these stay as they are written,
    so that "-p DATASET 007" is not 7.
    """
    parameters: list[click.Parameter] = [
        click.Option(["-p", "--parameters"], nargs=2, multiple=True),
        click.Option(["-r", "--parameters_raw"], nargs=2, multiple=True),
        click.Option(["-y", "--parameters_yaml"], multiple=True),
        click.Option(["-f", "--parameters_file"], multiple=True),
        click.Option(["-b", "--parameters_base64"], multiple=True),
    ]
    others = {"ignore_unknown_options": True, "allow_extra_args": True}  # papermill reads them
    command = click.Command("make run", params=parameters, context_settings=others)
    parsed = command.make_context("make run", list(options)).params
    given: dict[str, Any] = {}
    for encoded in parsed["parameters_base64"]:
        given |= _from_yaml(base64.b64decode(encoded).decode())
    for file in parsed["parameters_file"]:
        given |= _from_yaml(Path(file).read_text(encoding="utf-8"))
    for text in parsed["parameters_yaml"]:
        given |= _from_yaml(text)
    for name, text in parsed["parameters"]:
        given[name] = _from_text(name, text)
    return given | dict(parsed["parameters_raw"])


def _from_yaml(text: str) -> dict[str, Any]:
    """Return settings written in YAML; a plain 007, true or 2024-05-12 is text where the setting is."""
    typed, untyped = yaml.safe_load(text) or {}, yaml.BaseLoader(text).get_single_data()
    if not isinstance(typed, dict):
        raise ValueError(f"Settings in YAML are written as 'NAME: value', got {text!r}")
    for name in typed:
        if name in TEXT and not (typed[name] is None and name in TEXT_OR_NONE):
            typed[name] = untyped[name]
    return typed


def _from_text(name: str, text: str) -> Any:
    """Return the value that papermill's option -p gives a setting, or the text if the setting is one."""
    if name in TEXT:
        return None if text == "None" and name in TEXT_OR_NONE else text
    if text in ("True", "False", "None"):
        return ast.literal_eval(text)
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _check(given: Mapping[str, Any]) -> None:
    """Raise a ValueError if a setting is unknown or cannot be used, before a kernel is started.

    Settings that are not given are those in the settings cell.
    """
    values = _settings_cell()
    unknown = [name for name in given if name not in values]
    if unknown:
        raise ValueError(f"No such setting: {', '.join(unknown)}. The settings are: {', '.join(values)}.")
    values |= given
    for name in RULES:
        if name in values and values[name] is not COMPUTED:
            check_setting(name, values[name])
            check_place(name, values[name])
    check_together(values)


def _settings_cell() -> dict[str, Any]:
    """Return the values in the settings cell of the notebook, `COMPUTED` for those that are not written out."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    cell = next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    return values_in_cell("".join(cell["source"]))


def _run(options: list[str], folder: Path, commit: bool) -> int:
    # jsonschema checks web addresses with it, which notebooks are not checked for. Building its grammar takes a second.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import nbformat
    from papermill.cli import papermill as papermill_command
    from papermill.exceptions import PapermillExecutionError

    # Imported while the kernel works.
    pages = threading.Thread(target=importlib.import_module, args=["phototransfer.html_report"])
    pages.start()
    executed, name_file = folder / "notebook.ipynb", folder / "run_name"
    arguments = [str(NOTEBOOK), str(executed), "--cwd", str(NOTEBOOK.parent), "--no-progress-bar"]
    arguments += ["--stdout-file", "-", "--log-level", "ERROR", "--start-timeout", str(_KERNEL_START_SECONDS)]
    arguments += ["--engine", _register_engine()]
    os.environ[RUN_NAME_FILE] = str(name_file)
    failure = None
    try:
        with (folder / "kernel.log").open("wb") as log, redirected_stderr(log.fileno()):
            papermill_command.main([*arguments, *options], standalone_mode=False)
    except PapermillExecutionError as error:
        kind = "" if error.ename in _EXPLAINED else f"{error.ename}: "
        failure = f"Stopped: {kind}{error.evalue}"
    except SystemExit as error:
        if error.code != _DEAD_KERNEL:
            raise
        failure = "Stopped: the notebook's process ended, most likely because the memory was full."
    if not name_file.exists():  # the run ended before its folder was created
        print(f"\n{failure}", file=sys.stderr)
        return 1
    run = files.MODELS / name_file.read_text(encoding="utf-8")
    pages.join()
    from phototransfer.html_report import write_report
    from phototransfer.report import closing_lines

    notebook = nbformat.read(executed, as_version=4)
    _remove_empty_outputs(notebook)
    write_report(notebook, run)
    # Copied: Windows renames no file that a process of the notebook, which may end a little later, still has open.
    shutil.copyfile(folder / "kernel.log", run / "kernel.log")
    where = f"Report: {files.relative_to_project(run / 'report.html')}"
    if failure:
        print(f"\n{failure}\n{where}", file=sys.stderr)
        return 1
    if commit:
        _commit_outputs(nbformat.read(run / "notebook.ipynb", as_version=4), run)
    print(f"\n{closing_lines(files.read_json(run / 'metrics.json'))}\n{where}")
    return 0


def _register_engine() -> str:
    """Make papermill write the executed notebook once, when the run has ended in whatever way; return a name for that.

    Its own engine writes it before and after each cell too, which takes 10 to 20 ms each time: two seconds in all.
    """
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

    class SaveOnceEngine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any) -> None:
            path, nb_man.output_path = nb_man.output_path, None
            try:
                # Nothing is left to do for the kernel then, and TensorFlow takes more than a second to end by itself.
                super().execute_managed_notebook(nb_man, kernel_name, shutdown_kernel="immediate", **options)
            finally:
                nb_man.output_path = path  # papermill writes it next, after an error too

    papermill_engines.register("save-once", SaveOnceEngine)
    return "save-once"


def _remove_empty_outputs(notebook: "nbformat.NotebookNode") -> None:
    """Remove the places that were left for figures of results that turned out to have none."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]


def code_hash(notebook: "nbformat.NotebookNode") -> str:
    """Return a hash of the notebook's code cells, which its outputs depend on."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", []):
            digest.update(cell.source.encode())
    return digest.hexdigest()


def _commit_outputs(executed: "nbformat.NotebookNode", run: Path) -> None:
    """Put the outputs of a run with the default settings into the notebook, and its figures into the README."""
    import nbformat
    from PIL import Image

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
    notebook.metadata[PUBLISHED] = outputs_hash(notebook)
    with files.atomic_write(NOTEBOOK) as partial:
        nbformat.write(notebook, partial)
    for name in _FIGURES:
        picture = _PICTURES / f"{name}.jpg"
        with Image.open(run / "figures" / f"{name}.png") as figure, files.atomic_write(picture) as partial:
            small = figure.convert("RGB")
            small.thumbnail((_PICTURE_WIDTH, 2 * _PICTURE_WIDTH))
            small.save(partial, "JPEG", quality=85, optimize=True)


if __name__ == "__main__":
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a warning about Python's frozen modules
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    sys.exit(main(sys.argv[1:]))
