"""What are the last lines of a run? Printed by `make run` too, so nothing slow is imported here."""

from typing import Any

QUESTIONS = {
    "leaks": "Test photos also in training?",
    "shortcuts": "Class given away by something else?",
    "shift": "Splits from different worlds?",
}


def score(right: int, of: int, interval: tuple[float, float] | None) -> str:
    """ "57 of 60 right: 0.95, 95 % interval 0.86 to 0.98"."""
    if not of or interval is None:
        return "no photos: nothing can be said"
    low, high = interval
    return f"{right} of {of} right: {right / of:.2f}, 95 % interval {low:.2f} to {high:.2f}"


def box(lines: dict[str, str]) -> str:
    """The three verdicts, one a question, as text to print."""
    rows = [f" {QUESTIONS[name]:<36} {line}" for name, line in lines.items()]
    rule = "─" * (2 + max(map(len, rows)))
    return "\n".join(["Can the score be trusted?", rule, *rows, rule])


def summary(metrics: dict[str, Any]) -> str:
    """The score, what it was measured with, and the verdicts, from metrics.json."""
    accuracy, asked = metrics["accuracy"], metrics["fell_back_from"]
    instead = f", in place of {asked}, which could not be had" if asked else ""
    scored = score(accuracy["test_right"], metrics["photos"]["test"], accuracy["test_ci95"])
    return (
        f"{metrics['run']}: {metrics['backbone']}{instead}\n"
        f"Test photos: {scored}; the largest class alone {accuracy['majority']:.2f}\n"
        f"{box(metrics['verdict'])}"
    )
