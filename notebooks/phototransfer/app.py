"""The page behind `make app`: the saved models of runs, tried on photos in the browser, on this machine only.

python -m phototransfer.app --run lucy --port 7860
"""

import argparse
import base64
import contextlib
import html
import io
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phototransfer import files
from phototransfer.commands import install_command
from phototransfer.console import allow_any_text, plural, quiet_tensorflow, short_name
from phototransfer.paths import find_run, saved_runs

if TYPE_CHECKING:
    import gradio as gr
    import keras
    import pandas as pd
    from fastapi import FastAPI
    from PIL import Image

# TensorFlow and Gradio are imported where they are used: they take seconds, and a wrong argument is named first.

ADDRESS = "127.0.0.1"  # this machine only: no other one can connect to it
PORT = 7860
#: Pictures with more pixels are refused: decoding one takes about 150 MB for each 50 megapixels, several at a time.
MOST_PIXELS = 50 * 10**6
_LARGEST_UPLOAD = "200mb"
_PORTS = 100  # that are tried
_MODELS = 3  # in memory at a time
_CONCURRENT = 4  # photos that are worked on at a time
_EXAMPLES = 8
_TOP_CLASSES = 5
_PREVIEW = 1024  # pixels of the longer side of a photo on the page
_THUMBNAIL = 320
_SURE = 0.7  # probability below which the next class is named, too
#: Set before Gradio is imported: nothing is reported to anybody.
PRIVATE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
#: The browser loads nothing from another host, and sends nothing there. Gradio's page has scripts and styles in it.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_STYLE = """
.gradio-container { max-width: 1200px !important; margin: 0 auto !important; }
.notice { border-left: 0.4em solid #d55e00; background: rgba(213, 94, 0, 0.12); padding: 0.6em 0.9em;
  margin-bottom: 0.6em; }
.notice, .answer, .note { overflow-wrap: anywhere; }
.answer { font-size: 1.1em; }
.note { opacity: 0.8; }
.photos { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.6em; margin-top: 0.6em; }
.photos figure { margin: 0; }
.photos img { width: 100%; aspect-ratio: 4 / 3; object-fit: contain; background: rgba(128, 128, 128, 0.12); }
.photos figcaption { text-align: center; overflow-wrap: anywhere; }
#examples .grid-wrap { height: auto !important; max-height: none !important; }
#examples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; height: auto !important; }
#examples .thumbnail-lg { aspect-ratio: 4 / 3; height: auto; }
@media (max-width: 700px) {
  #grad-cam { order: 1; }
  #examples .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
}
"""


class Refused(Exception):
    """A file is not classified. The message is the reason, for the person who chose it."""


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run with its model in memory.

    Attributes
    ----------
    photos : DataFrame or None
        The run's predictions.csv, with `path` (of the prepared photo), `original`, `label` and `split`.
    lock : Lock
        To be held while the model works.
    """

    folder: Path
    model: "keras.Model"
    classes: list[str]
    photos: "pd.DataFrame | None"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prepared(self, original: str) -> Path | None:
        """Return the path of the prepared photo of an original, None if it is not known or not there any more."""
        if self.photos is None:
            return None
        paths = self.photos.loc[self.photos["original"] == original, "path"]
        path = files.PROJECT / str(paths.iloc[0]) if len(paths) else None
        return path if path is not None and path.is_file() else None

    def examples(self) -> list[tuple[Path, str]]:
        """Return paths and classes of test photos: of each class in turn, with an incorrectly classified one first."""
        if self.photos is None:
            return []
        test = self.photos[self.photos["split"] == "test"]
        turn = test.sort_values(["correct", "original"]).groupby("label").cumcount()
        test = test.assign(turn=turn).sort_values(["turn", "label"], kind="stable")
        found = (
            (files.PROJECT / str(path), str(label)) for path, label in zip(test["path"], test["label"], strict=True)
        )
        examples = ((path, label) for path, label in found if path.is_file())
        return [example for _, example in zip(range(_EXAMPLES), examples, strict=False)]

    def description(self) -> str:
        """Return what the model was trained on, and what its run says about how good it is."""
        metrics = files.read_json(self.folder / "metrics.json") or {}
        counts = metrics.get("photos") or {}
        trained = f" on {plural(counts['train'], 'photo')}" if counts.get("train") else ""
        text = f"{metrics.get('backbone', 'The model')}, trained{trained} of {plural(len(self.classes), 'class')}."
        # The conclusion and what stands most in its way, not the test score alone, which may be too good.
        return " ".join([text, *(metrics.get("conclusion") or [])[:2]])


