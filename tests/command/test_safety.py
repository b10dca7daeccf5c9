"""No file, folder name or label makes the notebook run code or show HTML that it should not."""

import ast
import html.parser
import os
from pathlib import Path

import nbformat
import pandas as pd

from phototransfer import files
from phototransfer.html_report import write_report

SCRIPT = "<script>alert(1)</script>"
PICKLES = ("pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "torch")
EVALUATE = ("eval", "exec", "os.system", "os.popen", "yaml.load", "pd.read_pickle")
IMAGE = '<img src=x onerror="alert(1)">'


def sources() -> dict[str, str]:
    """Return all code that a user runs: the package and the cells of the notebook."""
    notebooks = files.PROJECT / "notebooks"
    paths = [path for path in notebooks.rglob("*.py") if "/." not in str(path)]
    code = {str(path.relative_to(notebooks)): path.read_text(encoding="utf-8") for path in paths}
    notebook = nbformat.read(notebooks / "transfer_learning.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return code | {"notebook": "\n\n".join(cells)}


def test_only_the_restricted_reader_knows_pickle_and_nothing_evaluates_text():
    found = []
    for file, code in sources().items():
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                found += [(file, name) for name in names if name.split(".")[0] in PICKLES]
            elif isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                options = {word.arg: ast.unparse(word.value) for word in node.keywords}
                unsafe = name in EVALUATE or options.get("shell") == "True"
                if name in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
                    unsafe = True
                if options.get("safe_mode") == "False" or "unsafe_deserialization" in name:
                    unsafe = True
                found += [(file, name)] if unsafe else []
    # Functions of the notebook go to processes that it has started itself, and nothing is read from a file.
    between_processes = ("phototransfer/processes.py", "cloudpickle")
    assert {(file, name) for file, name in found if name != "pickle"} == {between_processes}
    assert {file for file, name in found if name == "pickle"} == {"phototransfer/network/efficientnet_lite.py"}


class Elements(html.parser.HTMLParser):
    """What a browser would make of a page: the text in its scripts, and every attribute that runs code."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self.inside = False

    def handle_starttag(self, tag, attributes):
        self.inside = tag == "script"
        self.handlers += [f"{name}={value}" for name, value in attributes if name.startswith("on")]

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)


def test_labels_and_file_names_never_reach_the_report_as_html(tmp_path):
    def shown(data: dict[str, str]) -> nbformat.NotebookNode:
        return nbformat.v4.new_output("execute_result", data, execution_count=1)

    table = pd.DataFrame({"label": [SCRIPT, IMAGE], "original": [f"{SCRIPT}/{IMAGE}.jpg"] * 2}, index=[SCRIPT, IMAGE])
    crossed = pd.crosstab(table["label"], table["original"])
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text=f"2 classes: {SCRIPT}, {IMAGE}\n"),
        nbformat.v4.new_output("stream", name="stderr", text=SCRIPT + IMAGE),
        shown({"text/html": table._repr_html_(), "text/plain": repr(table)}),
        shown({"text/html": crossed._repr_html_(), "text/plain": repr(crossed)}),
        shown({"text/plain": repr([SCRIPT, IMAGE])}),
        nbformat.v4.new_output("error", ename="ValueError", evalue=SCRIPT, traceback=[f"\x1b[31m{SCRIPT}", IMAGE]),
    ]
    cell = nbformat.v4.new_code_cell(f"DATASET = {SCRIPT + IMAGE!r}", outputs=outputs)
    write_report(nbformat.v4.new_notebook(cells=[cell]), tmp_path)
    page = Elements()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not [script for script in page.scripts if "alert(1)" in script]
    assert not [handler for handler in page.handlers if "alert" in handler]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("&lt;script&gt;alert(1)") >= 8


def test_a_class_folder_cannot_leave_its_place(tmp_path, make_photo):
    from phototransfer.photos import Source, prepare

    names = [SCRIPT.replace("/", "_"), "..", "...", " .. ", "~", "$HOME", "`id`", "a;b", "$x$_{", "%2e%2e"]
    lines = ["id,class"]
    for number in range(4 * len(names)):
        make_photo(tmp_path / "photos" / f"{number}.jpg", number, (32, 24))
        lines.append(f"{number},{names[number % len(names)]}")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(lines))
    before = sorted(os.listdir(tmp_path))
    prepared = prepare(Source("names", tmp_path / "photos", tmp_path / "home"), val_split=0.2, test_split=0.2, seed=42)
    assert len(prepared.photos) == 4 * len(names)
    inside = (tmp_path / "home" / "prepared").resolve()
    for path in map(Path, prepared.photos["path"]):
        assert path.resolve().parents[2] == inside and path.resolve() == path
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "home"])
