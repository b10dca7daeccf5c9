"""Tables in data/README.md that tests make: what happens to each case of a list."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phototransfer.files import atomic_write

README = Path(__file__).resolve().parents[2] / "data" / "README.md"


class ReadmeTable:
    """The part of data/README.md between two comments that name the file the table is made by."""

    def __init__(self, made_by: str) -> None:
        self.begin, self.end = (f"<!-- made by tests/photos/{made_by}: {mark} -->\n" for mark in ("begin", "end"))

    def in_readme(self, table: str) -> str:
        """Return data/README.md with this table in it."""
        readme = README.read_text(encoding="utf-8")
        head, _, rest = readme.partition(self.begin)
        return head + self.begin + table + self.end + rest.partition(self.end)[2]

    def make(self, cases: list, run: Callable[[Any, Path], Any], table: Callable[[Callable[[Any], Any]], str]) -> None:
        """Run each case in a folder of its own and print the table; with --write, write it into data/README.md."""
        with tempfile.TemporaryDirectory() as scratch:
            made = table(lambda case: run(case, Path(scratch, str(cases.index(case)))))
        if "--write" in sys.argv:
            with atomic_write(README) as partial:
                partial.write_text(self.in_readme(made), encoding="utf-8")
        print(made)
