"""Names of classes: spellings of one name become one class, and each class gets a folder."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping

from phototransfer.files import safe_name

_SPACES = re.compile(r"\s+")


def name_key(name: str) -> str:
    """Return a name without what does not make it another one: case, spaces and the form of Unicode characters."""
    return _SPACES.sub("", unicodedata.normalize("NFC", name)).casefold()


def map_one_to_one(pairs: Collection[tuple[Hashable, Hashable]]) -> bool:
    """Return whether the pairs give each name on one side one name on the other: the same classes in other words."""
    different = set(pairs)
    return len(different) == len({one for one, _ in different}) == len({other for _, other in different})


def merge_spellings(labels: Iterable[str]) -> dict[str, str]:
    """Return the class of each label: of labels that differ only in case, spaces or Unicode form, the most frequent.

    Parameters
    ----------
    labels : iterable of str
        One per photo, as folders, files or tables give them.
    """
    counts = Counter(labels)
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        spellings.setdefault(name_key(label), []).append(label)
    merged: dict[str, str] = {}
    for same in spellings.values():
        name = unicodedata.normalize("NFC", _SPACES.sub(" ", same[0]).strip()) or same[0]
        merged |= dict.fromkeys(same, name)
    return merged


def describe_merged(merged: Mapping[str, str]) -> list[str]:
    """Return one sentence per class that labels were merged into."""
    spellings: dict[str, list[str]] = {}
    for label, name in merged.items():
        spellings.setdefault(name, []).append(unicodedata.normalize("NFC", label))
    return [
        f"{' and '.join(repr(label) for label in sorted(set(same)))} are read as one class, {name}."
        for name, same in sorted(spellings.items())
        if len(set(same)) > 1
    ]


def label_folders(labels: Iterable[str]) -> dict[str, str]:
    """Return a folder name for each class, distinct even where a file system ignores case or forbids a character."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in sorted(set(labels)):
        base = name = safe_name(label)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        names[label] = name
    return names
