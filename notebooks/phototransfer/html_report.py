"""report.html: the executed notebook as one page that opens with the answer and needs no other file or host."""

import ast
import base64
import copy
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from phototransfer import files
from phototransfer.console import plural, shorten_list, unwrap_lines
from phototransfer.finding import FOUND, QUESTIONS, STATES
from phototransfer.paths import NARROW
from phototransfer.settings import COMPUTED, values_in_cell
from phototransfer.stats import format_share

if TYPE_CHECKING:
    import nbformat

# nbconvert, Pygments and Pillow are imported where they are used: they take a second, and a run needs them at its end.

_FIRST_QUESTIONS = ("leaks", "shortcuts", "shift")
_SIGNS = dict(zip(STATES, ("✗", "≈", "✓", "?", "–"), strict=True))
_EXAMPLES = 4
_THUMBNAIL = 240  # pixels, twice the width in which a picture is shown
_WIDE = 760  # pixels: a wider figure is scrolled on a phone instead of reduced
_PROGRESS_BAR = re.compile(r"\d+%\|")
_COLUMNS = re.compile(r"\S {3,}\S")  # a line of a table of text
_ERROR_TAG = "papermill-error-cell-tag"  # papermill's own words on where the run stopped
#: What a page may hold that comes from a cell: text, tables, and pictures that are inside.
_TAGS = (
    "a abbr b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img kbd li ol p pre s span strong "
    "sub summary sup table tbody td tfoot th thead tr ul"
)
_HEADING = re.compile(r'<h([1-3]) id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)


@dataclass(frozen=True)
class _Heading:
    level: int
    anchor: str
    text: str


@dataclass(frozen=True)
class _Cell:
    """A cell of the notebook: `kind` is "markdown" or "code"; the HTML of its source and of its outputs."""

    kind: str
    source: str
    outputs: list[str] = field(default_factory=list)


def write_report(notebook: "nbformat.NotebookNode", run: Path) -> None:
    """Write `notebook.ipynb` and `report.html` into the folder of a run, progress bars reduced to their last state.

    The page opens with the conclusion, the score, the verdicts and pictures. All pictures are inside, nothing is loaded
    from elsewhere, and the code is folded. The settings cell shows the values that were used.

    Parameters
    ----------
    notebook : NotebookNode
        The executed notebook.
    run : Path
        The folder of the run. `metrics.json`, `predictions.csv` and `figures/` are read from it; without
        `metrics.json` the page says that the run stopped.
    """
    import nbformat
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    notebook, _ = CoalesceStreamsPreprocessor().preprocess(copy.deepcopy(notebook), {})
    with files.atomic_write(run / "notebook.ipynb") as partial:
        nbformat.write(notebook, partial)
    with files.atomic_write(run / "report.html") as partial:
        partial.write_text(_page(notebook, run), encoding="utf-8")


def _page(notebook: "nbformat.NotebookNode", run: Path) -> str:
    metrics = files.read_json(run / "metrics.json")
    used, defaults = _settings(notebook, metrics)
    cells = [
        _render_cell(cell, run / "figures", used)
        for cell in notebook.cells
        if not _has_tag(cell, "injected-parameters") and not _has_tag(cell, _ERROR_TAG)
    ]
    headings = [heading for cell in cells if cell.kind == "markdown" for heading in _headings(cell.source)]
    dataset = (metrics or {}).get("dataset") or Path(str(used.get("DATASET") or "photos")).name
    return _template().render(
        title=f"{dataset}: transfer learning on photos",
        dataset=dataset,
        run=run.name,
        css=_resource("page.css"),
        metrics=metrics,
        answer=_answer(metrics, run, _alt_texts(notebook)) if metrics else None,
        error=None if metrics else _error_message(notebook),
        settings=[(name, repr(value), name in defaults and defaults[name] != value) for name, value in used.items()],
        headings=headings,
        cells=cells,
    )


@cache
def _template() -> Any:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource("page.html.j2"))


def _resource(name: str) -> str:
    return (package_files("phototransfer") / "report_page" / name).read_text(encoding="utf-8")


# ---- the first screen


