"""How a folder was understood, for the reader to check before anything is trained."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phototransfer.console import plural, shorten_list

_SHOWN_CLASSES = 8


class UnclearFolder(ValueError):
    """A folder can be understood in more than one way. The message says what was seen, and how to answer.

    Parameters
    ----------
    folder : Path
        The folder of the data set.
    question : str
        What was seen, and the settings LABELS that answer it.
    """

    def __init__(self, folder: Path, question: str) -> None:
        answer = re.search(r'LABELS = "([^"]+)"', question)
        hint = f" On the command line: -p LABELS '{answer[1]}', with these quotes." if answer else ""
        super().__init__(f"{folder}: {question}{hint}")


@dataclass(frozen=True)
class Layout:
    """The shape of a folder, and where its classes and splits come from."""

    shape: str  #: "class folders", "split folders", "a table of labels", "photos with the class in their names"
    why: str
    classes: list[str]
    splits: dict[str, str] = field(default_factory=dict)  #: folder → "train", "val" or "test"
    table: str | None = None  #: the tables of labels
    file_column: str | None = None
    class_column: str | None = None
    group_column: str | None = None  #: photos with the same value stay in one split
    split_column: str | None = None
    matched_by: str | None = None  #: how names in the table were found among the files
    left_out: dict[str, str] = field(default_factory=dict)  #: folder or kind of file → reason with the number of photos
    without_class: list[str] = field(default_factory=list)  #: folders of photos without a class
    example: tuple[str, str] | None = None  #: a photo and its class
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return one short block of lines."""
        if not self.classes:
            return " ".join([f"No photo with a class was found: {self.why}.", *self.notes])
        lines = [f"Read as {self.shape}, because {self.why}."]
        rows = {"splits": self._splits(), "labels": self._labels(), "classes": self._classes()}
        rows["left out"] = shorten_list([f"{name} ({reason})" for name, reason in self.left_out.items()], 4)
        rows["example"] = "{} is {}".format(*self.example) if self.example else ""
        lines += [f"  {name + ':':<10} {text}" for name, text in rows.items() if text]
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "why": self.why,
            "splits": self.splits,
            "table": self.table,
            "file_column": self.file_column,
            "class_column": self.class_column,
            "group_column": self.group_column,
            "split_column": self.split_column,
            "matched_by": self.matched_by,
            "left_out": self.left_out,
            "without_class": self.without_class,
            "example": list(self.example) if self.example else None,
            "notes": self.notes,
        }

    def _splits(self) -> str:
        if not self.splits:
            return "none in the folder; val and test are taken from all photos"
        named = [folder if folder == split else f"{folder} = {split}" for folder, split in self.splits.items()]
        missing = [split for split in ("val", "test") if split not in self.splits.values()]
        cut = f"; {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} taken from train" if missing else ""
        return shorten_list(named, 8) + cut

    def _labels(self) -> str:
        if self.table is None:
            return ""
        group = f'; "{self.group_column}" says which photos belong together' if self.group_column else ""
        group += f'; split in column "{self.split_column}"' if self.split_column else ""
        return (
            f'{self.table}, photo in column "{self.file_column}" (found by {self.matched_by}), class in column '
            f'"{self.class_column}"{group}'
        )

    def _classes(self) -> str:
        shown: Sequence[str] = [f'"{name}"' if name != name.strip() else name for name in self.classes]
        return f"{plural(len(self.classes), 'class')}: {shorten_list(shown, _SHOWN_CLASSES)}"
