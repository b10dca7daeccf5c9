"""What do the findings on shortcuts and shift mean, for somebody who has never heard of a p-value?"""

import pandas as pd

from helpers.trust.properties import BACKGROUND, NAMES
from helpers.trust.shift import CANNOT_TELL, FOUND, NOTHING, Shift
from helpers.trust.shortcuts import COST, Price, Shortcuts

SHORT = {NOTHING: NOTHING, CANNOT_TELL: "cannot tell, too few photos"}  # where nothing was found, as a verdict
#: Fewer planted shifts found than this: a real one is as likely to be missed.
POWER = 0.5
#: Fewer photos than this on which a shortcut misleads say nothing: right on all 9 of them, 0.70 is still possible.
ENOUGH_MISLED = 10
UNLIKELY = 0.005  # chance of being called too alike by accident
_SPLITS = {"val": "validation", "test": "test"}


def shortcut_state(found: Shortcuts, seen_by_network: bool, priced: Price | None = None) -> str:
    """FOUND, NOTHING or CANNOT_TELL, for the properties that the network sees or for those of the files.

    The background counts as found only if the network leans on it: on tight photos the frame still shows the subject,
    so that being told apart by it is not yet a shortcut.
    """
    flagged = _flagged(found, seen_by_network)["property"]
    leant_on = set() if priced is None else set(priced.misled.loc[priced.misled["leans"], "property"])
    if (flagged != BACKGROUND).any() or (len(flagged) and BACKGROUND in leant_on):
        return FOUND
    return NOTHING if found.power >= POWER else CANNOT_TELL


def shortcut_verdict(found: Shortcuts, priced: Price) -> str:
    """What the network could see besides the subject, as short as it goes."""
    state = shortcut_state(found, True, priced)
    if state != FOUND:
        return SHORT[state]
    seen = priced.misled[priced.misled["seen_by_network"]]
    if seen["leans"].any():
        return f"found, costs about {seen.loc[seen['leans'], 'cost'].max():.2f}"
    if (seen["photos"] < ENOUGH_MISLED).any():
        return "found; it is hardly ever wrong, so its cost cannot be told"
    if (seen["cost"] >= COST).any():
        return "found; too few photos on which it is wrong to tell its cost"
    return "found, but no sign that the score rests on it"


def shift_verdict(found: Shift) -> str:
    """Whether the splits come from the same world, as short as it goes."""
    state = shift_state(found)
    if state == FOUND:
        splits = found.table.loc[found.table["state"] == FOUND, "split"]
        return f"found: {' and '.join(_SPLITS[split] for split in splits)} photos differ from training photos"
    return SHORT[state]


def files_in_words(found: Shortcuts) -> str:
    """What differs between the classes' files."""
    if shortcut_state(found, seen_by_network=False) != FOUND:
        return _not_found(found, shortcut_state(found, seen_by_network=False), "in which the classes' files differ")
    told = _flagged(found, seen_by_network=False)
    return (
        f"Found: the classes' files differ in {_named(told)}; guessing gets {found.chance:.2f} right. The network does "
        "not see files, only what they leave in the picture."
    )


def network_in_words(found: Shortcuts, priced: Price) -> str:
    """What besides the subject the network could see, and whether the score rests on it."""
    seen = _flagged(found, seen_by_network=True)
    simple = seen[seen["property"] != BACKGROUND]
    said = []
    if len(simple):
        said.append(
            f"Found: classes can be told by {_named(simple)}; guessing gets {found.chance:.2f} right. All such simple "
            f"properties together get {priced.properties:.2f} right, the network's features {priced.network:.2f}."
        )
    elif shortcut_state(found, True, priced) == FOUND:
        said.append("Found: the surroundings give the class away.")
    elif len(seen):
        said.append("No simple property such as light, colour or sharpness gives the class away.")
    else:
        said.append(_not_found(found, shortcut_state(found, True, priced), "by which the network could tell the class"))
    if len(seen) > len(simple):
        said.append(
            f"With the centre of the photos blanked, features and ridge regression still tell {priced.background:.2f} "
            f"(whole photos: {priced.network:.2f}; the plot has a quicker measure): by the surroundings, or by what of "
            "the subject reaches into them."
        )
    return " ".join([*said, *_cost(priced)])


