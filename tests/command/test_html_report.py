"""The report of a run: one page that opens with the answer, from a small executed notebook made here."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from builders import draw
from phototransfer import files
from phototransfer.console import TEXT_WIDTH, unwrap_lines, wrap_lines
from phototransfer.finding import QUESTIONS
from phototransfer.html_report import write_report
from phototransfer.paths import NARROW

EVIL = '<b>"cat"</b> & co'  # a folder may be called so
LONG = "a_class_name_without_a_single_space_" * 5
SETTINGS = """\
# Data
DATASET = "sample"  # a folder – or an archive
HEAD = [1024, 512]  # units
LAYERS = [
    1,
    2,
]
LEARNING_RATE = 1e-3  # step size
SEED = 42
"""
CHECKS = {
    "leaks": "found: 2 of 4 test photos",
    "shortcuts": "nothing found",
    "shift": "cannot tell: too few photos",
    "labels": "nothing found: up to 3 labels could still be wrong",
}


class Page(HTMLParser):
    """What the tests look at in a page: its elements with their attributes, its text, and the order of both."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.source, self.elements, self._inside = page, [], []
        self.text = self.title = self.folded = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("img", "meta", "br", "source", "link", "input", "hr"):
            self._inside.append("folded" if tag == "details" and "open" not in dict(attributes) else tag)

    def handle_endtag(self, tag):
        inside = self._inside.pop()
        assert inside == tag or (inside, tag) == ("folded", "details"), f"</{tag}> closes <{inside}>"

    def handle_data(self, data):
        if self._inside and self._inside[-1] == "title":
            self.title += data
        elif not self._inside or self._inside[-1] not in ("style", "script"):
            self.text += data
            if "folded" in self._inside:
                self.folded += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def jpeg(seed: int, size=(96, 72)) -> str:
    content = io.BytesIO()
    draw(seed, size).save(content, "JPEG")
    return base64.b64encode(content.getvalue()).decode()


