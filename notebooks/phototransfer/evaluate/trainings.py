"""The trainings that several sections of the notebook use, begun by other processes while it goes on."""

from phototransfer.evaluate.cross_validation import CrossValidator
from phototransfer.evaluate.heads import start_comparison
from phototransfer.evaluate.learning_curve import start_curve


def start_trainings(validator: CrossValidator) -> None:
    """Let other processes begin with the trainings of calibration, cross-validation, other heads and learning curve.

    They are begun in the order of the notebook. Those that an earlier run has done are left out. On a computer with one
    processor, with little memory or with an NVIDIA GPU there are no other processes, and nothing happens.
    """
    validator.start(validator.folds_without_test)
    validator.start(validator.folds)
    start_comparison(validator)
    start_curve(validator)
