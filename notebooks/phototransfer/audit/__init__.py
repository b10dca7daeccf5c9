"""Checks of a score: duplicates across the splits, shortcuts, differences between the splits, and the verdict."""

from phototransfer.audit.duplicates import find_duplicates, mark_duplicates, score_without_duplicates
from phototransfer.audit.mislabelled import find_mislabelled
from phototransfer.audit.shift import check_shift, shift_examples
from phototransfer.audit.shortcuts import check_shortcuts, distributions
from phototransfer.audit.verdict import conclude

__all__ = [
    "check_shift",
    "check_shortcuts",
    "conclude",
    "distributions",
    "find_duplicates",
    "find_mislabelled",
    "mark_duplicates",
    "score_without_duplicates",
    "shift_examples",
]