def figure(name: str, alt: str, seed: int = 1):
    return new_output(
        "display_data", data={"image/jpeg": jpeg(seed)}, metadata={"image/jpeg": {"alt": alt, "figure": name}}
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the folder of a run and four test photos, two of them mistakes."""
    monkeypatch.setattr(files, "PROJECT", tmp_path)
    run = tmp_path / "models" / "first"
    (run / "figures").mkdir(parents=True)
    rows = ["path,original,label,split,predicted,probability,correct"]
    for number, (label, predicted) in enumerate([("007", "007"), ("dog", "dog"), ("dog", "007"), ("007", "dog")]):
        draw(number).save(tmp_path / f"{number}.jpg")
        rows.append(f"{number}.jpg,{number}.jpg,{label},test,{predicted},0.{9 - number}5,{label == predicted}")
    (run / "predictions.csv").write_text("\n".join(rows))
    write_metrics(run)
    return tmp_path


def write_metrics(run, **changes):
    metrics = {
        "run": run.name,
        "dataset": "pets",
        "classes": ["007", "dog"],
        "backbone": "EfficientNetLite0",
        "fell_back_from": None,
        "photos": {"used": 40, "train": 30, "val": 6, "test": 4},
        "accuracy": {"test": 0.5, "test_correct": 2, "test_ci95": [0.15, 0.85], "majority": 0.5, "measure": "accuracy"},
        "conclusion": ["Of 100 new photos, about 50 are classified correctly.", "Do not believe this yet."],
        "verdict": CHECKS,
        "states": {name: line.partition(":")[0] for name, line in CHECKS.items()},
        "cross_validation": None,
        "settings": {"DATASET": "pets", "HEAD": [1024, 512], "LAYERS": [3], "LEARNING_RATE": 0.001, "SEED": 42},
    }
    (run / "metrics.json").write_text(json.dumps(metrics | changes))


def notebook(*outputs, error=None):
    settings = new_code_cell(SETTINGS, metadata={"tags": ["parameters"]})
    injected = new_code_cell(
        '# Parameters\nDATASET = "pets"\nLAYERS = [3]\n', metadata={"tags": ["injected-parameters"]}
    )
    cells = [
        new_markdown_cell("# Transfer learning on your own photos\n\n[Score](#2.-Score?)"),
        new_markdown_cell("## 1. Settings\n\nEdit them."),
        settings,
        injected,
        new_markdown_cell("## 2. Score?\n\nText."),
        new_markdown_cell("### Confusion matrix"),
        new_code_cell("report.show(confusion)", outputs=list(outputs)),
    ]
    if error:
        cells[-1].outputs.append(new_output("error", ename="ValueError", evalue=error, traceback=[f"\x1b[31m{error}"]))
    return new_notebook(cells=cells)


def page_of(project, executed) -> Page:
    write_report(executed, project / "models" / "first")
    return Page((project / "models" / "first" / "report.html").read_text(encoding="utf-8"))


def test_nothing_is_loaded_from_another_place(project):
    outside = "https://example.org/x"
    table = f'<script src="{outside}.js"></script><style>@import "{outside}.css";</style><img src="{outside}.png">'
    executed = notebook(
        figure("confusion", "a"), new_output("display_data", data={"text/html": f"{table}<table></table>"})
    )
    executed.cells[0].source += f"\n\n![picture]({outside}.png)"
    page = page_of(project, executed)
    for tag in ("img", "source", "script", "link", "iframe", "object", "video", "audio", "embed"):
        for attributes in page.all(tag):
            for name in ("src", "srcset", "href", "data"):
                assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
    styles = "".join(re.findall(r"<style.*?</style>", page.source, re.DOTALL))
    assert "@import" not in styles and not re.search(r"url\((?!['\"]?data:)", styles)


def test_the_page_opens_with_the_answer(project):
    page = page_of(project, notebook(figure("confusion", "Confusion matrix: 2 of 4 correct.")))
    assert "pets" in page.title
    before = page.text[: page.text.index("Transfer learning on your own photos", page.text.index("Do not believe"))]
    for text in ("pets", "Of 100 new photos, about 50", "Do not believe this yet.", "2 of 4", "0.15", "0.85"):
        assert text in before
    # The main checks stand before the others.
    assert before.index("2 of 4 test photos") < before.index("too few photos") < before.index("up to 3 labels")
    assert before.index("Do not believe this yet.") < before.index("2 of 4 test photos")
    thumbnails = [alt for alt in (picture.get("alt") or "" for picture in page.all("img")) if "predicted as" in alt]
    assert len([alt for alt in thumbnails if "007" in alt and "dog" in alt]) >= 2  # the mistakes
    assert len(thumbnails) >= 4
    assert "007" in before  # not the number 7


def test_states_can_be_told_without_colours(project):
    page = page_of(project, notebook())
    for line in CHECKS.values():
        state, _, rest = line.partition(": ")
        assert state in page.text.lower()
        assert rest in page.text


def test_every_picture_has_its_own_description_and_it_is_escaped(project):
    alt = f"Of 4 photos of {EVIL}: 2"
    page = page_of(project, notebook(figure("confusion", alt)))
    assert alt in [picture.get("alt") for picture in page.all("img")]
    assert all(picture.get("alt") for picture in page.all("img"))
    assert EVIL not in page.source


@pytest.mark.parametrize("name", [EVIL, LONG])
def test_names_are_text_wherever_they_stand(project, name):
    run = project / "models" / "first"
    table = (run / "predictions.csv").read_text().replace("dog", '"' + name.replace('"', '""') + '"')
    (run / "predictions.csv").write_text(table)
    write_metrics(run, dataset=name, classes=[name, "007"], conclusion=[name], verdict={"leaks": f"found: {name}"})
    page = page_of(project, notebook(new_output("stream", name="stdout", text=f"{name}\n")))
    assert EVIL not in page.source and name in page.text and name in page.title


def test_one_settings_cell_has_the_values_that_were_used(project):
    page = page_of(project, notebook())
    code = page.text
    assert code.count("# a folder – or an archive") == 1
    used = re.search(r"DATASET\s*=\s*(\S+)\s+# a folder", code)
    assert used and used[1] in ("'pets'", '"pets"')
    assert re.search(r"LAYERS\s*=\s*\[3\]", code)
    assert re.search(r"LEARNING_RATE\s*=\s*1e-3\s+# step size", code), "a default keeps the way it is written"
    assert "# Parameters" not in code


def test_the_contents_lead_to_the_headings(project):
    page = page_of(project, notebook())
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    inner = {link["href"][1:] for link in page.all("a") if link.get("href", "").startswith("#")}
    assert {"1.-Settings", "2.-Score?", "Confusion-matrix"} <= inner <= ids


def test_code_is_folded_and_can_be_read_without_javascript(project):
    page = page_of(project, notebook())
    assert "report.show(confusion)" in page.folded and "Of 100 new photos" not in page.folded


def test_a_narrow_figure_is_for_narrow_screens(project):
    draw(7).save(project / "models" / "first" / "figures" / f"mistakes{NARROW}.png")
    page = page_of(project, notebook(figure("mistakes", "Two mistakes."), figure("shift", "AUC 0.5.")))
    [source] = page.all("source")
    assert "max-width" in source["media"] and source["srcset"].startswith("data:image/")


def test_a_run_that_stopped_says_why(project):
    (project / "models" / "first" / "metrics.json").unlink()
    page = page_of(project, notebook(error=f"EPOCHS must be an integer, got {EVIL}"))
    message = page.text.index("EPOCHS must be an integer")
    assert "stopped" in page.text[:message] and message < page.text.index("Edit them.")
    assert EVIL not in page.source
    assert "007" not in page.text  # the predictions may be those of an earlier run
    assert "pets" in page.title
    assert page.text.count("# a folder – or an archive") == 1 and "'pets'" in page.text


def test_a_path_as_data_set_gives_a_short_title(project):
    (project / "models" / "first" / "metrics.json").unlink()
    executed = notebook(error="no such folder")
    executed.cells[3].source = 'DATASET = "/home/somebody/photos/pets"'
    assert "/home" not in page_of(project, executed).title


def test_a_run_that_was_killed_says_that_it_did_not_finish(project):
    (project / "models" / "first" / "metrics.json").unlink()
    page = page_of(project, notebook())
    assert "stopped" in page.text[: page.text.index("Edit them.")]


def test_photos_that_are_gone_are_left_out(project):
    (project / "0.jpg").unlink()
    (project / "2.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    page = page_of(project, notebook())
    thumbnails = [alt for alt in (picture.get("alt") or "" for picture in page.all("img")) if "predicted as" in alt]
    assert 1 <= len(thumbnails) <= 3
    for number in (1, 3):
        (project / f"{number}.jpg").unlink()
    assert "Do not believe this yet." in page_of(project, notebook()).text


def test_a_run_without_checks_figures_and_test_photos_has_a_report(project):
    run = project / "models" / "first"
    accuracy = {"test": None, "test_correct": 0, "test_ci95": None, "majority": None, "measure": "accuracy"}
    write_metrics(
        run, accuracy=accuracy, photos={"used": 3, "train": 3, "val": 0, "test": 0}, verdict=None, conclusion=None
    )
    (run / "predictions.csv").write_text((run / "predictions.csv").read_text().replace("test", "train"))
    page = page_of(project, notebook())
    assert "no test photos" in page.text and "None" not in page.text.replace("None of", "")


def test_a_figure_of_an_earlier_run_is_not_shown(project):
    draw(9).save(project / "models" / "first" / "figures" / "confusion.png")
    page = page_of(project, notebook())
    assert not [picture for picture in page.all("img") if "onfusion" in picture["alt"]]


def test_uneven_classes_show_the_balanced_score(project):
    accuracy = {
        "test": 0.5, "test_correct": 2, "test_ci95": [0.15, 0.85], "majority": 0.75, "measure": "balanced accuracy",
        "balanced_accuracy": 0.37, "balanced_accuracy_ci95": [0.11, 0.71],
        "rarest_class": {"classes": ["dog"], "correct": 0, "total": 1},
    }  # fmt: skip
    write_metrics(project / "models" / "first", accuracy=accuracy)
    page = page_of(project, notebook())
    assert "0.37" in page.text and "0.11" in page.text and "0 of 1" in page.text


def test_tables_of_text_keep_their_lines_and_sentences_flow(project):
    sentence = " ".join(f"word{number}" for number in range(40)) + "."
    table = "       precision  recall\n\na_class     0.93    0.90\n  other     0.90    0.93\n"
    page = page_of(project, notebook(new_output("stream", name="stdout", text=f"{wrap_lines(sentence)}\n{table}")))
    assert sentence in page.text
    assert "a_class     0.93    0.90\n  other     0.90    0.93" in page.text


def test_the_notebook_is_saved_too_and_not_changed(project):
    executed = notebook(
        new_output("stream", name="stdout", text="a 1%\r"), new_output("stream", name="stdout", text="a 2%\n")
    )
    before = nbformat.writes(executed)
    write_report(executed, project / "models" / "first")
    saved = nbformat.read(project / "models" / "first" / "notebook.ipynb", as_version=4)
    assert [output.text for output in saved.cells[-1].outputs] == ["a 2%\n"]
    assert nbformat.writes(executed) == before


def test_figures_stay_pictures(project):
    page = page_of(project, notebook(figure("shift", "AUC", seed=3)))
    [src] = [picture["src"] for picture in page.all("img") if picture["alt"] == "AUC"]
    with Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) as picture:
        assert picture.size == (96, 72)


words = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="─"), min_size=1, max_size=30)
paragraphs = st.lists(words, min_size=1, max_size=40).map(" ".join)
lines = st.one_of(
    paragraphs,
    paragraphs.map("- {}".format),
    st.just(""),
    st.just("  3 × not a picture"),
    st.just("─" * TEXT_WIDTH),
    st.just(" a question of the box"),
)


@given(st.lists(lines, max_size=8))
def test_unwrapping_is_the_inverse_of_wrapping(text):
    original = "\n".join(text)
    assert unwrap_lines(wrap_lines(original)) == original.rstrip("\n")


@pytest.mark.parametrize(("line", "hidden"), [("found: width 0.99", False), ("nothing found", True)])
def test_a_check_that_found_something_is_not_hidden(project, line, hidden):
    verdict = CHECKS | {"files": line}
    states = {name: text.partition(":")[0] for name, text in verdict.items()}
    write_metrics(project / "models" / "first", verdict=verdict, states=states)
    page = page_of(project, notebook())
    question = QUESTIONS["files"]
    assert (page.source.index(question) > page.source.index(" more check")) == hidden
