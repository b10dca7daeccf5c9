"""Pictures that are not photos of their own: masks, and a copy of the whole set inside itself."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from phototransfer.photos.decode import FORMATS
from phototransfer.photos.layout.tree import Folder, Parts, word_set, words_of

_MASK_WORDS = word_set("""
    mask masks segmentation segmentations seg gt groundtruth ground truth label labels annotation annotations annot
    trimap trimaps matte mattes contour
""")
_MASK_ENDING = re.compile(rf"[\s_.-]+(?:{'|'.join(sorted(_MASK_WORDS))})(?:[\s_.-]*\d+)?$", re.IGNORECASE)
_SAME_NAMES = 0.8  # of the pictures in a folder of masks have the name of a photo
_COPIED = 0.9  # of the files in a copy of the set are in the set, with the same size
_OPENED = 3  # pictures of a folder that are looked at
#: So many folders side by side are classes with photos of the same names (1.jpg, 2.jpg), and not opened to find masks.
_MOST_FOLDERS = 20
_LEVELS, _LEVEL_WIDTH, _LEVELS_SHARE = 4, 7, 0.95


def find_masks(root: Folder, path_of: Callable[[PurePosixPath], Path]) -> dict[Parts, str]:
    """Return the folders and files that hold masks of other photos, with the reason to leave them out.

    Masks have the names of photos, in a folder beside them or with an ending ("1_mask.png"), and show only a few grey
    levels. Both have to hold: photos of people with and without masks are photos.

    Parameters
    ----------
    root : Folder
        The pictures found.
    path_of : callable
        Gives the path of a picture on the disk.
    """
    masks: dict[Parts, str] = {}
    for parent in _all_folders(root):
        for sub in _maybe_mask_folders(parent):
            inside = sub.all_files()
            beside = [file for file in parent.all_files() if file.parts[: len(sub.parts)] != sub.parts]
            stems = {_photo_stem(file) for file in inside}
            shared = stems & {file.stem for file in beside}
            if len(shared) < _SAME_NAMES * len(stems):
                continue
            if _are_masks(inside, path_of) and not _are_masks(beside, path_of):
                masks[sub.parts] = "masks of the photos, not photos"
        names = {file.stem for file in parent.files}
        ending = [file for file in parent.files if _photo_stem(file) != file.stem and _photo_stem(file) in names]
        if ending and _are_masks(ending, path_of):
            masks |= {file.parts: "a mask of a photo, not a photo" for file in ending}
    return masks


def find_copies(root: Folder, path_of: Callable[[PurePosixPath], Path]) -> dict[Parts, str]:
    """Return the folders in which the set that they lie in is repeated: pets/cat, pets/dog, pets/pets/cat, …"""
    copies: dict[Parts, str] = {}
    for parent in _all_folders(root):
        names = {*parent.folders, *(file.name for file in parent.files)}
        for outer in parent.folders.values():
            sub = outer
            while len(sub.folders) == 1 and not sub.files:  # backup/old/<the set again>
                [sub] = sub.folders.values()
            repeated = {*sub.folders, *(file.name for file in sub.files)} & (names - {outer.name})
            if not repeated:
                continue
            inside = {file.parts[len(sub.parts) :]: file for file in sub.all_files()}
            outside = {file.parts[len(parent.parts) :]: file for file in parent.all_files()}
            same = 0
            for path, file in inside.items():
                original = outside.get(path)
                same += original is not None and _size(path_of(original)) == _size(path_of(file))
            if same >= _COPIED * len(inside):
                copies[outer.parts] = f"a copy of the photos in {'/'.join(parent.parts) or 'the folder around it'}"
    return copies


def _maybe_mask_folders(parent: Folder) -> list[Folder]:
    few = len(parent.folders) + bool(parent.files) > 1 and len(parent.folders) <= _MOST_FOLDERS
    return [sub for name, sub in parent.folders.items() if few or _MASK_WORDS & set(words_of(name))]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # named when photos are read
        return -1


def _all_folders(folder: Folder) -> Iterator[Folder]:
    yield folder
    for sub in folder.folders.values():
        yield from _all_folders(sub)


def _photo_stem(file: PurePosixPath) -> str:
    """Return the name of the photo that a mask belongs to, which is its own name for other pictures."""
    return _MASK_ENDING.sub("", file.stem)


def _are_masks(files: Sequence[PurePosixPath], path_of: Callable[[PurePosixPath], Path]) -> bool:
    looked_at = files[:: max(1, len(files) // _OPENED)][:_OPENED]
    return bool(looked_at) and all(_has_few_levels(path_of(file)) for file in looked_at)


def _has_few_levels(path: Path) -> bool:
    """Return whether nearly all pixels of a picture have one of a few grey levels, give or take JPEG's noise."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            small = picture.convert("L").resize((64, 64), Image.Resampling.NEAREST)
    except Exception:  # damaged files raise many types of exceptions; they are named when photos are read
        return False
    counts = np.bincount(np.asarray(small).ravel(), minlength=256).astype(float)
    covered = 0.0
    for _ in range(_LEVELS):
        near = np.convolve(counts, np.ones(_LEVEL_WIDTH), mode="same")
        level = int(near.argmax())
        covered += near[level]
        counts[max(0, level - _LEVEL_WIDTH // 2) : level + _LEVEL_WIDTH // 2 + 1] = 0
    return covered >= _LEVELS_SHARE * small.width * small.height