class LoadedRuns:
    """The models that are in memory: those that were used last."""

    def __init__(self, most: int = _MODELS) -> None:
        self._most = most
        self._runs: OrderedDict[tuple[Path, files.Stamp], LoadedRun] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> LoadedRun:
        """Return a run, loaded if it is not in memory or was saved again since.

        Raises
        ------
        Refused
            It cannot be loaded. The message says why.
        """
        with self._lock:
            try:
                folder = find_run(name)
                key = (folder, files.stamp(folder / "model.keras"))
                if key not in self._runs:
                    self._runs[key] = _load(folder)
            except (OSError, ValueError) as error:
                raise Refused(str(error)) from error
            self._runs.move_to_end(key)
            while len(self._runs) > self._most:
                self._runs.popitem(last=False)
            return self._runs[key]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the page shows of a photo; the texts are HTML, `highlighted` is uint8 (size, size, 3)."""

    picture: "Image.Image"
    probabilities: dict[str, float]
    text: str
    highlighted: np.ndarray | None
    highlighted_note: str
    nearest: str


def answer(run: LoadedRun, path: Path, label: str | None = None) -> Answer:
    """Classify a photo for the page.

    Parameters
    ----------
    path : Path
        Any file.
    label : str, optional
        The true class, if it is known.

    Raises
    ------
    Refused
        The file is not a photo, or too large.
    """
    from phototransfer.network.classify import examine
    from phototransfer.network.grad_cam import highlight

    pixels = read_upload(path, run.model.preparation.ranges)
    with run.lock:
        examination = examine(run.model, pixels)
        best = int(examination.probabilities.argmax())
        highlighted = highlight(run.model, examination.seen, best)
    probabilities = dict(zip(run.classes, map(float, examination.probabilities), strict=True))
    return Answer(
        picture=_reduced(pixels, _PREVIEW),
        probabilities=probabilities,
        text=_text(probabilities, examination.unlike, examination.nearest, label),
        highlighted=highlighted,
        highlighted_note=_highlighted_note(run.classes[best], highlighted is None, run.model.preparation.fit),
        nearest=_nearest(run, examination.nearest),
    )


def read_upload(path: Path, ranges: Any) -> np.ndarray:
    """Return the pixels of a photo, uint8 (height, width, 3), or raise Refused with the reason.

    The size is read first, from the head of the file: a small file can have very many pixels.
    """
    from PIL import Image

    from phototransfer.photos.decode import FORMATS, NotAPhoto, read_pixels

    too_large = f"has more than {MOST_PIXELS // 10**6} megapixels. Reduce its size first."
    try:
        with Image.open(path, formats=FORMATS) as opened:
            width, height = opened.size
    except Image.DecompressionBombError as error:
        raise Refused(f"This picture {too_large}") from error
    except OSError:  # `read_pixels` says why it cannot be opened
        width = height = 0
    except Exception as error:  # the decoders raise many types for damaged files
        raise Refused(f"This file cannot be used: damaged: {error}.") from error
    if width * height > MOST_PIXELS:
        raise Refused(f"This picture of {width} × {height} pixels {too_large}")
    try:
        return read_pixels(path, ranges)
    except NotAPhoto as error:
        raise Refused(f"This file cannot be used: {error}.") from error


def _load(folder: Path) -> LoadedRun:
    import pandas as pd

    from phototransfer.network.classify import load_run

    model, classes = load_run(folder)
    try:
        texts = {"path": str, "original": str, "label": str, "split": str}
        photos = pd.read_csv(
            folder / "predictions.csv", dtype=texts, keep_default_na=False, na_values={"correct": [""]}
        )
    except (OSError, ValueError):  # without it, there are no examples and no pictures of training photos
        photos = None
    if photos is not None and not {*texts, "correct"} <= {*photos}:
        photos = None
    return LoadedRun(folder, model, classes, photos)


def _text(
    probabilities: dict[str, float], unlike: bool | None, nearest: Sequence[tuple[str, str]], label: str | None
) -> str:
    """Return the answer in words, as HTML."""
    (first, probability), *others = sorted(probabilities.items(), key=lambda item: -item[1])
    shown = f"{probability:.2f}" if probability < 0.995 else "more than 0.99"
    sentences = [f"The model answers {_bold(first)}, with a probability of {shown}."]
    if others and probability < _SURE:
        sentences.append(f"It is not sure: the next is {_bold(others[0][0])}, with {others[0][1]:.2f}.")
    if label is not None:
        sentences.append(f"The class of this test photo is {_bold(label)}: {'' if label == first else 'in'}correct.")
    text = f'<div class="answer">{" ".join(sentences)}</div>'
    if not unlike:
        return text
    notice = (
        "<b>Unlike the training photos.</b> This photo is further from them than almost any photo of their kind, so "
        f"the answer means little. Nearest class: {_bold(nearest[0][1])}."
    )
    return f'<div class="notice">{notice}</div>{text}'


def _highlighted_note(label: str, empty: bool, fit: str) -> str:
    if empty:
        return _note(f"No region of the photo supports {_bold(label)}.")
    part = "all of the photo, padded to a square" if fit == "pad" else "the middle square of the photo"
    return _note(f"Coloured (Grad-CAM): where the network finds support for {_bold(label)} in what it sees, {part}.")


def _nearest(run: LoadedRun, nearest: Sequence[tuple[str, str]]) -> str:
    """Return the nearest training photos, paths in the data set with classes, as HTML."""
    if not nearest:
        return _note("This run has not saved what new photos are compared with.")
    figures, missing = [], 0
    for original, label in nearest:
        prepared = run.prepared(original)
        missing += prepared is None
        picture = io.BytesIO()
        _thumbnail(prepared).save(picture, "JPEG", quality=85)
        source = f"data:image/jpeg;base64,{base64.b64encode(picture.getvalue()).decode()}"
        caption = html.escape(short_name(label, 40)) + ("" if prepared else " (its file is missing)")
        figures.append(f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>')
    note = f"The {len(nearest)} training photos that are most like this one to the network, with their classes."
    if missing:
        note += f" {missing} of them {'is' if missing == 1 else 'are'} not among the prepared photos any more."
    return f'<h3>Nearest training photos</h3>{_note(note)}<div class="photos">{"".join(figures)}</div>'


def _bold(text: str) -> str:
    return f"<b>{html.escape(short_name(text, 60))}</b>"


def _note(text: str) -> str:
    return f'<div class="note">{text}</div>'


def _notice(text: str) -> str:
    return f'<div class="notice">{html.escape(text)}</div>'


def _reduced(pixels: np.ndarray, longest: int) -> "Image.Image":
    """Return a picture of which no side is longer than `longest` pixels."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((longest, longest))
    return picture


