"""Classes and splits in the names of folders."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from phototransfer.console import plural, shorten_list
from phototransfer.photos.layout.class_names import name_key
from phototransfer.photos.layout.file_names import classes_in_names
from phototransfer.photos.layout.tree import (
    Folder,
    Parts,
    innermost,
    is_only_split_word,
    is_part,
    means_photos,
    other_words,
    skip_wrappers,
    split_word,
    word_set,
    words_of,
)

NO_CLASS = "in no class folder"
#: Words for folders with other versions of the same photos, and for the version to use.
_DERIVED = word_set("""
    augmented augmentation aug grayscale greyscale gray grey segmented resized cropped thumbnails thumbs edges
    denoised enhanced processed preprocessed normalized binary flipped rotated copy copies backup old synthetic noisy
    blurred masked
""")
_ORIGINAL = word_set("color colour rgb original originals raw real")
#: Words for what every class may have: photos from each side, or with what belongs to them.
_ROLES = word_set("""
    left right front back top bottom side day night indoor outdoor before after small large good bad other misc extra
    new masks mask annotations labels xml
""")


@dataclass
class FolderLayout:
    """What the names of folders, or of the files in them, say about classes and splits."""

    shape: str = "class folders"
    why: str = ""
    class_folders: dict[Parts, tuple[str, str | None]] = field(default_factory=dict)  #: folder → class, split
    named_files: dict[PurePosixPath, tuple[str, str | None]] = field(default_factory=dict)  #: file → class, split
    splits: dict[Parts, str] = field(default_factory=dict)  #: folder → "train", "val" or "test"
    left_out: dict[Parts, str] = field(default_factory=dict)  #: folder or file → why it is not used
    without_class: list[Folder] = field(default_factory=list)  #: folders of photos without a class, for PREDICT
    elsewhere: str = NO_CLASS  #: why a file that is in none of these is skipped
    notes: list[str] = field(default_factory=list)
    question: str = ""  #: what cannot be decided, and how the owner answers

    def find(self, path: PurePosixPath) -> tuple[str, str | None] | None:
        """Return the class and split of a file, None if it has none."""
        if path in self.named_files:
            return self.named_files[path]
        folder = innermost(path.parts[:-1], self.class_folders)
        return None if folder is None else self.class_folders[folder]

    def split_of(self, path: PurePosixPath) -> str | None:
        """Return the split of the folder that a file is in."""
        folder = innermost(path.parts[:-1], self.splits)
        return None if folder is None else self.splits[folder]

    def names_classes(self) -> bool:
        """Return whether folders are named like classes, and not like parts of a set (part_1, images)."""
        names = {folder[-1] for folder in self.class_folders if folder}
        plain = all(is_part(name) or means_photos(name) or split_word(name) for name in names)
        return self.shape != "class folders" or (len(names) > 1 and not plain)


def read_folders(root: Folder) -> FolderLayout:
    """Read a folder of split folders, class folders, or photos with the class in their names."""
    top = skip_wrappers(root)
    layout = _read_class_and_split_in_one_name(top) or _read_split_folders(top) or _read_splits_in_classes(top)
    layout = layout or _read_classes(top)
    if "test" not in layout.splits.values() and len({*layout.splits.values()}) > 1:
        _read_evaluation_as_test(layout)
    return layout


def read_level(root: Folder, level: int) -> FolderLayout:
    """Read the class from the `level`-th folder of each path, as the owner says; other folders may name splits."""
    layout = FolderLayout(why=f'LABELS = "folder {level}"', elsewhere=f"in fewer than {level} folders")
    split_folders: dict[Parts, str] = {}
    parents = set()
    for file in root.all_files():
        folders = file.parts[:-1]
        if len(folders) < level:
            continue
        parents.add(folders[level - 2] if level > 1 else "")
        others = [number for number in range(len(folders)) if number != level - 1]
        number = next((number for number in others if split_word(folders[number]) in ("train", "val", "test")), None)
        split = None if number is None else split_word(folders[number])
        if number is not None and split:
            split_folders[folders[: number + 1]] = split
        layout.class_folders[folders[: max(level, 1 + (number or 0))]] = (folders[level - 1], split)
    if len(set(split_folders.values())) > 1 and "train" in split_folders.values():
        layout.splits, layout.shape = split_folders, "split folders"
    else:
        layout.class_folders = {parts: (label, None) for parts, (label, _) in layout.class_folders.items()}
    if not layout.splits and len(parents) > 1:
        layout.notes.append(f"The photos in {shorten_list(sorted(parents))} are taken together.")
    return layout


def read_file_names(root: Folder) -> FolderLayout:
    """Read the class from the name of each file, as the owner says."""
    top = skip_wrappers(root)
    names = classes_in_names(top.all_files()) or {}
    splits = {sub.parts: split_word(sub.name) for sub in top.folders.values()}
    known = {parts: split for parts, split in splits.items() if split in ("train", "val", "test")}
    layout = FolderLayout(
        shape="photos with the class in their names",
        why='LABELS = "file names"',
        splits=known,
        elsewhere="its name has no class",
    )
    layout.named_files = {file: (word, layout.split_of(file)) for file, word in names.items()}
    return layout


def _read_class_and_split_in_one_name(top: Folder) -> FolderLayout | None:
    """Read cat_train, cat_test, dog_train, dog_test; None if the folders are not named so."""
    folders = list(top.folders.values())
    classes = {sub.name: name_key(other_words(sub.name)) for sub in folders}
    splits = {sub.name: split_word(sub.name) for sub in folders}
    in_train = {classes[name] for name, split in splits.items() if split == "train"}
    complete = all(splits.values()) and all(classes.values()) and set(classes.values()) == in_train
    if not complete or len(in_train) < 2 or any(sub.folders for sub in folders):
        return None
    layout = FolderLayout("split folders", "the name of each folder says a class and a split")
    layout.splits = {sub.parts: str(splits[sub.name]) for sub in folders}
    layout.class_folders = {sub.parts: (other_words(sub.name), splits[sub.name]) for sub in folders}
    return layout


def _read_evaluation_as_test(layout: FolderLayout) -> None:
    """Make evaluation the test split where another folder is the validation split."""
    validation = [parts for parts, split in layout.splits.items() if split == "val"]
    evaluation = [parts for parts in validation if set(words_of(parts[-1])) & {"eval", "evaluation"}]
    if not evaluation or len(evaluation) == len(validation):
        return
    layout.splits |= dict.fromkeys(evaluation, "test")
    for parts, (label, _) in layout.class_folders.items():
        layout.class_folders[parts] = (label, layout.split_of(PurePosixPath(*parts, "photo")))
    for file, (label, _) in layout.named_files.items():
        layout.named_files[file] = (label, layout.split_of(file))


def _read_split_folders(top: Folder) -> FolderLayout | None:
    """Read train, val and test folders with classes in them; None if there are none."""
    split_folders = {sub.name: sub for sub in top.folders.values() if split_word(sub.name)}
    others = [sub for sub in top.folders.values() if sub.name not in split_folders]
    if not split_folders:
        return None
    contents = {name: _read_classes(skip_wrappers(sub, of_any_name=False)) for name, sub in split_folders.items()}
    of_others = {name_key(sub.name) for sub in others}
    trains = [name for name in split_folders if split_word(name) == "train" and _labels(contents[name])]
    if not trains:
        trains = _find_train_without_name(contents, others)
        split_folders |= {sub.name: sub for sub in others if sub.name in trains}
        others = [sub for sub in others if sub.name not in trains]
    if trains:
        known = set().union(*(_labels(contents[name]) for name in trains))
    elif len(others) > 1 and any(_labels(content) & of_others for content in contents.values()):
        known = of_others  # cat, dog, test/cat, test/dog: what is not in test is train
    else:
        return _read_split_names_without_train(top, split_folders, others, contents)
    layout = FolderLayout("split folders")
    for name, sub in split_folders.items():
        split, content = "train" if name in trains else str(split_word(name)), contents[name]
        if content.question:
            layout.question = content.question
        if split == "unlabelled" or not _labels(content) & known:
            layout.left_out[sub.parts] = "without a class"
            layout.without_class.append(sub)
            if split != "unlabelled":
                layout.splits[sub.parts] = split  # a table may give its photos a class
            continue
        layout.splits[sub.parts] = split
        layout.class_folders |= {parts: (label, split) for parts, (label, _) in content.class_folders.items()}
        layout.named_files |= {file: (label, split) for file, (label, _) in content.named_files.items()}
        layout.left_out |= content.left_out
        layout.notes += content.notes
    used = sorted(parts[-1] for parts in layout.splits if parts not in layout.left_out)
    layout.elsewhere = f"not in a split folder ({', '.join(used)})"
    inside = "classes in file names" if not layout.class_folders else "class folders"
    layout.why = f"the names of folders say splits, and there are {inside} in them"
    if not trains:
        layout.class_folders |= {sub.parts: (sub.name, "train") for sub in others}
        layout.notes.append("Class folders beside the split folders are training photos.")
    elif others:
        layout.notes.append(f"Not used, because they are in no split: {_names(others)}.")
    return layout


def _find_train_without_name(contents: dict[str, FolderLayout], others: list[Folder]) -> list[str]:
    """Return the folders that hold the classes of a test or validation folder beside them: pets, pets-test-set."""
    in_splits = set().union(*(_labels(content) for content in contents.values()))
    found = []
    for sub in others:
        content = _read_classes(skip_wrappers(sub, of_any_name=False))
        if len(_labels(content) & in_splits) > 1:
            contents[sub.name] = content
            found.append(sub.name)
    return found


def _read_split_names_without_train(
    top: Folder, split_folders: dict[str, Folder], others: list[Folder], contents: dict[str, FolderLayout]
) -> FolderLayout | None:
    """Read folders named like splits, without a train folder that has classes: as unlabelled, as classes, or ask."""
    if not others:
        labelled = [name for name in split_folders if _labels(contents[name])]
        layout = FolderLayout(why="the folders are named like splits, and no class is in them")
        layout.without_class = list(split_folders.values())
        layout.left_out = {sub.parts: "without a class" for sub in layout.without_class}
        splits = {sub.parts: str(split_word(sub.name)) for sub in layout.without_class}
        layout.splits = {parts: split for parts, split in splits.items() if split != "unlabelled"}
        if labelled:
            layout.question = (
                f"No folder is named for training photos beside {shorten_list(labelled)}. Rename the folder with the "
                "training photos to train."
            )
        return layout
    unlabelled = [sub for name, sub in split_folders.items() if split_word(name) in ("test", "unlabelled")]
    unlabelled = [sub for sub in unlabelled if is_only_split_word(sub.name) and not sub.folders]
    pairs = [sub for sub in others if any(name_key(sub.name).endswith(name_key(name)) for name in split_folders)]
    if pairs and not unlabelled:  # valid and invalid, tested and untested
        return None
    if len(others) > 1 and not unlabelled:  # train, bus and car
        return None
    rest = Folder(top.parts, {sub.name: sub for sub in top.folders.values() if sub not in unlabelled}, top.files)
    layout = _read_classes(rest)
    layout.left_out |= {sub.parts: "without a class" for sub in unlabelled}
    layout.without_class += unlabelled
    layout.splits = {sub.parts: str(split_word(name)) for name, sub in split_folders.items() if sub not in unlabelled}
    names = shorten_list(sorted(split_folders))
    if len(_labels(layout)) < 2 or layout.splits:
        layout.question = (
            f"{names} and {_names(others)} may be classes, or {names} may be photos without a class. If they are "
            f'classes, set LABELS = "folder {len(top.parts) + 1}". If not, put the others into class folders.'
        )
    else:
        layout.notes.append(
            f"{names}: photos without a class, because the name says so. If it is a class, rename the folder."
        )
    return layout


def _read_splits_in_classes(top: Folder) -> FolderLayout | None:
    """Read cat/train, cat/test, dog/train, …, or several folders with the same splits; None if it is not so."""
    parents = [sub for sub in top.folders.values() if sub.folders and all(split_word(name) for name in sub.folders)]
    kinds = {split_word(name) for parent in parents for name in parent.folders}
    if len(parents) < 2 or len(parents) < len(top.folders) or "train" not in kinds:
        return None
    layout = FolderLayout("split folders")
    below = Counter(key for parent in parents for key in _keys_below(parent))
    classes_below = sum(count > 1 for count in below.values()) > 1
    for parent in parents:
        for sub in parent.folders.values():
            split = str(split_word(sub.name))
            if split == "unlabelled":
                layout.left_out[sub.parts] = "without a class"
                layout.without_class.append(sub)
                continue
            layout.splits[sub.parts] = split
            found: dict[Parts, tuple[str, str | None]] = {sub.parts: (parent.name, None)}
            if classes_below:
                found = _read_classes(skip_wrappers(sub, of_any_name=False)).class_folders
            layout.class_folders |= {parts: (label, split) for parts, (label, _) in found.items()}
    layout.why = "each class folder has split folders"
    if classes_below:
        layout.why = f"{_names(parents)} have the same split folders with the same class folders"
    return layout


def _read_classes(top: Folder) -> FolderLayout:
    """Read class folders, or photos with the class in their names."""
    if not top.folders:
        names = classes_in_names(top.files)
        if not names:
            return FolderLayout(why="no folder and no file name gives a class")
        layout = FolderLayout("photos with the class in their names", "each name has one of a few words")
        with_split = all(split_word(word) and other_words(word) for word in names.values())
        for file, word in names.items():  # train_cat_01.jpg, or cat_01.jpg
            layout.named_files[file] = (other_words(word), split_word(word)) if with_split else (word, None)
        return layout
    if repeated := _read_repeated(top):
        return repeated
    layout = FolderLayout(class_folders={sub.parts: (sub.name, None) for sub in top.folders.values()})
    inside = f" in {'/'.join(top.parts)}" if top.parts else ""
    layout.why = f"no folder{inside} is named like a split"
    labels, level = sorted(top.folders), len(top.parts) + 1
    if len(labels) > 1 and (all(is_part(label) for label in labels) or any(means_photos(label) for label in labels)):
        layout.question = (
            f"The names of the folders do not look like classes: {shorten_list(labels)}. If they are, set "
            f'LABELS = "folder {level}". If not, put the photos into one folder per class.'
        )
    below = sorted({name for sub in top.folders.values() if len(sub.folders) > 1 for name in sub.folders})
    if below := [name for name in below if not _is_no_class(name_key(name))]:
        layout.notes.append(
            f'Folders inside the classes ({shorten_list(below, 3)}) are not classes; LABELS = "folder {level + 1}" '
            "makes them the classes."
        )
    return layout


def _read_repeated(top: Folder) -> FolderLayout | None:
    """Read folders with folders of the same names in them: parts of one set, versions of it, or a question."""
    siblings = {name_key(name) for name in top.folders}
    for sub in top.folders.values():
        again = {name_key(name) for name in sub.folders} & (siblings - {name_key(sub.name)})
        if len(again) > 1:
            return FolderLayout(
                question=f"{sub.name} has folders with the names of those beside it ({shorten_list(sorted(again))}), "
                f"and other photos in them. Move the photos of each class together, or {sub.name} to another place."
            )
    parents = [sub for sub in top.folders.values() if len(sub.folders) > 1]
    counts = Counter(name_key(name) for parent in parents for name in parent.folders)
    shared = {key for key, count in counts.items() if count > 1}
    if len(parents) < 2 or len(shared) < 2 or any(_share_of(parent, shared) < 0.5 for parent in parents):
        return None
    versions = {sub.name: set(words_of(sub.name)) for sub in top.folders.values()}
    originals = [name for name, words in versions.items() if not words & _DERIVED or words & _ORIGINAL]
    if len(originals) == 1 and len(parents) == len(top.folders):
        layout = _read_classes(skip_wrappers(top.folders[originals[0]]))
        others = [sub for name, sub in top.folders.items() if name not in originals]
        layout.left_out |= {sub.parts: f"another version of the photos in {originals[0]}" for sub in others}
        layout.notes.append(f"Other versions of the photos in {originals[0]} are not used: {_names(others)}.")
        return layout
    if all(is_part(sub.name) for sub in parents):
        layout = FolderLayout(why=f"{_names(parents)} are parts of one set: the same class folders are in each")
        for parent in parents:
            layout.class_folders |= {sub.parts: (sub.name, None) for sub in parent.folders.values()}
        layout.notes.append("The photos of all parts are taken together and split anew.")
        return layout
    if all(_is_no_class(key) for key in shared):
        return None  # the folders in the classes say no classes
    first, second = len(top.parts) + 1, len(top.parts) + 2
    return FolderLayout(
        question=f"{_names(parents)} have folders of the same names ({shorten_list(sorted(shared))}), so either may be "
        f'the classes. Set LABELS = "folder {first}" if {parents[0].name} is a class, LABELS = "folder {second}" if '
        f"{next(iter(parents[0].folders))} is one. Folders named train, val, test, or fold_1, fold_2 are not classes."
    )


def _is_no_class(key: str) -> bool:
    return key in _ROLES or key.isdigit() or means_photos(key)


def _labels(layout: FolderLayout) -> set[str]:
    return {name_key(label) for label, _ in [*layout.class_folders.values(), *layout.named_files.values()]}


def _keys_below(parent: Folder) -> set[str]:
    return {name_key(name) for sub in parent.folders.values() for name in skip_wrappers(sub, of_any_name=False).folders}


def _share_of(parent: Folder, shared: set[str]) -> float:
    return sum(name_key(name) in shared for name in parent.folders) / len(parent.folders)


def _names(folders: list[Folder]) -> str:
    return shorten_list(sorted(f"{sub.name} ({plural(len(sub.all_files()), 'photo')})" for sub in folders), 4)
