"""The verdict on the score: one line per question."""

from dataclasses import dataclass
from typing import Any, ClassVar

from phototransfer.audit.duplicates import CleanScore
from phototransfer.audit.shift import Shift
from phototransfer.audit.shortcuts import Shortcuts
from phototransfer.report import Skipped, verdict_box


@dataclass(frozen=True)
class Verdict:
    """The answers to the three questions about the score.

    Attributes
    ----------
    lines : dict
        Question (leaks, shortcuts, shift) → the answer in a few words.
    """

    name: ClassVar[str] = "verdict"
    lines: dict[str, str]

    def summary(self) -> str:
        """Return the questions and answers in a box."""
        return verdict_box(self.lines)

    def plot(self) -> None:
        """Return None."""

    def to_dict(self) -> dict[str, Any]:
        """Return the answers."""
        return dict(self.lines)


def verdict(clean_score: CleanScore | Skipped, shortcuts: Shortcuts | Skipped, shift: Shift | Skipped) -> Verdict:
    """Return the verdict from the three results; of one that was skipped, the reason."""
    return Verdict({"leaks": _line(clean_score), "shortcuts": _line(shortcuts), "shift": _line(shift)})


def _line(result: CleanScore | Shortcuts | Shift | Skipped) -> str:
    return result.reason if isinstance(result, Skipped) else result.verdict_line()
