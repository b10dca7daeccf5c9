"""The answers of the checks: their questions, states, and how much they stand in the way of believing the score."""

from dataclasses import dataclass

#: The questions that the checks answer, by their names in metrics.json: what is found is always a problem.
QUESTIONS = {
    "leaks": "Are test photos in the training set too?",
    "shortcuts": "Shortcuts: can the class be told without its subject?",
    "background": "Does the background reveal the class?",
    "files": "Do the files of the classes differ (size, format, camera, date)?",
    "shift": "Do the splits differ?",
    "labels": "Are there wrong labels?",
    "reliability": "Does the test score differ from cross-validation?",
}
#: States of a finding. BORDERLINE: so near to a threshold that another seed could decide otherwise. NOTHING_FOUND
#: requires enough power to find something.
FOUND, BORDERLINE, NOTHING_FOUND = "found", "borderline", "nothing found"
CANNOT_TELL, NOT_CHECKED = "cannot tell", "not checked"
STATES = (FOUND, BORDERLINE, NOTHING_FOUND, CANNOT_TELL, NOT_CHECKED)
#: How much a finding stands in the way of believing the score.
NO_OBSTACLE, NOTE, DOUBT, SERIOUS = range(4)


@dataclass(frozen=True)
class Finding:
    """The answer to one of QUESTIONS. Whatever is printed, drawn or recorded about it comes from here.

    Attributes
    ----------
    state : str
        One of STATES.
    line : str
        The answer in a few words; it begins with the state.
    severity : int
        NO_OBSTACLE, NOTE, DOUBT or SERIOUS.
    obstacle, remedy : str
        For readers without statistics, one sentence each: what stands in the way of believing the score, and what to
        do about it. Empty only if there is no obstacle.
    effect : float
        Estimated effect on the score, 0 if not estimated.

    Raises
    ------
    ValueError
        The line does not begin with the state, the state is unknown, or an obstacle has no sentence.
    """

    state: str
    line: str
    severity: int = NO_OBSTACLE
    obstacle: str = ""
    remedy: str = ""
    effect: float = 0.0

    def __post_init__(self) -> None:
        if self.state not in STATES or not self.line.startswith(self.state):
            raise ValueError(f"A finding's line must begin with its state, got {self.state!r} and {self.line!r}")
        if bool(self.obstacle) != (self.severity > NO_OBSTACLE) or bool(self.obstacle) != bool(self.remedy):
            raise ValueError(f"An obstacle needs a severity, a sentence and a remedy, got {self}")