def _thumbnail(path: Path | None) -> "Image.Image":
    """Return a small picture of a prepared photo, a grey one if there is none."""
    from PIL import Image

    from phototransfer.photos.decode import NotAPhoto, read_pixels

    try:
        if path is not None:
            return _reduced(read_pixels(path), _THUMBNAIL)
    except NotAPhoto:
        pass  # it was deleted or damaged in between
    return Image.new("RGB", (_THUMBNAIL, _THUMBNAIL * 3 // 4), (200, 200, 200))


def build_page(runs: LoadedRuns, first: str) -> "gr.Blocks":
    """Return the page, on which the run named `first` is chosen."""
    import gradio as gr

    def chosen(name: str) -> LoadedRun:
        if name not in _names(first):  # of those on the page, not any folder on the disk
            raise Refused(f"There is no run {name!r} any more. Choose another.")
        return runs.get(name)

    def no_answer(message: str = "", clear_photo: bool = False) -> list[Any]:
        photo = None if clear_photo else gr.skip()
        hidden = gr.update(visible=False)
        return [photo, message, gr.update(value=None, visible=False), hidden, hidden, "", ""]

    def show(name: str, path: str | None, label: str | None = None) -> list[Any]:
        """Return the values of `outputs` for a photo."""
        if not path:
            return no_answer()
        if not Path(path).is_file():
            return no_answer(_notice("This photo is not on the server any more. Choose it again."), clear_photo=True)
        try:
            found = answer(chosen(name), Path(path), label)
        except Refused as error:
            return no_answer(_notice(str(error)), clear_photo=True)
        return [
            found.picture,
            found.text,
            gr.update(value=found.probabilities, visible=True),
            gr.update(visible=True),
            gr.update(value=found.highlighted, visible=found.highlighted is not None),
            found.highlighted_note,
            found.nearest,
        ]

    def show_upload(name: str, upload: dict[str, Any] | None) -> list[Any]:
        path = upload["path"] if upload else None
        return [*show(name, path), (path, None)]

    def show_example(name: str, event: gr.SelectData) -> list[Any]:
        try:
            examples = chosen(name).examples()
        except Refused as error:
            return [*no_answer(_notice(str(error)), clear_photo=True), (None, None)]
        if not 0 <= event.index < len(examples):
            return [*no_answer(_notice("This example is not there any more.")), (None, None)]
        path, label = examples[event.index]
        return [*show(name, str(path), label), (str(path), label)]

    def show_run(name: str, shown: tuple[str | None, str | None]) -> list[Any]:
        """Return the run's description and examples, and the answer of its model for the photo that is shown."""
        try:
            run = chosen(name)
        except Refused as error:
            nothing = no_answer(_notice(str(error)))
            return ["", gr.update(value=[], visible=False), "", *nothing]
        path, label = shown
        if label is not None and label not in run.classes:
            label = None
        examples = [(_thumbnail(file), short_name(true_class, 40)) for file, true_class in run.examples()]
        note = "Choose one of these test photos, with their true classes."
        if not examples:
            note = "The test photos of this run are not among the prepared photos any more."
        return [
            _note(html.escape(run.description())),
            gr.update(value=examples, visible=bool(examples)),
            f"<h3>Examples</h3>{_note(note)}",
            *show(name, path, label),
        ]

    def show_page() -> list[Any]:
        """Return the runs there are now, and the first of them, when the page is opened."""
        names = _names(first)
        return [gr.update(choices=names, value=names[0]), *show_run(names[0], (None, None))]

    with gr.Blocks(title="Which class is this photo?", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.HTML("<h1>Which class is this photo?</h1>")
        gr.HTML(_note("Nothing leaves this machine: the page, the model and your photos stay on it."))
        shown = gr.State((None, None))
        names = _names(first)
        with gr.Row(equal_height=False):
            with gr.Column(min_width=260):
                run = gr.Dropdown(names, value=names[0], label="Run", filterable=False, elem_id="run")
            with gr.Column(min_width=260):
                description = gr.HTML(elem_id="description")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=260):
                photo = gr.Image(
                    label="Photo",
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    height=320,
                    buttons=[],
                    elem_id="photo",
                    placeholder="Drop a photo here, or click to choose one",
                )
            with gr.Column(min_width=260, elem_id="grad-cam", visible=False) as grad_cam:
                highlighted = gr.Image(
                    label="Grad-CAM", interactive=False, height=320, buttons=[], visible=False, elem_id="highlighted"
                )
                highlighted_note = gr.HTML()
            with gr.Column(min_width=260):
                text = gr.HTML(elem_id="answer")
                label = gr.Label(
                    label="Classes",
                    num_top_classes=_TOP_CLASSES,
                    show_heading=False,
                    visible=False,
                    elem_id="classes",
                )
        nearest = gr.HTML(elem_id="nearest")
        examples_note = gr.HTML()
        examples = gr.Gallery(
            show_label=False,
            columns=4,
            height="auto",
            object_fit="contain",
            allow_preview=False,
            interactive=False,
            buttons=[],
            visible=False,
            elem_id="examples",
        )
        outputs = [photo, text, label, grad_cam, highlighted, highlighted_note, nearest]
        options: dict[str, Any] = {"api_visibility": "private", "show_progress_on": [text]}
        options |= {"concurrency_limit": _CONCURRENT, "concurrency_id": "model"}
        # Not preprocessed: Gradio would decode the file, which ends in "Error" if it is not a picture. It checks in any
        # case that the file is one that was uploaded.
        photo.input(show_upload, [run, photo], [*outputs, shown], preprocess=False, **options)
        photo.clear(lambda: [*no_answer(), (None, None)], None, [*outputs, shown], api_visibility="private")
        examples.select(show_example, [run], [*outputs, shown], **options)
        run.input(show_run, [run, shown], [description, examples, examples_note, *outputs], **options)
        page.load(show_page, None, [run, description, examples, examples_note, *outputs], **options)
    return page.queue(default_concurrency_limit=_CONCURRENT)


def _names(first: str) -> list[str]:
    """Return the names of the runs with a saved model, the newest first; `first` may also be a folder elsewhere."""
    names = [folder.name for folder in saved_runs()]
    return [first, *(name for name in names if name != first)]


def build_server(page: "gr.Blocks") -> "FastAPI":
    """Return the web server of the page: for browsers on this machine, without anything from another host."""
    import gradio as gr
    from fastapi import FastAPI, Request, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # A page of another site cannot reach this one under a name of its own.
    server.add_middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"])

    @server.middleware("http")
    async def add_headers(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    font = ("system-ui", "sans-serif")  # of the machine: Gradio's own come from its server, Google's from theirs
    theme = gr.themes.Default(primary_hue="blue", font=font, font_mono=("ui-monospace", "monospace"))
    return gr.mount_gradio_app(
        server,
        page,
        path="/",
        server_name=ADDRESS,
        theme=theme,
        css=_STYLE,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=_LARGEST_UPLOAD,
    )


def main(arguments: Sequence[str]) -> int:
    """Serve the page until Ctrl-C, and return the exit status."""
    allow_any_text()
    options = _parser().parse_args(arguments)
    try:
        run = find_run(options.run)
        listener = _listen(options.port)
    except OSError as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the uploads are deleted
    with contextlib.suppress(KeyboardInterrupt), listener, _uploads_folder():
        try:
            _import_gradio()
        except ImportError as error:
            print(f"Stopped: {error}. The page needs Gradio: {install_command('app')}", file=sys.stderr)
            return 2
        name = run.name if run.parent == files.MODELS else str(run)
        runs = LoadedRuns()
        try:
            with quiet_tensorflow():
                runs.get(name)
        except Refused as error:
            print(f"Stopped: {error}", file=sys.stderr)
            return 2
        _serve(build_server(build_page(runs, name)), listener)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m phototransfer.app", description="Try the saved models of runs on photos, in the browser."
    )
    parser.add_argument("--run", metavar="RUN", help="name or folder of a run; without it, the newest run in models/")
    parser.add_argument("--port", type=_port, default=PORT, help=f"port on this machine (default: {PORT})")
    return parser


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, got {text!r}")
    return number


def _listen(port: int) -> socket.socket:
    """Return a socket that listens on the port, or else on the next one that is free."""
    for number in range(port, min(port + _PORTS, 65536)):
        listener = socket.socket()
        if os.name == "posix":  # a port of a process that has just ended can be used at once
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, number))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        if number != port:
            print(f"Port {port} is in use or not permitted. Using {number} instead.")
        return listener
    raise OSError(f"None of the {_PORTS} ports from {port} on is free on {ADDRESS}. Give another one: --port 9000")


@contextlib.contextmanager
def _uploads_folder() -> Iterator[None]:
    """Let Gradio keep uploads in a folder that is deleted at the end."""
    folder = tempfile.mkdtemp(prefix="phototransfer-uploads-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _import_gradio() -> None:
    """Import Gradio so that it reports nothing to anybody."""
    os.environ.update(PRIVATE)
    import gradio  # noqa: F401


def _serve(server: "FastAPI", listener: socket.socket) -> None:
    import uvicorn

    print(f"Open http://{ADDRESS}:{listener.getsockname()[1]} in a browser. Ctrl-C ends it.", flush=True)
    config = uvicorn.Config(server, log_level="critical", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
