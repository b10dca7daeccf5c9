"""What the notebook calls, one module a question; and the project's own folders, wherever it was cloned."""

import os
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
MODELS = ROOT / "models"


def say(*sentences: str) -> None:
    """Print sentences, if there are any, as one paragraph, broken between words: a notebook breaks lines anywhere."""
    if text := " ".join(filter(None, sentences)):
        print(textwrap.fill(text, 100))


def shorten(path: str | Path) -> str:
    """A path relative to the project where it lies inside, else as it is."""
    path = Path(path)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def find_path(text: str | Path) -> Path:
    """A path from the settings: absolute, from the project's root, or else from the working directory.

    The notebook runs in notebooks/ and `make run` in the root, and "photos/cat.jpg" should mean the same in both.
    """
    path = Path(text).expanduser()
    return ROOT / path if os.path.exists(ROOT / path) else path
