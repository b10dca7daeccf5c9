"""Plain text output: import of TensorFlow without its notices, progress bars, paragraphs and counts."""

import logging
import os
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

TEXT_WIDTH = 100  # characters of a line of text


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Hold back what is written to standard error while TensorFlow is imported; show it if the import fails.

    Its notices on oneDNN and CUDA come from C++ before any log level applies, so the file descriptor itself is
    redirected. Afterwards only errors are shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held:
        try:
            with redirected_stderr(held.fileno()):
                yield
        except BaseException:
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def redirected_stderr(descriptor: int) -> Iterator[None]:
    """Send what this process and its children write to standard error to another file descriptor."""
    sys.stderr.flush()
    original = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


def progress(description: str, total: int, items: Iterable[Any] | None = None, unit: str = "photo") -> "tqdm[Any]":
    """Return a progress bar over `items`, or one to `update` by hand; nothing is shown if `total` is 0.

    Plain text on standard output rather than the widget of `tqdm.auto`: a widget leaves an executed notebook, a
    report and the terminal of `make run` without its text.
    """
    return tqdm(
        items,
        desc=description,
        total=total,
        unit=f"{unit}s",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}]",
        file=sys.stdout,
        disable=not total,
        mininterval=0.5,
    )


def wrap_lines(text: str) -> str:
    """Return text with its long lines broken between words after TEXT_WIDTH characters.

    List items ("- …") are indented. Lines that begin with a space or a box-drawing character are left as they are.
    """
    lines = []
    for line in text.splitlines():
        drawn = line.startswith((" ", "─"))
        indent = "  " if line.startswith("- ") else ""
        lines.append(line if drawn else textwrap.fill(line, TEXT_WIDTH, subsequent_indent=indent))
    return "\n".join(lines)


def plural(count: int, noun: str) -> str:
    """Return "1 photo", "3 photos" or "4 classes"."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"


def shorten_list(names: Sequence[str], most: int = 5) -> str:
    """Return the first `most` names with commas: "a, b, c and 4 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def short_name(name: str, length: int = 22) -> str:
    """Return a name that fits above a small picture; a long one loses its middle."""
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"
