"""Classes in the names of files: cat.0.jpg, dog_12.jpg."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from phototransfer.photos.layout.class_names import name_key
from phototransfer.photos.layout.tree import word_set

_BEFORE_NUMBER = re.compile(r"^([^\W\d_][^\d]*?)[\s._()\-]*(?:\d.*)?$")
_AFTER_NUMBER = re.compile(r"^[\d\s._()\-]+([^\W\d_][^\d]*?)[\s._()\-]*(?:\d.*)?$")
_AT_THE_END = re.compile(r"^.*\d[\s._()\-]*([^\W\d_][^\d]*)$")
_FEWEST_PHOTOS = 3  # with one prefix, or it does not name a class
#: What cameras, phones and programs begin names with, and words that say no more than "photo".
_NOT_CLASSES = word_set("""
    img imge image images photo photos foto picture pic pics dsc dscn dscf dscp sam pxl mvimg vid mov p pano burst gopr
    gp dji cimg imag fbimg whatsapp whatsappimage whatsappbild signal telegram snapchat received screenshot capture
    screenshotfrom bildschirmfoto capturedecran scan scanned file document untitled unnamed unbenannt download sample
    frame video crop copy copyof page item data train val test training testing validation id no nr number
""")


def classes_in_names(files: Sequence[PurePosixPath]) -> dict[PurePosixPath, str] | None:
    """Return the class of each file from the words before the number in its name, or else after it.

    None if the names hold no classes: there are fewer than two words, a name has none, words are rare, or they are
    what cameras begin names with (IMG_0001.jpg, DSC0001.jpg).
    """
    for pattern in (_BEFORE_NUMBER, _AFTER_NUMBER, _AT_THE_END):
        words = {}
        for file in files:
            if match := pattern.match(file.stem):
                words[file] = match[1]
        if len(words) == len(files) and _name_classes(words.values()):
            return words
    return None


def _name_classes(words: Iterable[str]) -> bool:
    counts = Counter(name_key(word).replace("_", "").replace("-", "") for word in words)
    if len(counts) < 2 or not _NOT_CLASSES.isdisjoint(counts) or min(len(word) for word in counts) < 2:
        return False
    rare = sum(count for count in counts.values() if count < _FEWEST_PHOTOS)
    return rare <= 0.1 * counts.total()
