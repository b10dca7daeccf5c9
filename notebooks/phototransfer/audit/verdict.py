"""The verdict: how good the model probably is on new photos, whether that can be believed, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phototransfer.console import plural, shorten_list
from phototransfer.evaluate.cross_validation import CrossValidation
from phototransfer.evaluate.folds import ACCURACY
from phototransfer.evaluate.results import NO, YES, Accuracy
from phototransfer.finding import CANNOT_TELL, DOUBT, NO_OBSTACLE, NOT_CHECKED, NOTE, QUESTIONS, SERIOUS, Finding
from phototransfer.report import Result, Skipped, verdict_box

_WIDE = 0.20  # a wider interval leaves open whether the model is good or poor
#: The checks without which a score cannot be believed, and what each looks for.
_MAIN_CHECKS = {"leaks": "duplicates", "shortcuts": "shortcuts", "shift": "differences between the splits"}
_OPENING = {
    SERIOUS: "Do not believe this yet:",
    DOUBT: "Believe this with caution:",
    NOTE: "The checks found little that speaks against it:",
}


@dataclass(frozen=True)
class Verdict(Result):
    """A conclusion from all findings of a run, and its answers to the questions of `finding.QUESTIONS`.

    Attributes
    ----------
    conclusion : list of str
        How good the model probably is on new photos like these; whether that can be believed, and what stands most in
        the way; what to do about it. For readers without statistics.
    lines : dict
        The answers in a few words, by the names of the questions.
    """

    name = "verdict"
    conclusion: list[str]
    lines: dict[str, str]

    def summary(self) -> str:
        return "\n".join([*self.conclusion, verdict_box(self.lines)])

    def to_dict(self) -> dict[str, Any]:
        return {"conclusion": self.conclusion, "lines": self.lines}


def conclude(
    findings: Mapping[str, Finding], accuracy: Accuracy, cross_validation: CrossValidation | Skipped
) -> Verdict:
    """Draw the conclusion of a run.

    Parameters
    ----------
    findings : dict
        `report.findings`: the answers of the checks, by the names of their questions.
    accuracy, cross_validation
        The scores. That of cross-validation counts if there is one: it rests on more photos, and near-duplicates cannot
        raise it. It does not count if the model was fine-tuned, which the heads of the folds are not.
    """
    answers = {question: findings[question] for question in QUESTIONS if question in findings}
    score, source, by_folds = _estimate(accuracy, cross_validation)
    # Duplicates raise the test score, not that of the folds, which keep them together.
    obstacles = [finding for question, finding in answers.items() if question != "leaks" or not by_folds]
    obstacles = [finding for finding in [*_obstacles_of(score), *obstacles] if finding.severity > NO_OBSTACLE]
    worst = max(obstacles, key=lambda finding: (finding.severity, finding.effect), default=None)
    sentences = [_describe(score, source), _judge(worst, answers)]
    remedies = [worst.remedy] if worst and worst.severity >= DOUBT else []
    leaks = answers.get("leaks")
    if leaks and by_folds and leaks.severity >= DOUBT:
        test_score = f"{accuracy.test_correct} of {accuracy.test_total} correct"
        sentences.append(f"Do not rely on the test score ({test_score}): {leaks.obstacle}")
        remedies.append(leaks.remedy)
    if remedies:
        sentences.append(f"What to do: {' '.join(remedies)}")
    return Verdict(sentences, {question: finding.line for question, finding in answers.items()})


def _estimate(accuracy: Accuracy, cross_validation: CrossValidation | Skipped) -> tuple[Accuracy, str, bool]:
    """Return the score that describes new photos best, where it comes from, and whether that is cross-validation."""
    if isinstance(cross_validation, Skipped) or cross_validation.fine_tuned:
        return accuracy, f"measured on {plural(accuracy.test_total, 'test photo')}", False
    counts, left_out = cross_validation.counts, cross_validation.folds.left_out
    source = f"measured by cross-validation on {plural(counts.n_photos, 'different photo')}"
    if left_out:
        source += f" of {len(counts.classes)} of {len(counts.classes) + len(left_out)} classes"
    return Accuracy(None, None, counts, cross_validation.measure), source, True


def _describe(score: Accuracy, source: str) -> str:
    """Return how good the model probably is on new photos, in photos of a hundred."""
    value, interval = score.test_score, score.test_interval
    if value is None or interval is None:
        return "There are no test photos, so nothing can be said about new photos."
    low, high = interval
    average = "" if score.measure == ACCURACY else ", if each class counts the same"
    guessing = "" if score.chance_level is None else f"; guessing would get {_of_100(score.chance_level)}"
    text = (
        f"Of 100 new photos like these, the model probably classifies about {_of_100(value)} correctly{average} "
        f"(between {_of_100(low)} and {_of_100(high)} with 95 % confidence; {source}{guessing})."
    )
    if score.measure != ACCURACY and len(score.test.rarest) == 1:
        correct, total = score.test.rarest_score
        text += f" It recognises {correct} of {total} photos of the rarest class, {score.test.rarest[0]}."
    return text


def _obstacles_of(score: Accuracy) -> list[Finding]:
    """Return what stands in the way of believing a score and can be seen from the score itself."""
    interval = score.test_interval
    if interval is None:
        return [
            _obstacle(SERIOUS, "there are no test photos.", "Add test photos, or let TEST_SPLIT choose some."),
        ]
    if score.better_than_chance == NO:
        remedy = "Look at the photos and their labels, add photos, or set another BACKBONE."
        return [_obstacle(SERIOUS, "the model does no better than guessing.", remedy)]
    add = "Add photos."
    if score.measure != ACCURACY:
        largest = int(score.test.sizes.max())
        add = f"Add photos of {shorten_list(score.test.rarest, 3)}: the largest class has {largest}."
    obstacles = []
    if score.better_than_chance != YES:
        text = "there are too few photos to tell whether the model is better than guessing."
        obstacles.append(_obstacle(SERIOUS, text, add))
    elif interval[1] - interval[0] > _WIDE:
        text = "there are so few photos that the model may be much better or much worse than this."
        obstacles.append(_obstacle(DOUBT, text, add))
    if few := score.few_test_photos:
        names = shorten_list([f"{name} ({total})" for name, total in few.items()], 3)
        severity = DOUBT if 2 * len(few) >= len(score.test.classes) else NOTE
        text = f"some classes have too few photos to tell how well they are recognised: {names}."
        obstacles.append(_obstacle(severity, text, f"Add photos of {shorten_list(list(few), 3)}."))
    return obstacles


def _obstacle(severity: int, obstacle: str, remedy: str) -> Finding:
    return Finding(CANNOT_TELL, CANNOT_TELL, severity, obstacle, remedy)


def _judge(worst: Finding | None, answers: Mapping[str, Finding]) -> str:
    """Return whether the score can be believed, and what stands most in the way."""
    unanswered = {
        what: answers[question].state if question in answers else NOT_CHECKED
        for question, what in _MAIN_CHECKS.items()
        if question not in answers or answers[question].state in (NOT_CHECKED, CANNOT_TELL)
    }
    if (worst is None or worst.severity < DOUBT) and unanswered:
        what = shorten_list(list(unanswered))
        if NOT_CHECKED in unanswered.values():
            return f"It was not checked whether this can be believed: {what} (CHECKS = False)."
        return f"It cannot be told whether this can be believed: too few photos to check for {what}."
    if worst is None:
        return "The checks found nothing that speaks against it."
    text = f"{_OPENING[worst.severity]} {worst.obstacle[0].lower()}{worst.obstacle[1:]}"
    too_few = [what for what, state in unanswered.items() if state == CANNOT_TELL]
    return f"{text} Besides, the photos are too few to check for {shorten_list(too_few)}." if too_few else text


def _of_100(share: float) -> str:
    """Return a share as a number out of 100, with a decimal where 100 would claim that all are correct."""
    return f"{100 * share:.0f}" if share == 1 or share < 0.995 else f"{int(1000 * share) / 10:.1f}"