def _alt_texts(notebook: "nbformat.NotebookNode") -> dict[str, str]:
    """Return what the figures of the notebook show, by their names."""
    shown = [
        output.metadata.get("image/jpeg", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "display_data"
    ]
    return {metadata["figure"]: metadata.get("alt", "") for metadata in shown if "figure" in metadata}


def _answer(metrics: Mapping[str, Any], run: Path, alt_texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what the first screen shows, in the words and numbers of the run."""
    accuracy, photos = metrics["accuracy"], metrics["photos"]
    verdicts, states = metrics.get("verdict") or {}, metrics.get("states") or {}
    rows = [
        {
            "question": QUESTIONS[name],
            "line": line,
            "state": states.get(name, ""),
            "sign": _SIGNS.get(states.get(name, ""), ""),
        }
        for name, line in verdicts.items()
    ]
    shown = [name in _FIRST_QUESTIONS or states.get(name) == FOUND for name in verdicts]
    first = [row for row, is_shown in zip(rows, shown, strict=True) if is_shown]
    others = [row for row, is_shown in zip(rows, shown, strict=True) if not is_shown]
    examples, mistakes, mistake_count = _pictures(run)
    confusion = run / "figures" / "confusion.png"
    # The folder can have figures of an earlier run with the same name.
    drawn = "confusion" in alt_texts and confusion.is_file()
    uneven = accuracy.get("measure", "accuracy") != "accuracy"
    return {
        "conclusion": metrics.get("conclusion") or [],
        "correct": accuracy.get("test_correct"),
        "total": photos.get("test"),
        "share": _share(accuracy.get("test")),
        "interval": [_share(end) for end in accuracy.get("test_ci95") or []],
        "majority": None if uneven else _share(accuracy.get("majority")),
        "balanced": _share(accuracy.get("balanced_accuracy")) if uneven else None,
        "balanced_interval": [_share(end) for end in accuracy.get("balanced_accuracy_ci95") or []],
        "rarest": accuracy.get("rarest_class") if uneven else None,
        "network": metrics.get("backbone"),
        "fell_back_from": metrics.get("fell_back_from"),
        "cross_validation": _share((metrics.get("cross_validation") or {}).get("mean")),
        "classes": _describe_classes(metrics.get("classes") or []),
        "photos": photos.get("used"),
        "verdicts": first,
        "other_verdicts": others,
        "confusion": _embed(confusion, 900) if drawn else None,
        "confusion_alt": alt_texts.get("confusion"),
        "examples": examples,
        "mistakes": mistakes,
        "mistake_count": mistake_count,
    }


def _share(value: float | None) -> str | None:
    return None if value is None else format_share(value)


def _describe_classes(classes: Sequence[str]) -> str:
    return f"{plural(len(classes), 'class')} ({shorten_list(list(classes), 6)})"


def _pictures(run: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return examples that were predicted correctly, the most confident mistakes, and the number of mistakes.

    Examples are of as many classes as possible. A photo that does not exist any more is left out.
    """
    path = run / "predictions.csv"
    if not path.is_file():
        return [], [], 0
    # A class called 007 is not the number 7.
    names = dict.fromkeys(("path", "label", "split", "predicted"), str)
    table = pd.read_csv(path, keep_default_na=False, dtype=names)
    test = table[table["split"] == "test"]
    correct = test["correct"].astype(str) == "True"
    mistakes = test[~correct].sort_values("probability", ascending=False, kind="stable")
    right = test[correct].sample(frac=1, random_state=0)
    in_turn = right.groupby("label").cumcount().sort_values(kind="stable").index
    return _shown(right.loc[in_turn]), _shown(mistakes), len(mistakes)


def _shown(photos: pd.DataFrame) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for row in photos.itertuples():
        if len(shown) == _EXAMPLES:
            break
        try:
            picture = _embed(files.PROJECT / row.path, _THUMBNAIL)
        except OSError:  # removed, or damaged since
            continue
        fields = {"predicted": row.predicted, "label": row.label, "probability": f"{row.probability:.2f}"}
        shown.append({**fields, "picture": picture, "correct": row.label == row.predicted})
    return shown


def _embed(path: Path, longest_side: int) -> str:
    """Return a picture as the address of its own content, a JPEG of at most `longest_side` pixels."""
    from PIL import Image

    content = io.BytesIO()
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
        picture.thumbnail((longest_side, longest_side))
        picture.save(content, "JPEG", quality=85)
    return _data_address(content.getvalue())


def _data_address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _error_message(notebook: "nbformat.NotebookNode") -> str:
    """Return the message of the error that ended the run, as people read it: without the trace."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return "It has not come to its end: see the last output below."


# ---- settings


def _has_tag(cell: Any, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def _settings(
    notebook: "nbformat.NotebookNode", metrics: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings that were used, and those in the settings cell, which others may have replaced."""
    defaults: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for cell in notebook.cells:
        if _has_tag(cell, "parameters"):
            defaults = _assigned(cell.source)
        elif _has_tag(cell, "injected-parameters"):
            given = _assigned(cell.source)
    recorded = (metrics or {}).get("settings") or {}
    return {name: recorded.get(name, given.get(name, value)) for name, value in defaults.items()}, defaults


def _assigned(source: str) -> dict[str, Any]:
    """Return the names to which a cell assigns plain values, with the values."""
    return {name: value for name, value in values_in_cell(source).items() if value is not COMPUTED}


def _with_values(source: str, used: Mapping[str, Any]) -> str:
    """Return the source of the settings cell with the values that were used, its comments unchanged."""
    lines = [line.encode() for line in source.split("\n")]  # positions of `ast` count bytes
    for node in reversed(ast.parse(source).body):
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        name, value = node.targets[0].id, node.value
        if name not in used or ast.unparse(value) == repr(used[name]):
            continue
        first, last = value.lineno - 1, (value.end_lineno or value.lineno) - 1
        begin, end = lines[first][: value.col_offset], lines[last][value.end_col_offset :]
        lines[first : last + 1] = [begin + repr(used[name]).encode() + end]
    return b"\n".join(lines).decode()


# ---- cells


def _render_cell(cell: Any, figures: Path, used: Mapping[str, Any]) -> _Cell:
    if cell.cell_type != "code":
        return _Cell("markdown", _markdown(cell.source))
    source = _with_values(cell.source, used) if _has_tag(cell, "parameters") else cell.source
    return _Cell("code", _highlight(source), [_render_output(output, figures) for output in cell.outputs])


def _markdown(text: str) -> str:
    from nbconvert.filters import markdown2html

    return _clean_html(str(markdown2html(text)))


def _clean_html(text: str) -> str:
    """Return HTML without scripts, styles, and pictures that are elsewhere: the page loads nothing."""
    import bleach

    def allowed(tag: str, name: str, value: str) -> bool:
        if tag == "img":
            return name in ("alt", "width", "height") or (name == "src" and value.startswith("data:image/"))
        if tag in ("td", "th") and name in ("colspan", "rowspan", "scope"):
            return True
        return name in ("id", "class", "title") or (tag == "a" and name == "href")

    text = re.sub(r"<(style|script)\b.*?</\1\s*>", "", text, flags=re.DOTALL | re.IGNORECASE)
    protocols = {"http", "https", "mailto", "data"}
    return str(bleach.clean(text, tags=_TAGS.split(), attributes=allowed, protocols=protocols, strip=True))


def _highlight(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return str(highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)))


def _headings(source: str) -> list[_Heading]:
    """Return the headings of level 2 and 3 in rendered Markdown."""
    found = [
        _Heading(int(level), anchor, re.sub("<.*?>", "", text)) for level, anchor, text in _HEADING.findall(source)
    ]
    return [heading for heading in found if heading.level > 1]


def _render_output(output: Any, figures: Path) -> str:
    """Return an output of a cell as HTML; texts are escaped, tables come from pandas, which escapes their cells."""
    if output.output_type == "stream":
        return _render_text(output.text)
    if output.output_type == "error":
        return f'<p class="error">{html.escape(f"{output.ename}: {output.evalue}")}</p>'
    for kind in ("image/jpeg", "image/png"):
        if kind in output.data:
            return _render_figure(output.data[kind], kind, output.metadata.get(kind, {}), figures)
    if "text/html" in output.data:
        return f'<div class="scroll">{_clean_html(output.data["text/html"])}</div>'
    return _preformatted(output.data.get("text/plain", "").splitlines())


def _render_figure(content: str, kind: str, metadata: Mapping[str, Any], figures: Path) -> str:
    """Return a figure, with another one for narrow screens if the run has it."""
    alt, name = html.escape(metadata.get("alt", ""), quote=True), metadata.get("figure", "")
    narrow, source = figures / f"{name}{NARROW}.png", ""
    if name and narrow.is_file():
        source = f'<source media="(max-width: 600px)" srcset="{_embed(narrow, 2000)}">'
    wide = not source and _width(content) > _WIDE
    image = f'<img src="data:{kind};base64,{"".join(content.split())}" alt="{alt}">'
    return f"<figure{' class=wide' if wide else ''}><picture>{source}{image}</picture></figure>"


def _width(content: str) -> int:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return picture.width


def _render_text(text: str) -> str:
    """Return printed text as paragraphs and lists that adapt to the screen; tables of text stay as they are."""
    parts: list[tuple[str, list[str]]] = []
    for line in unwrap_lines(text).splitlines():
        kind = _kind_of_line(line)
        if parts and parts[-1][0] == kind:
            parts[-1][1].append(line)
        else:
            parts.append((kind, [line]))
    rendered = []
    for kind, lines in parts:
        if kind == "table":
            rendered.append(_preformatted(lines))
        elif kind == "item":
            items = "".join(f"<li>{html.escape(line.removeprefix('- '))}</li>" for line in lines)
            rendered.append(f"<ul>{items}</ul>")
        else:
            name = ' class="progress"' if kind == "progress" else ""
            rendered += [f"<p{name}>{html.escape(line)}</p>" for line in lines if line.strip()]
    return f'<div class="text">{"".join(rendered)}</div>'


def _kind_of_line(line: str) -> str:
    if line.startswith("- "):
        return "item"
    if _PROGRESS_BAR.search(line):
        return "progress"
    return "table" if line.startswith((" ", "─")) or _COLUMNS.search(line) else "paragraph"


def _preformatted(lines: Sequence[str]) -> str:
    return f'<pre class="scroll">{html.escape(chr(10).join(lines))}</pre>'