def two_digits(share: float) -> str:
    """A share with two digits, rounded down: 1.00 only for all."""
    return f"{int(share * 100 + 1e-6) / 100:.2f}"


def shift_state(found: Shift) -> str:
    """FOUND if any split is shifted, CANNOT_TELL if none is but any is too small to say, else NOTHING."""
    states = set(found.table["state"])
    return next((state for state in (FOUND, CANNOT_TELL, NOTHING) if state in states), CANNOT_TELL)


def shift_in_words(found: Shift) -> str:
    """Whether validation and test photos look like training photos, and what that means for the score."""
    said = [_shift(state, found.table[found.table["state"] == state]) for state in (FOUND, CANNOT_TELL, NOTHING)]
    for row in found.table[found.table["p_value"] > 1 - UNLIKELY].itertuples():
        name = _SPLITS[row.split].capitalize()
        said.append(
            f"{name} photos are more like training photos than a random split would make them: fine if the splits were "
            "balanced on purpose, else look for copies."
        )
    return " ".join(filter(None, said)) or "Cannot tell: there are only training photos."


def _shift(state: str, rows: pd.DataFrame) -> str:
    names = " and ".join(_SPLITS[split] for split in rows["split"])
    if rows.empty:
        return ""
    if state == NOTHING:
        return f"Nothing found: {names} photos look like training photos of the same class."
    if state == CANNOT_TELL:
        counts = " and ".join(f"{row.photos} {_SPLITS[row.split]}" for row in rows.itertuples())
        return f"Cannot tell, too few photos: only {counts} photos could be compared with training."
    picked = " and ".join(f"{auc:.0%}" for auc in rows["auc"])
    return (
        f"Found: {names} photos look different from training photos of the same class; shown one of each, the right "
        f"one is picked in {picked} of cases, where a coin gets 50%. The score holds for photos like those it was "
        "measured on, and training on more of those would probably raise it."
    )


def _flagged(found: Shortcuts, seen_by_network: bool) -> pd.DataFrame:
    return found.table[found.table["flagged"] & (found.table["seen_by_network"] == seen_by_network)]


def _not_found(found: Shortcuts, state: str, what: str) -> str:
    power = f"of 100 planted differences of one standard deviation between classes, {found.power * 100:.0f} were found"
    if state == CANNOT_TELL:
        return f"Cannot tell, too few photos: with {found.photos} of them, {power}."
    return f"Nothing found: no property {what} enough to matter; {power}."


def _named(told: pd.DataFrame, most: int = 3) -> str:
    rows = told.head(most).itertuples()
    names = [
        f"{NAMES.get(row.property, row.property)} (alone {two_digits(row.balanced_accuracy)} right)" for row in rows
    ]
    return ", ".join(names) + (f" and {len(told) - most} more" if len(told) > most else "")


def _cost(priced: Price) -> list[str]:
    """Is the network right where the shortcuts are wrong? Nothing to say where none was flagged."""
    seen = priced.misled[priced.misled["seen_by_network"]]
    if len(seen) < 2:
        return []
    names = [NAMES.get(name, name) for name in seen["property"]]
    never = [f"{name} ({count})" for name, count in zip(names, seen["photos"], strict=True) if count < ENOUGH_MISLED]
    said = []
    if len(never) < len(seen):
        worst = seen[seen["photos"] >= ENOUGH_MISLED].sort_values(["leans", "cost"], ascending=False).iloc[0]
        name = NAMES.get(worst["property"], worst["property"])
        verdict = "No sign that the score rests on it."
        if worst["leans"]:
            verdict = f"So it costs about {worst['cost']:.2f}."
        elif worst["cost"] >= COST:
            verdict = f"{worst['photos']} photos are too few to tell whether the score rests on it."
        said.append(
            f"Where {name} points to a wrong class, the features are right for {worst['right']} of {worst['photos']} "
            f"photos ({worst['accuracy']:.2f}, 95 % interval {worst['low']:.2f} to {worst['high']:.2f}); for all of "
            f"them it is {priced.accuracy:.2f}. {verdict}"
        )
    if never:
        said.append(
            f"Whether the score rests on {', '.join(never)} cannot be told: too few photos, in brackets, "
            "where it points to a wrong class."
        )
    return said
