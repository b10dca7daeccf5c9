"""The tree of folders that photos are in, and what the words in the names of folders mean."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

#: The names of the folders that lead to a file or folder, from the outermost on.
Parts = tuple[str, ...]

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_a-zA-Z]+|\d+")
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout"), "test"),
    **dict.fromkeys(("pred", "predict", "prediction", "predictions", "inference"), "unlabelled"),
    **dict.fromkeys(("unlabeled", "unlabelled", "unannotated", "unsup", "submission"), "unlabelled"),
}


def word_set(text: str) -> set[str]:
    """Return the words of a text."""
    return set(text.split())


#: Words that add nothing to another one: train_images, TestData, valid-set, test1.
_FILLERS = word_set("""
    set sets data dataset images image imgs img photos pictures pics split folder files samples jpg jpeg png full
    resized originals all to for my new final public private own
""")
_PART_WORDS = word_set("fold cv part batch chunk set shard archive zip disk volume vol split")


@dataclass
class Folder:
    """A folder with the photos that lie directly in it, and the folders in it that contain photos."""

    parts: Parts = ()
    folders: dict[str, "Folder"] = field(default_factory=dict)
    files: list[PurePosixPath] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.parts[-1] if self.parts else ""

    def all_files(self) -> list[PurePosixPath]:
        """Return the photos in this folder and below."""
        found = list(self.files)
        for folder in self.folders.values():
            found += folder.all_files()
        return found


def build_tree(files: Iterable[PurePosixPath]) -> Folder:
    """Return the folder that contains files given by their paths below it."""
    root = Folder()
    for file in files:
        folder = root
        for number, name in enumerate(file.parts[:-1], 1):
            folder = folder.folders.setdefault(name, Folder(file.parts[:number]))
        folder.files.append(file)
    return root


def innermost(parts: Parts, known: Container[Parts]) -> Parts | None:
    """Return the longest beginning of a path that is in `known`, None if there is none."""
    return next((parts[:length] for length in range(len(parts), -1, -1) if parts[:length] in known), None)


def outermost(parts: Parts, known: Container[Parts]) -> Parts | None:
    """Return the shortest beginning of a path that is in `known`, None if there is none."""
    return next((parts[:length] for length in range(len(parts) + 1) if parts[:length] in known), None)


def skip_wrappers(folder: Folder, *, of_any_name: bool = True) -> Folder:
    """Return the folder inside those that only wrap another one: pets/pets/<class>, train/images/<photos>.

    With `of_any_name` False, a folder with folders in it is a wrapper only if its name says so: like its parent's,
    images, or a split.
    """
    while len(folder.folders) == 1:
        [inner] = folder.folders.values()
        named = inner.name.lower() == folder.name.lower() or means_photos(inner.name) or bool(split_word(inner.name))
        loose = len(folder.files)  # a banner or a screenshot beside the folder that matters
        few_loose = loose <= max(3, 0.05 * len(inner.all_files()))
        if not few_loose or not (named or (of_any_name and inner.folders)):
            break
        folder = inner
    return folder


def words_of(name: str) -> list[str]:
    """Return the words and numbers in the name of a folder, in lower case: TestData_2 → test, data, 2."""
    words = [word.lower() for word in _WORDS.findall(name)]
    joined: list[str] = []
    for word in words:
        if word == "out" and joined and joined[-1] in ("hold", "held"):  # hold-out
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def split_word(name: str) -> str | None:
    """Return "train", "val", "test" or "unlabelled" if the name of a folder has a word for it, else None."""
    kinds = {_split_of(word) for word in words_of(name)} - {None}
    if kinds == {"train", "val"}:
        return "train"
    return kinds.pop() if len(kinds) == 1 else None


def other_words(name: str) -> str:
    """Return what the name of a folder says beside a split: "cat" of train_cat_images, "" of test1."""
    return " ".join(w for w in words_of(name) if not (_split_of(w) or w in _FILLERS or w.isdigit()))


def is_only_split_word(name: str) -> bool:
    """Return whether the name of a folder says a split and nothing else: test1, train_images, but not seg_test."""
    return split_word(name) is not None and not other_words(name)


def means_photos(name: str) -> bool:
    """Return whether the name of a folder says no more than that photos are in it: images, jpg, all_photos."""
    words = words_of(name)
    return bool(words) and all(word in _FILLERS or word.isdigit() for word in words) and not name.isdigit()


def is_part(name: str) -> bool:
    """Return whether the name of a folder says that it is one part of a whole: fold_1, part-2, batch3, cv4."""
    words = words_of(name)
    return any(word in _PART_WORDS for word in words) and any(word.isdigit() or len(word) == 1 for word in words)


def _split_of(word: str) -> str | None:
    if word in _SPLIT_WORDS:
        return _SPLIT_WORDS[word]
    return next((_SPLIT_WORDS.get(word.removesuffix(end)) for end in _FILLERS if word.endswith(end)), None)
