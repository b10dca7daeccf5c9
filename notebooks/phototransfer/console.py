"""Plain text output: import of TensorFlow without its notices, progress bars, paragraphs and counts."""

import io
import logging
import os
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
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


def allow_any_text() -> None:
    """Let standard output and error print every character: what their encoding lacks becomes "\\u2192" or the like.

    Where they are a file or a pipe, Windows gives them an encoding of 256 characters, and an arrow would end the run.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's own streams take everything
            stream.reconfigure(errors="backslashreplace")


def progress(description: str, total: int, items: Iterable[Any] | None = None, unit: str = "photo") -> "tqdm[Any]":
    """Return a progress bar over `items`, or one to `update` by hand; nothing is shown if `total` is 0.

    Plain text on standard output rather than the widget of `tqdm.auto`: a widget leaves an executed notebook, a
    report and the terminal of `make run` without its text.
    """
    return tqdm(items, total=total, disable=not total, **_bar_options(description, unit, "{n_fmt}/{total_fmt}"))


def progress_by_cost(description: str, costs: Sequence[float], unit: str) -> "tqdm[Any]":
    """Return a progress bar to `update` by hand for steps that do not take equally long.

    Its percentage and the time left follow from the cost of the steps that are done and of those that are left; the
    count beside the bar is that of the steps.

    Parameters
    ----------
    description : str
        What is done.
    costs : sequence of float
        Expected cost of each step, in their order. The unit does not matter: seconds so far per cost so far are the
        rate.
    unit : str
        The noun for one step.
    """
    return _CostBar(costs, **_bar_options(description, unit, "{steps}"))


class _CostBar(tqdm):  # type: ignore[misc]
    """A bar whose `n` and `total` are costs, and whose `update` takes steps."""

    def __init__(self, costs: Sequence[float], **options: Any) -> None:
        self._done = [0.0, *accumulate(costs)]  # cost after each number of steps
        self._steps = 0
        # smoothing=0: the rate since the start. That of the last steps would follow the error of a few costs.
        super().__init__(total=self._done[-1], disable=not self._done[-1], smoothing=0, **options)

    @property
    def format_dict(self) -> dict[str, Any]:
        return {**super().format_dict, "steps": f"{self._steps}/{len(self._done) - 1}"}

    def update(self, n: float | None = 1) -> bool | None:
        return super().update(self.advance(int(n or 0)))

    def advance(self, steps: int) -> float:
        """Count steps, and return their cost."""
        self._steps += steps
        return self._done[self._steps] - self.n


def skip_steps(bar: "tqdm[Any]", steps: int) -> None:
    """Count steps as done whose results were known: the time left follows from the others."""
    if bar.disable:
        return
    done = bar.advance(steps) if isinstance(bar, _CostBar) else steps
    for counter in ("n", "initial", "last_print_n"):
        setattr(bar, counter, getattr(bar, counter) + done)
    bar.refresh()


def _bar_options(description: str, unit: str, count: str) -> dict[str, Any]:
    return {
        "desc": description,
        "unit": f"{unit}s",
        "bar_format": "{desc}: {percentage:3.0f}%|{bar}| " + count + " {unit} [{elapsed}<{remaining}]",
        "file": sys.stdout,
        "mininterval": 0.5,
    }


def wrap_lines(text: str) -> str:
    """Return text with its long lines broken between words after TEXT_WIDTH characters.

    List items ("- …") are indented. Lines that begin with a space or a box-drawing character are left as they are. A
    broken line ends with a space, so that `unwrap_lines` can join it again (as in RFC 3676, "format=flowed").
    """
    lines = []
    for line in text.splitlines():
        if line.startswith((" ", "─")) or not line:
            lines.append(line)
            continue
        indent = "  " if line.startswith("- ") else ""
        # Paths and names of runs stay whole, so that they can be copied.
        parts = textwrap.wrap(
            line, TEXT_WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        lines.append(" \n".join(parts))
    return "\n".join(lines)


def unwrap_lines(text: str) -> str:
    """Return text whose lines were broken by `wrap_lines` with one line per paragraph or list item again.

    A break is undone after a line that ends with a space, where the first word of the next line would not have fitted.
    """
    lines: list[str] = []
    previous = ""  # the last printed line, "" if nothing can continue it
    for line in text.splitlines():
        in_item = bool(previous) and lines[-1].startswith("- ")
        continuation = line.removeprefix("  ") if in_item else line
        first_word = continuation.partition(" ")[0]
        if previous.endswith(" ") and len(previous) + len(first_word) > TEXT_WIDTH:
            lines[-1] += continuation
            previous = line
        else:
            lines.append(line)
            previous = "" if line.startswith((" ", "─")) else line
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
