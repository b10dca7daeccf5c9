"""The verdict on the score: one line per question."""

from dataclasses import dataclass

from phototransfer.audit.duplicates import CleanScore
from phototransfer.audit.shift import Shift
from phototransfer.audit.shortcuts import Shortcuts
from phototransfer.report import Result, Skipped, verdict_box


@dataclass(frozen=True)
class Verdict(Result):
    """The answers, in a few words, to the three questions of `report.QUESTIONS`."""

    name = "verdict"
    lines: dict[str, str]

    def summary(self) -> str:
        return verdict_box(self.lines)

    def to_dict(self) -> dict[str, str]:
        return self.lines


def verdict(clean_score: CleanScore | Skipped, shortcuts: Shortcuts | Skipped, shift: Shift | Skipped) -> Verdict:
    """Return the verdict from the three results; of one that was skipped, the reason."""
    return Verdict({"leaks": _line(clean_score), "shortcuts": _line(shortcuts), "shift": _line(shift)})


def _line(result: CleanScore | Shortcuts | Shift | Skipped) -> str:
    if isinstance(result, Skipped):
        return result.reason[0].lower() + result.reason[1:].rstrip(".")
    return result.verdict_line()
